//! Lists: pages when a client asks for them, else the whole list, which is sent in batches.

use std::{collections::HashSet, time::Duration};

use serde_json::{Value, json};
use tokio::time::Instant;

use super::{
    accounts::{keys, text},
    deletions::people,
    errors::Raw,
    notifications::{follow, listed},
};
use crate::support::{Cluster, User, eventually};

fn ids(rows: &Value) -> Vec<String> {
    rows.as_array()
        .expect("a list")
        .iter()
        .map(|row| text(&row["id"]).to_owned())
        .collect()
}

/// Every row, by following the cursors to the last page.
async fn all_pages(by: &User, path: &str, limit: usize) -> Vec<String> {
    let separator = if path.contains('?') { '&' } else { '?' };
    let (mut all, mut cursor) = (Vec::new(), String::new());
    loop {
        let answer = by
            .get(&format!("{path}{separator}limit={limit}&cursor={cursor}"))
            .await;
        assert_eq!(answer.status, 200, "{answer:?}");
        assert!(answer.header("x-event-cursor").is_some());
        let page = answer.body;
        assert_eq!(
            keys(&page),
            ["content", "hasNext", "nextCursor", "size", "totalElements"]
        );
        assert_eq!(page["size"], json!(limit));
        assert_eq!(page["hasNext"], json!(page["nextCursor"].is_string()));
        let rows = ids(&page["content"]);
        assert!(rows.len() == limit || page["hasNext"] == false, "{page}");
        all.extend(rows);
        match page["nextCursor"].as_str() {
            Some(next) => next.clone_into(&mut cursor),
            None => return all,
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pages_have_the_rows_of_the_whole_list_in_its_order() {
    let cluster = Cluster::start(1).await;
    let (ann, bob) = (cluster.user(0, "ann").await, cluster.user(0, "bob").await);
    let admin = cluster.admin(0).await;
    for number in 0..4 {
        let channel = admin.create_channel(&format!("channel-{number}")).await;
        follow(&ann, &channel).await;
        assert_eq!(bob.write(&channel, "hello").await.status, 201);
        ann.create_private(&[&bob]).await;
        cluster.user(0, "somebody").await;
    }
    eventually("ann is notified", async || listed(&ann).await.len() == 4).await;
    // Many rows with the same instant: a page ends between them.
    sqlx::query("update users set created_at = '2026-01-31T09:15:02.123456Z'")
        .execute(&cluster.db)
        .await
        .expect("updated");
    for (path, rows) in [
        ("/api/users".to_owned(), 7),
        (format!("/api/channels?userId={}", ann.id), 8),
        (format!("/api/readStatuses?userId={}", ann.id), 8),
        ("/api/notifications".to_owned(), 4),
    ] {
        let whole = ids(&ann.get(&path).await.body);
        assert_eq!(whole.len(), rows, "{path}");
        for limit in [1, 3, 4, 100] {
            assert_eq!(all_pages(&ann, &path, limit).await, whole, "{path} {limit}");
        }
        let separator = if path.contains('?') { '&' } else { '?' };
        for (wrong, field) in [
            ("limit=0", "limit"),
            ("limit=101", "limit"),
            ("limit=x", "limit"),
            ("cursor=x", "cursor"),
        ] {
            let answer = ann.get(&format!("{path}{separator}{wrong}")).await;
            assert_eq!((answer.status, answer.code()), (400, "INVALID_INPUT"));
            assert_eq!(keys(&answer.body["details"]), [field], "{path}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_whole_list_of_several_batches_is_complete() {
    let cluster = Cluster::start(1).await;
    let ann = cluster.user(0, "ann").await;
    // 500 users are a batch; with the administrator and ann, the last batch is full, then there is one more user.
    for (more, expected) in [(998, 1_000), (1, 1_001)] {
        sqlx::query("delete from users where password_hash = 'x'")
            .execute(&cluster.db)
            .await
            .expect("deleted");
        people(&cluster, expected - 2).await;
        let answer = ann.get("/api/users").await;
        assert_eq!(answer.status, 200);
        assert!(answer.header("x-event-cursor").is_some());
        let all = ids(&answer.body);
        let distinct: HashSet<&String> = all.iter().collect();
        let expected = usize::try_from(expected).expect("a number");
        assert_eq!((all.len(), distinct.len()), (expected, expected), "{more}");
    }
}

/// Resident memory of this process, which runs the nodes, in KiB.
pub(crate) fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let number = line.and_then(|line| line.split_whitespace().next());
    number.expect("a line").parse().expect("a number")
}

/// Sends a request for a list and reads nothing.
async fn ask(cluster: &Cluster, user: &User, path: &str) -> Raw {
    let mut raw = Raw::open(cluster).await;
    raw.send(format!(
        "GET {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\n\r\n",
        user.token()
    ))
    .await;
    raw
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[expect(clippy::print_stdout, reason = "prints what it measures")]
async fn whole_lists_of_slow_readers_take_little_memory_and_no_connection() {
    const USERS: usize = 12;
    const LISTS: usize = 4;
    let cluster = Cluster::start(1).await;
    let bob = cluster.user(0, "bob").await;
    let mut users = Vec::new();
    for _ in 0..USERS {
        users.push(cluster.user(0, "ann").await);
    }
    people(&cluster, 50_000).await;
    let begun = Instant::now();
    let bytes = bob.get("/api/users").await.body.to_string().len();
    let alone = begun.elapsed();
    let before = resident();
    let mut slow = Vec::new();
    for user in &users {
        for _ in 0..LISTS {
            slow.push(ask(&cluster, user, "/api/users").await);
        }
    }
    // The list of one user who has four is not begun.
    let mut fifth = ask(&cluster, &users[0], "/api/users").await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let grown = resident().saturating_sub(before) / 1024;
    let begun = Instant::now();
    let answer = bob.get("/api/users").await;
    println!(
        "{} readers of a list of {bytes} bytes that read nothing: {grown} MiB more; \
         the list takes {alone:?} alone and {:?} beside them",
        slow.len(),
        begun.elapsed()
    );
    assert_eq!(
        answer.body.as_array().map(Vec::len),
        Some(50_000 + USERS + 2)
    );
    // The texts of 48 lists would take 324 MiB. Other tests use memory of this process meanwhile.
    assert!(grown < 200, "{grown} MiB");
    eventually("no connection serves a slow reader", async || {
        let busy: i64 = sqlx::query_scalar(
            "select count(*) from pg_stat_activity where datname = current_database() \
             and state <> 'idle' and pid <> pg_backend_pid()",
        )
        .fetch_one(&cluster.db)
        .await
        .expect("PostgreSQL answers");
        busy == 0
    })
    .await;
    let refused = fifth.answer().await.expect("an answer");
    assert_eq!((refused.status, refused.code()), (429, "TOO_MANY_REQUESTS"));
    // A reader who goes away makes room.
    drop(slow);
    eventually("a list is sent again", async || {
        users[0].get("/api/users?limit=1").await.status == 200
            && users[0].get("/api/users").await.status == 200
    })
    .await;
}
