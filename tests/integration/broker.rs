//! A real broker that dies, comes back, and comes back empty.

use std::time::Duration;

use discodeit::model::Topic;
use rdkafka::{
    ClientConfig,
    admin::{AdminClient, AdminOptions, NewPartitions},
    client::DefaultClientContext,
};
use tokio::time::Instant;

use crate::support::{Broker, Cluster, Sse, Stomp, User, eventually_within};

/// A broker is a Java program, and what was lost with it is sent again after a while.
const LONG: Duration = Duration::from_mins(1);

/// Messages of the whole test, written on both nodes in turn.
struct Talk {
    channel: String,
    writers: [User; 2],
    listeners: Vec<Stomp>,
    said: i64,
}

impl Talk {
    /// Everybody hears each of the next messages once, in order, and soon.
    async fn go_on(&mut self, messages: usize, within: Duration) {
        for _ in 0..messages {
            self.said += 1;
            let writer = &self.writers[usize::try_from(self.said % 2).expect("0 or 1")];
            let begun = Instant::now();
            let answer = writer.write(&self.channel, &self.said.to_string()).await;
            assert_eq!(answer.status, 201, "{answer:?}");
            for listener in &mut self.listeners {
                let message = listener.message().await;
                assert_eq!(message["seq"], self.said, "{message}");
            }
            let took = begun.elapsed();
            assert!(took < within, "message {} took {took:?}", self.said);
        }
    }
}

async fn all_ready(cluster: &Cluster) {
    for node in 0..2 {
        cluster.visitor(node).until_ready().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_dies_and_returns_even_empty_costs_latency_and_nothing_else() {
    let mut broker = Broker::start().await;
    // These clients do not beat, and a broker takes its time.
    let settings = [("KAFKA_BROKERS", &*broker.address()), ("HEART_BEAT", "0s")];
    let cluster = Cluster::start_with(2, &settings).await;
    let writers = [cluster.user(0, "ann").await, cluster.user(1, "bob").await];
    let channel = writers[0].create_private(&[&writers[1]]).await;
    let mut listeners = Vec::new();
    for user in &writers {
        let mut stomp = Stomp::connect(user).await;
        stomp.subscribe(&channel).await;
        listeners.push(stomp);
    }
    let mut talk = Talk {
        channel,
        writers,
        listeners,
        said: 0,
    };
    let (usual, without) = (Duration::from_secs(2), Duration::from_secs(2));
    // A client may need a while to find a broker that came back; until then the audit finds what it does not bring.
    let back = Duration::from_secs(8);
    let mut stream = Sse::open(&talk.writers[1], None).await;
    stream.expect("sync").await;
    talk.go_on(10, usual).await;

    broker.kill();
    // The first may be sent before the nodes have noticed.
    talk.go_on(1, Duration::from_secs(8)).await;
    eventually_within(LONG, "the nodes have noticed", async || {
        (0..2).all(|node| !cluster.node(node).app().kafka.is_up())
    })
    .await;
    talk.go_on(10, without).await;
    broker.start_again().await;
    all_ready(&cluster).await;
    talk.go_on(20, back).await;

    // Kafka carries again: faster than any audit would be.
    let mut quick = 0;
    for _ in 0..200 {
        let begun = Instant::now();
        talk.go_on(1, back).await;
        quick = if begun.elapsed() < Duration::from_millis(400) {
            quick + 1
        } else {
            0
        };
        if quick == 10 {
            break;
        }
    }
    assert_eq!(quick, 10, "what is said arrives late");

    broker.lose_everything();
    eventually_within(LONG, "the nodes have noticed", async || {
        (0..2).all(|node| !cluster.node(node).app().kafka.is_up())
    })
    .await;
    talk.go_on(10, without).await;
    broker.start_again().await;
    all_ready(&cluster).await;
    talk.go_on(5, back).await;
    for listener in &mut talk.listeners {
        listener.expect_nothing(Duration::from_millis(300)).await;
    }
    // Each message has notified the other one, once, whatever became of its job.
    let (first, second) = ((talk.said + 1) / 2, talk.said / 2);
    for (user, told) in [(&talk.writers[0], first), (&talk.writers[1], second)] {
        eventually_within(LONG, "every message has notified", async || {
            let list = user.get("/api/notifications").await.body;
            i64::try_from(list.as_array().expect("a list").len()) == Ok(told)
        })
        .await;
    }
    eventually_within(LONG, "the outbox is empty", async || {
        let left: i64 = sqlx::query_scalar("select count(*) from outbox")
            .fetch_one(&cluster.db)
            .await
            .expect("PostgreSQL answers");
        left == 0
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_whose_broker_is_gone_for_ever_leaves_in_time() {
    let mut broker = Broker::start().await;
    let mut cluster = Cluster::start_with(1, &[("KAFKA_BROKERS", &broker.address())]).await;
    let (ann, bob) = (cluster.user(0, "ann").await, cluster.user(0, "bob").await);
    let channel = ann.create_private(&[&bob]).await;
    assert_eq!(ann.write(&channel, "hello").await.status, 201);
    // By now the node is in the group of those who share the jobs, and a group is left by asking its broker.
    eventually_within(LONG, "bob is notified", async || {
        bob.get("/api/notifications").await.body[0]["content"] == "hello"
    })
    .await;
    broker.kill();
    let begun = Instant::now();
    cluster.drain(0).await;
    assert!(begun.elapsed() < Duration::from_secs(20));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn topics_that_are_given_more_partitions_are_followed_without_a_restart() {
    let cluster = Cluster::start(2).await;
    let config = &cluster.node(0).app().config;
    let admin: AdminClient<DefaultClientContext> = ClientConfig::new()
        .set("bootstrap.servers", &config.kafka_brokers)
        .create()
        .expect("a client");
    let topic = format!("{}{}", config.kafka_topic_prefix, Topic::Messages.name());
    let grown = admin
        .create_partitions(&[NewPartitions::new(&topic, 8)], &AdminOptions::new())
        .await
        .expect("Kafka answers");
    assert!(grown.iter().all(Result::is_ok), "{grown:?}");
    let (ann, bob) = (cluster.user(0, "ann").await, cluster.user(1, "bob").await);
    let mut bobs = Stomp::connect(&bob).await;
    // Enough of them that some of their messages go to the new partitions.
    let mut channels = Vec::new();
    for _ in 0..12 {
        let channel = ann.create_private(&[&bob]).await;
        bobs.subscribe(&channel).await;
        channels.push(channel);
    }
    // What Kafka does not bring, the audit finds, but not that soon.
    eventually_within(LONG, "all are brought by Kafka", async || {
        let mut soon = true;
        for channel in &channels {
            assert_eq!(ann.write(channel, "hello").await.status, 201);
            let written = Instant::now();
            bobs.message().await;
            soon &= written.elapsed() < Duration::from_millis(400);
        }
        soon
    })
    .await;
}
