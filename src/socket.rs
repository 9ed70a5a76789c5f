//! One STOMP connection: a task that owns the TCP stream, the decoders, the STOMP session and what waits to be written.
//!
//! The protocols are pure; here is their IO. Frames are handled one after the other, in order; only SENDs overlap, since
//! each is answered after a commit that it shares with others.

use std::{
    cell::RefCell,
    collections::{HashMap, VecDeque},
    io::{self, IoSlice},
    sync::Arc,
    time::Duration,
};

use bytes::{Buf, Bytes};
use serde_json::json;
use tokio::{
    io::Interest,
    net::TcpStream,
    time::{Instant, sleep_until, timeout},
};
use tracing::debug;

use crate::{
    access,
    app::App,
    group_commit::Answer,
    hub::{Connection, Feed, Shape},
    ids::ChannelId,
    mailbox::{Farewell, Mailbox, STALLED_AFTER},
    model::from_json,
    ops::{self, message::MessageCreateRequest},
    problem::{Dependency, Problem},
    sockjs,
    stomp::{self, Action, Frame, Item, Limits, Message, Refusal, Session, Settings, Tick},
    store,
    token::Caller,
    websocket::{self, Event},
    wire::Wire,
};

/// A STOMP frame of 64 KiB inside SockJS's JSON, in which an octet can take six, and room for a few more.
const MESSAGE_BYTES: usize = 6 * 64 * 1024 + 16 * 1024;
/// Read at once, into a buffer of the thread: an idle connection keeps none.
const READ_BYTES: usize = 16 * 1024;
/// SENDs that wait for their commit; then nothing more is read from this client.
const PENDING: usize = 16;
/// Frames written in one system call.
const VECTORED: usize = 64;
/// SockJS: a heartbeat after this long without traffic to the client, where STOMP has none.
const SOCKJS_HEARTBEAT: Duration = Duration::from_secs(25);
/// The last frames must leave within this time, and the peer has as long to close.
const LINGER: Duration = Duration::from_secs(2);
/// Stored messages that a subscription with `after-seq` brings.
const MOST_RESUMED: i64 = 500;

thread_local! {
    static SCRATCH: RefCell<Vec<u8>> = RefCell::new(vec![0; READ_BYTES]);
}

/// Serves a connection until it ends. `early` is what the client sent right behind its handshake.
pub async fn run(app: Arc<App>, stream: TcpStream, early: &[u8], wire: Wire) {
    let mut socket = Socket::new(app, stream, wire);
    if wire == Wire::SockJs {
        socket
            .out
            .push_back(websocket::text(sockjs::OPEN.as_bytes()));
    }
    socket.websocket.feed(early);
    let ending = socket.serve().await;
    socket.finish(ending).await;
}

/// How a connection ends.
enum Ending {
    /// The peer is gone or hopeless: nothing more is written.
    Cut,
    /// A close frame, with what the client should be told before.
    Close {
        code: u16,
        reason: &'static str,
        error: Option<Refusal>,
    },
}

impl Ending {
    fn close(code: u16, reason: &'static str) -> Self {
        Self::Close {
            code,
            reason,
            error: None,
        }
    }

    fn refused(refusal: Refusal) -> Self {
        Self::Close {
            code: 1002,
            reason: "",
            error: Some(refusal),
        }
    }
}

/// A SEND that waits for its commit.
struct Pending {
    answer: Answer,
    receipt: Option<String>,
    client_id: Option<uuid::Uuid>,
}

enum Subscription {
    Channel(ChannelId, Feed, Shape),
    Errors(Shape),
}

/// SENDs a second, with bursts of twice as many.
struct Bucket {
    tokens: f64,
    rate: f64,
    at: Instant,
}

impl Bucket {
    fn take(&mut self, now: Instant) -> bool {
        let gained = now.duration_since(self.at).as_secs_f64() * self.rate;
        self.tokens = (self.tokens + gained).min(2.0 * self.rate);
        self.at = now;
        let enough = self.tokens >= 1.0;
        if enough {
            self.tokens -= 1.0;
        }
        enough
    }
}

