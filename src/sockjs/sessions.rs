//! The sessions of one endpoint that live over HTTP requests.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, atomic::Ordering},
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
        session::{MESSAGE_COST, Session},
    },
    tasks::Tasks,
};

/// All sessions of one endpoint.
pub(super) struct Sessions {
    pub(super) parameters: Options,
    pub(super) tasks: Tasks,
    pub(super) handler: Handler,
    map: Mutex<HashMap<Box<str>, Arc<Session>>>,
}

/// What a request that wants to receive finds.
pub(super) enum Attach {
    /// It receives.
    Open(Receiver),
    /// It is told this frame and nothing else.
    Told(Bytes),
    /// There are too many sessions.
    Full,
}

/// What became of a client's messages.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Sent {
    /// They are with the application, or the session has been closed and nobody wants them.
    Accepted,
    /// There is no such session.
    Unknown,
    /// The application does not keep up.
    Full,
}

impl Sessions {
    pub(super) fn new(parameters: Options, tasks: Tasks, handler: Handler) -> Self {
        Self {
            parameters,
            tasks,
            handler,
            map: Mutex::default(),
        }
    }

    /// Attaches a receiver to that session, which is made if there is none.
    pub(super) async fn enter(self: &Arc<Self>, id: &str) -> Attach {
        let patience = Instant::now() + BREAK_SEEN_TIMEOUT;
        loop {
            if let Some(entrance) = self.try_enter(id) {
                return entrance;
            }
            if Instant::now() >= patience {
                return Attach::Told(close(2010, "Another connection still open").into());
            }
            sleep(LOOK_AGAIN).await;
        }
    }

    /// `None` when another receiver is attached.
    fn try_enter(self: &Arc<Self>, id: &str) -> Option<Attach> {
        let mut map = self.map.lock();
        let known = map.get(id).cloned();
        if let Some(session) = known {
            let mut state = session.state.lock();
            if !state.gone {
                if state.attached.is_some() {
                    return state.closed.clone().map(Attach::Told);
                }
                state.attached = Some(Instant::now());
                drop(state);
                session.to_keeper.notify_one();
                return Some(Attach::Open(self.receiver(id, session)));
            }
        } else if map.len() >= self.parameters.sessions {
            return Some(Attach::Full);
        }
        let session = Arc::new(Session::new(self.parameters.message_bytes));
        map.insert(id.into(), session.clone());
        drop(map);
        self.tasks
            .spawn("sockjs", self.clone().keep(id.into(), session.clone()));
        Some(Attach::Open(self.receiver(id, session)))
    }

    fn receiver(self: &Arc<Self>, id: &str, session: Arc<Session>) -> Receiver {
        Receiver {
            sessions: self.clone(),
            id: id.into(),
            session,
            told: Instant::now(),
            left: false,
        }
    }

    /// Runs a session from its first receiver until it is forgotten.
    async fn keep(self: Arc<Self>, id: Box<str>, session: Arc<Session>) {
        let delay = self.parameters.disconnect_delay;
        tokio::select! {
            () = (self.handler)(Link::of_session(session.clone())) => {}
            () = session.abandoned(delay) => {}
        }
        // Whoever asks meanwhile is told that it is closed.
        session.abandoned(delay).await;
        self.forget(&id, &session);
    }

    /// By identity: the name may be another session's by now.
    fn forget(&self, id: &str, session: &Arc<Session>) {
        let mut map = self.map.lock();
        if map.get(id).is_some_and(|known| Arc::ptr_eq(known, session)) {
            map.remove(id);
        }
    }

    fn find(&self, id: &str) -> Option<Arc<Session>> {
        let session = self.map.lock().get(id).cloned()?;
        let gone = session.state.lock().gone;
        (!gone).then_some(session)
    }

    /// Waits for the turn of a request that brings messages. To be called before its body is read: from strangers nothing is
    /// taken, and of a client one at a time.
    ///
    /// # Errors
    /// Why not.
    pub(super) async fn turn(&self, id: &str) -> Result<Turn, Sent> {
        let session = self.find(id).ok_or(Sent::Unknown)?;
        let patience = Instant::now() + self.parameters.patience;
        match timeout_at(patience, session.sending.acquire()).await {
            Ok(Ok(permit)) => permit.forget(),
            _ => return Err(Sent::Full),
        }
        Ok(Turn {
            session,
            patience: self.parameters.patience,
        })
    }
}

/// The turn of a request that brings messages.
pub(super) struct Turn {
    session: Arc<Session>,
    patience: Duration,
}

