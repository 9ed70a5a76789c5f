//! `/pub/typing`: told to those who follow a channel's events, now and then, and stored nowhere.

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
async fn typing_is_told_on_every_node_at_most_every_two_seconds_and_channel() {
    let cluster = Cluster::start(2).await;
    let (ann, bob) = (cluster.user(0, "ann").await, cluster.user(1, "bob").await);
    let channels = [cluster.channel().await, ann.create_private(&[&bob]).await];
    let mut bobs = Stomp::connect(&bob).await;
    for channel in &channels {
        bobs.subscribe_with(&format!("/sub/channels.{channel}.events"), "")
            .await;
    }
    let mut anns = Stomp::connect(&ann).await;
    let typing = |channel: &str| json!({ "type": "typing", "channelId": channel, "userId": ann.id, "username": ann.name });
    // Said ten times, told once; each time there is a receipt, for it is no mistake.
    for n in 0..10 {
        let receipt = format!("t-{n}");
        type_in(&mut anns, &json!({ "channelId": channels[0] }), &receipt).await;
        anns.receipt(&receipt).await;
    }
    assert_eq!(bobs.message().await, typing(&channels[0]));
    // Another channel has a time of its own.
    type_in(&mut anns, &json!({ "channelId": channels[1] }), "other").await;
    anns.receipt("other").await;
    assert_eq!(bobs.message().await, typing(&channels[1]));
    bobs.expect_nothing(Duration::from_millis(200)).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    type_in(&mut anns, &json!({ "channelId": channels[0] }), "later").await;
    anns.receipt("later").await;
    assert_eq!(bobs.message().await, typing(&channels[0]));
    // It is no message: nothing is stored, and no position is taken.
    let seq = ann.write(&channels[0], "written").await.body["seq"].clone();
    assert_eq!(seq, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn typing_where_one_may_not_read_is_refused_and_heard_by_nobody() {
    let cluster = Cluster::start(1).await;
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
        (json!({ "channelId": "x" }), "MALFORMED_REQUEST"),
    ] {
        let frame = format!("SEND\ndestination:/pub/typing\n\n{body}\0");
        eves.send(&frame).await;
        assert_eq!(eves.message().await["code"], code, "{body}");
    }
    bobs.expect_nothing(Duration::from_millis(200)).await;
    // Asked for a receipt, the refusal is an ERROR that names it.
    type_in(&mut eves, &json!({ "channelId": channel }), "r").await;
    // Said less than two seconds ago, so it is passed over: nobody is told either way.
    eves.receipt("r").await;
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
    let begun = tokio::time::Instant::now();
    for _ in 0..12 {
        let body = json!({ "channelId": uuid::Uuid::new_v4() });
        stomp
            .send(&format!("SEND\ndestination:/pub/typing\n\n{body}\0"))
            .await;
    }
    for _ in 0..12 {
        assert_eq!(stomp.message().await["code"], "CHANNEL_NOT_FOUND");
    }
    // Five a second, and a burst of ten.
    assert!(begun.elapsed() >= Duration::from_millis(300));
}
