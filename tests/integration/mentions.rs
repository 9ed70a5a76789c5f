//! Mentions: resolved when a message is written and edited, counted while unread.

use serde_json::{Value, json};

use super::{accounts::text, channels::read_statuses, files::count};
use crate::support::{Cluster, User, eventually};

/// Number of unread mentions in a channel.
async fn unread(user: &User, channel: &str) -> Value {
    let statuses = read_statuses(user).await;
    let found = statuses
        .iter()
        .find(|status| status["channelId"] == channel);
    found.expect("a read status")["mentions"].clone()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mention_names_users_who_can_read_the_channel() {
    let cluster = Cluster::shared(2).await;
    let (ann, bob, eve) = (
        cluster.user(0, "ann").await,
        cluster.user(1, "bob").await,
        cluster.user(1, "eve").await,
    );
    let (private, public) = (ann.create_private(&[&bob]).await, cluster.channel().await);
    let (a, b, e) = (&ann.name, &bob.name, &eve.name);
    for (content, in_private, in_public) in [
        (format!("@{b}"), json!([bob.id]), json!([bob.id])),
        (
            format!("@{b}님, @{a}"),
            json!([bob.id, ann.id]),
            json!([bob.id, ann.id]),
        ),
        (
            format!("(@{}!)", a.to_uppercase()),
            json!([ann.id]),
            json!([ann.id]),
        ),
        (
            format!("@{e} @{e} @{b}"),
            json!([bob.id]),
            json!([eve.id, bob.id]),
        ),
        (format!("@{a}x mail{b}@{b} {b}"), json!([]), json!([])),
        ("@nobody @".to_owned(), json!([]), json!([])),
    ] {
        for (channel, expected) in [(&private, &in_private), (&public, &in_public)] {
            let answer = ann.write(channel, &content).await;
            assert_eq!(answer.status, 201, "{answer:?}");
            assert_eq!(answer.body["mentions"], *expected, "{content}");
            let history = bob.history(channel).await;
            assert_eq!(history.last(), Some(&answer.body));
        }
    }
    // Of two names the longer one counts.
    let long = format!("{a} Lee");
    let renamed = json!({ "newUsername": long });
    let path = format!("/api/users/{}", eve.id);
    let part = "userUpdateRequest";
    let renamed = eve
        .multipart(reqwest::Method::PATCH, &path, part, &renamed)
        .await;
    assert_eq!(renamed.status, 200, "{renamed:?}");
    let answer = ann.write(&public, &format!("@{long} and @{a}")).await;
    assert_eq!(answer.body["mentions"], json!([eve.id, ann.id]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unread_mentions_are_counted_until_they_are_read_edited_or_deleted() {
    let cluster = Cluster::start(2).await;
    let (ann, bob, admin) = (
        cluster.user(0, "ann").await,
        cluster.user(1, "bob").await,
        cluster.admin(0).await,
    );
    let channel = ann.create_private(&[&bob]).await;
    let mention = format!("@{}", bob.name);
    let mut written = Vec::new();
    for content in [&*mention, "plain", &mention, &mention] {
        written.push(ann.write(&channel, content).await.body);
    }
    assert_eq!(unread(&bob, &channel).await, 3);
    assert_eq!(unread(&ann, &channel).await, 0);
    let status = &read_statuses(&bob).await[0];
    let path = format!("/api/readStatuses/{}", text(&status["id"]));
    let moved = bob.patch(&path, &json!({ "newLastReadSeq": 1 })).await;
    assert_eq!(moved.body["mentions"], 2);

    let message = |n: usize| format!("/api/messages/{}", text(&written[n]["id"]));
    let edited = ann
        .patch(
            &message(1),
            &json!({ "newContent": format!("{mention} {mention}") }),
        )
        .await;
    assert_eq!(edited.body["mentions"], json!([bob.id]));
    assert_eq!(unread(&bob, &channel).await, 3);
    let edited = ann.patch(&message(2), &json!({ "newContent": "x" })).await;
    assert_eq!(edited.body["mentions"], json!([]));
    assert_eq!(unread(&bob, &channel).await, 2);
    assert_eq!(ann.delete(&message(3)).await.status, 204);
    assert_eq!(unread(&bob, &channel).await, 1);

    let public = admin.create_channel("doomed").await;
    for by in [&ann, &admin] {
        assert_eq!(by.write(&public, &mention).await.status, 201);
    }
    assert_eq!(
        count(&cluster, "mentions").await,
        4,
        "two are in the other channel"
    );
    let deleted = admin.delete(&format!("/api/channels/{public}")).await;
    assert_eq!(deleted.status, 204);
    eventually("the mentions of the channel are purged", async || {
        count(&cluster, "mentions").await == 2
    })
    .await;
    let deleted = bob.delete(&format!("/api/users/{}", bob.id)).await;
    assert_eq!(deleted.status, 204);
    eventually("the mentions of the user are purged", async || {
        count(&cluster, "mentions").await == 0
    })
    .await;
}
