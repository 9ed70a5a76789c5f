//! One connection as an application sees it: an ordered stream of texts each way, and a close with code and reason. Whether
//! it is a WebSocket or a SockJS session over HTTP makes no difference above.
//!
//! A WebSocket is the TCP stream itself, owned by the task that uses the link: reading goes through a buffer of the thread,
//! writing is one system call for all that waits, and an idle link owns no buffer. A session over HTTP is the near end of
//! `sockjs/session.rs`.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use bytes::Bytes;
use tokio::{
    net::TcpStream,
    time::{Instant, sleep_until, timeout},
};
use tracing::debug;

use crate::{
    delivery::{
        disconnect::{CloseReason, Disconnect},
        outbound::SendQueue,
    },
    limits::STALLED_AFTER,
    protocol::{encoding::Encoding, sockjs as frames, websocket},
    sockjs::{
        options::Options,
        session::Session,
        websocket::{Socket, close_stream},
    },
};

/// A client that leaves so many bytes waiting is not listened to: with this much there is still room for the largest answer.
const UNANSWERED_BYTES: usize = 64 * 1024;
/// The last frames must be written, and the client must close its side, within this time.
const LINGER: Duration = Duration::from_secs(2);

/// One connection.
///
/// An application runs a loop: [`Self::take`] until nothing has arrived, [`Self::send`] answers, [`Self::flush`], then
/// [`Self::ready`] waits for something to do; at [`Self::deadline`] the loop calls [`Self::tick`]. An application that waits
/// for nothing but its client calls [`Self::receive`], which does all of that.
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
///     let end = loop {
///         let text = tokio::select! {
///             received = link.receive() => match received {
///                 Ok(text) => text,
///                 Err(end) => break end,
///             },
///             _ = minute.tick() => b"Another minute.".to_vec(),
///         };
///         link.send(&text);
///     };
///     link.end(end).await;
/// }
///
/// let handler = sockjs::handler(serve);
/// # drop(handler);
/// ```
#[derive(Debug)]
pub struct Link {
    encoding: Encoding,
    /// What is to be written, answers too: so they leave in the order in which they became true, and one limit is for all.
    send_queue: Arc<SendQueue<Bytes>>,
    kind: Kind,
}

#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "nearly every link is a socket")]
enum Kind {
    Socket(Socket),
    Session(Application),
}

impl Link {
    /// A WebSocket after its handshake. `early` is what the client sent right behind that. The first thing SockJS says,
    /// `o`, leaves with the first [`Self::flush`].
    pub(crate) fn of_socket(
        stream: TcpStream,
        early: &[u8],
        encoding: Encoding,
        parameters: &Options,
    ) -> Self {
        let mut decoder = websocket::Decoder::new(parameters.message_bytes);
        decoder.feed(early);
        let now = Instant::now();
        let link = Self {
            encoding,
            send_queue: Arc::default(),
            kind: Kind::Socket(Socket {
                stream,
                message_bytes: parameters.message_bytes,
                message_timeout: parameters.message_timeout,
                decoder,
                unfinished: None,
                out: VecDeque::new(),
                texts: Vec::new().into_iter(),
                heard: now,
                wrote: now,
                blocked: None,
                heartbeat: (encoding == Encoding::SockJs).then_some(parameters.heartbeat),
                closing: false,
            }),
        };
        if encoding == Encoding::SockJs {
            link.write(websocket::text(frames::OPEN.as_bytes()));
        }
        link
    }

    /// The near end of a SockJS session over HTTP.
    pub(crate) fn of_session(session: Arc<Session>) -> Self {
        Self {
            encoding: Encoding::Http,
            send_queue: session.send_queue.clone(),
            kind: Kind::Session(Application(session)),
        }
    }

    /// The form of what is written.
    pub fn encoding(&self) -> Encoding {
        self.encoding
    }

    /// Where others leave what this link is to write, in the form of [`Self::wire`].
    pub fn send_queue(&self) -> &Arc<SendQueue<Bytes>> {
        &self.send_queue
    }

    /// When the client said something last, be it a heart-beat of the transport.
    pub fn heard(&self) -> Instant {
        match &self.kind {
            Kind::Socket(socket) => socket.heard,
            Kind::Session(Application(session)) => session.heard(),
        }
    }

    /// When something left last.
    pub fn wrote(&self) -> Instant {
        match &self.kind {
            Kind::Socket(socket) => socket.wrote,
            Kind::Session(Application(session)) => session.taken(),
        }
    }

    /// The application keeps the connection alive itself from now on: the transport's own heartbeats end.
    pub fn beats_itself(&mut self) {
        match &mut self.kind {
            Kind::Socket(socket) => socket.heartbeat = None,
            Kind::Session(Application(session)) => session.end_heartbeats(),
        }
    }

    /// Takes no message of more octets from now on, and never more than the endpoint allows.
    pub fn take_at_most(&mut self, octets: usize) {
        match &mut self.kind {
            Kind::Socket(socket) => socket.decoder.set_limit(octets.min(socket.message_bytes)),
            Kind::Session(Application(session)) => session.take_at_most(octets),
        }
    }

    /// Whether so much waits for the client that it is not listened to, or it is to be gone.
    pub fn is_full(&self) -> bool {
        let (waiting, close_reason) = self.send_queue.state();
        waiting > UNANSWERED_BYTES || close_reason.is_some()
    }

