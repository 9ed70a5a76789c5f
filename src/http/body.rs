//! Request bodies.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::{Body, Frame, Incoming, SizeHint};

use crate::tasks::Tasks;

/// After a refusal, what is still coming of the body is read for this long, so that the client gets to read the answer.
const LINGER: Duration = Duration::from_secs(2);
/// And this much of it at most, in bytes: a request with files.
const LINGER_BYTES: usize = 64 * 1024 * 1024;
/// A request's body that tells when it is dropped before its end. What is still coming is then read and thrown away for a
/// while: closing on it at once would reset the connection, and the client would never see why it was refused.
pub(super) struct LingeringBody {
    pub(super) body: Option<Incoming>,
    pub(super) ended: bool,
    pub(super) unread: Arc<AtomicBool>,
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
            tasks.spawn("linger", linger(body));
        }
    }
}

/// Throws away what comes, for a while and up to a size.
async fn linger(mut body: Incoming) {
    let read = async {
        let mut left = LINGER_BYTES;
        while let Some(Ok(frame)) = body.frame().await {
            left = match left.checked_sub(frame.data_ref().map_or(0, Bytes::len)) {
                Some(left) => left,
                None => return,
            };
        }
    };
    // Whoever has not read the answer by then does not mean to.
    drop(tokio::time::timeout(LINGER, read).await);
}
