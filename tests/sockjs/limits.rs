//! Limits of sessions, bodies, queues and time.

use std::{net::SocketAddr, time::Duration};

use discodeit::{
    http::server,
    sockjs::{self, Link, Options},
    tasks::Tasks,
};
use tokio::time::{Instant, sleep};

use crate::{
    Server,
    client::{Connection, masked},
    services, session, start_with,
};

#[tokio::test]
async fn the_number_of_sessions_is_limited() {
    let server = start_with(Options {
        sessions: 2,
        disconnect_delay: Duration::from_millis(200),
        ..Options::default()
    })
    .await;
    for _ in 0..2 {
        assert_eq!(server.poll(&session("echo")).await, "o\n");
    }
    let refused = server.post(&format!("{}/xhr", session("echo")), "").await;
    assert_eq!(refused.status(), 503);
    sleep(Duration::from_millis(500)).await;
    assert_eq!(server.poll(&session("echo")).await, "o\n");
}

#[tokio::test]
async fn a_body_is_limited_with_and_without_content_length() {
    let server = start_with(Options {
        message_bytes: 1_000,
        ..Options::default()
    })
    .await;
    let url = session("echo");
    let path = format!("{url}/xhr_send");
    assert_eq!(server.poll(&url).await, "o\n");
    let long = format!("[\"{}\"]", "x".repeat(1_000));
    assert_eq!(server.post(&path, &long).await.status(), 413);
    let mut connection = Connection::open(server.address).await;
    let chunked = [("Transfer-Encoding", "chunked")];
    connection.ask("POST", &path, "1.1", &chunked, None).await;
    let chunk = format!("3ec\r\n{long}\r\n0\r\n\r\n");
    connection.write(chunk.as_bytes()).await;
    assert_eq!(connection.answer().await.status(), 413);
    server.send(&url, "[\"a\"]").await;
    assert_eq!(server.poll(&url).await, "a[\"a\"]\n");
}

#[tokio::test]
async fn sends_are_refused_when_the_client_does_not_receive() {
    let server = start_with(Options {
        queue_timeout: Duration::from_secs(1),
        ..Options::default()
    })
    .await;
    let url = session("echo");
    let path = format!("{url}/xhr_send");
    assert_eq!(server.poll(&url).await, "o\n");
    let payload = format!("[\"{}\"]", "x".repeat(200_000));
    let started = Instant::now();
    let mut accepted = 0;
    let refused = loop {
        let answer = server.post(&path, &payload).await;
        if answer.status() != 204 {
            break answer;
        }
        accepted += 1;
        assert!(accepted < 20, "sends without a receiver are not limited");
    };
    assert_eq!(refused.status(), 503);
    assert!(
        started.elapsed() > Duration::from_secs(1),
        "the send waits for the queue timeout"
    );
    // Every accepted message is echoed.
    let mut echoed = 0;
    while echoed < accepted {
        let frame = server.poll(&url).await;
        echoed += frame.matches("xx\"").count();
    }
    assert_eq!(echoed, accepted);
}

/// Sends more than the send queue holds to a client that does not receive.
async fn flood(mut link: Link) {
    for n in 0..100 {
        let text = link.encoding().text(format!("{n:0>20000}").as_bytes());
        link.send_queue().push(text);
        if n < 5 {
            link.flush().expect("a session accepts frames");
        }
    }
    if let Err(disconnect) = link.recv().await {
        link.disconnect(disconnect).await;
    }
}

#[tokio::test]
async fn a_session_that_falls_behind_is_closed_after_its_flushed_frames() {
    let listener = server::bind(SocketAddr::from(([127, 0, 0, 1], 0))).expect("a port is free");
    let address = listener.local_addr().expect("the listener is bound");
    let tasks = Tasks::new();
    let routes = sockjs::routes(
        warp::path("flood"),
        Options::default(),
        &tasks,
        sockjs::handler(flood),
    );
    let serving = services::serve_routes(listener, routes, tasks.clone());
    let server = Server::spawn(address, tasks, serving);
    let url = session("flood");
    assert_eq!(server.poll(&url).await, "o\n");
    let first = server.poll(&url).await;
    assert!(first.starts_with("a[\"000"), "{}", first.len());
    assert_eq!(
        server.poll(&url).await,
        "c[4500,\"The connection fell behind.\"]\n"
    );
}

