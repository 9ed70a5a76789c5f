//! One SSE stream: what is delivered to it before and after it has caught up.

use std::{collections::VecDeque, sync::Arc};

use parking_lot::Mutex;

use crate::{
    delivery::{
        outbound::{SendQueue, Unwritten},
        sse::output::{SseItem, SseOutput},
    },
    ids::{SessionId, UserId},
    protocol::sse::Coding,
};

/// An open stream.
#[derive(Debug)]
pub struct SseStream {
    pub(super) id: u64,
    pub(super) user: UserId,
    pub(super) session: SessionId,
    /// Text to write.
    pub send_queue: Arc<SendQueue>,
    coding: Coding,
    state: Mutex<State>,
}

#[derive(Debug)]
enum State {
    /// The stream's owner still sends what the client missed. What is delivered waits; it has room in the send queue.
    Starting(VecDeque<SseItem>),
    /// What is delivered goes to the send queue.
    Live(SseOutput),
}

impl SseStream {
    pub(super) fn new(
        id: u64,
        (user, session): (UserId, SessionId),
        send_queue: Arc<SendQueue>,
        coding: Coding,
    ) -> Self {
        Self {
            id,
            user,
            session,
            send_queue,
            coding,
            state: Mutex::new(State::Starting(VecDeque::new())),
        }
    }

    /// Queues an item. Returns the queue if the caller must write it. Overwrites `text`.
    pub(super) fn deliver(&self, item: &SseItem, text: &mut Vec<u8>) -> Option<Unwritten> {
        match &mut *self.state.lock() {
            State::Starting(items) => {
                if self.send_queue.reserve(item.bytes()) {
                    items.push_back(item.clone());
                }
                None
            }
            State::Live(output) => {
                text.clear();
                output.write_item(item, text);
                let frame = self.coding.encode(text)?;
                self.send_queue.deliver(frame)
            }
        }
    }

    /// Lets deliveries go to the send queue from now on. If some wait, appends them to `text` instead and returns `output`: the
    /// caller sends the text, and calls again.
    ///
    /// # Errors
    /// Some deliveries waited.
    pub fn go_live(&self, mut output: SseOutput, text: &mut Vec<u8>) -> Result<(), SseOutput> {
        let mut state = self.state.lock();
        let State::Starting(items) = &mut *state else {
            return Ok(());
        };
        if items.is_empty() {
            *state = State::Live(output);
            return Ok(());
        }
        for item in items.drain(..) {
            self.send_queue.unreserve(item.bytes());
            output.write_item(&item, text);
        }
        Err(output)
    }

    /// Starts again, and returns what waited.
    ///
    /// An item may set the position, which would be older than the position after the next start.
    pub(super) fn restart(&self) -> VecDeque<SseItem> {
        let start = State::Starting(VecDeque::new());
        match std::mem::replace(&mut *self.state.lock(), start) {
            State::Starting(items) => {
                for item in &items {
                    self.send_queue.unreserve(item.bytes());
                }
                items
            }
            State::Live(_) => VecDeque::new(),
        }
    }
}
