//! Files while the storage is slow or away.

use std::time::{Duration, Instant};

use discodeit::{
    ids::FileId,
    model::UploadStatus,
    store::{self, files::WaitingFile},
};
use reqwest::multipart;
use serde_json::json;

use super::{
    accounts::text,
    files::{PNG, attach, block, bytes, count, file, post, status, stored, unblock, until_ready},
};
use crate::support::{Cluster, Sse, eventually};

/// Begins the next attempt for the only waiting file, like a node whose storage is slow.
async fn begin_slow_attempt(cluster: &Cluster, lease: Duration) -> WaitingFile {
    loop {
        sqlx::query(
            "update binary_contents set next_try_at = clock_timestamp() where status = 'WAITING'",
        )
        .execute(&cluster.db)
        .await
        .expect("updated");
        let begun = store::files::begin_try(&cluster.node(0).app().db, false, lease).await;
        if let Some(waiting) = begun.expect("PostgreSQL answers") {
            return waiting;
        }
    }
}

/// Ends an attempt. False if it has no effect.
async fn finish(cluster: &Cluster, file: FileId, tries: i16, how: UploadStatus) -> bool {
    let begun = cluster.node(0).app().db.begin().await;
    let mut transaction = begun.expect("PostgreSQL answers");
    let finished = store::files::finish(&mut transaction, file, tries, how, None).await;
    transaction.commit().await.expect("PostgreSQL answers");
    finished.expect("PostgreSQL answers")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_storage_neither_delays_messages_nor_keeps_them_from_being_deleted() {
    let cluster = Cluster::start(1).await;
    let (ann, channel) = (cluster.user(0, "ann").await, cluster.channel().await);
    block(&cluster.files.join("files"));
    let id = attach(&ann, &channel, vec![file("a", "text/plain", "x")])
        .await
        .remove(0);
    let waiting = begin_slow_attempt(&cluster, Duration::from_mins(1)).await;
    let message = text(&ann.history(&channel).await[0]["id"]).to_owned();
    let began = Instant::now();
    let path = format!("/api/messages/{message}");
    let (deleted, written) = tokio::join!(ann.delete(&path), ann.write(&channel, "goes on"));
    assert_eq!((deleted.status, written.status), (204, 201), "{deleted:?}");
    assert!(
        began.elapsed() < Duration::from_secs(1),
        "{:?}",
        began.elapsed()
    );
    // What is being moved keeps its row, else its bytes would stay for ever; and it is deleted when it is there.
    unblock(&cluster.files.join("files"));
    tokio::time::sleep(Duration::from_secs(7)).await;
    assert_eq!(count(&cluster, "binary_contents").await, 1);
    let app = cluster.node(0).app();
    let file: FileId = id.parse().expect("an id");
    app.blobs.publish(file, 1).await.expect("moved");
    assert!(finish(&cluster, file, waiting.tries, UploadStatus::Success).await);
    eventually("its bytes are gone", async || {
        stored(&cluster, "files").is_empty() && count(&cluster, "binary_contents").await == 0
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_attempt_that_ends_after_the_next_one_began_changes_nothing() {
    let cluster = Cluster::start(1).await;
    let (ann, channel) = (cluster.user(0, "ann").await, cluster.channel().await);
    block(&cluster.files.join("files"));
    let id = attach(&ann, &channel, vec![file("a", "text/plain", "x")])
        .await
        .remove(0);
    let late = begin_slow_attempt(&cluster, Duration::ZERO).await;
    let next = begin_slow_attempt(&cluster, Duration::from_mins(1)).await;
    assert!(next.tries > late.tries);
    let file: FileId = id.parse().expect("an id");
    let end = async |tries: i16, how: UploadStatus| finish(&cluster, file, tries, how).await;
    assert!(!end(late.tries, UploadStatus::Failed).await);
    assert!(end(next.tries, UploadStatus::Success).await);
    assert!(!end(next.tries, UploadStatus::Failed).await, "once");
    assert_eq!(status(&ann, &id).await, "SUCCESS");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_fails_after_three_attempts_and_its_sender_is_notified_once() {
    let cluster = Cluster::start(2).await;
    let (ann, bob) = (cluster.user(0, "ann").await, cluster.user(1, "bob").await);
    let channel = ann.create_private(&[&bob]).await;
    cluster.settled().await;
    let mut events = Sse::open(&ann, None).await;
    events.expect("sync").await;
    block(&cluster.files.join("files"));
    let id = attach(&ann, &channel, vec![file("cat.txt", "text/plain", "x")])
        .await
        .remove(0);
    eventually("it is given up", async || {
        // The pauses between tries are not what is tested here.
        sqlx::query("update binary_contents set next_try_at = clock_timestamp() where next_try_at > clock_timestamp() + interval '1 second'")
            .execute(&cluster.db)
            .await
            .expect("updated");
        status(&bob, &id).await == "FAILED"
    })
    .await;
    let tries: i16 = sqlx::query_scalar("select tries from binary_contents")
        .fetch_one(&cluster.db)
        .await
        .expect("a row");
    assert_eq!(tries, 3);
    let mut told = Vec::new();
    for _ in 0..2 {
        told.push(events.next_but_presence().await.expect("an event"));
    }
    told.sort_by(|a, b| a.name.cmp(&b.name));
    assert_eq!(told[0].name, "binaryContents.status");
    assert_eq!(told[0].json()["uploadStatus"], "FAILED");
    assert_eq!(told[1].name, "notifications");
    let notification = told[1].json();
    assert_eq!(notification["type"], "ASYNC_FAILED");
    assert!(
        notification["targetId"].is_null() && text(&notification["content"]).contains("cat.txt")
    );
    let path = format!("/api/binaryContents/{id}/download");
    assert_eq!(bob.get(&path).await.code(), "BINARY_CONTENT_NOT_FOUND");
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    let cause = uuid::Uuid::parse_str(&id).expect("an id");
    let written: Vec<(uuid::Uuid, uuid::Uuid)> = sqlx::query_as(
        "select cause_id, receiver_id from notifications where type = 'ASYNC_FAILED'",
    )
    .fetch_all(&cluster.db)
    .await
    .expect("rows");
    assert_eq!(written, [(cause, ann.id.parse().expect("an id"))]);
    eventually("its bytes are gone", async || {
        stored(&cluster, "incoming").is_empty()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_storage_uploads_fail_and_everything_else_works() {
    let cluster = Cluster::start(1).await;
    let (ann, channel) = (cluster.user(0, "ann").await, cluster.channel().await);
    let incoming = cluster.files.join("incoming");
    block(&incoming);
    let message = json!({ "content": "look", "channelId": channel, "authorId": ann.id });
    for content in [bytes(10), bytes(600_000)] {
        let answer = post(&ann, &message, vec![file("a", "text/plain", content)]).await;
        assert_eq!(
            (answer.status, answer.code()),
            (503, "SERVICE_UNAVAILABLE"),
            "{answer:?}"
        );
        assert!(answer.header("retry-after").is_some());
        assert!(!answer.body.to_string().contains("incoming"), "{answer:?}");
    }
    let account = json!({ "username": "new", "email": "new@example.org", "password": "password" });
    let form = multipart::Form::new()
        .text("userCreateRequest", account.to_string())
        .part("profile", file("me.png", "image/png", PNG));
    let request = ann
        .http
        .post(format!("{}/api/users", ann.base))
        .multipart(form);
    assert_eq!(ann.send(request).await.status, 503);
    assert_eq!(
        cluster.visitor(0).login("new", "password").await.status,
        401
    );
    assert_eq!(
        (
            count(&cluster, "messages").await,
            count(&cluster, "binary_contents").await
        ),
        (0, 0)
    );
    assert_eq!(ann.write(&channel, "text goes on").await.status, 201);
    unblock(&incoming);
    let id = attach(&ann, &channel, vec![file("a", "text/plain", "x")])
        .await
        .remove(0);
    until_ready(&ann, &id).await;
}
