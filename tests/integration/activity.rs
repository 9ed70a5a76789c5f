//! `/user/queue/activity`: first all channels that the user can read, then those with new messages.

use std::time::Duration;

use serde_json::{Value, json};

use super::accounts::keys;
use crate::support::{Cluster, Stomp, User};

const ACTIVITY: &str = "/user/queue/activity";

/// Subscribes, and returns the first event.
async fn follow(user: &User) -> (Stomp, Vec<Value>) {
    let mut stomp = Stomp::connect(user).await;
    stomp.subscribe_with(ACTIVITY, "").await;
    let first = event(&mut stomp).await;
    (stomp, first)
}

async fn event(stomp: &mut Stomp) -> Vec<Value> {
    let frame = stomp.expect("MESSAGE").await;
    assert_eq!(frame.header("destination"), Some(ACTIVITY));
    let channels = frame.json().as_array().expect("a list").clone();
    for channel in &channels {
        assert_eq!(keys(channel), ["channelId", "lastMessageAt", "lastSeq"]);
    }
    channels
}

/// The position of a channel in an event.
fn position(channels: &[Value], channel: &str) -> Option<i64> {
    let found = channels.iter().find(|found| found["channelId"] == channel);
    found.map(|found| found["lastSeq"].as_i64().expect("a position"))
}

/// Reads events until a channel has a position; returns the number of events about it.
async fn until(stomp: &mut Stomp, channel: &str, expected: i64) -> usize {
    let (mut events, mut last) = (0, 0);
    while last < expected {
        if let Some(position) = position(&event(stomp).await, channel) {
            assert!(position >= last, "{position} after {last}");
            events += 1;
            last = position;
        }
    }
    assert_eq!(last, expected);
    events
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn activity_begins_with_all_visible_channels_and_merges_changes() {
    let cluster = Cluster::start(2).await;
    let (ann, bob, eve) = (
        cluster.user(0, "ann").await,
        cluster.user(1, "bob").await,
        cluster.user(1, "eve").await,
    );
    let (public, private) = (cluster.channel().await, ann.create_private(&[&bob]).await);
    let written = ann.write(&private, "before").await.body;
    let (mut bobs, first) = follow(&bob).await;
    assert_eq!(first.len(), 2);
    let expected =
        json!({ "channelId": private, "lastSeq": 1, "lastMessageAt": written["createdAt"] });
    assert_eq!(first[0], expected, "the latest first");
    assert_eq!(position(&first, &public), Some(0));
    let (mut eves, first) = follow(&eve).await;
    assert_eq!((first.len(), position(&first, &public)), (1, Some(0)));

    for n in 2..=30 {
        assert_eq!(ann.write(&private, &n.to_string()).await.status, 201);
    }
    let events = until(&mut bobs, &private, 30).await;
    assert!(events <= 10, "{events} events for 29 messages");
    // A channel that begins to exist later.
    let later = bob.create_private(&[&eve]).await;
    assert_eq!(bob.write(&later, "hello").await.status, 201);
    until(&mut eves, &later, 1).await;
    assert_eq!(bob.write(&public, "hello").await.status, 201);
    until(&mut eves, &public, 1).await;
    until(&mut bobs, &public, 1).await;

    // Whoever has left learns nothing.
    let path = format!("/api/channels/{later}/participants/{}", eve.id);
    assert_eq!(eve.delete(&path).await.status, 204);
    assert_eq!(bob.write(&later, "alone").await.status, 201);
    assert_eq!(bob.write(&private, "again").await.status, 201);
    until(&mut bobs, &private, 31).await;
    eves.expect_nothing(Duration::from_secs(2)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_has_one_activity_subscription_and_may_end_it() {
    let cluster = Cluster::shared(1).await;
    let ann = cluster.user(0, "ann").await;
    let channel = ann.create_private(&[&cluster.user(0, "bob").await]).await;
    let (mut stomp, _) = follow(&ann).await;
    stomp.send("UNSUBSCRIBE\nid:sub-0\nreceipt:end\n\n\0").await;
    stomp.receipt("end").await;
    assert_eq!(ann.write(&channel, "hello").await.status, 201);
    // Other tests write to public channels meanwhile.
    stomp.expect_nothing(Duration::from_secs(2)).await;
    stomp.subscribe_with(ACTIVITY, "").await;
    assert_eq!(position(&event(&mut stomp).await, &channel), Some(1));
    stomp
        .send(&format!(
            "SUBSCRIBE\nid:again\ndestination:{ACTIVITY}\n\n\0"
        ))
        .await;
    let error = stomp.expect("ERROR").await;
    assert_eq!(error.header("code"), Some("TOO_MANY_SUBSCRIPTIONS"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn activity_goes_on_without_kafka() {
    let mut cluster = Cluster::start(1).await;
    let isolated = cluster
        .add_unready(&[("KAFKA_BROKERS", "127.0.0.1:1")])
        .await;
    let (ann, bob) = (cluster.user(0, "ann").await, cluster.user(0, "bob").await);
    let channel = ann.create_private(&[&bob]).await;
    let (mut bobs, _) = follow(&bob.at_node(&cluster.address(isolated))).await;
    assert_eq!(ann.write(&channel, "hello").await.status, 201);
    until(&mut bobs, &channel, 1).await;
}
