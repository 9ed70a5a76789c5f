//! SockJS sessions over HTTP: what the requests of one client have in common.
//!
//! At one end is the application's [`Link`], at the other whichever request receives just now, and between them two bounded
//! queues: what comes in, and what goes out, which counts as part of the link's send queue. A task for each session runs the application and lets the session go when nobody has received for a while.

use std::{
    collections::VecDeque,
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
    time::{Instant, sleep_until},
};

use crate::{
    delivery::{disconnect::CloseReason, outbound::SendQueue},
    limits::STALLED_AFTER,
};

/// What a waiting message costs beside its octets.
pub(super) const MESSAGE_COST: usize = size_of::<Vec<u8>>();

/// One session.
#[derive(Debug)]
pub(crate) struct Session {
    pub(super) state: Mutex<State>,
    /// The link's; what is being received is borrowed from it.
    pub(crate) send_queue: Arc<SendQueue<Bytes>>,
    pub(super) queue_bytes: usize,
    /// What one request may bring now.
    pub(super) most_bytes: AtomicUsize,
    /// The turn of the one request whose messages are being taken: so that only one body of each client is in memory.
    pub(super) sending: Semaphore,
    /// Something has come in, or what was to go out has gone. One waiter, as for the next two.
    pub(super) to_link: Notify,
    /// There is something to receive.
    pub(super) to_receiver: Notify,
    /// A receiver has come or gone.
    pub(super) to_keeper: Notify,
    /// The application has taken or handled something.
    pub(super) to_senders: Notify,
}

#[derive(Debug)]
pub(super) struct State {
    pub(super) incoming: VecDeque<Vec<u8>>,
    pub(super) incoming_bytes: usize,
    /// Messages that have come in, that the application has taken, and that it has done with.
    pub(super) came: u64,
    pub(super) taken: u64,
    pub(super) handled: u64,
    pub(super) heard: Instant,
    /// JSON strings.
    pub(super) outgoing: VecDeque<Bytes>,
    /// When a receiver took something.
    pub(super) took: Instant,
    /// `o` has been received.
    pub(super) opened: bool,
    /// The transport sends heartbeats.
    pub(super) heartbeats: bool,
    /// Since when there is a receiver.
    pub(super) attached: Option<Instant>,
    /// When the last one left.
    pub(super) left: Instant,
    /// The frame that says so.
    pub(super) closed: Option<Bytes>,
    /// Nobody can find it any more.
    pub(super) gone: bool,
}

impl Session {
    /// A new one, with a receiver.
    pub(super) fn new(queue_bytes: usize) -> Self {
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
            send_queue: Arc::default(),
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
    pub(super) async fn abandoned(&self, delay: Duration) {
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
    pub(super) async fn push(&self, messages: Vec<String>, bytes: usize) -> u64 {
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
    pub(super) async fn handled(&self, number: u64) {
        self.when(|state| {
            let done = state.handled >= number || state.gone || state.closed.is_some();
            done.then_some(())
        })
        .await;
    }

    /// Waits for the application until `ready` returns something.
    pub(super) async fn when<T>(&self, mut ready: impl FnMut(&mut State) -> Option<T>) -> T {
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
    pub(crate) fn give(&self) -> Option<CloseReason> {
        let mut state = self.state.lock();
        let close_reason = self.send_queue.borrow(&mut state.outgoing);
        let given = !state.outgoing.is_empty();
        drop(state);
        if given {
            self.to_receiver.notify_one();
        }
        close_reason
    }

    /// The link: after what the send queue has comes that frame. The first one stays.
    pub(crate) fn close(&self, frame: String) {
        let mut state = self.state.lock();
        if state.closed.is_some() {
            return;
        }
        self.send_queue.borrow(&mut state.outgoing);
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
