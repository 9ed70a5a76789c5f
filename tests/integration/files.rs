//! Files from upload to download: status events, access, retries, duplicates.

use std::{path::Path, time::Duration};

use reqwest::{Method, multipart};
use serde_json::{Value, json};

use super::accounts::{keys, text};
use crate::support::{Answer, Cluster, Sse, Stomp, User, eventually};

/// A PNG image of one pixel.
pub(crate) const PNG: &[u8] = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x01\0\0\0\x01\x08\x06\0\0\0\x1f\x15\xc4\x89\0\0\0\rIDATx\x9cc\xf8\xff\xff\xff\x7f\0\t\xfb\x03\xfd\x05CE\xca\0\0\0\0IEND\xaeB`\x82";

/// Consecutive numbers as bytes, to detect missing and duplicate parts.
pub(crate) fn bytes(length: usize) -> Vec<u8> {
    let words = (0_u32..).flat_map(u32::to_be_bytes);
    words.take(length).collect()
}

pub(crate) fn file(name: &str, content_type: &str, content: impl Into<Vec<u8>>) -> multipart::Part {
    multipart::Part::bytes(content.into())
        .file_name(name.to_owned())
        .mime_str(content_type)
        .expect("a media type")
}

/// Posts a message with files; the JSON is the last part.
pub(crate) async fn post(by: &User, message: &Value, files: Vec<multipart::Part>) -> Answer {
    let mut form = multipart::Form::new();
    for file in files {
        form = form.part("attachments", file);
    }
    let form = form.text("messageCreateRequest", message.to_string());
    by.send(by.request(Method::POST, "/api/messages").multipart(form))
        .await
}

/// Posts a message and returns the ids of its files.
pub(crate) async fn attach(by: &User, channel: &str, files: Vec<multipart::Part>) -> Vec<String> {
    let message = json!({ "content": "look", "channelId": channel, "authorId": by.id });
    let answer = post(by, &message, files).await;
    assert_eq!(answer.status, 201, "{answer:?}");
    let files = answer.body["attachments"].as_array().expect("a list");
    files
        .iter()
        .map(|file| text(&file["id"]).to_owned())
        .collect()
}

pub(crate) async fn status(by: &User, id: &str) -> String {
    let answer = by.get(&format!("/api/binaryContents/{id}")).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    text(&answer.body["uploadStatus"]).to_owned()
}

pub(crate) async fn until_ready(by: &User, id: &str) {
    eventually("the file is ready", async || {
        status(by, id).await == "SUCCESS"
    })
    .await;
}

/// The bytes of a file.
pub(crate) async fn content(by: &User, id: &str) -> Vec<u8> {
    let path = format!("/api/binaryContents/{id}/download");
    let response = by
        .request(Method::GET, &path)
        .send()
        .await
        .expect("an answer");
    assert_eq!(response.status(), 200, "{response:?}");
    response.bytes().await.expect("complete").to_vec()
}

/// File names in a folder of the storage, `incoming` or `files`.
pub(crate) fn stored(cluster: &Cluster, folder: &str) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(cluster.files.join(folder)) else {
        return Vec::new();
    };
    entries
        .map(|entry| {
            entry
                .expect("an entry")
                .file_name()
                .to_string_lossy()
                .into_owned()
        })
        .collect()
}

/// Replaces a folder by a file, so that writes into the folder fail.
pub(crate) fn block(folder: &Path) {
    if folder.exists() {
        std::fs::remove_dir_all(folder).expect("removed");
    }
    std::fs::write(folder, b"in the way").expect("written");
}

pub(crate) fn unblock(folder: &Path) {
    std::fs::remove_file(folder).expect("removed");
}

pub(crate) async fn count(cluster: &Cluster, table: &str) -> i64 {
    let sql = sqlx::AssertSqlSafe(format!("select count(*) from {table}"));
    sqlx::query_scalar(sql)
        .fetch_one(&cluster.db)
        .await
        .expect("counted")
}

pub(crate) async fn with_picture(by: &User, picture: multipart::Part) -> Answer {
    let form = multipart::Form::new()
        .part("profile", picture)
        .text("userUpdateRequest", "{}");
    let path = format!("/api/users/{}", by.id);
    by.send(by.request(Method::PATCH, &path).multipart(form))
        .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_uploaded_to_one_node_is_downloaded_from_another() {
    let cluster = Cluster::shared(2).await;
    let (ann, bob, channel) = (
        cluster.user(0, "ann").await,
        cluster.user(1, "bob").await,
        cluster.channel().await,
    );
    let mut bobs = Stomp::connect(&bob).await;
    bobs.subscribe(&channel).await;

    let answer = with_picture(&ann, file("me.png", "image/png", PNG)).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let profile = &answer.body["profile"];
    assert_eq!(
        keys(profile),
        ["contentType", "fileName", "id", "size", "uploadStatus"]
    );
    assert_eq!(
        (text(&profile["fileName"]), text(&profile["uploadStatus"])),
        ("me.png", "WAITING")
    );
    let picture = text(&profile["id"]).to_owned();
    until_ready(&bob, &picture).await;
    assert_eq!(content(&bob, &picture).await, PNG);

    // Sizes of zero, one and several parts.
    let contents = [Vec::new(), bytes(100), bytes(1_000_000)];
    let types = ["text/plain", "Image/PNG; q=1", "video/mp4"];
    let files = (0..3).map(|n| file(&format!("{n}.bin"), types[n], contents[n].clone()));
    let ids = attach(&ann, &channel, files.collect()).await;
    let live = bobs.message().await;
    for (n, id) in ids.iter().enumerate() {
        let normal = ["text/plain", "image/png", "video/mp4"];
        let of_message = &live["attachments"][n];
        assert_eq!(
            *of_message,
            json!({ "id": id, "fileName": format!("{n}.bin"), "size": contents[n].len(),
                "contentType": normal[n], "uploadStatus": "WAITING" })
        );
        until_ready(&bob, id).await;
        assert_eq!(content(&bob, id).await, contents[n], "{n}");
    }
    assert_eq!(live["author"]["profile"]["id"], *picture);
    eventually("the incoming folder is empty", async || {
        stored(&cluster, "incoming").is_empty()
    })
    .await;

    // Every response shows the current status of the files.
    let page = bob.history(&channel).await;
    assert_eq!(page[0]["attachments"][2]["uploadStatus"], "SUCCESS");
    let list = bob
        .get(&format!(
            "/api/binaryContents?binaryContentIds={}&binaryContentIds={},{picture}",
            ids[2], ids[0]
        ))
        .await;
    assert_eq!(
        list.body,
        json!([
            page[0]["attachments"][2],
            page[0]["attachments"][0],
            page[0]["author"]["profile"]
        ])
    );
    let users = bob.get("/api/users").await;
    let mut found = users.body.as_array().expect("a list").iter();
    let found = found.find(|user| user["id"] == *ann.id).expect("ann");
    assert_eq!(found["profile"], page[0]["author"]["profile"]);
    let private = bob.create_private(&[&ann]).await;
    let channels = bob.get(&format!("/api/channels?userId={}", bob.id)).await;
    let mut found = channels.body.as_array().expect("a list").iter();
    let found = found
        .find(|found| found["id"] == *private)
        .expect("the channel");
    assert!(
        found["participants"]
            .as_array()
            .expect("a list")
            .iter()
            .any(|user| user["profile"]["id"] == *picture)
    );
    let again = User::sign_in(cluster.visitor(1), &ann.name, "password").await;
    assert_eq!(
        User::claims(again.token())["userDto"]["profile"]["id"],
        *picture
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_users_who_may_read_a_file_get_its_status_events() {
    let cluster = Cluster::start(2).await;
    let (ann, bob, eve) = (
        cluster.user(0, "ann").await,
        cluster.user(1, "bob").await,
        cluster.user(0, "eve").await,
    );
    let private = ann.create_private(&[&bob]).await;
    let public = cluster.channel().await;
    cluster.settled().await;
    let mut streams = Vec::new();
    for user in [&ann, &bob, &eve] {
        let mut stream = Sse::open(user, None).await;
        stream.expect("sync").await;
        streams.push(stream);
    }
    let before = streams[1].last_id.clone();
    let secret = attach(&ann, &private, vec![file("secret.txt", "text/plain", "x")]).await;
    for stream in &mut streams[..2] {
        let event = stream
            .expect_about("binaryContents.status", "id", &secret[0])
            .await;
        assert_eq!(
            event.json(),
            json!({ "id": secret[0], "fileName": "secret.txt", "size": 1, "contentType": "text/plain", "uploadStatus": "SUCCESS" })
        );
    }
    streams[2].expect_nothing(Duration::from_millis(300)).await;
    let open = attach(&ann, &public, vec![file("open.txt", "text/plain", "x")]).await;
    let mine = with_picture(&bob, file("me.png", "image/png", PNG)).await;
    for stream in &mut streams {
        for id in [&open[0], text(&mine.body["profile"]["id"])] {
            stream.expect_about("binaryContents.status", "id", id).await;
        }
    }
    // A replay omits status events of files that the user may no longer read.
    let leave = format!("/api/channels/{private}/participants/{}", bob.id);
    assert_eq!(bob.delete(&leave).await.status, 204);
    let mut replay = Sse::open(&bob, Some(&before)).await;
    let mut replayed = Vec::new();
    loop {
        let event = replay.next().await.expect("an event");
        if event.name == "sync" {
            break;
        }
        if event.name == "binaryContents.status" {
            replayed.push(event.json()["id"].clone());
        }
    }
    assert_eq!(
        replayed,
        [json!(open[0]), mine.body["profile"]["id"].clone()]
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_private_attachment_is_not_found_for_non_participants() {
    let cluster = Cluster::shared(1).await;
    let (ann, bob, eve, admin) = (
        cluster.user(0, "ann").await,
        cluster.user(0, "bob").await,
        cluster.user(0, "eve").await,
        cluster.admin(0).await,
    );
    let private = ann.create_private(&[&bob]).await;
    let public = cluster.channel().await;
    let secret = attach(&ann, &private, vec![file("s", "text/plain", "x")])
        .await
        .remove(0);
    let open = attach(&ann, &public, vec![file("o", "text/plain", "x")])
        .await
        .remove(0);
    until_ready(&bob, &secret).await;
    until_ready(&eve, &open).await;
    let unknown = uuid::Uuid::now_v7().to_string();
    for outsider in [&eve, &admin] {
        for id in [&secret, &unknown] {
            for path in [
                format!("/api/binaryContents/{id}"),
                format!("/api/binaryContents/{id}/download"),
            ] {
                let answer = outsider.get(&path).await;
                assert_eq!(
                    (answer.status, answer.code()),
                    (404, "BINARY_CONTENT_NOT_FOUND"),
                    "{path}"
                );
                assert_eq!(answer.body["details"], json!({ "binaryContentId": id }));
            }
            // A list omits files that do not exist or that the user may not read.
            let list = format!("/api/binaryContents?binaryContentIds={id},{open}");
            let listed = outsider.get(&list).await.body;
            assert_eq!(listed.as_array().map(Vec::len), Some(1), "{listed}");
            assert_eq!(listed[0]["id"], open.as_str());
        }
    }
    let visitor = cluster.visitor(0);
    for path in ["", "/download"] {
        let answer = visitor
            .get(&format!("/api/binaryContents/{open}{path}"))
            .await;
        assert_eq!((answer.status, answer.code()), (401, "UNAUTHENTICATED"));
    }
    for query in ["", "?binaryContentIds=", "?binaryContentIds=x"] {
        let answer = ann.get(&format!("/api/binaryContents{query}")).await;
        assert_eq!(
            (answer.status, keys(&answer.body["details"])),
            (400, vec!["binaryContentIds"])
        );
    }
    let many = vec![open.as_str(); 101].join(",");
    let answer = ann
        .get(&format!("/api/binaryContents?binaryContentIds={many}"))
        .await;
    assert_eq!(answer.status, 400);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_left_waiting_by_a_dead_node_is_finished_by_another() {
    let mut cluster = Cluster::start(1).await;
    let (ann, channel) = (cluster.user(0, "ann").await, cluster.channel().await);
    let kept = cluster.files.join("files");
    block(&kept);
    let id = attach(&ann, &channel, vec![file("a", "text/plain", "kept")])
        .await
        .remove(0);
    assert_eq!(status(&ann, &id).await, "WAITING");
    cluster.kill(0).await;
    unblock(&kept);
    let node = cluster.add(&[]).await;
    let ann = ann.at_node(&cluster.address(node));
    until_ready(&ann, &id).await;
    assert_eq!(content(&ann, &id).await, b"kept");

    // The opposite crash: the node moved the bytes and died before it updated the row.
    sqlx::query("update binary_contents set status = 'WAITING', next_try_at = clock_timestamp()")
        .execute(&cluster.db)
        .await
        .expect("updated");
    until_ready(&ann, &id).await;
    assert_eq!(content(&ann, &id).await, b"kept");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_duplicate_message_stores_its_files_once() {
    let cluster = Cluster::start(2).await;
    let (ann, channel) = (cluster.user(0, "ann").await, cluster.channel().await);
    let message = json!({ "content": "once", "channelId": channel, "authorId": ann.id, "clientMessageId": uuid::Uuid::new_v4() });
    let files = || {
        vec![
            file("a", "text/plain", "first"),
            file("b", "text/plain", "second"),
        ]
    };
    let first = post(&ann, &message, files()).await;
    assert_eq!(first.status, 201, "{first:?}");
    let ids: Vec<_> = [0, 1]
        .map(|n| text(&first.body["attachments"][n]["id"]).to_owned())
        .into();
    for id in &ids {
        until_ready(&ann, id).await;
    }
    let again = post(&ann.at_node(&cluster.address(1)), &message, files()).await;
    assert_eq!((again.status, &again.body["id"]), (201, &first.body["id"]));
    for (n, id) in ids.iter().enumerate() {
        assert_eq!(again.body["attachments"][n]["id"], **id);
    }
    eventually("the duplicate's files are deleted", async || {
        stored(&cluster, "incoming").is_empty()
    })
    .await;
    assert_eq!(stored(&cluster, "files").len(), 2);
    assert_eq!(ann.history(&channel).await.len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_with_files_needs_no_content() {
    let cluster = Cluster::shared(1).await;
    let (ann, channel) = (cluster.user(0, "ann").await, cluster.channel().await);
    for content in [json!(""), Value::Null] {
        let message = json!({ "content": content, "channelId": channel, "authorId": ann.id });
        let answer = post(&ann, &message, vec![file("a", "text/plain", "x")]).await;
        assert_eq!(
            (answer.status, &answer.body["content"]),
            (201, &json!("")),
            "{answer:?}"
        );
        let answer = post(&ann, &message, Vec::new()).await;
        assert_eq!(
            (answer.status, keys(&answer.body["details"])),
            (400, vec!["content"])
        );
    }
    let messages = ann.history(&channel).await;
    assert_eq!(messages.len(), 2);
    let path = format!("/api/messages/{}", text(&messages[0]["id"]));
    for content in ["a word", ""] {
        let answer = ann.patch(&path, &json!({ "newContent": content })).await;
        assert_eq!(
            (answer.status, text(&answer.body["content"])),
            (200, content)
        );
        assert_eq!(answer.body["attachments"].as_array().map(Vec::len), Some(1));
    }
    // The notification of a message without content has the file names.
    let bob = cluster.user(0, "bob").await;
    let private = ann.create_private(&[&bob]).await;
    let message = json!({ "channelId": private, "authorId": ann.id });
    let files = ["cat.png", "dog.png"].map(|name| file(name, "image/png", PNG));
    assert_eq!(post(&ann, &message, files.into()).await.status, 201);
    eventually("bob is notified", async || {
        let notifications = bob.get("/api/notifications").await;
        notifications.body[0]["content"] == "cat.png, dog.png"
    })
    .await;
    ann.write(&channel, "text").await;
    let text_only = &ann.history(&channel).await[2];
    let path = format!("/api/messages/{}", text(&text_only["id"]));
    assert_eq!(
        ann.patch(&path, &json!({ "newContent": "" })).await.status,
        400
    );
}