#[tokio::test]
async fn an_unfinished_message_ends_the_connection() {
    let server = start_with(Options {
        message_timeout: Duration::from_secs(1),
        ..Options::default()
    })
    .await;
    for unfinished in [
        &masked(0x01, b"[\"unfinished")[..],
        &masked(0x81, b"[\"cut\"]")[..9],
        b"\x81",
    ] {
        let mut socket = Connection::websocket(server.address, "/echo/websocket").await;
        // Each message has its own timeout.
        for _ in 0..3 {
            let whole = masked(0x81, b"whole");
            let (head, tail) = whole.split_at(8);
            socket.write(head).await;
            sleep(Duration::from_millis(500)).await;
            socket.write(tail).await;
            assert_eq!(socket.octets(7).await, b"\x81\x05whole");
        }
        let started = Instant::now();
        socket.write(unfinished).await;
        let close = b"\x88\x1a\x03\xf0A message took too long.";
        assert_eq!(socket.octets(close.len()).await, close);
        assert!(started.elapsed() > Duration::from_millis(900));
    }
    // A sending request has the same timeout.
    let url = session("echo");
    assert_eq!(server.poll(&url).await, "o\n");
    let mut connection = Connection::open(server.address).await;
    let head = format!("POST {url}/xhr_send HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n[\"");
    connection.write(head.as_bytes()).await;
    assert_eq!(connection.answer().await.status(), 408);
}

#[tokio::test]
async fn a_session_handles_one_sending_request_at_a_time() {
    let server = start_with(Options {
        queue_timeout: Duration::from_secs(1),
        ..Options::default()
    })
    .await;
    let url = session("echo");
    let path = format!("{url}/xhr_send");
    assert_eq!(server.poll(&url).await, "o\n");
    let mut first = Connection::open(server.address).await;
    let head = format!("POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n[\"");
    first.write(head.as_bytes()).await;
    sleep(Duration::from_millis(100)).await;
    // The next request waits for the permit, at most for `queue_timeout`.
    let started = Instant::now();
    assert_eq!(server.post(&path, "[\"b\"]").await.status(), 503);
    assert!(started.elapsed() > Duration::from_millis(900));
    let mut second = Connection::open(server.address).await;
    second.ask("POST", &path, "1.1", &[], Some("[\"c\"]")).await;
    sleep(Duration::from_millis(100)).await;
    first.write(b"a\"]").await;
    assert_eq!(first.answer().await.status(), 204);
    assert_eq!(second.answer().await.status(), 204);
    assert_eq!(server.poll(&url).await, "a[\"a\",\"c\"]\n");
    // A request whose connection breaks releases the permit.
    let mut broken = Connection::open(server.address).await;
    broken.write(head.as_bytes()).await;
    sleep(Duration::from_millis(100)).await;
    broken.reset();
    server.send(&url, "[\"d\"]").await;
    assert_eq!(server.poll(&url).await, "a[\"d\"]\n");
}

#[tokio::test]
async fn a_node_stops_reading_from_a_client_that_floods_and_does_not_read() {
    let server = start_with(Options::default()).await;
    let mut unread = Connection::websocket(server.address, "/echo/websocket").await;
    let pings = masked(0x89, &[b'p'; 125]).repeat(1_000);
    let flood = async {
        for n in 0..1_000 {
            if !unread.try_write(&pings).await {
                return n;
            }
        }
        panic!("the server accepts 125 MB of pings whose answers are not read");
    };
    let written = flood.await;
    assert!(written < 200, "the server accepted {written} times 128 KB");
    // Fragments of one byte and empty fragments form one message.
    let mut socket = Connection::websocket(server.address, "/echo/websocket").await;
    let mut message = masked(0x01, b"");
    for _ in 0..10_000 {
        message.extend(masked(0x00, b"x"));
        message.extend(masked(0x00, b""));
    }
    message.extend(masked(0x80, b""));
    socket.write(&message).await;
    let echo = socket.octets(4 + 10_000).await;
    assert_eq!(echo[..4], [0x81, 126, 0x27, 0x10]);
    assert!(echo[4..].iter().all(|octet| *octet == b'x'));
}
