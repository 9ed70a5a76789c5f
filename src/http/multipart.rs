//! Multipart bodies (RFC 7578): one JSON part and files, in any order.
//!
//! Files are streamed into storage, so that they fill neither the memory nor the disk of the node.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use futures_util::{Stream, StreamExt};
use http::header::CONTENT_TYPE;
use multer::{Constraints, Field, Multipart, SizeLimit};
use serde::de::DeserializeOwned;
use thiserror::Error;
use tokio::time::Instant;

use crate::{
    app::App,
    blobs::{MIN_UPLOAD_RATE, UNSLOTTED_BYTES, upload::Staged},
    http::{
        body::BodyStream,
        disposition::Disposition,
        request::{MAX_JSON_BYTES, Request},
    },
    model::{
        BinaryContent, UploadStatus,
        file::{self, PICTURE_START, UNKNOWN_TYPE},
        from_json,
    },
    problem::Problem,
    rate_limit::clients::{Client, FILE_COST},
    store::{self, files::MIN_STORED_BYTES},
};

/// Maximum parts of a body: the JSON, ten files, and as many unknown parts.
const MAX_PARTS: usize = 22;
/// Maximum bytes before a part's content: its boundary and headers. Browsers send a few hundred.
const MAX_PART_HEAD_BYTES: usize = 16 * 1024;
/// Bytes that multer may buffer before it parses.
const BUFFER_BYTES: usize = 64 * 1024;
/// How far a body may be behind [`MIN_UPLOAD_RATE`], from its start on, before it gets 408.
const UPLOAD_GRACE: Duration = Duration::from_secs(10);

/// The parts that a multipart body may contain.
pub struct Parts {
    /// Name of the JSON part.
    pub json: &'static str,
    /// Name of the parts with files.
    pub files: &'static str,
    /// Maximum number of files.
    pub max_files: usize,
    /// Whether only pictures are accepted.
    pub pictures: bool,
}

impl Request {
    /// Reads a multipart body: parses its JSON part, with or without a content type, and streams its files into storage.
    ///
    /// A drop of the returned value, or of this future, deletes the files.
    ///
    /// # Errors
    /// 415, 413, 408, 400; 403 and 429 when `client` has used up its storage or its rate; 503 when storage does not accept a
    /// file.
    pub async fn multipart<T: DeserializeOwned>(
        &mut self,
        parts: &Parts,
        client: Client,
    ) -> Result<(T, Staged), Problem> {
        let boundary = self
            .header(CONTENT_TYPE)
            .and_then(|value| multer::parse_boundary(value).ok());
        let boundary = boundary.ok_or(Problem::UnsupportedMediaType {
            expected: "multipart/form-data",
        })?;
        let limit = self.app.config.max_request_size;
        // An announced length above the limit fails before any byte is read.
        if self
            .head
            .content_length()
            .is_some_and(|length| length > limit)
        {
            return Err(too_large(limit));
        }
        let head_bytes = Arc::new(AtomicUsize::new(0));
        let body = HeadLimitedBody {
            body: self.take_body(),
            head_bytes: head_bytes.clone(),
            parser_ran: false,
            buffered: 0,
        };
        let constraints = Constraints::new().size_limit(SizeLimit::new().whole_stream(limit));
        let mut reader = MultipartReader {
            multipart: Multipart::with_constraints(body, boundary, constraints),
            head_bytes,
            app: self.app.clone(),
            client,
            deadline: Instant::now() + UPLOAD_GRACE,
            stored: None,
            staged: self
                .app
                .blobs
                .stage(client, self.app.limits.uploads(client)),
        };
        let json = reader.read(parts).await?;
        Ok((from_json(&json)?, reader.staged))
    }
}

/// Whether a part that no request expects may contain a file.
fn is_file(part: &Field<'_>, disposition: &Disposition) -> bool {
    let is_text = |essence: &str| essence.eq_ignore_ascii_case("text/plain");
    // A browser sends an empty file name for a file input without a file.
    disposition
        .file_name
        .as_deref()
        .is_some_and(|name| !name.is_empty())
        || disposition.file_name.is_none()
            && part
                .content_type()
                .is_some_and(|declared| !is_text(declared.essence_str()))
}

fn too_large(limit: u64) -> Problem {
    Problem::TooLarge {
        limit_bytes: usize::try_from(limit).unwrap_or(usize::MAX),
    }
}

