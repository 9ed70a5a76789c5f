//! The rules of one STOMP connection: the order of commands, version negotiation, heart-beating and
//! subscription ids.
//!
//! Time is the [`Duration`] since any fixed moment, and an argument; nothing here sleeps.

use std::time::Duration;

use bytes::Bytes;

use crate::{
    limits::{CONNECT_TIMEOUT, MAX_ID_BYTES, MAX_SUBSCRIPTIONS},
    protocol::stomp::{
        codec::Malformed,
        frame::{Command, Frame, Version},
    },
};

/// Periods without an octet after which a client that agreed to heart-beats times out. Browsers slow
/// the timers of hidden tabs down, so heart-beats often come late.
const READ_PERIODS: u32 = 3;

/// Minimum read timeout, whatever was agreed: a hidden tab may wake only once a minute.
const READ_FLOOR: Duration = Duration::from_mins(1);

/// Settings of a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// Period in which the server can send heart-beats, and period in which it wants them, in
    /// milliseconds; 0 is never.
    pub heart_beat_ms: (u32, u32),
    /// Time from [`Session::new`] until the client must be connected.
    pub connect_timeout: Duration,
    /// Maximum concurrent subscriptions.
    pub subscriptions: u32,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            heart_beat_ms: (10_000, 10_000),
            connect_timeout: CONNECT_TIMEOUT,
            subscriptions: MAX_SUBSCRIPTIONS,
        }
    }
}

/// The action that a frame asks for. The caller answers each `receipt` with [`receipt`] once the
/// action has taken effect, in the order of the frames.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// `CONNECT` or `STOMP`: check the token, then send what [`Session::connected`] returns or
    /// refuse.
    Authenticate {
        /// The `Authorization` header without `Bearer `; `None` when it is missing, empty or of
        /// another scheme.
        token: Option<String>,
    },
    /// `SUBSCRIBE`. The id is in use until [`Action::Unsubscribe`] or [`Session::forget`].
    Subscribe {
        /// Unique on the connection, never empty. For STOMP 1.0 clients that give none it is the
        /// destination.
        id: String,
        /// Never empty.
        destination: String,
        /// From the header `after-seq`: deliver what is stored after this position first.
        after_seq: Option<u64>,
        /// The receipt asked for.
        receipt: Option<String>,
    },
    /// `UNSUBSCRIBE` of an existing subscription.
    Unsubscribe {
        /// The id given by `SUBSCRIBE`.
        id: String,
        /// The receipt asked for.
        receipt: Option<String>,
    },
    /// `SEND`.
    Send {
        /// Never empty.
        destination: String,
        /// The body as the client sent it.
        body: Bytes,
        /// The receipt asked for.
        receipt: Option<String>,
    },
    /// A frame that needs only its receipt, if any: `ACK`, `NACK`, `BEGIN`, `COMMIT`, `ABORT`, and
    /// `UNSUBSCRIBE` of an unknown subscription.
    Acknowledge {
        /// The receipt asked for.
        receipt: Option<String>,
    },
    /// `DISCONNECT`: end all subscriptions, send the receipt, and let the client close.
    Disconnect {
        /// The receipt asked for.
        receipt: Option<String>,
    },
    /// Send [`Refusal::frame`], then close with 1002.
    Refuse(Refusal),
}

/// Why a connection ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// For machines, in upper snake case.
    pub code: &'static str,
    /// One sentence for people.
    pub message: String,
    /// The receipt the refused frame asked for.
    pub receipt: Option<String>,
    /// Further headers of the `ERROR` frame.
    pub headers: Vec<(&'static str, String)>,
}

impl Refusal {
    /// A refusal without receipt and further headers.
    pub fn new(code: &'static str, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            receipt: None,
            headers: Vec::new(),
        }
    }

    /// The refusal of a frame that asked for this receipt, if any.
    #[must_use]
    pub fn for_receipt(mut self, receipt: Option<String>) -> Self {
        self.receipt = receipt;
        self
    }

    /// The `ERROR` frame for this refusal, without a body.
    pub fn frame(&self) -> Frame {
        let mut frame = Frame::new(Command::Error)
            .header("message", self.message.as_str())
            .header("code", self.code);
        if let Some(receipt) = &self.receipt {
            frame.headers.push("receipt-id", receipt.as_str());
        }
        for (name, value) in &self.headers {
            frame.headers.push(*name, value.as_str());
        }
        frame
    }
}

