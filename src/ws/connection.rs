//! STOMP on one connection: a task that owns the [`Link`], the decoder and the STOMP session.
//!
//! The protocol is pure; here is what it does. Frames are handled one after the other, in order; only SENDs overlap, since
//! each is answered after a commit that it shares with others. While a frame waits for a store, those behind it wait, and the
//! connection is served on: what comes is written, beats go out, and an end is an end at once.

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
    problem::{Dependency, Problem},
    protocol::stomp::{self, Action, Frame, Item, Limits, Refusal, Session, Settings, Tick},
    sockjs::Link,
    ws::rate_limit::TokenBucket,
};

use super::{
    send::Pending,
    subscribe::{Step, Subscription, Way},
};

/// SENDs that wait for their commit; then nothing more is read from this client.
const PENDING: usize = 16;
/// Frames that are handled before what they lead to is written, and time and the node are looked at.
const FRAMES_A_TURN: usize = 64;

/// Serves a connection until it ends.
pub(super) async fn run(app: Arc<App>, link: Link) {
    let mut socket = StompConnection::new(app, link);
    let ending = socket.serve().await;
    socket.finish(ending).await;
}

/// How a connection ends, and what the client should be told before.
pub(super) struct ConnectionEnd {
    pub(super) end: Disconnect,
    pub(super) error: Option<Refusal>,
}

impl From<Disconnect> for ConnectionEnd {
    fn from(end: Disconnect) -> Self {
        // Ours has a reason; the client's own close, which may have the same code, has none here.
        let too_large =
            matches!(end, Disconnect::Close { code: 1009, reason } if !reason.is_empty());
        let refusal = || Refusal::from(stomp::Malformed::FrameTooLarge);
        Self {
            end,
            error: too_large.then(refusal),
        }
    }
}

impl From<CloseReason> for ConnectionEnd {
    fn from(close_reason: CloseReason) -> Self {
        let revoked = || Refusal::new("SESSION_ENDED", "Unauthorized");
        Self {
            end: close_reason.into(),
            error: (close_reason == CloseReason::Revoked).then(revoked),
        }
    }
}

impl ConnectionEnd {
    pub(super) fn refused(refusal: Refusal) -> Self {
        Self {
            end: Disconnect::close(1002, ""),
            error: Some(refusal),
        }
    }
}

/// Why no more frames are handled just now.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Stop {
    /// There are none.
    Nothing,
    /// Others should have their turn.
    Turn,
    /// The client takes too little.
    Full,
    /// The next one waits for something.
    Waits,
}

/// What a frame waits for.
pub(super) enum Work {
    /// Who that is.
    Caller(Result<Caller, Problem>),
    /// Whether the session still lives, asked once the hub knows the connection.
    Alive(Caller, Result<Option<UserId>, Problem>),
    /// The store's answer to a SUBSCRIBE.
    Subscribing(Step),
}

pub(super) struct StompConnection {
    pub(super) app: Arc<App>,
    pub(super) link: Link,
    pub(super) stomp: stomp::Decoder,
    pub(super) session: Session,
    pub(super) began: Instant,
    pub(super) user: Option<(Caller, Arc<Connection>)>,
    pub(super) subscriptions: HashMap<String, Subscription>,
    pub(super) pending: VecDeque<Pending>,
    pub(super) sends: TokenBucket,
    pub(super) subscribes: TokenBucket,
    /// A frame whose turn has not come. Boxed, as the next two: seldom there.
    pub(super) deferred: Option<Box<Action>>,
    /// What the frame before it waits for.
    pub(super) work: Option<BoxFuture<'static, Work>>,
    /// A subscription whose stored messages wait for room.
    pub(super) resuming: Option<Box<Way>>,
    /// When it was last told that the user is writing in a channel. Bounded: what is older than [`limits::TYPING_INTERVAL`] goes, and
    /// what is newer was let in by `sends`.
    pub(super) typing: HashMap<ChannelId, Instant>,
    /// When to leave because the node does.
    pub(super) leave_at: Option<Instant>,
}

