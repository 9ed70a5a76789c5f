//! SSE: many streams, of which some are dead, slow or short-lived.

use std::time::Duration;

use discodeit::{
    ids::EventId,
    model::{Event, Topic, event::CHANNELS_REFRESH},
    store::outbox::OutboxRow,
};
use futures_util::future::join_all;
use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
    time::Instant,
};

use crate::support::{Cluster, RedisServer, Sse, Stomp, User, eventually, eventually_within};

/// Requests a stream on the connection.
async fn request_stream(mut connection: TcpStream, user: &User) -> TcpStream {
    let request = format!(
        "GET /api/sse HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\n\r\n",
        user.token()
    );
    connection
        .write_all(request.as_bytes())
        .await
        .expect("the connection is open");
    connection
}

/// Reads until the stream has sent `sync`.
async fn read_until_sync(connection: &mut TcpStream) {
    let mut text = Vec::new();
    while !String::from_utf8_lossy(&text).contains("event:sync") {
        let read = connection
            .read_buf(&mut text)
            .await
            .expect("the connection is open");
        assert!(read > 0, "{}", String::from_utf8_lossy(&text));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_hundred_short_streams_leave_no_state_behind() {
    let cluster = Cluster::start_with(1, &[("CONNECTIONS_PER_USER", "1000")]).await;
    let users = [
        cluster.user(0, "ann").await,
        cluster.user(0, "bob").await,
        cluster.user(0, "eve").await,
    ];
    let address = cluster.address(0);
    let clients = (0..300u64).map(|n| {
        let (user, address) = (&users[usize::try_from(n % 3).expect("0 to 2")], &address);
        async move {
            tokio::time::sleep(Duration::from_millis(n)).await;
            let connection = TcpStream::connect(address).await.expect("accepted");
            let mut connection = request_stream(connection, user).await;
            match n % 4 {
                // Closed before the response, after up to 36 ms, or after `sync`; or reset.
                0 => {}
                1 => tokio::time::sleep(Duration::from_millis(n % 37)).await,
                2 => read_until_sync(&mut connection).await,
                _ => {
                    read_until_sync(&mut connection).await;
                    connection.set_zero_linger().expect("a socket");
                }
            }
        }
    });
    join_all(clients).await;
    let streams = &cluster.node(0).app().delivery.sse;
    eventually(
        "the node has removed all streams and positions",
        async || streams.is_empty() && streams.positions().is_empty(),
    )
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dead_streams_do_not_block_live_ones() {
    let cluster = Cluster::start(2).await;
    let (ann, bob) = (cluster.user(0, "ann").await, cluster.user(1, "bob").await);
    let (mut live, mut dead) = (Vec::new(), Vec::new());
    for _ in 0..8 {
        let connection = TcpStream::connect(cluster.address(1)).await;
        let mut connection = request_stream(connection.expect("accepted"), &bob).await;
        read_until_sync(&mut connection).await;
        dead.push(connection);
        let mut stream = Sse::open(&bob, None).await;
        stream.expect("sync").await;
        live.push(stream);
    }
    for connection in dead {
        connection.set_zero_linger().expect("a socket");
    }
    for _ in 0..3 {
        let channel = ann.create_private(&[&bob]).await;
        for stream in &mut live {
            let event = stream.expect("channels.refresh").await;
            assert_eq!(event.json()["channelId"], channel);
        }
    }
    let streams = &cluster.node(1).app().delivery.sse;
    eventually("the node has removed the dead streams", async || {
        streams.len() == live.len()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_that_is_not_read_is_closed_without_delaying_others() {
    let cluster = Cluster::start(1).await;
    let (ann, bob) = (cluster.user(0, "ann").await, cluster.user(0, "bob").await);
    let app = cluster.node(0).app();
    // This client has a small receive buffer and never reads.
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.set_recv_buffer_size(4_096).expect("a size");
    let address = cluster.address(0).parse().expect("an address");
    let unread = request_stream(socket.connect(address).await.expect("accepted"), &bob).await;
    eventually("the unread stream is open", async || {
        app.delivery.sse.len() == 1
    })
    .await;
    let mut streams = [Sse::open(&bob, None).await, Sse::open(&ann, None).await];
    for stream in &mut streams {
        stream.expect("sync").await;
    }
    // Published through the outbox as every event: more bytes than the kernel and the send queue hold, at the pace of the
    // clients that read.
    let big = "x".repeat(30 * 1_024);
    let mut slowest = Duration::ZERO;
    for round in 0..25 {
        let events = (0..10).map(|n| OutboxRow {
            id: 0,
            was_sent: false,
            event: Event {
                id: EventId::new(),
                topic: Topic::Sse,
                key: "all".to_owned(),
                kind: CHANNELS_REFRESH,
                seq: None,
                body: json!({ "channelId": round * 10 + n, "big": big })
                    .to_string()
                    .into(),
                trace: None,
            },
        });
        let sent = Instant::now();
        app.outbox.publish(events.collect());
        for stream in &mut streams {
            for n in 0..10 {
                let event = stream.expect("channels.refresh").await;
                assert_eq!(event.json()["channelId"], round * 10 + n);
            }
        }
        slowest = slowest.max(sent.elapsed());
    }
    assert!(slowest < Duration::from_secs(2), "{slowest:?}");
    eventually_within(
        Duration::from_secs(15),
        "the unread stream is closed",
        async || app.delivery.sse.len() == 2,
    )
    .await;
    for stream in &mut streams {
        stream.expect_nothing(Duration::from_millis(100)).await;
    }
    drop(unread);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_never_scans_the_keys_of_redis() {
    let server = RedisServer::start().await;
    let cluster = Cluster::start_with(1, &[("REDIS_URL", &server.url())]).await;
    let (ann, bob) = (cluster.user(0, "ann").await, cluster.user(0, "bob").await);
    let channel = ann.create_private(&[&bob]).await;
    let mut stream = Sse::open(&bob, None).await;
    let cursor = stream.expect("sync").await.id;
    let mut stomp = Stomp::connect(&bob).await;
    stomp.subscribe(&channel).await;
    assert_eq!(ann.write(&channel, "hello").await.status, 201);
    stomp.message().await;
    stream.expect("notifications").await;
    Sse::open(&bob, Some(&cursor))
        .await
        .expect("notifications")
        .await;
    assert_eq!(bob.get("/api/users").await.status, 200);
    assert_eq!(bob.post_csrf("/api/auth/refresh").await.status, 200);
    let admin = cluster.admin(0).await;
    let path = format!("/api/users/{}", ann.id);
    assert_eq!(admin.delete(&path).await.status, 204);
    assert_eq!(bob.post_csrf("/api/auth/logout").await.status, 204);
    // The node checks presence once a second.
    tokio::time::sleep(Duration::from_millis(1_200)).await;
    let stats: String = redis::cmd("INFO")
        .arg("commandstats")
        .query_async(&mut server.connect().await)
        .await
        .expect("INFO");
    assert!(stats.contains("cmdstat_xadd:"), "{stats}");
    for command in ["keys", "scan", "flushdb", "flushall"] {
        assert!(!stats.contains(&format!("cmdstat_{command}:")), "{stats}");
    }
}
