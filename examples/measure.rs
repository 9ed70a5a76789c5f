//! Measures running nodes as clients see them: `dev/measure` starts what it needs and calls it.
//!
//! Senders post messages to one channel by a schedule that is fixed beforehand, whether or not the nodes keep up (an open
//! loop); each message carries the moment it should have been sent at, and every time is taken from that moment. So a late
//! driver or a full socket makes the result worse, never better. Subscribers check the positions they get, without which a
//! fast result means nothing.
//!
//! One thread reads everything; a second one only keeps the schedule, since tokio's timers count whole milliseconds.

use std::{
    error::Error,
    fmt,
    io::{ErrorKind, Write as _},
    ops::Range,
    process::ExitCode,
    sync::Arc,
    time::{Duration, Instant},
};

use reqwest::{Client, multipart};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::JoinSet,
    time::{sleep, sleep_until, timeout, timeout_at},
};

type Failure = Box<dyn Error + Send + Sync>;
type Outcome<T> = Result<T, Failure>;

const USAGE: &str = "measure --at ADDRESS[,ADDRESS] [flags], with ADMIN_USERNAME and ADMIN_PASSWORD in the environment
  --at A[,B]         nodes: subscribers at the first, senders at the last
  --subscribers N    connections that follow the channel (100)
  --senders N        connections that post to it (10)
  --rate N           messages a second in all (1000)
  --seconds N        measured (20)
  --warm-up N        seconds before that, at the same rate (5)
  --ramp             look for the highest rate with a p99 of 100 ms at most, from --rate upwards
  --node-pids P,…    whose processor time and memory to report
  --store-pids P,…   processes beside the nodes, with their children, that are not noise
  --quiet-within N   wait up to N seconds for an idle machine before each run (0)
  --label TEXT       first column
  --head             print the head of the table";

/// Subscribers of one account. A node takes 20 connections by default, and those of the run before may just be ending.
const SUBSCRIBERS_OF_A_USER: usize = 10;
const PASSWORD: &str = "measure-password";
/// What a message's text begins with, before 19 digits: nanoseconds on the driver's clock.
const MARKER: &[u8] = b"\"content\":\"T=";
const DIGITS: usize = 19;
/// Length of a message's text.
const TEXT: usize = 200;
/// Messages may arrive this long after the last one was due; then they are lost.
const GRACE: Duration = Duration::from_secs(10);
/// The goal of `--ramp`.
const MOST_P99: Duration = Duration::from_millis(100);
/// Other programs' share of a core: at most this much to begin, and during a run, for it to be quiet.
const QUIET: (f64, f64) = (0.06, 0.15);

/// What the command line says.
struct Args {
    at: Vec<String>,
    subscribers: usize,
    senders: usize,
    rate: u64,
    seconds: u64,
    warm_up: u64,
    ramp: bool,
    node_pids: Vec<u32>,
    store_pids: Vec<u32>,
    quiet_within: u64,
    label: String,
    head: bool,
}

impl Args {
    fn parse(mut words: impl Iterator<Item = String>) -> Outcome<Self> {
        let mut args = Self {
            at: Vec::new(),
            subscribers: 100,
            senders: 10,
            rate: 1_000,
            seconds: 20,
            warm_up: 5,
            ramp: false,
            node_pids: Vec::new(),
            store_pids: Vec::new(),
            quiet_within: 0,
            label: String::new(),
            head: false,
        };
        while let Some(flag) = words.next() {
            let mut value = || words.next().ok_or_else(|| format!("{flag} needs a value"));
            match flag.as_str() {
                "--at" => args.at = value()?.split(',').map(str::to_owned).collect(),
                "--subscribers" => args.subscribers = value()?.parse()?,
                "--senders" => args.senders = value()?.parse()?,
                "--rate" => args.rate = value()?.parse()?,
                "--seconds" => args.seconds = value()?.parse()?,
                "--warm-up" => args.warm_up = value()?.parse()?,
                "--node-pids" => args.node_pids = numbers(&value()?)?,
                "--store-pids" => args.store_pids = numbers(&value()?)?,
                "--quiet-within" => args.quiet_within = value()?.parse()?,
                "--label" => args.label = value()?,
                "--ramp" => args.ramp = true,
                "--head" => args.head = true,
                _ => return Err(format!("there is no flag {flag}").into()),
            }
        }
        if args.at.is_empty()
            || args.subscribers * args.senders == 0
            || args.rate * args.seconds == 0
        {
            return Err("--at is missing, or a number is 0".into());
        }
        Ok(args)
    }

