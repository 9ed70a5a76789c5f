//! STOMP on one connection: a task that owns the [`Link`], the decoder and the STOMP session.
//!
//! The protocol is pure; here is what it does. Frames are handled one after the other, in order; only SENDs overlap, since
//! each is answered after a commit that it shares with others.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use serde_json::json;
use tokio::{
    sync::oneshot,
    time::{Instant, sleep_until},
};
use tracing::debug;
use uuid::Uuid;

use crate::{
    access,
    app::App,
    group_commit::{Answer, Posted},
    hub::{Connection, Feed, Shape},
    ids::ChannelId,
    link::{End, Link},
    mailbox::Farewell,
    model::{ChannelKind, from_json},
    ops::{
        self,
        message::{MessageCreateRequest, TypingRequest},
    },
    problem::{Dependency, Problem},
    stomp::{self, Action, Frame, Item, Limits, Message, Refusal, Session, Settings, Tick},
    store,
    token::Caller,
};

/// SENDs that wait for their commit; then nothing more is read from this client.
const PENDING: usize = 16;
/// That somebody is writing is told at most this often for one connection and channel.
const TYPING_EVERY: Duration = Duration::from_secs(2);
/// Stored messages that a subscription with `after-seq` brings.
const MOST_RESUMED: i64 = 500;

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
        Self { end, error: None }
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

/// A SEND that waits for its commit.
struct Pending {
    answer: Answer,
    receipt: Option<String>,
    client_id: Option<Uuid>,
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
    link: Link,
    stomp: stomp::Decoder,
    session: Session,
    began: Instant,
    user: Option<(Caller, Arc<Connection>)>,
    subscriptions: HashMap<String, Subscription>,
    pending: VecDeque<Pending>,
    sends: Bucket,
    /// When it was last told that the user is writing in a channel. Bounded: what is older than [`TYPING_EVERY`] goes, and
    /// what is newer was let in by `sends`.
    typing: HashMap<ChannelId, Instant>,
    /// When to leave because the node does.
    leave_at: Option<Instant>,
}

