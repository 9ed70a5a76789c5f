//! One connection as the application sees it: ordered texts in both directions, and a close with code and reason.
//!
//! The application cannot tell a WebSocket from a SockJS session over HTTP. The task that owns the link of a WebSocket owns
//! the TCP stream too: it reads into a thread-local buffer and writes all queued frames in one system call, so an idle
//! connection has no buffers. The other end of a session over HTTP is in `sockjs/session.rs`.

use std::sync::Arc;

use bytes::Bytes;
use tokio::time::Instant;
use tracing::debug;

use crate::{
    delivery::{
        disconnect::{CloseReason, Disconnect},
        outbound::SendQueue,
        socket,
    },
    http::hijack::Hijacked,
    protocol::{encoding::Encoding, sockjs as frames, websocket},
    rate_limit::TokenBucket,
    sockjs::{options::Options, session::SockJsSession, websocket::WebSocketStream},
    tasks::sleep_until_some,
};

/// One connection to a client.
///
/// An application with its own event loop takes messages with [`Self::try_recv`], answers with [`Self::queue_text`], writes
/// with [`Self::flush`], waits with [`Self::ready`], and calls [`Self::tick`] at [`Self::deadline`]. [`Self::recv`] does all
/// of that for an application that needs no loop.
///
/// ```
/// use std::time::Duration;
///
/// use discodeit::sockjs::{self, Link};
/// use tokio::time::interval;
///
/// /// Echoes messages, and sends a line every minute.
/// async fn serve(mut link: Link) {
///     let mut minute = interval(Duration::from_secs(60));
///     let disconnect = loop {
///         let text = tokio::select! {
///             received = link.recv() => match received {
///                 Ok(text) => text,
///                 Err(disconnect) => break disconnect,
///             },
///             _ = minute.tick() => b"Another minute.".to_vec(),
///         };
///         link.queue_text(&text);
///     };
///     link.disconnect(disconnect).await;
/// }
///
/// let handler = sockjs::handler(serve);
/// # drop(handler);
/// ```
#[derive(Debug)]
pub struct Link {
    encoding: Encoding,
    /// Outgoing frames. Answers share the queue with published messages: one order, one limit.
    send_queue: Arc<SendQueue>,
    /// `None` reads without a limit.
    read_rate: Option<TokenBucket>,
    transport: Transport,
}

#[derive(Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "nearly every link is a WebSocket"
)]
enum Transport {
    WebSocket(WebSocketStream),
    Http(SessionGuard),
}

impl Link {
    /// A WebSocket after its handshake. The first [`Self::flush`] sends the response to the handshake and SockJS's open frame.
    pub(super) fn websocket(connection: Hijacked, encoding: Encoding, options: &Options) -> Self {
        let mut decoder = websocket::Decoder::new(options.message_bytes);
        decoder.feed(&connection.read_ahead);
        let stream = Arc::new(connection.stream);
        let link = Self {
            encoding,
            send_queue: Arc::new(SendQueue::of_socket(stream.clone())),
            read_rate: None,
            transport: Transport::WebSocket(WebSocketStream {
                stream,
                max_message_bytes: options.message_bytes,
                message_timeout: options.message_timeout,
                decoder,
                message_started_at: None,
                texts: Vec::new().into_iter(),
                last_read_at: Instant::now(),
                heartbeat: (encoding == Encoding::SockJs).then_some(options.heartbeat),
                closed_by_client: false,
                uncounted_bytes: 0,
            }),
        };
        link.queue_frame(connection.head);
        if encoding == Encoding::SockJs {
            link.queue_frame(websocket::text(frames::OPEN.as_bytes()));
        }
        link
    }

    /// The application's end of a SockJS session over HTTP.
    pub(super) fn http_session(session: Arc<SockJsSession>) -> Self {
        Self {
            encoding: Encoding::Http,
            send_queue: session.send_queue.clone(),
            read_rate: None,
            transport: Transport::Http(SessionGuard(session)),
        }
    }

    /// How texts are encoded for this connection.
    pub fn encoding(&self) -> Encoding {
        self.encoding
    }

    /// The queue of outgoing frames, to which other tasks push texts encoded by [`Self::encoding`].
    pub fn send_queue(&self) -> &Arc<SendQueue> {
        &self.send_queue
    }

