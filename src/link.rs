//! One connection as an application sees it: an ordered stream of texts each way, and a close with code and reason. Whether
//! it is a WebSocket or a SockJS session over HTTP makes no difference above.
//!
//! A WebSocket is the TCP stream itself, owned by the task that uses the link: reading goes through a buffer of the thread,
//! writing is one system call for all that waits, and an idle link owns no buffer. A session over HTTP is the near end of
//! `sockjs/session.rs`.

use std::{
    cell::RefCell,
    collections::VecDeque,
    io::{self, IoSlice},
    sync::Arc,
    time::Duration,
};

use bytes::{Buf, Bytes};
use tokio::{
    io::Interest,
    net::TcpStream,
    time::{Instant, sleep_until, timeout},
};
use tracing::debug;

use crate::{
    mailbox::{Farewell, Mailbox, STALLED_AFTER},
    sockjs::{self, session::Session},
    websocket::{self, Event},
    wire::Wire,
};

/// Read at once, into a buffer of the thread: an idle connection keeps none.
const READ_BYTES: usize = 16 * 1024;
/// Frames written in one system call.
const VECTORED: usize = 64;
/// A client that leaves so many bytes waiting is not listened to: with this much there is still room for the largest answer.
const UNANSWERED_BYTES: usize = 64 * 1024;
/// The last frames must leave within this time, and the peer has as long to close.
const LINGER: Duration = Duration::from_secs(2);

thread_local! {
    static SCRATCH: RefCell<Vec<u8>> = RefCell::new(vec![0; READ_BYTES]);
}

/// How a link ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The peer is gone or hopeless: nothing more is written.
    Gone,
    /// It is to be closed, see [`Link::close`].
    Close {
        /// Code.
        code: u16,
        /// Reason.
        reason: &'static str,
    },
}

impl End {
    /// To be closed so.
    pub fn close(code: u16, reason: &'static str) -> Self {
        Self::Close { code, reason }
    }
}

impl From<Farewell> for End {
    fn from(farewell: Farewell) -> Self {
        match farewell {
            // The code that other servers of this kind use.
            Farewell::Slow => Self::close(4500, "The connection fell behind."),
            Farewell::TooMany => Self::close(1008, "Too many connections."),
            Farewell::Draining => Self::close(1001, "The node is leaving."),
            Farewell::Revoked => Self::close(1008, "The session has ended."),
        }
    }
}

