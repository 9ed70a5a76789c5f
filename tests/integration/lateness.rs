//! What comes late, again, or all at once: it takes no other's place, ends nobody's connection, and keeps no one waiting.

use std::{collections::HashSet, time::Duration};

use futures_util::future::join_all;
use reqwest::Method;
use serde_json::json;
use tokio::time::Instant;

use crate::support::{Cluster, Sse, Stomp, User};

/// A node that never finds Kafka.
const DEAF: (&str, &str) = ("KAFKA_BROKERS", "127.0.0.1:1");

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_edit_that_is_told_late_does_not_take_the_place_of_the_one_after_it() {
    let mut cluster = Cluster::start(1).await;
    let channel = cluster.channel().await;
    let deaf = cluster.add_unready(&[DEAF]).await;
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
    // The first edit's node cannot publish it, and leaves it to the other one, which takes its time.
    edit(&ann.at_node(&cluster.address(deaf)), "hte").await;
    edit(&ann, "the").await;
    assert_eq!(bobs.message().await["message"]["content"], "the");
    cluster.settled().await;
    bobs.expect_nothing(Duration::from_millis(300)).await;
    // One after which nothing came is told, late as it is.
    edit(&ann.at_node(&cluster.address(deaf)), "The").await;
    assert_eq!(bobs.message().await["message"]["content"], "The");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_that_a_dead_node_left_behind_is_told_while_kafka_is_away() {
    let mut cluster = Cluster::start(1).await;
    let deaf = cluster.add_unready(&[DEAF]).await;
    let bob = cluster.user(0, "bob").await.at_node(&cluster.address(deaf));
    let mut stream = Sse::open(&bob, None).await;
    stream.expect("sync").await;
    cluster.settled().await;
    cluster.kill(0).await;
    // Committed, and then its node died.
    sqlx::query(
        "insert into outbox (event_id, topic, key, kind, body) \
         values (gen_random_uuid(), 'sse', $1, 'users.refresh', '{\"userId\":\"left behind\"}')",
    )
    .bind(&bob.id)
    .execute(&cluster.db)
    .await
    .expect("written");
    let begun = Instant::now();
    stream
        .expect_about("users.refresh", "userId", "left behind")
        .await;
    assert!(
        begun.elapsed() < Duration::from_secs(5),
        "it took {:?}",
        begun.elapsed()
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_happened_without_kafka_is_in_the_history_once_however_much_it_was() {
    const EVENTS: usize = 1_100;
    let mut cluster = Cluster::start(1).await;
    let deaf = cluster.add_unready(&[DEAF]).await;
    let admin = cluster.admin(0).await.at_node(&cluster.address(deaf));
    let create = async |share: usize| {
        for n in 0..EVENTS / 10 {
            admin.create_channel(&format!("{share}-{n}")).await;
        }
    };
    join_all((0..10).map(create)).await;
    // A history has them all, so nothing is left for a node that finds Kafka.
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
    // Nor would appending one of the first again add anything.
    let seen: usize = redis::cmd("ZCARD")
        .arg("sse:seen:{sse:all}")
        .query_async(&mut redis)
        .await
        .expect("a set");
    assert!(seen >= EVENTS, "{seen}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_revocation_that_comes_late_spares_who_has_signed_in_since() {
    let mut cluster = Cluster::start(1).await;
    let channel = cluster.channel().await;
    let deaf = cluster.add_unready(&[DEAF]).await;
    let ann = cluster.user(0, "ann").await;
    let mut old = Stomp::connect(&ann).await;
    let role = json!({ "userId": ann.id, "newRole": "CHANNEL_MANAGER" });
    let admin = cluster.admin(0).await.at_node(&cluster.address(deaf));
    assert_eq!(
        admin
            .json(Method::PUT, "/api/auth/role", &role)
            .await
            .status,
        200
    );
    // Before the other node publishes what the deaf one could not.
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
async fn what_is_caught_up_cuts_nobody_who_reads() {
    const MESSAGES: i64 = 600;
    let mut cluster = Cluster::start_with(1, &[("MESSAGE_RATE", "100000")]).await;
    let channel = cluster.channel().await;
    let deaf = cluster.add_unready(&[DEAF]).await;
    let (ann, bob) = (
        cluster.user(0, "ann").await,
        cluster.user(0, "bob").await.at_node(&cluster.address(deaf)),
    );
    let mut bobs = Stomp::connect(&bob).await;
    bobs.subscribe(&channel).await;
    let mut anns = Stomp::connect(&ann).await;
    // More at once than may wait for one connection.
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
async fn while_the_database_stalls_every_sender_hears_of_it_in_time() {
    const SENDERS: usize = 400;
    let cluster = Cluster::start(1).await;
    let channel = cluster.channel().await;
    let ann = cluster.user(0, "ann").await;
    let mut stalled = cluster.db.begin().await.expect("a transaction");
    sqlx::query("select from channels for update")
        .execute(&mut *stalled)
        .await
        .expect("locked");
    let begun = Instant::now();
    let answers = join_all((0..SENDERS).map(|_| ann.write(&channel, "hello"))).await;
    assert!(
        begun.elapsed() < Duration::from_secs(5),
        "it took {:?}",
        begun.elapsed()
    );
    for answer in answers {
        assert_eq!(answer.code(), "SERVICE_UNAVAILABLE", "{answer:?}");
    }
    stalled.rollback().await.expect("released");
    assert_eq!(ann.write(&channel, "hello").await.status, 201);
    assert_eq!(ann.history(&channel).await.len(), 1);
}
