//! `/pub/typing`.
//!
//! Nodes publish typing announcements to subscribers of a channel's events at a limited rate, and never store them.

use std::time::Duration;

use serde_json::json;

use crate::support::{Cluster, Stomp, User};

async fn type_in(stomp: &mut Stomp, body: &serde_json::Value, receipt: &str) {
    stomp
        .send(&format!(
            "SEND\ndestination:/pub/typing\nreceipt:{receipt}\n\n{body}\0"
        ))
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn typing_reaches_every_node_at_most_once_per_channel_in_two_seconds() {
    let cluster = Cluster::shared(2).await;
    let (ann, bob) = (cluster.user(0, "ann").await, cluster.user(1, "bob").await);
    let channels = [cluster.channel().await, ann.create_private(&[&bob]).await];
    let mut bobs = Stomp::connect(&bob).await;
    for channel in &channels {
        bobs.subscribe_with(&format!("/sub/channels.{channel}.events"), "")
            .await;
    }
    let mut anns = Stomp::connect(&ann).await;
    let typing = |channel: &str| json!({ "type": "typing", "channelId": channel, "userId": ann.id, "username": ann.name });
    // The node publishes one of ten frames and sends a receipt for each: a dropped announcement is no error.
    for n in 0..10 {
        let receipt = format!("t-{n}");
        type_in(&mut anns, &json!({ "channelId": channels[0] }), &receipt).await;
        anns.receipt(&receipt).await;
    }
    assert_eq!(bobs.message().await, typing(&channels[0]));
    // The interval applies per channel.
    type_in(&mut anns, &json!({ "channelId": channels[1] }), "other").await;
    anns.receipt("other").await;
    assert_eq!(bobs.message().await, typing(&channels[1]));
    bobs.expect_nothing(Duration::from_millis(200)).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    type_in(&mut anns, &json!({ "channelId": channels[0] }), "later").await;
    anns.receipt("later").await;
    assert_eq!(bobs.message().await, typing(&channels[0]));
    // Typing is not stored and takes no position.
    let seq = ann.write(&channels[0], "written").await.body["seq"].clone();
    assert_eq!(seq, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn typing_in_an_invisible_channel_is_rejected_and_not_published() {
    let cluster = Cluster::shared(1).await;
    let (ann, bob, eve) = (
        cluster.user(0, "ann").await,
        cluster.user(0, "bob").await,
        cluster.user(0, "eve").await,
    );
    let channel = ann.create_private(&[&bob]).await;
    let events = format!("/sub/channels.{channel}.events");
    let mut bobs = Stomp::connect(&bob).await;
    bobs.subscribe_with(&events, "").await;
    let mut eves = Stomp::connect(&eve).await;
    eves.subscribe_with("/user/queue/errors", "").await;
    let unknown = json!({ "channelId": uuid::Uuid::new_v4() });
    for (body, code) in [
        (json!({ "channelId": channel }), "CHANNEL_NOT_FOUND"),
        (unknown, "CHANNEL_NOT_FOUND"),
        (json!({}), "INVALID_INPUT"),
        (json!({ "channelId": "x" }), "INVALID_INPUT"),
    ] {
        let frame = format!("SEND\ndestination:/pub/typing\n\n{body}\0");
        eves.send(&frame).await;
        assert_eq!(eves.message().await["code"], code, "{body}");
    }
    bobs.expect_nothing(Duration::from_millis(200)).await;
    // The frame arrives within 2 s of the last, so the node drops it and sends the receipt without a check.
    type_in(&mut eves, &json!({ "channelId": channel }), "r").await;
    eves.receipt("r").await;
    // On a new connection, an ERROR with the receipt id rejects the frame.
    let mut again = Stomp::connect(&eve).await;
    type_in(&mut again, &json!({ "channelId": channel }), "r").await;
    let error = again.expect("ERROR").await;
    assert_eq!(error.header("receipt-id"), Some("r"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn typing_over_the_rate_is_delayed() {
    let cluster = Cluster::start_with(1, &[("MESSAGE_RATE", "5")]).await;
    let ann: User = cluster.user(0, "ann").await;
    let mut stomp = Stomp::connect(&ann).await;
    stomp.subscribe_with("/user/queue/errors", "").await;
    let started = tokio::time::Instant::now();
    for _ in 0..12 {
        let body = json!({ "channelId": uuid::Uuid::new_v4() });
        stomp
            .send(&format!("SEND\ndestination:/pub/typing\n\n{body}\0"))
            .await;
    }
    for _ in 0..12 {
        assert_eq!(stomp.message().await["code"], "CHANNEL_NOT_FOUND");
    }
    // The rate is 5 per second after a burst of 10.
    assert!(started.elapsed() >= Duration::from_millis(300));
}