struct Socket {
    app: Arc<App>,
    stream: TcpStream,
    wire: Wire,
    websocket: websocket::Decoder,
    stomp: stomp::Decoder,
    session: Session,
    began: Instant,
    mailbox: Arc<Mailbox<Bytes>>,
    user: Option<(Caller, Arc<Connection>)>,
    subscriptions: HashMap<String, Subscription>,
    pending: VecDeque<Pending>,
    /// WebSocket frames to be written; the first may be written in part.
    out: VecDeque<Bytes>,
    /// When something was written last.
    wrote: Instant,
    sends: Bucket,
    /// When to leave because the node does.
    leave_at: Option<Instant>,
}

impl Socket {
    fn new(app: Arc<App>, stream: TcpStream, wire: Wire) -> Self {
        let now = Instant::now();
        let beat = u32::try_from(app.config.heart_beat.as_millis()).unwrap_or(u32::MAX);
        let settings = Settings {
            heart_beat_ms: (beat, beat),
            ..Settings::default()
        };
        let rate = f64::from(app.config.message_rate);
        Self {
            app,
            stream,
            wire,
            websocket: websocket::Decoder::new(MESSAGE_BYTES),
            stomp: stomp::Decoder::new(Limits::default()),
            session: Session::new(settings, Duration::ZERO),
            began: now,
            mailbox: Arc::default(),
            user: None,
            subscriptions: HashMap::new(),
            pending: VecDeque::new(),
            out: VecDeque::new(),
            wrote: now,
            sends: Bucket {
                tokens: 2.0 * rate,
                rate,
                at: now,
            },
            leave_at: None,
        }
    }

    fn now(&self) -> Duration {
        self.began.elapsed()
    }

    async fn serve(&mut self) -> Ending {
        let app = self.app.clone();
        loop {
            if let Err(ending) = self.turn().await {
                return ending;
            }
            let reads = self.pending.len() < PENDING;
            let interest = match (reads, self.out.is_empty()) {
                (true, true) => Some(Interest::READABLE),
                (true, false) => Some(Interest::READABLE | Interest::WRITABLE),
                (false, false) => Some(Interest::WRITABLE),
                (false, true) => None,
            };
            let reachable = async {
                match interest {
                    Some(interest) => self.stream.ready(interest).await,
                    None => std::future::pending().await,
                }
            };
            let answered = async {
                match self.pending.front_mut() {
                    Some(first) => (&mut first.answer).await,
                    None => std::future::pending().await,
                }
            };
            let deadline = deadline(
                &self.session,
                self.began,
                self.wire,
                self.wrote,
                !self.out.is_empty(),
                self.leave_at,
            );
            tokio::select! {
                state = reachable => match state {
                    Ok(state) if state.is_readable() && reads => {
                        if let Err(ending) = read(&self.stream, &mut self.websocket) {
                            return ending;
                        }
                    }
                    Ok(_) => {}
                    Err(_) => return Ending::Cut,
                },
                answer = answered => {
                    let answer = answer.unwrap_or(Err(Problem::Unavailable(Dependency::Node, None)));
                    if let Err(ending) = self.answered(answer) {
                        return ending;
                    }
                }
                () = self.mailbox.changed() => {}
                () = sleep_until(deadline) => if let Err(ending) = self.tick() {
                    return ending;
                },
                () = app.tasks.draining().cancelled(), if self.leave_at.is_none() => {
                    // Spread, so that they do not all come back at once.
                    self.leave_at = Some(Instant::now() + app.config.drain_spread.mul_f64(rand::random()));
                }
            }
        }
    }

    /// Handles what has been read and writes what waits, as far as both go without waiting for the peer.
    async fn turn(&mut self) -> Result<(), Ending> {
        self.handle().await?;
        if let Some(farewell) = self.mailbox.take(&mut self.out) {
            self.write()?;
            return Err(said(farewell));
        }
        self.write()
    }

