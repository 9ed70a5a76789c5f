//! The sessions over HTTP of one endpoint, and the requests that receive from them and send to them.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use futures_util::{FutureExt, future::BoxFuture};
use parking_lot::Mutex;
use tokio::time::{Instant, sleep, sleep_until, timeout, timeout_at};

use crate::{
    protocol::sockjs::{HEARTBEAT, OPEN, close},
    sockjs::{
        link::Link,
        options::Options,
        session::{MESSAGE_OVERHEAD_BYTES, SockJsSession},
    },
    tasks::{Group, Tasks},
};

/// The sessions over HTTP of one endpoint, by name.
pub(super) struct Sessions {
    pub(super) options: Options,
    pub(super) tasks: Tasks,
    pub(super) handler: Handler,
    map: Mutex<HashMap<Box<str>, Arc<SockJsSession>>>,
}

/// The result of attaching a receiving request to a session.
pub(super) enum Attach {
    /// The request receives frames.
    Attached(Receiver),
    /// The request gets this close frame and nothing else.
    Closed(Bytes),
    /// The endpoint has [`Options::sessions`] sessions.
    TooManySessions,
}

/// The result of a sending request.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum SendOutcome {
    /// The messages are in the session's queue, or the session is closed and drops them.
    Accepted,
    /// The session does not exist.
    UnknownSession,
    /// The queue stayed full for [`Options::queue_timeout`].
    QueueFull,
}

impl Sessions {
    pub(super) fn new(options: Options, tasks: Tasks, handler: Handler) -> Self {
        Self {
            options,
            tasks,
            handler,
            map: Mutex::default(),
        }
    }

    /// Attaches a receiver to the session `id`, and creates the session if it does not exist.
    pub(super) async fn attach(self: &Arc<Self>, id: &str) -> Attach {
        let deadline = Instant::now() + BREAK_DETECTION_TIMEOUT;
        loop {
            if let Some(attach) = self.try_attach(id) {
                return attach;
            }
            if Instant::now() >= deadline {
                return Attach::Closed(close(2010, "Another connection still open").into());
            }
            sleep(ATTACH_RETRY_INTERVAL).await;
        }
    }

    /// Attaches a receiver; `None` while another is attached.
    fn try_attach(self: &Arc<Self>, id: &str) -> Option<Attach> {
        let mut map = self.map.lock();
        let known = map.get(id).cloned();
        if let Some(session) = known {
            let mut state = session.state.lock();
            if !state.removed {
                if state.attached_at.is_some() {
                    return state.close_frame.clone().map(Attach::Closed);
                }
                state.attached_at = Some(Instant::now());
                drop(state);
                session.wake_task.notify_one();
                return Some(Attach::Attached(self.receiver(id, session)));
            }
        } else if map.len() >= self.options.sessions {
            return Some(Attach::TooManySessions);
        }
        let session = Arc::new(SockJsSession::new(self.options.message_bytes));
        map.insert(id.into(), session.clone());
        drop(map);
        let task = self.clone().run_session(id.into(), session.clone());
        self.tasks.spawn_in(Group::SockJsSessions, task);
        Some(Attach::Attached(self.receiver(id, session)))
    }

    fn receiver(self: &Arc<Self>, id: &str, session: Arc<SockJsSession>) -> Receiver {
        Receiver {
            sessions: self.clone(),
            id: id.into(),
            session,
            last_frame_at: Instant::now(),
            detached: false,
        }
    }

    /// Runs the application of a session, and removes the session when it is abandoned.
    async fn run_session(self: Arc<Self>, id: Box<str>, session: Arc<SockJsSession>) {
        let delay = self.options.disconnect_delay;
        tokio::select! {
            () = (self.handler)(Link::http_session(session.clone())) => {}
            () = session.until_abandoned(delay) => {}
        }
        // A closed session stays for the disconnect delay, so that later requests get its close frame.
        session.until_abandoned(delay).await;
        self.remove(&id, &session);
    }

    /// Removes a session by identity, because a newer session may have the same name.
    fn remove(&self, id: &str, session: &Arc<SockJsSession>) {
        let mut map = self.map.lock();
        if map.get(id).is_some_and(|known| Arc::ptr_eq(known, session)) {
            map.remove(id);
        }
    }

    fn find(&self, id: &str) -> Option<Arc<SockJsSession>> {
        let session = self.map.lock().get(id).cloned()?;
        let removed = session.state.lock().removed;
        (!removed).then_some(session)
    }

    /// Waits until the sending request may read its body.
    ///
    /// The caller must wait before it reads: the node reads no body for an unknown session, and one body at a time for a known
    /// session.
    ///
    /// # Errors
    /// [`SendOutcome::UnknownSession`], or [`SendOutcome::QueueFull`] after [`Options::queue_timeout`].
    pub(super) async fn send_permit(&self, id: &str) -> Result<SendPermit, SendOutcome> {
        let session = self.find(id).ok_or(SendOutcome::UnknownSession)?;
        let deadline = Instant::now() + self.options.queue_timeout;
        match timeout_at(deadline, session.send_permit.acquire()).await {
            Ok(Ok(permit)) => permit.forget(),
            _ => return Err(SendOutcome::QueueFull),
        }
        Ok(SendPermit {
            session,
            queue_timeout: self.options.queue_timeout,
        })
    }
}

/// The permit of one sending request to read its body and queue its messages.
pub(super) struct SendPermit {
    session: Arc<SockJsSession>,
    queue_timeout: Duration,
}

