//! PostgreSQL stalls: it accepts bytes and answers nothing. What is acknowledged is stored, and nothing fails for long after.

use std::{sync::Arc, time::Duration};

use serde_json::json;
use tokio::{sync::Notify, task::JoinSet, time::Instant};

use crate::support::{Cluster, Stomp, eventually_within};

/// Longer than a request waits for PostgreSQL.
const STALL: Duration = Duration::from_millis(4_600);
/// After a stall, requests may still fail for this long.
const RECOVERY: Duration = Duration::from_secs(5);

/// Connections that have been idle inside a transaction for longer than any node computes between two statements.
async fn inside_a_transaction(cluster: &Cluster) -> i64 {
    sqlx::query_scalar(
        "select count(*) from pg_stat_activity where datname = current_database() \
         and state like 'idle in transaction%' and state_change < now() - interval '100 ms'",
    )
    .fetch_one(&cluster.db)
    .await
    .expect("counted")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stall_in_begin_leaves_no_connection_inside_a_transaction() {
    const CHANNELS: usize = 40;
    let mut cluster = Cluster::start(1).await;
    let (postgres, url) = cluster.cut("DATABASE_URL").await;
    let node = cluster
        .add(&[("DATABASE_URL", &url), ("DATABASE_POOL", "8")])
        .await;
    let admin = cluster.admin(0).await;
    let mut channels = Vec::new();
    for number in 0..CHANNELS {
        channels.push(admin.create_channel(&format!("stall-{number}")).await);
    }
    let ann = cluster.user(node, "ann").await;
    let there = admin.at_node(&cluster.address(node));
    let late = json!({ "name": "during the stall", "description": "" });
    let (stalled, answer) = tokio::join!(postgres.stall_at(b"begin"), async {
        tokio::join!(there.post("/api/channels/public", &late), async {
            tokio::time::sleep(STALL).await;
            postgres.resume();
        })
        .0
    });
    let () = stalled;
    assert_eq!(answer.code(), "SERVICE_UNAVAILABLE");
    // At once: the next transaction on such a connection would commit it, and hide the fault.
    for _ in 0..30 {
        assert_eq!(inside_a_transaction(&cluster).await, 0);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    eventually_within(RECOVERY, "PostgreSQL answers", async || {
        ann.get("/api/users").await.status == 200
    })
    .await;
    // Single statements, which a connection inside a transaction would acknowledge without committing them.
    for (number, channel) in channels.iter().enumerate() {
        let status =
            json!({ "userId": ann.id, "channelId": channel, "lastReadAt": "2026-01-01T00:00:00Z" });
        let answer = ann.post("/api/readStatuses", &status).await;
        assert_eq!(answer.status, 201, "{answer:?}");
        let stored: i64 =
            sqlx::query_scalar("select count(*) from read_statuses where user_id = $1::uuid")
                .bind(&ann.id)
                .fetch_one(&cluster.db)
                .await
                .expect("counted");
        assert_eq!(stored, i64::try_from(number + 1).expect("small"));
        // A refusal by PostgreSQL must not make the next statement of its connection fail.
        let twice = ann.post("/api/readStatuses", &status).await;
        assert_eq!(twice.code(), "READ_STATUS_EXISTS");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_statement_takes_one_round_trip_and_a_broken_connection_is_used_once() {
    let mut cluster = Cluster::start(1).await;
    let (postgres, url) = cluster.cut("DATABASE_URL").await;
    let node = cluster
        .add(&[("DATABASE_URL", &url), ("DATABASE_POOL", "4")])
        .await;
    let ann = cluster.user(node, "ann").await;
    for _ in 0..20 {
        assert_eq!(ann.get("/api/users").await.status, 200);
    }
    assert_eq!(
        postgres.lone_syncs(),
        0,
        "nothing is asked before a connection returns to the pool"
    );
    postgres.cut();
    postgres.mend();
    let mut failed = 0;
    for _ in 0..20 {
        match ann.get("/api/users").await.status {
            200 => {}
            503 => failed += 1,
            status => panic!("status {status}"),
        }
    }
    assert!(
        failed <= 4,
        "each of the 4 connections fails at most once, not {failed} times"
    );
    assert_eq!(ann.get("/api/users").await.status, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_read_under_way_when_a_stall_begins_fails_within_6_s() {
    let mut cluster = Cluster::start(1).await;
    let (postgres, url) = cluster.cut("DATABASE_URL").await;
    let node = cluster.add(&[("DATABASE_URL", &url)]).await;
    let ann = cluster.user(node, "ann").await;
    let started = Instant::now();
    let ((), answer) = tokio::join!(
        postgres.stall_at(b"from notifications"),
        ann.get("/api/notifications")
    );
    assert_eq!(answer.code(), "SERVICE_UNAVAILABLE");
    assert!(
        started.elapsed() < Duration::from_secs(6),
        "it took {:?}",
        started.elapsed()
    );
    postgres.resume();
    eventually_within(RECOVERY, "PostgreSQL answers", async || {
        ann.get("/api/notifications").await.status == 200
    })
    .await;
}

/// `TEST_STALL_ROUNDS=50` takes about ten minutes.
fn rounds() -> u32 {
    let rounds = std::env::var("TEST_STALL_ROUNDS").ok();
    rounds.map_or(2, |rounds| rounds.parse().expect("a number"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stalls_under_load_lose_no_acknowledged_message_and_no_error_outlives_them() {
    const WRITERS: usize = 8;
    let mut cluster = Cluster::start(1).await;
    let (postgres, url) = cluster.cut("DATABASE_URL").await;
    let node = cluster
        .add(&[
            ("DATABASE_URL", &url),
            ("DATABASE_POOL", "4"),
            // A quick machine writes more than a thousand messages a second.
            ("MESSAGE_RATE", "100000"),
            ("REQUEST_RATE", "100000"),
            // A handler runs on after its client got 503, so each writer may have two.
            ("REQUESTS_PER_USER", "100"),
        ])
        .await;
    let channel = cluster.channel().await;
    let ann = Arc::new(cluster.user(node, "ann").await);
    let mut listener = Stomp::connect(&cluster.user(0, "bob").await).await;
    listener.subscribe(&channel).await;
    for round in 0..rounds() {
        let end = Arc::new(Notify::new());
        let mut writers = JoinSet::new();
        for writer in 0..WRITERS {
            let (ann, channel, end) = (ann.clone(), channel.clone(), end.clone());
            writers.spawn(async move {
                let end = end.notified();
                tokio::pin!(end);
                let (mut stored, mut last_error) = (Vec::new(), None);
                for number in 0_u32.. {
                    let text = format!("{round}-{writer}-{number}");
                    tokio::select! {
                        biased;
                        () = &mut end => break,
                        answer = ann.write(&channel, &text) => match answer.status {
                            201 => stored.push(answer.body["id"].as_str().expect("an id").to_owned()),
                            503 => last_error = Some(Instant::now()),
                            other => panic!("{other}: {answer:?}"),
                        },
                    }
                    // Everything that reads a store answers, too.
                    let listed = ann.get("/api/users").await;
                    match listed.status {
                        200 => {}
                        // 429: other lists of this user wait for PostgreSQL, too.
                        503 | 429 => last_error = Some(Instant::now()),
                        other => panic!("{other}: {listed:?}"),
                    }
                }
                (stored, last_error)
            });
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
        postgres.stall();
        // 3 s to 20 s over the rounds; the first ones are about as long as a request waits.
        let stall = Duration::from_millis([4_300, 3_000, 5_000, 8_000, 20_000][round as usize % 5]);
        tokio::time::sleep(stall).await;
        postgres.resume();
        let resumed = Instant::now();
        tokio::time::sleep(RECOVERY + Duration::from_secs(1)).await;
        end.notify_waiters();
        while let Some(ended) = writers.join_next().await {
            let (stored, last_error) = ended.expect("no writer panics");
            assert!(!stored.is_empty());
            if let Some(at) = last_error {
                let late = at.saturating_duration_since(resumed);
                assert!(late < RECOVERY, "an error {late:?} after the stall");
            }
            let found: i64 =
                sqlx::query_scalar("select count(*) from messages where id = any($1::uuid[])")
                    .bind(&stored)
                    .fetch_one(&cluster.db)
                    .await
                    .expect("counted");
            assert_eq!(found, i64::try_from(stored.len()).expect("small"));
        }
    }
    assert_eq!(inside_a_transaction(&cluster).await, 0);
}
