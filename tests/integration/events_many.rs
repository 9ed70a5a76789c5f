//! SSE: many streams, some of them dead, slow or short.

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

/// Asks for a stream on a connection of its own.
async fn ask(mut connection: TcpStream, user: &User) -> TcpStream {
    let request = format!(
        "GET /api/sse HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\n\r\n",
        user.token()
    );
    connection
        .write_all(request.as_bytes())
        .await
        .expect("it is sent");
    connection
}

/// Reads until the stream has begun.
async fn begun(connection: &mut TcpStream) {
    let mut text = Vec::new();
    while !String::from_utf8_lossy(&text).contains("event:sync") {
        let read = connection.read_buf(&mut text).await.expect("it is open");
        assert!(read > 0, "{}", String::from_utf8_lossy(&text));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_that_come_and_go_in_a_storm_leave_nothing_behind() {
    let cluster = Cluster::start_with(1, &[("CONNECTIONS_PER_USER", "1000")]).await;
    let users = [
        cluster.user(0, "ann").await,
        cluster.user(0, "bob").await,
        cluster.user(0, "eve").await,
    ];
    let address = cluster.address(0);
    let storm = (0..300u64).map(|n| {
        let (user, address) = (&users[usize::try_from(n % 3).expect("0 to 2")], &address);
        async move {
            tokio::time::sleep(Duration::from_millis(n)).await;
            let connection = TcpStream::connect(address).await.expect("accepted");
            let mut connection = ask(connection, user).await;
            match n % 4 {
                // Gone before it is answered, at some time, once it has begun; or aborted.
                0 => {}
                1 => tokio::time::sleep(Duration::from_millis(n % 37)).await,
                2 => begun(&mut connection).await,
                _ => {
                    begun(&mut connection).await;
                    connection.set_zero_linger().expect("a socket");
                }
            }
        }
    });
    join_all(storm).await;
    let feeds = &cluster.node(0).app().delivery.sse;
    eventually("nothing is left", async || {
        feeds.is_empty() && feeds.positions().is_empty()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dead_streams_keep_nothing_from_those_that_live() {
    let cluster = Cluster::start(2).await;
    let (ann, bob) = (cluster.user(0, "ann").await, cluster.user(1, "bob").await);
    let (mut living, mut dead) = (Vec::new(), Vec::new());
    for _ in 0..8 {
        let connection = TcpStream::connect(cluster.address(1)).await;
        let mut connection = ask(connection.expect("accepted"), &bob).await;
        begun(&mut connection).await;
        dead.push(connection);
        let mut stream = Sse::open(&bob, None).await;
        stream.expect("sync").await;
        living.push(stream);
    }
    for connection in dead {
        connection.set_zero_linger().expect("a socket");
    }
    for _ in 0..3 {
        let channel = ann.create_private(&[&bob]).await;
        for stream in &mut living {
            let event = stream.expect("channels.refresh").await;
            assert_eq!(event.json()["channelId"], channel);
        }
    }
    let feeds = &cluster.node(1).app().delivery.sse;
    eventually("the dead are gone", async || feeds.len() == living.len()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_that_is_not_read_is_cut_and_delays_nobody() {
    let cluster = Cluster::start(1).await;
    let (ann, bob) = (cluster.user(0, "ann").await, cluster.user(0, "bob").await);
    let app = cluster.node(0).app();
    // A client with little room, which never reads.
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.set_recv_buffer_size(4_096).expect("a size");
    let address = cluster.address(0).parse().expect("an address");
    let deaf = ask(socket.connect(address).await.expect("accepted"), &bob).await;
    eventually("it is open", async || app.delivery.sse.len() == 1).await;
    let mut streams = [Sse::open(&bob, None).await, Sse::open(&ann, None).await];
    for stream in &mut streams {
        stream.expect("sync").await;
    }
    // By the way that every event takes: more than the kernel and the queue hold, at the pace of those who read.
    let big = "x".repeat(30 * 1_024);
    let mut slowest = Duration::ZERO;
    for round in 0..25 {
        let events = (0..10).map(|n| OutboxRow {
            id: 0,
            event: Event {
                id: EventId::new(),
                topic: Topic::Sse,
                key: "all".to_owned(),
                kind: CHANNELS_REFRESH,
                seq: None,
                body: json!({ "channelId": round * 10 + n, "big": big })
                    .to_string()
                    .into(),
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
    eventually_within(Duration::from_secs(15), "it is cut", async || {
        app.delivery.sse.len() == 2
    })
    .await;
    for stream in &mut streams {
        stream.expect_nothing(Duration::from_millis(100)).await;
    }
    drop(deaf);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_a_node_does_looks_through_all_keys_of_redis() {
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
    // Who comes and goes is looked at once a second.
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