impl StompConnection {
    pub(super) fn new(app: Arc<App>, mut link: Link) -> Self {
        link.take_at_most(limits::MAX_UNAUTHENTICATED_MESSAGE_BYTES);
        let now = Instant::now();
        let beat = u32::try_from(app.config.heart_beat.as_millis()).unwrap_or(u32::MAX);
        let settings = Settings {
            heart_beat_ms: (beat, beat),
            ..Settings::default()
        };
        let rate = f64::from(app.config.message_rate);
        Self {
            app,
            link,
            stomp: stomp::Decoder::new(Limits::default()),
            session: Session::new(settings, Duration::ZERO),
            began: now,
            user: None,
            subscriptions: HashMap::new(),
            pending: VecDeque::new(),
            sends: TokenBucket::new(rate, 2.0 * rate, now),
            subscribes: TokenBucket::new(limits::SUBSCRIBES, f64::from(limits::SUBSCRIPTIONS), now),
            deferred: None,
            work: None,
            resuming: None,
            typing: HashMap::new(),
            leave_at: None,
        }
    }

    pub(super) fn now(&self) -> Duration {
        self.began.elapsed()
    }

    pub(super) async fn serve(&mut self) -> ConnectionEnd {
        let app = self.app.clone();
        loop {
            let stop = match self.turn() {
                Ok(stop) => stop,
                Err(ending) => return ending,
            };
            let deadline = self.deadline();
            let answered = async {
                match self.pending.front_mut() {
                    Some(first) => (&mut first.answer).await,
                    None => std::future::pending().await,
                }
            };
            let work = async {
                match &mut self.work {
                    Some(work) => work.await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                result = self.link.ready(stop == Stop::Nothing) => if let Err(end) = result {
                    return end.into();
                },
                answer = answered => {
                    let answer = answer.unwrap_or(Err(Problem::Unavailable(Dependency::Node, None)));
                    if let Err(ending) = self.answered(answer) {
                        return ending;
                    }
                }
                done = work => {
                    self.work = None;
                    if let Err(ending) = self.done(done) {
                        return ending;
                    }
                }
                () = sleep_until(deadline) => if let Err(ending) = self.tick(stop) {
                    return ending;
                },
                () = tokio::task::yield_now(), if stop == Stop::Turn => {}
                () = app.tasks.draining().cancelled(), if self.leave_at.is_none() => {
                    // Spread, so that they do not all come back at once.
                    self.leave_at = Some(Instant::now() + app.config.drain_spread.mul_f64(rand::random()));
                }
            }
        }
    }

    /// Handles what has arrived and writes what waits, as far as both go without waiting.
    pub(super) fn turn(&mut self) -> Result<Stop, ConnectionEnd> {
        self.resume()?;
        let stop = self.handle()?;
        let close_reason = self.link.flush()?;
        let wrote = self.link.wrote().saturating_duration_since(self.began);
        self.session.on_sent(wrote);
        if let Some(close_reason) = close_reason {
            return Err(close_reason.into());
        }
        // What stopped for want of room goes on once there is some.
        let stopped = stop == Stop::Full || self.resuming.is_some();
        Ok(if stopped && !self.link.is_full() {
            Stop::Turn
        } else {
            stop
        })
    }

    /// The moment at which [`Self::tick`] has something to do.
    pub(super) fn deadline(&self) -> Instant {
        let far = Instant::now() + Duration::from_hours(1);
        let session = self.session.deadline().map(|at| self.began + at);
        let leave_at = self.leave_at.filter(|_| self.pending.is_empty());
        let subscribes = self.deferred.as_ref().map(|_| self.subscribes.next());
        let subscribes = subscribes.filter(|_| self.pending.is_empty());
        [self.link.deadline(), session, leave_at, subscribes]
            .into_iter()
            .flatten()
            .fold(far, Instant::min)
    }

    pub(super) fn tick(&mut self, stop: Stop) -> Result<(), ConnectionEnd> {
        self.link.tick()?;
        if self.leave_at.is_some_and(|at| Instant::now() >= at) && self.pending.is_empty() {
            return Err(CloseReason::Draining.into());
        }
        // Be it a ping or an empty message: the client lives. It cannot be silent while we do not listen.
        let heard = self.link.heard().saturating_duration_since(self.began);
        self.session.on_bytes(if stop == Stop::Nothing {
            heard
        } else {
            self.now()
        });
        match self.session.on_tick(self.now()) {
            Tick::Nothing => Ok(()),
            Tick::Beat => {
                self.link.send(b"\n");
                Ok(())
            }
            Tick::TimedOut(refusal) => Err(ConnectionEnd::refused(refusal)),
        }
    }

    /// Handles what has been read, frame by frame.
    pub(super) fn handle(&mut self) -> Result<Stop, ConnectionEnd> {
        for _ in 0..FRAMES_A_TURN {
            if self.work.is_some() || self.resuming.is_some() || self.pending.len() >= PENDING {
                return Ok(Stop::Waits);
            }
            // Else a client that takes nothing, or is to be gone, could have frames handled for ever.
            if self.link.is_full() {
                return Ok(Stop::Full);
            }
            let action = match self.deferred.take() {
                Some(action) => *action,
                None => match self.next()? {
                    Some(action) => action,
                    None => return Ok(Stop::Nothing),
                },
            };
            // Only SENDs overlap: anything else waits for those before it, and those behind it for itself.
            let early = match &action {
                Action::Send { .. } => false,
                _ if !self.pending.is_empty() => true,
                Action::Subscribe { .. } => !self.subscribes.take(Instant::now()),
                _ => false,
            };
            if early {
                self.deferred = Some(Box::new(action));
                return Ok(Stop::Waits);
            }
            self.act(action)?;
        }
        Ok(Stop::Turn)
    }

    /// What the next frame asks for.
    pub(super) fn next(&mut self) -> Result<Option<Action>, ConnectionEnd> {
        loop {
            match self.stomp.next() {
                Ok(Some(Item::Frame(frame))) => {
                    if frame.command == stomp::Command::Subscribe {
                        self.forget_ended();
                    }
                    return Ok(Some(self.session.on_frame(frame, self.now())));
                }
                Ok(Some(Item::HeartBeat)) => continue,
                Ok(None) => {}
                Err(malformed) => return Err(ConnectionEnd::refused(Refusal::from(malformed))),
            }
            match self.link.take()? {
                Some(octets) => self.stomp.feed(&octets),
                None => return Ok(None),
            }
        }
    }

    pub(super) fn act(&mut self, action: Action) -> Result<(), ConnectionEnd> {
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
                if let Some(Subscription::Channel(channel, feed, frame_format)) =
                    self.subscriptions.remove(&id)
                    && let Some((_, connection)) = &self.user
                {
                    self.app
                        .delivery
                        .hub
                        .unsubscribe(connection, channel, feed, &frame_format);
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
                Err(Disconnect::close(1000, "").into())
            }
            Action::Refuse(refusal) => Err(ConnectionEnd::refused(refusal)),
        }
    }

