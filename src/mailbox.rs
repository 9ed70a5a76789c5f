//! What waits to be written to one connection: bounded in bytes, never waited for by those who fill it.

use std::collections::VecDeque;

use parking_lot::Mutex;
use tokio::sync::Notify;

pub use crate::limits::{STALLED_AFTER, WAITING_BYTES as MOST_WAITING_BYTES};

/// Whoever fills mailboxes gives their owners a turn after this many bytes: a fraction of what may wait for one of them, and
/// still many messages that leave in one write.
pub const TURN_BYTES: usize = MOST_WAITING_BYTES / 16;

/// What an item costs beside its bytes, so that many small ones are bounded as well.
const ITEM_BYTES: usize = 64;

/// Why the server ends a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Farewell {
    /// It fell behind.
    Slow,
    /// The session or account has ended.
    Revoked,
    /// A newer connection of the user took its place.
    TooMany,
    /// The node is leaving.
    Draining,
}

#[derive(Debug)]
struct Inner<T> {
    items: VecDeque<T>,
    /// Of the items, and of those that were borrowed and have not left yet.
    bytes: usize,
    /// Of what will be added later.
    reserved: usize,
    farewell: Option<Farewell>,
}

/// The queue of one connection. `T` is cheap to clone and shared between connections.
#[derive(Debug)]
pub struct Mailbox<T> {
    inner: Mutex<Inner<T>>,
    changed: Notify,
}

impl<T> Default for Mailbox<T> {
    fn default() -> Self {
        Self {
            inner: Mutex::new(Inner {
                items: VecDeque::new(),
                bytes: 0,
                reserved: 0,
                farewell: None,
            }),
            changed: Notify::new(),
        }
    }
}

impl<T> Inner<T> {
    /// False when there is no room: then everything is let go.
    fn fits(&mut self, bytes: usize) -> bool {
        let fits = self.bytes + self.reserved + bytes + ITEM_BYTES <= MOST_WAITING_BYTES;
        if !fits {
            self.farewell = Some(Farewell::Slow);
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

    fn take(&mut self, into: &mut VecDeque<T>, bytes: usize) -> Option<Farewell> {
        self.bytes = bytes;
        if into.is_empty() {
            // Hands over the storage as well: an idle connection keeps none.
            *into = std::mem::take(&mut self.items);
        } else {
            into.append(&mut self.items);
        }
        self.farewell
    }
}

impl<T> Mailbox<T> {
    /// Adds an item of that many bytes. When that is too much, everything waiting is let go and the connection is told to
    /// close: it resumes by its position, so nothing is lost.
    pub fn push(&self, item: T, bytes: usize) {
        let mut inner = self.inner.lock();
        if inner.farewell.is_some() {
            return;
        }
        let wake = inner.items.is_empty();
        let wake = !inner.add(item, bytes) || wake;
        drop(inner);
        if wake {
            self.changed.notify_one();
        }
    }

    /// Likewise, by the task that empties the mailbox: it need not be woken, and may have a last word.
    pub fn answer(&self, item: T, bytes: usize) {
        let mut inner = self.inner.lock();
        match inner.farewell {
            None => {
                inner.add(item, bytes);
            }
            Some(Farewell::Slow) => {}
            Some(_) => inner.items.push_back(item),
        }
    }

    /// Counts what somebody else keeps for this connection and will push later; to be given back with [`Self::unreserve`].
    /// False when that is too much: then the connection is told to close.
    pub fn reserve(&self, bytes: usize) -> bool {
        let mut inner = self.inner.lock();
        if inner.farewell.is_some() {
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
    pub fn close(&self, farewell: Farewell) {
        self.inner.lock().farewell.get_or_insert(farewell);
        self.changed.notify_one();
    }

    /// Why the connection is to close, if it is.
    pub fn farewell(&self) -> Option<Farewell> {
        self.inner.lock().farewell
    }

    /// The bytes that wait, and why the connection is to close, if it is.
    pub fn state(&self) -> (usize, Option<Farewell>) {
        let inner = self.inner.lock();
        (inner.bytes, inner.farewell)
    }

    /// Moves everything that waits to the end of `into`.
    pub fn take(&self, into: &mut VecDeque<T>) -> Option<Farewell> {
        self.inner.lock().take(into, 0)
    }

    /// Likewise, but it counts until [`Self::left`].
    pub fn borrow(&self, into: &mut VecDeque<T>) -> Option<Farewell> {
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
        let mailbox = Mailbox::default();
        for _ in 0..9 {
            mailbox.push((), 64 * 1024);
        }
        mailbox.changed().await;
        let mut items = VecDeque::new();
        assert_eq!(mailbox.take(&mut items), Some(Farewell::Slow));
        assert!(items.is_empty());
        mailbox.close(Farewell::Draining);
        assert_eq!(
            mailbox.take(&mut items),
            Some(Farewell::Slow),
            "the first reason stays"
        );
    }

    #[test]
    fn what_was_borrowed_or_is_kept_elsewhere_counts_until_it_has_left() {
        const HALF: usize = MOST_WAITING_BYTES / 2 - ITEM_BYTES;
        let (mailbox, mut out) = (Mailbox::default(), VecDeque::new());
        mailbox.push((), HALF);
        assert_eq!(mailbox.borrow(&mut out), None);
        assert!(mailbox.reserve(HALF));
        mailbox.unreserve(HALF);
        mailbox.answer((), HALF);
        assert_eq!(mailbox.farewell(), None, "just as much as there may be");
        mailbox.left(0, HALF);
        mailbox.left(1, 0);
        mailbox.push((), HALF);
        assert_eq!(mailbox.farewell(), None, "what has left makes room");
        assert!(!mailbox.reserve(0));
        assert_eq!(mailbox.farewell(), Some(Farewell::Slow));
    }
}
