//! A restore: PostgreSQL of an hour ago, with Kafka of now and an empty Redis, as docs/operations.md says.

use std::{path::Path, process::Command, time::Duration};

use serde_json::Value;
use sqlx::Executor;

use super::{
    channels::{list, read_statuses},
    files::{attach, file, until_ready},
};
use crate::support::{ADMIN, Cluster, Sse, Stomp, User, run_command};

/// The document's statements that run after the database is restored.
fn statements() -> String {
    let document = include_str!("../../docs/operations.md");
    let (_, rest) = document.split_once("```sql\n").expect("a block of SQL");
    let (statements, _) = rest.split_once("```").expect("an end");
    statements.to_owned()
}

/// Runs a program of PostgreSQL on the cluster's database, as its owner.
fn run(program: &str, arguments: &[&str], cluster: &Cluster) {
    let database = cluster.setting("MIGRATION_DATABASE_URL");
    let output = Command::new(program)
        .args(arguments)
        .arg(format!("--dbname={database}"))
        .output()
        .expect("PostgreSQL's programs are installed");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program}: {errors}");
}

/// The messages that the user has not read, as clients count them.
async fn unread(user: &User, channel: &str) -> i64 {
    let of = |list: Vec<Value>, key: &str, field: &str| {
        let found = list.into_iter().find(|item| item[key] == channel);
        found.expect("listed")[field].as_i64().expect("a number")
    };
    of(list(user).await, "id", "lastSeq")
        - of(read_statuses(user).await, "channelId", "lastReadSeq")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_of_a_restored_database_miss_nothing_and_see_no_event_of_what_is_lost() {
    let mut cluster = Cluster::start(2).await;
    let (ann, bob) = (cluster.user(0, "ann").await, cluster.user(1, "bob").await);
    let channel = ann.create_private(&[&bob]).await;
    for number in 1..=3 {
        ann.write(&channel, &format!("kept {number}")).await;
    }
    let kept = attach(&ann, &channel, vec![file("kept.txt", "text/plain", "kept")]).await;
    until_ready(&ann, &kept[0]).await;
    assert_eq!(unread(&bob, &channel).await, 4);
    cluster.settled().await;
    let backup = cluster.files.with_extension("backup");
    let path = backup.to_str().expect("UTF-8");
    run("pg_dump", &["--format=custom", "--file", path], &cluster);

    // An hour passes.
    let mut events = Sse::open(&bob, None).await;
    events.expect("sync").await;
    let carol = cluster.user(0, "carol").await;
    let lost_channel = carol.create_private(&[&bob]).await;
    events
        .expect_about("channels.refresh", "channelId", &lost_channel)
        .await;
    for number in 5..=10 {
        ann.write(&channel, &format!("lost {number}")).await;
    }
    let lost = attach(&ann, &channel, vec![file("lost.txt", "text/plain", "lost")]).await;
    until_ready(&ann, &lost[0]).await;
    let seen = ann.history(&channel).await;
    let seen = seen.last().expect("a message")["seq"].as_i64();
    assert_eq!(seen, Some(11));
    cluster.settled().await;
    let last_id = events.last_id.clone();
    drop(events);

    cluster.drain(0).await;
    cluster.drain(1).await;
    run(
        "pg_restore",
        &["--clean", "--if-exists", "--exit-on-error", path],
        &cluster,
    );
    std::fs::remove_file(&backup).expect("removed");
    cluster
        .db
        .execute(sqlx::AssertSqlSafe(statements()))
        .await
        .expect("valid");
    let () = redis::cmd("FLUSHDB")
        .query_async(&mut cluster.redis)
        .await
        .expect("Redis is emptied");
    let nodes = [cluster.add(&[]).await, cluster.add(&[]).await];

    // The sessions are gone, and so is what happened in the hour.
    assert_eq!(
        bob.at_node(&cluster.address(nodes[1]))
            .get("/api/users")
            .await
            .status,
        401
    );
    let sign_in = async |node: usize, user: &User| {
        User::sign_in(cluster.visitor(node), &user.name, "password").await
    };
    let (ann, bob) = (sign_in(nodes[0], &ann).await, sign_in(nodes[1], &bob).await);
    User::sign_in(cluster.visitor(nodes[0]), ADMIN.0, ADMIN.1).await;
    let visitor = cluster.visitor(nodes[0]);
    assert_eq!(visitor.login(&carol.name, "password").await.status, 401);
    assert_eq!(unread(&bob, &channel).await, 4);
    let mut events = Sse::open(&bob, Some(&last_id)).await;
    events.expect("resync").await;

    // As many new messages as were lost: a client that comes back would find its position reached again.
    for number in 1..=9 {
        let answer = ann.write(&channel, &format!("new {number}")).await;
        assert_eq!(answer.status, 201, "{answer:?}");
    }
    let mut stomp = Stomp::connect(&bob).await;
    let destination = format!("/sub/channels.{channel}.messages");
    stomp.subscribe_with(&destination, "after-seq:11\n").await;
    let mut last_seq = seen.expect("a number");
    for number in 1..=9 {
        let message = stomp.message().await;
        assert_eq!(message["content"], format!("new {number}"), "{message}");
        let seq = message["seq"].as_i64().expect("a number");
        assert!(seq > last_seq, "{message}");
        last_seq = seq;
    }
    assert_eq!(unread(&bob, &channel).await, 13);
    // Sweeps and audits have run.
    tokio::time::sleep(Duration::from_secs(6)).await;
    stomp.expect_nothing(Duration::from_millis(100)).await;
    let mut after = Vec::new();
    while let Ok(Some(event)) =
        tokio::time::timeout(Duration::from_millis(500), events.next_but_presence()).await
    {
        after.push(event);
    }
    assert_eq!(after.len(), 9, "one for each new message: {after:#?}");
    for event in &after {
        assert_eq!(event.name, "notifications");
        assert!(event.data.contains("new "), "{event:?}");
    }

    // Files of the hour are left in the storage.
    let (code, output) = run_command(&cluster, &["check"]).await;
    assert_eq!(code, Some(1), "{output}");
    let unknown = format!("1 stored objects without a row: files/{}", lost[0]);
    assert!(output.contains(&unknown), "{output}");
    std::fs::remove_file(Path::new(&cluster.files).join("files").join(&lost[0])).expect("removed");
    let (code, output) = run_command(&cluster, &["check"]).await;
    assert_eq!(code, Some(0), "{output}");
}
