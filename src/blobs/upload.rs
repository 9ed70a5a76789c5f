//! An upload in progress, and its staged object until the message or account that owns it is committed.

use std::{sync::Arc, time::Duration};

use bytes::BytesMut;
use object_store::{MultipartUpload, ObjectStoreExt};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tracing::debug;

use crate::{
    blobs::{Blobs, incoming, with_timeout},
    ids::FileId,
    model::BinaryContent,
    problem::{Dependency, Problem, chain},
};

/// When a client whose slots are taken may try again.
const RETRY_AFTER: Duration = Duration::from_secs(2);

/// The files of one request. A drop before [`Self::release_to_commit`] deletes them, however the request ends.
pub struct Staged {
    pub(super) blobs: Arc<Blobs>,
    /// The slots of the node for uploads.
    pub(super) node_slots: Arc<Semaphore>,
    /// The slots of the client for uploads.
    pub(super) own_slots: Arc<Semaphore>,
    /// Complete files and the file that is being written.
    pub(super) started: Vec<FileId>,
    pub(super) list: Vec<BinaryContent>,
    pub(super) slots: Option<[OwnedSemaphorePermit; 2]>,
}

impl Staged {
    /// The complete files, in the client's order.
    pub fn list(&self) -> &[BinaryContent] {
        &self.list
    }

    /// Starts the next file.
    pub fn begin(&mut self) -> Upload {
        let id = FileId::new();
        self.started.push(id);
        Upload {
            blobs: self.blobs.clone(),
            id,
            part: BytesMut::new(),
            parts: None,
            size: 0,
        }
    }

    /// Takes a slot of the client and one of the node, until the request ends. Does nothing if the request has them.
    ///
    /// The caller takes them when bytes flow: before it writes more than [`super::UNSLOTTED_BYTES`], and before it finishes a
    /// file. So idle uploads have none.
    ///
    /// # Errors
    /// [`Problem::TooMany`] when the client has its maximum of concurrent uploads; [`Problem::Unavailable`] when this node has.
    pub fn take_slot(&mut self) -> Result<(), Problem> {
        if self.slots.is_none() {
            let own = self.own_slots.clone().try_acquire_owned();
            let own = own.map_err(|_| Problem::TooMany {
                retry_after: RETRY_AFTER,
            })?;
            let node = self.node_slots.clone().try_acquire_owned();
            let node = node.map_err(|_| Problem::Unavailable(Dependency::Node, None))?;
            self.slots = Some([own, node]);
        }
        Ok(())
    }

    /// Adds a complete file.
    pub fn add(&mut self, file: BinaryContent) {
        self.list.push(file);
    }

    /// Releases the files to a transaction that may commit even if the request is dropped.
    ///
    /// The caller deletes the files with [`Files::discard`] if the transaction did not commit. If the caller cannot know, the
    /// sweep deletes the files that no row refers to.
    pub fn release_to_commit(mut self) -> Vec<FileId> {
        std::mem::take(&mut self.started)
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        self.blobs.discard(std::mem::take(&mut self.started));
    }
}

/// A file that is being uploaded to the storage. At most one part is in memory.
pub struct Upload {
    pub(super) blobs: Arc<Blobs>,
    pub(super) id: FileId,
    pub(super) part: BytesMut,
    /// `None` while the file may fit into one part.
    pub(super) parts: Option<Box<dyn MultipartUpload>>,
    pub(super) size: u64,
}

impl Upload {
    /// Bytes written so far.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Writes the next bytes. Waits for the storage whenever a part is full.
    ///
    /// # Errors
    /// The storage fails.
    pub async fn write(&mut self, mut chunk: &[u8]) -> Result<(), Problem> {
        self.size += chunk.len() as u64;
        while !chunk.is_empty() {
            let room = self.blobs.part_bytes - self.part.len();
            let (head, tail) = chunk.split_at(chunk.len().min(room));
            // Copied, because a chunk of one byte would keep its whole buffer alive.
            self.part.extend_from_slice(head);
            chunk = tail;
            if self.part.len() == self.blobs.part_bytes {
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
                none.insert(with_timeout(self.blobs.store.put_multipart(&path)).await?)
            }
        };
        with_timeout(parts.put_part(part.into())).await
    }

    /// Completes the file in `incoming/` and returns its id.
    ///
    /// # Errors
    /// The storage fails.
    pub async fn finish(mut self) -> Result<FileId, Problem> {
        if self.parts.is_some() {
            if !self.part.is_empty() {
                self.send_part().await?;
            }
            if let Some(parts) = &mut self.parts {
                with_timeout(parts.complete()).await?;
            }
            self.parts = None;
        } else {
            let whole = std::mem::take(&mut self.part).freeze();
            with_timeout(self.blobs.store.put(&incoming(self.id), whole.into())).await?;
        }
        Ok(self.id)
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        if let Some(mut parts) = self.parts.take() {
            self.blobs.tasks.spawn("files.abort", async move {
                if let Err(error) = parts.abort().await {
                    debug!(error = %chain(&error), "aborting an upload failed; its parts remain");
                }
            });
        }
    }
}
