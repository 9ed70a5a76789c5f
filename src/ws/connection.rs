//! STOMP on one connection: a task that owns the [`Link`], the decoder and the STOMP session.
//!
//! `protocol::stomp` decides what a frame means; this module carries it out. Frames are handled in order, one at a time. Only
//! SENDs overlap, because several share one commit. While a frame waits for PostgreSQL or Redis, later frames wait too, but
//! the task still delivers messages, sends heart-beats and obeys a close.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use futures_util::{FutureExt, future::BoxFuture};
use tokio::time::{Instant, sleep_until};
use uuid::Uuid;

use crate::{
    app::App,
    auth::tokens::Caller,
    delivery::{
        disconnect::{CloseReason, Disconnect},
        hub::Connection,
    },
    ids::{ChannelId, UserId},
    limits,
    metrics::{Connected, Protocol},
    problem::{Dependency, Problem},
    protocol::{
        encoding::Encoding,
        stomp::{self, Action, Frame, Item, Limits, Refusal, Session, Settings, Tick},
    },
    rate_limit::TokenBucket,
    sockjs::Link,
};

use super::{
    activity::AllChannels,
    send::PendingSend,
    subscribe::{StoreReply, Subscribing, Subscription},
};

/// SENDs that may wait for their commit before the node stops reading from the client.
const MAX_PENDING_SENDS: usize = 16;
/// Frames handled before the task writes its answers and checks its timers.
const FRAMES_BATCH: usize = 64;

/// Serves one connection until it ends.
pub(super) async fn run(app: Arc<App>, link: Link) {
    let mut connection = StompConnection::new(app, link);
    let end = connection.serve().await;
    connection.finish(end).await;
}

/// How a connection ends, with the ERROR frame that explains it to the client.
pub(super) struct ConnectionEnd {
    disconnect: Disconnect,
    error: Option<Refusal>,
}

impl From<Disconnect> for ConnectionEnd {
    fn from(disconnect: Disconnect) -> Self {
        // A close that the client started with code 1009 has no reason here; only the node's own is explained.
        let too_large =
            matches!(disconnect, Disconnect::Close { code: 1009, reason } if !reason.is_empty());
        let refusal = || Refusal::from(stomp::Malformed::FrameTooLarge);
        Self {
            disconnect,
            error: too_large.then(refusal),
        }
    }
}

impl From<CloseReason> for ConnectionEnd {
    fn from(close_reason: CloseReason) -> Self {
        let revoked = || Refusal::new("SESSION_ENDED", "Unauthorized");
        Self {
            disconnect: close_reason.into(),
            error: (close_reason == CloseReason::Revoked).then(revoked),
        }
    }
}

impl ConnectionEnd {
    /// Sends the ERROR frame of `refusal`, then closes with 1002.
    pub(super) fn refused(refusal: Refusal) -> Self {
        Self {
            disconnect: Disconnect::close(1002, ""),
            error: Some(refusal),
        }
    }
}

/// Why the task handles no more frames now.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Pause {
    /// No complete frame has arrived.
    NoFrame,
    /// A batch is done; other tasks get a turn.
    Yield,
    /// The send queue is full.
    QueueFull,
    /// The next frame waits for a store, a commit or the rate limit.
    Blocked,
}

/// The result of the store request that a frame waits for.
pub(super) enum StoreResult {
    /// The owner of the access token.
    Authenticated(Result<Caller, Problem>),
    /// The user of the caller's session, if it has not ended; read after the hub knows the connection.
    SessionUser(Caller, Result<Option<UserId>, Problem>),
    /// The answer to one step of a SUBSCRIBE.
    Subscribe(StoreReply),
    /// The answer to a SUBSCRIBE to the activity.
    Activity(AllChannels),
}