/// One connection.
///
/// An application turns in a circle: it takes with [`Self::take`] all that has arrived, answers with [`Self::send`], writes
/// with [`Self::flush`], and waits with [`Self::ready`] until there is something to do. At [`Self::deadline`] it calls
/// [`Self::tick`]. One that has no other concerns calls [`Self::receive`], which does all of that.
#[derive(Debug)]
pub struct Link {
    wire: Wire,
    /// What is to be written, answers too: so they leave in the order in which they became true, and one limit is for all.
    mailbox: Arc<Mailbox<Bytes>>,
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
        wire: Wire,
        parameters: &sockjs::Parameters,
    ) -> Self {
        let mut decoder = websocket::Decoder::new(parameters.message_bytes);
        decoder.feed(early);
        let now = Instant::now();
        let link = Self {
            wire,
            mailbox: Arc::default(),
            kind: Kind::Socket(Socket {
                stream,
                message_bytes: parameters.message_bytes,
                message_within: parameters.message_within,
                decoder,
                unfinished: None,
                out: VecDeque::new(),
                texts: Vec::new().into_iter(),
                heard: now,
                wrote: now,
                blocked: None,
                heartbeat: (wire == Wire::SockJs).then_some(parameters.heartbeat),
                closing: false,
            }),
        };
        if wire == Wire::SockJs {
            link.write(websocket::text(sockjs::OPEN.as_bytes()));
        }
        link
    }

    /// The near end of a SockJS session over HTTP.
    pub(crate) fn of_session(session: Arc<Session>) -> Self {
        Self {
            wire: Wire::Http,
            mailbox: session.mailbox.clone(),
            kind: Kind::Session(Application(session)),
        }
    }

    /// The form of what is written.
    pub fn wire(&self) -> Wire {
        self.wire
    }

    /// Where others leave what this link is to write, in the form of [`Self::wire`].
    pub fn mailbox(&self) -> &Arc<Mailbox<Bytes>> {
        &self.mailbox
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
        let (waiting, farewell) = self.mailbox.state();
        waiting > UNANSWERED_BYTES || farewell.is_some()
    }

    /// The next text that has arrived, as octets: on a raw WebSocket it may have come as a binary message. Does not wait.
    /// From a client that does not take the answers to what it says nothing should be taken, see [`Self::is_full`].
    ///
    /// # Errors
    /// When the client closed the connection or broke the protocol.
    pub fn take(&mut self) -> Result<Option<Vec<u8>>, End> {
        match &mut self.kind {
            Kind::Socket(socket) => socket.take(self.wire, &self.mailbox),
            Kind::Session(Application(session)) => Ok(session.pop()),
        }
    }

    /// Writes a text with the next [`Self::flush`], behind what the mailbox has.
    pub fn send(&self, octets: &[u8]) {
        self.write(self.wire.text(octets));
    }

    /// Likewise, what has the form of [`Self::wire`] already.
    pub fn write(&self, frame: Bytes) {
        let bytes = frame.len();
        self.mailbox.answer(frame, bytes);
    }

    /// Writes what waits, as far as it goes without waiting for the client. Returns why to close, if the mailbox says so.
    ///
    /// # Errors
    /// When the peer is gone.
    pub fn flush(&mut self) -> Result<Option<Farewell>, End> {
        match &mut self.kind {
            Kind::Socket(socket) => {
                if socket.blocked.is_some() {
                    socket.write(&self.mailbox)?;
                }
                if socket.blocked.is_some() {
                    return Ok(self.mailbox.farewell());
                }
                let farewell = self.mailbox.borrow(&mut socket.out);
                socket.write(&self.mailbox)?;
                Ok(farewell)
            }
            Kind::Session(Application(session)) => Ok(session.give()),
        }
    }

    /// Waits until something has arrived, if `reads`, or more can be written, or the mailbox has something. Cancel safe.
    ///
    /// # Errors
    /// When the peer is gone.
    pub async fn ready(&mut self, reads: bool) -> Result<(), End> {
        let reads = reads && !self.is_full();
        let changed = self.mailbox.changed();
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
    pub fn tick(&mut self) -> Result<(), End> {
        let now = Instant::now();
        if self.deadline().is_none_or(|deadline| now < deadline) {
            return Ok(());
        }
        if let Kind::Socket(socket) = &self.kind {
            if socket.unfinished_at().is_some_and(|late| now >= late) {
                return Err(End::close(1008, "A message took too long."));
            }
            if socket.blocked.is_none() {
                self.write(websocket::text(sockjs::HEARTBEAT.as_bytes()));
                return Ok(());
            }
        }
        debug!("a connection that takes nothing is cut");
        Err(End::Gone)
    }

    /// The next text, however long it takes; meanwhile everything is written that has been sent. Cancel safe.
    ///
    /// # Errors
    /// How the connection ends; hand it to [`Self::end`].
    pub async fn receive(&mut self) -> Result<Vec<u8>, End> {
        loop {
            let was_full = self.is_full();
            if !was_full && let Some(text) = self.take()? {
                return Ok(text);
            }
            if let Some(farewell) = self.flush()? {
                return Err(farewell.into());
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
    pub async fn end(&mut self, end: End) {
        if let End::Close { code, reason } = end {
            self.close(code, reason).await;
        }
    }

    /// Writes what has been sent, says goodbye and closes. A session over HTTP says so for a while to all who ask; a
    /// WebSocket waits for its client to close as well. Nothing may be done with the link afterwards.
    pub async fn close(&mut self, code: u16, reason: &str) {
        match &mut self.kind {
            Kind::Socket(socket) => {
                self.mailbox.borrow(&mut socket.out);
                let mut out = std::mem::take(&mut socket.out);
                if self.wire == Wire::SockJs && !socket.closing {
                    let goodbye = sockjs::close(code, reason);
                    out.push_back(websocket::text(goodbye.as_bytes()));
                }
                out.push_back(websocket::close(code, reason));
                drop(timeout(LINGER, leave(&socket.stream, out)).await);
            }
            Kind::Session(Application(session)) => {
                session.close(sockjs::close(code, reason));
            }
        }
    }
}

/// The near end of a session. One that is dropped has crashed.
#[derive(Debug)]
struct Application(Arc<Session>);

impl Drop for Application {
    fn drop(&mut self) {
        self.0.close(sockjs::interrupted());
    }
}

#[derive(Debug)]
struct Socket {
    stream: TcpStream,
    /// What the endpoint allows.
    message_bytes: usize,
    message_within: Duration,
    decoder: websocket::Decoder,
    /// Since when a message is under way.
    unfinished: Option<Instant>,
    /// What is being written, borrowed from the mailbox; the first may be written in part.
    out: VecDeque<Bytes>,
    /// What was in one payload of SockJS.
    texts: std::vec::IntoIter<String>,
    heard: Instant,
    wrote: Instant,
    /// Since when the kernel takes nothing more.
    blocked: Option<Instant>,
    heartbeat: Option<Duration>,
    /// The client has closed: of us it expects its close frame back and nothing else.
    closing: bool,
}

impl Socket {
    fn take(&mut self, wire: Wire, mailbox: &Mailbox<Bytes>) -> Result<Option<Vec<u8>>, End> {
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
                Err(violation) => return Err(End::close(violation.code, violation.reason)),
            };
            if matches!(event, Event::Text(_) | Event::Binary(_)) {
                self.unfinished = None;
            }
            match event {
                Event::Text(text) if wire == Wire::Raw => return Ok(Some(text.into_bytes())),
                // The protocol suite: cut at once, without a word.
                Event::Text(text) => {
                    self.texts = sockjs::decode(&text).map_err(|_| End::Gone)?.into_iter();
                }
                Event::Binary(octets) if wire == Wire::Raw => return Ok(Some(octets)),
                Event::Binary(_) => return Err(End::close(1003, "SockJS is text.")),
                Event::Ping(payload) => {
                    let pong = websocket::pong(&payload);
                    let bytes = pong.len();
                    mailbox.answer(pong, bytes);
                }
                Event::Pong => {}
                Event::Close { code } => {
                    self.closing = true;
                    return Err(End::close(code, ""));
                }
            }
        }
    }

    /// When the message under way takes too long.
    fn unfinished_at(&self) -> Option<Instant> {
        self.unfinished.map(|since| since + self.message_within)
    }

    async fn ready(&mut self, reads: bool) -> Result<(), End> {
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
        let state = self.stream.ready(interest).await.map_err(|_| End::Gone)?;
        if !(reads && state.is_readable()) {
            return Ok(());
        }
        SCRATCH.with_borrow_mut(|scratch| match self.stream.try_read(scratch) {
            Ok(0) => Err(End::Gone),
            Ok(n) => {
                self.heard = Instant::now();
                self.decoder.feed(&scratch[..n]);
                Ok(())
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
            Err(_) => Err(End::Gone),
        })
    }

    /// Writes as much as the kernel takes.
    fn write(&mut self, mailbox: &Mailbox<Bytes>) -> Result<(), End> {
        let (waited, mut bytes) = (self.out.len(), 0);
        let blocks = loop {
            if self.out.is_empty() {
                break false;
            }
            match write_some(&self.stream, &mut self.out) {
                Ok(written) => bytes += written,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break true,
                Err(_) => return Err(End::Gone),
            }
        };
        if bytes > 0 {
            self.wrote = Instant::now();
            mailbox.left(waited - self.out.len(), bytes);
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

/// Writes the last frames and reads on until the peer closes: closing first, with its octets unread, would reset the
/// connection and might take from it what was just written.
async fn leave(stream: &TcpStream, mut out: VecDeque<Bytes>) -> io::Result<()> {
    while !out.is_empty() {
        stream.writable().await?;
        match write_some(stream, &mut out) {
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => return Err(error),
            _ => {}
        }
    }
    loop {
        stream.readable().await?;
        let mut rest = [0; 1024];
        match stream.try_read(&mut rest) {
            Ok(0) => return Ok(()),
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => return Err(error),
            _ => {}
        }
    }
}
