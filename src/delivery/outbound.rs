//! The send queue of one connection: bounded in bytes; a push never waits.
//!
//! The frames of a socket are written by whoever queues them, if the socket takes them: waking the connection's task for each
//! frame would cost as much as the write. The task writes only its own replies, and what the socket did not take.

use std::{
    collections::VecDeque,
    io::{self, IoSlice},
    sync::Arc,
};

use bytes::{Buf, Bytes};
use parking_lot::Mutex;
use socket2::SockRef;
use tokio::{
    io::Interest,
    net::TcpStream,
    sync::Notify,
    time::{Duration, Instant},
};

use crate::{
    delivery::disconnect::{CloseReason, Disconnect},
    limits::{MAX_QUEUED_BYTES, STALL_TIMEOUT},
};

/// Bytes that an item counts with beside its content, so that the number of small items is bounded too.
const ITEM_BYTES: usize = 64;
/// Bytes in the queue above which the node stops reading from the client, and frames are written without a delay. The rest of the
/// queue has room for the largest answer.
const FULL_BYTES: usize = 64 * 1024;
/// Frames written in one system call.
const MAX_FRAMES_PER_WRITE: usize = 64;
/// Capacity that an empty queue keeps.
const KEPT_ITEMS: usize = 4;

#[derive(Debug)]
struct Inner {
    /// The first may be partly written.
    items: VecDeque<Bytes>,
    /// Bytes of the queued items, and of borrowed items that are not written yet.
    bytes: usize,
    /// Bytes of items that will be pushed later.
    reserved: usize,
    close_reason: Option<CloseReason>,
    /// Whether only the connection's task queues and writes from now on.
    ended: bool,
    writes: Writes,
}

/// What was written to the socket.
#[derive(Debug)]
struct Writes {
    /// Whether the first item is partly written.
    partial: bool,
    /// Whether an [`Unwritten`] of the queue exists.
    pending: bool,
    /// Whether a write failed.
    failed: bool,
    /// Since when the kernel's send buffer is full and takes nothing.
    blocked_at: Option<Instant>,
    last_at: Instant,
    /// When an [`Unwritten`] was last written.
    last_delivery_at: Instant,
}

/// The send queue of one connection.
#[derive(Debug)]
pub struct SendQueue {
    inner: Mutex<Inner>,
    changed: Notify,
    socket: Option<Arc<TcpStream>>,
}

impl Default for SendQueue {
    fn default() -> Self {
        Self::new(None)
    }
}

impl Inner {
    /// Whether `bytes` more fit. If not, the connection is closed as slow and its items are dropped.
    fn fits(&mut self, bytes: usize) -> bool {
        let fits = self.bytes + self.reserved + bytes + ITEM_BYTES <= MAX_QUEUED_BYTES;
        if !fits {
            self.close_reason = Some(CloseReason::Slow);
            // The client must get the rest of a frame of which it has a part.
            self.items.truncate(usize::from(self.writes.partial));
            self.items.shrink_to_fit();
        }
        fits
    }

    fn add(&mut self, item: Bytes) -> bool {
        let bytes = item.len();
        let fits = self.fits(bytes);
        if fits {
            self.bytes += bytes + ITEM_BYTES;
            self.items.push_back(item);
        }
        fits
    }

