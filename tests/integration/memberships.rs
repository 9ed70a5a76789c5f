//! Leaving a private channel, and being removed from one: everything of it is out of reach at once, on every node.

use std::time::Duration;

use serde_json::json;

use crate::support::{Cluster, Sse, Stomp, User, eventually};

fn path(channel: &str, user: &User) -> String {
    format!("/api/channels/{channel}/participants/{}", user.id)
}

async fn channels(user: &User) -> usize {
    let answer = user.get(&format!("/api/channels?userId={}", user.id)).await;
    answer.body.as_array().expect("a list").len()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_followed_of_a_lost_channel_neither_keeps_its_id_nor_counts() {
    let cluster = Cluster::start(1).await;
    let (ann, bob) = (cluster.user(0, "ann").await, cluster.user(0, "bob").await);
    let private = ann.create_private(&[&bob]).await;
    let public = cluster.channel().await;
    let mut stomp = Stomp::connect(&bob).await;
    let subscribe = |id: &str, channel: &str| {
        format!(
            "SUBSCRIBE\nid:{id}\ndestination:/sub/channels.{channel}.messages\nreceipt:{id}\n\n\0"
        )
    };
    for n in 0..100 {
        stomp.send(&subscribe(&n.to_string(), &private)).await;
        stomp.receipt(&n.to_string()).await;
    }
    assert_eq!(bob.delete(&path(&private, &bob)).await.status, 204);
    let hub = &cluster.node(0).app().delivery.hub;
    eventually("bob follows nothing", async || hub.positions().is_empty()).await;
    // One id that is known already, and one more than a hundred.
    for id in ["7", "new"] {
        stomp.send(&subscribe(id, &public)).await;
        stomp.receipt(id).await;
    }
    stomp.send("UNSUBSCRIBE\nid:8\nreceipt:r\n\n\0").await;
    stomp.receipt("r").await;
    ann.write(&public, "heard").await;
    for _ in 0..2 {
        assert_eq!(stomp.message().await["content"], "heard");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_leaves_a_channel_hears_nothing_more_of_it_on_any_node() {
    let cluster = Cluster::start(2).await;
    let (ann, bob, eve) = (
        cluster.user(0, "ann").await,
        cluster.user(1, "bob").await,
        cluster.user(0, "eve").await,
    );
    let channel = ann.create_private(&[&bob, &eve]).await;
    let feeds = ["messages", "events"].map(|feed| format!("/sub/channels.{channel}.{feed}"));
    // Bob has a socket on each node.
    let mut bobs = Vec::new();
    for node in 0..2 {
        let mut socket = Stomp::connect(&bob.at_node(&cluster.address(node))).await;
        for feed in &feeds {
            socket.subscribe_with(feed, "").await;
        }
        bobs.push(socket);
    }
    let mut eves = Stomp::connect(&eve).await;
    eves.subscribe(&channel).await;
    cluster.settled().await;
    let mut stream = Sse::open(&bob, None).await;
    let before = stream.expect("sync").await.id;
    ann.write(&channel, "before").await;
    for socket in &mut bobs {
        assert_eq!(socket.message().await["content"], "before");
    }
    stream.expect("notifications").await;

    assert_eq!(bob.delete(&path(&channel, &bob)).await.status, 204);
    // Those removed are told as well: their list has changed.
    let event = stream.expect("channels.refresh").await;
    assert_eq!(event.json(), json!({ "channelId": channel }));
    assert_eq!(channels(&bob).await, 0);
    assert_eq!(channels(&eve).await, 1);
    eventually("bob follows nothing on any node", async || {
        (0..2).all(|node| {
            let hub = &cluster.node(node).app().delivery.hub;
            hub.private_members()
                .iter()
                .all(|(_, user)| user.to_string() != bob.id)
        })
    })
    .await;
    ann.write(&channel, "after").await;
    for content in ["before", "after"] {
        assert_eq!(eves.message().await["content"], content);
    }
    for socket in &mut bobs {
        socket.expect_nothing(Duration::from_millis(200)).await;
    }
    stream.expect_nothing(Duration::from_millis(200)).await;
    // Neither by asking again, nor by replay.
    let page = format!("/api/messages?channelId={channel}");
    assert_eq!(bob.get(&page).await.code(), "CHANNEL_NOT_FOUND");
    assert_eq!(bob.write(&channel, "x").await.code(), "CHANNEL_NOT_FOUND");
    let statuses = bob
        .get(&format!("/api/readStatuses?userId={}", bob.id))
        .await;
    assert_eq!(statuses.body, json!([]));
    assert_eq!(bob.get("/api/notifications").await.body, json!([]));
    let mut replay = Sse::open(&bob, Some(&before)).await;
    let event = replay.expect("channels.refresh").await;
    assert_eq!(event.json(), json!({ "channelId": channel }));
    replay.expect("sync").await;
    let mut again = Stomp::connect(&bob).await;
    again
        .send(&format!("SUBSCRIBE\nid:1\ndestination:{}\n\n\0", feeds[0]))
        .await;
    assert_eq!(
        again.expect("ERROR").await.header("code"),
        Some("CHANNEL_NOT_FOUND")
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn others_are_removed_by_a_manager_who_is_in_the_channel_only() {
    let cluster = Cluster::start(1).await;
    let (ann, bob, eve) = (
        cluster.user(0, "ann").await,
        cluster.user(0, "bob").await,
        cluster.user(0, "eve").await,
    );
    let admin = cluster.admin(0).await;
    let theirs = ann.create_private(&[&bob]).await;
    let shared = admin.create_private(&[&ann, &bob]).await;
    let public = cluster.channel().await;
    for (who, channel, user, code) in [
        (&ann, &theirs, &bob, "FORBIDDEN"),
        (&eve, &theirs, &bob, "CHANNEL_NOT_FOUND"),
        (&admin, &theirs, &bob, "CHANNEL_NOT_FOUND"),
        (&admin, &shared, &eve, "USER_NOT_FOUND"),
        (&admin, &public, &ann, "CHANNEL_NOT_PRIVATE"),
    ] {
        assert_eq!(who.delete(&path(channel, user)).await.code(), code);
    }
    assert_eq!(admin.delete(&path(&shared, &bob)).await.status, 204);
    assert_eq!(channels(&bob).await, 2, "theirs and the public one");
    assert_eq!(
        admin.delete(&path(&shared, &bob)).await.code(),
        "USER_NOT_FOUND"
    );
    // The last one takes the channel along.
    for user in [&ann, &admin] {
        assert_eq!(user.delete(&path(&shared, user)).await.status, 204);
    }
    let left: i64 = sqlx::query_scalar("select count(*) from channels where type = 'PRIVATE'")
        .fetch_one(&cluster.db)
        .await
        .expect("PostgreSQL answers");
    assert_eq!(left, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_right_that_was_lost_while_kafka_carried_nothing_is_found_missing_all_the_same() {
    let mut cluster = Cluster::start(1).await;
    let deaf = cluster
        .add_unready(&[("KAFKA_BROKERS", "127.0.0.1:1")])
        .await;
    let (ann, bob) = (
        cluster.user(0, "ann").await,
        cluster.user(0, "bob").await.at_node(&cluster.address(deaf)),
    );
    let mut socket = Stomp::connect(&bob).await;
    let left = ann.create_private(&[&bob]).await;
    let deleted = cluster.channel().await;
    for channel in [&left, &deleted] {
        socket.subscribe(channel).await;
    }
    assert_eq!(
        bob.at_node(&cluster.address(0))
            .delete(&path(&left, &bob))
            .await
            .status,
        204
    );
    let admin = cluster.admin(0).await;
    assert_eq!(
        admin
            .delete(&format!("/api/channels/{deleted}"))
            .await
            .status,
        204
    );
    let begun = tokio::time::Instant::now();
    eventually("nothing is followed any more", async || {
        cluster.node(deaf).app().delivery.hub.positions().is_empty()
    })
    .await;
    assert!(begun.elapsed() < Duration::from_secs(2));
    // A session too.
    let bob_at_other = bob.at_node(&cluster.address(0));
    assert_eq!(bob_at_other.post_csrf("/api/auth/logout").await.status, 204);
    assert_eq!(
        socket.expect("ERROR").await.header("code"),
        Some("SESSION_ENDED")
    );
    assert!(begun.elapsed() < Duration::from_secs(5));
}
