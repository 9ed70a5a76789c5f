//! A real Kafka broker that dies, restarts with its data, and restarts without.

use std::time::Duration;

use discodeit::model::Topic;
use rdkafka::{
    ClientConfig,
    admin::{AdminClient, AdminOptions, NewPartitions},
    client::DefaultClientContext,
};
use tokio::time::Instant;

use crate::support::{Broker, Cluster, Sse, Stomp, User, eventually_within};

/// Time for a broker to start and for the outbox to republish lost events.
///
/// A broker is a Java program.
const BROKER_TIMEOUT: Duration = Duration::from_mins(1);

/// A channel to which users of both nodes write alternately.
struct Conversation {
    channel: String,
    writers: [User; 2],
    subscribers: Vec<Stomp>,
    last_seq: i64,
}

impl Conversation {
    /// Writes messages, which each subscriber must receive within the time.
    ///
    /// Each message must arrive once, in order.
    async fn write_and_receive(&mut self, messages: usize, within: Duration) {
        for _ in 0..messages {
            self.last_seq += 1;
            let writer = &self.writers[usize::try_from(self.last_seq % 2).expect("0 or 1")];
            let started = Instant::now();
            let answer = writer
                .write(&self.channel, &self.last_seq.to_string())
                .await;
            assert_eq!(answer.status, 201, "{answer:?}");
            for subscriber in &mut self.subscribers {
                let message = subscriber.message().await;
                assert_eq!(message["seq"], self.last_seq, "{message}");
            }
            let took = started.elapsed();
            assert!(took < within, "message {} took {took:?}", self.last_seq);
        }
    }
}

async fn all_ready(cluster: &Cluster) {
    for node in 0..2 {
        cluster.visitor(node).until_ready().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_restart_even_without_data_costs_only_latency() {
    let mut broker = Broker::start().await;
    // The test's clients send no heart-beats, and a broker may start slowly.
    let settings = [("KAFKA_BROKERS", &*broker.address()), ("HEART_BEAT", "0s")];
    let cluster = Cluster::start_with(2, &settings).await;
    let writers = [cluster.user(0, "ann").await, cluster.user(1, "bob").await];
    let channel = writers[0].create_private(&[&writers[1]]).await;
    let mut subscribers = Vec::new();
    for user in &writers {
        let mut stomp = Stomp::connect(user).await;
        stomp.subscribe(&channel).await;
        subscribers.push(stomp);
    }
    let mut conversation = Conversation {
        channel,
        writers,
        subscribers,
        last_seq: 0,
    };
    let (with_broker, without_broker) = (Duration::from_secs(2), Duration::from_secs(2));
    // Kafka's client may reconnect late to a restarted broker. Until then the audit finds the missing messages.
    let after_restart = Duration::from_secs(8);
    let mut stream = Sse::open(&conversation.writers[1], None).await;
    stream.expect("sync").await;
    conversation.write_and_receive(10, with_broker).await;

    broker.kill();
    // The nodes may not have noticed the outage yet when this message is written.
    conversation
        .write_and_receive(1, Duration::from_secs(8))
        .await;
    eventually_within(BROKER_TIMEOUT, "both nodes report Kafka down", async || {
        (0..2).all(|node| !cluster.node(node).app().kafka.is_up())
    })
    .await;
    conversation.write_and_receive(10, without_broker).await;
    broker.start_again().await;
    all_ready(&cluster).await;
    conversation.write_and_receive(20, after_restart).await;

    // Ten deliveries in a row within 400 ms come from Kafka: the audit is slower.
    let mut fast_in_a_row = 0;
    for _ in 0..200 {
        let started = Instant::now();
        conversation.write_and_receive(1, after_restart).await;
        fast_in_a_row = if started.elapsed() < Duration::from_millis(400) {
            fast_in_a_row + 1
        } else {
            0
        };
        if fast_in_a_row == 10 {
            break;
        }
    }
    assert_eq!(fast_in_a_row, 10, "Kafka does not deliver within 400 ms");

    broker.lose_everything();
    eventually_within(BROKER_TIMEOUT, "both nodes report Kafka down", async || {
        (0..2).all(|node| !cluster.node(node).app().kafka.is_up())
    })
    .await;
    conversation.write_and_receive(10, without_broker).await;
    broker.start_again().await;
    all_ready(&cluster).await;
    conversation.write_and_receive(5, after_restart).await;
    for subscriber in &mut conversation.subscribers {
        subscriber.expect_nothing(Duration::from_millis(300)).await;
    }
    // Each message notifies the other user once, even if the broker lost its job.
    let (first, second) = ((conversation.last_seq + 1) / 2, conversation.last_seq / 2);
    for (user, expected) in [
        (&conversation.writers[0], first),
        (&conversation.writers[1], second),
    ] {
        eventually_within(
            Duration::from_secs(10),
            "every message has its notification",
            async || {
                let list = user.get("/api/notifications").await.body;
                i64::try_from(list.as_array().expect("a list").len()) == Ok(expected)
            },
        )
        .await;
    }
    eventually_within(BROKER_TIMEOUT, "the outbox is empty", async || {
        let left: i64 = sqlx::query_scalar(
            "select count(*) from outbox where topic = 'jobs' or sent_at is null",
        )
        .fetch_one(&cluster.db)
        .await
        .expect("PostgreSQL answers");
        left == 0
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_without_its_broker_drains_within_20_seconds() {
    let mut broker = Broker::start().await;
    let mut cluster = Cluster::start_with(1, &[("KAFKA_BROKERS", &broker.address())]).await;
    let (ann, bob) = (cluster.user(0, "ann").await, cluster.user(0, "bob").await);
    let channel = ann.create_private(&[&bob]).await;
    assert_eq!(ann.write(&channel, "hello").await.status, 201);
    // A notification shows that the node has joined the consumer group of the jobs. Leaving a group needs its broker.
    eventually_within(BROKER_TIMEOUT, "bob is notified", async || {
        bob.get("/api/notifications").await.body[0]["content"] == "hello"
    })
    .await;
    broker.kill();
    let started = Instant::now();
    cluster.drain(0).await;
    assert!(started.elapsed() < Duration::from_secs(20));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_consume_new_partitions_without_a_restart() {
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
    // Twelve channels, so that some of the messages are in the new partitions.
    let mut channels = Vec::new();
    for _ in 0..12 {
        let channel = ann.create_private(&[&bob]).await;
        bobs.subscribe(&channel).await;
        channels.push(channel);
    }
    // Within 400 ms a message comes from Kafka: the audit is slower.
    eventually_within(
        BROKER_TIMEOUT,
        "Kafka delivers to every channel",
        async || {
            let mut fast = true;
            for channel in &channels {
                assert_eq!(ann.write(channel, "hello").await.status, 201);
                let written_at = Instant::now();
                bobs.message().await;
                fast &= written_at.elapsed() < Duration::from_millis(400);
            }
            fast
        },
    )
    .await;
}
