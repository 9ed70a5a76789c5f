//! The bytes of files, in object storage that all nodes share: a folder or an S3 bucket.
//!
//! A request uploads to `incoming/{id}`; a download reads `files/{id}` or `thumbnails/{id}-{width}`. No client chooses these names. PostgreSQL has the list of
//! files and their owners.

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
    rate_limit::clients::Client,
    secret::Secret,
    tasks::Tasks,
    thumbnails::{Thumbnails, WIDTHS},
};

/// Timeout of one storage operation. Its outcome is unknown afterwards, and the request is refused.
const OPERATION_TIMEOUT: Duration = Duration::from_secs(10);
/// Bytes of one upload that are held in memory when the storage is a folder.
const FOLDER_PART_BYTES: usize = 256 * 1024;
/// Bytes of one upload that are held in memory when the storage is a bucket: S3 accepts no smaller parts.
const BUCKET_PART_BYTES: usize = 5 * 1024 * 1024;
/// Minimum bytes per second of an upload: a bad mobile connection.
pub const MIN_UPLOAD_RATE: u64 = 16 * 1024;
/// Bytes of an upload that are held in memory before it takes one of the node's slots.
///
/// An upload that has sent little blocks no other upload.
pub const UNSLOTTED_BYTES: usize = 64 * 1024;
/// Maximum concurrent sign-ups with a picture.
///
/// Sign-ups have slots of their own: anybody can send them, slowly too, and they must not block the uploads of users. An
/// account signs up once, so few slots suffice.
const SIGN_UPS: usize = 8;
/// Maximum objects that one sweep of `incoming/` lists.
const SCAN_LIMIT: usize = 10_000;

/// Folder of the files that can be downloaded.
pub const STORED: &str = "files";
/// Folder of the thumbnails.
pub const THUMBNAILS: &str = "thumbnails";

/// The object storage of a node.
pub struct Blobs {
    store: Arc<dyn ObjectStore>,
    /// The folder with unfinished uploads, which the store does not list; `None` for a bucket.
    folder: Option<PathBuf>,
    part_bytes: usize,
    uploads: Arc<Semaphore>,
    sign_ups: Arc<Semaphore>,
    accepted: [Notify; 2],
    tasks: Tasks,
}

pub(super) fn incoming(id: FileId) -> Path {
    Path::from(format!("incoming/{id}"))
}

/// Path of a file that can be downloaded.
pub fn stored_path(id: FileId) -> Path {
    Path::from(format!("{STORED}/{id}"))
}

/// Path of a thumbnail for one of [`WIDTHS`].
pub fn thumbnail_path(id: FileId, width: u32) -> Path {
    Path::from(format!("{THUMBNAILS}/{id}-{width}"))
}

pub(super) fn unavailable(error: object_store::Error) -> Problem {
    Problem::Unavailable(Dependency::Files, Some(error.into()))
}

/// Runs an operation with [`OPERATION_TIMEOUT`].
pub(super) async fn with_timeout<T>(
    operation: impl Future<Output = Result<T, object_store::Error>>,
) -> Result<T, Problem> {
    tokio::time::timeout(OPERATION_TIMEOUT, operation)
        .await
        .map_err(|late| Problem::Unavailable(Dependency::Files, Some(late.into())))?
        .map_err(unavailable)
}

pub(super) fn open_folder(folder: &PathBuf) -> Result<Arc<dyn ObjectStore>, String> {
    // Shows only the error of the operating system, because the URL may hold a secret.
    std::fs::create_dir_all(folder)
        .map_err(|error| format!("FILES_URL: the folder cannot be created: {error}"))?;
    let store = LocalFileSystem::new_with_prefix(folder)
        .map_err(|error| format!("FILES_URL: the folder cannot be used: {error}"))?;
    // An accepted file survives a power failure.
    Ok(Arc::new(store.with_fsync(true)))
}

