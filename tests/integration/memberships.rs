//! Leaving a private channel, and removal from it.
//!
//! The user loses all access on every node immediately.

use std::time::Duration;

use serde_json::json;

use discodeit::model::Control;

use crate::support::{Cluster, Sse, Stomp, User, eventually};

fn path(channel: &str, user: &User) -> String {
    format!("/api/channels/{channel}/participants/{}", user.id)
}

async fn channels(user: &User) -> usize {
    let answer = user.get(&format!("/api/channels?userId={}", user.id)).await;
    answer.body.as_array().expect("a list").len()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn subscriptions_to_a_lost_channel_free_their_ids_and_quota() {
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
    eventually("bob has no subscription", async || {
        hub.positions().is_empty()
    })
    .await;
    // An id of a lost subscription, and an id over the limit of 100.
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
async fn a_user_who_leaves_a_channel_receives_nothing_more_on_any_node() {
    let cluster = Cluster::start(2).await;
    let (ann, bob, eve) = (
        cluster.user(0, "ann").await,
        cluster.user(1, "bob").await,
        cluster.user(0, "eve").await,
    );
    let channel = ann.create_private(&[&bob, &eve]).await;
    let destinations = ["messages", "events"].map(|feed| format!("/sub/channels.{channel}.{feed}"));
    // Bob has a socket on each node.
    let mut bobs = Vec::new();
    for node in 0..2 {
        let mut socket = Stomp::connect(&bob.at_node(&cluster.address(node))).await;
        for destination in &destinations {
            socket.subscribe_with(destination, "").await;
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
    // The removed user gets the event, too, because the user's list of channels has changed.
    let event = stream.expect("channels.refresh").await;
    assert_eq!(event.json(), json!({ "channelId": channel }));
    assert_eq!(channels(&bob).await, 0);
    assert_eq!(channels(&eve).await, 1);
    eventually("bob has no subscription on any node", async || {
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
    // Neither the API, nor a replay, nor a new subscription gives access.
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
        .send(&format!(
            "SUBSCRIBE\nid:1\ndestination:{}\n\n\0",
            destinations[0]
        ))
        .await;
    assert_eq!(
        again.expect("ERROR").await.header("code"),
        Some("CHANNEL_NOT_FOUND")
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_a_manager_in_the_channel_removes_other_participants() {
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
    for (caller, channel, user, code) in [
        (&ann, &theirs, &bob, "FORBIDDEN"),
        (&eve, &theirs, &bob, "CHANNEL_NOT_FOUND"),
        (&admin, &theirs, &bob, "CHANNEL_NOT_FOUND"),
        (&admin, &shared, &eve, "USER_NOT_FOUND"),
        (&admin, &public, &ann, "CHANNEL_NOT_PRIVATE"),
    ] {
        assert_eq!(caller.delete(&path(channel, user)).await.code(), code);
    }
    assert_eq!(admin.delete(&path(&shared, &bob)).await.status, 204);
    assert_eq!(
        channels(&bob).await,
        2,
        "the channel of ann and bob, and the public channel"
    );
    assert_eq!(
        admin.delete(&path(&shared, &bob)).await.code(),
        "USER_NOT_FOUND"
    );
    // The last participant's leaving deletes the channel.
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
async fn a_lost_membership_takes_effect_without_kafka() {
    let mut cluster = Cluster::start(1).await;
    let isolated = cluster
        .add_unready(&[("KAFKA_BROKERS", "127.0.0.1:1")])
        .await;
    let (ann, bob) = (
        cluster.user(0, "ann").await,
        cluster
            .user(0, "bob")
            .await
            .at_node(&cluster.address(isolated)),
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
    let started = tokio::time::Instant::now();
    eventually("no subscription is left", async || {
        cluster
            .node(isolated)
            .app()
            .delivery
            .hub
            .positions()
            .is_empty()
    })
    .await;
    assert!(started.elapsed() < Duration::from_secs(2));
    // The end of a session also takes effect.
    let bob_at_other = bob.at_node(&cluster.address(0));
    assert_eq!(bob_at_other.post_csrf("/api/auth/logout").await.status, 204);
    assert_eq!(
        socket.expect("ERROR").await.header("code"),
        Some("SESSION_ENDED")
    );
    assert!(started.elapsed() < Duration::from_secs(5));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_late_record_of_a_removal_does_not_end_the_subscription_of_a_participant() {
    let cluster = Cluster::start(1).await;
    let (ann, bob) = (cluster.user(0, "ann").await, cluster.user(0, "bob").await);
    let channel = ann.create_private(&[&bob]).await;
    let mut socket = Stomp::connect(&bob).await;
    socket.subscribe(&channel).await;
    cluster
        .node(0)
        .app()
        .delivery
        .apply(&Control::MembershipLost {
            user_id: bob.id.parse().expect("an id"),
            channel_id: channel.parse().expect("an id"),
        });
    // Longer than the check of a removal.
    tokio::time::sleep(Duration::from_millis(500)).await;
    ann.write(&channel, "heard").await;
    assert_eq!(socket.message().await["content"], "heard");
}
