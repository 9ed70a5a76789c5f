//! The send queue of one connection: bounded in bytes; a push never waits.

use std::collections::VecDeque;

use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::{delivery::disconnect::CloseReason, limits::MAX_QUEUED_BYTES};

/// Bytes that an item counts with beside its content, so that the number of small items is bounded too.
const ITEM_BYTES: usize = 64;

#[derive(Debug)]
struct Inner<T> {
    items: VecDeque<T>,
    /// Bytes of the queued items, and of borrowed items that are not written yet.
    bytes: usize,
    /// Bytes of items that will be pushed later.
    reserved: usize,
    close_reason: Option<CloseReason>,
}

/// The send queue of one connection. `T` is cheap to clone and shared between connections.
#[derive(Debug)]
pub struct SendQueue<T> {
    inner: Mutex<Inner<T>>,
    changed: Notify,
}

impl<T> Default for SendQueue<T> {
    fn default() -> Self {
        Self {
            inner: Mutex::new(Inner {
                items: VecDeque::new(),
                bytes: 0,
                reserved: 0,
                close_reason: None,
            }),
            changed: Notify::new(),
        }
    }
}

impl<T> Inner<T> {
    /// Whether `bytes` more fit. If not, the connection is closed as slow and its items are dropped.
    fn fits(&mut self, bytes: usize) -> bool {
        let fits = self.bytes + self.reserved + bytes + ITEM_BYTES <= MAX_QUEUED_BYTES;
        if !fits {
            self.close_reason = Some(CloseReason::Slow);
            self.items = VecDeque::new();
        }
        fits
    }

    fn add(&mut self, item: T, bytes: usize) -> bool {
        let fits = self.fits(bytes);
        if fits {
            self.bytes += bytes + ITEM_BYTES;
            self.items.push_back(item);
        }
        fits
    }

    fn take(&mut self, into: &mut VecDeque<T>, bytes: usize) -> Option<CloseReason> {
        self.bytes = bytes;
        if into.is_empty() {
            // Moves the allocation too: an idle connection keeps none.
            *into = std::mem::take(&mut self.items);
        } else {
            into.append(&mut self.items);
        }
        self.close_reason
    }
}

impl<T> SendQueue<T> {
    /// Queues an item of `bytes` bytes. When the queue is full, its items are dropped and the connection is closed: the client
    /// resumes at its position, so no event is lost.
    pub fn push(&self, item: T, bytes: usize) {
        let mut inner = self.inner.lock();
        if inner.close_reason.is_some() {
            return;
        }
        let wake = inner.items.is_empty();
        let wake = !inner.add(item, bytes) || wake;
        drop(inner);
        if wake {
            self.changed.notify_one();
        }
    }

    /// Queues an item from the task that empties the queue. That task needs no wake-up, and may still reply on a connection that
    /// is being closed, unless it is slow.
    pub fn push_reply(&self, item: T, bytes: usize) {
        let mut inner = self.inner.lock();
        match inner.close_reason {
            None => {
                inner.add(item, bytes);
            }
            Some(CloseReason::Slow) => {}
            Some(_) => inner.items.push_back(item),
        }
    }

    /// Reserves room for an item that the caller holds and pushes later, until [`Self::unreserve`]. False when the queue is
    /// full: then the connection is closed as slow.
    pub fn reserve(&self, bytes: usize) -> bool {
        let mut inner = self.inner.lock();
        if inner.close_reason.is_some() {
            return false;
        }
        let fits = inner.fits(bytes);
        inner.reserved += bytes + ITEM_BYTES;
        drop(inner);
        if !fits {
            self.changed.notify_one();
        }
        fits
    }

    /// Gives up the room of a [`Self::reserve`].
    pub fn unreserve(&self, bytes: usize) {
        let mut inner = self.inner.lock();
        inner.reserved = inner.reserved.saturating_sub(bytes + ITEM_BYTES);
    }

    /// Asks the connection to close. The first reason stays.
    pub fn close(&self, close_reason: CloseReason) {
        self.inner.lock().close_reason.get_or_insert(close_reason);
        self.changed.notify_one();
    }

    /// Why the connection must close, if it must.
    pub fn close_reason(&self) -> Option<CloseReason> {
        self.inner.lock().close_reason
    }

    /// The queued bytes, and why the connection must close, if it must.
    pub fn state(&self) -> (usize, Option<CloseReason>) {
        let inner = self.inner.lock();
        (inner.bytes, inner.close_reason)
    }

    /// Moves all items to the end of `into`.
    pub fn take(&self, into: &mut VecDeque<T>) -> Option<CloseReason> {
        self.inner.lock().take(into, 0)
    }

    /// Moves all items to the end of `into`; their bytes count until [`Self::written`].
    pub fn borrow(&self, into: &mut VecDeque<T>) -> Option<CloseReason> {
        let mut inner = self.inner.lock();
        let bytes = inner.bytes;
        inner.take(into, bytes)
    }

    /// Reports that `items` borrowed items, and `bytes` bytes of borrowed items, were written.
    pub fn written(&self, items: usize, bytes: usize) {
        let mut inner = self.inner.lock();
        inner.bytes = inner.bytes.saturating_sub(bytes + items * ITEM_BYTES);
    }

    /// Waits until there may be an item or a close reason. Cancel safe; for one waiter.
    pub async fn changed(&self) {
        self.changed.notified().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_full_queue_drops_its_items_and_closes_as_slow() {
        let send_queue = SendQueue::default();
        for _ in 0..9 {
            send_queue.push((), 64 * 1024);
        }
        send_queue.changed().await;
        let mut items = VecDeque::new();
        assert_eq!(send_queue.take(&mut items), Some(CloseReason::Slow));
        assert!(items.is_empty());
        send_queue.close(CloseReason::Draining);
        assert_eq!(
            send_queue.take(&mut items),
            Some(CloseReason::Slow),
            "the first reason stays"
        );
    }

    #[test]
    fn borrowed_and_reserved_items_count_until_they_are_written() {
        const HALF: usize = MAX_QUEUED_BYTES / 2 - ITEM_BYTES;
        let (send_queue, mut out) = (SendQueue::default(), VecDeque::new());
        send_queue.push((), HALF);
        assert_eq!(send_queue.borrow(&mut out), None);
        assert!(send_queue.reserve(HALF));
        send_queue.unreserve(HALF);
        send_queue.push_reply((), HALF);
        assert_eq!(send_queue.close_reason(), None, "exactly full");
        send_queue.written(0, HALF);
        send_queue.written(1, 0);
        send_queue.push((), HALF);
        assert_eq!(send_queue.close_reason(), None, "written items make room");
        assert!(!send_queue.reserve(0));
        assert_eq!(send_queue.close_reason(), Some(CloseReason::Slow));
    }
}