pub(super) struct StompConnection {
    pub(super) app: Arc<App>,
    pub(super) link: Link,
    decoder: stomp::Decoder,
    pub(super) session: Session,
    opened_at: Instant,
    pub(super) user: Option<(Caller, Arc<Connection>)>,
    pub(super) subscriptions: HashMap<String, Subscription>,
    pub(super) pending_sends: VecDeque<PendingSend>,
    /// When the user may send the next message, if the deferred frame is a SEND.
    send_at: Instant,
    subscribe_rate: TokenBucket,
    /// A frame that waits for earlier ones. Boxed like the next two fields: an idle connection has none.
    deferred: Option<Box<Action>>,
    /// The store request that the current frame waits for.
    pub(super) store_request: Option<BoxFuture<'static, StoreResult>>,
    /// A subscription whose stored messages wait for room in the send queue.
    pub(super) replaying: Option<Box<Subscribing>>,
    /// When the node last announced that the user types in a channel. Bounded: entries older than
    /// [`limits::TYPING_INTERVAL`] are removed, and `MESSAGE_RATE` limits newer ones.
    pub(super) typing_announced_at: HashMap<ChannelId, Instant>,
    /// When to close because the node drains.
    drain_at: Option<Instant>,
    /// Counts this connection.
    _connected: Connected,
}

impl StompConnection {
    fn new(app: Arc<App>, mut link: Link) -> Self {
        link.set_max_message_bytes(limits::MAX_UNAUTHENTICATED_MESSAGE_BYTES);
        let (units, burst) = limits::UNAUTHENTICATED_READ_RATE;
        link.set_read_rate(units, burst);
        let now = Instant::now();
        let beat = u32::try_from(app.config.heart_beat.as_millis()).unwrap_or(u32::MAX);
        let settings = Settings {
            heart_beat_ms: (beat, beat),
            ..Settings::default()
        };
        let transport = match link.encoding() {
            Encoding::Raw => "websocket",
            Encoding::SockJs => "sockjs_websocket",
            Encoding::Http => "sockjs_http",
        };
        Self {
            _connected: app.metrics.connected(transport),
            app,
            link,
            decoder: stomp::Decoder::new(Limits::default()),
            session: Session::new(settings, Duration::ZERO),
            opened_at: now,
            user: None,
            subscriptions: HashMap::new(),
            pending_sends: VecDeque::new(),
            send_at: now,
            subscribe_rate: TokenBucket::new(
                limits::SUBSCRIBE_RATE,
                f64::from(limits::MAX_SUBSCRIPTIONS),
                now,
            ),
            deferred: None,
            store_request: None,
            replaying: None,
            typing_announced_at: HashMap::new(),
            drain_at: None,
        }
    }

    /// The time since the connection was opened, which is the STOMP session's clock.
    fn now(&self) -> Duration {
        self.since_opened(Instant::now())
    }

    fn since_opened(&self, at: Instant) -> Duration {
        at.saturating_duration_since(self.opened_at)
    }