impl From<Malformed> for Refusal {
    fn from(malformed: Malformed) -> Self {
        Self::new(malformed.code(), malformed.to_string())
    }
}

/// The `RECEIPT` frame for a frame whose `receipt` header was `id`.
pub fn receipt(id: &str) -> Frame {
    Frame::new(Command::Receipt).header("receipt-id", id)
}

/// The result of [`Session::on_tick`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Tick {
    /// Nothing is due.
    Nothing,
    /// Write one LF.
    Beat,
    /// The client took too long to connect or is silent: send [`Refusal::frame`], then close with
    /// 1002.
    TimedOut(Refusal),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Only `CONNECT` is allowed.
    Fresh,
    /// `CONNECT` has arrived and is not answered yet.
    Connecting,
    Connected,
    /// `DISCONNECT` has arrived.
    Leaving,
    /// Refused or timed out.
    Ended,
}

/// The state of one connection.
///
/// Timers belong to the caller: it calls [`Session::on_tick`] at [`Session::deadline`].
///
/// ```
/// use std::time::Duration;
///
/// use discodeit::protocol::stomp::{Command, Frame, Session, Settings, Tick};
///
/// let mut session = Session::new(Settings::default(), Duration::ZERO);
/// let connect = Frame::new(Command::Connect)
///     .header("accept-version", "1.2")
///     .header("heart-beat", "10000,10000");
/// session.on_frame(connect, Duration::from_secs(1));
/// session.connected("alice", "session-1", Duration::from_secs(1));
///
/// // A heart-beat is due after nine tenths of the agreed 10 s.
/// assert_eq!(session.deadline(), Some(Duration::from_secs(10)));
/// assert_eq!(session.on_tick(Duration::from_secs(10)), Tick::Beat);
///
/// // The client has been silent for 60 s.
/// let Tick::TimedOut(error) = session.on_tick(Duration::from_secs(61)) else {
///     panic!("the client is silent");
/// };
/// assert_eq!(error.code, "HEART_BEAT_TIMEOUT");
/// ```
#[derive(Debug)]
pub struct Session {
    settings: Settings,
    phase: Phase,
    /// The version negotiated by `CONNECT`, and the version in force: 1.0 until `CONNECTED`.
    agreed: Version,
    version: Version,
    opened_at: Duration,
    last_read_at: Duration,
    last_write_at: Duration,
    /// Period of the server's heart-beats; zero for none.
    write_interval: Duration,
    /// Maximum silence of the client; zero for no limit.
    read_timeout: Duration,
    /// The ids in use. There are few, so a linear search is faster than a hash map.
    subscriptions: Vec<Box<str>>,
}

impl Session {
    /// A connection that was opened at `now`.
    pub fn new(settings: Settings, now: Duration) -> Self {
        Self {
            settings,
            phase: Phase::Fresh,
            agreed: Version::V10,
            version: Version::V10,
            opened_at: now,
            last_read_at: now,
            last_write_at: now,
            write_interval: Duration::ZERO,
            read_timeout: Duration::ZERO,
            subscriptions: Vec::new(),
        }
    }

    /// Checks one frame of the client. After [`Action::Refuse`] all further frames are refused.
    ///
    /// Frames before the answer to `CONNECT` are refused: decode none until it is sent.
    pub fn on_frame(&mut self, frame: Frame, now: Duration) -> Action {
        self.on_bytes(now);
        // CONNECT may not ask for a receipt (STOMP 1.2, "Standard Headers").
        let receipt = match frame.command {
            Command::Connect | Command::Stomp => None,
            _ => frame.headers.get("receipt").map(str::to_owned),
        };
        match self.check(frame, receipt.clone()) {
            Ok(action) => action,
            Err(refusal) => {
                self.end();
                Action::Refuse(refusal.for_receipt(receipt))
            }
        }
    }

