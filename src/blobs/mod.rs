//! The bytes of files, in object storage that all nodes share: a folder or an S3 bucket.
//!
//! `incoming/{id}` is what a request has brought, `files/{id}` what can be downloaded. Which files there are, and whose,
//! PostgreSQL knows; here are bytes under names that no client chooses.

pub mod upload;

use std::{ops::Range, path::PathBuf, sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, stream::BoxStream};
use object_store::{
    BackoffConfig, ClientOptions, GetOptions, ObjectStore, ObjectStoreExt, RetryConfig,
    aws::AmazonS3Builder, local::LocalFileSystem, path::Path, prefix::PrefixStore,
};
use time::OffsetDateTime;
use tokio::sync::{Notify, Semaphore};
use tracing::debug;

use crate::{
    blobs::upload::Staged,
    config::{Config, blob_url::BlobUrl},
    ids::FileId,
    problem::{Dependency, Problem, chain},
    secret::Secret,
    tasks::Tasks,
};

/// One operation on the storage at most. Behind it nothing is known, and the request is refused.
const OPERATION_TIMEOUT: Duration = Duration::from_secs(10);
/// What of one upload is held in memory, for a folder.
const FOLDER_PART_BYTES: usize = 256 * 1024;
/// The same for a bucket: S3 takes no smaller parts.
const BUCKET_PART_BYTES: usize = 5 * 1024 * 1024;
/// Bytes a second of an upload at least: a bad mobile connection.
pub const MIN_UPLOAD_RATE: u64 = 16 * 1024;
/// Sign-ups with a picture at the same time. They have slots of their own, since whoever likes can send them, slowly too: they
/// may keep each other waiting and nobody else. A picture is sent once in an account's life, so few are enough.
const SIGN_UPS: usize = 8;
/// Objects looked at in one sweep of `incoming/`.
const SCAN_LIMIT: usize = 10_000;

/// Who may send a request with files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UploadPool {
    /// Those who have signed in.
    Members,
    /// Everybody: it is a sign-up.
    Anybody,
}

/// The object storage, as one node uses it.
pub struct Files {
    store: Arc<dyn ObjectStore>,
    /// Where unfinished uploads of nodes that died lie, which the store does not list.
    folder: Option<PathBuf>,
    part_bytes: usize,
    uploads: Arc<Semaphore>,
    sign_ups: Arc<Semaphore>,
    accepted: Notify,
    tasks: Tasks,
}

pub(super) fn incoming(id: FileId) -> Path {
    Path::from(format!("incoming/{id}"))
}

pub(super) fn kept(id: FileId) -> Path {
    Path::from(format!("files/{id}"))
}

pub(super) fn away(error: object_store::Error) -> Problem {
    Problem::Unavailable(Dependency::Files, Some(error.into()))
}

/// An operation that fails when it takes too long.
pub(super) async fn within<T>(
    operation: impl Future<Output = Result<T, object_store::Error>>,
) -> Result<T, Problem> {
    tokio::time::timeout(OPERATION_TIMEOUT, operation)
        .await
        .map_err(|late| Problem::Unavailable(Dependency::Files, Some(late.into())))?
        .map_err(away)
}

pub(super) fn open_folder(folder: &PathBuf) -> Result<Arc<dyn ObjectStore>, String> {
    // The URL may hold what nobody else need know; the system's own words do not.
    std::fs::create_dir_all(folder)
        .map_err(|error| format!("FILES_URL: the folder cannot be made: {error}"))?;
    let store = LocalFileSystem::new_with_prefix(folder)
        .map_err(|error| format!("FILES_URL: the folder cannot be used: {error}"))?;
    // Accepted means kept, also when the machine loses its power.
    Ok(Arc::new(store.with_fsync(true)))
}