    fn first(&self) -> &str {
        &self.at[0]
    }

    fn last(&self) -> &str {
        &self.at[self.at.len() - 1]
    }
}

fn numbers(text: &str) -> Outcome<Vec<u32>> {
    Ok(text
        .split(',')
        .filter(|number| !number.is_empty())
        .map(str::parse)
        .collect::<Result<_, _>>()?)
}

fn main() -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let result = Args::parse(std::env::args().skip(1))
        .map_err(|mistake| format!("{mistake}\n{USAGE}").into());
    match result.and_then(|args| runtime?.block_on(measure(&args))) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            say(&format!("measure: {failure}"));
            ExitCode::FAILURE
        }
    }
}

#[expect(clippy::print_stderr, reason = "a program for the terminal")]
fn say(line: &str) {
    eprintln!("{line}");
}

#[expect(clippy::print_stdout, reason = "a program for the terminal")]
fn print(line: &impl fmt::Display) {
    println!("{line}");
}

async fn measure(args: &Args) -> Outcome<()> {
    let api = Api::new(args.first())?;
    let users = api.sign_up(users_needed(args)).await?;
    if args.head {
        print(&HEAD);
    }
    if !args.ramp {
        let report = run(args, &api, &users, args.rate).await?;
        print(&report);
        return if report.is_void() {
            Err("a message was lost, doubled or out of order".into())
        } else {
            Ok(())
        };
    }
    // Doubled until it fails, then halved in between: the answer is exact to a tenth.
    let (mut good, mut bad) = (0, None);
    let mut rate = args.rate;
    loop {
        // Noise fails a step, but never passes one.
        let mut passed = false;
        for _ in 0..2 {
            let report = run(args, &api, &users, rate).await?;
            print(&report);
            passed = report.holds();
            if passed {
                break;
            }
        }
        if passed {
            good = rate;
        } else {
            bad = Some(rate);
        }
        rate = match bad {
            None => rate * 2,
            Some(bad) if bad - good > good / 10 && good > 0 => good.midpoint(bad),
            Some(_) => break,
        };
    }
    say(&format!(
        "{}: the highest rate that holds is {good} messages/s",
        args.label
    ));
    Ok(())
}

fn users_needed(args: &Args) -> usize {
    args.senders
        .max(args.subscribers.div_ceil(SUBSCRIBERS_OF_A_USER))
}

// ---- accounts and channels ---------------------------------------------------------------------------------------------

struct Api {
    http: Client,
    base: String,
}

struct User {
    name: String,
    id: String,
}

#[expect(
    clippy::disallowed_methods,
    reason = "secrets do not belong on a command line"
)]
fn environment(name: &str) -> Outcome<String> {
    std::env::var(name).map_err(|_| format!("{name} is not set").into())
}

impl Api {
    fn new(address: &str) -> Outcome<Self> {
        Ok(Self {
            http: Client::builder()
                .no_proxy()
                // A run is longer than a node keeps an idle connection.
                .pool_max_idle_per_host(0)
                .build()?,
            base: format!("http://{address}/api"),
        })
    }

    async fn answer(request: reqwest::RequestBuilder) -> Outcome<Value> {
        let response = request.send().await?;
        let status = response.status();
        let text = response.text().await?;
        if status.is_success() {
            Ok(serde_json::from_str(&text)?)
        } else {
            Err(format!("{status}: {text}").into())
        }
    }

