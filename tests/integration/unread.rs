//! Unread messages: positions, notification levels, and the activity of all channels.

use std::time::Duration;

use futures_util::future::join_all;
use serde_json::{Value, json};

use super::{
    accounts::{keys, text},
    channels::{instant, list, read, read_statuses},
    notifications::listed,
};
use crate::support::{Answer, Cluster, Sse, User, eventually};

/// The path of the user's read status in a channel.
async fn status_of(user: &User, channel: &str) -> Value {
    let statuses = read_statuses(user).await;
    let found = statuses
        .iter()
        .find(|status| status["channelId"] == channel);
    found.expect("a read status").clone()
}

async fn change(user: &User, status: &Value, changes: &Value) -> Answer {
    let path = format!("/api/readStatuses/{}", text(&status["id"]));
    user.patch(&path, changes).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_position_moves_forward_only_unless_it_is_forced() {
    let cluster = Cluster::shared(2).await;
    let (ann, bob) = (cluster.user(0, "ann").await, cluster.user(1, "bob").await);
    let channel = ann.create_private(&[&bob]).await;
    let before = status_of(&bob, &channel).await;
    assert_eq!(
        (&before["lastReadSeq"], &before["mentions"]),
        (&json!(0), &json!(0))
    );
    for n in 1..=5 {
        assert_eq!(ann.write(&channel, &n.to_string()).await.status, 201);
    }
    let listed = list(&bob).await;
    let listed = listed.iter().find(|found| found["id"] == channel.as_str());
    assert_eq!(listed.expect("the channel")["lastSeq"], 5);
    let at = |answer: &Answer| instant(&answer.body["lastReadAt"]);

    let moved = change(&bob, &before, &json!({ "newLastReadSeq": 3 })).await;
    assert_eq!((moved.status, &moved.body["lastReadSeq"]), (200, &json!(3)));
    let age = time::OffsetDateTime::now_utc() - at(&moved);
    assert!(age.abs() < time::Duration::minutes(1), "the server's clock");
    // A late request of another device changes nothing.
    let there = bob.at_node(&cluster.address(0));
    let late = change(&there, &before, &json!({ "newLastReadSeq": 2 })).await;
    assert_eq!(late.body, moved.body);
    let forced = change(
        &bob,
        &before,
        &json!({ "newLastReadSeq": 2, "force": true }),
    )
    .await;
    assert_eq!(forced.body["lastReadSeq"], 2);
    assert!(at(&forced) > at(&moved));
    let beyond = change(&bob, &before, &json!({ "newLastReadSeq": 99 })).await;
    assert_eq!(beyond.body["lastReadSeq"], 5, "the newest message");
    let negative = change(&bob, &before, &json!({ "newLastReadSeq": -1 })).await;
    assert_eq!(
        (negative.status, keys(&negative.body["details"])),
        (400, vec!["newLastReadSeq"])
    );
    // Of concurrent requests the furthest counts.
    change(
        &bob,
        &before,
        &json!({ "newLastReadSeq": 0, "force": true }),
    )
    .await;
    let both = [&bob, &there];
    join_all((0..12).map(|n| {
        let changes = json!({ "newLastReadSeq": n % 4 });
        let (by, status) = (both[n % 2], &before);
        async move { change(by, status, &changes).await }
    }))
    .await;
    assert_eq!(status_of(&bob, &channel).await["lastReadSeq"], 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deleted_messages_are_not_unread() {
    let cluster = Cluster::shared(1).await;
    let (ann, bob) = (cluster.user(0, "ann").await, cluster.user(0, "bob").await);
    let channel = ann.create_private(&[&bob]).await;
    let mut written = Vec::new();
    for n in 1..=6 {
        written.push(ann.write(&channel, &n.to_string()).await.body);
    }
    let status = status_of(&bob, &channel).await;
    let deleted = async || status_of(&bob, &channel).await["unreadDeleted"].clone();
    assert_eq!(deleted().await, 0);
    // The newest one and three others.
    for n in [1, 2, 4, 6] {
        let path = format!("/api/messages/{}", text(&written[n - 1]["id"]));
        assert_eq!(ann.delete(&path).await.status, 204);
    }
    assert_eq!(deleted().await, 4);
    for (position, expected) in [(1, 3), (3, 2), (5, 1), (6, 0)] {
        let moved = change(&bob, &status, &json!({ "newLastReadSeq": position })).await;
        assert_eq!(moved.body["unreadDeleted"], expected, "{position}");
    }
    // From 100 messages on, they are not counted.
    let insert = "insert into messages (id, channel_id, seq, author_id, content, created_at, updated_at) \
                  select gen_random_uuid(), $1::uuid, 100 + n, $2::uuid, 'more', now(), now() from generate_series($3, $4) n";
    for (from, to, expected) in [(1, 99, 94), (100, 100, 0)] {
        sqlx::query(insert)
            .bind(&channel)
            .bind(&ann.id)
            .bind(from)
            .bind(to)
            .execute(&cluster.db)
            .await
            .expect("inserted");
        sqlx::query("update channels set last_seq = 100 + $2 where id = $1::uuid")
            .bind(&channel)
            .bind(to)
            .execute(&cluster.db)
            .await
            .expect("updated");
        assert_eq!(deleted().await, expected, "{to}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reading_further_is_an_event_for_all_devices_of_the_user() {
    let cluster = Cluster::start(2).await;
    let (ann, bob) = (cluster.user(0, "ann").await, cluster.user(0, "bob").await);
    let channel = cluster.channel().await;
    let mut written = Vec::new();
    for n in 1..=5 {
        written.push(ann.write(&channel, &n.to_string()).await.body);
    }
    cluster.settled().await;
    let there = bob.at_node(&cluster.address(1));
    let (mut anns, mut bobs) = (Sse::open(&ann, None).await, Sse::open(&there, None).await);
    anns.expect("sync").await;
    let before = bobs.expect("sync").await.id;

    let created = read(&bob, &bob.id, &channel, text(&written[0]["createdAt"])).await;
    assert_eq!(created.body["lastReadSeq"], 1);
    let status = created.body;
    assert_eq!(bobs.expect("readStatuses.updated").await.json(), status);
    for nothing in [
        json!({}),
        json!({ "newLastReadSeq": 1 }),
        json!({ "newLastReadSeq": 0 }),
        json!({ "newLastReadSeq": 0, "force": true }),
        json!({ "newNotificationLevel": "ALL" }),
    ] {
        assert_eq!(change(&bob, &status, &nothing).await.status, 200);
    }
    let moved = change(&bob, &status, &json!({ "newLastReadSeq": 3 })).await;
    // The event of the device itself is the same.
    let seen = bobs.expect("readStatuses.updated").await;
    assert_eq!(seen.json(), moved.body);
    let at = json!({ "newLastReadAt": written[4]["createdAt"] });
    let moved = change(&there, &status, &at).await;
    assert_eq!(moved.body["lastReadSeq"], 5);
    let last = bobs.expect("readStatuses.updated").await;
    assert_eq!(last.json(), moved.body);

    // A device that was away gets the events that it missed, on any node.
    let mut back = Sse::open(&bob, Some(&before)).await;
    let mut positions = Vec::new();
    loop {
        let event = back.next_but_presence().await.expect("an event");
        match event.name.as_str() {
            "readStatuses.updated" => positions.push(event.json()["lastReadSeq"].clone()),
            name => {
                assert_eq!(name, "sync");
                break;
            }
        }
    }
    assert_eq!(positions, [1, 3, 5]);
    cluster.settled().await;
    for stream in [&mut anns, &mut bobs, &mut back] {
        stream.expect_nothing(Duration::from_millis(200)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_event_of_a_position_that_a_dead_node_left_has_the_latest_position() {
    let cluster = Cluster::start(1).await;
    let (ann, bob) = (cluster.user(0, "ann").await, cluster.user(0, "bob").await);
    let [public, private] = [cluster.channel().await, ann.create_private(&[&bob]).await];
    for channel in [&public, &private] {
        ann.write(channel, &format!("@{}", bob.name)).await;
    }
    let public = read(&bob, &bob.id, &public, "2026-01-01T00:00:00Z")
        .await
        .body;
    let lost = status_of(&bob, &private).await;
    let path = format!("/api/channels/{private}/participants/{}", bob.id);
    assert_eq!(bob.delete(&path).await.status, 204);
    cluster.settled().await;
    let mut events = Sse::open(&bob, None).await;
    events.expect("sync").await;
    for status in [&lost, &public] {
        sqlx::query(
            "insert into outbox (event_id, topic, key, kind, body, created_at) \
             values (gen_random_uuid(), 'sse', $1, 'readStatuses.updated', $2, now() - interval '1 min')",
        )
        .bind(&bob.id)
        .bind(json!({ "id": status["id"] }).to_string())
        .execute(&cluster.db)
        .await
        .expect("PostgreSQL answers");
    }
    // The read status of the private channel is gone.
    assert_eq!(events.expect("readStatuses.updated").await.json(), public);
    assert_eq!(public["mentions"], 1);
    cluster.settled().await;
    events.expect_nothing(Duration::from_millis(200)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_instant_gives_the_position_of_clients_that_know_no_positions() {
    let cluster = Cluster::shared(1).await;
    let (ann, bob) = (cluster.user(0, "ann").await, cluster.user(0, "bob").await);
    let channel = cluster.channel().await;
    let mut written = Vec::new();
    for n in 1..=3 {
        written.push(ann.write(&channel, &n.to_string()).await.body);
    }
    let second = text(&written[1]["createdAt"]);
    let created = read(&bob, &bob.id, &channel, second).await;
    assert_eq!(created.body["lastReadSeq"], 2);
    let status = created.body;
    let later = json!({ "newLastReadAt": "2999-01-01T00:00:00Z" });
    assert_eq!(change(&bob, &status, &later).await.body["lastReadSeq"], 3);
    ann.write(&channel, "4").await;
    let now = status_of(&bob, &channel).await;
    assert_eq!(
        now["lastReadSeq"], 3,
        "a clock in the future reads no later message"
    );
    let back = json!({ "newLastReadAt": second });
    assert_eq!(change(&bob, &status, &back).await.body["lastReadSeq"], 2);
    let both = json!({ "newLastReadAt": second, "newLastReadSeq": 4 });
    let both = change(&bob, &status, &both).await.body;
    assert_eq!(
        (&both["lastReadSeq"], &both["lastReadAt"]),
        (&json!(4), &json!(second))
    );

    // The row of an earlier version.
    sqlx::query("update read_statuses set last_read_seq = null, last_read_at = $2::timestamptz where id = $1::uuid")
        .bind(text(&status["id"]))
        .bind(second)
        .execute(&cluster.db)
        .await
        .expect("updated");
    assert_eq!(status_of(&bob, &channel).await["lastReadSeq"], 2);
    let forward = change(&bob, &status, &json!({ "newLastReadSeq": 1 })).await;
    assert_eq!(forward.body["lastReadSeq"], 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn levels_decide_which_messages_notify_and_the_switch_shows_them() {
    let cluster = Cluster::start(2).await;
    let (ann, bob) = (cluster.user(0, "ann").await, cluster.user(1, "bob").await);
    let channel = cluster.channel().await;
    let status = json!({
        "userId": bob.id, "channelId": channel, "lastReadAt": "2026-01-01T00:00:00Z", "notificationLevel": "MENTIONS",
    });
    let created = bob.post("/api/readStatuses", &status).await;
    assert_eq!(created.status, 201, "{created:?}");
    let status = created.body;
    assert_eq!(
        (&status["notificationLevel"], &status["notificationEnabled"]),
        (&json!("MENTIONS"), &json!(false))
    );
    let mine = bob.write(&channel, "mine").await.body["id"].clone();
    let mention = format!("hello @{}, 안녕", bob.name);
    let write = async || {
        ann.write(&channel, "plain").await;
        ann.write(&channel, &mention).await;
        let reply = json!({ "content": "reply", "channelId": channel, "authorId": ann.id, "replyTo": mine });
        let part = "messageCreateRequest";
        ann.multipart(reqwest::Method::POST, "/api/messages", part, &reply)
            .await;
        cluster.settled().await;
    };
    let mut expected: Vec<Value> = Vec::new();
    for (changes, level, enabled, reasons) in [
        (json!({}), "MENTIONS", false, vec!["MENTION", "REPLY"]),
        (
            json!({ "newNotificationLevel": "ALL" }),
            "ALL",
            true,
            vec!["MESSAGE", "MENTION", "REPLY"],
        ),
        (
            json!({ "newNotificationLevel": "NONE" }),
            "NONE",
            false,
            vec![],
        ),
        (
            json!({ "newNotificationEnabled": true }),
            "ALL",
            true,
            vec!["MESSAGE", "MENTION", "REPLY"],
        ),
        (
            json!({ "newNotificationEnabled": false }),
            "NONE",
            false,
            vec![],
        ),
    ] {
        let changed = change(&bob, &status, &changes).await;
        assert_eq!(
            (
                &changed.body["notificationLevel"],
                &changed.body["notificationEnabled"]
            ),
            (&json!(level), &json!(enabled))
        );
        write().await;
        expected.extend(reasons.into_iter().map(Value::from));
        let mut seen: Vec<Value> = Vec::new();
        eventually("the notifications are listed", async || {
            seen = listed(&bob).await;
            seen.len() >= expected.len()
        })
        .await;
        let mut seen: Vec<_> = seen.iter().map(|n| n["reason"].to_string()).collect();
        let mut all: Vec<_> = expected.iter().map(ToString::to_string).collect();
        seen.sort_unstable();
        all.sort_unstable();
        assert_eq!(seen, all, "{level}");
    }
    assert!(listed(&ann).await.is_empty());
    let wrong = change(&bob, &status, &json!({ "newNotificationLevel": "SOME" })).await;
    assert_eq!(keys(&wrong.body["details"]), ["newNotificationLevel"]);
}
