//! What waits to be written to one connection: bounded in bytes, never waited for by those who fill it.

use std::collections::VecDeque;

use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::{delivery::disconnect::CloseReason, limits::MAX_QUEUED_BYTES};

/// What an item costs beside its bytes, so that many small ones are bounded as well.
const ITEM_BYTES: usize = 64;

#[derive(Debug)]
struct Inner<T> {
    items: VecDeque<T>,
    /// Of the items, and of those that were borrowed and have not left yet.
    bytes: usize,
    /// Of what will be added later.
    reserved: usize,
    close_reason: Option<CloseReason>,
}

/// The queue of one connection. `T` is cheap to clone and shared between connections.
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
    /// False when there is no room: then everything is let go.
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
            // Hands over the storage as well: an idle connection keeps none.
            *into = std::mem::take(&mut self.items);
        } else {
            into.append(&mut self.items);
        }
        self.close_reason
    }
}

impl<T> SendQueue<T> {
    /// Adds an item of that many bytes. When that is too much, everything waiting is let go and the connection is told to
    /// close: it resumes by its position, so nothing is lost.
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

    /// Likewise, by the task that empties the queue: it need not be woken, and may have a last word.
    pub fn answer(&self, item: T, bytes: usize) {
        let mut inner = self.inner.lock();
        match inner.close_reason {
            None => {
                inner.add(item, bytes);
            }
            Some(CloseReason::Slow) => {}
            Some(_) => inner.items.push_back(item),
        }
    }

    /// Counts what somebody else keeps for this connection and will push later; to be given back with [`Self::unreserve`].
    /// False when that is too much: then the connection is told to close.
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

    /// Ends a [`Self::reserve`].
    pub fn unreserve(&self, bytes: usize) {
        let mut inner = self.inner.lock();
        inner.reserved = inner.reserved.saturating_sub(bytes + ITEM_BYTES);
    }

    /// Tells the connection to close. The first reason stays.
    pub fn close(&self, close_reason: CloseReason) {
        self.inner.lock().close_reason.get_or_insert(close_reason);
        self.changed.notify_one();
    }

    /// Why the connection is to close, if it is.
    pub fn close_reason(&self) -> Option<CloseReason> {
        self.inner.lock().close_reason
    }

    /// The bytes that wait, and why the connection is to close, if it is.
    pub fn state(&self) -> (usize, Option<CloseReason>) {
        let inner = self.inner.lock();
        (inner.bytes, inner.close_reason)
    }

    /// Moves everything that waits to the end of `into`.
    pub fn take(&self, into: &mut VecDeque<T>) -> Option<CloseReason> {
        self.inner.lock().take(into, 0)
    }

    /// Likewise, but it counts until [`Self::left`].
    pub fn borrow(&self, into: &mut VecDeque<T>) -> Option<CloseReason> {
        let mut inner = self.inner.lock();
        let bytes = inner.bytes;
        inner.take(into, bytes)
    }

    /// So many of the borrowed items, or bytes of them, have left.
    pub fn left(&self, items: usize, bytes: usize) {
        let mut inner = self.inner.lock();
        inner.bytes = inner.bytes.saturating_sub(bytes + items * ITEM_BYTES);
    }

    /// Waits until there may be something to take. Cancel safe; one waiter.
    pub async fn changed(&self) {
        self.changed.notified().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_mailbox_that_overflows_is_emptied_and_says_why() {
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
    fn what_was_borrowed_or_is_kept_elsewhere_counts_until_it_has_left() {
        const HALF: usize = MAX_QUEUED_BYTES / 2 - ITEM_BYTES;
        let (send_queue, mut out) = (SendQueue::default(), VecDeque::new());
        send_queue.push((), HALF);
        assert_eq!(send_queue.borrow(&mut out), None);
        assert!(send_queue.reserve(HALF));
        send_queue.unreserve(HALF);
        send_queue.answer((), HALF);
        assert_eq!(
            send_queue.close_reason(),
            None,
            "just as much as there may be"
        );
        send_queue.left(0, HALF);
        send_queue.left(1, 0);
        send_queue.push((), HALF);
        assert_eq!(send_queue.close_reason(), None, "what has left makes room");
        assert!(!send_queue.reserve(0));
        assert_eq!(send_queue.close_reason(), Some(CloseReason::Slow));
    }
}