struct MultipartReader {
    multipart: Multipart<'static>,
    /// Shared with the [`HeadLimitedBody`] that multer reads.
    head_bytes: Arc<AtomicUsize>,
    app: Arc<App>,
    client: Client,
    /// When the body is too far behind [`MIN_UPLOAD_RATE`].
    deadline: Instant,
    /// Bytes that the client has stored, with those of this request; unknown before the first file.
    stored: Option<u64>,
    staged: Staged,
}

impl MultipartReader {
    /// Reads every part and returns the JSON.
    async fn read(&mut self, parts: &Parts) -> Result<Bytes, Problem> {
        let mut json = None;
        let mut number = 0;
        while let Some(mut part) = self.next_part().await? {
            number += 1;
            if number > MAX_PARTS {
                return Err(Problem::Malformed("The body has too many parts.".into()));
            }
            let disposition = Disposition::of(part.headers());
            let Some(name) = &disposition.name else {
                return Err(Problem::Malformed("A part has no name.".into()));
            };
            if name == parts.json {
                json = Some(self.read_in_memory(&mut part).await?);
            } else if name == parts.files {
                self.store_file(part, disposition.file_name, parts).await?;
            } else if is_file(&part, &disposition) {
                // The client would believe that the file is stored.
                let why = format!("A part with a file must have the name {}.", parts.files);
                return Err(Problem::Malformed(why.into()));
            } else {
                // A text field of a form, such as its submit button.
                self.read_in_memory(&mut part).await?;
            }
        }
        json.ok_or_else(|| Problem::invalid(parts.json, "this part is missing"))
    }

    /// Moves the deadline on by the time that these bytes may take, up to [`UPLOAD_GRACE`] from now.
    fn received(&mut self, bytes: usize) {
        let time = Duration::from_micros(bytes as u64 * 1_000_000 / MIN_UPLOAD_RATE);
        self.deadline = (self.deadline + time).min(Instant::now() + UPLOAD_GRACE);
    }

    async fn next_part(&mut self) -> Result<Option<Field<'static>>, Problem> {
        self.head_bytes.store(0, Ordering::Relaxed);
        let part = tokio::time::timeout_at(self.deadline, self.multipart.next_field())
            .await
            .map_err(|_| Problem::RequestTimeout)?
            .map_err(problem);
        self.head_bytes.store(NOT_IN_HEAD, Ordering::Relaxed);
        part
    }

    async fn chunk(&mut self, part: &mut Field<'static>) -> Result<Option<Bytes>, Problem> {
        let chunk = tokio::time::timeout_at(self.deadline, part.chunk())
            .await
            .map_err(|_| Problem::RequestTimeout)?
            .map_err(problem)?;
        self.received(chunk.as_ref().map_or(0, Bytes::len));
        Ok(chunk)
    }

    async fn read_in_memory(&mut self, part: &mut Field<'static>) -> Result<Bytes, Problem> {
        let mut body = BytesMut::new();
        while let Some(chunk) = self.chunk(part).await? {
            if body.len() + chunk.len() > MAX_JSON_BYTES {
                return Err(too_large(MAX_JSON_BYTES as u64));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body.freeze())
    }

    /// Streams a part into storage.
    async fn store_file(
        &mut self,
        mut part: Field<'static>,
        name: Option<String>,
        parts: &Parts,
    ) -> Result<(), Problem> {
        let name = name.filter(|name| !name.is_empty());
        let name = name.map(|name| file::display_name(&name));
        let mut content_type = part
            .headers()
            .get(CONTENT_TYPE)
            .and_then(|value| value.to_str().ok())
            .map_or_else(|| UNKNOWN_TYPE.to_owned(), file::media_type);
        let mut start = BytesMut::new();
        while start.len() < PICTURE_START {
            match self.chunk(&mut part).await? {
                Some(chunk) => start.extend_from_slice(&chunk),
                None => break,
            }
        }
        // Browsers send such a part for a file input without a file.
        if start.is_empty() && name.is_none() {
            return Ok(());
        }
        if self.staged.list().len() == parts.max_files {
            let why = format!("must be at most {}", parts.max_files);
            return Err(Problem::invalid(parts.files, &why));
        }
        if parts.pictures {
            let picture_type = file::picture_type(&start);
            match picture_type {
                Some(found) if [found, UNKNOWN_TYPE].contains(&&*content_type) => {
                    found.clone_into(&mut content_type);
                }
                _ => {
                    return Err(Problem::invalid(
                        parts.files,
                        "must be a PNG, JPEG, GIF or WebP picture; its content type, if any, must match",
                    ));
                }
            }
        }
        self.app.limits.spend(self.client, FILE_COST)?;
        let max_file_size = self.app.config.max_file_size;
        let stored = self.stored().await?;
        let mut upload = self.staged.begin();
        let mut next = Some(start.freeze());
        while let Some(chunk) = next {
            let size = upload.size() + chunk.len() as u64;
            if size > max_file_size {
                return Err(too_large(max_file_size));
            }
            self.check_quota(stored + size.max(MIN_STORED_BYTES))?;
            if size > UNSLOTTED_BYTES as u64 {
                self.staged.take_slot()?;
            }
            let before = Instant::now();
            upload.write(&chunk).await?;
            // The client has no part in the time that the storage takes.
            self.deadline += before.elapsed();
            next = self.chunk(&mut part).await?;
        }
        self.staged.take_slot()?;
        let size = upload.size();
        self.check_quota(stored + size.max(MIN_STORED_BYTES))?;
        self.stored = Some(stored + size.max(MIN_STORED_BYTES));
        let before = Instant::now();
        let id = upload.finish().await?;
        self.deadline += before.elapsed();
        let size = i64::try_from(size).map_err(Problem::internal)?;
        self.staged.add(BinaryContent {
            id,
            file_name: name.unwrap_or_else(|| file::display_name("")),
            size,
            content_type,
            upload_status: UploadStatus::Waiting,
            picture: None,
        });
        Ok(())
    }

    /// Bytes that the client has stored, with those of this request.
    ///
    /// Requests at the same time do not see each other, so a user can exceed the quota by `UPLOADS_PER_USER` requests.
    async fn stored(&self) -> Result<u64, Problem> {
        match (self.stored, self.client) {
            (Some(stored), _) => Ok(stored),
            (None, Client::User(user)) => store::files::stored_bytes(&self.app.db, user).await,
            (None, Client::Network(_)) => Ok(0),
        }
    }

    fn check_quota(&self, stored: u64) -> Result<(), Problem> {
        let limit = self.app.config.storage_per_user;
        if stored <= limit {
            return Ok(());
        }
        Err(Problem::QuotaExceeded {
            quota: "storage",
            limit,
            user: None,
        })
    }
}