    /// What a frame waited for is there.
    pub(super) fn done(&mut self, work: Work) -> Result<(), ConnectionEnd> {
        match work {
            Work::Caller(caller) => self.join(caller),
            Work::Alive(caller, user) => self.connected(&caller, user),
            Work::Subscribing(step) => self.subscribing(step),
        }
    }

    pub(super) fn reply(&mut self, frame: &Frame) {
        let octets = stomp::encode(frame, self.session.version());
        self.link.send(&octets);
    }

    pub(super) fn receipt(&mut self, id: Option<String>) {
        if let Some(id) = id {
            self.reply(&stomp::receipt(&id));
        }
    }

    pub(super) fn connect(&mut self, token: Option<String>) -> Result<(), ConnectionEnd> {
        let token = token.ok_or_else(unauthorized)?;
        let app = self.app.clone();
        let caller = async move {
            Work::Caller(crate::auth::authenticate(&app.tokens, &app.sessions, &token).await)
        };
        self.work = Some(caller.boxed());
        Ok(())
    }

    pub(super) fn join(&mut self, caller: Result<Caller, Problem>) -> Result<(), ConnectionEnd> {
        let caller = caller.map_err(|problem| match problem {
            Problem::Unauthenticated => unauthorized(),
            problem => ConnectionEnd::refused(refusal(&problem)),
        })?;
        let connection =
            self.app
                .delivery
                .hub
                .join(caller.id, caller.session, self.link.send_queue().clone());
        let connection = connection.ok_or_else(|| {
            ConnectionEnd::refused(Refusal::new(
                "TOO_MANY_CONNECTIONS",
                "Too many connections of this user.",
            ))
        })?;
        self.user = Some((caller.clone(), connection));
        // Asked again now that the hub knows the connection: a session that ended in between is either seen here, or its
        // control event finds the connection.
        let app = self.app.clone();
        let alive = async move {
            let user = app.sessions.user(caller.session).await;
            Work::Alive(caller, user)
        };
        self.work = Some(alive.boxed());
        Ok(())
    }