    async fn serve(&mut self) -> ConnectionEnd {
        let app = self.app.clone();
        loop {
            let pause = match self.process() {
                Ok(pause) => pause,
                Err(end) => return end,
            };
            let deadline = self.deadline();
            let send_answer = async {
                match self.pending_sends.front_mut() {
                    Some(first) => (&mut first.answer).await,
                    None => std::future::pending().await,
                }
            };
            let store_result = async {
                match &mut self.store_request {
                    Some(request) => request.await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                result = self.link.ready(pause == Pause::NoFrame) => if let Err(disconnect) = result {
                    return disconnect.into();
                },
                answer = send_answer => {
                    let answer = answer.unwrap_or(Err(Problem::Unavailable(Dependency::Node, None)));
                    if let Err(end) = self.on_send_answer(answer) {
                        return end;
                    }
                }
                result = store_result => {
                    self.store_request = None;
                    if let Err(end) = self.on_store_result(result) {
                        return end;
                    }
                }
                () = sleep_until(deadline) => if let Err(end) = self.tick(pause) {
                    return end;
                },
                () = tokio::task::yield_now(), if pause == Pause::Yield => {}
                () = app.tasks.draining().cancelled(), if self.drain_at.is_none() => {
                    // Random, so that the clients of a node do not all reconnect at once.
                    self.drain_at = Some(Instant::now() + app.config.drain_spread.mul_f64(rand::random()));
                }
            }
        }
    }

    /// Handles arrived frames and writes the send queue, as far as both go without waiting.
    fn process(&mut self) -> Result<Pause, ConnectionEnd> {
        self.continue_replay()?;
        let pause = self.handle_frames()?;
        let close_reason = self.link.flush()?;
        self.note_write();
        if let Some(close_reason) = close_reason {
            return Err(close_reason.into());
        }
        // The flush may have made room for frames and stored messages that a full queue had stopped.
        let needs_room = pause == Pause::QueueFull || self.replaying.is_some();
        Ok(if needs_room && !self.link.is_full() {
            Pause::Yield
        } else {
            pause
        })
    }

    /// Tells the STOMP session when the client last received anything.
    fn note_write(&mut self) {
        self.session
            .on_sent(self.since_opened(self.link.last_write_at()));
    }

    /// The moment at which [`Self::tick`] has something to do.
    fn deadline(&self) -> Instant {
        let session = self.session.deadline().map(|at| self.opened_at + at);
        let drain_at = self.drain_at.filter(|_| self.pending_sends.is_empty());
        let deferred_until = match self.deferred.as_deref() {
            Some(Action::Send { .. }) => Some(self.send_at),
            Some(_) if self.pending_sends.is_empty() => Some(self.subscribe_rate.next_token_at()),
            _ => None,
        };
        [self.link.deadline(), session, drain_at, deferred_until]
            .into_iter()
            .flatten()
            .fold(Instant::now() + Duration::from_hours(1), Instant::min)
    }

    fn tick(&mut self, pause: Pause) -> Result<(), ConnectionEnd> {
        self.link.tick()?;
        if self.drain_at.is_some_and(|at| Instant::now() >= at) && self.pending_sends.is_empty() {
            return Err(CloseReason::Draining.into());
        }
        // Pings and empty messages show that the client lives, not only STOMP bytes. While the node does not read, the
        // client counts as alive: its silence cannot be seen.
        let last_read = self.since_opened(self.link.last_read_at());
        self.session.on_bytes(if pause == Pause::NoFrame {
            last_read
        } else {
            self.now()
        });
        // Deliveries are written without this task.
        self.note_write();
        match self.session.on_tick(self.now()) {
            Tick::Nothing => Ok(()),
            Tick::Beat => {
                self.link.queue_text(b"\n");
                Ok(())
            }
            Tick::TimedOut(refusal) => Err(ConnectionEnd::refused(refusal)),
        }
    }

    /// Handles up to [`FRAMES_BATCH`] frames that have arrived.
    fn handle_frames(&mut self) -> Result<Pause, ConnectionEnd> {
        for _ in 0..FRAMES_BATCH {
            if self.store_request.is_some()
                || self.replaying.is_some()
                || self.pending_sends.len() >= MAX_PENDING_SENDS
            {
                return Ok(Pause::Blocked);
            }
            // Otherwise a client that reads no answers, or that is being closed, could keep the node working without bound.
            if self.link.is_full() {
                return Ok(Pause::QueueFull);
            }
            let is_new = self.deferred.is_none();
            let action = match self.deferred.take() {
                Some(action) => *action,
                None => match self.next_action()? {
                    Some(action) => action,
                    None => return Ok(Pause::NoFrame),
                },
            };
            // Only SENDs overlap. Every other frame waits for the SENDs before it, and later frames wait for it. A SEND over
            // the rate waits too: stock clients do not subscribe to the error queue, so a rejected SEND would be lost.
            let early = match &action {
                Action::Send { .. } => !self.may_send(),
                _ if !self.pending_sends.is_empty() => true,
                Action::Subscribe { .. } => !self.subscribe_rate.try_take(Instant::now()),
                _ => false,
            };
            if early {
                if is_new && matches!(action, Action::Send { .. }) {
                    self.app.metrics.delayed_sends.inc();
                }
                self.deferred = Some(Box::new(action));
                return Ok(Pause::Blocked);
            }
            self.handle_action(action)?;
        }
        Ok(Pause::Yield)
    }

    /// Takes the token of a SEND, or notes when the next token comes. All connections of a user share the tokens.
    fn may_send(&mut self) -> bool {
        let Some((caller, _)) = &self.user else {
            return true;
        };
        match self.app.limits.try_message(caller.id) {
            Ok(()) => true,
            Err(next) => {
                self.send_at = next;
                false
            }
        }
    }

    /// The action of the next frame that has arrived.
    fn next_action(&mut self) -> Result<Option<Action>, ConnectionEnd> {
        loop {
            match self.decoder.next() {
                Ok(Some(Item::Frame(frame))) => {
                    if frame.command == stomp::Command::Subscribe {
                        self.remove_ended_subscriptions();
                    }
                    return Ok(Some(self.session.on_frame(frame, self.now())));
                }
                Ok(Some(Item::HeartBeat)) => continue,
                Ok(None) => {}
                Err(malformed) => return Err(ConnectionEnd::refused(Refusal::from(malformed))),
            }
            match self.link.try_recv()? {
                Some(bytes) => self.decoder.feed(&bytes),
                None => return Ok(None),
            }
        }
    }

    fn handle_action(&mut self, action: Action) -> Result<(), ConnectionEnd> {
        match action {
            Action::Authenticate { token } => self.connect(token),
            Action::Subscribe {
                id,
                destination,
                after_seq,
                receipt,
            } => {
                let result = self.subscribe(id, &destination, after_seq, receipt.clone());
                result.map_err(|refusal| ConnectionEnd::refused(refusal.for_receipt(receipt)))
            }
            Action::Unsubscribe { id, receipt } => {
                if let Some(subscription) = self.subscriptions.remove(&id)
                    && let Some((_, connection)) = &self.user
                {
                    end_subscription(&self.app, connection, &subscription);
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
                self.leave_hub();
                self.receipt(receipt);
                Err(Disconnect::close(1000, "").into())
            }
            Action::Refuse(refusal) => Err(ConnectionEnd::refused(refusal)),
        }
    }

    fn on_store_result(&mut self, result: StoreResult) -> Result<(), ConnectionEnd> {
        match result {
            StoreResult::Authenticated(caller) => self.on_authenticated(caller),
            StoreResult::SessionUser(caller, user) => self.on_session_user(&caller, user),
            StoreResult::Subscribe(reply) => self.on_subscribe_reply(reply),
            StoreResult::Activity(answer) => self.on_all_channels(answer),
        }
    }

    fn reply(&mut self, frame: &Frame) {
        self.link
            .queue_text(&stomp::encode(frame, self.session.version()));
    }

    pub(super) fn receipt(&mut self, id: Option<String>) {
        if let Some(id) = id {
            self.reply(&stomp::receipt(&id));
        }
    }

    fn connect(&mut self, token: Option<String>) -> Result<(), ConnectionEnd> {
        let token = token.ok_or_else(unauthorized)?;
        let app = self.app.clone();
        let request = async move {
            let caller = crate::auth::authenticate(&app.tokens, &app.sessions, &token).await;
            StoreResult::Authenticated(caller)
        };
        self.store_request = Some(request.boxed());
        Ok(())
    }

    fn on_authenticated(&mut self, caller: Result<Caller, Problem>) -> Result<(), ConnectionEnd> {
        let caller = caller.map_err(|problem| match problem {
            Problem::Unauthenticated => unauthorized(),
            problem => ConnectionEnd::refused(refusal(&problem)),
        })?;
        let (hub, queue) = (&self.app.delivery.hub, self.link.send_queue().clone());
        let connection = hub.join(caller.id, caller.session, queue);
        let connection = connection.ok_or_else(|| {
            ConnectionEnd::refused(Refusal::new(
                "TOO_MANY_CONNECTIONS",
                "Too many connections of this user.",
            ))
        })?;
        self.user = Some((caller.clone(), connection));
        // Read the session again now that the hub knows the connection: if it ended in between, either this read sees the
        // end, or the session's control event finds the connection in the hub.
        let app = self.app.clone();
        let request = async move {
            let user = app.sessions.user(caller.session).await;
            StoreResult::SessionUser(caller, user)
        };
        self.store_request = Some(request.boxed());
        Ok(())
    }

    fn on_session_user(
        &mut self,
        caller: &Caller,
        user: Result<Option<UserId>, Problem>,
    ) -> Result<(), ConnectionEnd> {
        require_session_of(caller.id, user)?;
        let session_id = Uuid::new_v4().simple().to_string();
        let connected = self
            .session
            .connected(&caller.username, &session_id, self.now());
        self.decoder.set_version(self.session.version());
        self.link.set_max_message_bytes(usize::MAX);
        let units = limits::READ_UNITS_PER_SEND * f64::from(self.app.config.message_rate);
        self.link.set_read_rate(units, 2.0 * units);
        if self.session.beats() {
            self.link.disable_transport_heartbeat();
        }
        self.reply(&connected);
        Ok(())
    }

    /// Leaves the hub, sends the ERROR frame if there is one, and closes the link.
    async fn finish(&mut self, end: ConnectionEnd) {
        self.leave_hub();
        let error_code = end.error.as_ref().map(|refusal| refusal.code);
        let reason = error_code.unwrap_or_else(|| end.disconnect.name());
        self.app.metrics.closed(Protocol::Stomp, reason);
        if let Some(refusal) = end.error {
            self.reply(&refusal.frame());
        }
        self.link.disconnect(end.disconnect).await;
    }

    /// Removes the connection from the hub, and ends deliveries: what follows leaves with the close, in one write. Idempotent.
    fn leave_hub(&mut self) {
        self.link.send_queue().end_deliveries();
        self.store_request = None;
        self.replaying = None;
        let Some((_, connection)) = self.user.take() else {
            return;
        };
        for (_, subscription) in self.subscriptions.drain() {
            end_subscription(&self.app, &connection, &subscription);
        }
        // It may have begun without being in the map.
        self.app.delivery.activity.leave(&connection);
        self.app.delivery.hub.leave(&connection);
    }
}

impl Drop for StompConnection {
    fn drop(&mut self) {
        self.leave_hub();
    }
}

fn end_subscription(app: &App, connection: &Connection, subscription: &Subscription) {
    match subscription {
        Subscription::Channel(channel, stream, frame_format) => {
            let hub = &app.delivery.hub;
            hub.unsubscribe(connection, *channel, *stream, frame_format);
        }
        Subscription::Activity => app.delivery.activity.leave(connection),
        Subscription::Errors(_) => {}
    }
}

/// Fails unless the session still belongs to this user. When Redis is unavailable, the error is not `UNAUTHENTICATED`: a
/// client would sign the user out.
fn require_session_of(
    user: UserId,
    found: Result<Option<UserId>, Problem>,
) -> Result<(), ConnectionEnd> {
    match found {
        Ok(Some(found)) if found == user => Ok(()),
        Ok(_) => Err(unauthorized()),
        Err(problem) => Err(ConnectionEnd::refused(refusal(&problem))),
    }
}

fn unauthorized() -> ConnectionEnd {
    ConnectionEnd::refused(Refusal::new(
        Problem::Unauthenticated.code(),
        "Unauthorized",
    ))
}

/// The ERROR frame for a problem.
pub(super) fn refusal(problem: &Problem) -> Refusal {
    Refusal::new(problem.code(), problem.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unavailable_store_does_not_end_a_session() {
        let user = UserId::new();
        let code = |found| {
            let end = require_session_of(user, found).err()?;
            end.error.map(|refusal| refusal.code)
        };
        assert_eq!(code(Ok(Some(user))), None);
        assert_eq!(code(Ok(None)), Some("UNAUTHENTICATED"));
        assert_eq!(code(Ok(Some(UserId::new()))), Some("UNAUTHENTICATED"));
        let unavailable = Problem::Unavailable(Dependency::Redis, None);
        assert_eq!(code(Err(unavailable)), Some("SERVICE_UNAVAILABLE"));
    }

    #[test]
    fn only_the_nodes_own_close_for_size_is_explained() {
        let explained = |disconnect| {
            ConnectionEnd::from(disconnect)
                .error
                .map(|refusal| refusal.code)
        };
        let ours = Disconnect::close(1009, "message is too big");
        assert_eq!(explained(ours), Some("FRAME_TOO_LARGE"));
        assert_eq!(explained(Disconnect::close(1009, "")), None);
        assert_eq!(explained(Disconnect::Gone), None);
    }
}