    async fn sign_up(&self, how_many: usize) -> Outcome<Vec<User>> {
        let mut users = Vec::with_capacity(how_many);
        for _ in 0..how_many {
            let name = format!("m{:x}", uuid::Uuid::new_v4().as_u64_pair().0);
            let body = json!({ "username": name, "email": format!("{name}@example.org"), "password": PASSWORD });
            let part = multipart::Part::text(body.to_string()).mime_str("application/json")?;
            let form = multipart::Form::new().part("userCreateRequest", part);
            let user = Self::answer(
                self.http
                    .post(format!("{}/users", self.base))
                    .multipart(form),
            )
            .await?;
            let id = user["id"].as_str().ok_or("a user has an id")?.to_owned();
            users.push(User { name, id });
        }
        Ok(users)
    }

    async fn token(&self, username: &str, password: &str) -> Outcome<String> {
        let body = json!({ "username": username, "password": password });
        let token = Self::answer(
            self.http
                .post(format!("{}/auth/login", self.base))
                .json(&body),
        )
        .await?;
        Ok(token
            .as_str()
            .ok_or("a login answers with a token")?
            .to_owned())
    }

    async fn channel(&self) -> Outcome<String> {
        let token = self
            .token(
                &environment("ADMIN_USERNAME")?,
                &environment("ADMIN_PASSWORD")?,
            )
            .await?;
        let request = self
            .http
            .post(format!("{}/channels/public", self.base))
            .bearer_auth(token);
        let channel =
            Self::answer(request.json(&json!({ "name": "measure", "description": "" }))).await?;
        Ok(channel["id"]
            .as_str()
            .ok_or("a channel has an id")?
            .to_owned())
    }
}

// ---- a STOMP client that costs little ----------------------------------------------------------------------------------

/// Appends a WebSocket text frame, masked with zeros: RFC 6455 wants a mask, not an unknown one from a benchmark.
fn text_frame(text: &[u8], out: &mut Vec<u8>) {
    out.push(0x81);
    match (u8::try_from(text.len()), u16::try_from(text.len())) {
        (Ok(short @ ..=125), _) => out.push(0x80 + short),
        (_, Ok(long)) => {
            out.push(0x80 + 126);
            out.extend_from_slice(&long.to_be_bytes());
        }
        _ => panic!("no frame of ours is that long"),
    }
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(text);
}

/// A connection and what has been read from it.
struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
    /// Read, and not looked at yet.
    unread: Range<usize>,
}

