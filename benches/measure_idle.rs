//! Measures the memory that an idle connection costs a node. `dev/measure idle` starts a node and calls it.
//!
//! Opens connections like clients (signed in, connected, subscribed to one channel, heart-beats every 10 s in both directions),
//! lets them idle, sends one message to all of them, lets them idle again, and closes them. Memory is the node's resident set
//! from `/proc`, so it includes freed memory that the allocator keeps.

use std::{error::Error, net::Ipv6Addr, process::ExitCode, sync::Arc, time::Duration};

use futures_util::{SinkExt, StreamExt};
use reqwest::{Client, multipart};
use serde_json::{Value, json};
use tokio::{
    net::TcpStream,
    sync::{Semaphore, mpsc},
    task::JoinSet,
    time::{sleep, timeout},
};
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream,
    tungstenite::{Message, client::IntoClientRequest},
};

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;
type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

const USAGE: &str = "measure_idle --at ADDRESS --node-pid PID [--kind raw|sockjs|sse] [--connections N] [--rest SECONDS]
with ADMIN_USERNAME and ADMIN_PASSWORD in the environment";

/// Connections per user. A node allows 20 by default.
const CONNECTIONS_PER_USER: usize = 20;
const PASSWORD: &str = "measure-password";
/// Connections that are opened concurrently.
const MAX_OPENING: usize = 64;
const HEART_BEAT_INTERVAL: Duration = Duration::from_secs(10);
const TIMEOUT: Duration = Duration::from_secs(30);

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Raw,
    SockJs,
    Sse,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Raw => "WebSocket, STOMP, subscribed",
            Self::SockJs => "SockJS WebSocket, STOMP, subscribed",
            Self::Sse => "SSE stream",
        }
    }
}

struct Args {
    admin: (String, String),
    at: String,
    pid: u32,
    kind: Kind,
    connections: usize,
    rest: Duration,
}

impl Args {
    fn parse(mut words: impl Iterator<Item = String>) -> Outcome<Self> {
        let (mut at, mut pid) = (String::new(), 0);
        let (mut kind, mut connections, mut rest) = (Kind::Raw, 5_000, 15);
        while let Some(flag) = words.next() {
            let value = words
                .next()
                .ok_or_else(|| format!("{flag} needs a value"))?;
            match flag.as_str() {
                "--at" => at = value,
                "--node-pid" => pid = value.parse()?,
                "--connections" => connections = value.parse()?,
                "--rest" => rest = value.parse()?,
                "--kind" => {
                    kind = match value.as_str() {
                        "raw" => Kind::Raw,
                        "sockjs" => Kind::SockJs,
                        "sse" => Kind::Sse,
                        _ => return Err(format!("unknown kind {value}").into()),
                    }
                }
                _ => return Err(format!("unknown flag {flag}").into()),
            }
        }
        if at.is_empty() || pid == 0 || connections == 0 {
            return Err("--at or --node-pid is missing, or a number is 0".into());
        }
        Ok(Self {
            admin: (
                environment("ADMIN_USERNAME")?,
                environment("ADMIN_PASSWORD")?,
            ),
            at,
            pid,
            kind,
            connections,
            rest: Duration::from_secs(rest),
        })
    }
}