    /// The next text that has arrived, as octets: on a raw WebSocket it may have come as a binary message. Does not wait.
    /// From a client that does not take the answers to what it says nothing should be taken, see [`Self::is_full`].
    ///
    /// # Errors
    /// When the client closed the connection or broke the protocol.
    pub fn take(&mut self) -> Result<Option<Vec<u8>>, Disconnect> {
        match &mut self.kind {
            Kind::Socket(socket) => socket.take(self.encoding, &self.send_queue),
            Kind::Session(Application(session)) => Ok(session.pop()),
        }
    }

    /// Writes a text with the next [`Self::flush`], behind what the send queue has.
    pub fn send(&self, octets: &[u8]) {
        self.write(self.encoding.text(octets));
    }

    /// Likewise, what has the form of [`Self::wire`] already.
    pub fn write(&self, frame: Bytes) {
        let bytes = frame.len();
        self.send_queue.answer(frame, bytes);
    }

    /// Writes what waits, as far as it goes without waiting for the client. Returns why to close, if the send queue says so.
    ///
    /// # Errors
    /// When the peer is gone.
    pub fn flush(&mut self) -> Result<Option<CloseReason>, Disconnect> {
        match &mut self.kind {
            Kind::Socket(socket) => {
                if socket.blocked.is_some() {
                    socket.write(&self.send_queue)?;
                }
                if socket.blocked.is_some() {
                    return Ok(self.send_queue.close_reason());
                }
                let close_reason = self.send_queue.borrow(&mut socket.out);
                socket.write(&self.send_queue)?;
                Ok(close_reason)
            }
            Kind::Session(Application(session)) => Ok(session.give()),
        }
    }

    /// Waits until something has arrived, if `reads`, or more can be written, or the send queue has something. Cancel safe.
    ///
    /// # Errors
    /// When the peer is gone.
    pub async fn ready(&mut self, reads: bool) -> Result<(), Disconnect> {
        let reads = reads && !self.is_full();
        let changed = self.send_queue.changed();
        match &mut self.kind {
            Kind::Socket(socket) => tokio::select! {
                result = socket.ready(reads) => result,
                () = changed => Ok(()),
            },
            Kind::Session(Application(session)) => {
                tokio::select! {
                    () = session.ready(reads) => {}
                    () = changed => {}
                }
                Ok(())
            }
        }
    }

    /// When [`Self::tick`] wants to be called.
    pub fn deadline(&self) -> Option<Instant> {
        match &self.kind {
            Kind::Socket(socket) => {
                let unfinished = socket.unfinished_at();
                let next = match socket.blocked {
                    Some(since) => Some(since + STALLED_AFTER),
                    None => socket.heartbeat.map(|after| socket.wrote + after),
                };
                unfinished.into_iter().chain(next).min()
            }
            Kind::Session(Application(session)) => session.stalls_at(),
        }
    }

    /// Does what time asks for: a heartbeat of the transport, or an end to a client that takes nothing.
    ///
    /// # Errors
    /// The latter.
    pub fn tick(&mut self) -> Result<(), Disconnect> {
        let now = Instant::now();
        if self.deadline().is_none_or(|deadline| now < deadline) {
            return Ok(());
        }
        if let Kind::Socket(socket) = &self.kind {
            if socket.unfinished_at().is_some_and(|late| now >= late) {
                return Err(Disconnect::close(1008, "A message took too long."));
            }
            if socket.blocked.is_none() {
                self.write(websocket::text(frames::HEARTBEAT.as_bytes()));
                return Ok(());
            }
        }
        debug!("a connection that takes nothing is cut");
        Err(Disconnect::Gone)
    }

    /// The next text, however long it takes; meanwhile everything is written that has been sent. Cancel safe.
    ///
    /// # Errors
    /// How the connection ends; hand it to [`Self::end`].
    pub async fn receive(&mut self) -> Result<Vec<u8>, Disconnect> {
        loop {
            let was_full = self.is_full();
            if !was_full && let Some(text) = self.take()? {
                return Ok(text);
            }
            if let Some(close_reason) = self.flush()? {
                return Err(close_reason.into());
            }
            if was_full && !self.is_full() {
                continue;
            }
            let deadline = self.deadline();
            let due = async {
                match deadline {
                    Some(deadline) => sleep_until(deadline).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                result = self.ready(true) => result?,
                () = due => self.tick()?,
            }
        }
    }

    /// Ends the connection that way.
    pub async fn end(&mut self, end: Disconnect) {
        if let Disconnect::Close { code, reason } = end {
            self.close(code, reason).await;
        }
    }

    /// Writes the queued frames and the Close frame, then closes the connection.
    ///
    /// A WebSocket closes its write side at once (RFC 6455 §7.1.1) and waits up to 2 s for the client's FIN. A session over
    /// HTTP answers later requests with its close frame until the disconnect delay ends. The link must not be used
    /// afterwards.
    pub async fn close(&mut self, code: u16, reason: &str) {
        match &mut self.kind {
            Kind::Socket(socket) => {
                self.send_queue.borrow(&mut socket.out);
                let mut out = std::mem::take(&mut socket.out);
                if self.encoding == Encoding::SockJs && !socket.closing {
                    let goodbye = frames::close(code, reason);
                    out.push_back(websocket::text(goodbye.as_bytes()));
                }
                out.push_back(websocket::close(code, reason));
                drop(timeout(LINGER, close_stream(&mut socket.stream, out)).await);
            }
            Kind::Session(Application(session)) => {
                session.close(frames::close(code, reason));
            }
        }
    }
}

/// The near end of a session. One that is dropped has crashed.
#[derive(Debug)]
struct Application(Arc<Session>);

impl Drop for Application {
    fn drop(&mut self) {
        self.0.close(frames::interrupted());
    }
}
