//! Heart-beats, and connections on which nothing is sent for up to a minute.
//!
//! libtest starts tests in the order of their names, so these long waits pass beside the other tests.

use std::time::Duration;

use tokio::time::Instant;

use crate::support::{Cluster, Stomp};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sockjs_sends_heartbeats_if_stomp_negotiated_none() {
    let cluster = Cluster::start(1).await;
    let user = cluster.user(0, "ann").await;
    let mut stomp = Stomp::open_sockjs(&cluster.address(0)).await;
    let token = user.token();
    stomp
        .send(&format!(
            "CONNECT\naccept-version:1.2\nAuthorization:Bearer {token}\nheart-beat:0,0\n\n\0"
        ))
        .await;
    stomp.expect("CONNECTED").await;
    let begun = Instant::now();
    let text = stomp.text_within(Duration::from_secs(30)).await;
    assert_eq!(
        text.as_deref(),
        Some("h"),
        "a heartbeat of SockJS, not of STOMP"
    );
    let took = begun.elapsed();
    assert!(
        (Duration::from_secs(24)..Duration::from_secs(28)).contains(&took),
        "it took {took:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_late_heart_beat_keeps_the_connection_and_a_minute_of_silence_closes_it() {
    // The read timeout is three heart-beat periods and at least a minute; both are 60 s here.
    let cluster = Cluster::start(1).await;
    let channel = cluster.channel().await;
    let mut clients = Vec::new();
    for name in ["late", "silent"] {
        let user = cluster.user(0, name).await;
        let mut stomp = Stomp::open(&cluster.address(0)).await;
        let token = user.token();
        stomp
            .send(&format!(
                "CONNECT\naccept-version:1.2\nAuthorization:Bearer {token}\nheart-beat:20000,0\n\n\0"
            ))
            .await;
        stomp.expect("CONNECTED").await;
        stomp.subscribe(&channel).await;
        clients.push((user, stomp));
    }
    let begun = Instant::now();
    let (silent, mut silents) = clients.pop().expect("two clients");
    let (_, mut lates) = clients.pop().expect("two clients");
    // 2.9 periods.
    tokio::time::sleep(Duration::from_secs(58)).await;
    lates.send("\n").await;
    let error = silents.expect("ERROR").await;
    assert_eq!(error.header("code"), Some("HEART_BEAT_TIMEOUT"));
    assert_eq!(silents.close_code().await, Some(1002));
    assert!(begun.elapsed() > Duration::from_secs(59));
    let hub = &cluster.node(0).app().delivery.hub;
    assert_eq!(hub.len(), 1, "its subscription went with it");
    assert!(
        hub.sessions()
            .iter()
            .all(|(user, _)| user.to_string() != silent.id)
    );
    silent.write(&channel, "still there?").await;
    assert_eq!(lates.message().await["content"], "still there?");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_node_sends_heart_beats_at_the_negotiated_interval() {
    let cluster = Cluster::start_with(1, &[("HEART_BEAT", "1s")]).await;
    let user = cluster.user(0, "ann").await;
    for sockjs in [false, true] {
        let address = cluster.address(0);
        let mut stomp = if sockjs {
            Stomp::open_sockjs(&address).await
        } else {
            Stomp::open(&address).await
        };
        stomp
            .send(&format!(
                "CONNECT\naccept-version:1.2\nAuthorization:Bearer {}\nheart-beat:0,1000\n\n\0",
                user.token()
            ))
            .await;
        stomp.expect("CONNECTED").await;
        let begun = Instant::now();
        for _ in 0..3 {
            assert_eq!(
                stomp.text().await.as_deref(),
                Some(if sockjs { "a[\"\\n\"]" } else { "\n" })
            );
        }
        let took = begun.elapsed();
        assert!(
            (Duration::from_millis(2_400)..Duration::from_millis(3_600)).contains(&took),
            "three beats took {took:?}"
        );
    }
}
