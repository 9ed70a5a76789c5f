//! Limits on the replies, reads and memory that one client may cause.

use std::time::Duration;

use serde_json::json;
use tokio::time::Instant;

use crate::support::{Cluster, Stomp, User};

/// A rate limit that no test reaches.
const FAST: (&str, &str) = ("MESSAGE_RATE", "100000");

/// A SEND with an invalid body.
const INVALID: &str = "SEND\ndestination:/pub/messages\n\n{}\0";

fn messages_of(channel: &str) -> String {
    format!("/sub/channels.{channel}.messages")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_frame_is_handled_while_the_client_reads_no_replies() {
    const SENDS: usize = 10_000;
    let cluster = Cluster::start_with(1, &[FAST]).await;
    let channel = cluster.channel().await;
    let (ann, bob) = (cluster.user(0, "ann").await, cluster.user(0, "bob").await);
    let mut other = Stomp::connect(&bob).await;
    other.subscribe(&channel).await;
    let mut stomp = Stomp::open_narrow(&cluster.address(0)).await;
    stomp.log_in(ann.token()).await;
    stomp.subscribe_with("/user/queue/errors", "").await;
    // A reply is ten times as long as its SEND. The kernel may buffer the replies to the first WebSocket message, but not the
    // replies to the second, which precede the valid SEND.
    stomp.send(&INVALID.repeat(SENDS / 2)).await;
    let valid = json!({ "content": "behind", "channelId": channel, "authorId": ann.id });
    let valid = format!("SEND\ndestination:/pub/messages\nreceipt:valid\n\n{valid}\0");
    stomp.send(&(INVALID.repeat(SENDS) + &valid)).await;
    other.expect_nothing(Duration::from_secs(1)).await;
    for _ in 0..SENDS / 2 * 3 {
        assert_eq!(stomp.message().await["code"], "INVALID_INPUT");
    }
    stomp.receipt("valid").await;
    assert_eq!(other.message().await["content"], "behind");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn invalid_sends_over_the_rate_are_delayed_and_answered_once() {
    let cluster = Cluster::start_with(1, &[("MESSAGE_RATE", "2")]).await;
    let user = cluster.user(0, "ann").await;
    let mut stomp = Stomp::connect(&user).await;
    stomp.subscribe_with("/user/queue/errors", "").await;
    let started = Instant::now();
    stomp.send(&INVALID.repeat(5)).await;
    for _ in 0..5 {
        assert_eq!(stomp.message().await["code"], "INVALID_INPUT");
    }
    // The rate is 2 per second after a burst of 4.
    assert!(started.elapsed() >= Duration::from_millis(400));
    stomp
        .send("SUBSCRIBE\nid:twice\ndestination:/user/queue/errors\nreceipt:r\n\n\0")
        .await;
    let error = stomp.expect("ERROR").await;
    assert_eq!(error.header("code"), Some("TOO_MANY_SUBSCRIPTIONS"));
    assert_eq!(error.header("receipt-id"), Some("r"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn frequent_subscribes_are_delayed_not_rejected() {
    let cluster = Cluster::shared(1).await;
    let channel = cluster.channel().await;
    let user = cluster.user(0, "ann").await;
    let mut stomp = Stomp::connect(&user).await;
    let destination = messages_of(&channel);
    let again = |receipt: &str| {
        format!(
            "SUBSCRIBE\nid:s\ndestination:{destination}\nafter-seq:0\n\n\0UNSUBSCRIBE\nid:s\nreceipt:{receipt}\n\n\0"
        )
    };
    let started = Instant::now();
    stomp
        .send(&(again("x").repeat(99) + &again("last of the burst")))
        .await;
    for _ in 0..99 {
        stomp.expect("RECEIPT").await;
    }
    stomp.receipt("last of the burst").await;
    let burst = started.elapsed();
    stomp.send(&again("slow").repeat(15)).await;
    for _ in 0..15 {
        stomp.expect("RECEIPT").await;
    }
    // The bucket refills during the burst, so fewer than 15 subscribes may be delayed.
    let took = started.elapsed();
    assert!(
        (Duration::from_millis(1_400)..Duration::from_secs(4).max(burst * 2)).contains(&took),
        "it took {took:?}, the burst {burst:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_revoked_connection_closes_before_its_queued_frames_are_handled() {
    let cluster = Cluster::shared(1).await;
    let channel = cluster.channel().await;
    let user = cluster.user(0, "ann").await;
    let mut stomp = Stomp::connect(&user).await;
    let again = format!(
        "SUBSCRIBE\nid:s\ndestination:{}\n\n\0UNSUBSCRIBE\nid:s\n\n\0",
        messages_of(&channel)
    );
    stomp.send(&again.repeat(2_500)).await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(user.post_csrf("/api/auth/logout").await.status, 204);
    let started = Instant::now();
    let error = stomp.expect("ERROR").await;
    assert_eq!(error.header("code"), Some("SESSION_ENDED"));
    assert_eq!(stomp.close_code().await, Some(1008));
    assert!(
        started.elapsed() < Duration::from_millis(500),
        "it took {:?}",
        started.elapsed()
    );
}

/// Writes `how_many` messages of the maximum length.
async fn write_long(user: &User, channel: &str, how_many: usize) {
    let mut writer = Stomp::connect(user).await;
    let text = "한".repeat(2_000);
    for _ in 1..how_many {
        writer.say(user, channel, &text).await;
    }
    writer.say_surely(user, channel, &text).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replay_may_exceed_the_send_queue() {
    const STORED: usize = 300;
    let cluster = Cluster::start_with(1, &[FAST]).await;
    let channel = cluster.channel().await;
    let (ann, bob) = (cluster.user(0, "ann").await, cluster.user(0, "bob").await);
    write_long(&ann, &channel, STORED).await;
    let address = cluster.address(0);
    for (sockjs, narrow) in [(false, false), (true, false), (false, true)] {
        let mut stomp = match (sockjs, narrow) {
            (true, _) => Stomp::open_sockjs(&address).await,
            (_, true) => Stomp::open_narrow(&address).await,
            _ => Stomp::open(&address).await,
        };
        stomp.log_in(bob.token()).await;
        let destination = messages_of(&channel);
        stomp
            .send(&format!(
                "SUBSCRIBE\nid:s\ndestination:{destination}\nafter-seq:0\nreceipt:r\n\n\0"
            ))
            .await;
        // The client reads late.
        tokio::time::sleep(Duration::from_millis(300)).await;
        let live = ann.write(&channel, "meanwhile").await.body["seq"].clone();
        let live = live.as_u64().expect("a position");
        let mut seq = 0;
        let mut receipt = false;
        while seq < live || !receipt {
            let frame = stomp.frame().await.expect("the connection stays");
            if frame.command == "RECEIPT" {
                assert!(seq + 1 >= live, "the receipt follows the stored messages");
                receipt = true;
            } else {
                seq += 1;
                assert_eq!(frame.json()["seq"], seq);
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_message_limit_is_lower_before_authentication() {
    let cluster = Cluster::shared(1).await;
    let user = cluster.user(0, "ann").await;
    let long = format!("CONNECT\nx:{}\n\n\0", "y".repeat(16 * 1024));
    for sockjs in [false, true] {
        let address = cluster.address(0);
        let mut stomp = if sockjs {
            Stomp::open_sockjs(&address).await
        } else {
            Stomp::open(&address).await
        };
        stomp.send(&long).await;
        let error = stomp.expect("ERROR").await;
        assert_eq!(error.header("code"), Some("FRAME_TOO_LARGE"));
        assert_eq!(stomp.close_code().await, Some(1009));
    }
    // The limit after authentication is 400 KiB.
    let mut stomp = Stomp::connect(&user).await;
    stomp.send(&"\n".repeat(300 * 1024)).await;
    stomp.send("ACK\nid:1\nreceipt:r\n\n\0").await;
    stomp.receipt("r").await;
    stomp.send(&"\n".repeat(500 * 1024)).await;
    let error = stomp.expect("ERROR").await;
    assert_eq!(error.header("code"), Some("FRAME_TOO_LARGE"));
    assert_eq!(stomp.close_code().await, Some(1009));
}
