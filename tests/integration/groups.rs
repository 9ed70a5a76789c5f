//! Conversations of three or more: names, people added later, and the history that these see.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};

use super::{
    accounts::{keys, text},
    channels::{list, new_id, read_statuses},
    files::{attach, file, until_ready},
    messages::seqs,
    notifications::listed,
};
use crate::support::{Answer, Cluster, Sse, Stomp, User, eventually};

/// Creates a private channel.
async fn create(by: &User, others: &[&User], more: &Value) -> Answer {
    let ids: Vec<_> = [by].iter().chain(others).map(|user| &user.id).collect();
    let mut body = json!({ "participantIds": ids });
    for (name, value) in more.as_object().expect("an object") {
        body[name] = value.clone();
    }
    by.post("/api/channels/private", &body).await
}

async fn add(by: &User, channel: &str, user: &str) -> Answer {
    let path = format!("/api/channels/{channel}/participants/{user}");
    by.send(by.request(Method::PUT, &path)).await
}

async fn found(by: &User, channel: &str) -> Value {
    let channels = list(by).await;
    let found = channels.iter().find(|found| found["id"] == channel);
    found.expect("the channel is listed").clone()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_has_a_name_that_each_participant_can_change() {
    let cluster = Cluster::shared(2).await;
    let (ann, bob, moe, eve) = (
        cluster.user(0, "ann").await,
        cluster.user(1, "bob").await,
        cluster.user(0, "moe").await,
        cluster.user(0, "eve").await,
    );
    let answer = create(&ann, &[&bob, &moe], &json!({ "name": "Trip" })).await;
    assert_eq!((answer.status, &answer.body["name"]), (201, &json!("Trip")));
    let group = text(&answer.body["id"]).to_owned();
    let mut stream = Sse::open(&moe, None).await;
    stream.expect("sync").await;
    let path = format!("/api/channels/{group}");
    let renamed = bob
        .patch(&path, &json!({ "newName": "Trip to 제주" }))
        .await;
    assert_eq!(renamed.status, 200, "{renamed:?}");
    stream
        .expect_about("channels.refresh", "channelId", &group)
        .await;
    assert_eq!(renamed.body["name"], "Trip to 제주");
    for user in [&ann, &bob, &moe] {
        assert_eq!(found(user, &group).await, renamed.body);
    }
    for body in [json!({ "newName": "" }), json!({ "newName": "a\nb" })] {
        let answer = bob.patch(&path, &body).await;
        assert_eq!(keys(&answer.body["details"]), ["newName"]);
    }
    let described = bob.patch(&path, &json!({ "newDescription": "x" })).await;
    assert_eq!(described.code(), "PRIVATE_CHANNEL_UNCHANGEABLE");
    let pair = create(&ann, &[&bob], &json!({})).await.body;
    let named = json!({ "newName": "x" });
    let answer = ann
        .patch(&format!("/api/channels/{}", text(&pair["id"])), &named)
        .await;
    assert_eq!(answer.code(), "PRIVATE_CHANNEL_UNCHANGEABLE");
    let answer = create(&ann, &[&bob], &json!({ "name": "x" })).await;
    assert_eq!(keys(&answer.body["details"]), ["name"]);
    let public = cluster.channel().await;
    for channel in [&group, &new_id(), &public] {
        let answer = eve.patch(&format!("/api/channels/{channel}"), &named).await;
        assert_eq!((answer.status, answer.code()), (403, "FORBIDDEN"));
    }
    let admin = cluster.admin(0).await;
    assert_eq!(admin.patch(&path, &named).await.code(), "CHANNEL_NOT_FOUND");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_participant_adds_others_who_see_the_channel_live() {
    let cluster = Cluster::start_with(2, &[("INVITATIONS_PER_PAIR", "2")]).await;
    let (ann, bob, moe, eve) = (
        cluster.user(0, "ann").await,
        cluster.user(1, "bob").await,
        cluster.user(0, "moe").await,
        cluster.user(1, "eve").await,
    );
    let group = create(&ann, &[&bob, &moe], &json!({ "withHistory": true })).await;
    assert_eq!(group.body["withHistory"], true);
    let group = text(&group.body["id"]).to_owned();
    ann.write(&group, "before").await;
    for stranger in [&eve, &cluster.admin(0).await] {
        let answer = add(stranger, &group, &eve.id).await;
        assert_eq!((answer.status, answer.code()), (404, "CHANNEL_NOT_FOUND"));
    }
    let mut stream = Sse::open(&eve, None).await;
    stream.expect("sync").await;
    for _ in 0..2 {
        let answer = add(&bob, &group, &eve.id).await;
        assert_eq!((answer.status, &answer.body), (204, &Value::Null));
    }
    stream
        .expect_about("channels.refresh", "channelId", &group)
        .await;
    assert_eq!(found(&eve, &group).await, found(&ann, &group).await);
    let status = read_statuses(&eve).await;
    assert_eq!(
        (
            &status[0]["channelId"],
            &status[0]["lastReadSeq"],
            &status[0]["notificationLevel"]
        ),
        (&json!(group), &json!(1), &json!("ALL"))
    );
    let mut eves = Stomp::connect(&eve).await;
    eves.subscribe(&group).await;
    assert_eq!(ann.write(&group, "after").await.status, 201);
    assert_eq!(eves.message().await["content"], "after");
    assert_eq!(seqs(&eve.history(&group).await), [1, 2]);
    // Removed and added again.
    let path = format!("/api/channels/{group}/participants/{}", eve.id);
    assert_eq!(eve.delete(&path).await.status, 204);
    assert_eq!(eve.write(&group, "gone").await.status, 404);
    assert_eq!(add(&bob, &group, &eve.id).await.status, 204);
    assert_eq!(eve.write(&group, "back").await.status, 201);

    assert_eq!(add(&ann, &group, &new_id()).await.code(), "USER_NOT_FOUND");
    let pair = ann.create_private(&[&bob]).await;
    let answer = add(&ann, &pair, &moe.id).await;
    assert_eq!((answer.status, answer.code()), (400, "CHANNEL_NOT_A_GROUP"));
    let public = cluster.channel().await;
    let answer = add(&ann, &public, &moe.id).await;
    assert_eq!((answer.status, answer.code()), (400, "CHANNEL_NOT_PRIVATE"));
    // Of three invitations by one user two are allowed.
    let others = create(&bob, &[&ann, &moe], &json!({})).await;
    let others = text(&others.body["id"]).to_owned();
    assert_eq!(add(&bob, &others, &eve.id).await.status, 204);
    let third = create(&bob, &[&ann, &moe], &json!({})).await;
    assert_eq!(third.status, 201, "{third:?}");
    let answer = add(&bob, text(&third.body["id"]), &eve.id).await;
    assert_eq!((answer.status, answer.code()), (403, "QUOTA_EXCEEDED"));
    assert_eq!(answer.body["details"]["quota"], "invitationsByOne");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_the_history_nothing_from_before_is_visible() {
    let cluster = Cluster::start(2).await;
    let (ann, bob, moe, eve) = (
        cluster.user(0, "ann").await,
        cluster.user(1, "bob").await,
        cluster.user(0, "moe").await,
        cluster.user(1, "eve").await,
    );
    let group = create(&ann, &[&bob, &moe], &json!({})).await.body;
    assert_eq!(group["withHistory"], false);
    let group = text(&group["id"]).to_owned();
    let secret = ann.write(&group, "the secret of before").await.body;
    let id = text(&secret["id"]).to_owned();
    let old_file = attach(&ann, &group, vec![file("a.txt", "text/plain", "x")]).await;
    until_ready(&ann, &old_file[0]).await;
    cluster.settled().await;
    assert_eq!(add(&ann, &group, &eve.id).await.status, 204);
    let mut eves = Stomp::connect(&eve).await;
    eves.subscribe_with(&format!("/sub/channels.{group}.messages"), "after-seq:0\n")
        .await;
    eves.subscribe_with(&format!("/sub/channels.{group}.events"), "")
        .await;
    eves.expect_nothing(Duration::from_millis(300)).await;
    let now = bob.write(&group, "now").await.body;
    assert_eq!(eves.message().await, now);

    // Pages, replays, search, files and notifications begin with the message after the invitation.
    for query in [
        "",
        "&sort=createdAt,asc",
        "&cursor=3",
        "&around=1",
        "&at=2020-01-01T00:00:00Z",
    ] {
        let path = format!("/api/messages?channelId={group}{query}");
        let page = eve.get(&path).await;
        assert_eq!(page.status, 200, "{page:?}");
        let content = page.body["content"].as_array().expect("a list");
        let expected: &[i64] = if query == "&cursor=3" { &[] } else { &[3] };
        assert_eq!(seqs(content), expected, "{query}");
    }
    let around = format!("/api/messages?channelId={group}&around={id}");
    assert_eq!(eve.get(&around).await.code(), "MESSAGE_NOT_FOUND");
    eventually("the message is found", async || {
        let found = eve.get("/api/messages/search?q=now").await;
        found.body["content"].as_array().map(Vec::len) == Some(1)
    })
    .await;
    for path in ["q=secret", "has=file"] {
        let found = eve.get(&format!("/api/messages/search?{path}")).await;
        assert_eq!(found.body["content"], json!([]), "{path}");
        let found = bob.get(&format!("/api/messages/search?{path}")).await;
        assert_eq!(found.body["content"].as_array().map(Vec::len), Some(1));
    }
    let path = format!("/api/binaryContents/{}", old_file[0]);
    assert_eq!(eve.get(&path).await.code(), "BINARY_CONTENT_NOT_FOUND");
    assert_eq!(bob.get(&path).await.status, 200);
    eventually("eve is notified of the message", async || {
        listed(&eve).await.len() == 1
    })
    .await;

    // Changes of messages from before.
    let path = format!("/api/messages/{id}");
    let reaction = format!("{path}/reactions/%F0%9F%91%8D");
    for (method, path) in [
        (Method::PUT, &reaction),
        (Method::DELETE, &reaction),
        (Method::DELETE, &path),
    ] {
        let answer = eve.send(eve.request(method, path)).await;
        assert_eq!((answer.status, answer.code()), (404, "MESSAGE_NOT_FOUND"));
    }
    let mut bobs = Stomp::connect(&bob).await;
    bobs.subscribe_with(&format!("/sub/channels.{group}.events"), "")
        .await;
    let edited = ann
        .patch(&path, &json!({ "newContent": "still secret" }))
        .await;
    assert_eq!(edited.status, 200);
    assert_eq!(
        bob.send(bob.request(Method::PUT, &reaction)).await.status,
        204
    );
    assert_eq!(bobs.message().await["type"], "message.updated");
    assert_eq!(bobs.message().await["type"], "reaction");
    let path = format!("/api/messages/{}", text(&now["id"]));
    assert_eq!(
        bob.patch(&path, &json!({ "newContent": "later" }))
            .await
            .status,
        200
    );
    let seen = eves.message().await;
    assert_eq!(seen["message"]["content"], "later", "the first event");
}