    fn tick(&mut self) -> Result<(), Ending> {
        let now = Instant::now();
        if !self.out.is_empty() && now >= self.wrote + STALLED_AFTER {
            debug!("a connection that takes nothing is cut");
            return Err(Ending::Cut);
        }
        if self.leave_at.is_some_and(|at| now >= at) && self.pending.is_empty() {
            return Err(said(Farewell::Draining));
        }
        match self.session.on_tick(self.now()) {
            Tick::Nothing => {}
            Tick::Beat => self.out.push_back(self.wire.stomp(b"\n")),
            Tick::TimedOut(refusal) => return Err(Ending::refused(refusal)),
        }
        if self.wire == Wire::SockJs
            && !self.session.beats()
            && now >= self.wrote + SOCKJS_HEARTBEAT
        {
            self.out
                .push_back(websocket::text(sockjs::HEARTBEAT.as_bytes()));
        }
        Ok(())
    }

    /// Handles everything that has been read, until a SEND too many is pending.
    async fn handle(&mut self) -> Result<(), Ending> {
        loop {
            while self.pending.len() < PENDING {
                match self.stomp.next() {
                    Ok(Some(Item::Frame(frame))) => self.frame(frame).await?,
                    Ok(Some(Item::HeartBeat)) => {}
                    Ok(None) => break,
                    Err(malformed) => return Err(Ending::refused(Refusal::from(malformed))),
                }
            }
            if self.pending.len() >= PENDING {
                return Ok(());
            }
            match self.websocket.next() {
                Ok(None) => return Ok(()),
                Ok(Some(event)) => self.event(event)?,
                Err(violation) => return Err(Ending::close(violation.code, violation.reason)),
            }
        }
    }

    fn event(&mut self, event: Event) -> Result<(), Ending> {
        self.session.on_bytes(self.now());
        match event {
            Event::Text(text) => match self.wire {
                Wire::Raw => self.stomp.feed(text.as_bytes()),
                Wire::SockJs => {
                    // SockJS: broken JSON ends the connection.
                    let messages = sockjs::decode(&text)
                        .map_err(|_| Ending::close(1007, "Broken JSON encoding."))?;
                    for message in messages {
                        self.stomp.feed(message.as_bytes());
                    }
                }
            },
            Event::Binary(octets) if self.wire == Wire::Raw => self.stomp.feed(&octets),
            Event::Binary(_) => return Err(Ending::close(1003, "SockJS is text.")),
            Event::Ping(payload) => self.out.push_back(websocket::pong(&payload)),
            Event::Pong => {}
            Event::Close { code } => return Err(Ending::close(code, "")),
        }
        Ok(())
    }

    async fn frame(&mut self, frame: Frame) -> Result<(), Ending> {
        let action = self.session.on_frame(frame, self.now());
        // Only SENDs overlap: anything else waits for those before it, and those behind it for itself.
        if !matches!(action, Action::Send { .. }) {
            while let Some(first) = self.pending.front_mut() {
                let answer = (&mut first.answer)
                    .await
                    .unwrap_or(Err(Problem::Unavailable(Dependency::Node, None)));
                self.answered(answer)?;
            }
        }
        match action {
            Action::Authenticate { token } => self.connect(token).await,
            Action::Subscribe {
                id,
                destination,
                after_seq,
                receipt,
            } => {
                let result = self.subscribe(id, &destination, after_seq).await;
                result.map_err(|refusal| Ending::refused(refusal.for_receipt(receipt.clone())))?;
                self.receipt(receipt);
                Ok(())
            }
            Action::Unsubscribe { id, receipt } => {
                if let Some(Subscription::Channel(channel, feed, shape)) =
                    self.subscriptions.remove(&id)
                    && let Some((_, connection)) = &self.user
                {
                    self.app.hub.unsubscribe(connection, channel, feed, &shape);
                }
                self.receipt(receipt);
                Ok(())
            }
            Action::Send {
                destination,
                body,
                receipt,
            } => self.send(&destination, &body, receipt),
            Action::Acknowledge { receipt } => {
                self.receipt(receipt);
                Ok(())
            }
            Action::Disconnect { receipt } => {
                self.receipt(receipt);
                Err(Ending::close(1000, ""))
            }
            Action::Refuse(refusal) => Err(Ending::refused(refusal)),
        }
    }