impl Connection {
    async fn open(address: &str, token: &str) -> Outcome<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let mut connection = Self {
            stream,
            buffer: vec![0; 16 * 1024],
            unread: 0..0,
        };
        let upgrade = format!(
            "GET /ws/websocket HTTP/1.1\r\nHost: {address}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: bWVhc3VyZSBtZWFzdXJlIQ==\r\nSec-WebSocket-Protocol: v12.stomp\r\n\r\n"
        );
        connection.stream.write_all(upgrade.as_bytes()).await?;
        let head = loop {
            connection.read().await?;
            let read = &connection.buffer[connection.unread.clone()];
            if let Some(end) = read.windows(4).position(|window| window == b"\r\n\r\n") {
                break end + 4;
            }
        };
        if !connection.buffer.starts_with(b"HTTP/1.1 101 ") {
            return Err(String::from_utf8_lossy(&connection.buffer[..head]).into());
        }
        connection.unread.start += head;
        let connect = format!(
            "CONNECT\naccept-version:1.2\nhost:measure\nheart-beat:0,0\nAuthorization:Bearer {token}\n\n\0"
        );
        connection.ask(&connect, b"CONNECTED\n").await?;
        Ok(connection)
    }

    /// Sends a frame and waits for its answer.
    async fn ask(&mut self, text: &str, answer: &[u8]) -> Outcome<()> {
        let mut frame = Vec::new();
        text_frame(text.as_bytes(), &mut frame);
        self.stream.write_all(&frame).await?;
        loop {
            if let Some(payload) = self.next()? {
                let payload = &self.buffer[payload];
                return if payload.starts_with(answer) {
                    Ok(())
                } else {
                    Err(String::from_utf8_lossy(payload).into())
                };
            }
            timeout(GRACE, self.read()).await??;
        }
    }

    /// Reads what is there.
    async fn read(&mut self) -> Outcome<()> {
        self.buffer.copy_within(self.unread.clone(), 0);
        self.unread = 0..self.unread.len();
        if self.unread.end == self.buffer.len() {
            self.buffer.resize(2 * self.buffer.len(), 0);
        }
        // Not `try_read`: this one knows that a buffer which was not filled has emptied the socket, and saves a system call.
        match self
            .stream
            .read(&mut self.buffer[self.unread.end..])
            .await?
        {
            0 => Err("the node has closed a connection".into()),
            read => {
                self.unread.end += read;
                Ok(())
            }
        }
    }

    /// Where in the buffer the next text is, if all of it has been read.
    fn next(&mut self) -> Outcome<Option<Range<usize>>> {
        loop {
            let start = self.unread.start;
            let read = &self.buffer[self.unread.clone()];
            let (head, length) = match *read {
                [_, length @ ..=125, ..] => (2, usize::from(length)),
                [_, 126, high, low, ..] => (4, usize::from(u16::from_be_bytes([high, low]))),
                [_, 127, ..] => return Err("a frame of more than 64 KiB".into()),
                _ => return Ok(None),
            };
            if read.len() < head + length {
                return Ok(None);
            }
            let opcode = read[0];
            self.unread.start += head + length;
            let payload = start + head..start + head + length;
            match opcode {
                0x81 if self.buffer[payload.clone()] == *b"\n" => {}
                0x81 => return Ok(Some(payload)),
                _ => {
                    let text = String::from_utf8_lossy(&self.buffer[payload]).into_owned();
                    return Err(format!("a frame of kind {opcode:#x}: {text}").into());
                }
            }
        }
    }
}

/// Where `needle` ends. Frames look much alike, so the place where it was last time is tried first.
fn behind(needle: &[u8], hay: &[u8], hint: &mut usize) -> Option<usize> {
    if hay
        .get(*hint..)
        .is_none_or(|rest| !rest.starts_with(needle))
    {
        *hint = hay
            .windows(needle.len())
            .position(|window| window == needle)?;
    }
    Some(*hint + needle.len())
}

/// The number that begins there.
fn number(octets: &[u8]) -> u64 {
    let digits = octets
        .iter()
        .map_while(|octet| octet.checked_sub(b'0').filter(|digit| *digit < 10));
    digits.fold(0, |number, digit| number * 10 + u64::from(digit))
}

// ---- one run -----------------------------------------------------------------------------------------------------------

/// The schedule.
struct Schedule {
    /// Of all times in messages.
    base: Instant,
    /// When the first message is due, in nanoseconds behind the base, like all that follow.
    begin: u64,
    rate: u64,
    total: u64,
    window: Range<u64>,
    deadline: Instant,
}

