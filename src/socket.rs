//! STOMP on one connection: a task that owns the [`Link`], the decoder and the STOMP session.
//!
//! The protocol is pure; here is what it does. Frames are handled one after the other, in order; only SENDs overlap, since
//! each is answered after a commit that it shares with others. While a frame waits for a store, those behind it wait, and the
//! connection is served on: what comes is written, beats go out, and an end is an end at once.

mod sending;
mod subscribing;

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
    hub::Connection,
    ids::{ChannelId, UserId},
    limits,
    link::{End, Link},
    mailbox::Farewell,
    ops,
    problem::{Dependency, Problem},
    stomp::{self, Action, Frame, Item, Limits, Refusal, Session, Settings, Tick},
    token::Caller,
};

use sending::Pending;
use subscribing::{Step, Subscription, Way};

/// SENDs that wait for their commit; then nothing more is read from this client.
const PENDING: usize = 16;
/// Frames that are handled before what they lead to is written, and time and the node are looked at.
const FRAMES_A_TURN: usize = 64;

/// Serves a connection until it ends.
pub async fn run(app: Arc<App>, link: Link) {
    let mut socket = Socket::new(app, link);
    let ending = socket.serve().await;
    socket.finish(ending).await;
}

/// How a connection ends, and what the client should be told before.
struct Ending {
    end: End,
    error: Option<Refusal>,
}

impl From<End> for Ending {
    fn from(end: End) -> Self {
        // Ours has a reason; the client's own close, which may have the same code, has none here.
        let too_large = matches!(end, End::Close { code: 1009, reason } if !reason.is_empty());
        let refusal = || Refusal::from(stomp::Malformed::FrameTooLarge);
        Self {
            end,
            error: too_large.then(refusal),
        }
    }
}

impl From<Farewell> for Ending {
    fn from(farewell: Farewell) -> Self {
        let revoked = || Refusal::new("SESSION_ENDED", "Unauthorized");
        Self {
            end: farewell.into(),
            error: (farewell == Farewell::Revoked).then(revoked),
        }
    }
}

impl Ending {
    fn refused(refusal: Refusal) -> Self {
        Self {
            end: End::close(1002, ""),
            error: Some(refusal),
        }
    }
}

/// So many a second, with bursts.
struct Bucket {
    tokens: f64,
    burst: f64,
    rate: f64,
    at: Instant,
}

impl Bucket {
    fn new(rate: f64, burst: f64, at: Instant) -> Self {
        Self {
            tokens: burst,
            burst,
            rate,
            at,
        }
    }

    fn take(&mut self, now: Instant) -> bool {
        let gained = now.duration_since(self.at).as_secs_f64() * self.rate;
        self.tokens = (self.tokens + gained).min(self.burst);
        self.at = now;
        let enough = self.tokens >= 1.0;
        if enough {
            self.tokens -= 1.0;
        }
        enough
    }

    /// When there will be one again, a moment late rather than early.
    fn next(&self) -> Instant {
        let missing = (1.0 - self.tokens).max(0.0);
        self.at + Duration::from_secs_f64(missing / self.rate) + Duration::from_millis(1)
    }
}

/// Why no more frames are handled just now.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stop {
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
enum Work {
    /// Who that is.
    Caller(Result<Caller, Problem>),
    /// Whether the session still lives, asked once the hub knows the connection.
    Alive(Caller, Result<Option<UserId>, Problem>),
    /// The store's answer to a SUBSCRIBE.
    Subscribing(Step),
}

struct Socket {
    app: Arc<App>,
    link: Link,
    stomp: stomp::Decoder,
    session: Session,
    began: Instant,
    user: Option<(Caller, Arc<Connection>)>,
    subscriptions: HashMap<String, Subscription>,
    pending: VecDeque<Pending>,
    sends: Bucket,
    subscribes: Bucket,
    /// A frame whose turn has not come. Boxed, as the next two: seldom there.
    deferred: Option<Box<Action>>,
    /// What the frame before it waits for.
    work: Option<BoxFuture<'static, Work>>,
    /// A subscription whose stored messages wait for room.
    resuming: Option<Box<Way>>,
    /// When it was last told that the user is writing in a channel. Bounded: what is older than [`limits::TYPING_EVERY`] goes, and
    /// what is newer was let in by `sends`.
    typing: HashMap<ChannelId, Instant>,
    /// When to leave because the node does.
    leave_at: Option<Instant>,
}