impl SendPermit {
    /// Maximum size of the request's body.
    pub(super) fn max_body_bytes(&self) -> usize {
        self.session.max_request_bytes()
    }

    /// Queues messages for the application, then waits up to 1 s until it has handled them.
    pub(super) async fn send(self, messages: Vec<String>) -> SendOutcome {
        let bytes = messages
            .iter()
            .map(|text| text.len() + MESSAGE_OVERHEAD_BYTES)
            .sum();
        let room = self.session.push(messages, bytes);
        let Ok(number) = timeout(self.queue_timeout, room).await else {
            return SendOutcome::QueueFull;
        };
        let session = self.session.clone();
        drop(self);
        // A timeout is no failure: the messages are in the queue.
        drop(timeout(HANDLED_TIMEOUT, session.wait_handled(number)).await);
        SendOutcome::Accepted
    }
}

impl Drop for SendPermit {
    fn drop(&mut self) {
        self.session.send_permit.add_permits(1);
    }
}

/// An application, which serves one connection until it ends.
pub type Handler = Arc<dyn Fn(Link) -> BoxFuture<'static, ()> + Send + Sync>;
/// Makes a [`Handler`] of an async function or closure.
///
/// ```
/// use discodeit::sockjs::{self, Link};
///
/// let shout = sockjs::handler(|mut link: Link| async move {
///     while let Ok(text) = link.recv().await {
///         link.queue_text(&text.to_ascii_uppercase());
///     }
/// });
/// # drop(shout);
/// ```
pub fn handler<F, Fut>(serve: F) -> Handler
where
    F: Fn(Link) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = ()> + Send + 'static,
{
    Arc::new(move |link| serve(link).boxed())
}

/// Time within which the node notices that a receiver's connection broke. The node refuses a second receiver only after this
/// time, so that a client whose connection broke can reconnect at once.
const BREAK_DETECTION_TIMEOUT: Duration = Duration::from_millis(150);
/// Interval between attempts to attach within [`BREAK_DETECTION_TIMEOUT`].
const ATTACH_RETRY_INTERVAL: Duration = Duration::from_millis(5);
/// Maximum wait of a sending request for the application, so that the answers are ready for the client's next poll. The wait
/// slows clients down when the application is slow, and is short enough that they do not time out.
const HANDLED_TIMEOUT: Duration = Duration::from_secs(1);

/// A receiving request.
///
/// A drop before [`Self::detach`] means that its connection broke. Frames may be lost, so the session ends.
pub(super) struct Receiver {
    sessions: Arc<Sessions>,
    id: Box<str>,
    session: Arc<SockJsSession>,
    /// When the request last got a frame.
    last_frame_at: Instant,
    detached: bool,
}

/// A frame for a receiving request.
pub(super) enum ReceivedFrame {
    /// More frames may follow.
    More(Bytes),
    /// The close frame.
    Last(Bytes),
}

impl Receiver {
    /// Waits for the next frame. Queued messages become one frame of at most `max_bytes`; a longer message has its own frame.
    pub(super) async fn next(&mut self, max_bytes: usize) -> ReceivedFrame {
        let heartbeat = self.sessions.options.heartbeat;
        loop {
            if let Some(frame) = self.take(max_bytes) {
                self.last_frame_at = Instant::now();
                return frame;
            }
            tokio::select! {
                () = self.session.wake_receiver.notified() => {}
                () = sleep_until(self.last_frame_at + heartbeat) => {
                    self.last_frame_at = Instant::now();
                    if self.session.state.lock().heartbeats {
                        return ReceivedFrame::More(Bytes::from_static(HEARTBEAT.as_bytes()));
                    }
                }
            }
        }
    }

    fn take(&self, max_bytes: usize) -> Option<ReceivedFrame> {
        let mut state = self.session.state.lock();
        if !state.open_sent {
            state.open_sent = true;
            return Some(ReceivedFrame::More(Bytes::from_static(OPEN.as_bytes())));
        }
        if state.outgoing.is_empty() {
            return state.close_frame.clone().map(ReceivedFrame::Last);
        }
        let mut frame = b"a".to_vec();
        let (mut items, mut bytes) = (0, 0);
        let fits = |element: &Bytes, filled| filled == 1 || filled + element.len() + 2 <= max_bytes;
        while let Some(element) = state.outgoing.pop_front_if(|next| fits(next, frame.len())) {
            frame.push(if frame.len() == 1 { b'[' } else { b',' });
            frame.extend_from_slice(&element);
            items += 1;
            bytes += element.len();
        }
        frame.push(b']');
        state.last_write_at = Instant::now();
        if state.outgoing.is_empty() {
            state.outgoing = VecDeque::new();
        }
        drop(state);
        self.session.send_queue.written(items, bytes);
        self.session.wake_link.notify_one();
        Some(ReceivedFrame::More(frame.into()))
    }

    /// Ends the request without loss: the next receiver gets the frames that follow.
    pub(super) fn detach(mut self) {
        self.detached = true;
        let mut state = self.session.state.lock();
        state.attached_at = None;
        state.detached_at = Instant::now();
        drop(state);
        self.session.wake_task.notify_one();
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        if self.detached {
            return;
        }
        self.session.state.lock().removed = true;
        self.session.wake_task.notify_one();
        self.sessions.remove(&self.id, &self.session);
    }
}
