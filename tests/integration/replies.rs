//! Replies: the original that they show, and where they are refused.

use reqwest::Method;
use serde_json::{Value, json};

use super::{
    accounts::{keys, text},
    channels::new_id,
    files::{attach, file},
};
use crate::support::{Answer, Cluster, Stomp, User, eventually};

/// Posts a reply over HTTP.
async fn reply(by: &User, channel: &str, content: &str, to: &Value) -> Answer {
    let body =
        json!({ "content": content, "channelId": channel, "authorId": by.id, "replyTo": to });
    by.multipart(Method::POST, "/api/messages", "messageCreateRequest", &body)
        .await
}

/// The `replyTo` of a stored message.
async fn stored(by: &User, channel: &str, seq: i64) -> Value {
    let history = by.history(channel).await;
    let found = history.iter().find(|message| message["seq"] == seq);
    found.expect("the message is stored")["replyTo"].clone()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reply_shows_its_original_as_it_is_now() {
    let cluster = Cluster::shared(2).await;
    let (ann, bob) = (cluster.user(0, "ann").await, cluster.user(1, "bob").await);
    let channel = ann.create_private(&[&bob]).await;
    let mut anns = Stomp::connect(&ann).await;
    anns.subscribe(&channel).await;
    let original = ann.write(&channel, "  the original ").await.body;
    assert!(original["replyTo"].is_null(), "{original}");
    assert_eq!(anns.message().await, original);

    let answer = reply(&bob, &channel, "a reply", &original["id"]).await;
    assert_eq!(answer.status, 201, "{answer:?}");
    let shown = &answer.body["replyTo"];
    assert_eq!(keys(shown), ["author", "deleted", "excerpt", "id", "seq"]);
    let expected = json!({
        "id": original["id"], "seq": 1, "author": original["author"], "excerpt": "the original", "deleted": false,
    });
    assert_eq!(*shown, expected);
    assert_eq!(anns.message().await, answer.body, "on the other node");
    assert_eq!(stored(&ann, &channel, 2).await, expected);

    // Over STOMP, and to a reply.
    let body = json!({ "content": "again", "channelId": channel, "authorId": ann.id, "replyTo": answer.body["id"] });
    anns.send(&format!("SEND\ndestination:/pub/messages\n\n{body}\0"))
        .await;
    let sent = anns.message().await;
    assert_eq!(
        (&sent["replyTo"]["id"], &sent["replyTo"]["excerpt"]),
        (&answer.body["id"], &json!("a reply"))
    );
    assert_eq!(stored(&bob, &channel, 3).await, sent["replyTo"]);

    // An edit of the original changes the reply, an edit of the reply does not.
    let path = format!("/api/messages/{}", text(&original["id"]));
    let long = "가".repeat(201);
    let edited = ann.patch(&path, &json!({ "newContent": long })).await;
    assert_eq!(edited.status, 200, "{edited:?}");
    let excerpt = format!("{}…", "가".repeat(200));
    assert_eq!(stored(&bob, &channel, 2).await["excerpt"], json!(excerpt));
    let reply_path = format!("/api/messages/{}", text(&answer.body["id"]));
    let edited = bob
        .patch(&reply_path, &json!({ "newContent": "changed" }))
        .await;
    assert_eq!(edited.body["replyTo"]["excerpt"], json!(excerpt));

    assert_eq!(ann.delete(&path).await.status, 204);
    let deleted =
        json!({ "id": original["id"], "seq": 1, "author": null, "excerpt": null, "deleted": true });
    assert_eq!(stored(&bob, &channel, 2).await, deleted);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reply_to_files_shows_their_names_and_one_to_a_deleted_account_no_author() {
    let cluster = Cluster::start(1).await;
    let (ann, bob) = (cluster.user(0, "ann").await, cluster.user(0, "bob").await);
    let channel = cluster.channel().await;
    let files = vec![
        file("a.txt", "text/plain", "x"),
        file("b.txt", "text/plain", "x"),
    ];
    attach(&ann, &channel, files).await;
    let original = ann.history(&channel).await.remove(0);
    let path = format!("/api/messages/{}", text(&original["id"]));
    assert_eq!(
        ann.patch(&path, &json!({ "newContent": "" })).await.status,
        200
    );
    let answer = reply(&bob, &channel, "nice", &original["id"]).await;
    assert_eq!(answer.body["replyTo"]["excerpt"], "a.txt, b.txt");
    let admin = cluster.admin(0).await;
    let gone = admin.delete(&format!("/api/users/{}", ann.id)).await;
    assert_eq!(gone.status, 204);
    let shown = stored(&bob, &channel, 2).await;
    assert_eq!(
        (&shown["author"], &shown["deleted"]),
        (&Value::Null, &json!(false))
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reply_to_a_message_outside_the_channel_is_refused() {
    let cluster = Cluster::shared(1).await;
    let (ann, bob, eve) = (
        cluster.user(0, "ann").await,
        cluster.user(0, "bob").await,
        cluster.user(0, "eve").await,
    );
    let (channel, private) = (cluster.channel().await, ann.create_private(&[&bob]).await);
    let secret = ann.write(&private, "secret").await.body["id"].clone();
    let deleted = ann.write(&channel, "deleted").await.body["id"].clone();
    let gone = ann
        .delete(&format!("/api/messages/{}", text(&deleted)))
        .await;
    assert_eq!(gone.status, 204);
    for to in [&secret, &deleted, &json!(new_id())] {
        for by in [&eve, &ann] {
            let answer = reply(by, &channel, "x", to).await;
            assert_eq!((answer.status, answer.code()), (400, "INVALID_INPUT"));
            assert_eq!(
                answer.body["details"],
                json!({ "replyTo": "must be a message of the channel" }),
                "{to}"
            );
        }
    }
    let mut stomp = Stomp::connect(&eve).await;
    stomp.subscribe_with("/user/queue/errors", "").await;
    let body =
        json!({ "content": "x", "channelId": channel, "authorId": eve.id, "replyTo": secret });
    stomp
        .send(&format!("SEND\ndestination:/pub/messages\n\n{body}\0"))
        .await;
    let refused = stomp.message().await;
    assert_eq!(refused["code"], "INVALID_INPUT");
    assert_eq!(keys(&refused["details"]), ["replyTo"]);
    let wrong = reply(&eve, &channel, "x", &json!("not-an-id")).await;
    assert_eq!(keys(&wrong.body["details"]), ["replyTo"]);
    let next = eve.write(&channel, "next").await;
    assert_eq!(next.body["seq"], 2, "a refused reply takes no position");
    eventually("the channel has one message", async || {
        eve.history(&channel).await.len() == 1
    })
    .await;
}