    /// When the client last sent anything, transport heartbeats included. While reading is paused, now: its silence cannot be
    /// seen.
    pub fn last_read_at(&self) -> Instant {
        if self.paused_until().is_some() {
            return Instant::now();
        }
        match &self.transport {
            Transport::WebSocket(socket) => socket.last_read_at,
            Transport::Http(SessionGuard(session)) => session.last_read_at(),
        }
    }

    /// When the client last received anything.
    pub fn last_write_at(&self) -> Instant {
        match &self.transport {
            Transport::WebSocket(_) => self.send_queue.last_write_at(),
            Transport::Http(SessionGuard(session)) => session.last_write_at(),
        }
    }

    /// Stops the transport's heartbeats, because the application sends its own.
    pub fn disable_transport_heartbeat(&mut self) {
        match &mut self.transport {
            Transport::WebSocket(socket) => socket.heartbeat = None,
            Transport::Http(SessionGuard(session)) => session.disable_heartbeats(),
        }
    }

    /// Sets the size limit of further messages, at most [`Options::message_bytes`].
    pub fn set_max_message_bytes(&mut self, bytes: usize) {
        match &mut self.transport {
            Transport::WebSocket(socket) => {
                socket
                    .decoder
                    .set_limit(bytes.min(socket.max_message_bytes));
            }
            Transport::Http(SessionGuard(session)) => session.set_max_message_bytes(bytes),
        }
    }

    /// Limits reading to `rate` units per second with a burst. A WebSocket frame is a unit, and each KiB; over HTTP, a message
    /// is. While the link has no units, it is not read from, so that the client waits.
    pub fn set_read_rate(&mut self, rate: f64, burst: f64) {
        self.read_rate = Some(TokenBucket::new(rate, burst, Instant::now()));
    }

    /// When reading continues, while [`Self::set_read_rate`] has paused it.
    fn paused_until(&self) -> Option<Instant> {
        let rate = self.read_rate.as_ref()?;
        // The usual case needs no clock.
        if rate.has_token() {
            return None;
        }
        let resumes_at = rate.next_token_at();
        (resumes_at > Instant::now()).then_some(resumes_at)
    }

    /// Whether the node must not read from the client: the send queue is too full, or the connection is being closed.
    pub fn is_full(&self) -> bool {
        self.send_queue.is_full()
    }

    /// The next message that has arrived, without waiting. A raw WebSocket may bring binary messages, so it is bytes.
    ///
    /// Check [`Self::is_full`] first: otherwise a client that reads no answers can fill the send queue.
    ///
    /// # Errors
    /// When the client closed the connection or broke the protocol.
    pub fn try_recv(&mut self) -> Result<Option<Vec<u8>>, Disconnect> {
        let (received, units) = match &mut self.transport {
            Transport::WebSocket(socket) => {
                let received = socket.try_recv(self.encoding, &self.send_queue);
                (received, socket.take_read_units())
            }
            Transport::Http(SessionGuard(session)) => {
                let received = session.pop();
                let units = f64::from(u32::from(received.is_some()));
                (Ok(received), units)
            }
        };
        if let Some(rate) = &mut self.read_rate
            && units > 0.0
        {
            rate.spend(units, Instant::now());
        }
        received
    }

    /// Appends a text to the send queue; the next [`Self::flush`] writes it.
    pub fn queue_text(&self, text: &[u8]) {
        self.queue_frame(self.encoding.text(text));
    }

    /// Appends a text that [`Self::encoding`] has encoded already.
    pub fn queue_frame(&self, frame: Bytes) {
        self.send_queue.push_reply(frame);
    }

    /// Writes queued frames until the socket would block. Returns the reason when the queue asks for a close.
    ///
    /// # Errors
    /// When the client is gone.
    pub fn flush(&mut self) -> Result<Option<CloseReason>, Disconnect> {
        match &mut self.transport {
            Transport::WebSocket(_) => self.send_queue.write(),
            Transport::Http(SessionGuard(session)) => Ok(session.flush()),
        }
    }

