//! Uploads that trickle: they block nobody and end soon.

use std::time::Duration;

use futures_util::future::join_all;
use serde_json::json;
use tokio::time::Instant;

use super::{
    errors::Raw,
    files::{bytes, file, post, stored},
    files_upload::{chunk, head, part},
    lists::resident,
};
use crate::support::{Cluster, User, eventually};

/// Begins an upload of one file.
async fn begin(cluster: &Cluster, user: &User, start: &[u8]) -> Raw {
    let mut raw = Raw::open(cluster).await;
    raw.send(format!("{}Transfer-Encoding: chunked\r\n\r\n", head(user)))
        .await;
    raw.send(chunk(part("attachments", "; filename=\"a\"").as_bytes()))
        .await;
    raw.send(chunk(start)).await;
    raw
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn idle_uploads_of_one_user_block_nobody() {
    const UPLOADS: usize = 64;
    // The defaults of a node.
    let defaults = [
        ("MAX_UPLOADS", "64"),
        ("UPLOADS_PER_USER", "6"),
        ("REQUESTS_PER_USER", "10"),
        ("REQUEST_RATE", "100"),
        ("MESSAGE_RATE", "100"),
    ];
    let cluster = Cluster::start_with(1, &defaults).await;
    let (eve, bob) = (cluster.user(0, "eve").await, cluster.user(0, "bob").await);
    let channel = cluster.channel().await;
    let started = Instant::now();
    let mut idle = Vec::new();
    for _ in 0..UPLOADS {
        idle.push(begin(&cluster, &eve, &[b'x'; 64]).await);
    }
    let trickle = tokio::spawn(async move {
        let one = |mut raw: Raw| async move {
            // One octet each 5 s.
            for _ in 0..4 {
                let answer = tokio::time::timeout(Duration::from_secs(5), raw.answer()).await;
                if let Ok(answer) = answer {
                    return answer.map(|answer| answer.status);
                }
                raw.try_send(chunk(b"x")).await;
            }
            None
        };
        join_all(idle.into_iter().map(one)).await
    });
    let message = json!({ "content": "x", "channelId": channel, "authorId": bob.id });
    for _ in 0..5 {
        let begun = Instant::now();
        let answer = post(
            &bob,
            &message,
            vec![file("a", "text/plain", bytes(300_000))],
        )
        .await;
        assert_eq!(answer.status, 201, "{answer:?}");
        assert!(begun.elapsed() < Duration::from_secs(2));
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    let statuses = trickle.await.expect("no panic");
    let took = started.elapsed();
    assert!(
        statuses
            .iter()
            .all(|status| matches!(status, Some(408 | 429))),
        "{statuses:?}"
    );
    assert!(took < Duration::from_secs(25), "{took:?}");
    assert!(stored(&cluster, "incoming").is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_user_has_a_few_slots_for_uploads() {
    let cluster = Cluster::start_with(1, &[("UPLOADS_PER_USER", "2")]).await;
    let (ann, bob) = (cluster.user(0, "ann").await, cluster.user(0, "bob").await);
    let channel = cluster.channel().await;
    let mut slow = Vec::new();
    for _ in 0..2 {
        slow.push(begin(&cluster, &ann, &bytes(300_000)).await);
    }
    eventually("both uploads are in progress", async || {
        stored(&cluster, "incoming").len() == 2
    })
    .await;
    let message = |by: &User| json!({ "content": "x", "channelId": channel, "authorId": by.id });
    let refused = post(&ann, &message(&ann), vec![file("b", "text/plain", "x")]).await;
    assert_eq!((refused.status, refused.code()), (429, "TOO_MANY_REQUESTS"));
    assert!(refused.header("retry-after").is_some());
    assert_eq!(post(&ann, &message(&ann), Vec::new()).await.status, 201);
    let other = post(&bob, &message(&bob), vec![file("b", "text/plain", "x")]).await;
    assert_eq!(other.status, 201, "{other:?}");
    slow.pop();
    eventually("an upload is accepted again", async || {
        let answer = post(&ann, &message(&ann), vec![file("b", "text/plain", "x")]).await;
        answer.status == 201
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upload_that_falls_behind_the_minimum_rate_ends() {
    let cluster = Cluster::start(1).await;
    let ann = cluster.user(0, "ann").await;
    // 2 MiB at once are no credit for two minutes of silence.
    let mut raw = begin(&cluster, &ann, &bytes(2 * 1024 * 1024)).await;
    let started = Instant::now();
    let trickle = async {
        loop {
            tokio::time::sleep(Duration::from_secs(1)).await;
            if !raw.try_send(chunk(b"x")).await || started.elapsed() > Duration::from_secs(15) {
                return;
            }
        }
    };
    trickle.await;
    let answer = raw.answer().await.expect("an answer");
    assert_eq!((answer.status, answer.code()), (408, "REQUEST_TIMEOUT"));
    assert!(started.elapsed() < Duration::from_secs(20));
    eventually("nothing is left in storage", async || {
        stored(&cluster, "incoming").is_empty()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[expect(clippy::print_stdout, reason = "prints what it measures")]
async fn a_hundred_slow_uploads_take_little_memory() {
    const USERS: usize = 20;
    const UPLOADS: usize = 5;
    let cluster = Cluster::start_with(1, &[("MAX_UPLOADS", "100")]).await;
    let mut users = Vec::new();
    for _ in 0..USERS {
        users.push(cluster.user(0, "ann").await);
    }
    tokio::time::sleep(Duration::from_millis(500)).await;
    let before = resident();
    let mut uploads = Vec::new();
    for user in users.iter().flat_map(|user| [user; UPLOADS]) {
        uploads.push(begin(&cluster, user, &bytes(200_000)).await);
    }
    let mut peak = 0;
    // 20 KiB a second, a little above the minimum.
    for _ in 0..40 {
        for raw in &mut uploads {
            raw.send(chunk(&[b'x'; 2 * 1024])).await;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
        peak = peak.max(resident());
    }
    assert_eq!(stored(&cluster, "incoming").len(), USERS * UPLOADS);
    let grown = peak.saturating_sub(before) / 1024;
    println!("{} slow uploads: {grown} MiB more", uploads.len());
    // Other tests use memory of this process meanwhile.
    assert!(grown < 400, "{grown} MiB");
}