/// A value of [`HeadLimitedBody::head_bytes`]: multer is reading the content of a part.
const NOT_IN_HEAD: usize = usize::MAX;

/// Why multer's stream failed.
#[derive(Debug, Error)]
enum StreamError {
    #[error("the body ended early")]
    EndedEarly(#[source] warp::Error),
    #[error("the head of a part is too large")]
    HeadTooLarge,
}

/// A body that limits how much multer buffers.
///
/// multer reads all available bytes before it parses, and has no limit for the headers of a part.
struct HeadLimitedBody {
    body: BodyStream,
    /// Bytes received since multer began to parse the head of a part, or [`NOT_IN_HEAD`].
    head_bytes: Arc<AtomicUsize>,
    /// Whether multer has parsed the bytes of a head that reached its limit.
    parser_ran: bool,
    /// Bytes received since multer last parsed.
    buffered: usize,
}

impl Stream for HeadLimitedBody {
    type Item = Result<Bytes, StreamError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let head_bytes = self.head_bytes.load(Ordering::Relaxed);
        let full = head_bytes != NOT_IN_HEAD && head_bytes >= MAX_PART_HEAD_BYTES;
        if full && self.parser_ran {
            return Poll::Ready(Some(Err(StreamError::HeadTooLarge)));
        }
        self.parser_ran = full;
        if full || self.buffered >= BUFFER_BYTES {
            // multer parses its buffer whenever the stream is pending.
            self.buffered = 0;
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        match self.body.poll_next_unpin(context) {
            Poll::Ready(Some(Ok(chunk))) => {
                self.buffered += chunk.len();
                if head_bytes != NOT_IN_HEAD {
                    self.head_bytes
                        .store(head_bytes + chunk.len(), Ordering::Relaxed);
                }
                Poll::Ready(Some(Ok(chunk)))
            }
            Poll::Ready(Some(Err(error))) => Poll::Ready(Some(Err(StreamError::EndedEarly(error)))),
            Poll::Ready(None) => Poll::Ready(None),
            Poll::Pending => {
                self.buffered = 0;
                Poll::Pending
            }
        }
    }
}

fn problem(error: multer::Error) -> Problem {
    match error {
        multer::Error::StreamSizeExceeded { limit } => too_large(limit),
        multer::Error::StreamReadFailed(cause) => match cause.downcast_ref() {
            Some(StreamError::HeadTooLarge) => too_large(MAX_PART_HEAD_BYTES as u64),
            _ => Problem::Malformed("The body ended early.".into()),
        },
        _ => Problem::Malformed("The multipart body is invalid.".into()),
    }
}