    fn take(&mut self, into: &mut VecDeque<Bytes>, bytes: usize) -> Option<CloseReason> {
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

impl SendQueue {
    fn new(socket: Option<Arc<TcpStream>>) -> Self {
        let now = Instant::now();
        Self {
            inner: Mutex::new(Inner {
                items: VecDeque::new(),
                bytes: 0,
                reserved: 0,
                close_reason: None,
                ended: false,
                writes: Writes {
                    partial: false,
                    pending: false,
                    failed: false,
                    blocked_at: None,
                    last_at: now,
                    last_delivery_at: now,
                },
            }),
            changed: Notify::new(),
            socket,
        }
    }

    /// Queues an item, and wakes the task that empties the queue. When the queue is full, its items are dropped and
    /// the connection is closed: the client resumes at its position, so no event is lost.
    pub fn push(&self, item: Bytes) {
        let mut inner = self.inner.lock();
        if inner.close_reason.is_some() || inner.ended {
            return;
        }
        let wake = inner.items.is_empty();
        let wake = !inner.add(item) || wake;
        drop(inner);
        if wake {
            self.changed.notify_one();
        }
    }

    /// Queues an item from the task that empties the queue. That task needs no wake-up, and may still reply on a connection that
    /// is being closed, unless it is slow.
    pub fn push_reply(&self, item: Bytes) {
        let mut inner = self.inner.lock();
        match inner.close_reason {
            None => {
                inner.add(item);
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

    /// Ends deliveries: only the task that empties the queue adds items and writes from now on.
    pub fn end_deliveries(&self) {
        self.inner.lock().ended = true;
    }

    /// Why the connection must close, if it must.
    pub fn close_reason(&self) -> Option<CloseReason> {
        self.inner.lock().close_reason
    }

    /// The queued bytes.
    pub fn bytes(&self) -> usize {
        self.inner.lock().bytes
    }

    /// Whether the node must not read from the client: the queue is too full, or the connection is being closed.
    pub fn is_full(&self) -> bool {
        let inner = self.inner.lock();
        inner.bytes > FULL_BYTES || inner.close_reason.is_some()
    }

    /// Moves all items to the end of `into`.
    pub fn take(&self, into: &mut VecDeque<Bytes>) -> Option<CloseReason> {
        self.inner.lock().take(into, 0)
    }

    /// Moves all items to the end of `into`; their bytes count until [`Self::written`].
    pub fn borrow(&self, into: &mut VecDeque<Bytes>) -> Option<CloseReason> {
        let mut inner = self.inner.lock();
        let bytes = inner.bytes;
        inner.take(into, bytes)
    }

    /// Reports that `items` borrowed items, and `bytes` bytes of borrowed items, were written.
    pub fn written(&self, items: usize, bytes: usize) {
        let mut inner = self.inner.lock();
        inner.bytes = inner.bytes.saturating_sub(bytes + items * ITEM_BYTES);
    }

    /// Waits until there may be an item for the task, or a close reason. Cancel safe; for one waiter.
    pub async fn changed(&self) {
        self.changed.notified().await;
    }
}

impl Inner {
    /// Writes items until the socket would block.
    fn write(&mut self, socket: &TcpStream) -> io::Result<()> {
        if self.items.is_empty() {
            self.writes.blocked_at = None;
            return Ok(());
        }
        let (queued, mut bytes) = (self.items.len(), 0);
        let result = loop {
            if self.items.is_empty() {
                break Ok(());
            }
            match write_some(socket, &mut self.items, &mut self.writes.partial) {
                Ok(written) => bytes += written,
                Err(error) => break Err(error),
            }
        };
        let written = bytes + (queued - self.items.len()) * ITEM_BYTES;
        self.bytes = self.bytes.saturating_sub(written);
        if bytes > 0 {
            self.writes.last_at = Instant::now();
        }
        match result {
            Ok(()) => {
                self.writes.blocked_at = None;
                // Frees the memory of a burst.
                if self.items.capacity() > KEPT_ITEMS {
                    self.items = VecDeque::new();
                }
                Ok(())
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                // A client that takes some bytes is slow, not stalled: its time starts again.
                let since = self.writes.blocked_at.filter(|_| bytes == 0);
                self.writes.blocked_at = Some(since.unwrap_or_else(Instant::now));
                Ok(())
            }
            Err(error) => {
                self.writes.failed = true;
                Err(error)
            }
        }
    }
}

impl SendQueue {
    /// The queue of a socket.
    pub fn of_socket(socket: Arc<TcpStream>) -> Self {
        Self::new(Some(socket))
    }

    /// Queues a frame from a task that is not the connection's. Without a socket, wakes the connection's task. With one, returns the
    /// queue if the caller must write it.
    pub fn deliver(self: &Arc<Self>, frame: Bytes) -> Option<Unwritten> {
        if self.socket.is_none() {
            self.push(frame);
            return None;
        }
        let mut inner = self.inner.lock();
        if inner.close_reason.is_some() || inner.ended {
            return None;
        }
        let was_full = inner.bytes > FULL_BYTES;
        if !inner.add(frame) {
            drop(inner);
            self.changed.notify_one();
            return None;
        }
        let must_write = if inner.writes.pending {
            // A delayed write would take too long.
            !was_full && inner.bytes > FULL_BYTES
        } else {
            // The task of a blocked connection waits for the socket.
            inner.writes.blocked_at.is_none()
        };
        inner.writes.pending |= must_write;
        drop(inner);
        must_write.then(|| Unwritten(self.clone()))
    }

    /// Writes queued frames until the socket would block. Returns the reason when the connection must close.
    ///
    /// # Errors
    /// The client is gone.
    pub fn write(&self) -> Result<Option<CloseReason>, Disconnect> {
        let mut inner = self.inner.lock();
        if let Some(socket) = &self.socket
            && (inner.writes.failed || inner.write(socket).is_err())
        {
            return Err(Disconnect::Gone);
        }
        Ok(inner.close_reason)
    }

    /// Queues a frame of the close, however full the queue is. No other frame may follow but one of these.
    pub fn push_last(&self, frame: Bytes) {
        self.inner.lock().items.push_back(frame);
    }

    /// Whether the socket takes nothing.
    pub fn is_blocked(&self) -> bool {
        self.inner.lock().writes.blocked_at.is_some()
    }

    /// When the client last received anything.
    pub fn last_write_at(&self) -> Instant {
        self.inner.lock().writes.last_at
    }

    /// When the client will have taken nothing for [`STALL_TIMEOUT`]. `None` unless its socket is full.
    pub fn stalls_at(&self) -> Option<Instant> {
        let blocked_at = self.inner.lock().writes.blocked_at;
        blocked_at.map(|since| since + STALL_TIMEOUT)
    }
}

/// A queue with frames that its holder writes. When it is dropped without a write, the connection's task is woken instead.
#[derive(Debug)]
pub struct Unwritten(Arc<SendQueue>);

impl Unwritten {
    /// Whether a delivery was written less than `pace` ago, so that this one can wait for the next.
    pub fn can_wait(&self, pace: Duration, now: Instant) -> bool {
        let inner = self.0.inner.lock();
        inner.bytes <= FULL_BYTES && now < inner.writes.last_delivery_at + pace
    }

    /// Writes until the socket would block; the connection's task writes the rest, and everything once deliveries have ended.
    pub fn write(self) {
        let mut inner = self.0.inner.lock();
        if inner.ended {
            return;
        }
        let Some(socket) = &self.0.socket else {
            return;
        };
        let was_full = inner.bytes > FULL_BYTES;
        let failed = inner.write(socket).is_err();
        inner.writes.last_delivery_at = inner.writes.last_at;
        drop(inner);
        // The task may wait for room in the queue. If the socket is full, `drop` wakes it.
        if failed || was_full {
            self.0.changed.notify_one();
        }
    }
}

impl Drop for Unwritten {
    fn drop(&mut self) {
        let mut inner = self.0.inner.lock();
        inner.writes.pending = false;
        if !inner.items.is_empty() {
            self.0.changed.notify_one();
        }
    }
}

/// Writes the first items in one system call. Sets whether a part of the first one is left.
fn write_some(
    socket: &TcpStream,
    items: &mut VecDeque<Bytes>,
    partial: &mut bool,
) -> io::Result<usize> {
    let written = if let (Some(item), 1) = (items.front(), items.len()) {
        socket.try_write(item)?
    } else {
        let mut slices = [IoSlice::new(&[]); MAX_FRAMES_PER_WRITE];
        let mut filled = 0;
        for (slice, item) in slices.iter_mut().zip(items.iter()) {
            *slice = IoSlice::new(item);
            filled += 1;
        }
        // `sendmsg`, which costs less than the `writev` of `try_write_vectored`.
        let send = || SockRef::from(socket).send_vectored(&slices[..filled]);
        socket.try_io(Interest::WRITABLE, send)?
    };
    let mut rest = written;
    *partial = false;
    while let Some(first) = items.front_mut() {
        if rest < first.len() {
            first.advance(rest);
            *partial = rest > 0;
            break;
        }
        rest -= first.len();
        items.pop_front();
    }
    Ok(written)
}

#[cfg(test)]
mod tests;
