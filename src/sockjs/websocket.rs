//! The socket of a WebSocket connection: reads into a buffer of the thread, writes all queued frames in one system call.

use std::{
    cell::RefCell,
    collections::VecDeque,
    io::{self, IoSlice},
    time::Duration,
};

use bytes::{Buf, Bytes};
use tokio::{
    io::{AsyncWriteExt, Interest},
    net::TcpStream,
    task::coop::consume_budget,
    time::Instant,
};

use crate::{
    delivery::{disconnect::Disconnect, outbound::SendQueue},
    protocol::{
        encoding::Encoding,
        sockjs as frames,
        websocket::{self, Event},
    },
};

/// Read at once, into a buffer of the thread: an idle connection keeps none.
const READ_BYTES: usize = 16 * 1024;
/// Frames written in one system call.
const VECTORED: usize = 64;
/// Input that is drained after the write side is closed; a client that sends more loses the connection.
const MAX_DRAINED_BYTES: usize = 16 * 1024 * 1024;
thread_local! {
    static SCRATCH: RefCell<Vec<u8>> = RefCell::new(vec![0; READ_BYTES]);
}

#[derive(Debug)]
pub(super) struct Socket {
    pub(super) stream: TcpStream,
    /// What the endpoint allows.
    pub(super) message_bytes: usize,
    pub(super) message_timeout: Duration,
    pub(super) decoder: websocket::Decoder,
    /// Since when a message is under way.
    pub(super) unfinished: Option<Instant>,
    /// What is being written, borrowed from the queue; the first may be written in part.
    pub(super) out: VecDeque<Bytes>,
    /// What was in one payload of SockJS.
    pub(super) texts: std::vec::IntoIter<String>,
    pub(super) heard: Instant,
    pub(super) wrote: Instant,
    /// Since when the kernel takes nothing more.
    pub(super) blocked: Option<Instant>,
    pub(super) heartbeat: Option<Duration>,
    /// The client has closed: of us it expects its close frame back and nothing else.
    pub(super) closing: bool,
}

impl Socket {
    pub(super) fn take(
        &mut self,
        encoding: Encoding,
        send_queue: &SendQueue<Bytes>,
    ) -> Result<Option<Vec<u8>>, Disconnect> {
        loop {
            if let Some(text) = self.texts.next() {
                return Ok(Some(text.into_bytes()));
            }
            let event = match self.decoder.next() {
                Ok(Some(event)) => event,
                Ok(None) => {
                    if self.decoder.is_idle() {
                        self.unfinished = None;
                    } else {
                        self.unfinished.get_or_insert_with(Instant::now);
                    }
                    return Ok(None);
                }
                Err(violation) => return Err(Disconnect::close(violation.code, violation.reason)),
            };
            if matches!(event, Event::Text(_) | Event::Binary(_)) {
                self.unfinished = None;
            }
            match event {
                Event::Text(text) if encoding == Encoding::Raw => {
                    return Ok(Some(text.into_bytes()));
                }
                // The protocol suite: cut at once, without a word.
                Event::Text(text) => {
                    self.texts = frames::decode(&text)
                        .map_err(|_| Disconnect::Gone)?
                        .into_iter();
                }
                Event::Binary(octets) if encoding == Encoding::Raw => return Ok(Some(octets)),
                Event::Binary(_) => return Err(Disconnect::close(1003, "SockJS is text.")),
                Event::Ping(payload) => {
                    let pong = websocket::pong(&payload);
                    let bytes = pong.len();
                    send_queue.answer(pong, bytes);
                }
                Event::Pong => {}
                Event::Close { code } => {
                    self.closing = true;
                    return Err(Disconnect::close(code, ""));
                }
            }
        }
    }

    /// When the message under way takes too long.
    pub(super) fn unfinished_at(&self) -> Option<Instant> {
        self.unfinished.map(|since| since + self.message_timeout)
    }

    pub(super) async fn ready(&mut self, reads: bool) -> Result<(), Disconnect> {
        if !reads {
            // It is we who let the client wait.
            self.unfinished = None;
        }
        let interest = match (reads, self.blocked.is_some()) {
            (true, false) => Interest::READABLE,
            (true, true) => Interest::READABLE | Interest::WRITABLE,
            (false, true) => Interest::WRITABLE,
            (false, false) => std::future::pending().await,
        };
        let state = self
            .stream
            .ready(interest)
            .await
            .map_err(|_| Disconnect::Gone)?;
        if !(reads && state.is_readable()) {
            return Ok(());
        }
        SCRATCH.with_borrow_mut(|scratch| match self.stream.try_read(scratch) {
            Ok(0) => Err(Disconnect::Gone),
            Ok(n) => {
                self.heard = Instant::now();
                self.decoder.feed(&scratch[..n]);
                Ok(())
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
            Err(_) => Err(Disconnect::Gone),
        })
    }

    /// Writes as much as the kernel takes.
    pub(super) fn write(&mut self, send_queue: &SendQueue<Bytes>) -> Result<(), Disconnect> {
        let (waited, mut bytes) = (self.out.len(), 0);
        let blocks = loop {
            if self.out.is_empty() {
                break false;
            }
            match write_some(&self.stream, &mut self.out) {
                Ok(written) => bytes += written,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break true,
                Err(_) => return Err(Disconnect::Gone),
            }
        };
        if bytes > 0 {
            self.wrote = Instant::now();
            send_queue.left(waited - self.out.len(), bytes);
        }
        if blocks {
            // As long as it takes something it is merely slow.
            let since = self.blocked.filter(|_| bytes == 0);
            self.blocked = Some(since.unwrap_or_else(Instant::now));
            return Ok(());
        }
        self.blocked = None;
        // A burst's queue is not kept for an idle connection.
        if self.out.capacity() > VECTORED {
            self.out = VecDeque::new();
        }
        Ok(())
    }
}

/// Writes the first frames in one system call.
fn write_some(stream: &TcpStream, out: &mut VecDeque<Bytes>) -> io::Result<usize> {
    let mut slices = [IoSlice::new(&[]); VECTORED];
    let mut filled = 0;
    for (slice, frame) in slices.iter_mut().zip(out.iter()) {
        *slice = IoSlice::new(frame);
        filled += 1;
    }
    let written = stream.try_write_vectored(&slices[..filled])?;
    let mut rest = written;
    while let Some(first) = out.front_mut() {
        if rest < first.len() {
            first.advance(rest);
            break;
        }
        rest -= first.len();
        out.pop_front();
    }
    Ok(written)
}

/// Writes the last frames, closes the write side and drains what the client still sends.
///
/// RFC 6455 §7.1.1: the server closes first. A client that has both Close frames waits for the server's FIN, a browser for
/// up to 2 s before it reports the close. Only the write side closes at once: a close with unread input resets the
/// connection, and the client could lose the last frames.
pub(super) async fn close_stream(
    stream: &mut TcpStream,
    mut out: VecDeque<Bytes>,
) -> io::Result<()> {
    while !out.is_empty() {
        stream.writable().await?;
        match write_some(stream, &mut out) {
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => return Err(error),
            _ => {}
        }
    }
    stream.shutdown().await?;
    let mut drained = 0;
    while drained < MAX_DRAINED_BYTES {
        stream.readable().await?;
        match SCRATCH.with_borrow_mut(|scratch| stream.try_read(scratch)) {
            Ok(0) => return Ok(()),
            Ok(n) => drained += n,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
        // Lets the caller's timeout fire although a client that floods keeps the stream readable.
        consume_budget().await;
    }
    Ok(())
}
