//! What a client may make a node say, read and keep.

use std::time::Duration;

use serde_json::json;
use tokio::time::Instant;

use crate::support::{Cluster, Stomp, User};

/// No limit on SENDs that a test could meet.
const FAST: (&str, &str) = ("MESSAGE_RATE", "100000");

/// A SEND that is refused for its content.
const BAD: &str = "SEND\ndestination:/pub/messages\n\n{}\0";

fn messages_of(channel: &str) -> String {
    format!("/sub/channels.{channel}.messages")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn from_a_client_that_takes_no_answers_not_even_what_is_there_is_handled() {
    const BAD_ONES: usize = 10_000;
    let cluster = Cluster::start_with(1, &[FAST]).await;
    let channel = cluster.channel().await;
    let (ann, bob) = (cluster.user(0, "ann").await, cluster.user(0, "bob").await);
    let mut other = Stomp::connect(&bob).await;
    other.subscribe(&channel).await;
    let mut stomp = Stomp::open_narrow(&cluster.address(0)).await;
    stomp.log_in(ann.token()).await;
    stomp.subscribe_with("/user/queue/errors", "").await;
    // Answers are ten times as long. Those to the first message the kernel may keep for the client; those to the second it
    // cannot, and only behind them comes what the other would hear.
    stomp.send(&BAD.repeat(BAD_ONES / 2)).await;
    let good = json!({ "content": "behind", "channelId": channel, "authorId": ann.id });
    let good = format!("SEND\ndestination:/pub/messages\nreceipt:good\n\n{good}\0");
    stomp.send(&(BAD.repeat(BAD_ONES) + &good)).await;
    other.expect_nothing(Duration::from_secs(1)).await;
    for _ in 0..BAD_ONES / 2 * 3 {
        assert_eq!(stomp.message().await["code"], "INVALID_INPUT");
    }
    stomp.receipt("good").await;
    assert_eq!(other.message().await["content"], "behind");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn invalid_sends_over_the_rate_are_answered_late_and_once() {
    let cluster = Cluster::start_with(1, &[("MESSAGE_RATE", "2")]).await;
    let user = cluster.user(0, "ann").await;
    let mut stomp = Stomp::connect(&user).await;
    stomp.subscribe_with("/user/queue/errors", "").await;
    let begun = Instant::now();
    stomp.send(&BAD.repeat(5)).await;
    for _ in 0..5 {
        assert_eq!(stomp.message().await["code"], "INVALID_INPUT");
    }
    // Two a second, and a burst of four.
    assert!(begun.elapsed() >= Duration::from_millis(400));
    stomp
        .send("SUBSCRIBE\nid:twice\ndestination:/user/queue/errors\nreceipt:r\n\n\0")
        .await;
    let error = stomp.expect("ERROR").await;
    assert_eq!(error.header("code"), Some("TOO_MANY_SUBSCRIPTIONS"));
    assert_eq!(error.header("receipt-id"), Some("r"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn subscribing_again_and_again_is_slowed_down_and_not_refused() {
    let cluster = Cluster::start(1).await;
    let channel = cluster.channel().await;
    let user = cluster.user(0, "ann").await;
    let mut stomp = Stomp::connect(&user).await;
    let destination = messages_of(&channel);
    let again = |receipt: &str| {
        format!(
            "SUBSCRIBE\nid:s\ndestination:{destination}\nafter-seq:0\n\n\0UNSUBSCRIBE\nid:s\nreceipt:{receipt}\n\n\0"
        )
    };
    let begun = Instant::now();
    stomp
        .send(&(again("x").repeat(99) + &again("last of the burst")))
        .await;
    for _ in 0..99 {
        stomp.expect("RECEIPT").await;
    }
    stomp.receipt("last of the burst").await;
    let burst = begun.elapsed();
    stomp.send(&again("slow").repeat(15)).await;
    for _ in 0..15 {
        stomp.expect("RECEIPT").await;
    }
    // What the burst took has earned some of these.
    let took = begun.elapsed();
    assert!(
        (Duration::from_millis(1_400)..Duration::from_secs(4).max(burst * 2)).contains(&took),
        "it took {took:?}, the burst {burst:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_to_be_gone_goes_at_once_whatever_is_left_to_handle() {
    let cluster = Cluster::start(1).await;
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
    let begun = Instant::now();
    let error = stomp.expect("ERROR").await;
    assert_eq!(error.header("code"), Some("SESSION_ENDED"));
    assert_eq!(stomp.close_code().await, Some(1008));
    assert!(
        begun.elapsed() < Duration::from_millis(500),
        "it took {:?}",
        begun.elapsed()
    );
}

/// Writes messages whose texts are as long as can be, `how_many` of them.
async fn write_long(user: &User, channel: &str, how_many: usize) {
    let mut writer = Stomp::connect(user).await;
    let text = "한".repeat(2_000);
    for _ in 1..how_many {
        writer.say(user, channel, &text).await;
    }
    writer.say_surely(user, channel, &text).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_resumption_may_be_far_longer_than_what_may_wait() {
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
        // Not a client that reads at once.
        tokio::time::sleep(Duration::from_millis(300)).await;
        let live = ann.write(&channel, "meanwhile").await.body["seq"].clone();
        let live = live.as_u64().expect("a position");
        let mut seq = 0;
        let mut receipt = false;
        while seq < live || !receipt {
            let frame = stomp.frame().await.expect("the connection stays");
            if frame.command == "RECEIPT" {
                assert!(seq + 1 >= live, "the receipt comes behind what was stored");
                receipt = true;
            } else {
                seq += 1;
                assert_eq!(frame.json()["seq"], seq);
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stranger_may_say_little_at_once() {
    let cluster = Cluster::start(1).await;
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
    // Who is known may say more, but not anything.
    let mut stomp = Stomp::connect(&user).await;
    stomp.send(&"\n".repeat(300 * 1024)).await;
    stomp.send("ACK\nid:1\nreceipt:r\n\n\0").await;
    stomp.receipt("r").await;
    stomp.send(&"\n".repeat(500 * 1024)).await;
    let error = stomp.expect("ERROR").await;
    assert_eq!(error.header("code"), Some("FRAME_TOO_LARGE"));
    assert_eq!(stomp.close_code().await, Some(1009));
}