    pub(super) fn connected(
        &mut self,
        caller: &Caller,
        user: Result<Option<UserId>, Problem>,
    ) -> Result<(), ConnectionEnd> {
        still_there(caller.id, user)?;
        let session_id = Uuid::new_v4().simple().to_string();
        let connected = self
            .session
            .connected(&caller.username, &session_id, self.now());
        self.stomp.set_version(self.session.version());
        self.link.take_at_most(usize::MAX);
        if self.session.beats() {
            self.link.beats_itself();
        }
        self.reply(&connected);
        Ok(())
    }

    /// Says what is to be said and closes.
    pub(super) async fn finish(&mut self, ending: ConnectionEnd) {
        self.forget();
        if let Some(refusal) = ending.error {
            self.reply(&refusal.frame());
        }
        self.link.end(ending.end).await;
    }

    /// Takes the connection out of the hub. Twice does no harm.
    pub(super) fn forget(&mut self) {
        self.work = None;
        self.resuming = None;
        let Some((_, connection)) = self.user.take() else {
            return;
        };
        for (_, subscription) in self.subscriptions.drain() {
            if let Subscription::Channel(channel, feed, frame_format) = subscription {
                self.app
                    .delivery
                    .hub
                    .unsubscribe(&connection, channel, feed, &frame_format);
            }
        }
        self.app.delivery.hub.leave(&connection);
    }
}

impl Drop for StompConnection {
    fn drop(&mut self) {
        self.forget();
    }
}

/// Whether the session is still this user's. A store that is away says nothing about that: the client must not sign out.
fn still_there(user: UserId, found: Result<Option<UserId>, Problem>) -> Result<(), ConnectionEnd> {
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

pub(super) fn refusal(problem: &Problem) -> Refusal {
    Refusal::new(problem.code(), problem.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_store_that_answers_says_that_a_session_has_ended() {
        let user = UserId::new();
        let code = |found| {
            let ending = still_there(user, found).err()?;
            ending.error.map(|refusal| refusal.code)
        };
        assert_eq!(code(Ok(Some(user))), None);
        assert_eq!(code(Ok(None)), Some("UNAUTHENTICATED"));
        assert_eq!(code(Ok(Some(UserId::new()))), Some("UNAUTHENTICATED"));
        let away = Problem::Unavailable(Dependency::Redis, None);
        assert_eq!(code(Err(away)), Some("SERVICE_UNAVAILABLE"));
    }

    #[test]
    fn only_our_own_close_for_size_is_explained() {
        let explained = |end| ConnectionEnd::from(end).error.map(|refusal| refusal.code);
        let ours = Disconnect::close(1009, "message is too big");
        assert_eq!(explained(ours), Some("FRAME_TOO_LARGE"));
        assert_eq!(explained(Disconnect::close(1009, "")), None);
        assert_eq!(explained(Disconnect::Gone), None);
    }

    #[test]
    fn a_bucket_says_when_there_is_something_in_it_again() {
        let begin = Instant::now();
        let mut bucket = TokenBucket::new(10.0, 3.0, begin);
        assert!((0..3).all(|_| bucket.take(begin)) && !bucket.take(begin));
        let next = bucket.next();
        assert!(!bucket.take(begin + Duration::from_millis(90)));
        assert!(next <= begin + Duration::from_millis(110) && bucket.take(next));
        // It never holds more than its burst.
        let late = begin + Duration::from_hours(1);
        assert!((0..3).all(|_| bucket.take(late)) && !bucket.take(late));
    }
}
