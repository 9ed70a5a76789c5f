//! Messages over HTTP: validation, permissions and order.

use futures_util::future::join_all;
use reqwest::{Method, multipart};
use serde_json::{Value, json};

use super::{
    accounts::{keys, text},
    channels::instant,
};
use crate::support::{Answer, Cluster, User, eventually};

const PART: &str = "messageCreateRequest";
const DTO: [&str; 11] = [
    "attachments",
    "author",
    "channelId",
    "content",
    "createdAt",
    "id",
    "mentions",
    "reactions",
    "replyTo",
    "seq",
    "updatedAt",
];

async fn post(by: &User, body: &Value) -> Answer {
    by.multipart(Method::POST, "/api/messages", PART, body)
        .await
}

/// Posts a message with a client message id.
async fn post_once(by: &User, channel: &str, content: &str, client_id: &str) -> Answer {
    post(by, &json!({ "content": content, "channelId": channel, "authorId": by.id, "clientMessageId": client_id })).await
}

pub(crate) fn seqs(messages: &[Value]) -> Vec<i64> {
    messages
        .iter()
        .map(|message| message["seq"].as_i64().expect("a position"))
        .collect()
}

async fn last_message_at(by: &User, channel: &str) -> Value {
    let channels = by.get(&format!("/api/channels?userId={}", by.id)).await;
    let found = channels
        .body
        .as_array()
        .expect("a list")
        .iter()
        .find(|found| found["id"] == *channel);
    found.expect("the channel is there")["lastMessageAt"].clone()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_is_shown_as_it_was_written() {
    let cluster = Cluster::shared(1).await;
    let (ann, channel) = (cluster.user(0, "ann").await, cluster.channel().await);
    let written = "  <b>\"quoted\"</b>\r\n\u{2028}\u{feff}😀 e\u{301} \\u0041 ' ; --\t\u{1} ";
    let answer = ann.write(&channel, written).await;
    assert_eq!(answer.status, 201, "{answer:?}");
    let message = &answer.body;
    assert_eq!(keys(message), DTO);
    assert_eq!(
        (text(&message["content"]), text(&message["channelId"])),
        (written, channel.as_str())
    );
    assert_eq!(
        (&message["seq"], &message["attachments"]),
        (&json!(1), &json!([]))
    );
    assert_eq!(
        keys(&message["author"]),
        ["email", "id", "online", "profile", "role", "username"]
    );
    assert_eq!(
        (
            text(&message["author"]["id"]),
            text(&message["author"]["username"])
        ),
        (ann.id.as_str(), ann.name.as_str())
    );
    assert_eq!(message["createdAt"], message["updatedAt"]);
    let age = time::OffsetDateTime::now_utc() - instant(&message["createdAt"]);
    assert!(age.abs() < time::Duration::minutes(1), "{age}");
    assert_eq!(
        ann.history(&channel).await,
        std::slice::from_ref(message),
        "the same as in the response to the author"
    );
    assert_eq!(last_message_at(&ann, &channel).await, message["createdAt"]);

    // Clients may send the part without a content type, and an empty file list.
    let body = json!({ "content": "plain", "channelId": channel, "authorId": ann.id }).to_string();
    let empty = multipart::Part::bytes(&b""[..])
        .file_name("")
        .mime_str("application/octet-stream")
        .expect("a media type");
    let form = multipart::Form::new()
        .part("attachments", empty)
        .text(PART, body);
    let answer = ann
        .send(ann.request(Method::POST, "/api/messages").multipart(form))
        .await;
    assert_eq!(
        (answer.status, text(&answer.body["content"])),
        (201, "plain")
    );
    assert_eq!(ann.history(&channel).await.len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_invalid_or_forbidden_write_is_rejected() {
    let cluster = Cluster::shared(1).await;
    let (ann, bob, channel) = (
        cluster.user(0, "ann").await,
        cluster.user(0, "bob").await,
        cluster.channel().await,
    );
    let body =
        |content: &str| json!({ "content": content, "channelId": channel, "authorId": ann.id });
    for content in [
        "",
        " ",
        "\n\u{3000}",
        "a\0b",
        &"a".repeat(2_001),
        &"😀".repeat(2_001),
    ] {
        let answer = post(&ann, &body(content)).await;
        assert_eq!(
            (answer.status, answer.code()),
            (400, "INVALID_INPUT"),
            "{}",
            content.len()
        );
        assert_eq!(keys(&answer.body["details"]), ["content"]);
    }
    let answer = post(&ann, &json!({})).await;
    assert_eq!(
        (answer.status, keys(&answer.body["details"])),
        (400, vec!["authorId", "channelId", "content"])
    );
    for field in ["channelId", "authorId", "clientMessageId"] {
        let mut body = body("hello");
        body[field] = json!("not-an-id");
        let answer = post(&ann, &body).await;
        assert_eq!(
            (answer.code(), keys(&answer.body["details"])),
            ("INVALID_INPUT", vec![field])
        );
    }
    let answer = post(&bob, &body("as another user")).await;
    assert_eq!((answer.status, answer.code()), (403, "FORBIDDEN"));
    let admin = cluster.admin(0).await;
    assert_eq!(
        post(&admin, &body("as another user")).await.status,
        403,
        "an administrator may not do so either"
    );
    let nowhere = uuid::Uuid::now_v7().to_string();
    let answer = ann.write(&nowhere, "hello").await;
    assert_eq!((answer.status, answer.code()), (404, "CHANNEL_NOT_FOUND"));
    assert_eq!(answer.body["details"], json!({ "channelId": nowhere }));
    let visitor = cluster.visitor(0);
    assert_eq!(
        visitor
            .multipart(Method::POST, "/api/messages", PART, &body("hello"))
            .await
            .status,
        401
    );
    assert_eq!(
        visitor
            .get(&format!("/api/messages?channelId={channel}"))
            .await
            .status,
        401
    );

    let longest = [
        "a".repeat(2_000),
        "😀".repeat(2_000),
        "\u{1}".repeat(2_000),
        "\"\\".repeat(1_000),
    ];
    for content in &longest {
        assert_eq!(ann.write(&channel, content).await.status, 201);
    }
    let stored = ann.history(&channel).await;
    assert_eq!(
        stored
            .iter()
            .map(|message| text(&message["content"]))
            .collect::<Vec<_>>(),
        longest
    );
    assert_eq!(
        seqs(&stored),
        [1, 2, 3, 4],
        "a rejected write takes no position"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_the_author_edits_and_only_the_author_or_an_administrator_deletes() {
    let cluster = Cluster::shared(2).await;
    let (ann, bob, admin) = (
        cluster.user(0, "ann").await,
        cluster.user(1, "bob").await,
        cluster.admin(0).await,
    );
    let channel = admin.create_channel("general").await;
    let before = ann.write(&channel, "first").await.body;
    let path = format!("/api/messages/{}", text(&before["id"]));
    let new = json!({ "newContent": "changed" });
    for other in [&bob, &admin] {
        let answer = other.patch(&path, &new).await;
        assert_eq!((answer.status, answer.code()), (403, "FORBIDDEN"));
    }
    assert_eq!(bob.delete(&path).await.status, 403);
    assert_eq!(cluster.visitor(0).patch(&path, &new).await.status, 401);
    assert_eq!(cluster.visitor(0).delete(&path).await.status, 401);
    for content in [
        json!(""),
        json!(" "),
        json!("a\0b"),
        json!("a".repeat(2_001)),
        Value::Null,
    ] {
        let answer = ann.patch(&path, &json!({ "newContent": content })).await;
        assert_eq!(
            (answer.status, keys(&answer.body["details"])),
            (400, vec!["newContent"]),
            "{content}"
        );
    }
    assert_eq!(ann.history(&channel).await, std::slice::from_ref(&before));

    let answer = ann.patch(&path, &new).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert!(instant(&answer.body["updatedAt"]) > instant(&before["createdAt"]));
    let mut expected = before.clone();
    expected["content"] = json!("changed");
    expected["updatedAt"] = answer.body["updatedAt"].clone();
    assert_eq!(answer.body, expected, "nothing else changes");
    assert_eq!(
        bob.history(&channel).await,
        [expected],
        "the other node returns the edit at once"
    );

    let unknown = format!("/api/messages/{}", uuid::Uuid::now_v7());
    for answer in [ann.patch(&unknown, &new).await, ann.delete(&unknown).await] {
        assert_eq!((answer.status, answer.code()), (404, "MESSAGE_NOT_FOUND"));
    }
    let deleted = [
        (&ann, path),
        (
            &admin,
            format!(
                "/api/messages/{}",
                text(&ann.write(&channel, "second").await.body["id"])
            ),
        ),
    ];
    for (by, path) in deleted {
        // One of two concurrent requests deletes the message.
        let (one, two) = tokio::join!(by.delete(&path), by.delete(&path));
        let mut statuses = [one.status, two.status];
        statuses.sort_unstable();
        assert_eq!(statuses, [204, 404]);
        assert_eq!(ann.patch(&path, &new).await.code(), "MESSAGE_NOT_FOUND");
    }
    assert!(bob.history(&channel).await.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deleting_the_newest_message_resets_last_message_at() {
    let cluster = Cluster::shared(1).await;
    let (ann, channel) = (cluster.user(0, "ann").await, cluster.channel().await);
    let empty = last_message_at(&ann, &channel).await;
    let mut messages = Vec::new();
    for content in ["one", "two", "three"] {
        messages.push(ann.write(&channel, content).await.body);
        assert_eq!(
            last_message_at(&ann, &channel).await,
            messages[messages.len() - 1]["createdAt"]
        );
    }
    for (deleted, last) in [
        (1, &messages[2]["createdAt"]),
        (2, &messages[0]["createdAt"]),
        (0, &empty),
    ] {
        assert_eq!(
            ann.delete(&format!("/api/messages/{}", text(&messages[deleted]["id"])))
                .await
                .status,
            204
        );
        assert_eq!(
            last_message_at(&ann, &channel).await,
            *last,
            "without {deleted}"
        );
    }
    let next = ann.write(&channel, "four").await.body;
    assert_eq!(next["seq"], json!(4), "no position is reused");
    assert_eq!(last_message_at(&ann, &channel).await, next["createdAt"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn positions_have_no_gaps_across_writers_and_nodes() {
    let cluster = Cluster::shared(2).await;
    let (ann, bob, admin) = (
        cluster.user(0, "ann").await,
        cluster.user(1, "bob").await,
        cluster.admin(0).await,
    );
    let channels = [
        admin.create_channel("one").await,
        admin.create_channel("two").await,
    ];
    // Both nodes get concurrent writes and reject a third of them.
    let writes = (0..120).map(|n| {
        let (by, channel) = ([&ann, &bob][n % 2], &channels[n / 2 % 2]);
        async move {
            let refused = n % 3 == 0;
            let answer = if refused {
                by.write(&uuid::Uuid::now_v7().to_string(), "x").await
            } else {
                by.write(channel, &format!("{n}")).await
            };
            assert_eq!(answer.status, if refused { 404 } else { 201 }, "{answer:?}");
            (!refused).then_some((channel, answer.body))
        }
    });
    let written: Vec<_> = join_all(writes).await.into_iter().flatten().collect();
    for channel in &channels {
        let stored = ann.history(channel).await;
        assert_eq!(seqs(&stored), (1..=40).collect::<Vec<_>>());
        assert!(
            stored
                .windows(2)
                .all(|pair| instant(&pair[0]["createdAt"]) <= instant(&pair[1]["createdAt"]))
        );
        let mut answered: Vec<_> = written
            .iter()
            .filter(|(to, _)| *to == channel)
            .map(|(_, message)| message.clone())
            .collect();
        answered.sort_by_key(|message| message["seq"].as_i64());
        assert_eq!(answered, stored, "each response equals the stored message");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_resent_with_its_client_id_is_stored_once() {
    let cluster = Cluster::shared(2).await;
    let (ann, bob, channel) = (
        cluster.user(0, "ann").await,
        cluster.user(0, "bob").await,
        cluster.channel().await,
    );
    let there = ann.at_node(&cluster.address(1));
    let id = uuid::Uuid::new_v4().to_string();
    let first = post_once(&ann, &channel, "once", &id).await;
    assert_eq!(
        (first.status, &first.body["clientMessageId"]),
        (201, &json!(id))
    );
    for by in [&ann, &there] {
        let again = post_once(by, &channel, "once", &id).await;
        assert_eq!((again.status, &again.body), (201, &first.body));
    }
    let bobs = post_once(&bob, &channel, "mine", &id).await;
    assert_eq!(
        (bobs.status, &bobs.body["seq"]),
        (201, &json!(2)),
        "a client id belongs to its user"
    );

    for round in 0..5 {
        let id = uuid::Uuid::new_v4().to_string();
        let answers =
            join_all((0..8).map(|n| post_once([&ann, &there][n % 2], &channel, "at once", &id)))
                .await;
        for answer in &answers {
            assert_eq!(
                (answer.status, &answer.body),
                (201, &answers[0].body),
                "round {round}"
            );
        }
    }
    let history = bob.history(&channel).await;
    assert_eq!(seqs(&history), (1..=7).collect::<Vec<_>>());
    assert!(
        history
            .iter()
            .all(|message| message["clientMessageId"].is_string())
    );
}

/// The first try of a client may arrive last, at a node that was stopped for a while.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_late_first_try_does_not_restore_a_deleted_message() {
    let cluster = Cluster::shared(2).await;
    let (ann, channel) = (cluster.user(0, "ann").await, cluster.channel().await);
    let message = json!({
        "content": "once", "channelId": channel, "authorId": ann.id, "clientMessageId": uuid::Uuid::new_v4(),
    });
    let sent = super::files::post(&ann, &message, Vec::new()).await;
    assert_eq!(sent.status, 201, "{sent:?}");
    let id = sent.body["id"].as_str().expect("an id");
    assert_eq!(ann.delete(&format!("/api/messages/{id}")).await.status, 204);
    for node in 0..2 {
        let at_node = ann.at_node(&cluster.address(node));
        let late = super::files::post(&at_node, &message, Vec::new()).await;
        assert_eq!(
            (late.status, late.code()),
            (404, "MESSAGE_NOT_FOUND"),
            "{late:?}"
        );
        assert_eq!(late.body["details"]["messageId"], id);
    }
    assert!(ann.history(&channel).await.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_id_used_in_two_channels_concurrently_creates_one_message() {
    let cluster = Cluster::start(2).await;
    let (ann, admin) = (cluster.user(0, "ann").await, cluster.admin(0).await);
    let there = ann.at_node(&cluster.address(1));
    let (one, two) = (
        admin.create_channel("one").await,
        admin.create_channel("two").await,
    );
    let id = uuid::Uuid::new_v4().to_string();
    // This message holds both writes until both nodes have searched for the id and found nothing.
    let mut lock = cluster.db.begin().await.expect("a transaction");
    let hold = "insert into messages (id, channel_id, seq, author_id, content, client_message_id, created_at, updated_at) \
                values (gen_random_uuid(), gen_random_uuid(), 1, $1::uuid, '', $2::uuid, now(), now())";
    let hold = sqlx::query(hold).bind(&ann.id).bind(&id);
    hold.execute(&mut *lock).await.expect("inserted");
    let release = async {
        eventually("both nodes wait", async || {
            let waits = "select count(*) from pg_stat_activity where datname = current_database() \
                         and wait_event_type = 'Lock' and query like '%from post_messages(%'";
            let (waiting,): (i64,) = sqlx::query_as(waits)
                .fetch_one(&cluster.db)
                .await
                .expect("counted");
            waiting == 2
        })
        .await;
        lock.rollback().await.expect("unlocked");
    };
    let (one, two, ()) = tokio::join!(
        post_once(&ann, &one, "x", &id),
        post_once(&there, &two, "x", &id),
        release
    );
    assert_eq!((one.status, two.status), (201, 201), "{one:?} {two:?}");
    assert_eq!(one.body, two.body, "both responses have the first message");
}
