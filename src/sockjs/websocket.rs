//! The TCP stream of a WebSocket: reads into a thread-local buffer. [`SendQueue`] writes.

use std::{cell::RefCell, io, net::Shutdown, sync::Arc, time::Duration};

use bytes::Bytes;
use socket2::SockRef;
use tokio::{
    io::Interest,
    net::TcpStream,
    task::{coop::consume_budget, yield_now},
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

/// Size of the thread-local read buffer. It is shared, so that an idle connection needs none.
const READ_BUFFER_BYTES: usize = 16 * 1024;
/// Input that is drained after the write side is closed; a client that sends more loses the connection.
const MAX_DRAINED_BYTES: usize = 16 * 1024 * 1024;
thread_local! {
    static READ_BUFFER: RefCell<Vec<u8>> = RefCell::new(vec![0; READ_BUFFER_BYTES]);
}

#[derive(Debug)]
pub(super) struct WebSocketStream {
    /// The same as that of the send queue.
    pub(super) stream: Arc<TcpStream>,
    /// [`Options::message_bytes`](crate::sockjs::Options::message_bytes).
    pub(super) max_message_bytes: usize,
    pub(super) message_timeout: Duration,
    pub(super) decoder: websocket::Decoder,
    /// When the first bytes of an incomplete message arrived.
    pub(super) message_started_at: Option<Instant>,
    /// Messages of one SockJS payload that the application has not taken yet.
    pub(super) texts: std::vec::IntoIter<String>,
    pub(super) last_read_at: Instant,
    /// Interval of SockJS heartbeats, unless the application sends its own.
    pub(super) heartbeat: Option<Duration>,
    /// The client sent a Close frame.
    pub(super) closed_by_client: bool,
    /// Bytes read since [`Self::take_read_units`] was last called.
    pub(super) uncounted_bytes: u32,
}

impl WebSocketStream {
    /// The next message that has arrived; queues pongs.
    pub(super) fn try_recv(
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
                        self.message_started_at = None;
                    } else {
                        self.message_started_at.get_or_insert_with(Instant::now);
                    }
                    return Ok(None);
                }
                Err(violation) => return Err(Disconnect::close(violation.code, violation.reason)),
            };
            if matches!(event, Event::Text(_) | Event::Binary(_)) {
                self.message_started_at = None;
            }
            match event {
                Event::Text(text) if encoding == Encoding::Raw => {
                    return Ok(Some(text.into_bytes()));
                }
                // The protocol's test suite wants broken JSON to end the connection without a Close frame.
                Event::Text(text) => {
                    self.texts = frames::decode(&text)
                        .map_err(|_| Disconnect::Gone)?
                        .into_iter();
                }
                Event::Binary(bytes) if encoding == Encoding::Raw => return Ok(Some(bytes)),
                Event::Binary(_) => {
                    return Err(Disconnect::close(1003, "SockJS messages are text."));
                }
                Event::Ping(payload) => {
                    let pong = websocket::pong(&payload);
                    let bytes = pong.len();
                    send_queue.push_reply(pong, bytes);
                }
                Event::Pong => {}
                Event::Close { code } => {
                    self.closed_by_client = true;
                    return Err(Disconnect::close(code, ""));
                }
            }
        }
    }

    /// When the incomplete message must have arrived in full.
    pub(super) fn message_deadline(&self) -> Option<Instant> {
        self.message_started_at
            .map(|since| since + self.message_timeout)
    }

    /// Waits until the socket is writable, if `writes`, or readable, if `reads`; then reads once.
    pub(super) async fn ready(&mut self, reads: bool, writes: bool) -> Result<(), Disconnect> {
        let interest = match (reads, writes) {
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
        let read = READ_BUFFER.with_borrow_mut(|buffer| {
            let read = self.stream.try_read(buffer)?;
            self.decoder.feed(&buffer[..read]);
            Ok::<_, io::Error>(read)
        });
        match read {
            Ok(0) => return Err(Disconnect::Gone),
            Ok(read) => {
                self.last_read_at = Instant::now();
                self.uncounted_bytes += u32::try_from(read).unwrap_or(u32::MAX);
                // `TcpStream::ready` does not use the task's budget, so a client that keeps the stream readable would keep
                // the thread.
                if read == READ_BUFFER_BYTES {
                    yield_now().await;
                } else {
                    consume_budget().await;
                }
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(_) => return Err(Disconnect::Gone),
        }
        Ok(())
    }

    /// The read units used since the last call: one for each frame and for each KiB.
    pub(super) fn take_read_units(&mut self) -> f64 {
        let bytes = std::mem::take(&mut self.uncounted_bytes);
        f64::from(self.decoder.take_frames()) + f64::from(bytes) / 1024.0
    }
}

/// Writes the last frames, closes the write side and drains what the client still sends.
///
/// RFC 6455 §7.1.1: the server closes first. A client that has both Close frames waits for the server's FIN, a browser for
/// up to 2 s before it reports the close. Only the write side closes at once: a close with unread input resets the
/// connection, and the client could lose the last frames.
pub(super) async fn close_stream(stream: &TcpStream, queue: &SendQueue<Bytes>) -> io::Result<()> {
    loop {
        queue
            .write()
            .map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))?;
        if !queue.is_blocked() {
            break;
        }
        stream.writable().await?;
    }
    SockRef::from(stream).shutdown(Shutdown::Write)?;
    let mut drained = 0;
    while drained < MAX_DRAINED_BYTES {
        stream.readable().await?;
        match READ_BUFFER.with_borrow_mut(|buffer| stream.try_read(buffer)) {
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
