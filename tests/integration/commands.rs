//! Commands for operators.

use std::fs;

use super::{
    accounts::text,
    files::{attach, file, until_ready},
};
use crate::support::{Cluster, eventually, run_command};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_check_finds_what_a_partial_restore_leaves_behind() {
    let cluster = Cluster::start(1).await;
    let ann = cluster.user(0, "ann").await;
    let channel = cluster.channel().await;
    let files = ["a.txt", "b.txt"].map(|name| file(name, "text/plain", "abc"));
    let ids = attach(&ann, &channel, files.into()).await;
    for id in &ids {
        until_ready(&ann, id).await;
    }
    let message = text(&ann.write(&channel, "hello").await.body["id"]).to_owned();
    eventually("every message is indexed", async || {
        let waiting: i64 = sqlx::query_scalar("select count(*) from unindexed_messages")
            .fetch_one(&cluster.db)
            .await
            .expect("counted");
        waiting == 0
    })
    .await;
    let (code, output) = run_command(&cluster, &["check"]).await;
    assert_eq!(code, Some(0), "{output}");
    assert!(
        output.lines().all(|line| line.starts_with("ok ")),
        "{output}"
    );

    let stored = cluster.files.join("files");
    fs::remove_file(stored.join(&ids[0])).expect("removed");
    fs::write(stored.join(&ids[1]), "other").expect("written");
    let unknown = uuid::Uuid::new_v4().to_string();
    fs::write(stored.join(&unknown), "x").expect("written");
    for sql in [
        "update channels set last_seq = last_seq - 1",
        "delete from message_terms",
        "insert into messages (id, channel_id, seq, content, created_at, updated_at) \
         values (gen_random_uuid(), gen_random_uuid(), 1, 'lost', now(), now())",
    ] {
        sqlx::query(sql).execute(&cluster.db).await.expect(sql);
    }
    let (code, output) = run_command(&cluster, &["check"]).await;
    assert_eq!(code, Some(1), "{output}");
    for expected in [
        format!("FOUND   1 channels whose newest message is after their last position: {channel}"),
        "FOUND   1 messages of a channel that neither exists nor is being purged".to_owned(),
        message,
        format!("FOUND   1 files whose bytes are missing: {}", ids[0]),
        format!("FOUND   1 files whose bytes have another size: {}", ids[1]),
        format!("FOUND   1 stored objects without a row: files/{unknown}"),
    ] {
        assert!(output.contains(&expected), "{expected}: {output}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_that_does_not_exist_names_those_that_do() {
    let cluster = Cluster::shared(1).await;
    for arguments in [&["chekc"][..], &["dead-letters"], &["check", "all"]] {
        let (code, output) = run_command(&cluster, arguments).await;
        assert_eq!(code, Some(64), "{output}");
        assert!(output.contains("discodeit dead-letters retry"), "{output}");
    }
}
