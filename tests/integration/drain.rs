//! A node that drains or dies loses no messages.

use std::{collections::HashSet, time::Duration};

use tokio::time::Instant;

use crate::support::{Cluster, Sse, Stomp};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_draining_node_closes_connections_and_loses_nothing() {
    let mut cluster = Cluster::start_with(2, &[("MESSAGE_RATE", "100000")]).await;
    let channel = cluster.channel().await;
    let user = cluster.user(0, "ann").await;
    let reader = cluster.user(1, "bob").await;
    let mut reading = Stomp::connect(&reader).await;
    reading.subscribe(&channel).await;
    let mut raw = Stomp::connect(&user).await;
    raw.subscribe(&channel).await;
    let mut sockjs = Stomp::open_sockjs(&cluster.address(0)).await;
    sockjs.log_in(user.token()).await;
    let mut events = Vec::new();
    for _ in 0..5 {
        let mut stream = Sse::open(&user, None).await;
        stream.expect("sync").await;
        assert_eq!(stream.retry_ms, 3_000, "the retry time outside a drain");
        events.push(stream);
    }
    // This sender's requests are in flight when the drain starts.
    let sending = tokio::spawn({
        let (user, channel) = (user.clone(), channel.clone());
        async move {
            let mut accepted = 0;
            while user
                .write_if_possible(&channel, &format!("{accepted}"))
                .await
            {
                accepted += 1;
            }
            accepted
        }
    });
    tokio::time::sleep(Duration::from_millis(100)).await;
    let started = Instant::now();
    let address = cluster.address(0);
    let drained = cluster.drain(0);
    let closes = async {
        let codes = (
            raw.close_code().await,
            sockjs.frame_texts_until_close().await,
        );
        for stream in &mut events {
            let event = stream.next_but_presence().await;
            assert_eq!(event, None, "the stream ended cleanly");
        }
        codes
    };
    let (clean, (code, texts)) = tokio::join!(drained, closes);
    assert!(clean, "the drain completes without a timeout");
    assert!(
        started.elapsed() < Duration::from_secs(5),
        "the drain took {:?}",
        started.elapsed()
    );
    assert_eq!(code, Some(1001));
    assert_eq!(
        texts.last().map(String::as_str),
        Some("c[1001,\"The node is leaving.\"]")
    );
    // The retry times are random, so that the clients do not reconnect simultaneously.
    let waits: HashSet<u32> = events.iter().map(|stream| stream.retry_ms).collect();
    assert!(waits.len() > 1, "{waits:?}");
    assert!(
        waits.iter().all(|wait| (500..3_000).contains(wait)),
        "{waits:?}"
    );
    assert!(
        tokio::net::TcpStream::connect(address).await.is_err(),
        "the port is closed"
    );
    let accepted = sending.await.expect("the sender succeeds");
    assert!(accepted > 0);
    for n in 0..accepted {
        assert_eq!(
            reading.message().await["content"],
            n.to_string(),
            "every accepted message is delivered"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_of_a_dead_node_resumes_on_another_without_a_gap() {
    let mut cluster = Cluster::start_with(2, &[("MESSAGE_RATE", "100000")]).await;
    let channel = cluster.channel().await;
    let (writer, reader) = (cluster.user(1, "ann").await, cluster.user(0, "bob").await);
    let mut reading = Stomp::connect(&reader).await;
    reading.subscribe(&channel).await;
    let writing = tokio::spawn({
        let channel = channel.clone();
        async move {
            let mut stomp = Stomp::connect(&writer).await;
            for n in 1..=300 {
                stomp.say_surely(&writer, &channel, &n.to_string()).await;
            }
        }
    });
    let mut last = 0;
    while last < 100 {
        last = reading.message().await["seq"].as_i64().expect("a position");
    }
    cluster.kill(0).await;
    let reader = reader.at_node(&cluster.address(1));
    let mut reading = Stomp::connect(&reader).await;
    reading
        .subscribe_with(
            &format!("/sub/channels.{channel}.messages"),
            &format!("after-seq:{last}\n"),
        )
        .await;
    for seq in last + 1..=300 {
        assert_eq!(reading.message().await["seq"], seq);
    }
    writing.await.expect("the writer succeeds");
}
