//! Clients that send as fast as they can. A node reads from each at a bounded rate, and serves the others meanwhile.

use std::time::Duration;

use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::Instant,
};

use crate::support::{Cluster, Stomp};

/// Each flood lasts this long.
const FLOOD: Duration = Duration::from_secs(2);
/// What the kernels of both sides may hold, and what a node reads at once before it slows down.
const BUFFERS: usize = 8 * 1024 * 1024;

/// Interval between two messages of the other client. It must stay below the rate, or its messages wait for that.
const PACE: Duration = Duration::from_millis(60);
/// The default rate, which also bounds what a node reads.
const RATE: (&str, &str) = ("MESSAGE_RATE", "20");

/// Opens a WebSocket without a STOMP session.
async fn open(address: &str) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.expect("it listens");
    let handshake = format!(
        "GET /ws/websocket HTTP/1.1\r\nHost: {address}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    );
    stream
        .write_all(handshake.as_bytes())
        .await
        .expect("written");
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.expect("an answer"));
    }
    assert!(head.starts_with(b"HTTP/1.1 101"));
    stream
}

/// A masked frame whose mask is zero.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let length = u8::try_from(payload.len()).expect("a short payload");
    [&[first, 0x80 | length, 0, 0, 0, 0], payload].concat()
}

/// Opens a SockJS session and returns a connection to its node, with the address of the session.
async fn open_session(address: &str) -> (TcpStream, String) {
    let session = format!("/ws/000/{}", uuid::Uuid::new_v4().simple());
    let mut stream = TcpStream::connect(address).await.expect("it listens");
    let open = post(address, &format!("{session}/xhr"), "");
    stream.write_all(&open).await.expect("written");
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\no\n") && !answer.ends_with(b"\r\no\n\r\n0\r\n\r\n") {
        answer.push(stream.read_u8().await.expect("an answer"));
    }
    (stream, session)
}

fn post(address: &str, path: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!("POST {path} HTTP/1.1\r\nHost: {address}\r\nContent-Length: {length}\r\n\r\n{body}")
        .into_bytes()
}

/// What a stranger sends.
struct Flood {
    stream: TcpStream,
    /// Sent once.
    start: Vec<u8>,
    /// Sent again and again.
    unit: Vec<u8>,
    /// Bytes of one write.
    write: usize,
}

impl Flood {
    async fn frames(address: &str, start: &[u8], unit: Vec<u8>) -> Self {
        Self {
            stream: open(address).await,
            start: start.to_vec(),
            unit,
            write: 64 * 1024,
        }
    }
}

/// Sends the flood, and returns the number of bytes that the connection took.
async fn flood(flood: Flood) -> usize {
    let Flood {
        mut stream,
        start,
        unit,
        write,
    } = flood;
    stream.set_nodelay(true).expect("an open socket");
    let many = unit.repeat((64 * 1024 / unit.len()).max(1));
    let mut parts = many.chunks(write).cycle();
    let (mut from, mut to) = stream.split();
    let write = async {
        let mut written = 0;
        let deadline = Instant::now() + FLOOD;
        if to.write_all(&start).await.is_err() {
            return written;
        }
        while Instant::now() < deadline
            && let Some(part) = parts.next()
            && let Ok(Ok(())) = tokio::time::timeout_at(deadline, to.write_all(part)).await
        {
            written += part.len();
        }
        written
    };
    // Takes the pongs.
    let read = async {
        let mut buffer = vec![0; 64 * 1024];
        while from.read(&mut buffer).await.is_ok_and(|read| read > 0) {}
        std::future::pending::<usize>().await
    };
    tokio::select! {
        written = write => written,
        never = read => never,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[expect(clippy::print_stdout, reason = "prints what it measures")]
async fn a_stranger_that_floods_a_node_slows_down_only_itself() {
    let cluster = Cluster::start_with(1, &[RATE]).await;
    let channel = cluster.channel().await;
    let (ann, address) = (cluster.user(0, "ann").await, cluster.address(0));
    let mut stomp = Stomp::connect(&ann).await;
    stomp.subscribe(&channel).await;
    let start_of_text = frame(0x01, b"\n");
    let frames = async |start: &[u8], unit| Some(Flood::frames(&address, start, unit).await);
    for name in [
        "nothing",
        "pong",
        "ping",
        "empty text",
        "empty fragment",
        "fragment of one byte",
        "heart-beat",
        "half frame",
        "xhr_send",
    ] {
        let kind = match name {
            "pong" => frames(b"", frame(0x8a, b"")).await,
            "ping" => frames(b"", frame(0x89, &[b'x'; 125])).await,
            "empty text" => frames(b"", frame(0x81, b"")).await,
            "empty fragment" => frames(&start_of_text, frame(0x00, b"")).await,
            "fragment of one byte" => frames(&start_of_text, frame(0x00, b"\n")).await,
            "heart-beat" => frames(b"", frame(0x81, &[b'\n'; 125])).await,
            "half frame" => {
                let whole = frames(b"", frame(0x81, b"\n")).await;
                whole.map(|whole| Flood { write: 1, ..whole })
            }
            "xhr_send" => {
                let (stream, session) = open_session(&address).await;
                Some(Flood {
                    stream,
                    start: Vec::new(),
                    unit: post(&address, &format!("{session}/xhr_send"), r#"["\n"]"#),
                    write: 64 * 1024,
                })
            }
            _ => None,
        };
        let flooding = tokio::spawn(async move {
            if let Some(kind) = kind {
                return flood(kind).await;
            }
            tokio::time::sleep(FLOOD).await;
            0
        });
        let mut latencies = Vec::new();
        while !flooding.is_finished() {
            let begun = Instant::now();
            stomp.say(&ann, &channel, name).await;
            assert_eq!(stomp.message().await["content"], name);
            latencies.push(begun.elapsed());
            tokio::time::sleep(PACE.saturating_sub(begun.elapsed())).await;
        }
        let taken = flooding.await.expect("no panic");
        latencies.sort_unstable();
        let p99 = latencies[latencies.len() * 99 / 100];
        println!(
            "{name}: {taken} bytes taken, {} messages of another client, p99 {p99:?}",
            latencies.len()
        );
        // The flood takes a turn of the node's workers, and no more. The tail depends on the machine's other work.
        let median = latencies[latencies.len() / 2];
        assert!(median < Duration::from_millis(50), "{name}: {median:?}");
        assert!(taken < BUFFERS, "{name}: {taken} bytes were taken");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_burst_of_sends_over_the_rate_arrives_late_and_whole() {
    const SENDS: usize = 60;
    let cluster = Cluster::start_with(1, &[RATE]).await;
    let channel = cluster.channel().await;
    let (ann, bob) = (cluster.user(0, "ann").await, cluster.user(0, "bob").await);
    let mut listener = Stomp::connect(&bob).await;
    listener.subscribe(&channel).await;
    let mut stomp = Stomp::connect(&ann).await;
    let begun = Instant::now();
    for number in 0..SENDS {
        stomp.say(&ann, &channel, &number.to_string()).await;
    }
    for number in 0..SENDS {
        assert_eq!(
            listener.message().await["content"],
            json!(number.to_string())
        );
    }
    // 20 a second, after a burst of 40.
    let took = begun.elapsed();
    assert!(took >= Duration::from_millis(950), "{took:?}");
}