pub(super) fn open_bucket(
    url: &str,
    prefix: &Path,
    variables: &[(&'static str, Secret)],
) -> Result<Arc<dyn ObjectStore>, String> {
    // Only this TLS provider is compiled in. Fails when another node in this process has installed it.
    drop(rustls::crypto::ring::default_provider().install_default());
    // A download may take as long as its client, so only each operation has a timeout.
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
        .map_err(|error| format!("FILES_URL or an AWS_ variable is invalid: {error}"))?;
    Ok(Arc::new(PrefixStore::new(store, prefix.clone())))
}

impl Blobs {
    /// Opens the storage that the settings name.
    ///
    /// Creates a folder; does not connect to a bucket.
    ///
    /// # Errors
    /// A setting is invalid, or the folder cannot be created.
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
            accepted: [const { Notify::const_new() }; 2],
            tasks: tasks.clone(),
        }))
    }

    /// An empty set of staged files for one request of a client, who has the slots `own`.
    pub fn stage(self: &Arc<Self>, client: Client, own: Arc<Semaphore>) -> Staged {
        Staged {
            blobs: self.clone(),
            node_slots: match client {
                Client::User(_) => self.uploads.clone(),
                Client::Network(_) => self.sign_ups.clone(),
            },
            own_slots: own,
            started: Vec::new(),
            list: Vec::new(),
            slots: None,
        }
    }

    /// Wakes the tasks that wait in [`Self::accepted`].
    pub fn notify_accepted(&self) {
        for kind in &self.accepted {
            kind.notify_one();
        }
    }

    /// Waits until this node accepts files. Wakes one task for pictures that are decoded, and one for other files.
    pub async fn accepted(&self, is_decoded: bool) {
        self.accepted[usize::from(is_decoded)].notified().await;
    }

    /// Moves an accepted file from `incoming/` to `files/`, where it can be downloaded. Idempotent.
    ///
    /// # Errors
    /// The storage fails, or does not have the bytes.
    pub async fn publish(&self, id: FileId, size: i64) -> Result<(), Problem> {
        let moved = with_timeout(self.store.rename(&incoming(id), &stored_path(id))).await;
        match moved {
            Ok(()) => Ok(()),
            // Another node moved the file and died: after the move, or between the copy and the deletion.
            Err(problem) => match with_timeout(self.store.head(&stored_path(id))).await {
                Ok(object) if i64::try_from(object.size) == Ok(size) => Ok(()),
                _ => Err(problem),
            },
        }
    }

    /// Deletes accepted files from `files/` and from `incoming/`.
    ///
    /// # Errors
    /// The storage fails.
    pub async fn delete(&self, ids: &[FileId]) -> Result<(), Problem> {
        for id in ids {
            self.remove(&stored_path(*id)).await?;
            self.remove(&incoming(*id)).await?;
        }
        Ok(())
    }

    /// Deletes staged files in the background. The sweep deletes the files for which this fails.
    pub fn discard(self: &Arc<Self>, ids: Vec<FileId>) {
        if ids.is_empty() {
            return;
        }
        let files = self.clone();
        self.tasks.spawn("files.discard", async move {
            for id in ids {
                if let Err(error) = files.delete_incoming(id).await {
                    debug!(error = %chain(&error), file.id = %id, "deleting a staged file failed; the sweep deletes it");
                }
            }
        });
    }

    /// Deletes a file from `incoming/`.
    ///
    /// # Errors
    /// The storage fails.
    pub async fn delete_incoming(&self, id: FileId) -> Result<(), Problem> {
        self.remove(&incoming(id)).await
    }

    async fn remove(&self, path: &Path) -> Result<(), Problem> {
        let deletion = async {
            match self.store.delete(path).await {
                Err(object_store::Error::NotFound { .. }) => Ok(()),
                result => result,
            }
        };
        with_timeout(deletion).await
    }

    /// Streams a range of a file, which must not be empty.
    ///
    /// # Errors
    /// The storage fails, or its object does not have the size of the accepted file.
    pub async fn read(
        &self,
        id: FileId,
        size: i64,
        range: Range<u64>,
    ) -> Result<BoxStream<'static, Result<Bytes, object_store::Error>>, Problem> {
        let options = GetOptions::new().with_range(Some(range));
        let found = with_timeout(self.store.get_opts(&stored_path(id), options)).await?;
        if i64::try_from(found.meta.size) != Ok(size) {
            return Err(Problem::internal(format!(
                "the file {id} has {} bytes in storage instead of {size}",
                found.meta.size
            )));
        }
        Ok(found.into_stream())
    }

    /// Stores the thumbnails of a picture. Idempotent.
    ///
    /// # Errors
    /// The storage fails.
    pub async fn put_thumbnails(&self, id: FileId, thumbnails: &Thumbnails) -> Result<(), Problem> {
        for (width, image) in WIDTHS.iter().zip(&thumbnails.images) {
            let path = thumbnail_path(id, *width);
            with_timeout(self.store.put(&path, image.clone().into())).await?;
        }
        Ok(())
    }

    /// The thumbnail of a picture that has thumbnails, for one of [`WIDTHS`].
    ///
    /// # Errors
    /// The storage fails.
    pub async fn thumbnail(&self, id: FileId, width: u32) -> Result<Bytes, Problem> {
        let read = async {
            let found = self.store.get(&thumbnail_path(id, width)).await?;
            found.bytes().await
        };
        with_timeout(read).await
    }

    /// Deletes the thumbnails of a file, which may have none.
    ///
    /// # Errors
    /// The storage fails.
    pub async fn delete_thumbnails(&self, id: FileId) -> Result<(), Problem> {
        for width in WIDTHS {
            self.remove(&thumbnail_path(id, width)).await?;
        }
        Ok(())
    }

    /// Stores an object, reads it and deletes it.
    ///
    /// # Errors
    /// The storage fails.
    pub async fn probe(&self) -> Result<(), Problem> {
        let path = Path::from(format!("probe/{}", FileId::new()));
        with_timeout(self.store.put(&path, Bytes::from_static(b"probe").into())).await?;
        let read = async { self.store.get(&path).await?.bytes().await };
        let read = with_timeout(read).await;
        self.remove(&path).await?;
        if read? == "probe" {
            Ok(())
        } else {
            Err(Problem::internal(
                "the storage returned other bytes than it got",
            ))
        }
    }

    /// The path and the size in bytes of each object in a folder.
    pub fn list(&self, folder: &str) -> BoxStream<'static, Result<(String, u64), Problem>> {
        let objects = self.store.list(Some(&Path::from(folder)));
        objects
            .map_ok(|object| (object.location.to_string(), object.size))
            .map_err(unavailable)
            .boxed()
    }

    /// At most `limit` files in `incoming/` that were written longer than `age` ago.
    ///
    /// # Errors
    /// The storage fails.
    pub async fn old_incoming(&self, age: Duration, limit: usize) -> Result<Vec<FileId>, Problem> {
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
            .take(limit)
            .try_collect();
        with_timeout(old).await
    }

    /// Deletes the parts of unfinished uploads of nodes that died, and returns their number.
    ///
    /// Only in a folder, whose parts the store does not list. A bucket needs a lifecycle rule for such parts.
    ///
    /// # Errors
    /// The folder cannot be read.
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
        // LocalFileSystem names an unfinished upload `{id}#1`.
        let is_part = entry.file_name().to_string_lossy().contains('#');
        let old = |entry: &std::fs::DirEntry| {
            let written = entry.metadata().ok()?.modified().ok()?;
            Some(written.elapsed().ok()? >= age)
        };
        if is_part && old(&entry).unwrap_or(false) && std::fs::remove_file(entry.path()).is_ok() {
            deleted += 1;
        }
    }
    Ok(deleted)
}
