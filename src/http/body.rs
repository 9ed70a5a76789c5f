//! Request bodies: reads into memory within limits, and the discarding of unread bodies.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use bytes::{Buf, Bytes, BytesMut};
use futures_util::{
    Stream, StreamExt,
    stream::{self, BoxStream},
};
use http_body_util::BodyExt;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use parking_lot::Mutex;
use tokio::time::timeout;

use crate::{http::head::Head, tasks::Tasks};

/// Time during which the node discards the rest of an unread body, so that the client can read the response.
const LINGER_TIMEOUT: Duration = Duration::from_secs(2);
/// Maximum bytes of an unread body that the node discards: a request with files.
const MAX_LINGER_BYTES: usize = 64 * 1024 * 1024;

/// The chunks of a request's body.
pub type BodyStream = BoxStream<'static, Result<Bytes, warp::Error>>;

/// The unread body of a request.
pub struct RequestBody {
    // Never locked: the mutex only makes the request `Sync`, so that futures which borrow it are `Send`.
    stream: Mutex<BodyStream>,
}

/// Limits of a body that is read into memory.
#[derive(Clone, Copy, Debug)]
pub struct BodyLimits {
    /// Maximum length in bytes.
    pub bytes: usize,
    /// Timeout of the whole body, so that it cannot trickle.
    pub total: Duration,
    /// Timeout of each chunk.
    pub idle: Duration,
}

/// Why a body could not be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyError {
    /// The body exceeds its maximum length.
    TooLarge,
    /// The body did not arrive in time.
    Timeout,
    /// The connection closed before the body's end.
    EndedEarly,
}

impl RequestBody {
    /// The body that warp extracts as a stream of buffers.
    pub fn new(chunks: impl Stream<Item = Result<impl Buf, warp::Error>> + Send + 'static) -> Self {
        let chunks =
            chunks.map(|chunk| chunk.map(|mut chunk| chunk.copy_to_bytes(chunk.remaining())));
        Self {
            stream: Mutex::new(chunks.boxed()),
        }
    }

    /// Takes the stream of chunks out; the body is empty afterwards.
    pub fn take_stream(&mut self) -> BodyStream {
        std::mem::replace(self.stream.get_mut(), stream::empty().boxed())
    }

    /// Reads the whole body into memory.
    ///
    /// # Errors
    /// The body exceeds a limit, or its connection closed early. A `Content-Length` above the limit fails before any byte
    /// is read.
    pub async fn read(&mut self, head: &Head, limits: BodyLimits) -> Result<Bytes, BodyError> {
        let max = limits.bytes;
        if head
            .content_length()
            .is_some_and(|length| length > max as u64)
        {
            return Err(BodyError::TooLarge);
        }
        let stream = self.stream.get_mut();
        let read = async {
            let mut body = BytesMut::new();
            loop {
                let chunk = match timeout(limits.idle, stream.next()).await {
                    Ok(Some(chunk)) => chunk.map_err(|_| BodyError::EndedEarly)?,
                    Ok(None) => return Ok(body.freeze()),
                    Err(_) => return Err(BodyError::Timeout),
                };
                if body.len() + chunk.len() > max {
                    return Err(BodyError::TooLarge);
                }
                body.extend_from_slice(&chunk);
            }
        };
        timeout(limits.total, read)
            .await
            .unwrap_or(Err(BodyError::Timeout))
    }
}

/// A body that is discarded in the background if it is dropped before its end.
///
/// Closing the connection at once would reset it, and the client would never read why its request was refused.
pub(super) struct LingeringBody {
    pub(super) body: Option<Incoming>,
    pub(super) ended: bool,
    /// Set when the body is dropped before its end.
    pub(super) unread: Arc<AtomicBool>,
    /// Owner of the task that discards the rest; `None` to discard nothing.
    pub(super) linger: Option<Tasks>,
}

impl Body for LingeringBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let Some(body) = &mut self.body else {
            return Poll::Ready(None);
        };
        let frame = Pin::new(body).poll_frame(context);
        self.ended |= matches!(frame, Poll::Ready(None));
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body
            .as_ref()
            .map_or_else(|| SizeHint::with_exact(0), Body::size_hint)
    }
}

impl Drop for LingeringBody {
    fn drop(&mut self) {
        if self.ended || self.is_end_stream() {
            return;
        }
        self.unread.store(true, Ordering::Release);
        if let (Some(tasks), Some(body)) = (self.linger.take(), self.body.take()) {
            tasks.spawn("linger", discard(body));
        }
    }
}

/// Reads and discards a body, up to [`MAX_LINGER_BYTES`] and [`LINGER_TIMEOUT`].
async fn discard(mut body: Incoming) {
    let read = async {
        let mut allowance = MAX_LINGER_BYTES;
        while let Some(Ok(frame)) = body.frame().await {
            allowance = match allowance.checked_sub(frame.data_ref().map_or(0, Bytes::len)) {
                Some(allowance) => allowance,
                None => return,
            };
        }
    };
    // After the timeout the connection closes, whether or not the client has read the response.
    drop(timeout(LINGER_TIMEOUT, read).await);
}
