//! A node that ends between two steps of a write, at each of the points of [`discodeit::crash`].
//!
//! What it acknowledged is stored once. What it stored is delivered once, by another node or by the next one.

use std::{future::IntoFuture, os::unix::process::ExitStatusExt, time::Duration};

use discodeit::crash::Point;
use reqwest::{Method, multipart};
use serde_json::{Value, json};

use super::{
    accounts::set_role,
    files::{file, status},
};
use crate::support::{Cluster, NodeProcess, Sse, Stomp, User, eventually};

/// Time in which another node publishes the events of a dead one. The rest is for the delivery.
const REPUBLISHED: Duration = Duration::from_secs(6);

/// Ends the process like a crash.
const SIGABRT: i32 = 6;

async fn start(cluster: &Cluster, point: Point) -> NodeProcess {
    let node = NodeProcess::start(&cluster.settings_with(&[
        ("NODE_NAME", "crashing"),
        ("CRASH_AT", &format!("{point:?}")),
    ]));
    node.listens().await;
    node.visitor.until_ready().await;
    node
}

async fn crashed(mut node: NodeProcess, point: Point) {
    let status = node.ended().await;
    assert_eq!(status.signal(), Some(SIGABRT), "{point:?}: {status}");
}

/// The status of the answer, if there is one.
async fn answered(request: reqwest::RequestBuilder) -> Option<u16> {
    let answer = request.send().into_future().await.ok()?;
    Some(answer.status().as_u16())
}

fn message(by: &User, channel: &str, client_id: &str, files: bool) -> reqwest::RequestBuilder {
    let body = json!({
        "content": client_id, "channelId": channel, "authorId": by.id, "clientMessageId": client_id,
    });
    let mut form = multipart::Form::new().text("messageCreateRequest", body.to_string());
    if files {
        form = form.part("attachments", file("a", "text/plain", "of a file"));
    }
    by.request(Method::POST, "/api/messages").multipart(form)
}

async fn times_stored(reader: &User, channel: &str, content: &str) -> usize {
    let history = reader.history(channel).await;
    let found = history
        .iter()
        .filter(|message| message["content"] == content);
    found.count()
}

