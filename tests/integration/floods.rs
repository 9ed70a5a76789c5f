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

/// Writes `unit` again and again, and returns the number of bytes that the connection took.
async fn flood(mut stream: TcpStream, start: &[u8], unit: &[u8]) -> usize {
    let many = unit.repeat(64 * 1024 / unit.len());
    let (mut from, mut to) = stream.split();
    let write = async {
        let mut written = 0;
        let deadline = Instant::now() + FLOOD;
        if to.write_all(start).await.is_err() {
            return written;
        }
        while let Ok(Ok(())) = tokio::time::timeout_at(deadline, to.write_all(&many)).await {
            written += many.len();
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
    let kinds: [(&str, &[u8], Vec<u8>); 6] = [
        ("pong", b"", frame(0x8a, b"")),
        ("ping", b"", frame(0x89, &[b'x'; 125])),
        ("empty text", b"", frame(0x81, b"")),
        ("empty fragment", &start_of_text, frame(0x00, b"")),
        ("fragment of one byte", &start_of_text, frame(0x00, b"\n")),
        ("heart-beat", b"", frame(0x81, &[b'\n'; 125])),
    ];
    for (name, start, unit) in kinds {
        let flooding = tokio::spawn({
            let (stream, start) = (open(&address).await, start.to_vec());
            async move { flood(stream, &start, &unit).await }
        });
        let mut latencies = Vec::new();
        while !flooding.is_finished() {
            let begun = Instant::now();
            stomp.say(&ann, &channel, name).await;
            assert_eq!(stomp.message().await["content"], name);
            latencies.push(begun.elapsed());
            tokio::time::sleep(Duration::from_millis(40).saturating_sub(begun.elapsed())).await;
        }
        let taken = flooding.await.expect("no panic");
        latencies.sort_unstable();
        let p99 = latencies[latencies.len() * 99 / 100];
        println!(
            "{name}: {taken} bytes taken, {} messages of another client, p99 {p99:?}",
            latencies.len()
        );
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
