//! Multipart bodies (RFC 7578): one JSON part and files, in any order. Files go into storage as they come, so that neither
//! this node's memory nor its disk holds them.

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
use futures_util::{Stream, StreamExt, stream::BoxStream};
use http::header::CONTENT_TYPE;
use multer::{Constraints, Field, Multipart, SizeLimit};
use serde::de::DeserializeOwned;
use thiserror::Error;
use tokio::time::Instant;

use crate::{
    blobs::{MIN_UPLOAD_RATE, UploadPool, upload::Staged},
    http::request::{CHUNK_TIMEOUT, JSON_BYTES, Request},
    model::{
        BinaryContent, UploadStatus,
        file::{self, PICTURE_START, UNKNOWN_TYPE},
        from_json,
    },
    problem::Problem,
};

/// Parts of a body: the JSON and ten files, and as many that we do not know.
const MAX_PARTS: usize = 22;
/// Everything before a part's content: its boundary and headers. Browsers send some hundred bytes.
const HEAD_BYTES: usize = 16 * 1024;
/// Taken from the connection at once, before what came is looked at.
const AT_ONCE: usize = 64 * 1024;
/// A body may take this long, and a second more for each [`MIN_UPLOAD_RATE`] bytes of it, so that it cannot trickle.
const OPERATION_TIMEOUT: Duration = Duration::from_secs(30);

/// What a body is made of.
pub struct Parts {
    /// Name of the JSON part.
    pub json: &'static str,
    /// Name of the files' parts.
    pub files: &'static str,
    /// Files at most.
    pub most: usize,
    /// Only pictures are taken.
    pub pictures: bool,
    /// Who may send it.
    pub senders: UploadPool,
}

impl Request {
    /// The JSON part of a multipart body, with or without a content type of its own, and the files, which are in storage by
    /// then. When they are dropped, or the request is, they are deleted.
    ///
    /// # Errors
    /// 415, 413, 408, 400, or 503 when storage does not take a file.
    pub async fn multipart<T: DeserializeOwned>(
        self,
        parts: &Parts,
    ) -> Result<(T, Staged), Problem> {
        let boundary = self
            .header(CONTENT_TYPE)
            .and_then(|value| multer::parse_boundary(value).ok());
        let boundary = boundary.ok_or(Problem::UnsupportedMediaType {
            expected: "multipart/form-data",
        })?;
        let app = self.app.clone();
        let limit = app.config.max_request_size;
        // Refused before it is read, where its length is announced.
        if self.announced().is_some_and(|length| length > limit) {
            return Err(too_large(limit));
        }
        let head = Arc::new(AtomicUsize::new(0));
        let body = Paced {
            body: self.into_body(),
            head: head.clone(),
            looked_at: false,
            at_once: 0,
        };
        let constraints = Constraints::new().size_limit(SizeLimit::new().whole_stream(limit));
        let mut reader = Reader {
            multipart: Multipart::with_constraints(body, boundary, constraints),
            head,
            begun: Instant::now(),
            received: 0,
            staged: app.files.stage(parts.senders),
            max_file_size: app.config.max_file_size,
        };
        let json = reader.read(parts).await?;
        Ok((from_json(&json)?, reader.staged))
    }
}

fn too_large(limit: u64) -> Problem {
    Problem::TooLarge {
        limit_bytes: usize::try_from(limit).unwrap_or(usize::MAX),
    }
}

struct Reader {
    multipart: Multipart<'static>,
    head: Arc<AtomicUsize>,
    begun: Instant,
    received: u64,
    staged: Staged,
    max_file_size: u64,
}

impl Reader {
    /// Reads all parts and returns the JSON.
    async fn read(&mut self, parts: &Parts) -> Result<Bytes, Problem> {
        let mut json = None;
        let mut number = 0;
        while let Some(mut part) = self.next_part().await? {
            number += 1;
            if number > MAX_PARTS {
                return Err(Problem::Malformed("The body has too many parts.".into()));
            }
            if part.name() == Some(parts.json) {
                json = Some(self.small(&mut part).await?);
            } else if part.name() == Some(parts.files) {
                self.file(part, parts).await?;
            } else {
                self.small(&mut part).await?;
            }
        }
        json.ok_or_else(|| Problem::invalid(parts.json, "this part is missing"))
    }

    fn deadline(&self) -> Instant {
        let whole =
            self.begun + OPERATION_TIMEOUT + Duration::from_secs(self.received / MIN_UPLOAD_RATE);
        whole.min(Instant::now() + CHUNK_TIMEOUT)
    }