async fn notifications_of(user: &User, content: &str) -> usize {
    let list = user.get("/api/notifications").await.body;
    let list = list.as_array().expect("a list");
    list.iter()
        .filter(|notification| notification["content"] == content)
        .count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_survives_a_crash_at_each_step() {
    let cluster = Cluster::start(1).await;
    let (ann, bob) = (cluster.user(0, "ann").await, cluster.user(0, "bob").await);
    let channel = ann.create_private(&[&bob]).await;
    let mut bobs = Stomp::connect(&bob).await;
    bobs.subscribe(&channel).await;
    for (point, is_stored) in [
        (Point::FileStaged, false),
        (Point::MessageCommitted, true),
        (Point::MessagePublished, true),
        (Point::EventAcknowledged, true),
        (Point::EventDeleted, true),
    ] {
        let node = start(&cluster, point).await;
        let id = uuid::Uuid::new_v4().to_string();
        let with_file = point == Point::FileStaged;
        let answer = answered(message(
            &ann.at_node(node.address()),
            &channel,
            &id,
            with_file,
        ))
        .await;
        crashed(node, point).await;
        let stored = times_stored(&bob, &channel, &id).await;
        assert_eq!(stored, usize::from(is_stored), "{point:?}");
        // Of the later points, the sender may have the answer or not.
        assert!(
            answer.is_none() || (is_stored && answer == Some(201)),
            "{point:?}: {answer:?}"
        );
        if is_stored {
            let seen = tokio::time::timeout(REPUBLISHED, bobs.message()).await;
            assert_eq!(seen.expect("delivered")["content"], *id, "{point:?}");
        }
        // The sender tries again elsewhere.
        assert_eq!(
            answered(message(&ann, &channel, &id, with_file)).await,
            Some(201)
        );
        if !is_stored {
            assert_eq!(bobs.message().await["content"], *id, "{point:?}");
        }
        assert_eq!(times_stored(&bob, &channel, &id).await, 1, "{point:?}");
        eventually("the message has a notification", async || {
            notifications_of(&bob, &id).await > 0
        })
        .await;
        cluster.settled().await;
        bobs.expect_nothing(Duration::from_millis(200)).await;
        assert_eq!(notifications_of(&bob, &id).await, 1, "{point:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_survives_a_crash_at_each_step() {
    let cluster = Cluster::start(1).await;
    let (ann, bob) = (cluster.user(0, "ann").await, cluster.user(0, "bob").await);
    let mut events = Sse::open(&bob, None).await;
    events.expect("sync").await;
    let body = json!({ "participantIds": [ann.id, bob.id] });
    let channels = async || {
        let list = bob.get(&format!("/api/channels?userId={}", bob.id)).await;
        let list = list.body.as_array().expect("a list").clone();
        list.into_iter()
            .map(|channel| channel["id"].clone())
            .collect::<Vec<Value>>()
    };
    for point in [
        Point::ChangeCommitted,
        Point::ChangePublished,
        Point::HistoryPending,
        Point::HistoryAppended,
    ] {
        // Other channels must not be found instead.
        let before = channels().await;
        let node = start(&cluster, point).await;
        let request = ann.at_node(node.address());
        let request = request
            .request(Method::POST, "/api/channels/private")
            .json(&body);
        answered(request).await;
        crashed(node, point).await;
        let mut created = channels().await;
        created.retain(|channel| !before.contains(channel));
        assert_eq!(created.len(), 1, "{point:?}");
        let id = created[0].as_str().expect("an id");
        let seen = events.expect_about("channels.refresh", "channelId", id);
        let seen = tokio::time::timeout(REPUBLISHED, seen).await;
        seen.unwrap_or_else(|_| panic!("{point:?}: delivered"));
        cluster.settled().await;
        events.expect_nothing(Duration::from_millis(200)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_role_change_that_crashed_revokes_sessions_and_can_be_repeated() {
    let cluster = Cluster::start(1).await;
    let (admin, bob) = (cluster.admin(0).await, cluster.user(0, "bob").await);
    let point = Point::SessionsRevoked;
    let node = start(&cluster, point).await;
    let change = json!({ "userId": bob.id, "newRole": "CHANNEL_MANAGER" });
    let request = admin.at_node(node.address());
    let request = request.request(Method::PUT, "/api/auth/role").json(&change);
    assert_eq!(answered(request).await, None);
    crashed(node, point).await;
    assert_eq!(bob.get("/api/users").await.status, 401);
    let again = User::sign_in(cluster.visitor(0), &bob.name, "password").await;
    let role: String = sqlx::query_scalar("select role::text from users where id = $1::uuid")
        .bind(&bob.id)
        .fetch_one(&cluster.db)
        .await
        .expect("PostgreSQL answers");
    assert_eq!(role, "USER");
    let changed = set_role(&admin, &bob.id, "CHANNEL_MANAGER").await;
    assert_eq!(changed.status, 200, "{changed:?}");
    assert_eq!(again.get("/api/users").await.status, 401);
}

/// The node that crashes is the only one, so it does the background work. The next node continues it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn background_work_survives_a_crash_at_each_step() {
    let mut cluster = Cluster::start(1).await;
    let (mut ann, mut bob) = (cluster.user(0, "ann").await, cluster.user(0, "bob").await);
    let mut admin = cluster.admin(0).await;
    let channel = ann.create_private(&[&bob]).await;
    let mut running = 0;
    for point in [
        Point::JobReceived,
        Point::JobDone,
        Point::FilePublished,
        Point::PurgeWritten,
        Point::SweepClaimed,
        Point::SweepPublished,
    ] {
        let id = uuid::Uuid::new_v4().to_string();
        let doomed = admin.create_channel(&format!("doomed-{id}")).await;
        assert_eq!(ann.write(&doomed, "purged").await.status, 201);
        cluster.settled().await;
        cluster.kill(running).await;
        if matches!(point, Point::SweepClaimed | Point::SweepPublished) {
            // A row that a dead node has left.
            sqlx::query(
                "insert into outbox (event_id, topic, key, kind, body, created_at) \
                 values (gen_random_uuid(), 'messages', gen_random_uuid()::text, 'message.deleted', '{}', now() - interval '1 min')",
            )
            .execute(&cluster.db)
            .await
            .expect("PostgreSQL answers");
        }
        let node = start(&cluster, point).await;
        let at_node = ann.at_node(node.address());
        match point {
            Point::JobReceived | Point::JobDone | Point::FilePublished => {
                let with_file = point == Point::FilePublished;
                answered(message(&at_node, &channel, &id, with_file)).await;
            }
            Point::PurgeWritten => {
                let path = format!("/api/channels/{doomed}");
                let request = admin.at_node(node.address());
                answered(request.request(Method::DELETE, &path)).await;
            }
            _ => {}
        }
        crashed(node, point).await;

        running = cluster.add(&[]).await;
        let address = cluster.address(running);
        (ann, bob, admin) = (
            ann.at_node(&address),
            bob.at_node(&address),
            admin.at_node(&address),
        );
        // Kafka gives the jobs of a dead node to the next one after 6 s.
        cluster.settled().await;
        match point {
            Point::JobReceived | Point::JobDone => {
                assert_eq!(notifications_of(&bob, &id).await, 1, "{point:?}");
            }
            Point::FilePublished => {
                let history = bob.history(&channel).await;
                let sent = history.last().expect("a message");
                let file = sent["attachments"][0]["id"].as_str().expect("a file");
                eventually("the file is there", async || {
                    status(&bob, file).await == "SUCCESS"
                })
                .await;
                let download = bob
                    .get(&format!("/api/binaryContents/{file}/download"))
                    .await;
                assert_eq!(download.body, "of a file");
            }
            Point::PurgeWritten => {
                eventually("the channel is purged", async || {
                    let left: i64 = sqlx::query_scalar(
                        "select (select count(*) from pending_deletions) + (select count(*) from messages where channel_id = $1::uuid)",
                    )
                    .bind(&doomed)
                    .fetch_one(&cluster.db)
                    .await
                    .expect("PostgreSQL answers");
                    left == 0
                })
                .await;
            }
            _ => {}
        }
    }
}

#[test]
fn every_point_is_tested() {
    let source = include_str!("crashes.rs");
    for point in Point::ALL {
        assert!(source.contains(&format!("Point::{point:?}")), "{point:?}");
    }
}