impl Socket {
    fn new(app: Arc<App>, link: Link) -> Self {
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
            sends: Bucket {
                tokens: 2.0 * rate,
                rate,
                at: now,
            },
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
            if let Err(ending) = self.turn().await {
                return ending;
            }
            let deadline = self.deadline();
            let reads = self.pending.len() < PENDING;
            let answered = async {
                match self.pending.front_mut() {
                    Some(first) => (&mut first.answer).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                result = self.link.ready(reads) => if let Err(end) = result {
                    return end.into();
                },
                answer = answered => {
                    let answer = answer.unwrap_or(Err(Problem::Unavailable(Dependency::Node, None)));
                    if let Err(ending) = self.answered(answer) {
                        return ending;
                    }
                }
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

    /// Handles what has arrived and writes what waits, as far as both go without waiting for the client.
    async fn turn(&mut self) -> Result<(), Ending> {
        self.handle().await?;
        let farewell = self.link.flush()?;
        let wrote = self.link.wrote().saturating_duration_since(self.began);
        self.session.on_sent(wrote);
        match farewell {
            Some(farewell) => Err(farewell.into()),
            None => Ok(()),
        }
    }

    /// The moment at which [`Self::tick`] has something to do.
    fn deadline(&self) -> Instant {
        let far = Instant::now() + Duration::from_hours(1);
        let session = self.session.deadline().map(|at| self.began + at);
        let leave_at = self.leave_at.filter(|_| self.pending.is_empty());
        [self.link.deadline(), session, leave_at]
            .into_iter()
            .flatten()
            .fold(far, Instant::min)
    }

    fn tick(&mut self) -> Result<(), Ending> {
        self.link.tick()?;
        if self.leave_at.is_some_and(|at| Instant::now() >= at) && self.pending.is_empty() {
            return Err(Farewell::Draining.into());
        }
        // Be it a ping or an empty message: the client lives.
        let heard = self.link.heard().saturating_duration_since(self.began);
        self.session.on_bytes(heard);
        match self.session.on_tick(self.now()) {
            Tick::Nothing => Ok(()),
            Tick::Beat => {
                self.link.send(b"\n");
                Ok(())
            }
            Tick::TimedOut(refusal) => Err(Ending::refused(refusal)),
        }
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
            match self.link.take()? {
                Some(octets) => self.stomp.feed(&octets),
                None => return Ok(()),
            }
        }
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
                Err(End::close(1000, "").into())
            }
            Action::Refuse(refusal) => Err(Ending::refused(refusal)),
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
            .join(caller.id, caller.session, self.link.mailbox().clone());
        let connection = connection.ok_or_else(|| {
            Ending::refused(Refusal::new(
                "TOO_MANY_CONNECTIONS",
                "Too many connections of this user.",
            ))
        })?;
        // Asked again now that the hub knows the connection: a session that ended in between is either seen here, or its
        // control event finds the connection.
        let user = self.app.sessions.user(caller.session).await;
        let session_id = Uuid::new_v4().simple().to_string();
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
        if self.session.beats() {
            self.link.beats_itself();
        }
        self.reply(&connected);
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
            wire: self.link.wire(),
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
        let readable = store::channels::readable(&self.app.db, channel, caller.id)
            .await
            .map_err(|problem| refusal(&problem))?;
        if readable.kind == ChannelKind::Private {
            entrance.mark_private();
        }
        let after = after
            .filter(|_| feed == Feed::Messages)
            .map(|after| i64::try_from(after).unwrap_or(i64::MAX));
        let missing = entrance.add(connection, feed, &shape, readable.last_seq, after);
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

    /// Hands in what is sent. What is wrong with its content does not end the connection.
    fn send(
        &mut self,
        destination: &str,
        body: &[u8],
        receipt: Option<String>,
    ) -> Result<(), Ending> {
        let Some(allowed) = access::send(destination) else {
            let refusal = Refusal::new(
                "DESTINATION_NOT_ALLOWED",
                "This destination cannot be sent to.",
            );
            return Err(Ending::refused(refusal.for_receipt(receipt)));
        };
        let Some((caller, _)) = &self.user else {
            return Err(Ending::refused(refusal(&Problem::Unauthenticated)));
        };
        let caller = caller.clone();
        let (client_id, answer) = match allowed {
            access::Send::Message => self.post(&caller, body),
            access::Send::Typing => (None, self.typing(caller, body)),
        };
        // A refusal too goes behind those that wait, so that answers keep the order of their SENDs.
        let answer = answer.unwrap_or_else(|problem| resolved(Err(problem)));
        self.pending.push_back(Pending {
            answer,
            receipt,
            client_id,
        });
        Ok(())
    }

    fn take_turn(&mut self) -> Result<(), Problem> {
        let retry_after = Duration::from_secs(1);
        let turn = self.sends.take(Instant::now());
        turn.then_some(()).ok_or(Problem::TooMany { retry_after })
    }

    /// A message, with the identifier its sender made up.
    fn post(&mut self, caller: &Caller, body: &[u8]) -> (Option<Uuid>, Result<Answer, Problem>) {
        match from_json::<MessageCreateRequest>(body) {
            Ok(request) => {
                let client_id = request.client_message_id;
                let turn = self.take_turn();
                (
                    client_id,
                    turn.and_then(|()| {
                        ops::message::post(&self.app, caller.id, request, Vec::new())
                    }),
                )
            }
            Err(problem) => (None, Err(problem)),
        }
    }

    /// That the user is writing. Said too often it is passed over, which is no mistake of the client's.
    fn typing(&mut self, caller: Caller, body: &[u8]) -> Result<Answer, Problem> {
        let request: TypingRequest = from_json(body)?;
        let channel = request
            .channel_id
            .ok_or_else(|| Problem::invalid("channelId", "must be given"))?;
        let now = Instant::now();
        self.typing
            .retain(|_, told| now.duration_since(*told) < TYPING_EVERY);
        if self.typing.contains_key(&channel) {
            return Ok(resolved(Ok(Posted::NOTHING)));
        }
        self.take_turn()?;
        self.typing.insert(channel, now);
        let (sender, answer) = oneshot::channel();
        let app = self.app.clone();
        self.app.tasks.spawn("typing", async move {
            let told = ops::message::typing(&app, channel, caller.id, &caller.username).await;
            // A client that is gone needs no answer.
            drop(sender.send(told.map(|()| Posted::NOTHING)));
        });
        Ok(answer)
    }

    /// The first pending SEND has its answer.
    fn answered(&mut self, answer: Result<Posted, Problem>) -> Result<(), Ending> {
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
                let message_id = format!("error-{}", Uuid::new_v4().simple());
                let mut octets = Vec::new();
                Message {
                    destination: access::ERRORS,
                    subscription: &shape.subscription,
                    message_id: &message_id,
                    extra: &[],
                    body: body.as_bytes(),
                }
                .write(shape.version, &mut octets);
                self.link.send(&octets);
            }
        }
        Ok(())
    }

    /// Says what is to be said and closes.
    async fn finish(mut self, ending: Ending) {
        self.forget();
        if let Some(refusal) = ending.error {
            self.reply(&refusal.frame());
        }
        self.link.end(ending.end).await;
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

/// An answer that is there already.
fn resolved(result: Result<Posted, Problem>) -> Answer {
    let (sender, answer) = oneshot::channel();
    drop(sender.send(result));
    answer
}

fn refusal(problem: &Problem) -> Refusal {
    Refusal::new(problem.code(), problem.to_string())
}