    /// Waits until the client can take more, the send queue has frames for the task or, if `reads`, input has arrived. Cancel safe.
    ///
    /// # Errors
    /// When the client is gone.
    pub async fn ready(&mut self, reads: bool) -> Result<(), Disconnect> {
        let reads = reads && !self.is_full();
        let paused_until = self.paused_until().filter(|_| reads);
        let resumed = sleep_until_some(paused_until);
        let changed = self.send_queue.changed();
        match &mut self.transport {
            Transport::WebSocket(socket) => {
                if !reads {
                    // The client is not to blame for an incomplete message.
                    socket.message_started_at = None;
                }
                let writes = self.send_queue.is_blocked();
                tokio::select! {
                    result = socket.ready(reads && paused_until.is_none(), writes) => result,
                    () = changed => Ok(()),
                    () = resumed => Ok(()),
                }
            }
            Transport::Http(SessionGuard(session)) => {
                tokio::select! {
                    () = session.ready(reads && paused_until.is_none()) => {}
                    () = changed => {}
                    () = resumed => {}
                }
                Ok(())
            }
        }
    }

    /// When the application must call [`Self::tick`].
    pub fn deadline(&self) -> Option<Instant> {
        match &self.transport {
            Transport::WebSocket(socket) => {
                let message = socket.message_deadline();
                let heartbeat = || Some(self.send_queue.last_write_at() + socket.heartbeat?);
                let write = self.send_queue.stalls_at().or_else(heartbeat);
                message.into_iter().chain(write).min()
            }
            Transport::Http(SessionGuard(session)) => session.stall_deadline(),
        }
    }

    /// Queues a transport heartbeat if one is due.
    ///
    /// # Errors
    /// When a message took too long to arrive, or the client has taken nothing for
    /// [`STALL_TIMEOUT`](crate::limits::STALL_TIMEOUT).
    pub fn tick(&mut self) -> Result<(), Disconnect> {
        let now = Instant::now();
        if self.deadline().is_none_or(|deadline| now < deadline) {
            return Ok(());
        }
        if let Transport::WebSocket(socket) = &self.transport {
            if socket.message_deadline().is_some_and(|late| now >= late) {
                return Err(Disconnect::close(1008, "A message took too long."));
            }
            if !self.send_queue.is_blocked() {
                self.queue_frame(websocket::text(frames::HEARTBEAT.as_bytes()));
                return Ok(());
            }
        }
        debug!("connection stalled");
        Err(Disconnect::Gone)
    }

    /// Waits for the next message, and writes the send queue meanwhile. Cancel safe.
    ///
    /// # Errors
    /// How the connection ends, for [`Self::disconnect`].
    pub async fn recv(&mut self) -> Result<Vec<u8>, Disconnect> {
        loop {
            let was_full = self.is_full();
            if !was_full && let Some(text) = self.try_recv()? {
                return Ok(text);
            }
            if let Some(close_reason) = self.flush()? {
                return Err(close_reason.into());
            }
            if was_full && !self.is_full() {
                continue;
            }
            let deadline = self.deadline();
            tokio::select! {
                result = self.ready(true) => result?,
                () = sleep_until_some(deadline) => self.tick()?,
            }
        }
    }

    /// Closes the connection, or drops it without a word if the client is gone.
    pub async fn disconnect(&mut self, disconnect: Disconnect) {
        if let Disconnect::Close { code, reason } = disconnect {
            self.close(code, reason).await;
        }
    }

    /// Writes the queued frames and the Close frame, then closes the connection.
    ///
    /// A WebSocket closes its write side at once (RFC 6455 §7.1.1) and waits up to 2 s for the client's FIN. A session over
    /// HTTP answers later requests with its close frame until the disconnect delay ends. The link must not be used
    /// afterwards.
    pub async fn close(&mut self, code: u16, reason: &str) {
        match &mut self.transport {
            Transport::WebSocket(socket) => {
                // A client that closed first expects only its Close frame back.
                if self.encoding == Encoding::SockJs && !socket.closed_by_client {
                    let close = frames::close(code, reason);
                    self.send_queue.push_last(websocket::text(close.as_bytes()));
                }
                self.send_queue.push_last(websocket::close(code, reason));
                // The server closes first (RFC 6455 §7.1.1). A browser that has both Close frames waits up to 2 s for its FIN.
                socket::close(&socket.stream, &self.send_queue).await;
            }
            Transport::Http(SessionGuard(session)) => {
                session.close(frames::close(code, reason));
            }
        }
    }
}

/// The application's end of a session over HTTP. Closes the session if the application drops it without a close.
#[derive(Debug)]
struct SessionGuard(Arc<SockJsSession>);

impl Drop for SessionGuard {
    fn drop(&mut self) {
        self.0.close(frames::interrupted());
    }
}
