//! The visibility rule at every reader.
//!
//! A private channel is invisible to users who do not participate in it.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};

use super::{
    files::{attach, file, until_ready},
    notifications::listed,
};
use crate::support::{ADMIN, Answer, Cluster, Sse, Stomp, User, eventually};

/// A text that only participants may read.
const SECRET: &str = "the secret text";
/// A file name that only participants may read.
const SECRET_FILE: &str = "secret-file.txt";

/// A private channel of two users with content for every reader.
struct Private {
    channel: String,
    message: String,
    file: String,
    read_status: String,
}

impl Private {
    async fn of(ann: &User, bob: &User) -> Self {
        let channel = ann.create_private(&[bob]).await;
        let answer = ann.write(&channel, SECRET).await;
        assert_eq!(answer.status, 201, "{answer:?}");
        let message = id(&answer.body);
        let file = attach(ann, &channel, vec![file(SECRET_FILE, "text/plain", "x")]).await;
        let file = file.first().expect("a file").clone();
        until_ready(ann, &file).await;
        eventually("bob is notified", async || listed(bob).await.len() == 2).await;
        let statuses = bob
            .get(&format!("/api/readStatuses?userId={}", bob.id))
            .await;
        let read_status = id(&statuses.body[0]);
        Self {
            channel,
            message,
            file,
            read_status,
        }
    }

    /// Every GET request that could show content of the channel to the reader.
    fn lists(&self, reader: &User) -> Vec<String> {
        let (channel, file, user) = (&self.channel, &self.file, &reader.id);
        vec![
            format!("/api/channels?userId={user}"),
            format!("/api/messages?channelId={channel}"),
            format!("/api/messages?channelId={channel}&sort=createdAt,asc"),
            format!("/api/messages?channelId={channel}&cursor=2030-01-01T00:00:00Z"),
            format!("/api/messages?channelId={channel}&around={}", self.message),
            format!("/api/messages?channelId={channel}&around=1"),
            format!("/api/messages?channelId={channel}&at=2020-01-01T00:00:00Z"),
            format!("/api/messages/search?q=secret&channelId={channel}"),
            "/api/messages/search?q=secret".to_owned(),
            "/api/messages/search?has=file".to_owned(),
            format!("/api/binaryContents?binaryContentIds={file}"),
            format!("/api/binaryContents/{file}"),
            format!("/api/binaryContents/{file}/download"),
            format!("/api/readStatuses?userId={user}"),
            "/api/notifications".to_owned(),
        ]
    }
}

fn id(object: &Value) -> String {
    object["id"].as_str().expect("an id").to_owned()
}

/// Inserts rows that name the stranger in the private channel.
///
/// A bug could write such rows, or a deletion could miss them.
async fn plant_rows(cluster: &Cluster, private: &Private, stranger: &User) {
    for sql in [
        "insert into read_statuses (id, user_id, channel_id, last_read_at, notification_enabled) \
         values (gen_random_uuid(), $1::uuid, $2::uuid, now(), true)",
        "insert into notifications (id, receiver_id, type, cause_id, title, content, target_id, created_at) \
         select gen_random_uuid(), $1::uuid, 'NEW_MESSAGE', m.id, 'the secret text', 'the secret text', $2::uuid, now() \
         from messages m where m.channel_id = $2::uuid",
    ] {
        sqlx::query(sql)
            .bind(&stranger.id)
            .bind(&private.channel)
            .execute(&cluster.db)
            .await
            .expect("inserted");
    }
}

fn assert_no_leak(request: &str, answer: &Answer, private: &Private) {
    let body = answer.body.to_string();
    for secret in [SECRET, SECRET_FILE] {
        assert!(!body.contains(secret), "{request}: {answer:?}");
    }
    // An error repeats the identifiers of its request.
    if answer.status == 200 {
        for secret in [&private.channel, &private.message, &private.file] {
            assert!(!body.contains(secret.as_str()), "{request}: {answer:?}");
        }
    }
}

