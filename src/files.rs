//! The bytes of files, in object storage that all nodes share: a folder or an S3 bucket.
//!
//! `incoming/{id}` is what a request has brought, `files/{id}` what can be downloaded. Which files there are, and whose,
//! PostgreSQL knows; here are bytes under names that no client chooses.

use std::{ops::Range, path::PathBuf, sync::Arc, time::Duration};

use bytes::{Bytes, BytesMut};
use futures_util::{StreamExt, TryStreamExt, stream::BoxStream};
use object_store::{
    BackoffConfig, ClientOptions, GetOptions, MultipartUpload, ObjectStore, ObjectStoreExt,
    ObjectStoreScheme, RetryConfig, aws::AmazonS3Builder, local::LocalFileSystem, path::Path,
    prefix::PrefixStore,
};
use time::OffsetDateTime;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tracing::debug;
use url::Url;

use crate::{
    config::{Config, Secret},
    ids::FileId,
    model::BinaryContentDto,
    problem::{Dependency, Problem, chain},
    tasks::Tasks,
};

/// One operation on the storage at most. Behind it nothing is known, and the request is refused.
const WITHIN: Duration = Duration::from_secs(10);
/// What of one upload is held in memory, for a folder.
const FOLDER_PART_BYTES: usize = 256 * 1024;
/// The same for a bucket: S3 takes no smaller parts.
const BUCKET_PART_BYTES: usize = 5 * 1024 * 1024;
/// Bytes a second of an upload at least: a bad mobile connection.
pub const SLOWEST: u64 = 16 * 1024;
/// Sign-ups with a picture at the same time. They have slots of their own, since whoever likes can send them, slowly too: they
/// may keep each other waiting and nobody else. A picture is sent once in an account's life, so few are enough.
const SIGN_UPS: usize = 8;
/// Objects looked at in one sweep of `incoming/`.
const LOOKED_AT: usize = 10_000;

/// The environment's variables that a bucket is reached with.
pub const AWS_VARIABLES: [&str; 20] = [
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AWS_REGION",
    "AWS_DEFAULT_REGION",
    "AWS_ENDPOINT_URL",
    "AWS_ENDPOINT_URL_S3",
    "AWS_ENDPOINT",
    "AWS_ALLOW_HTTP",
    "AWS_VIRTUAL_HOSTED_STYLE_REQUEST",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_ROLE_ARN",
    "AWS_ROLE_SESSION_NAME",
    "AWS_SERVER_SIDE_ENCRYPTION",
    "AWS_SSE_KMS_KEY_ID",
    "AWS_DISABLE_TAGGING",
    "AWS_UNSIGNED_PAYLOAD",
];

/// Where files are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// `file:///folder`, which every node must see at the same path or mounted at its own.
    Folder(PathBuf),
    /// `s3://bucket/prefix`
    Bucket {
        /// The bucket's URL, without the prefix.
        url: String,
        /// Before every name.
        prefix: Path,
    },
}

impl Place {
    /// Parses `FILES_URL`; `None` for anything else.
    pub fn parse(text: &str) -> Option<Self> {
        let url = Url::parse(text).ok()?;
        if !url.username().is_empty() || url.password().is_some() || url.query().is_some() {
            return None;
        }
        let (scheme, path) = ObjectStoreScheme::parse(&url).ok()?;
        match (scheme, url.scheme()) {
            (ObjectStoreScheme::Local, _) if !path.as_ref().is_empty() => {
                url.to_file_path().ok().map(Self::Folder)
            }
            (ObjectStoreScheme::AmazonS3, "s3") => Some(Self::Bucket {
                url: format!("s3://{}", url.host_str()?),
                prefix: path,
            }),
            _ => None,
        }
    }
}

/// Who may send a request with files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Senders {
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

fn incoming(id: FileId) -> Path {
    Path::from(format!("incoming/{id}"))
}

fn kept(id: FileId) -> Path {
    Path::from(format!("files/{id}"))
}

fn away(error: object_store::Error) -> Problem {
    Problem::Unavailable(Dependency::Files, Some(error.into()))
}

/// An operation that fails when it takes too long.
async fn within<T>(
    operation: impl Future<Output = Result<T, object_store::Error>>,
) -> Result<T, Problem> {
    tokio::time::timeout(WITHIN, operation)
        .await
        .map_err(|late| Problem::Unavailable(Dependency::Files, Some(late.into())))?
        .map_err(away)
}

fn open_folder(folder: &PathBuf) -> Result<Arc<dyn ObjectStore>, String> {
    // The URL may hold what nobody else need know; the system's own words do not.
    std::fs::create_dir_all(folder)
        .map_err(|error| format!("FILES_URL: the folder cannot be made: {error}"))?;
    let store = LocalFileSystem::new_with_prefix(folder)
        .map_err(|error| format!("FILES_URL: the folder cannot be used: {error}"))?;
    // Accepted means kept, also when the machine loses its power.
    Ok(Arc::new(store.with_fsync(true)))
}

fn open_bucket(
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
            retry_timeout: WITHIN / 2,
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
            Place::Folder(folder) => (
                open_folder(folder)?,
                Some(folder.join("incoming")),
                FOLDER_PART_BYTES,
            ),
            Place::Bucket { url, prefix } => (
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
    pub fn stage(self: &Arc<Self>, senders: Senders) -> Staged {
        Staged {
            files: self.clone(),
            slots: match senders {
                Senders::Members => self.uploads.clone(),
                Senders::Anybody => self.sign_ups.clone(),
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
            .take(LOOKED_AT)
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

fn delete_old_parts(folder: &PathBuf, age: Duration) -> std::io::Result<usize> {
    let entries = match std::fs::read_dir(folder) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(0),
        entries => entries?,
    };
    let mut deleted = 0;
    for entry in entries.take(LOOKED_AT) {
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

/// The files of one request. Until they are handed over, dropping this deletes them, whatever ended the request.
pub struct Staged {
    files: Arc<Files>,
    slots: Arc<Semaphore>,
    /// Also the one that is being written.
    begun: Vec<FileId>,
    list: Vec<BinaryContentDto>,
    permit: Option<OwnedSemaphorePermit>,
}

impl Staged {
    /// Those that are complete, in their order.
    pub fn list(&self) -> &[BinaryContentDto] {
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
    pub fn add(&mut self, file: BinaryContentDto) {
        self.list.push(file);
    }

    /// From here on the files belong to a transaction that may be committed, whether or not anybody waits for it. Whoever
    /// knows that it was not says so with [`Files::discard`]; what nobody knows is left to the sweepers.
    pub fn hand_over(mut self) -> Vec<FileId> {
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
    files: Arc<Files>,
    id: FileId,
    part: BytesMut,
    /// None as long as it may fit into one part.
    parts: Option<Box<dyn MultipartUpload>>,
    size: u64,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_a_folder_or_a_bucket() {
        assert_eq!(
            Place::parse("file:///var/lib/my%20files"),
            Some(Place::Folder("/var/lib/my files".into()))
        );
        assert_eq!(
            Place::parse("s3://bucket/a/b"),
            Some(Place::Bucket {
                url: "s3://bucket".into(),
                prefix: Path::from("a/b")
            })
        );
        for wrong in [
            "",
            "/var/lib/files",
            "file:///",
            "file://host/files",
            "s3://",
            "s3://key:secret@bucket",
            "https://example.org/files",
            "memory:///",
        ] {
            assert_eq!(Place::parse(wrong), None, "{wrong}");
        }
    }
}
