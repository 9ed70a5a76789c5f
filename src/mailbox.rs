//! What waits to be written to one connection: bounded in bytes, never waited for by those who fill it.

use std::{collections::VecDeque, time::Duration};

use parking_lot::Mutex;
use tokio::sync::Notify;

/// A connection with more than this many bytes waiting is closed; its client comes back and resumes.
pub const MOST_WAITING_BYTES: usize = 512 * 1024;

/// Whoever fills mailboxes gives their owners a turn after this many bytes: a fraction of what may wait for one of them, and
/// still many messages that leave in one write.
pub const TURN_BYTES: usize = MOST_WAITING_BYTES / 16;

/// A connection that takes nothing for this long while something waits is closed.
pub const STALLED_AFTER: Duration = Duration::from_secs(10);

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
    bytes: usize,
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
                farewell: None,
            }),
            changed: Notify::new(),
        }
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
        if inner.bytes + bytes > MOST_WAITING_BYTES {
            inner.farewell = Some(Farewell::Slow);
            inner.items = VecDeque::new();
            inner.bytes = 0;
        } else {
            inner.bytes += bytes;
            inner.items.push_back(item);
        }
        let wake = wake || inner.farewell.is_some();
        drop(inner);
        if wake {
            self.changed.notify_one();
        }
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

    /// Moves everything that waits to the end of `into`.
    pub fn take(&self, into: &mut VecDeque<T>) -> Option<Farewell> {
        let mut inner = self.inner.lock();
        inner.bytes = 0;
        if into.is_empty() {
            // Hands over the storage as well: an idle connection keeps none.
            *into = std::mem::take(&mut inner.items);
        } else {
            into.append(&mut inner.items);
        }
        inner.farewell
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
}