    fn check(&mut self, frame: Frame, receipt: Option<String>) -> Result<Action, Refusal> {
        let opens = matches!(frame.command, Command::Connect | Command::Stomp);
        match self.phase {
            Phase::Fresh if opens => return self.connect(&frame),
            Phase::Fresh | Phase::Connecting if !opens => {
                return Err(Refusal::new(
                    "NOT_CONNECTED",
                    "The first frame must be CONNECT and must have been answered",
                ));
            }
            Phase::Leaving => {
                return Err(Refusal::new(
                    "DISCONNECTED",
                    "Nothing may follow DISCONNECT",
                ));
            }
            Phase::Ended => {
                return Err(Refusal::new("SESSION_ENDED", "The session has ended"));
            }
            Phase::Fresh | Phase::Connecting | Phase::Connected => {}
        }
        match frame.command {
            Command::Connect | Command::Stomp => Err(Refusal::new(
                "ALREADY_CONNECTED",
                "CONNECT may be sent only once",
            )),
            Command::Send => Ok(Action::Send {
                destination: required(&frame, "destination")?.to_owned(),
                body: frame.body,
                receipt,
            }),
            Command::Subscribe => self.subscribe(&frame, receipt),
            Command::Unsubscribe => self.unsubscribe(&frame, receipt),
            // The server delivers no message in a mode that waits for ACK, and has no transactions.
            // Clients that send these commands anyway lose nothing.
            Command::Ack | Command::Nack | Command::Begin | Command::Commit | Command::Abort => {
                Ok(Action::Acknowledge { receipt })
            }
            Command::Disconnect => {
                self.phase = Phase::Leaving;
                self.subscriptions = Vec::new();
                Ok(Action::Disconnect { receipt })
            }
            Command::Connected | Command::Message | Command::Receipt | Command::Error => Err(
                Refusal::new("UNEXPECTED_COMMAND", "Only servers send this command"),
            ),
        }
    }

    fn connect(&mut self, frame: &Frame) -> Result<Action, Refusal> {
        self.agreed = negotiate(frame.headers.get("accept-version"))?;
        let (can, wants) = heart_beat(frame.headers.get("heart-beat"))?;
        // STOMP 1.0 has no heart-beating: a client that negotiated it sends none, whatever its CONNECT
        // says.
        if self.agreed > Version::V10 {
            let (server_can, server_wants) = self.settings.heart_beat_ms;
            self.write_interval = period(server_can, wants);
            self.read_timeout = match period(can, server_wants) {
                Duration::ZERO => Duration::ZERO,
                period => READ_FLOOR.max(period * READ_PERIODS),
            };
        }
        self.phase = Phase::Connecting;
        Ok(Action::Authenticate {
            token: bearer_token(frame),
        })
    }

    fn subscribe(&mut self, frame: &Frame, receipt: Option<String>) -> Result<Action, Refusal> {
        let destination = required(frame, "destination")?;
        let id = self.subscription_id(frame)?;
        if id.len() > MAX_ID_BYTES {
            let message = format!("The subscription id has more than {MAX_ID_BYTES} octets");
            return Err(Refusal::new("ID_TOO_LONG", message));
        }
        if self.position(id).is_some() {
            return Err(Refusal::new(
                "DUPLICATE_SUBSCRIPTION",
                "The subscription id is in use already",
            ));
        }
        if self.subscriptions.len() >= self.settings.subscriptions as usize {
            return Err(Refusal::new(
                "TOO_MANY_SUBSCRIPTIONS",
                format!("More than {} subscriptions", self.settings.subscriptions),
            ));
        }
        let after_seq = frame.headers.get("after-seq").map(number).transpose();
        let after_seq = after_seq.map_err(|NotANumber| {
            Refusal::new("BAD_AFTER_SEQ", "The header after-seq must be a number")
        })?;
        self.subscriptions.push(id.into());
        Ok(Action::Subscribe {
            id: id.to_owned(),
            destination: destination.to_owned(),
            after_seq,
            receipt,
        })
    }

