//! Unreferenced files: immediately not found, then deleted with their bytes.

use std::time::Duration;

use discodeit::workers::files::sweep_incoming;

use super::{
    accounts::text,
    files::{PNG, attach, block, content, count, file, stored, unblock, until_ready, with_picture},
};
use crate::support::{Cluster, eventually};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unreferenced_file_is_not_found_at_once_and_then_deleted() {
    let cluster = Cluster::start(2).await;
    let (ann, bob, admin) = (
        cluster.user(0, "ann").await,
        cluster.user(1, "bob").await,
        cluster.admin(0).await,
    );
    let (kept, doomed) = (
        admin.create_channel("kept").await,
        admin.create_channel("doomed").await,
    );
    let text_file = || vec![file("a", "text/plain", "x")];
    let of_message = attach(&ann, &kept, text_file()).await.remove(0);
    let of_channel = attach(&ann, &doomed, text_file()).await.remove(0);
    let of_bob = attach(&bob, &kept, text_file()).await.remove(0);
    let mut pictures = Vec::new();
    for user in [&ann, &ann, &bob] {
        let answer = with_picture(user, file("me.png", "image/png", PNG)).await;
        pictures.push(text(&answer.body["profile"]["id"]).to_owned());
    }
    let [replaced, current, bobs] = &pictures[..] else {
        unreachable!()
    };
    for id in [&of_message, &of_channel, &of_bob, current, bobs] {
        until_ready(&admin, id).await;
    }
    let message = &ann.history(&kept).await[0]["id"];
    assert_eq!(
        ann.delete(&format!("/api/messages/{}", text(message)))
            .await
            .status,
        204
    );
    assert_eq!(
        admin
            .delete(&format!("/api/channels/{doomed}"))
            .await
            .status,
        204
    );
    assert_eq!(
        bob.delete(&format!("/api/users/{}", bob.id)).await.status,
        204
    );
    for id in [&of_message, &of_channel, replaced, bobs] {
        for path in ["", "/download"] {
            let answer = admin.get(&format!("/api/binaryContents/{id}{path}")).await;
            assert_eq!(answer.code(), "BINARY_CONTENT_NOT_FOUND");
        }
    }
    eventually(
        "the bytes and rows of unreferenced files are deleted",
        async || {
            let mut remaining = stored(&cluster, "files");
            remaining.sort_unstable();
            let mut expected = [of_bob.clone(), current.clone()];
            expected.sort_unstable();
            remaining == expected && count(&cluster, "binary_contents").await == 2
        },
    )
    .await;
    assert!(stored(&cluster, "incoming").is_empty());
    assert_eq!(
        content(&ann, &of_bob).await,
        b"x",
        "messages and their files outlive the author"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn abandoned_uploads_are_swept() {
    let cluster = Cluster::start(1).await;
    let (ann, channel) = (cluster.user(0, "ann").await, cluster.channel().await);
    block(&cluster.files.join("files"));
    let waiting = attach(&ann, &channel, vec![file("a", "text/plain", "x")])
        .await
        .remove(0);
    let abandoned = uuid::Uuid::now_v7().to_string();
    for name in [abandoned.clone(), format!("{abandoned}#1")] {
        std::fs::write(cluster.files.join("incoming").join(name), b"x").expect("written");
    }
    let app = cluster.node(0).app();
    let swept = sweep_incoming(app, Duration::from_hours(1))
        .await
        .expect("swept");
    assert_eq!(
        swept, 0,
        "an upload of less than an hour may be in progress"
    );
    let swept = sweep_incoming(app, Duration::ZERO).await.expect("swept");
    assert_eq!(
        (swept, stored(&cluster, "incoming")),
        (2, vec![waiting.clone()])
    );
    unblock(&cluster.files.join("files"));
    until_ready(&ann, &waiting).await;
}