impl Turn {
    /// Octets that the request's body may have.
    pub(super) fn most_bytes(&self) -> usize {
        self.session.most_bytes.load(Ordering::Relaxed)
    }

    /// Hands a client's messages to the application. Waits for room, and a moment for them to be handled.
    pub(super) async fn send(self, messages: Vec<String>) -> Sent {
        let bytes = messages.iter().map(|text| text.len() + MESSAGE_COST).sum();
        let room = self.session.push(messages, bytes);
        let Ok(number) = timeout(self.patience, room).await else {
            return Sent::Full;
        };
        let session = self.session.clone();
        drop(self);
        // Not handled in time is no failure: they are in its queue.
        drop(timeout(HANDLED_TIMEOUT, session.handled(number)).await);
        Sent::Accepted
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.session.sending.add_permits(1);
    }
}

/// An application: serves one connection until it ends.
pub type Handler = Arc<dyn Fn(Link) -> BoxFuture<'static, ()> + Send + Sync>;
/// Makes a [`Handler`] of an async function or closure.
///
/// ```
/// use discodeit::sockjs::{self, Link};
///
/// let shout = sockjs::handler(|mut link: Link| async move {
///     while let Ok(text) = link.receive().await {
///         link.send(&text.to_ascii_uppercase());
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

/// A broken connection is noticed within this time; only then a second receiver is told that there is another.
const BREAK_SEEN_TIMEOUT: Duration = Duration::from_millis(150);
/// How often to look meanwhile.
const LOOK_AGAIN: Duration = Duration::from_millis(5);
/// A client waits this long for its messages to be handled, so that what they lead to is there for its next poll. A slow
/// application makes its clients slow, but not so slow that they give up.
const HANDLED_TIMEOUT: Duration = Duration::from_secs(1);

/// One request that receives. Dropping it before [`Self::leave`] means that it broke: what it was given may be lost, so the
/// session ends.
pub(super) struct Receiver {
    sessions: Arc<Sessions>,
    id: Box<str>,
    session: Arc<Session>,
    /// When it was told something last.
    told: Instant,
    left: bool,
}

/// What is received.
pub(super) enum Frame {
    /// More may follow.
    More(Bytes),
    /// The session is closed.
    Last(Bytes),
}

impl Receiver {
    /// The next frame. Messages that wait become one, of at most `room` octets unless one alone has more.
    pub(super) async fn next(&mut self, room: usize) -> Frame {
        let heartbeat = self.sessions.parameters.heartbeat;
        loop {
            if let Some(frame) = self.take(room) {
                self.told = Instant::now();
                return frame;
            }
            tokio::select! {
                () = self.session.to_receiver.notified() => {}
                () = sleep_until(self.told + heartbeat) => {
                    self.told = Instant::now();
                    if self.session.state.lock().heartbeats {
                        return Frame::More(Bytes::from_static(HEARTBEAT.as_bytes()));
                    }
                }
            }
        }
    }

    fn take(&self, room: usize) -> Option<Frame> {
        let mut state = self.session.state.lock();
        if !state.opened {
            state.opened = true;
            return Some(Frame::More(Bytes::from_static(OPEN.as_bytes())));
        }
        if state.outgoing.is_empty() {
            return state.closed.clone().map(Frame::Last);
        }
        let mut frame = b"a".to_vec();
        let (mut items, mut bytes) = (0, 0);
        let fits = |element: &Bytes, filled| filled == 1 || filled + element.len() + 2 <= room;
        while let Some(element) = state.outgoing.pop_front_if(|next| fits(next, frame.len())) {
            frame.push(if frame.len() == 1 { b'[' } else { b',' });
            frame.extend_from_slice(&element);
            items += 1;
            bytes += element.len();
        }
        frame.push(b']');
        state.took = Instant::now();
        if state.outgoing.is_empty() {
            state.outgoing = VecDeque::new();
        }
        drop(state);
        self.session.send_queue.left(items, bytes);
        self.session.to_link.notify_one();
        Some(Frame::More(frame.into()))
    }

    /// Ends in good order: the next request goes on where this one ended.
    pub(super) fn leave(mut self) {
        self.left = true;
        let mut state = self.session.state.lock();
        state.attached = None;
        state.left = Instant::now();
        drop(state);
        self.session.to_keeper.notify_one();
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        if self.left {
            return;
        }
        self.session.state.lock().gone = true;
        self.session.to_keeper.notify_one();
        self.sessions.forget(&self.id, &self.session);
    }
}
