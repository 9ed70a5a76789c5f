//! An upload in progress, and its staged object until the message or account that owns it is committed.

use std::sync::Arc;

use bytes::BytesMut;
use object_store::{MultipartUpload, ObjectStoreExt};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tracing::debug;

use crate::{
    blobs::{Files, incoming, within},
    ids::FileId,
    model::BinaryContent,
    problem::{Dependency, Problem, chain},
};

/// The files of one request. Until they are handed over, dropping this deletes them, whatever ended the request.
pub struct Staged {
    pub(super) files: Arc<Files>,
    pub(super) slots: Arc<Semaphore>,
    /// Also the one that is being written.
    pub(super) begun: Vec<FileId>,
    pub(super) list: Vec<BinaryContent>,
    pub(super) permit: Option<OwnedSemaphorePermit>,
}

impl Staged {
    /// Those that are complete, in their order.
    pub fn list(&self) -> &[BinaryContent] {
        &self.list
    }

    /// Begins the next file.
    ///
    /// # Errors
    /// [`Problem::Unavailable`] when this node takes as many uploads already as it may.
    pub fn begin(&mut self) -> Result<Upload, Problem> {
        if self.permit.is_none() {
            let permit = self.slots.clone().try_acquire_owned();
            self.permit = Some(permit.map_err(|_| Problem::Unavailable(Dependency::Node, None))?);
        }
        let id = FileId::new();
        self.begun.push(id);
        Ok(Upload {
            files: self.files.clone(),
            id,
            part: BytesMut::new(),
            parts: None,
            size: 0,
        })
    }

    /// Adds a file that is complete.
    pub fn add(&mut self, file: BinaryContent) {
        self.list.push(file);
    }

    /// From here on the files belong to a transaction that may be committed, whether or not anybody waits for it. Whoever
    /// knows that it was not says so with [`Files::discard`]; what nobody knows is left to the sweepers.
    pub fn release_to_commit(mut self) -> Vec<FileId> {
        std::mem::take(&mut self.begun)
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        self.files.discard(std::mem::take(&mut self.begun));
    }
}

/// A file on its way into the storage. Only one part of it is in memory.
pub struct Upload {
    pub(super) files: Arc<Files>,
    pub(super) id: FileId,
    pub(super) part: BytesMut,
    /// None as long as it may fit into one part.
    pub(super) parts: Option<Box<dyn MultipartUpload>>,
    pub(super) size: u64,
}

impl Upload {
    /// Bytes so far.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Takes the next bytes. Waits for the storage whenever a part is full.
    ///
    /// # Errors
    /// The storage's.
    pub async fn write(&mut self, mut piece: &[u8]) -> Result<(), Problem> {
        self.size += piece.len() as u64;
        while !piece.is_empty() {
            let room = self.files.part_bytes - self.part.len();
            let (now, rest) = piece.split_at(piece.len().min(room));
            // Copied: what a client sends byte by byte would keep a buffer for each of them.
            self.part.extend_from_slice(now);
            piece = rest;
            if self.part.len() == self.files.part_bytes {
                self.send_part().await?;
            }
        }
        Ok(())
    }

    async fn send_part(&mut self) -> Result<(), Problem> {
        let part = std::mem::take(&mut self.part).freeze();
        let parts = match &mut self.parts {
            Some(parts) => parts,
            none => {
                let path = incoming(self.id);
                none.insert(within(self.files.store.put_multipart(&path)).await?)
            }
        };
        within(parts.put_part(part.into())).await
    }

    /// Ends the file: it is complete and kept in `incoming/`. Returns its name there.
    ///
    /// # Errors
    /// The storage's.
    pub async fn finish(mut self) -> Result<FileId, Problem> {
        if self.parts.is_some() {
            if !self.part.is_empty() {
                self.send_part().await?;
            }
            if let Some(parts) = &mut self.parts {
                within(parts.complete()).await?;
            }
            self.parts = None;
        } else {
            let whole = std::mem::take(&mut self.part).freeze();
            within(self.files.store.put(&incoming(self.id), whole.into())).await?;
        }
        Ok(self.id)
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        if let Some(mut parts) = self.parts.take() {
            self.files.tasks.spawn("files.abort", async move {
                if let Err(error) = parts.abort().await {
                    debug!(error = %chain(&error), "the parts of an upload are left behind");
                }
            });
        }
    }
}
