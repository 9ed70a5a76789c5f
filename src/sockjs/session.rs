//! One SockJS session over HTTP: the state shared by the requests of one client.
//!
//! The application's link is at one end, the current receiving request at the other. Between them are two bounded queues: one
//! for incoming messages, one for outgoing messages, which still count as part of the link's send queue. A task for each
//! session runs the application, and removes the session when no request has received for the disconnect delay.

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
    time::Instant,
};

use crate::{
    delivery::{disconnect::CloseReason, outbound::SendQueue},
    limits::STALL_TIMEOUT,
    tasks::sleep_until_some,
};

/// Bytes that a queued message costs beside its text.
pub(super) const MESSAGE_OVERHEAD_BYTES: usize = size_of::<Vec<u8>>();

/// A session over HTTP.
#[derive(Debug)]
pub(super) struct SockJsSession {
    pub(super) state: Mutex<State>,
    /// The link's send queue. Frames in `outgoing` are borrowed from it.
    pub(super) send_queue: Arc<SendQueue>,
    /// Limit of `incoming`.
    queue_bytes: usize,
    /// Maximum body of one sending request; the link can change it.
    max_request_bytes: AtomicUsize,
    /// One permit, for the request whose body is read: the node holds at most one body of a client in memory.
    pub(super) send_permit: Semaphore,
    /// Wakes the link: a message has arrived, or a receiver has taken frames. One waiter, as for the next two.
    pub(super) wake_link: Notify,
    /// Wakes the receiver: there are frames to take.
    pub(super) wake_receiver: Notify,
    /// Wakes the session's task: a receiver has attached or detached.
    pub(super) wake_task: Notify,
    /// Wakes sending requests: the application has taken or handled messages.
    wake_senders: Notify,
}

#[derive(Debug)]
pub(super) struct State {
    /// Messages that the application has not taken yet.
    incoming: VecDeque<Vec<u8>>,
    incoming_bytes: usize,
    /// Messages received since the session began.
    received_count: u64,
    /// Messages that the application has taken.
    taken_count: u64,
    /// Messages that the application has handled.
    handled_count: u64,
    last_read_at: Instant,
    /// JSON strings for the receiver.
    pub(super) outgoing: VecDeque<Bytes>,
    /// When a receiver last took frames.
    pub(super) last_write_at: Instant,
    /// Whether a receiver has taken the open frame.
    pub(super) open_sent: bool,
    /// Whether the transport sends heartbeats.
    pub(super) heartbeats: bool,
    /// When the current receiver attached.
    pub(super) attached_at: Option<Instant>,
    /// When the last receiver detached.
    pub(super) detached_at: Instant,
    /// The close frame, once the session is closed.
    pub(super) close_frame: Option<Bytes>,
    /// Whether the session is removed, so that requests no longer find it.
    pub(super) removed: bool,
}

impl SockJsSession {
    /// A new session with a receiver attached.
    pub(super) fn new(queue_bytes: usize) -> Self {
        let now = Instant::now();
        Self {
            state: Mutex::new(State {
                incoming: VecDeque::new(),
                incoming_bytes: 0,
                received_count: 0,
                taken_count: 0,
                handled_count: 0,
                last_read_at: now,
                outgoing: VecDeque::new(),
                last_write_at: now,
                open_sent: false,
                heartbeats: true,
                attached_at: Some(now),
                detached_at: now,
                close_frame: None,
                removed: false,
            }),
            send_queue: Arc::default(),
            queue_bytes,
            max_request_bytes: AtomicUsize::new(queue_bytes),
            send_permit: Semaphore::new(1),
            wake_link: Notify::new(),
            wake_receiver: Notify::new(),
            wake_task: Notify::new(),
            wake_senders: Notify::new(),
        }
    }

    /// Waits until the session has had no receiver for `delay`, or a receiver's connection broke; then marks it as removed.
    pub(super) async fn until_abandoned(&self, delay: Duration) {
        loop {
            let until = {
                let mut state = self.state.lock();
                let until = state
                    .attached_at
                    .is_none()
                    .then(|| state.detached_at + delay);
                if state.removed || until.is_some_and(|until| Instant::now() >= until) {
                    state.removed = true;
                    drop(state);
                    self.wake_senders.notify_waiters();
                    return;
                }
                until
            };
            tokio::select! {
                () = sleep_until_some(until) => {}
                () = self.wake_task.notified() => {}
            }
        }
    }