    fn unsubscribe(&mut self, frame: &Frame, receipt: Option<String>) -> Result<Action, Refusal> {
        let id = self.subscription_id(frame)?;
        let Some(position) = self.position(id) else {
            return Ok(Action::Acknowledge { receipt });
        };
        self.subscriptions.swap_remove(position);
        Ok(Action::Unsubscribe {
            id: id.to_owned(),
            receipt,
        })
    }

    /// The `id` of `SUBSCRIBE` and `UNSUBSCRIBE`. STOMP 1.0 clients may omit it; then the destination
    /// names the subscription.
    fn subscription_id<'a>(&self, frame: &'a Frame) -> Result<&'a str, Refusal> {
        match required(frame, "id") {
            Err(_) if self.version == Version::V10 => required(frame, "destination"),
            id => id,
        }
    }

    fn position(&self, id: &str) -> Option<usize> {
        self.subscriptions.iter().position(|known| **known == *id)
    }

    /// Records that the client sent anything, even a heart-beat or part of a frame.
    pub fn on_bytes(&mut self, now: Duration) {
        self.last_read_at = self.last_read_at.max(now);
    }

    /// Records that the server wrote anything, which replaces a heart-beat.
    pub fn on_sent(&mut self, now: Duration) {
        self.last_write_at = self.last_write_at.max(now);
    }

    /// Accepts the client: returns the `CONNECTED` frame that answers [`Action::Authenticate`].
    /// Further frames are allowed and heart-beats run from now on.
    ///
    /// The frame carries `user_name` and `session_id`.
    pub fn connected(&mut self, user_name: &str, session_id: &str, now: Duration) -> Frame {
        if self.phase == Phase::Connecting {
            self.phase = Phase::Connected;
        }
        self.version = self.agreed;
        self.on_bytes(now);
        self.on_sent(now);
        // The server's offer, not the negotiated periods: the client computes those itself.
        let (can, wants) = match self.version {
            Version::V10 => (0, 0),
            Version::V11 | Version::V12 => self.settings.heart_beat_ms,
        };
        Frame::new(Command::Connected)
            .header("version", self.version.as_str())
            .header("heart-beat", format!("{can},{wants}"))
            .header("user-name", user_name)
            .header("session", session_id)
    }

    /// When the caller must call [`Session::on_tick`] next; `None` while nothing can become due.
    /// Every other call may change it.
    pub fn deadline(&self) -> Option<Duration> {
        match self.phase {
            Phase::Fresh | Phase::Connecting => Some(self.connect_deadline()),
            Phase::Connected => match (self.beat_deadline(), self.read_deadline()) {
                (Some(beat), Some(read)) => Some(beat.min(read)),
                (beat, read) => beat.or(read),
            },
            Phase::Leaving | Phase::Ended => None,
        }
    }

    /// Returns the heart-beat or timeout that is due at `now`. After [`Tick::Beat`] the next is due a
    /// period later, even without [`Session::on_sent`].
    pub fn on_tick(&mut self, now: Duration) -> Tick {
        let passed = |deadline: Option<Duration>| deadline.is_some_and(|deadline| deadline <= now);
        match self.phase {
            Phase::Fresh | Phase::Connecting if passed(Some(self.connect_deadline())) => {
                self.end();
                Tick::TimedOut(Refusal::new("CONNECT_TIMEOUT", "CONNECT took too long"))
            }
            Phase::Connected if passed(self.read_deadline()) => {
                self.end();
                Tick::TimedOut(Refusal::new(
                    "HEART_BEAT_TIMEOUT",
                    "Nothing was received for too long",
                ))
            }
            Phase::Connected if passed(self.beat_deadline()) => {
                self.on_sent(now);
                Tick::Beat
            }
            _ => Tick::Nothing,
        }
    }

    fn connect_deadline(&self) -> Duration {
        self.opened_at.saturating_add(self.settings.connect_timeout)
    }

    fn read_deadline(&self) -> Option<Duration> {
        (!self.read_timeout.is_zero()).then(|| self.last_read_at.saturating_add(self.read_timeout))
    }

    /// After nine tenths of the period: the server promised an octet in each period (STOMP 1.2,
    /// "Heart-beating"), and timers and networks are late.
    fn beat_deadline(&self) -> Option<Duration> {
        let early = self.write_interval / 10 * 9;
        (!early.is_zero()).then(|| self.last_write_at.saturating_add(early))
    }

    /// The version for the escaping of headers: the negotiated version after [`Session::connected`],
    /// and 1.0, which escapes nothing, before.
    pub fn version(&self) -> Version {
        self.version
    }

    /// Whether the server sends heart-beats, which make those of the transport unnecessary.
    pub fn beats(&self) -> bool {
        self.phase == Phase::Connected && !self.write_interval.is_zero()
    }

    /// Frees the id of a subscription that the server ended; the client may use it again.
    pub fn forget(&mut self, id: &str) {
        if let Some(position) = self.position(id) {
            self.subscriptions.swap_remove(position);
        }
    }

    fn end(&mut self) {
        self.phase = Phase::Ended;
        self.subscriptions = Vec::new();
    }
}