impl Schedule {
    fn new(args: &Args, rate: u64) -> Self {
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

    fn due(&self, message: u64) -> u64 {
        self.begin + message * 1_000_000_000 / self.rate
    }

    fn instant(&self, ns: u64) -> Instant {
        self.base + Duration::from_nanos(ns)
    }

    fn now(&self) -> u64 {
        u64::try_from(self.base.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }
}

/// Times in microseconds.
#[derive(Default)]
struct Times {
    of_window: Vec<u32>,
    /// How many events fell into the window, whenever they were due.
    in_window: u64,
}

impl Times {
    fn with_capacity(expected: u64) -> Self {
        Self {
            of_window: Vec::with_capacity(usize::try_from(expected).unwrap_or(0)),
            in_window: 0,
        }
    }

    fn add(&mut self, schedule: &Schedule, due: u64, now: u64) {
        self.in_window += u64::from(schedule.window.contains(&now));
        if schedule.window.contains(&due) {
            self.of_window
                .push(u32::try_from(now.saturating_sub(due) / 1_000).unwrap_or(u32::MAX));
        }
    }

    fn append(&mut self, mut other: Self) {
        self.of_window.append(&mut other.of_window);
        self.in_window += other.in_window;
    }

    /// The exact percentile in milliseconds; sort first.
    fn percentile(&self, per_mille: usize) -> f64 {
        let rank = (self.of_window.len() * per_mille).div_ceil(1_000).max(1);
        self.of_window
            .get(rank - 1)
            .map_or(f64::NAN, |us| f64::from(*us) / 1_000.0)
    }
}

/// What a subscriber got.
struct Heard {
    times: Times,
    seen: Vec<bool>,
    newest: usize,
    distinct: u64,
    twice: u64,
    disordered: u64,
}

impl Heard {
    fn new(schedule: &Schedule) -> Self {
        Self {
            times: Times::with_capacity(
                schedule.rate * (schedule.window.end - schedule.window.start) / 1_000_000_000,
            ),
            seen: vec![false; usize::try_from(schedule.total).unwrap_or(0) + 1],
            newest: 0,
            distinct: 0,
            twice: 0,
            disordered: 0,
        }
    }

    async fn listen(&mut self, connection: &mut Connection, schedule: &Schedule) -> Outcome<()> {
        let (mut marker_at, mut seq_at) = (0, 0);
        while self.distinct < schedule.total {
            connection.read().await?;
            let now = schedule.now();
            while let Some(payload) = connection.next()? {
                let frame = &connection.buffer[payload];
                let marker = behind(MARKER, frame, &mut marker_at);
                let seq = behind(b"\"seq\":", frame, &mut seq_at);
                let (Some(marker), Some(seq), true) =
                    (marker, seq, frame.starts_with(b"MESSAGE\n"))
                else {
                    return Err(String::from_utf8_lossy(frame).into());
                };
                let seq = usize::try_from(number(&frame[seq..]))?;
                let seen = self
                    .seen
                    .get_mut(seq)
                    .ok_or("a position that was not given")?;
                self.twice += u64::from(*seen);
                self.distinct += u64::from(!*seen);
                self.disordered += u64::from(seq < self.newest && !*seen);
                *seen = true;
                self.newest = self.newest.max(seq);
                self.times.add(schedule, number(&frame[marker..]), now);
            }
        }
        Ok(())
    }
}

/// Reads a sender's receipts.
async fn confirm(
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

/// Sends every message when it is due, each on the next connection. The sockets do not block, their other half being read
/// by tokio: one that takes nothing is tried again, and holds up the rest. Returns how late each was.
#[expect(clippy::disallowed_methods, reason = "a thread of its own")]
fn send(
    schedule: &Schedule,
    channel: &str,
    senders: &[(std::net::TcpStream, String)],
) -> Outcome<Times> {
    let padding = "x".repeat(TEXT - DIGITS - 2);
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

/// Something a task of a run returns.
enum Part {
    Heard(Heard),
    Confirmed(Times),
}

async fn run(args: &Args, api: &Api, users: &[User], rate: u64) -> Outcome<Report> {
    let channel = api.channel().await?;
    let mut tokens = Vec::with_capacity(users.len());
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
    for number in 0..args.senders {
        let mut connection = Connection::open(args.last(), &tokens[number]).await?;
        let stream = connection.stream.into_std()?;
        writing.push((stream.try_clone()?, users[number].id.clone()));
        connection.stream = TcpStream::from_std(stream)?;
        sending.push(connection);
    }
    wait_for_quiet(args).await;

    let schedule = Arc::new(Schedule::new(args, rate));
    let deadline = schedule.deadline.into();
    let mut parts = JoinSet::new();
    for mut connection in listening {
        let (schedule, mut heard) = (schedule.clone(), Heard::new(&schedule));
        parts.spawn(async move {
            let ended = timeout_at(deadline, heard.listen(&mut connection, &schedule)).await;
            (Part::Heard(heard), ended.unwrap_or(Ok(())))
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

// ---- processor time and memory -----------------------------------------------------------------------------------------

/// Processor time in seconds, and memory, at a moment or of the time between two.
struct Usage {
    at: Instant,
    machine: f64,
    nodes: f64,
    stores: f64,
    driver: f64,
    nodes_mib: f64,
}

/// The kernel counts time for user space in hundredths of a second on every platform that Linux runs tokio on.
const TICKS: f64 = 100.0;

impl Usage {
    fn now(args: &Args) -> Outcome<Self> {
        let stat = std::fs::read_to_string("/proc/stat")?;
        let fields = stat
            .lines()
            .next()
            .unwrap_or_default()
            .split_whitespace()
            .skip(1)
            .take(8);
        let fields: Vec<f64> = fields.map(str::parse).collect::<Result<_, _>>()?;
        // All but idle and iowait; what the hypervisor takes away (steal) is noise, too.
        let busy: f64 = fields
            .iter()
            .enumerate()
            .filter(|(field, _)| ![3, 4].contains(field))
            .map(|(_, ticks)| ticks)
            .sum();
        let nodes_kib: f64 = args.node_pids.iter().map(|pid| resident_kib(*pid)).sum();
        Ok(Self {
            at: Instant::now(),
            machine: busy / TICKS,
            nodes: args
                .node_pids
                .iter()
                .map(|pid| process(*pid).map_or(0.0, |(_, time)| time))
                .sum(),
            stores: family(&args.store_pids)?,
            driver: process(std::process::id()).map_or(0.0, |(_, time)| time),
            nodes_mib: nodes_kib / 1_024.0,
        })
    }

    /// In seconds, but the memory as it is at the end.
    fn since(&self, before: &Self) -> Self {
        Self {
            at: self.at,
            machine: self.machine - before.machine,
            nodes: self.nodes - before.nodes,
            stores: self.stores - before.stores,
            driver: self.driver - before.driver,
            nodes_mib: self.nodes_mib,
        }
    }

    fn others(&self) -> f64 {
        self.machine - self.nodes - self.stores - self.driver
    }
}

/// A process's parent and processor time.
fn process(pid: u32) -> Option<(u32, f64)> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // Behind the program's name, which may hold anything.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks: f64 = fields.get(11)?.parse::<f64>().ok()? + fields.get(12)?.parse::<f64>().ok()?;
    Some((fields.get(1)?.parse().ok()?, ticks / TICKS))
}

/// The processor time of these processes and their children: PostgreSQL works in children.
fn family(parents: &[u32]) -> Outcome<f64> {
    let mut time = 0.0;
    for entry in std::fs::read_dir("/proc")? {
        let Some(pid) = entry?
            .file_name()
            .to_str()
            .and_then(|name| name.parse().ok())
        else {
            continue;
        };
        if let Some((parent, of_process)) = process(pid)
            && (parents.contains(&pid) || parents.contains(&parent))
        {
            time += of_process;
        }
    }
    Ok(time)
}

fn resident_kib(pid: u32) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok())
        .unwrap_or(f64::NAN)
}

async fn wait_for_quiet(args: &Args) {
    const LOOK: Duration = Duration::from_millis(400);
    let give_up = Instant::now() + Duration::from_secs(args.quiet_within);
    while Instant::now() < give_up {
        let Ok(before) = Usage::now(args) else { return };
        sleep(LOOK).await;
        if Usage::now(args)
            .is_ok_and(|after| after.since(&before).others() < QUIET.0 * LOOK.as_secs_f64())
        {
            return;
        }
    }
}

// ---- the result --------------------------------------------------------------------------------------------------------

struct Report {
    label: String,
    rate: u64,
    seconds: f64,
    delivered: Times,
    confirmed: Times,
    lag: Times,
    lost: u64,
    twice: u64,
    disordered: u64,
    usage: Usage,
    trouble: Option<Failure>,
}

impl Report {
    fn new(args: &Args, rate: u64, usage: Usage) -> Self {
        Self {
            label: args.label.clone(),
            rate,
            seconds: Duration::from_secs(args.seconds).as_secs_f64(),
            delivered: Times::default(),
            confirmed: Times::default(),
            lag: Times::default(),
            lost: 0,
            twice: 0,
            disordered: 0,
            usage,
            trouble: None,
        }
    }

    fn add(&mut self, part: Part, schedule: &Schedule) {
        match part {
            Part::Heard(heard) => {
                self.lost += schedule.total - heard.distinct;
                self.twice += heard.twice;
                self.disordered += heard.disordered;
                self.delivered.append(heard.times);
            }
            Part::Confirmed(times) => self.confirmed.append(times),
        }
    }

    fn sort(&mut self) {
        for times in [&mut self.delivered, &mut self.confirmed, &mut self.lag] {
            times.of_window.sort_unstable();
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "counts of a few million")]
    fn per_second(&self, times: &Times) -> f64 {
        times.in_window as f64 / self.seconds
    }

    /// Wrong, however fast.
    fn is_void(&self) -> bool {
        self.lost + self.twice + self.disordered > 0 || self.trouble.is_some()
    }

    /// The driver's own lateness is too much of the result.
    fn is_drivers(&self) -> bool {
        self.lag.percentile(990) > 0.1 * self.delivered.percentile(990)
    }

    /// Whether the nodes keep up with that rate.
    fn holds(&self) -> bool {
        !self.is_void() && self.delivered.percentile(990) <= MOST_P99.as_secs_f64() * 1_000.0
    }

    fn verdict(&self) -> String {
        let mut words = Vec::new();
        if self.is_void() {
            words.push(format!(
                "VOID: {} lost, {} twice, {} out of order",
                self.lost, self.twice, self.disordered
            ));
        }
        if let Some(trouble) = &self.trouble {
            words.push(trouble.to_string().trim().replace('\n', " "));
        }
        if self.is_drivers() {
            words.push(format!(
                "driver late: p99 {:.1} ms",
                self.lag.percentile(990)
            ));
        }
        if self.usage.others() > QUIET.1 * self.seconds {
            words.push("noisy".to_owned());
        }
        if words.is_empty() {
            "ok".to_owned()
        } else {
            words.join("; ")
        }
    }
}

const HEAD: &str = concat!(
    "                     messages/s                   ms from due to MESSAGE            to RECEIPT      nodes           cores used by\n",
    "                        due   done deliveries/s     p50    p90    p99    max      p50    p99   µs/del.   MiB      nodes stores driver others",
);

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (usage, of) = (&self.usage, Times::percentile);
        let delivered = self.per_second(&self.delivered);
        write!(
            f,
            "{:<20} {:>6} {:>6.0} {delivered:>12.0} ",
            self.label,
            self.rate,
            self.per_second(&self.confirmed)
        )?;
        let latency = [500, 900, 990, 1_000].map(|q| of(&self.delivered, q));
        write!(
            f,
            " {:>6.1} {:>6.1} {:>6.1} {:>6.0}",
            latency[0], latency[1], latency[2], latency[3]
        )?;
        write!(
            f,
            "   {:>6.1} {:>6.1}",
            of(&self.confirmed, 500),
            of(&self.confirmed, 990)
        )?;
        let (cost, share) = (
            usage.nodes * 1e6 / (delivered * self.seconds),
            |time: f64| time / self.seconds,
        );
        write!(f, "   {cost:>6.2} {:>6.0}   ", usage.nodes_mib)?;
        for time in [usage.nodes, usage.stores, usage.driver, usage.others()] {
            write!(f, " {:>6.2}", share(time))?;
        }
        write!(f, "  {}", self.verdict())
    }
}
