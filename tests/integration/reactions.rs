//! Reactions: live on every node, counted, limited, and gone with their message or account.

use std::time::Duration;

use futures_util::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};

use super::{
    accounts::{keys, text},
    channels::new_id,
    files::count,
};
use crate::support::{Answer, Cluster, Stomp, User, eventually};

/// Adds a reaction, or removes it.
async fn react(by: &User, message: &Value, emoji: &str, added: bool) -> Answer {
    let method = if added { Method::PUT } else { Method::DELETE };
    let mut path = url::Url::parse(&by.base).expect("a URL");
    path.set_path(&format!("/api/messages/{}/reactions/x", text(message)));
    path.path_segments_mut().expect("a path").pop().push(emoji);
    by.send(by.request(method, path.path())).await
}

/// The reactions to the message of a channel that has one.
async fn reactions(by: &User, channel: &str) -> Value {
    by.history(channel).await[0]["reactions"].clone()
}

/// Subscribes to the events of a channel.
async fn listen(user: &User, channel: &str) -> Stomp {
    let mut stomp = Stomp::connect(user).await;
    stomp
        .subscribe_with(&format!("/sub/channels.{channel}.events"), "")
        .await;
    stomp
}

fn event(channel: &str, message: &Value, by: &User, emoji: &str, added: bool) -> Value {
    json!({
        "type": "reaction", "channelId": channel, "messageId": message, "seq": 1,
        "emoji": emoji, "userId": by.id, "added": added,
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reactions_are_counted_and_live_on_every_node_and_repeating_one_changes_nothing() {
    let cluster = Cluster::shared(2).await;
    let (ann, bob) = (cluster.user(0, "ann").await, cluster.user(1, "bob").await);
    let channel = ann.create_private(&[&bob]).await;
    let mut listeners = [listen(&ann, &channel).await, listen(&bob, &channel).await];
    let message = ann.write(&channel, "hello").await.body;
    assert_eq!(message["reactions"], json!([]));
    let id = &message["id"];
    let steps = [
        (&bob, "👍", true),
        (&ann, "👍", true),
        (&ann, "❤️", true),
        (&bob, "👍", false),
        (&bob, "👍", true),
    ];
    for (by, emoji, added) in steps {
        for _ in 0..2 {
            let answer = react(by, id, emoji, added).await;
            assert_eq!((answer.status, &answer.body), (204, &Value::Null));
        }
        for listener in &mut listeners {
            let expected = event(&channel, id, by, emoji, added);
            assert_eq!(listener.message().await, expected);
        }
    }
    let expected = json!([
        { "emoji": "👍", "count": 2, "userIds": [ann.id, bob.id] },
        { "emoji": "❤️", "count": 1, "userIds": [ann.id] },
    ]);
    for user in [&ann, &bob] {
        assert_eq!(reactions(user, &channel).await, expected);
    }
    // Another spelling of the same emoji.
    assert_eq!(react(&ann, id, "❤", false).await.status, 204);
    let edited = ann
        .patch(
            &format!("/api/messages/{}", text(id)),
            &json!({ "newContent": "edited" }),
        )
        .await;
    assert_eq!(edited.body["reactions"], json!([expected[0]]));
    for listener in &mut listeners {
        let removed = listener.message().await;
        assert_eq!(removed, event(&channel, id, &ann, "❤️", false));
        let updated = listener.message().await;
        assert_eq!(updated["message"]["reactions"], json!([expected[0]]));
        listener.expect_nothing(Duration::from_millis(200)).await;
    }
    // Only the first 50 users are listed.
    let fill = "insert into reactions (message_id, emoji, user_id) select $1::uuid, '🎉', gen_random_uuid() from generate_series(1, 60)";
    sqlx::query(fill)
        .bind(text(id))
        .execute(&cluster.db)
        .await
        .expect("written");
    let many = reactions(&ann, &channel).await;
    assert_eq!(many[1]["count"], 60);
    assert_eq!(many[1]["userIds"].as_array().map(Vec::len), Some(50));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reaction_needs_a_visible_message_one_emoji_and_room() {
    let cluster = Cluster::shared(2).await;
    let (ann, bob, eve) = (
        cluster.user(0, "ann").await,
        cluster.user(1, "bob").await,
        cluster.user(0, "eve").await,
    );
    let channel = ann.create_private(&[&bob]).await;
    let id = ann.write(&channel, "hello").await.body["id"].clone();
    let admin = cluster.admin(0).await;
    for stranger in [&eve, &admin] {
        for added in [true, false] {
            let answer = react(stranger, &id, "👍", added).await;
            assert_eq!((answer.status, answer.code()), (404, "MESSAGE_NOT_FOUND"));
        }
    }
    let unknown = react(&ann, &json!(new_id()), "👍", true).await;
    assert_eq!(unknown.code(), "MESSAGE_NOT_FOUND");
    let path = format!("/api/messages/{}/reactions/%F0%9F%91%8D", text(&id));
    let visitor = cluster.visitor(0);
    let answer = visitor.send(visitor.request(Method::PUT, &path)).await;
    assert_eq!(answer.status, 401);
    assert_eq!(ann.get(&path).await.code(), "METHOD_NOT_ALLOWED");
    for text in ["a", "👍👍", ":+1:", "/", "가", "\0", "1", &"👩".repeat(30)] {
        let answer = react(&ann, &id, text, true).await;
        assert_eq!(
            (answer.status, keys(&answer.body["details"])),
            (400, vec!["emoji"]),
            "{text:?}"
        );
    }
    let broken = path.replace("%F0%9F", "%F0");
    let answer = ann.send(ann.request(Method::PUT, &broken)).await;
    assert_eq!((answer.status, answer.code()), (400, "INVALID_INPUT"));
    assert_eq!(reactions(&ann, &channel).await, json!([]));

    // Two nodes add 24 kinds at once; 20 fit.
    let kinds: Vec<String> = ('😀'..).take(24).map(String::from).collect();
    let answers = join_all(kinds.iter().enumerate().map(|(n, emoji)| {
        let by = [&ann, &bob][n % 2];
        react(by, &id, emoji, true)
    }))
    .await;
    let refused: Vec<_> = answers.iter().filter(|a| a.status != 204).collect();
    assert_eq!(refused.len(), 4);
    for answer in refused {
        assert_eq!((answer.status, answer.code()), (409, "TOO_MANY_REACTIONS"));
    }
    let shown = reactions(&ann, &channel).await;
    let shown = shown.as_array().expect("a list");
    assert_eq!(shown.len(), 20);
    for by in [&ann, &bob] {
        let more = react(by, &id, text(&shown[0]["emoji"]), true).await;
        assert_eq!(more.status, 204, "more users of a known kind fit");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_kafka_reactions_arrive_once_and_only_as_they_are_now() {
    let mut cluster = Cluster::start(1).await;
    let without_kafka = cluster
        .add_unready(&[("KAFKA_BROKERS", "127.0.0.1:1")])
        .await;
    let channel = cluster.channel().await;
    let ann = cluster.user(0, "ann").await;
    let bob = cluster.user(0, "bob").await;
    let bob = bob.at_node(&cluster.address(without_kafka));
    let mut listeners = [listen(&ann, &channel).await, listen(&bob, &channel).await];
    let message = ann.write(&channel, "hello").await.body;
    let id = &message["id"];
    assert_eq!(react(&ann, id, "👍", true).await.status, 204);
    assert_eq!(react(&bob, id, "🎉", true).await.status, 204);
    for listener in &mut listeners {
        let mut seen = [listener.message().await, listener.message().await];
        seen.sort_by_key(|event| event["emoji"].to_string());
        let mut expected = [
            event(&channel, id, &ann, "👍", true),
            event(&channel, id, &bob, "🎉", true),
        ];
        expected.sort_by_key(|event| event["emoji"].to_string());
        assert_eq!(seen, expected);
    }
    // Rows of a dead node: what they say is no longer so.
    for added in [true, false] {
        let emoji = if added { "❤️" } else { "👍" };
        let late = "insert into outbox (event_id, topic, key, kind, body, created_at) \
                    values (gen_random_uuid(), 'messages', $1, 'reaction', $2, clock_timestamp() - interval '2400 ms')";
        sqlx::query(late)
            .bind(&channel)
            .bind(event(&channel, id, &ann, emoji, added).to_string())
            .execute(&cluster.db)
            .await
            .expect("written");
    }
    cluster.settled().await;
    for listener in &mut listeners {
        listener.expect_nothing(Duration::from_secs(1)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reactions_go_with_their_message_channel_and_account() {
    let cluster = Cluster::start(1).await;
    let (ann, bob, admin) = (
        cluster.user(0, "ann").await,
        cluster.user(0, "bob").await,
        cluster.admin(0).await,
    );
    let fill = async |message: &Value| {
        let sql = "insert into reactions (message_id, emoji, user_id) select $1::uuid, '🎉', gen_random_uuid() from generate_series(1, 2500)";
        sqlx::query(sql)
            .bind(text(message))
            .execute(&cluster.db)
            .await
            .expect("written");
    };
    let (kept, doomed) = (
        admin.create_channel("kept").await,
        admin.create_channel("doomed").await,
    );
    let message = ann.write(&kept, "hello").await.body["id"].clone();
    let deleted = ann.write(&kept, "deleted").await.body["id"].clone();
    let in_channel = ann.write(&doomed, "hello").await.body["id"].clone();
    for id in [&deleted, &in_channel] {
        fill(id).await;
        assert_eq!(react(&ann, id, "👍", true).await.status, 204);
    }
    for by in [&ann, &bob] {
        assert_eq!(react(by, &message, "👍", true).await.status, 204);
    }
    let path = format!("/api/messages/{}", text(&deleted));
    assert_eq!(ann.delete(&path).await.status, 204);
    let path = format!("/api/channels/{doomed}");
    assert_eq!(admin.delete(&path).await.status, 204);
    let path = format!("/api/users/{}", bob.id);
    assert_eq!(bob.delete(&path).await.status, 204);
    eventually("the reactions are purged", async || {
        count(&cluster, "reactions").await == 1 && count(&cluster, "pending_deletions").await == 0
    })
    .await;
    let left = json!([{ "emoji": "👍", "count": 1, "userIds": [ann.id] }]);
    assert_eq!(reactions(&ann, &kept).await, left);
}