#[expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a program for the terminal"
)]
fn main() -> ExitCode {
    // `cargo bench` adds a flag for its own harness.
    let arguments = std::env::args().skip(1).filter(|word| word != "--bench");
    let args = match Args::parse(arguments) {
        Ok(args) => args,
        Err(error) => {
            eprintln!("{error}\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let result = runtime
        .map_err(Into::into)
        .and_then(|runtime| runtime.block_on(measure(&args)));
    match result {
        Ok(line) => {
            println!("{line}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "secrets do not belong on a command line"
)]
fn environment(name: &str) -> Outcome<String> {
    std::env::var(name).map_err(|_| format!("{name} is not set").into())
}

/// Resident memory of the node, in KiB.
fn resident(pid: u32) -> Outcome<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let number = line.and_then(|line| line.split_whitespace().next());
    Ok(number.ok_or("the process has no VmRSS")?.parse()?)
}

struct Api {
    http: Client,
    base: String,
}

impl Api {
    async fn sign_up_and_in(&self, name: &str) -> Outcome<String> {
        let user = json!({ "username": name, "email": format!("{name}@example.org"), "password": PASSWORD });
        let form = multipart::Form::new().text("userCreateRequest", user.to_string());
        let url = format!("{}/api/users", self.base);
        // An address for each user: sign-ups are limited by address.
        let address = Ipv6Addr::from(uuid::Uuid::new_v4().as_u128());
        self.http
            .post(url)
            .header("X-Forwarded-For", address.to_string())
            .multipart(form)
            .send()
            .await?
            .error_for_status()?;
        self.login(name, PASSWORD).await
    }

    async fn login(&self, name: &str, password: &str) -> Outcome<String> {
        let url = format!("{}/api/auth/login", self.base);
        let body = json!({ "username": name, "password": password });
        let answer = self.http.post(url).json(&body).send().await?;
        Ok(answer.error_for_status()?.json().await?)
    }

    /// Causes an event that every connection receives.
    async fn send_to_all(&self, kind: Kind, admin: &str, channel: &str) -> Outcome<()> {
        if kind == Kind::Sse {
            let body = json!({ "name": "news", "description": "" });
            self.post("/api/channels/public", admin, &body).await?;
            return Ok(());
        }
        let message = json!({ "content": "x".repeat(200), "channelId": channel, "authorId": user_of(admin)? });
        let form = multipart::Form::new().text("messageCreateRequest", message.to_string());
        let url = format!("{}/api/messages", self.base);
        let request = self.http.post(url).bearer_auth(admin).multipart(form);
        request.send().await?.error_for_status()?;
        Ok(())
    }

    async fn post(&self, path: &str, token: &str, body: &Value) -> Outcome<Value> {
        let url = format!("{}{path}", self.base);
        let request = self.http.post(url).bearer_auth(token).json(body);
        Ok(request.send().await?.error_for_status()?.json().await?)
    }
}

async fn measure(args: &Args) -> Outcome<String> {
    let api = Api {
        http: Client::builder().no_proxy().build()?,
        base: format!("http://{}", args.at),
    };
    let admin = api.login(&args.admin.0, &args.admin.1).await?;
    let body = json!({ "name": "idle", "description": "" });
    let channel = api.post("/api/channels/public", &admin, &body).await?["id"]
        .as_str()
        .ok_or("a channel has an id")?
        .to_owned();
    let mut tokens = Vec::new();
    for _ in 0..args.connections.div_ceil(CONNECTIONS_PER_USER) {
        let name = format!("idle-{}", uuid::Uuid::new_v4().simple());
        tokens.push(api.sign_up_and_in(&name).await?);
    }
    sleep(args.rest).await;
    let before = resident(args.pid)?;

    let (open, mut opened) = mpsc::channel(args.connections);
    let (received, mut receipts) = mpsc::channel(args.connections);
    let opening = Arc::new(Semaphore::new(MAX_OPENING));
    let mut clients = JoinSet::new();
    for number in 0..args.connections {
        let client = OneClient {
            at: args.at.clone(),
            kind: args.kind,
            token: tokens[number / CONNECTIONS_PER_USER].clone(),
            channel: channel.clone(),
            open: open.clone(),
            received: received.clone(),
        };
        clients.spawn(client.live(opening.clone()));
    }
    for _ in 0..args.connections {
        tokio::select! {
            _ = opened.recv() => {}
            Some(ended) = clients.join_next() => {
                ended??;
                return Err("a connection ended".into());
            }
        }
    }
    sleep(args.rest).await;
    let idle = resident(args.pid)?;

    api.send_to_all(args.kind, &admin, &channel).await?;
    for _ in 0..args.connections {
        timeout(TIMEOUT, receipts.recv())
            .await
            .map_err(|_| "not every connection received the event")?;
    }
    sleep(args.rest).await;
    let after = resident(args.pid)?;
    clients.shutdown().await;
    sleep(args.rest).await;
    let closed = resident(args.pid)?;

    #[expect(clippy::cast_precision_loss, reason = "some thousands")]
    let each = |now: u64| now.saturating_sub(before) as f64 / args.connections as f64;
    Ok(format!(
        "| {} | {} | {:.1} MiB | {:.1} KiB | {:.1} KiB | {:.1} MiB |",
        args.kind.name(),
        args.connections,
        mib(before),
        each(idle),
        each(after),
        mib(closed)
    ))
}

/// One connection, which reports when it is open and when it receives the event.
struct OneClient {
    at: String,
    kind: Kind,
    token: String,
    channel: String,
    open: mpsc::Sender<()>,
    received: mpsc::Sender<()>,
}

impl OneClient {
    async fn live(self, opening: Arc<Semaphore>) -> Outcome<()> {
        let permit = opening.acquire_owned().await?;
        if self.kind == Kind::Sse {
            let mut stream = stream(&self.at, &self.token).await?;
            self.open.send(()).await?;
            drop(permit);
            while let Some(piece) = stream.next().await {
                if String::from_utf8_lossy(&piece?).contains("channels.refresh") {
                    self.received.send(()).await?;
                }
            }
            return Ok(());
        }
        let mut socket = connect(&self.at, self.kind, &self.token, &self.channel).await?;
        self.open.send(()).await?;
        drop(permit);
        idle(&mut socket, self.kind, &self.received).await
    }
}

#[expect(clippy::cast_precision_loss, reason = "some thousands")]
fn mib(kib: u64) -> f64 {
    kib as f64 / 1024.0
}

/// The user that a token names.
fn user_of(token: &str) -> Outcome<String> {
    use base64::Engine;
    let payload = token.split('.').nth(1).ok_or("a JWT has three parts")?;
    let claims: Value =
        serde_json::from_slice(&base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(payload)?)?;
    Ok(claims["userDto"]["id"]
        .as_str()
        .ok_or("the token names a user")?
        .to_owned())
}

/// Opens an SSE stream. Each has its own HTTP client, because a pool would share connections.
async fn stream(
    at: &str,
    token: &str,
) -> Outcome<impl futures_util::Stream<Item = reqwest::Result<bytes::Bytes>> + use<>> {
    let url = format!("http://{at}/api/sse");
    let client = Client::builder().no_proxy().build()?;
    let request = client.get(url).bearer_auth(token).send();
    let mut stream = request.await?.error_for_status()?.bytes_stream();
    loop {
        let piece = timeout(TIMEOUT, stream.next())
            .await?
            .ok_or("the stream ended")??;
        if String::from_utf8_lossy(&piece).contains("event:sync") {
            return Ok(stream);
        }
    }
}

async fn connect(at: &str, kind: Kind, token: &str, channel: &str) -> Outcome<Socket> {
    let url = match kind {
        Kind::SockJs => format!(
            "ws://{at}/ws/000/{}/websocket",
            uuid::Uuid::new_v4().simple()
        ),
        _ => format!("ws://{at}/ws/websocket"),
    };
    let (mut socket, _) = tokio_tungstenite::connect_async(url.into_client_request()?).await?;
    let connect = format!(
        "CONNECT\naccept-version:1.2\nheart-beat:10000,10000\nAuthorization:Bearer {token}\n\n\0"
    );
    socket.send(wrapped(kind, &connect)).await?;
    expect(&mut socket, "CONNECTED").await?;
    let subscribe = format!(
        "SUBSCRIBE\nid:sub-0\ndestination:/sub/channels.{channel}.messages\nreceipt:r\n\n\0"
    );
    socket.send(wrapped(kind, &subscribe)).await?;
    expect(&mut socket, "RECEIPT").await?;
    Ok(socket)
}

fn wrapped(kind: Kind, frame: &str) -> Message {
    match kind {
        Kind::SockJs => Message::text(json!([frame]).to_string()),
        _ => Message::text(frame),
    }
}

async fn expect(socket: &mut Socket, command: &str) -> Outcome<()> {
    loop {
        let message = timeout(TIMEOUT, socket.next())
            .await?
            .ok_or("the node closed the connection")??;
        let text = message.into_text()?;
        if text.contains(command) {
            return Ok(());
        }
        if text.contains("ERROR") {
            return Err(text.as_str().into());
        }
    }
}

/// Sends heart-beats, and reports each message to `received`.
async fn idle(socket: &mut Socket, kind: Kind, received: &mpsc::Sender<()>) -> Outcome<()> {
    let mut beats = tokio::time::interval(HEART_BEAT_INTERVAL);
    loop {
        tokio::select! {
            _ = beats.tick() => socket.send(wrapped(kind, "\n")).await?,
            message = socket.next() => {
                let message = message.ok_or("the node closed the connection")??;
                if message.into_text()?.contains("MESSAGE") {
                    received.send(()).await?;
                }
            }
        }
    }
}
