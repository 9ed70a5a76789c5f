//! Files in an S3 bucket behave as files in a folder.

use std::time::Duration;

use discodeit::{rate_limit::clients::Client, workers::files::sweep_incoming};
use reqwest::Method;
use serde_json::json;

use super::{
    accounts::text,
    files::{attach, bytes, content, count, file, post, until_ready},
};
use crate::support::{Bucket, Cluster, eventually};

async fn cluster_on(bucket: &Bucket, nodes: usize) -> Cluster {
    let settings = bucket.settings();
    let settings: Vec<_> = settings
        .iter()
        .map(|(name, value)| (*name, value.as_str()))
        .collect();
    Cluster::start_with(nodes, &settings).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bucket_serves_uploads_to_every_node_until_the_message_is_deleted() {
    let bucket = Bucket::start().await;
    let cluster = cluster_on(&bucket, 2).await;
    let (ann, bob, channel) = (
        cluster.user(0, "ann").await,
        cluster.user(1, "bob").await,
        cluster.channel().await,
    );
    // Empty, one part, and two or more parts: S3 requires at least 5 MiB for each part but the last.
    let (empty, small, large) = (Vec::new(), bytes(100), bytes(10 * 1024 * 1024 - 1));
    let files = [&empty, &small, &large].map(|content| file("a", "text/plain", content.clone()));
    let ids = attach(&ann, &channel, files.into()).await;
    for (id, expected) in ids.iter().zip([&empty, &small, &large]) {
        until_ready(&bob, id).await;
        assert!(content(&bob, id).await == *expected, "{id}");
    }
    assert!(bucket.stored("incoming").is_empty());
    let path = format!("/api/binaryContents/{}/download", ids[2]);
    let range = bob
        .request(Method::GET, &path)
        .header("range", "bytes=5242870-5242889");
    let part = range.send().await.expect("an answer");
    assert_eq!(part.status(), 206);
    assert_eq!(
        part.headers()["content-range"],
        format!("bytes 5242870-5242889/{}", large.len()).as_str()
    );
    let part = part.bytes().await.expect("complete");
    assert_eq!(part, large[5_242_870..5_242_890]);

    let message = text(&ann.history(&channel).await[0]["id"]).to_owned();
    let deleted = ann.delete(&format!("/api/messages/{message}")).await;
    assert_eq!(deleted.status, 204);
    eventually("the objects and rows are deleted", async || {
        bucket.stored("files").is_empty() && count(&cluster, "binary_contents").await == 0
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bucket_outage_rejects_uploads_and_ends_without_a_restart() {
    let mut bucket = Bucket::start().await;
    let cluster = cluster_on(&bucket, 1).await;
    let (ann, channel) = (cluster.user(0, "ann").await, cluster.channel().await);
    bucket.end();
    let message = json!({ "content": "look", "channelId": channel, "authorId": ann.id });
    for content in [bytes(10), bytes(6 * 1024 * 1024)] {
        let answer = post(&ann, &message, vec![file("a", "text/plain", content)]).await;
        assert_eq!(
            (answer.status, answer.code()),
            (503, "SERVICE_UNAVAILABLE"),
            "{answer:?}"
        );
    }
    assert_eq!(
        ann.write(&channel, "text needs no bucket").await.status,
        201
    );
    let rows = (
        count(&cluster, "messages").await,
        count(&cluster, "binary_contents").await,
    );
    assert_eq!(rows, (1, 0));
    bucket.start_again().await;
    let ids = attach(&ann, &channel, vec![file("a", "text/plain", "x")]).await;
    until_ready(&ann, &ids[0]).await;

    // A staged upload whose request never commits.
    let app = cluster.node(0).app();
    let client = Client::at([127, 0, 0, 1].into());
    let mut staged = app.blobs.stage(client, app.limits.uploads(client));
    staged.take_slot().expect("there is room");
    let mut upload = staged.begin();
    upload.write(b"x").await.expect("stored");
    upload.finish().await.expect("stored");
    staged.release_to_commit();
    assert_eq!(bucket.stored("incoming").len(), 1);
    let swept = sweep_incoming(app, Duration::from_hours(1)).await;
    assert_eq!(
        swept.expect("swept"),
        0,
        "an upload of less than an hour may be in progress"
    );
    let swept = sweep_incoming(app, Duration::ZERO).await;
    assert_eq!(swept.expect("swept"), 1);
    assert!(bucket.stored("incoming").is_empty());
    assert_eq!(content(&ann, &ids[0]).await, b"x");
}