    fn reply(&mut self, frame: &Frame) {
        let octets = stomp::encode(frame, self.session.version());
        self.out.push_back(self.wire.stomp(&octets));
    }

    fn receipt(&mut self, id: Option<String>) {
        if let Some(id) = id {
            self.reply(&stomp::receipt(&id));
        }
    }

    async fn connect(&mut self, token: Option<String>) -> Result<(), Ending> {
        let unauthorized = |code| Ending::refused(Refusal::new(code, "Unauthorized"));
        let token = token.ok_or_else(|| unauthorized(Problem::Unauthenticated.code()))?;
        let caller =
            ops::account::caller(&self.app, &token)
                .await
                .map_err(|problem| match problem {
                    Problem::Unauthenticated => unauthorized(problem.code()),
                    problem => Ending::refused(refusal(&problem)),
                })?;
        let connection = self
            .app
            .hub
            .join(caller.id, caller.session, self.mailbox.clone());
        let connection = connection.ok_or_else(|| {
            Ending::refused(Refusal::new(
                "TOO_MANY_CONNECTIONS",
                "Too many connections of this user.",
            ))
        })?;
        // Asked again now that the hub knows the connection: a session that ended in between is either seen here, or its
        // control event finds the connection.
        let user = self.app.sessions.user(caller.session).await;
        let session_id = uuid::Uuid::new_v4().simple().to_string();
        let (name, alive) = (
            caller.username.clone(),
            matches!(user, Ok(Some(user)) if user == caller.id),
        );
        self.user = Some((caller, connection));
        if !alive {
            return Err(unauthorized(Problem::Unauthenticated.code()));
        }
        let connected = self.session.connected(&name, &session_id, self.now());
        self.stomp.set_version(self.session.version());
        let octets = stomp::encode(&connected, self.session.version());
        self.out.push_back(self.wire.stomp(&octets));
        Ok(())
    }

    async fn subscribe(
        &mut self,
        id: String,
        destination: &str,
        after: Option<u64>,
    ) -> Result<(), Refusal> {
        let Some((caller, connection)) = &self.user else {
            return Err(refusal(&Problem::Unauthenticated));
        };
        let shape = Shape {
            wire: self.wire,
            version: self.session.version(),
            subscription: id.as_str().into(),
        };
        let allowed = access::subscribe(destination).ok_or_else(|| {
            Refusal::new(
                "DESTINATION_NOT_ALLOWED",
                "This destination cannot be subscribed to.",
            )
        })?;
        let (channel, feed) = match allowed {
            access::Subscribe::Errors => {
                self.subscriptions.insert(id, Subscription::Errors(shape));
                return Ok(());
            }
            access::Subscribe::Channel(channel, feed) => (channel, feed),
        };
        let hub = &self.app.hub;
        let entrance = hub.enter(channel);
        let last = store::channels::readable(&self.app.db, channel, caller.id)
            .await
            .map_err(|problem| refusal(&problem))?;
        let after = after
            .filter(|_| feed == Feed::Messages)
            .map(|after| i64::try_from(after).unwrap_or(i64::MAX));
        let missing = entrance.add(connection, feed, &shape, last, after);
        self.subscriptions
            .insert(id, Subscription::Channel(channel, feed, shape.clone()));
        if let Some((after, through)) = missing {
            let stored =
                store::messages::between(&self.app.db, channel, after, through, MOST_RESUMED + 1)
                    .await;
            let stored = stored.map_err(|problem| refusal(&problem))?;
            let too_many = i64::try_from(stored.len()).is_ok_and(|stored| stored > MOST_RESUMED);
            entrance.release(
                connection,
                feed,
                &shape,
                if too_many {
                    Err((after, through))
                } else {
                    Ok(&stored)
                },
            );
        }
        Ok(())
    }