/// Sends one frame on a new connection and returns the code of the ERROR reply.
async fn refused_frame(user: &User, frame: &str) -> Option<String> {
    let mut stomp = Stomp::connect(user).await;
    stomp.send(frame).await;
    let error = stomp.expect("ERROR").await;
    assert!(!format!("{error:?}").contains(SECRET), "{error:?}");
    error.header("code").map(str::to_owned)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stranger_reads_nothing_of_a_private_channel() {
    let cluster = Cluster::start(1).await;
    let (ann, bob, eve) = (
        cluster.user(0, "ann").await,
        cluster.user(0, "bob").await,
        cluster.user(0, "eve").await,
    );
    // The administrator's role gives no access.
    let admin = cluster.admin(0).await;
    cluster.settled().await;
    let mut streams = Vec::new();
    for stranger in [&eve, &admin] {
        let mut stream = Sse::open(stranger, None).await;
        let start = stream.expect("sync").await.id;
        streams.push((stranger, stream, start));
    }

    let private = Private::of(&ann, &bob).await;
    for path in private.lists(&bob) {
        let answer = bob.get(&path).await;
        assert_eq!(answer.status, 200, "a participant may read {path}");
    }
    for (stranger, stream, start) in &mut streams {
        // No live event arrived when the channel, its messages and its file were created.
        stream.expect_nothing(Duration::from_millis(200)).await;
        plant_rows(&cluster, &private, stranger).await;
        assert_reads_nothing(&private, stranger).await;
        assert_changes_nothing(&private, stranger, &ann, &bob).await;
        assert_subscribes_to_nothing(&private, stranger).await;
        // A replay has no event, either.
        let mut replay = Sse::open(stranger, Some(start)).await;
        replay.expect("sync").await;
    }

    // A later message notifies bob, but not the strangers, whose planted read statuses ask for it.
    let answer = ann.write(&private.channel, SECRET).await;
    assert_eq!(answer.status, 201, "{answer:?}");
    eventually("bob is notified", async || listed(&bob).await.len() == 3).await;
    let notified: i64 =
        sqlx::query_scalar("select count(*) from notifications where cause_id = $1::uuid")
            .bind(id(&answer.body))
            .fetch_one(&cluster.db)
            .await
            .expect("counted");
    assert_eq!(notified, 1, "only bob is notified");
    for (_, stream, _) in &mut streams {
        stream.expect_nothing(Duration::from_millis(200)).await;
    }
}

async fn assert_reads_nothing(private: &Private, stranger: &User) {
    for path in private.lists(stranger) {
        let answer = stranger.get(&path).await;
        assert_no_leak(&path, &answer, private);
        let code = match path.as_str() {
            path if path.starts_with("/api/messages") && path.contains("channelId") => {
                "CHANNEL_NOT_FOUND"
            }
            path if path.starts_with("/api/binaryContents/") => "BINARY_CONTENT_NOT_FOUND",
            _ => {
                assert_eq!(answer.status, 200, "{path}: {answer:?}");
                continue;
            }
        };
        assert_eq!((answer.status, answer.code()), (404, code), "{path}");
    }
}

/// Asserts that each change gets the response for an unknown channel.
async fn assert_changes_nothing(private: &Private, stranger: &User, ann: &User, bob: &User) {
    let Private {
        channel,
        message,
        read_status,
        ..
    } = private;
    let none = Value::Null;
    let rename = json!({ "newName": "mine", "newDescription": "mine" });
    let edit = json!({ "newContent": "mine" });
    let read = json!({ "newLastReadAt": "2026-01-01T00:00:00Z" });
    // A role below CHANNEL_MANAGER may change no channel, whether or not it exists.
    let manage = if stranger.name == ADMIN.0 {
        (404, "CHANNEL_NOT_FOUND")
    } else {
        (403, "FORBIDDEN")
    };
    let gone = |code| (404, code);
    let create_status = json!({ "userId": stranger.id, "channelId": channel, "lastReadAt": "2026-01-01T00:00:00Z" });
    for (method, path, body, code) in [
        (
            Method::PATCH,
            format!("/api/channels/{channel}"),
            &rename,
            manage,
        ),
        (
            Method::DELETE,
            format!("/api/channels/{channel}"),
            &none,
            manage,
        ),
        (
            Method::DELETE,
            format!("/api/channels/{channel}/participants/{}", bob.id),
            &none,
            gone("CHANNEL_NOT_FOUND"),
        ),
        (
            Method::PATCH,
            format!("/api/messages/{message}"),
            &edit,
            gone("MESSAGE_NOT_FOUND"),
        ),
        (
            Method::DELETE,
            format!("/api/messages/{message}"),
            &none,
            gone("MESSAGE_NOT_FOUND"),
        ),
        (
            Method::PUT,
            format!("/api/channels/{channel}/participants/{}", stranger.id),
            &none,
            gone("CHANNEL_NOT_FOUND"),
        ),
        (
            Method::PUT,
            format!("/api/messages/{message}/reactions/%F0%9F%91%8D"),
            &none,
            gone("MESSAGE_NOT_FOUND"),
        ),
        (
            Method::PATCH,
            format!("/api/readStatuses/{read_status}"),
            &read,
            gone("READ_STATUS_NOT_FOUND"),
        ),
        (
            Method::POST,
            "/api/readStatuses".to_owned(),
            &create_status,
            gone("CHANNEL_NOT_FOUND"),
        ),
    ] {
        let request = format!("{method} {path}");
        let answer = match body {
            Value::Null => stranger.send(stranger.request(method, &path)).await,
            body => stranger.json(method, &path, body).await,
        };
        assert_no_leak(&request, &answer, private);
        assert_eq!((answer.status, answer.code()), code, "{request}");
    }
    let answer = stranger.write(channel, "mine").await;
    assert_eq!((answer.status, answer.code()), (404, "CHANNEL_NOT_FOUND"));
    assert_eq!(ann.history(channel).await.len(), 2);
}

async fn assert_subscribes_to_nothing(private: &Private, stranger: &User) {
    let channel = &private.channel;
    let typing = json!({ "channelId": channel }).to_string();
    let message =
        json!({ "content": "mine", "channelId": channel, "authorId": stranger.id }).to_string();
    for frame in [
        format!("SUBSCRIBE\nid:1\ndestination:/sub/channels.{channel}.messages\n\n\0"),
        format!("SUBSCRIBE\nid:1\ndestination:/sub/channels.{channel}.messages\nafter-seq:0\n\n\0"),
        format!("SUBSCRIBE\nid:1\ndestination:/sub/channels.{channel}.events\n\n\0"),
        format!("SEND\ndestination:/pub/typing\nreceipt:r\n\n{typing}\0"),
        format!("SEND\ndestination:/pub/messages\nreceipt:r\n\n{message}\0"),
    ] {
        let code = refused_frame(stranger, &frame).await;
        assert_eq!(code.as_deref(), Some("CHANNEL_NOT_FOUND"), "{frame}");
    }
}
