//! The TCP stream of a WebSocket, and what it has read.

use std::{sync::Arc, time::Duration};

use tokio::{net::TcpStream, time::Instant};

use crate::{
    delivery::{disconnect::Disconnect, outbound::SendQueue, socket},
    protocol::{
        encoding::Encoding,
        sockjs as frames,
        websocket::{self, Event},
    },
};

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
        send_queue: &SendQueue,
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
                    send_queue.push_reply(websocket::pong(&payload));
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
        let Self {
            stream,
            decoder,
            last_read_at,
            uncounted_bytes,
            ..
        } = self;
        let on_read = |bytes: &[u8]| {
            decoder.feed(bytes);
            *last_read_at = Instant::now();
            *uncounted_bytes += u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        };
        socket::ready(stream, reads, writes, on_read).await
    }

    /// The read units used since the last call: one for each frame and for each KiB.
    pub(super) fn take_read_units(&mut self) -> f64 {
        let bytes = std::mem::take(&mut self.uncounted_bytes);
        f64::from(self.decoder.take_frames()) + f64::from(bytes) / 1024.0
    }
}
