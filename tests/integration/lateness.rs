//! Late, repeated and bulk events.
//!
//! Such events replace no newer event, close no connection and block no other client.

use std::{collections::HashSet, time::Duration};

use futures_util::future::join_all;
use serde_json::json;
use tokio::time::Instant;

use super::accounts::set_role;
use crate::support::{Cluster, Sse, Stomp, User};

/// The setting of a node that never reaches Kafka.
const NO_KAFKA: (&str, &str) = ("KAFKA_BROKERS", "127.0.0.1:1");

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_late_edit_does_not_replace_a_newer_edit() {
    let mut cluster = Cluster::start(1).await;
    let channel = cluster.channel().await;
    let isolated = cluster.add_unready(&[NO_KAFKA]).await;
    let (ann, bob) = (cluster.user(0, "ann").await, cluster.user(0, "bob").await);
    let mut bobs = Stomp::connect(&bob).await;
    bobs.subscribe_with(&format!("/sub/channels.{channel}.events"), "")
        .await;
    let message = ann.write(&channel, "teh").await.body;
    let path = format!("/api/messages/{}", message["id"].as_str().expect("an id"));
    let edit = async |at: &User, text: &str| {
        let answer = at.patch(&path, &json!({ "newContent": text })).await;
        assert_eq!(answer.status, 200, "{answer:?}");
    };
    // The isolated node cannot publish the first edit. The other node publishes it later, after the second edit.
    edit(&ann.at_node(&cluster.address(isolated)), "hte").await;
    edit(&ann, "the").await;
    assert_eq!(bobs.message().await["message"]["content"], "the");
    cluster.settled().await;
    bobs.expect_nothing(Duration::from_millis(300)).await;
    // A late edit without a newer edit is published.
    edit(&ann.at_node(&cluster.address(isolated)), "The").await;
    assert_eq!(bobs.message().await["message"]["content"], "The");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_without_kafka_delivers_changes_of_messages_once() {
    let mut cluster = Cluster::start(1).await;
    let channel = cluster.channel().await;
    let isolated = cluster.add_unready(&[NO_KAFKA]).await;
    let (ann, bob) = (cluster.user(0, "ann").await, cluster.user(0, "bob").await);
    let mut bobs = Stomp::connect(&bob.at_node(&cluster.address(isolated))).await;
    bobs.subscribe_with(&format!("/sub/channels.{channel}.events"), "")
        .await;
    let message = ann.write(&channel, "0").await.body;
    let path = format!("/api/messages/{}", message["id"].as_str().expect("an id"));
    for text in ["1", "2"] {
        let answer = ann.patch(&path, &json!({ "newContent": text })).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        let edited = Instant::now();
        assert_eq!(bobs.message().await["message"]["content"], text);
        assert!(edited.elapsed() < Duration::from_secs(2));
    }
    assert_eq!(ann.delete(&path).await.status, 204);
    assert_eq!(bobs.message().await["type"], "message.deleted");
    bobs.expect_nothing(Duration::from_secs(2)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_of_a_dead_node_is_delivered_during_a_kafka_outage() {
    let mut cluster = Cluster::start(1).await;
    let isolated = cluster.add_unready(&[NO_KAFKA]).await;
    let bob = cluster
        .user(0, "bob")
        .await
        .at_node(&cluster.address(isolated));
    let mut stream = Sse::open(&bob, None).await;
    stream.expect("sync").await;
    cluster.settled().await;
    cluster.kill(0).await;
    // The row of a node that died after the commit.
    sqlx::query(
        "insert into outbox (event_id, topic, key, kind, body) \
         values (gen_random_uuid(), 'sse', $1, 'users.refresh', '{\"userId\":\"of a dead node\"}')",
    )
    .bind(&bob.id)
    .execute(&cluster.db)
    .await
    .expect("the row is inserted");
    let started = Instant::now();
    stream
        .expect_about("users.refresh", "userId", "of a dead node")
        .await;
    assert!(
        started.elapsed() < Duration::from_secs(5),
        "it took {:?}",
        started.elapsed()
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_of_a_thousand_events_without_kafka_is_in_the_history_once() {
    const EVENTS: usize = 1_100;
    let mut cluster = Cluster::start(1).await;
    let isolated = cluster.add_unready(&[NO_KAFKA]).await;
    let admin = cluster.admin(0).await.at_node(&cluster.address(isolated));
    let create = async |share: usize| {
        for n in 0..EVENTS / 10 {
            admin.create_channel(&format!("{share}-{n}")).await;
        }
    };
    join_all((0..10).map(create)).await;
    // A row leaves the outbox after its event is in the history.
    cluster.settled().await;
    let mut redis = cluster.redis.clone();
    let entries: Vec<(String, Vec<String>)> = redis::cmd("XRANGE")
        .arg(&["sse:all", "-", "+"])
        .query_async(&mut redis)
        .await
        .expect("a stream");
    let events: Vec<_> = entries
        .iter()
        .filter(|(_, fields)| fields[3] == "channels.refresh")
        .map(|(_, fields)| fields[1].clone())
        .collect();
    assert_eq!(events.len(), EVENTS);
    assert_eq!(events.iter().collect::<HashSet<_>>().len(), EVENTS);
    // The history still knows the first events, so a duplicate would not be appended.
    let seen: usize = redis::cmd("ZCARD")
        .arg("sse:seen:{sse:all}")
        .query_async(&mut redis)
        .await
        .expect("a set");
    assert!(seen >= EVENTS, "{seen}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_late_revocation_spares_newer_sessions() {
    let mut cluster = Cluster::start(1).await;
    let channel = cluster.channel().await;
    let isolated = cluster.add_unready(&[NO_KAFKA]).await;
    let ann = cluster.user(0, "ann").await;
    let mut old = Stomp::connect(&ann).await;
    let admin = cluster.admin(0).await.at_node(&cluster.address(isolated));
    let answer = set_role(&admin, &ann.id, "CHANNEL_MANAGER").await;
    assert_eq!(answer.status, 200, "{answer:?}");
    // The login precedes the other node's publication of the revocation.
    let again = User::sign_in(cluster.visitor(0), &ann.name, "password").await;
    let mut new = Stomp::connect(&again).await;
    new.subscribe(&channel).await;
    let mut stream = Sse::open(&again, None).await;
    stream.expect("sync").await;
    assert_eq!(
        old.expect("ERROR").await.header("code"),
        Some("SESSION_ENDED")
    );
    cluster.settled().await;
    new.say_surely(&again, &channel, "still here").await;
    assert_eq!(new.message().await["content"], "still here");
    let another = again.create_private(&[&admin]).await;
    stream
        .expect_about("channels.refresh", "channelId", &another)
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn catching_up_does_not_disconnect_a_client_that_reads() {
    const MESSAGES: i64 = 600;
    let mut cluster = Cluster::start_with(1, &[("MESSAGE_RATE", "100000")]).await;
    let channel = cluster.channel().await;
    let isolated = cluster.add_unready(&[NO_KAFKA]).await;
    let (ann, bob) = (
        cluster.user(0, "ann").await,
        cluster
            .user(0, "bob")
            .await
            .at_node(&cluster.address(isolated)),
    );
    let mut bobs = Stomp::connect(&bob).await;
    bobs.subscribe(&channel).await;
    let mut anns = Stomp::connect(&ann).await;
    // All messages together exceed the send queue of one connection.
    let text = "한".repeat(700);
    let writing = async {
        for _ in 1..MESSAGES {
            anns.say(&ann, &channel, &text).await;
        }
        anns.say_surely(&ann, &channel, &text).await;
    };
    let reading = async {
        for seq in 1..=MESSAGES {
            assert_eq!(bobs.message().await["seq"], seq);
        }
    };
    tokio::join!(writing, reading);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_write_fails_within_5_s_while_the_database_stalls() {
    const SENDERS: usize = 400;
    // One user represents many.
    let cluster = Cluster::start_with(1, &[("REQUESTS_PER_USER", "400")]).await;
    let channel = cluster.channel().await;
    let ann = cluster.user(0, "ann").await;
    let mut lock = cluster.db.begin().await.expect("a transaction");
    sqlx::query("select from channels for update")
        .execute(&mut *lock)
        .await
        .expect("locked");
    let started = Instant::now();
    let answers = join_all((0..SENDERS).map(|_| ann.write(&channel, "hello"))).await;
    assert!(
        started.elapsed() < Duration::from_secs(5),
        "it took {:?}",
        started.elapsed()
    );
    for answer in answers {
        assert_eq!(answer.code(), "SERVICE_UNAVAILABLE", "{answer:?}");
    }
    lock.rollback().await.expect("released");
    assert_eq!(ann.write(&channel, "hello").await.status, 201);
    assert_eq!(ann.history(&channel).await.len(), 1);
}
