//! SSE: the response as a client sees it on the connection.

use std::time::Duration;

use tokio::{
    io::AsyncReadExt,
    time::{Instant, timeout},
};

use super::errors::Raw;
use crate::support::{Cluster, SOON, User, eventually};

fn request(user: &User, version: &str) -> String {
    let token = user.token();
    format!("GET /api/sse HTTP/{version}\r\nHost: node\r\nAuthorization: Bearer {token}\r\n\r\n")
}

/// What arrives until `end` has arrived, as text.
async fn read_until(raw: &mut Raw, end: &str) -> String {
    let mut read = Vec::new();
    let arrives = async {
        while !read.ends_with(end.as_bytes()) {
            assert!(raw.0.read_buf(&mut read).await.expect("a byte") > 0);
        }
    };
    timeout(SOON, arrives).await.expect("it arrives");
    String::from_utf8(read).expect("a text")
}

/// What arrives until the node closes the connection, as text.
async fn read_to_end(raw: &mut Raw) -> String {
    let mut read = Vec::new();
    let ends = timeout(SOON, raw.0.read_to_end(&mut read)).await;
    ends.expect("it ends")
        .expect("it is closed without a reset");
    String::from_utf8(read).expect("a text")
}

/// The text in chunks, and what follows the last chunk.
fn decode(mut body: &str) -> (String, &str) {
    let mut text = String::new();
    loop {
        let (size, rest) = body.split_once("\r\n").expect("the size of a chunk");
        let size = usize::from_str_radix(size, 16).expect("a hexadecimal number");
        let (chunk, rest) = rest.split_at(size);
        text.push_str(chunk);
        body = rest.strip_prefix("\r\n").expect("the end of a chunk");
        if size == 0 || body.is_empty() {
            return (text, body);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_is_a_chunked_response_after_other_responses_on_its_connection() {
    let cluster = Cluster::start(1).await;
    let (ann, bob) = (cluster.user(0, "ann").await, cluster.user(0, "bob").await);
    let mut raw = Raw::open(&cluster).await;
    for _ in 0..2 {
        raw.send("GET /api/health/live HTTP/1.1\r\nHost: node\r\n\r\n")
            .await;
        assert_eq!(raw.answer().await.expect("an answer").status, 200);
    }
    raw.send(request(&bob, "1.1")).await;
    let response = read_until(&mut raw, "event:sync\ndata:{}\n\n\r\n").await;
    let (head, body) = response.split_once("\r\n\r\n").expect("a head");
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
    for header in [
        "cache-control: no-cache, no-transform",
        "connection: close",
        "content-type: text/event-stream",
        "date: ",
        "discodeit-node: ",
        "discodeit-request-id: ",
        "transfer-encoding: chunked",
        "x-accel-buffering: no",
    ] {
        let lines = head.split("\r\n").filter(|line| line.starts_with(header));
        assert_eq!(lines.count(), 1, "{header} in {head}");
    }
    let (text, _) = decode(body);
    assert!(text.starts_with("retry:3000\n: welcome\nid:"), "{text}");

    let channel = ann.create_private(&[&bob]).await;
    let chunk = read_until(&mut raw, "\n\n\r\n").await;
    let (event, _) = decode(&chunk);
    assert!(event.starts_with("id:"), "{event}");
    assert!(event.contains("event:channels.refresh\n") && event.contains(&channel));

    assert_eq!(bob.post_csrf("/api/auth/logout").await.status, 204);
    let rest = read_to_end(&mut raw).await;
    let (_, after) = decode(&rest);
    assert!(rest.ends_with("0\r\n\r\n") && after.is_empty(), "{rest}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_of_http_1_0_gets_the_text_as_it_is() {
    let cluster = Cluster::start(1).await;
    let bob = cluster.user(0, "bob").await;
    let mut raw = Raw::open(&cluster).await;
    raw.send(request(&bob, "1.0")).await;
    let response = read_until(&mut raw, "event:sync\ndata:{}\n\n").await;
    let (head, body) = response.split_once("\r\n\r\n").expect("a head");
    assert!(!head.contains("transfer-encoding"), "{head}");
    assert!(body.starts_with("retry:3000\n: welcome\nid:"), "{body}");
    assert_eq!(bob.post_csrf("/api/auth/logout").await.status, 204);
    assert_eq!(read_to_end(&mut raw).await, "");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_keeps_sending_on_its_stream_loses_it() {
    let cluster = Cluster::start(1).await;
    let bob = cluster.user(0, "bob").await;
    let mut raw = Raw::open(&cluster).await;
    raw.send(request(&bob, "1.1")).await;
    read_until(&mut raw, "event:sync\ndata:{}\n\n\r\n").await;
    // A few bytes have no meaning, and do no harm.
    raw.send("\r\n").await;
    let streams = &cluster.node(0).app().delivery.sse;
    assert_eq!(streams.len(), 1);
    let until = Instant::now() + SOON;
    while raw.try_send([b'x'; 4_096]).await && Instant::now() < until {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    eventually("the stream is closed", async || streams.is_empty()).await;
}