    /// Hands a message in. What is wrong with its content does not end the connection.
    fn send(
        &mut self,
        destination: &str,
        body: &[u8],
        receipt: Option<String>,
    ) -> Result<(), Ending> {
        let Some(access::Send::Message) = access::send(destination) else {
            let refusal = Refusal::new(
                "DESTINATION_NOT_ALLOWED",
                "This destination cannot be sent to.",
            );
            return Err(Ending::refused(refusal.for_receipt(receipt)));
        };
        let Some((caller, _)) = &self.user else {
            return Err(Ending::refused(refusal(&Problem::Unauthenticated)));
        };
        let request: Result<MessageCreateRequest, _> = from_json(body);
        let client_id = request
            .as_ref()
            .ok()
            .and_then(|request| request.client_message_id);
        let posted = request
            .and_then(|request| {
                if self.sends.take(Instant::now()) {
                    Ok(request)
                } else {
                    Err(Problem::TooMany {
                        retry_after: Duration::from_secs(1),
                    })
                }
            })
            .and_then(|request| ops::message::post(&self.app, caller.id, request));
        match posted {
            Ok(answer) => {
                self.pending.push_back(Pending {
                    answer,
                    receipt,
                    client_id,
                });
                Ok(())
            }
            // Behind those that wait, so that answers keep the order of their SENDs.
            Err(problem) => {
                let (sender, answer) = tokio::sync::oneshot::channel();
                drop(sender.send(Err(problem)));
                self.pending.push_back(Pending {
                    answer,
                    receipt,
                    client_id,
                });
                Ok(())
            }
        }
    }

    /// The first pending SEND has its answer.
    fn answered(&mut self, answer: Result<Bytes, Problem>) -> Result<(), Ending> {
        let Some(Pending {
            receipt, client_id, ..
        }) = self.pending.pop_front()
        else {
            return Ok(());
        };
        let Err(problem) = answer else {
            self.receipt(receipt);
            return Ok(());
        };
        if problem.is_ours() {
            debug!(error = %crate::problem::chain(&problem), "a SEND was not accepted");
        }
        // STOMP has no other way to say that what a receipt was asked for did not happen.
        if receipt.is_some() {
            return Err(Ending::refused(refusal(&problem).for_receipt(receipt)));
        }
        let mut details = problem.details();
        if let (Some(details), Some(id)) = (details.as_object_mut(), client_id) {
            details.insert("clientMessageId".to_owned(), id.to_string().into());
        }
        let body = json!({ "code": problem.code(), "message": problem.to_string(), "details": details, "receiptId": null }).to_string();
        for subscription in self.subscriptions.values() {
            if let Subscription::Errors(shape) = subscription {
                let message_id = format!("error-{}", uuid::Uuid::new_v4().simple());
                let mut octets = Vec::new();
                Message {
                    destination: access::ERRORS,
                    subscription: &shape.subscription,
                    message_id: &message_id,
                    extra: &[],
                    body: body.as_bytes(),
                }
                .write(shape.version, &mut octets);
                self.out.push_back(self.wire.stomp(&octets));
            }
        }
        Ok(())
    }

