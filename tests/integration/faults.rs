//! Outages of PostgreSQL, Redis and Kafka, and recovery without a restart.
//!
//! Requests fail within 5 s, and no accepted write is lost.

use std::time::Duration;

use tokio::time::Instant;

use crate::support::{Answer, Cluster, Sse, Stomp, eventually};

/// Asserts a 503 response with `Retry-After` within 5 s.
fn assert_unavailable(answer: &Answer, started: Instant) {
    assert_eq!(
        (answer.status, answer.code()),
        (503, "SERVICE_UNAVAILABLE"),
        "{answer:?}"
    );
    assert!(answer.header("retry-after").is_some(), "{answer:?}");
    assert!(
        started.elapsed() < Duration::from_secs(5),
        "the response took {:?}",
        started.elapsed()
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_kafka_messages_are_delivered_once() {
    // Kafka gives its clients the broker's own address, so a proxy cannot cut them off. Instead one node has a wrong address
    // for the broker; it serves the same channel as a node with Kafka.
    let mut cluster = Cluster::start(1).await;
    let channel = cluster.channel().await;
    let without_kafka = cluster
        .add_unready(&[("KAFKA_BROKERS", "127.0.0.1:1")])
        .await;
    let (ann, bob) = (
        cluster.user(0, "ann").await,
        cluster
            .user(0, "bob")
            .await
            .at_node(&cluster.address(without_kafka)),
    );
    let ready = bob.get("/api/health/ready").await;
    assert_eq!(
        (ready.status, &ready.body["details"]["kafka"]),
        (503, &"DOWN".into())
    );
    assert_eq!(&ready.body["details"]["postgres"], "UP");

    let (mut anns, mut bobs) = (Stomp::connect(&ann).await, Stomp::connect(&bob).await);
    anns.subscribe(&channel).await;
    bobs.subscribe(&channel).await;
    let mut bobs_events = Sse::open(&bob, None).await;
    bobs_events.expect("sync").await;
    for n in 1..=20 {
        let started = Instant::now();
        let writer = if n % 2 == 0 { &ann } else { &bob };
        assert_eq!(writer.write(&channel, &n.to_string()).await.status, 201);
        assert_eq!(bobs.message().await["seq"], n);
        assert!(
            started.elapsed() < Duration::from_secs(2),
            "delivery took {:?}",
            started.elapsed()
        );
    }
    for n in 1..=20 {
        assert_eq!(anns.message().await["seq"], n);
    }
    let started = Instant::now();
    let private = ann.create_private(&[&bob]).await;
    bobs_events
        .expect_about("channels.refresh", "channelId", &private)
        .await;
    assert!(
        started.elapsed() < Duration::from_secs(2),
        "delivery took {:?}",
        started.elapsed()
    );
    // The other node publishes the outbox rows of the node without Kafka.
    cluster.settled().await;
    anns.expect_nothing(Duration::from_millis(300)).await;
    bobs.expect_nothing(Duration::from_millis(300)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_postgres_requests_get_503_and_connections_stay_open() {
    let mut cluster = Cluster::start(1).await;
    let channel = cluster.channel().await;
    let (postgres, url) = cluster.cut("DATABASE_URL").await;
    let node = cluster.add(&[("DATABASE_URL", &url)]).await;
    let user = cluster.user(node, "ann").await;
    let mut stomp = Stomp::connect(&user).await;
    stomp.subscribe(&channel).await;
    stomp.subscribe_with("/user/queue/errors", "").await;
    let mut events = Sse::open(&user, None).await;
    events.expect("sync").await;
    postgres.cut();
    let started = Instant::now();
    let (write, list, ready) = tokio::join!(
        user.write(&channel, "lost?"),
        user.get("/api/users"),
        user.get("/api/health/ready")
    );
    assert_unavailable(&write, started);
    assert_unavailable(&list, started);
    assert_eq!(
        (ready.status, &ready.body["details"]["postgres"]),
        (503, &"DOWN".into())
    );
    stomp.say(&user, &channel, "lost too?").await;
    assert_eq!(stomp.message().await["code"], "SERVICE_UNAVAILABLE");
    // Delivery of another node's messages does not need this node's connection to PostgreSQL.
    let other = cluster.user(0, "bob").await;
    assert_eq!(other.write(&channel, "from elsewhere").await.status, 201);
    assert_eq!(stomp.message().await["content"], "from elsewhere");
    postgres.mend();
    eventually("the node recovers", async || {
        user.get("/api/health/ready").await.status == 200
    })
    .await;
    assert_eq!(user.write(&channel, "after").await.status, 201);
    assert_eq!(stomp.message().await["content"], "after");
    let private = user.create_private(&[&other]).await;
    events
        .expect_about("channels.refresh", "channelId", &private)
        .await;
    let texts: Vec<_> = user
        .history(&channel)
        .await
        .into_iter()
        .map(|message| message["content"].clone())
        .collect();
    assert_eq!(
        texts,
        ["from elsewhere", "after"],
        "the rejected messages were not stored"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_redis_messages_are_delivered_and_sse_streams_catch_up() {
    let mut cluster = Cluster::start(1).await;
    let channel = cluster.channel().await;
    let (redis, url) = cluster.cut("REDIS_URL").await;
    let node = cluster
        .add(&[("REDIS_URL", &url), ("SSE_KEEP_ALIVE", "200ms")])
        .await;
    let user = cluster.user(node, "ann").await;
    let other = cluster.user(0, "bob").await;
    let mut stomp = Stomp::connect(&user).await;
    stomp.subscribe(&channel).await;
    let mut events = Sse::open(&user, None).await;
    let cursor = events.expect("sync").await.id;
    redis.cut();
    // The node cannot check sessions without Redis.
    let started = Instant::now();
    assert_unavailable(&user.get("/api/users").await, started);
    // An open connection sends and receives without Redis.
    stomp.say(&user, &channel, "on the socket").await;
    assert_eq!(stomp.message().await["content"], "on the socket");
    // A new stream opens, gets keep-alives, and replays once Redis is back. The open stream continues.
    let mut waiting = Sse::open(&user, Some(&cursor)).await;
    let private = other.create_private(&[&user]).await;
    events
        .expect_about("channels.refresh", "channelId", &private)
        .await;
    redis.mend();
    assert_eq!(
        waiting.expect("channels.refresh").await.json()["channelId"],
        private
    );
    waiting.expect("sync").await;
    eventually("the node recovers", async || {
        user.get("/api/users").await.status == 200
    })
    .await;
    let another = other.create_private(&[&user]).await;
    for stream in [&mut events, &mut waiting] {
        assert_eq!(
            stream.expect("channels.refresh").await.json()["channelId"],
            another
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_started_without_postgres_serves_once_postgres_is_up() {
    let mut cluster = Cluster::start(1).await;
    let (postgres, url) = cluster.cut("DATABASE_URL").await;
    postgres.cut();
    let node = cluster.add_unready(&[("DATABASE_URL", &url)]).await;
    let visitor = cluster.visitor(node);
    assert_eq!(visitor.get("/api/health/live").await.status, 200);
    assert_eq!(visitor.get("/api/health/ready").await.code(), "NOT_READY");
    postgres.mend();
    visitor.until_ready().await;
    cluster.user(node, "ann").await;
}