    async fn next_part(&mut self) -> Result<Option<Field<'static>>, Problem> {
        self.head.store(0, Ordering::Relaxed);
        let part = tokio::time::timeout_at(self.deadline(), self.multipart.next_field())
            .await
            .map_err(|_| Problem::RequestTimeout)?
            .map_err(problem);
        self.head.store(NOT_A_HEAD, Ordering::Relaxed);
        part
    }

    async fn chunk(&mut self, part: &mut Field<'static>) -> Result<Option<Bytes>, Problem> {
        let chunk = tokio::time::timeout_at(self.deadline(), part.chunk())
            .await
            .map_err(|_| Problem::RequestTimeout)?
            .map_err(problem)?;
        self.received += chunk.as_ref().map_or(0, Bytes::len) as u64;
        Ok(chunk)
    }

    /// A part that is held in memory.
    async fn small(&mut self, part: &mut Field<'static>) -> Result<Bytes, Problem> {
        let mut body = BytesMut::new();
        while let Some(chunk) = self.chunk(part).await? {
            if body.len() + chunk.len() > JSON_BYTES {
                return Err(too_large(JSON_BYTES as u64));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body.freeze())
    }

    async fn file(&mut self, mut part: Field<'static>, parts: &Parts) -> Result<(), Problem> {
        let name = part.file_name().filter(|name| !name.is_empty());
        let name = name.map(file::display_name);
        let content_type = part
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
        // What a browser makes of a file input without a file.
        if start.is_empty() && name.is_none() {
            return Ok(());
        }
        if self.staged.list().len() == parts.most {
            let why = format!("must be at most {}", parts.most);
            return Err(Problem::invalid(parts.files, &why));
        }
        if parts.pictures && !file::is_picture(&content_type, &start) {
            return Err(Problem::invalid(
                parts.files,
                "must be a PNG, JPEG, GIF or WebP picture, and declared as what it is",
            ));
        }
        let mut upload = self.staged.begin()?;
        let mut next = Some(start.freeze());
        while let Some(chunk) = next {
            if upload.size() + chunk.len() as u64 > self.max_file_size {
                return Err(too_large(self.max_file_size));
            }
            upload.write(&chunk).await?;
            next = self.chunk(&mut part).await?;
        }
        let size = i64::try_from(upload.size()).map_err(Problem::internal)?;
        let id = upload.finish().await?;
        self.staged.add(BinaryContent {
            id,
            file_name: name.unwrap_or_else(|| file::display_name("")),
            size,
            content_type,
            upload_status: UploadStatus::Waiting,
        });
        Ok(())
    }
}

/// The parser is not looking for the end of a head.
const NOT_A_HEAD: usize = usize::MAX;

/// Why a body was given up.
#[derive(Debug, Error)]
enum Cut {
    #[error("the body ended early")]
    Early(#[source] warp::Error),
    #[error("a part's head is too large")]
    Head,
}

/// A body that gives the parser no more at once than it can be seen to need: the parser takes all there is before it looks,
/// and it knows no limit for the head of a part.
struct Paced {
    body: BoxStream<'static, Result<Bytes, warp::Error>>,
    /// Bytes taken since the parser began to look for a head's end, or [`NOT_A_HEAD`].
    head: Arc<AtomicUsize>,
    looked_at: bool,
    at_once: usize,
}

impl Stream for Paced {
    type Item = Result<Bytes, Cut>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let head = self.head.load(Ordering::Relaxed);
        let full = head != NOT_A_HEAD && head >= HEAD_BYTES;
        if full && self.looked_at {
            return Poll::Ready(Some(Err(Cut::Head)));
        }
        self.looked_at = full;
        if full || self.at_once >= AT_ONCE {
            self.at_once = 0;
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        match self.body.poll_next_unpin(context) {
            Poll::Ready(Some(Ok(chunk))) => {
                self.at_once += chunk.len();
                if head != NOT_A_HEAD {
                    self.head.store(head + chunk.len(), Ordering::Relaxed);
                }
                Poll::Ready(Some(Ok(chunk)))
            }
            Poll::Ready(Some(Err(error))) => Poll::Ready(Some(Err(Cut::Early(error)))),
            Poll::Ready(None) => Poll::Ready(None),
            Poll::Pending => {
                self.at_once = 0;
                Poll::Pending
            }
        }
    }
}

fn problem(error: multer::Error) -> Problem {
    match error {
        multer::Error::StreamSizeExceeded { limit } => too_large(limit),
        multer::Error::StreamReadFailed(cause) => match cause.downcast_ref() {
            Some(Cut::Head) => too_large(HEAD_BYTES as u64),
            _ => Problem::Malformed("The body ended early.".into()),
        },
        _ => Problem::Malformed("The multipart body is invalid.".into()),
    }
}