    /// Queues messages for the application as soon as the queue has room, and returns the number of the last message.
    ///
    /// An empty queue accepts any request.
    pub(super) async fn push(&self, messages: Vec<String>, bytes: usize) -> u64 {
        let mut messages = Some(messages);
        self.wait_until(move |state| {
            if state.removed || state.close_frame.is_some() {
                return Some(state.handled_count);
            }
            if !state.incoming.is_empty() && state.incoming_bytes + bytes > self.queue_bytes {
                return None;
            }
            state.last_read_at = Instant::now();
            state.incoming_bytes += bytes;
            let messages = messages.take().unwrap_or_default();
            state.received_count += messages.len() as u64;
            state
                .incoming
                .extend(messages.into_iter().map(String::into_bytes));
            self.wake_link.notify_one();
            Some(state.received_count)
        })
        .await
    }

    /// Waits until the application has handled the message of this number, or the session is closed.
    pub(super) async fn wait_handled(&self, number: u64) {
        self.wait_until(|state| {
            let done =
                state.handled_count >= number || state.removed || state.close_frame.is_some();
            done.then_some(())
        })
        .await;
    }

    /// Waits until `ready` returns a value. Calls `ready` again after each step of the application.
    async fn wait_until<T>(&self, mut ready: impl FnMut(&mut State) -> Option<T>) -> T {
        loop {
            // Registers before the check, so that a step in between is not missed.
            let mut changed = std::pin::pin!(self.wake_senders.notified());
            changed.as_mut().enable();
            if let Some(value) = ready(&mut self.state.lock()) {
                return value;
            }
            changed.await;
        }
    }

    /// Maximum body of one sending request.
    pub(super) fn max_request_bytes(&self) -> usize {
        self.max_request_bytes.load(Ordering::Relaxed)
    }

    /// For the link: limits the body of further sending requests.
    pub(super) fn set_max_message_bytes(&self, bytes: usize) {
        let max = bytes.min(self.queue_bytes);
        self.max_request_bytes.store(max, Ordering::Relaxed);
    }

    /// For the link: takes the next message.
    pub(super) fn pop(&self) -> Option<Vec<u8>> {
        let mut state = self.state.lock();
        let message = state.incoming.pop_front()?;
        state.incoming_bytes -= message.len() + MESSAGE_OVERHEAD_BYTES;
        state.taken_count += 1;
        if state.incoming.is_empty() {
            state.incoming = VecDeque::new();
        }
        drop(state);
        self.wake_senders.notify_waiters();
        Some(message)
    }

    /// For the link: waits until a receiver has taken frames or, if `reads`, until there is a message.
    ///
    /// With `reads`, the call means that the application has handled all messages that it took.
    pub(super) async fn ready(&self, reads: bool) {
        let waits = {
            let mut state = self.state.lock();
            if reads && state.handled_count != state.taken_count {
                state.handled_count = state.taken_count;
                self.wake_senders.notify_waiters();
            }
            state.incoming.is_empty() || !reads
        };
        if waits {
            self.wake_link.notified().await;
        }
    }

    /// For the link: moves the send queue's frames to `outgoing`.
    pub(super) fn flush(&self) -> Option<CloseReason> {
        let mut state = self.state.lock();
        let close_reason = self.send_queue.borrow(&mut state.outgoing);
        let has_frames = !state.outgoing.is_empty();
        drop(state);
        if has_frames {
            self.wake_receiver.notify_one();
        }
        close_reason
    }

    /// For the link: closes the session with `frame`, after the frames in the send queue. A second close does nothing.
    pub(super) fn close(&self, frame: String) {
        let mut state = self.state.lock();
        if state.close_frame.is_some() {
            return;
        }
        self.send_queue.borrow(&mut state.outgoing);
        state.close_frame = Some(frame.into());
        state.incoming = VecDeque::new();
        drop(state);
        self.wake_receiver.notify_one();
        self.wake_senders.notify_waiters();
    }

    /// For the link: when the client last sent messages.
    pub(super) fn last_read_at(&self) -> Instant {
        self.state.lock().last_read_at
    }

    /// For the link: when a receiver last took frames.
    pub(super) fn last_write_at(&self) -> Instant {
        self.state.lock().last_write_at
    }

    /// For the link: when a receiver that takes nothing counts as stalled.
    pub(super) fn stall_deadline(&self) -> Option<Instant> {
        let state = self.state.lock();
        let attached_at = state.attached_at.filter(|_| !state.outgoing.is_empty())?;
        Some(attached_at.max(state.last_write_at) + STALL_TIMEOUT)
    }

    /// For the link: stops the transport's heartbeats.
    pub(super) fn disable_heartbeats(&self) {
        self.state.lock().heartbeats = false;
    }
}
