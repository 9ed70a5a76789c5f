//! STOMP over the HTTP transports of SockJS, end to end.

use std::time::Duration;

use discodeit::tasks::Group;
use serde_json::json;

use crate::support::{Cluster, SockJs, Stomp, eventually};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stomp_works_over_http_without_websockets() {
    let cluster = Cluster::shared(2).await;
    let channel = cluster.channel().await;
    let (ann, bob) = (cluster.user(0, "ann").await, cluster.user(1, "bob").await);
    let mut other = Stomp::connect(&bob).await;
    other.subscribe(&channel).await;
    for streams in [true, false] {
        let mut session = SockJs::open(&cluster.address(0), streams).await;
        session.connect(&ann).await;
        session.subscribe(&channel).await;
        let odd = "\"\\ \u{1}\u{200d}\u{2028}\u{ffff} 😀 100%";
        let body = json!({ "content": odd, "channelId": channel, "authorId": ann.id });
        session
            .send(&format!(
                "SEND\ndestination:/pub/messages\nreceipt:m\n\n{body}\0"
            ))
            .await;
        let frames = [session.next().await, session.next().await];
        let message = frames
            .iter()
            .find(|frame| frame.starts_with("MESSAGE\n"))
            .expect("the message");
        assert!(frames.iter().any(|frame| frame.starts_with("RECEIPT\n")));
        let (_, body) = message.split_once("\n\n").expect("a blank line");
        let body: serde_json::Value =
            serde_json::from_str(body.trim_end_matches('\0')).expect("JSON");
        assert_eq!(body["content"], odd);
        assert_eq!(other.message().await["content"], odd);
        // Messages arrive in order across polls and stream chunks.
        for n in 0..20 {
            other.say_surely(&bob, &channel, &n.to_string()).await;
        }
        for n in 0..20 {
            let message = session.expect("MESSAGE").await;
            assert!(
                message.contains(&format!("\"content\":\"{n}\"")),
                "{n}: {message}"
            );
        }
        for _ in 0..20 {
            other.message().await;
        }
        session.send("DISCONNECT\nreceipt:bye\n\n\0").await;
        assert!(session.expect("RECEIPT").await.contains("receipt-id:bye\n"));
        assert_eq!(session.next().await, "c[1000,\"\"]");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_error_frame_precedes_the_close() {
    let cluster = Cluster::shared(1).await;
    for streams in [true, false] {
        let mut session = SockJs::open(&cluster.address(0), streams).await;
        session.send("FOO\n\n\0").await;
        let error = session.expect("ERROR").await;
        assert!(error.contains("code:UNKNOWN_COMMAND\n"), "{error}");
        assert_eq!(session.next().await, "c[1002,\"\"]");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disconnected_client_leaves_no_subscription_or_task() {
    let cluster = Cluster::start(1).await;
    let channel = cluster.channel().await;
    let ann = cluster.user(0, "ann").await;
    let mut session = SockJs::open(&cluster.address(0), true).await;
    session.connect(&ann).await;
    session.subscribe(&channel).await;
    let app = cluster.node(0).app();
    assert_eq!(app.delivery.hub.len(), 1);
    drop(session);
    eventually("the hub has no connection", async || {
        app.delivery.hub.is_empty()
    })
    .await;
    assert!(app.delivery.hub.positions().is_empty());
    eventually("the task of the session ends", async || {
        app.tasks.count(Group::SockJsSessions) == 0
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_draining_node_and_an_ended_session_close_http_transports_with_a_reason() {
    let mut cluster = Cluster::start(1).await;
    let (ann, bob) = (cluster.user(0, "ann").await, cluster.user(0, "bob").await);
    let mut revoked = SockJs::open(&cluster.address(0), true).await;
    revoked.connect(&ann).await;
    let mut drained = SockJs::open(&cluster.address(0), true).await;
    drained.connect(&bob).await;
    assert_eq!(ann.post_csrf("/api/auth/logout").await.status, 204);
    assert!(
        revoked
            .expect("ERROR")
            .await
            .contains("code:SESSION_ENDED\n")
    );
    assert_eq!(revoked.next().await, "c[1008,\"The session has ended.\"]");
    let (clean, goodbye) = tokio::join!(cluster.drain(0), drained.next());
    assert_eq!(goodbye, "c[1001,\"The node is leaving.\"]");
    assert!(clean, "every task ended in time");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stomp_heart_beats_replace_sockjs_heartbeats() {
    let cluster = Cluster::start_with(1, &[("HEART_BEAT", "1s")]).await;
    let ann = cluster.user(0, "ann").await;
    let mut session = SockJs::open(&cluster.address(0), true).await;
    let token = ann.token();
    session
        .send(&format!(
            "CONNECT\nAuthorization:Bearer {token}\naccept-version:1.2\nheart-beat:0,1000\n\n\0"
        ))
        .await;
    session.expect("CONNECTED").await;
    let started = tokio::time::Instant::now();
    for _ in 0..3 {
        assert_eq!(session.line().await, "a[\"\\n\"]");
    }
    assert!(started.elapsed() < Duration::from_millis(3_600));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_receipt_for_unsubscribe_follows_every_message_delivered_before() {
    let cluster = Cluster::shared(1).await;
    let channel = cluster.channel().await;
    let (ann, bob) = (cluster.user(0, "ann").await, cluster.user(0, "bob").await);
    let mut witness = Stomp::connect(&bob).await;
    witness.subscribe(&channel).await;
    let mut session = SockJs::open(&cluster.address(0), false).await;
    session.connect(&ann).await;
    session.subscribe(&channel).await;
    // Between two polls, some messages are in the session's `outgoing` queue and others still in the send queue.
    for n in 0..5 {
        assert_eq!(bob.write(&channel, &n.to_string()).await.status, 201);
        witness.message().await;
    }
    session.send("UNSUBSCRIBE\nid:s\nreceipt:u\n\n\0").await;
    for _ in 0..5 {
        session.expect("MESSAGE").await;
    }
    assert!(session.expect("RECEIPT").await.contains("receipt-id:u\n"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_end_of_a_session_stops_a_client_that_sends_continuously() {
    let cluster = Cluster::start_with(1, &[("MESSAGE_RATE", "100000")]).await;
    let channel = cluster.channel().await;
    let ann = cluster.user(0, "ann").await;
    let mut session = SockJs::open(&cluster.address(0), true).await;
    session.connect(&ann).await;
    let send = json!({ "content": "x", "channelId": channel, "authorId": ann.id });
    let frames = format!("SEND\ndestination:/pub/messages\n\n{send}\0ACK\nid:1\n\n\0").repeat(500);
    let body = json!([frames]).to_string();
    let (http, url) = (session.http.clone(), format!("{}/xhr_send", session.url));
    let sending = tokio::spawn(async move {
        // The node always handles one request while another waits.
        let send = || async {
            let request = http.post(&url).header("Content-Type", "text/plain");
            request.body(body.clone()).send().await.expect("an answer")
        };
        loop {
            let (one, other) = tokio::join!(send(), send());
            if one.status() != 204 || other.status() != 204 {
                return;
            }
        }
    });
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(ann.post_csrf("/api/auth/logout").await.status, 204);
    let started = tokio::time::Instant::now();
    assert!(
        session
            .expect("ERROR")
            .await
            .contains("code:SESSION_ENDED\n")
    );
    assert_eq!(session.next().await, "c[1008,\"The session has ended.\"]");
    assert!(
        started.elapsed() < Duration::from_secs(1),
        "it took {:?}",
        started.elapsed()
    );
    drop(session);
    sending.await.expect("the session is gone");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_long_replay_arrives_over_several_polls() {
    let cluster = Cluster::start_with(1, &[("MESSAGE_RATE", "100000")]).await;
    let channel = cluster.channel().await;
    let (ann, bob) = (cluster.user(0, "ann").await, cluster.user(0, "bob").await);
    let mut writer = Stomp::connect(&bob).await;
    let long = "한".repeat(2_000);
    for _ in 0..149 {
        writer.say(&bob, &channel, &long).await;
    }
    writer.say_surely(&bob, &channel, &long).await;
    let mut session = SockJs::open(&cluster.address(0), false).await;
    session.connect(&ann).await;
    session
        .send(&format!(
            "SUBSCRIBE\nid:s\ndestination:/sub/channels.{channel}.messages\nafter-seq:0\nreceipt:r\n\n\0"
        ))
        .await;
    for seq in 1..=150 {
        let message = session.expect("MESSAGE").await;
        assert!(message.contains(&format!("\"seq\":{seq},")), "{seq}");
    }
    assert!(session.expect("RECEIPT").await.contains("receipt-id:r\n"));
}
