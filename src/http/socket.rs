//! The socket under hyper.
//!
//! When hyper cannot parse the head of a request, it responds by itself, without a body and without a request id. The socket
//! replaces that response with the API's error body.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::{Buf, Bytes};
use futures_util::FutureExt;
use http::{
    HeaderMap, HeaderValue, Response,
    header::{CONNECTION, CONTENT_LENGTH},
};
use http_body_util::{BodyExt, Collected};
use hyper::{
    body::{Body, Frame, SizeHint},
    rt::{Read, ReadBufCursor, Write},
};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, ReadBuf},
    net::TcpStream,
    time::Sleep,
};
use tracing::debug;

use crate::{
    http::{
        head::{NODE, REQUEST_ID, request_id},
        hijack::head,
        reply::problem,
    },
    problem::Problem,
};

/// Time during which the node discards what the client still sends after such a response. Closing at once would reset the
/// connection, and the client might never read why.
const LINGER_TIMEOUT: Duration = Duration::from_secs(2);
/// Maximum bytes that the node discards in that time.
const MAX_LINGER_BYTES: usize = 1024 * 1024;

/// No response is in progress, and hyper has written all earlier ones.
const IDLE: u8 = 0;
/// The service works on a request, or the body of its response has not ended.
const RESPONDING: u8 = 1;
/// The response has ended; hyper may still have to write a part of it.
const FLUSHING: u8 = 2;

/// Whether the bytes that hyper writes belong to a response of the service.
#[derive(Clone, Default)]
pub(super) struct Progress(Arc<AtomicU8>);

impl Progress {
    /// The service has got a request. True if hyper has written all earlier responses.
    pub(super) fn begin(&self) -> bool {
        self.0.swap(RESPONDING, Ordering::Relaxed) == IDLE
    }

    /// Notes when hyper drops the response's body.
    pub(super) fn until_end<B>(&self, response: Response<B>) -> Response<TrackedBody<B>> {
        response.map(|body| TrackedBody {
            body,
            progress: self.clone(),
        })
    }
}

/// The body of a response of the service.
pub(super) struct TrackedBody<B> {
    body: B,
    progress: Progress,
}

impl<B> Drop for TrackedBody<B> {
    fn drop(&mut self) {
        self.progress.0.store(FLUSHING, Ordering::Relaxed);
    }
}

impl<B: Body + Unpin> Body for TrackedBody<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// The socket of an HTTP connection.
pub(super) struct HttpSocket {
    stream: TokioIo<TcpStream>,
    progress: Progress,
    /// The node's name, a header of every response.
    node: HeaderValue,
    /// The response that replaces hyper's, as far as it is not written.
    replacement: Option<Bytes>,
    linger: Option<Linger>,
}

/// The discarding of what a client still sends.
struct Linger {
    timeout: Pin<Box<Sleep>>,
    allowance: usize,
}

impl HttpSocket {
    pub(super) fn new(stream: TcpStream, progress: Progress, node: HeaderValue) -> Self {
        Self {
            stream: TokioIo::new(stream),
            progress,
            node,
            replacement: None,
            linger: None,
        }
    }

    /// The TCP stream.
    pub(super) fn into_inner(self) -> TcpStream {
        self.stream.into_inner()
    }

    /// Takes a response that hyper itself has made. False for bytes of the service's responses.
    fn replace(&mut self, written: &[u8]) -> bool {
        if self.replacement.is_none() && self.progress.0.load(Ordering::Relaxed) == IDLE {
            self.replacement = Some(rejection(written, &self.node));
        }
        self.replacement.is_some()
    }

    fn poll_replacement(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while let Some(rest) = self.replacement.as_mut().filter(|rest| !rest.is_empty()) {
            let written = ready!(Pin::new(&mut self.stream).poll_write(context, rest))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            rest.advance(written);
        }
        Poll::Ready(Ok(()))
    }

    /// Discards what the client sends, until it closes.
    fn poll_linger(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let linger = self.linger.get_or_insert_with(|| Linger {
            timeout: Box::pin(tokio::time::sleep(LINGER_TIMEOUT)),
            allowance: MAX_LINGER_BYTES,
        });
        let mut buffer = [0; 4096];
        while linger.timeout.poll_unpin(context).is_pending() {
            let mut buffer = ReadBuf::new(&mut buffer);
            let read = Pin::new(self.stream.inner_mut()).poll_read(context, &mut buffer);
            let length = buffer.filled().len();
            match ready!(read) {
                Ok(()) if (1..=linger.allowance).contains(&length) => linger.allowance -= length,
                _ => break,
            }
        }
        Poll::Ready(())
    }
}

/// The error response for the status of a response that hyper has made.
fn rejection(written: &[u8], node: &HeaderValue) -> Bytes {
    let problem_of_status = match written.get(9..12) {
        Some(b"414") => Problem::UriTooLong,
        Some(b"431") => Problem::HeadersTooLarge,
        _ => Problem::Malformed("The request is not valid HTTP.".into()),
    };
    let id = request_id(&HeaderMap::new());
    debug!(request.id = ?id, code = problem_of_status.code(), "request rejected by the HTTP parser");
    let (mut parts, body) = problem(&problem_of_status).into_parts();
    // The body is in memory.
    let body = body.collect().now_or_never().and_then(Result::ok);
    let body = body.map(Collected::to_bytes).unwrap_or_default();
    for (name, value) in [
        (CONNECTION, HeaderValue::from_static("close")),
        (CONTENT_LENGTH, body.len().into()),
        (REQUEST_ID, id),
        (NODE, node.clone()),
    ] {
        parts.headers.insert(name, value);
    }
    let mut text = head(parts.status, parts.headers);
    text.extend_from_slice(&body);
    text.into()
}

impl Read for HttpSocket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl Write for HttpSocket {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.replace(buffer) {
            return Poll::Ready(Ok(buffer.len()));
        }
        Pin::new(&mut self.stream).poll_write(context, buffer)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffers: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if self.replace(buffers.first().map_or(&[], |first| first)) {
            return Poll::Ready(Ok(buffers.iter().map(|buffer| buffer.len()).sum()));
        }
        Pin::new(&mut self.stream).poll_write_vectored(context, buffers)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    /// hyper flushes when it has no bytes left to write.
    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_replacement(context))?;
        ready!(Pin::new(&mut self.stream).poll_flush(context))?;
        if self.progress.0.load(Ordering::Relaxed) == FLUSHING {
            self.progress.0.store(IDLE, Ordering::Relaxed);
        }
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.linger.is_none() {
            ready!(self.poll_replacement(context))?;
            ready!(Pin::new(&mut self.stream).poll_shutdown(context))?;
        }
        if self.replacement.is_some() {
            ready!(self.poll_linger(context));
        }
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_request_that_comes_before_the_last_response_is_written_is_told_apart() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0");
        let listener = listener.await.expect("bind");
        let address = listener.local_addr().expect("address");
        let stream = TcpStream::connect(address).await.expect("connect");
        let progress = Progress::default();
        let node = HeaderValue::from_static("node");
        let mut socket = HttpSocket::new(stream, progress.clone(), node);
        assert!(progress.begin());
        let response = progress.until_end(Response::new(()));
        drop(response);
        assert!(!progress.begin(), "hyper has not flushed the response");
        drop(progress.until_end(Response::new(())));
        std::future::poll_fn(|context| Pin::new(&mut socket).poll_flush(context))
            .await
            .expect("flushed");
        assert!(progress.begin());
    }
}