pub(super) fn open_bucket(
    url: &str,
    prefix: &Path,
    variables: &[(&'static str, Secret)],
) -> Result<Arc<dyn ObjectStore>, String> {
    // The one TLS implementation that is compiled in; a second node in this process finds it there already.
    drop(rustls::crypto::ring::default_provider().install_default());
    // A body may take as long as its client does; each step has its own limit here.
    let client = ClientOptions::new()
        .with_connect_timeout(Duration::from_secs(3))
        .with_timeout_disabled();
    let mut builder = AmazonS3Builder::new()
        .with_url(url)
        .with_client_options(client)
        .with_retry(RetryConfig {
            backoff: BackoffConfig::default(),
            max_retries: 2,
            retry_timeout: OPERATION_TIMEOUT / 2,
        });
    for (name, value) in variables {
        if let Ok(key) = name.to_ascii_lowercase().parse() {
            builder = builder.with_config(key, value.expose());
        }
    }
    let store = builder
        .build()
        .map_err(|error| format!("FILES_URL or a variable AWS_…: {error}"))?;
    Ok(Arc::new(PrefixStore::new(store, prefix.clone())))
}

impl Files {
    /// The storage that the settings name. Makes the folder; does not reach out for a bucket.
    ///
    /// # Errors
    /// What is wrong with the settings.
    pub fn open(config: &Config, tasks: &Tasks) -> Result<Arc<Self>, String> {
        let (store, folder, part_bytes) = match &config.files {
            BlobUrl::Folder(folder) => (
                open_folder(folder)?,
                Some(folder.join("incoming")),
                FOLDER_PART_BYTES,
            ),
            BlobUrl::Bucket { url, prefix } => (
                open_bucket(url, prefix, &config.aws)?,
                None,
                BUCKET_PART_BYTES,
            ),
        };
        Ok(Arc::new(Self {
            store,
            folder,
            part_bytes,
            uploads: Arc::new(Semaphore::new(config.max_uploads)),
            sign_ups: Arc::new(Semaphore::new(SIGN_UPS.min(config.max_uploads))),
            accepted: Notify::new(),
            tasks: tasks.clone(),
        }))
    }

    /// Files of one request, none yet.
    pub fn stage(self: &Arc<Self>, senders: UploadPool) -> Staged {
        Staged {
            files: self.clone(),
            slots: match senders {
                UploadPool::Members => self.uploads.clone(),
                UploadPool::Anybody => self.sign_ups.clone(),
            },
            begun: Vec::new(),
            list: Vec::new(),
            permit: None,
        }
    }

    /// Says that files were accepted, which [`Self::accepted`] waits for.
    pub fn tell_accepted(&self) {
        self.accepted.notify_one();
    }

    /// Waits until files were accepted on this node.
    pub async fn accepted(&self) {
        self.accepted.notified().await;
    }

    /// Makes an accepted file one that can be downloaded. Doing it again is harmless.
    ///
    /// # Errors
    /// The storage's, also when the bytes are not there.
    pub async fn publish(&self, id: FileId, size: i64) -> Result<(), Problem> {
        let moved = within(self.store.rename(&incoming(id), &kept(id))).await;
        match moved {
            Ok(()) => Ok(()),
            // A node that died after the move, or in the middle of a copy and a deletion.
            Err(problem) => match within(self.store.head(&kept(id))).await {
                Ok(there) if i64::try_from(there.size) == Ok(size) => Ok(()),
                _ => Err(problem),
            },
        }
    }

    /// Deletes files that were accepted, wherever their bytes are.
    ///
    /// # Errors
    /// The storage's.
    pub async fn delete(&self, ids: &[FileId]) -> Result<(), Problem> {
        for id in ids {
            self.remove(&kept(*id)).await?;
            self.remove(&incoming(*id)).await?;
        }
        Ok(())
    }

    /// Deletes what was staged and is not wanted. What is left over is found by the sweeper.
    pub fn discard(self: &Arc<Self>, ids: Vec<FileId>) {
        if ids.is_empty() {
            return;
        }
        let files = self.clone();
        self.tasks.spawn("files.discard", async move {
            for id in ids {
                if let Err(error) = files.delete_incoming(id).await {
                    debug!(error = %chain(&error), file.id = %id, "a staged file is left to the sweeper");
                }
            }
        });
    }

    /// Deletes what a request has left in `incoming/`.
    ///
    /// # Errors
    /// The storage's.
    pub async fn delete_incoming(&self, id: FileId) -> Result<(), Problem> {
        self.remove(&incoming(id)).await
    }

    async fn remove(&self, path: &Path) -> Result<(), Problem> {
        let gone = async {
            match self.store.delete(path).await {
                Err(object_store::Error::NotFound { .. }) => Ok(()),
                result => result,
            }
        };
        within(gone).await
    }

    /// A stretch of a file, in pieces that are read as they are taken. It must not be empty.
    ///
    /// # Errors
    /// The storage's, also when it has another file there than the one that was accepted.
    pub async fn read(
        &self,
        id: FileId,
        size: i64,
        stretch: Range<u64>,
    ) -> Result<BoxStream<'static, Result<Bytes, object_store::Error>>, Problem> {
        let options = GetOptions::new().with_range(Some(stretch));
        let found = within(self.store.get_opts(&kept(id), options)).await?;
        if i64::try_from(found.meta.size) != Ok(size) {
            return Err(Problem::internal(format!(
                "the file {id} has {} bytes in storage instead of {size}",
                found.meta.size
            )));
        }
        Ok(found.into_stream())
    }

    /// Files in `incoming/` that were written longer than `age` ago, `most` at most.
    ///
    /// # Errors
    /// The storage's.
    pub async fn old_incoming(&self, age: Duration, most: usize) -> Result<Vec<FileId>, Problem> {
        let before = OffsetDateTime::now_utc().unix_timestamp()
            - i64::try_from(age.as_secs()).unwrap_or(i64::MAX);
        let prefix = Path::from("incoming");
        let old = self
            .store
            .list(Some(&prefix))
            .take(SCAN_LIMIT)
            .try_filter_map(async |found| {
                let old = found.last_modified.timestamp() <= before;
                let name = found.location.filename().filter(|_| old);
                Ok(name.and_then(|name| name.parse::<FileId>().ok()))
            })
            .take(most)
            .try_collect();
        within(old).await
    }

    /// Deletes what uploads have left that were cut off with their node: in a folder the parts that the store does not list.
    /// A bucket needs a lifecycle rule for them.
    ///
    /// # Errors
    /// The folder's.
    pub async fn delete_unfinished(&self, age: Duration) -> Result<usize, Problem> {
        let Some(folder) = self.folder.clone() else {
            return Ok(0);
        };
        let work = tokio::task::spawn_blocking(move || delete_old_parts(&folder, age));
        work.await
            .map_err(Problem::internal)?
            .map_err(|error| Problem::Unavailable(Dependency::Files, Some(error.into())))
    }
}

pub(super) fn delete_old_parts(folder: &PathBuf, age: Duration) -> std::io::Result<usize> {
    let entries = match std::fs::read_dir(folder) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(0),
        entries => entries?,
    };
    let mut deleted = 0;
    for entry in entries.take(SCAN_LIMIT) {
        let entry = entry?;
        // `{id}#1`, as LocalFileSystem names what is not complete.
        let part = entry.file_name().to_string_lossy().contains('#');
        let old = |entry: &std::fs::DirEntry| {
            let written = entry.metadata().ok()?.modified().ok()?;
            Some(written.elapsed().ok()? >= age)
        };
        if part && old(&entry).unwrap_or(false) && std::fs::remove_file(entry.path()).is_ok() {
            deleted += 1;
        }
    }
    Ok(deleted)
}