/// The value of a required header, which must not be empty.
fn required<'a>(frame: &'a Frame, name: &'static str) -> Result<&'a str, Refusal> {
    match frame.headers.get(name) {
        Some(value) if !value.is_empty() => Ok(value),
        _ => Err(Refusal::new(
            "MISSING_HEADER",
            format!("{} needs the header {name}", frame.command),
        )),
    }
}

/// The highest common version (STOMP 1.2, "Protocol Negotiation"). A client without `accept-version`
/// knows only 1.0.
fn negotiate(accept_version: Option<&str>) -> Result<Version, Refusal> {
    let accepted = accept_version.unwrap_or_default().trim();
    if accepted.is_empty() {
        return Ok(Version::V10);
    }
    Version::ALL
        .into_iter()
        .rev()
        .find(|version| {
            accepted
                .split(',')
                .any(|item| item.trim() == version.as_str())
        })
        .ok_or_else(|| Refusal {
            headers: vec![("version", Version::ALL.map(Version::as_str).join(","))],
            ..Refusal::new("UNSUPPORTED_VERSION", "No protocol version in common")
        })
}

/// The client's heart-beat periods in milliseconds: sent, wanted.
fn heart_beat(value: Option<&str>) -> Result<(u32, u32), Refusal> {
    let Some(value) = value else {
        return Ok((0, 0));
    };
    let pair = value.split_once(',').ok_or(NotANumber);
    pair.and_then(|(can, wants)| Ok((milliseconds(can)?, milliseconds(wants)?)))
        .map_err(|NotANumber| {
            Refusal::new(
                "BAD_HEART_BEAT",
                "The header heart-beat must be two numbers with a comma between",
            )
        })
}

fn milliseconds(text: &str) -> Result<u32, NotANumber> {
    // Longer periods are cut to 2^32 - 1 ms, about seven weeks.
    number(text.trim()).map(|value| u32::try_from(value).unwrap_or(u32::MAX))
}

/// The negotiated period (STOMP 1.2, "Heart-beating"); zero when one side wants no heart-beats.
fn period(can_ms: u32, wants_ms: u32) -> Duration {
    if can_ms == 0 || wants_ms == 0 {
        return Duration::ZERO;
    }
    Duration::from_millis(can_ms.max(wants_ms).into())
}

struct NotANumber;

/// Digits only: `parse` would accept a sign too.
fn number(text: &str) -> Result<u64, NotANumber> {
    if text.bytes().all(|byte| byte.is_ascii_digit()) {
        text.parse().map_err(|_| NotANumber)
    } else {
        Err(NotANumber)
    }
}

/// The token of `Authorization: Bearer …`. STOMP header names are case-sensitive, but this header
/// comes from HTTP, where they are not, and clients use both cases.
fn bearer_token(frame: &Frame) -> Option<String> {
    let (_, value) = frame
        .headers
        .iter()
        .find(|(name, _)| name.eq_ignore_ascii_case("authorization"))?;
    let (scheme, token) = value.trim().split_once(' ')?;
    let token = token.trim();
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then(|| token.to_owned())
}