impl Socket {
    fn new(app: Arc<App>, mut link: Link) -> Self {
        link.take_at_most(limits::STRANGERS_MESSAGE_BYTES);
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
            sends: Bucket::new(rate, 2.0 * rate, now),
            subscribes: Bucket::new(limits::SUBSCRIBES, f64::from(limits::SUBSCRIPTIONS), now),
            deferred: None,
            work: None,
            resuming: None,
            typing: HashMap::new(),
            leave_at: None,
        }
    }

    fn now(&self) -> Duration {
        self.began.elapsed()
    }

    async fn serve(&mut self) -> Ending {
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
    fn turn(&mut self) -> Result<Stop, Ending> {
        self.resume()?;
        let stop = self.handle()?;
        let farewell = self.link.flush()?;
        let wrote = self.link.wrote().saturating_duration_since(self.began);
        self.session.on_sent(wrote);
        if let Some(farewell) = farewell {
            return Err(farewell.into());
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
    fn deadline(&self) -> Instant {
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

    fn tick(&mut self, stop: Stop) -> Result<(), Ending> {
        self.link.tick()?;
        if self.leave_at.is_some_and(|at| Instant::now() >= at) && self.pending.is_empty() {
            return Err(Farewell::Draining.into());
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
            Tick::TimedOut(refusal) => Err(Ending::refused(refusal)),
        }
    }

    /// Handles what has been read, frame by frame.
    fn handle(&mut self) -> Result<Stop, Ending> {
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
    fn next(&mut self) -> Result<Option<Action>, Ending> {
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
                Err(malformed) => return Err(Ending::refused(Refusal::from(malformed))),
            }
            match self.link.take()? {
                Some(octets) => self.stomp.feed(&octets),
                None => return Ok(None),
            }
        }
    }

    fn act(&mut self, action: Action) -> Result<(), Ending> {
        match action {
            Action::Authenticate { token } => self.connect(token),
            Action::Subscribe {
                id,
                destination,
                after_seq,
                receipt,
            } => {
                let result = self.subscribe(id, &destination, after_seq, receipt.clone());
                result.map_err(|refusal| Ending::refused(refusal.for_receipt(receipt)))
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
                Err(End::close(1000, "").into())
            }
            Action::Refuse(refusal) => Err(Ending::refused(refusal)),
        }
    }

    /// What a frame waited for is there.
    fn done(&mut self, work: Work) -> Result<(), Ending> {
        match work {
            Work::Caller(caller) => self.join(caller),
            Work::Alive(caller, user) => self.connected(&caller, user),
            Work::Subscribing(step) => self.subscribing(step),
        }
    }

    fn reply(&mut self, frame: &Frame) {
        let octets = stomp::encode(frame, self.session.version());
        self.link.send(&octets);
    }

    fn receipt(&mut self, id: Option<String>) {
        if let Some(id) = id {
            self.reply(&stomp::receipt(&id));
        }
    }

    fn connect(&mut self, token: Option<String>) -> Result<(), Ending> {
        let token = token.ok_or_else(unauthorized)?;
        let app = self.app.clone();
        let caller = async move { Work::Caller(ops::account::caller(&app, &token).await) };
        self.work = Some(caller.boxed());
        Ok(())
    }

    fn join(&mut self, caller: Result<Caller, Problem>) -> Result<(), Ending> {
        let caller = caller.map_err(|problem| match problem {
            Problem::Unauthenticated => unauthorized(),
            problem => Ending::refused(refusal(&problem)),
        })?;
        let connection = self
            .app
            .hub
            .join(caller.id, caller.session, self.link.mailbox().clone());
        let connection = connection.ok_or_else(|| {
            Ending::refused(Refusal::new(
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

    fn connected(
        &mut self,
        caller: &Caller,
        user: Result<Option<UserId>, Problem>,
    ) -> Result<(), Ending> {
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
    async fn finish(&mut self, ending: Ending) {
        self.forget();
        if let Some(refusal) = ending.error {
            self.reply(&refusal.frame());
        }
        self.link.end(ending.end).await;
    }

    /// Takes the connection out of the hub. Twice does no harm.
    fn forget(&mut self) {
        self.work = None;
        self.resuming = None;
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

/// Whether the session is still this user's. A store that is away says nothing about that: the client must not sign out.
fn still_there(user: UserId, found: Result<Option<UserId>, Problem>) -> Result<(), Ending> {
    match found {
        Ok(Some(found)) if found == user => Ok(()),
        Ok(_) => Err(unauthorized()),
        Err(problem) => Err(Ending::refused(refusal(&problem))),
    }
}

fn unauthorized() -> Ending {
    Ending::refused(Refusal::new(
        Problem::Unauthenticated.code(),
        "Unauthorized",
    ))
}

fn refusal(problem: &Problem) -> Refusal {
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
        let explained = |end| Ending::from(end).error.map(|refusal| refusal.code);
        let ours = End::close(1009, "message is too big");
        assert_eq!(explained(ours), Some("FRAME_TOO_LARGE"));
        assert_eq!(explained(End::close(1009, "")), None);
        assert_eq!(explained(End::Gone), None);
    }

    #[test]
    fn a_bucket_says_when_there_is_something_in_it_again() {
        let begin = Instant::now();
        let mut bucket = Bucket::new(10.0, 3.0, begin);
        assert!((0..3).all(|_| bucket.take(begin)) && !bucket.take(begin));
        let next = bucket.next();
        assert!(!bucket.take(begin + Duration::from_millis(90)));
        assert!(next <= begin + Duration::from_millis(110) && bucket.take(next));
        // It never holds more than its burst.
        let late = begin + Duration::from_hours(1);
        assert!((0..3).all(|_| bucket.take(late)) && !bucket.take(late));
    }
}
