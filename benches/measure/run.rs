//! One run: connections, a schedule, and what each connection receives.

use std::{
    io::{ErrorKind, Write as _},
    ops::Range,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::{
    net::TcpStream,
    task::JoinSet,
    time::{sleep_until, timeout_at},
};

use super::{
    Args, DIGITS, GRACE, MARKER, Outcome, PASSWORD, TEXT_BYTES,
    api::{Api, User},
    report::Report,
    stomp::{Connection, find_end, number, text_frame},
    usage::{Usage, wait_for_quiet},
};

/// The times at which messages are due.
pub(super) struct Schedule {
    /// Origin of all times, in messages too.
    pub(super) base: Instant,
    /// Due time of the first message, in nanoseconds after `base`, like every `u64` time.
    pub(super) begin: u64,
    pub(super) rate: u64,
    pub(super) total: u64,
    pub(super) window: Range<u64>,
    pub(super) deadline: Instant,
}

impl Schedule {
    pub(super) fn new(args: &Args, rate: u64) -> Self {
        const SECOND: u64 = 1_000_000_000;
        let base = Instant::now();
        let begin = SECOND / 2;
        let from = begin + args.warm_up * SECOND;
        let window = from..from + args.seconds * SECOND;
        let deadline = base + Duration::from_nanos(window.end) + GRACE;
        Self {
            base,
            begin,
            rate,
            total: rate * (args.warm_up + args.seconds),
            window,
            deadline,
        }
    }

    pub(super) fn due(&self, message: u64) -> u64 {
        self.begin + message * 1_000_000_000 / self.rate
    }

    pub(super) fn instant(&self, ns: u64) -> Instant {
        self.base + Duration::from_nanos(ns)
    }

    pub(super) fn now(&self) -> u64 {
        u64::try_from(self.base.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }
}

/// Latencies in microseconds.
#[derive(Default)]
pub(super) struct Times {
    pub(super) of_window: Vec<u32>,
    /// Number of events within the window, whatever their due time.
    pub(super) in_window: u64,
}

impl Times {
    pub(super) fn with_capacity(expected: u64) -> Self {
        Self {
            of_window: Vec::with_capacity(usize::try_from(expected).unwrap_or(0)),
            in_window: 0,
        }
    }

    pub(super) fn add(&mut self, schedule: &Schedule, due: u64, now: u64) {
        self.in_window += u64::from(schedule.window.contains(&now));
        if schedule.window.contains(&due) {
            self.of_window
                .push(u32::try_from(now.saturating_sub(due) / 1_000).unwrap_or(u32::MAX));
        }
    }

    pub(super) fn append(&mut self, mut other: Self) {
        self.of_window.append(&mut other.of_window);
        self.in_window += other.in_window;
    }

    /// The exact percentile in milliseconds; sort first.
    pub(super) fn percentile(&self, per_mille: usize) -> f64 {
        let rank = (self.of_window.len() * per_mille).div_ceil(1_000).max(1);
        self.of_window
            .get(rank - 1)
            .map_or(f64::NAN, |us| f64::from(*us) / 1_000.0)
    }
}

/// The messages that one subscriber received.
pub(super) struct Received {
    pub(super) times: Times,
    pub(super) seen: Vec<bool>,
    pub(super) newest: usize,
    pub(super) distinct: u64,
    pub(super) duplicates: u64,
    pub(super) out_of_order: u64,
}

impl Received {
    pub(super) fn new(schedule: &Schedule) -> Self {
        Self {
            times: Times::with_capacity(
                schedule.rate * (schedule.window.end - schedule.window.start) / 1_000_000_000,
            ),
            seen: vec![false; usize::try_from(schedule.total).unwrap_or(0) + 1],
            newest: 0,
            distinct: 0,
            duplicates: 0,
            out_of_order: 0,
        }
    }

    pub(super) async fn listen(
        &mut self,
        connection: &mut Connection,
        schedule: &Schedule,
    ) -> Outcome<()> {
        let (mut marker_at, mut seq_at) = (0, 0);
        while self.distinct < schedule.total {
            connection.read().await?;
            let now = schedule.now();
            while let Some(payload) = connection.next()? {
                let frame = &connection.buffer[payload];
                let marker = find_end(MARKER, frame, &mut marker_at);
                let seq = find_end(b"\"seq\":", frame, &mut seq_at);
                let (Some(marker), Some(seq), true) =
                    (marker, seq, frame.starts_with(b"MESSAGE\n"))
                else {
                    return Err(String::from_utf8_lossy(frame).into());
                };
                let seq = usize::try_from(number(&frame[seq..]))?;
                let seen = self
                    .seen
                    .get_mut(seq)
                    .ok_or("a position beyond the last message")?;
                self.duplicates += u64::from(*seen);
                self.distinct += u64::from(!*seen);
                self.out_of_order += u64::from(seq < self.newest && !*seen);
                *seen = true;
                self.newest = self.newest.max(seq);
                self.times.add(schedule, number(&frame[marker..]), now);
            }
        }
        Ok(())
    }
}

/// Reads a sender's receipts.
pub(super) async fn confirm(
    connection: &mut Connection,
    schedule: &Schedule,
    mut missing: u64,
    times: &mut Times,
) -> Outcome<()> {
    while missing > 0 {
        connection.read().await?;
        let now = schedule.now();
        while let Some(payload) = connection.next()? {
            let frame = &connection.buffer[payload];
            let id = frame
                .strip_prefix(b"RECEIPT\nreceipt-id:")
                .ok_or_else(|| String::from_utf8_lossy(frame).into_owned())?;
            times.add(schedule, schedule.due(number(id)), now);
            missing -= 1;
        }
    }
    Ok(())
}

/// Sends every message when it is due, each on the next connection, and returns how late each was sent.
///
/// The sockets do not block, because tokio reads from them. A full socket is retried and delays the rest.
#[expect(clippy::disallowed_methods, reason = "runs on its own thread")]
pub(super) fn send(
    schedule: &Schedule,
    channel: &str,
    senders: &[(std::net::TcpStream, String)],
) -> Outcome<Times> {
    let padding = "x".repeat(TEXT_BYTES - DIGITS - 2);
    let (mut lag, mut frame) = (Times::with_capacity(schedule.total), Vec::new());
    for message in 0..schedule.total {
        let due = schedule.due(message);
        std::thread::sleep(
            schedule
                .instant(due)
                .saturating_duration_since(Instant::now()),
        );
        lag.add(schedule, due, schedule.now());
        let (stream, user) = &senders[usize::try_from(message)? % senders.len()];
        let mut stream: &std::net::TcpStream = stream;
        let body = format!(
            r#"{{"content":"T={due:0DIGITS$}{padding}","channelId":"{channel}","authorId":"{user}"}}"#
        );
        let text = format!(
            "SEND\ndestination:/pub/messages\nreceipt:{message}\ncontent-length:{}\n\n{body}\0",
            body.len()
        );
        frame.clear();
        text_frame(text.as_bytes(), &mut frame);
        let mut rest = frame.as_slice();
        while !rest.is_empty() {
            match stream.write(rest) {
                Ok(written) => rest = &rest[written..],
                Err(error)
                    if error.kind() == ErrorKind::WouldBlock
                        && Instant::now() < schedule.deadline =>
                {
                    std::thread::sleep(Duration::from_micros(200));
                }
                Err(error) => return Err(error.into()),
            }
        }
    }
    Ok(lag)
}

/// The result of one task of a run.
pub(super) enum Part {
    Received(Received),
    Confirmed(Times),
}

pub(super) async fn run(args: &Args, api: &Api, users: &[User], rate: u64) -> Outcome<Report> {
    // The floor knows no users.
    let (mut channel, mut tokens) = (
        uuid::Uuid::new_v4().to_string(),
        vec![String::new(); args.senders],
    );
    if !args.floor {
        channel = api.channel().await?;
        tokens.clear();
    }
    for user in users {
        tokens.push(api.token(&user.name, PASSWORD).await?);
    }
    let mut listening = Vec::with_capacity(args.subscribers);
    for number in 0..args.subscribers {
        let mut connection = Connection::open(args.first(), &tokens[number % tokens.len()]).await?;
        // The id that stompjs gives a first subscription.
        let subscribe = format!(
            "SUBSCRIBE\nid:sub-0\ndestination:/sub/channels.{channel}.messages\nreceipt:sub-0\n\n\0"
        );
        connection.ask(&subscribe, b"RECEIPT\n").await?;
        listening.push(connection);
    }
    let (mut sending, mut writing) = (Vec::new(), Vec::new());
    for (number, token) in tokens.iter().enumerate().take(args.senders) {
        let mut connection = Connection::open(args.last(), token).await?;
        let stream = connection.stream.into_std()?;
        let user = users
            .get(number)
            .map_or_else(String::new, |user| user.id.clone());
        writing.push((stream.try_clone()?, user));
        connection.stream = TcpStream::from_std(stream)?;
        sending.push(connection);
    }
    wait_for_quiet(args).await;

    let schedule = Arc::new(Schedule::new(args, rate));
    let deadline = schedule.deadline.into();
    let mut parts = JoinSet::new();
    for mut connection in listening {
        let (schedule, mut received) = (schedule.clone(), Received::new(&schedule));
        parts.spawn(async move {
            let ended = timeout_at(deadline, received.listen(&mut connection, &schedule)).await;
            (Part::Received(received), ended.unwrap_or(Ok(())))
        });
    }
    for (number, mut connection) in (0..).zip(sending) {
        let senders = args.senders as u64;
        let share = schedule.total / senders + u64::from(schedule.total % senders > number);
        let (schedule, mut times) = (schedule.clone(), Times::with_capacity(share));
        parts.spawn(async move {
            let ended = timeout_at(
                deadline,
                confirm(&mut connection, &schedule, share, &mut times),
            )
            .await;
            (Part::Confirmed(times), ended.unwrap_or(Ok(())))
        });
    }
    let clock = schedule.clone();
    let sender = std::thread::spawn(move || send(&clock, &channel, &writing));

    sleep_until(schedule.instant(schedule.window.start).into()).await;
    let before = Usage::now(args)?;
    sleep_until(schedule.instant(schedule.window.end).into()).await;
    let after = Usage::now(args)?;
    let mut report = Report::new(args, rate, after.since(&before));
    while let Some(part) = parts.join_next().await {
        let (part, ended) = part?;
        report.add(part, &schedule);
        report.trouble = report.trouble.take().or_else(|| ended.err());
    }
    match sender.join().map_err(|_| "the sending thread panicked")? {
        Ok(lag) => report.lag = lag,
        Err(failure) => report.trouble = Some(failure),
    }
    report.sort();
    Ok(report)
}