    /// Writes what waits, as much as the kernel takes.
    fn write(&mut self) -> Result<(), Ending> {
        while !self.out.is_empty() {
            match write_some(&self.stream, &mut self.out) {
                Ok(()) => {
                    self.wrote = Instant::now();
                    self.session.on_sent(self.now());
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(_) => return Err(Ending::Cut),
            }
        }
        // A burst's queue is not kept for an idle connection.
        if self.out.capacity() > VECTORED {
            self.out = VecDeque::new();
        }
        Ok(())
    }

    /// Says what is to be said and closes.
    async fn finish(mut self, ending: Ending) {
        self.forget();
        let Ending::Close {
            code,
            reason,
            error,
        } = ending
        else {
            return;
        };
        if let Some(refusal) = error {
            self.reply(&refusal.frame());
        }
        if self.wire == Wire::SockJs {
            self.out
                .push_back(websocket::text(sockjs::close(code, reason).as_bytes()));
        }
        self.out.push_back(websocket::close(code, reason));
        let (stream, mut out) = (&self.stream, std::mem::take(&mut self.out));
        let flush = async {
            while !out.is_empty() {
                stream.writable().await?;
                match write_some(stream, &mut out) {
                    Err(error) if error.kind() != io::ErrorKind::WouldBlock => return Err(error),
                    _ => {}
                }
            }
            // Read on until the peer closes: closing first, with its octets unread, would reset the connection and might
            // take from it what was just written.
            loop {
                stream.readable().await?;
                let mut rest = [0; 1024];
                match stream.try_read(&mut rest) {
                    Ok(0) => return Ok(()),
                    Err(error) if error.kind() != io::ErrorKind::WouldBlock => return Err(error),
                    _ => {}
                }
            }
        };
        drop(timeout(LINGER, flush).await);
    }

    /// Takes the connection out of the hub. Twice does no harm.
    fn forget(&mut self) {
        let Some((_, connection)) = self.user.take() else {
            return;
        };
        for (_, subscription) in self.subscriptions.drain() {
            if let Subscription::Channel(channel, feed, shape) = subscription {
                self.app.hub.unsubscribe(&connection, channel, feed, &shape);
            }
        }
        self.app.hub.leave(&connection);
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        self.forget();
    }
}

/// The moment at which [`Socket::tick`] has something to do.
fn deadline(
    session: &Session,
    began: Instant,
    wire: Wire,
    wrote: Instant,
    waiting: bool,
    leave_at: Option<Instant>,
) -> Instant {
    let far = Instant::now() + Duration::from_hours(1);
    let sockjs = (wire == Wire::SockJs && !session.beats()).then(|| wrote + SOCKJS_HEARTBEAT);
    let stalled = waiting.then(|| wrote + STALLED_AFTER);
    let session = session.deadline().map(|at| began + at);
    [sockjs, stalled, session, leave_at]
        .into_iter()
        .flatten()
        .fold(far, Instant::min)
}

/// Reads what is there.
fn read(stream: &TcpStream, into: &mut websocket::Decoder) -> Result<(), Ending> {
    SCRATCH.with_borrow_mut(|scratch| match stream.try_read(scratch) {
        Ok(0) => Err(Ending::Cut),
        Ok(n) => {
            into.feed(&scratch[..n]);
            Ok(())
        }
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
        Err(_) => Err(Ending::Cut),
    })
}

/// Writes the first frames in one system call.
fn write_some(stream: &TcpStream, out: &mut VecDeque<Bytes>) -> io::Result<()> {
    let mut slices = [IoSlice::new(&[]); VECTORED];
    let mut filled = 0;
    for (slice, frame) in slices.iter_mut().zip(out.iter()) {
        *slice = IoSlice::new(frame);
        filled += 1;
    }
    let mut written = stream.try_write_vectored(&slices[..filled])?;
    while let Some(first) = out.front_mut() {
        if written < first.len() {
            first.advance(written);
            break;
        }
        written -= first.len();
        out.pop_front();
    }
    Ok(())
}

fn said(farewell: Farewell) -> Ending {
    match farewell {
        // The code that other servers of this kind use.
        Farewell::Slow => Ending::close(4500, "The connection fell behind."),
        Farewell::TooMany => Ending::close(1008, "Too many connections."),
        Farewell::Draining => Ending::close(1001, "The node is leaving."),
        Farewell::Revoked => {
            let error = Some(Refusal::new("SESSION_ENDED", "Unauthorized"));
            Ending::Close {
                code: 1008,
                reason: "The session has ended.",
                error,
            }
        }
    }
}

fn refusal(problem: &Problem) -> Refusal {
    Refusal::new(problem.code(), problem.to_string())
}
