//! SockJS sessions over HTTP: what the requests of one client have in common.
//!
//! At one end is the application's [`Link`], at the other whichever request receives just now, and between them two bounded
//! queues: what comes in, and what goes out, which counts as part of the link's mailbox. A task for each session runs the application and lets the session go when nobody has received for a while.

use std::{
    collections::{HashMap, VecDeque},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::{
    sync::{Notify, Semaphore},
    time::{Instant, sleep, sleep_until, timeout, timeout_at},
};

use super::{HEARTBEAT, Handler, OPEN, Parameters, close};
use crate::{
    link::Link,
    mailbox::{Farewell, Mailbox, STALLED_AFTER},
    tasks::Tasks,
};

/// A broken connection is noticed within this time; only then a second receiver is told that there is another.
const BREAK_SEEN_WITHIN: Duration = Duration::from_millis(150);
/// How often to look meanwhile.
const LOOK_AGAIN: Duration = Duration::from_millis(5);
/// A client waits this long for its messages to be handled, so that what they lead to is there for its next poll. A slow
/// application makes its clients slow, but not so slow that they give up.
const HANDLED_WITHIN: Duration = Duration::from_secs(1);
/// What a waiting message costs beside its octets.
const MESSAGE_COST: usize = size_of::<Vec<u8>>();

/// All sessions of one endpoint.
pub(super) struct Sessions {
    pub(super) parameters: Parameters,
    pub(super) tasks: Tasks,
    pub(super) handler: Handler,
    map: Mutex<HashMap<Box<str>, Arc<Session>>>,
}

/// What a request that wants to receive finds.
pub(super) enum Entrance {
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
    pub(super) fn new(parameters: Parameters, tasks: Tasks, handler: Handler) -> Self {
        Self {
            parameters,
            tasks,
            handler,
            map: Mutex::default(),
        }
    }

    /// Attaches a receiver to that session, which is made if there is none.
    pub(super) async fn enter(self: &Arc<Self>, id: &str) -> Entrance {
        let patience = Instant::now() + BREAK_SEEN_WITHIN;
        loop {
            if let Some(entrance) = self.try_enter(id) {
                return entrance;
            }
            if Instant::now() >= patience {
                return Entrance::Told(close(2010, "Another connection still open").into());
            }
            sleep(LOOK_AGAIN).await;
        }
    }

    /// `None` when another receiver is attached.
    fn try_enter(self: &Arc<Self>, id: &str) -> Option<Entrance> {
        let mut map = self.map.lock();
        let known = map.get(id).cloned();
        if let Some(session) = known {
            let mut state = session.state.lock();
            if !state.gone {
                if state.attached.is_some() {
                    return state.closed.clone().map(Entrance::Told);
                }
                state.attached = Some(Instant::now());
                drop(state);
                session.to_keeper.notify_one();
                return Some(Entrance::Open(self.receiver(id, session)));
            }
        } else if map.len() >= self.parameters.sessions {
            return Some(Entrance::Full);
        }
        let session = Arc::new(Session::new(self.parameters.message_bytes));
        map.insert(id.into(), session.clone());
        drop(map);
        self.tasks
            .spawn("sockjs", self.clone().keep(id.into(), session.clone()));
        Some(Entrance::Open(self.receiver(id, session)))
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
        drop(timeout(HANDLED_WITHIN, session.handled(number)).await);
        Sent::Accepted
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.session.sending.add_permits(1);
    }
}

/// One session.
#[derive(Debug)]
pub(crate) struct Session {
    state: Mutex<State>,
    /// The link's; what is being received is borrowed from it.
    pub(crate) mailbox: Arc<Mailbox<Bytes>>,
    queue_bytes: usize,
    /// What one request may bring now.
    most_bytes: AtomicUsize,
    /// The turn of the one request whose messages are being taken: so that only one body of each client is in memory.
    sending: Semaphore,
    /// Something has come in, or what was to go out has gone. One waiter, as for the next two.
    to_link: Notify,
    /// There is something to receive.
    to_receiver: Notify,
    /// A receiver has come or gone.
    to_keeper: Notify,
    /// The application has taken or handled something.
    to_senders: Notify,
}

#[derive(Debug)]
struct State {
    incoming: VecDeque<Vec<u8>>,
    incoming_bytes: usize,
    /// Messages that have come in, that the application has taken, and that it has done with.
    came: u64,
    taken: u64,
    handled: u64,
    heard: Instant,
    /// JSON strings.
    outgoing: VecDeque<Bytes>,
    /// When a receiver took something.
    took: Instant,
    /// `o` has been received.
    opened: bool,
    /// The transport sends heartbeats.
    heartbeats: bool,
    /// Since when there is a receiver.
    attached: Option<Instant>,
    /// When the last one left.
    left: Instant,
    /// The frame that says so.
    closed: Option<Bytes>,
    /// Nobody can find it any more.
    gone: bool,
}

impl Session {
    /// A new one, with a receiver.
    fn new(queue_bytes: usize) -> Self {
        let now = Instant::now();
        Self {
            state: Mutex::new(State {
                incoming: VecDeque::new(),
                incoming_bytes: 0,
                came: 0,
                taken: 0,
                handled: 0,
                heard: now,
                outgoing: VecDeque::new(),
                took: now,
                opened: false,
                heartbeats: true,
                attached: Some(now),
                left: now,
                closed: None,
                gone: false,
            }),
            mailbox: Arc::default(),
            queue_bytes,
            most_bytes: AtomicUsize::new(queue_bytes),
            sending: Semaphore::new(1),
            to_link: Notify::new(),
            to_receiver: Notify::new(),
            to_keeper: Notify::new(),
            to_senders: Notify::new(),
        }
    }

    /// Returns once nobody can find the session any more: nobody has received for that long, or a receiver has broken.
    async fn abandoned(&self, delay: Duration) {
        loop {
            let until = {
                let mut state = self.state.lock();
                let until = state.attached.is_none().then(|| state.left + delay);
                if state.gone || until.is_some_and(|until| Instant::now() >= until) {
                    state.gone = true;
                    drop(state);
                    self.to_senders.notify_waiters();
                    return;
                }
                until
            };
            let passed = async {
                match until {
                    Some(until) => sleep_until(until).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = passed => {}
                () = self.to_keeper.notified() => {}
            }
        }
    }

    /// Adds messages as soon as there is room; into an empty queue everything goes that one request may bring. Returns the
    /// number of the last one.
    async fn push(&self, messages: Vec<String>, bytes: usize) -> u64 {
        let mut messages = Some(messages);
        self.when(move |state| {
            if state.gone || state.closed.is_some() {
                return Some(state.handled);
            }
            if !state.incoming.is_empty() && state.incoming_bytes + bytes > self.queue_bytes {
                return None;
            }
            state.heard = Instant::now();
            state.incoming_bytes += bytes;
            let messages = messages.take().unwrap_or_default();
            state.came += messages.len() as u64;
            state
                .incoming
                .extend(messages.into_iter().map(String::into_bytes));
            self.to_link.notify_one();
            Some(state.came)
        })
        .await
    }

    /// Waits until the application has done with that message.
    async fn handled(&self, number: u64) {
        self.when(|state| {
            let done = state.handled >= number || state.gone || state.closed.is_some();
            done.then_some(())
        })
        .await;
    }

    /// Waits for the application until `ready` returns something.
    async fn when<T>(&self, mut ready: impl FnMut(&mut State) -> Option<T>) -> T {
        loop {
            // Before looking, or what happens in between is missed.
            let mut changed = std::pin::pin!(self.to_senders.notified());
            changed.as_mut().enable();
            if let Some(value) = ready(&mut self.state.lock()) {
                return value;
            }
            changed.await;
        }
    }

    /// The link: takes no request that brings more from now on.
    pub(crate) fn take_at_most(&self, octets: usize) {
        let most = octets.min(self.queue_bytes);
        self.most_bytes.store(most, Ordering::Relaxed);
    }

    /// The link: the next message.
    pub(crate) fn pop(&self) -> Option<Vec<u8>> {
        let mut state = self.state.lock();
        let message = state.incoming.pop_front()?;
        state.incoming_bytes -= message.len() + MESSAGE_COST;
        state.taken += 1;
        if state.incoming.is_empty() {
            state.incoming = VecDeque::new();
        }
        drop(state);
        self.to_senders.notify_waiters();
        Some(message)
    }

    /// The link: waits until a receiver has taken something; if `reads`, everything taken has been handled, and it waits for
    /// more as well.
    pub(crate) async fn ready(&self, reads: bool) {
        let waits = {
            let mut state = self.state.lock();
            if reads && state.handled != state.taken {
                state.handled = state.taken;
                self.to_senders.notify_waiters();
            }
            state.incoming.is_empty() || !reads
        };
        if waits {
            self.to_link.notified().await;
        }
    }

    /// The link: hands out what is to be received.
    pub(crate) fn give(&self) -> Option<Farewell> {
        let mut state = self.state.lock();
        let farewell = self.mailbox.borrow(&mut state.outgoing);
        let given = !state.outgoing.is_empty();
        drop(state);
        if given {
            self.to_receiver.notify_one();
        }
        farewell
    }

    /// The link: after what the mailbox has comes that frame. The first one stays.
    pub(crate) fn close(&self, frame: String) {
        let mut state = self.state.lock();
        if state.closed.is_some() {
            return;
        }
        self.mailbox.borrow(&mut state.outgoing);
        state.closed = Some(frame.into());
        state.incoming = VecDeque::new();
        drop(state);
        self.to_receiver.notify_one();
        self.to_senders.notify_waiters();
    }

    /// The link: when the client said something last.
    pub(crate) fn heard(&self) -> Instant {
        self.state.lock().heard
    }

    /// The link: when something was received last.
    pub(crate) fn taken(&self) -> Instant {
        self.state.lock().took
    }

    /// The link: when a receiver that takes nothing is given up.
    pub(crate) fn stalls_at(&self) -> Option<Instant> {
        let state = self.state.lock();
        let attached = state.attached.filter(|_| !state.outgoing.is_empty())?;
        Some(attached.max(state.took) + STALLED_AFTER)
    }

    /// The link: the application keeps the connection alive itself.
    pub(crate) fn end_heartbeats(&self) {
        self.state.lock().heartbeats = false;
    }
}

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
        self.session.mailbox.left(items, bytes);
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
