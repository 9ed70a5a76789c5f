//! The end of sessions, the session index, and retried presence announcements.

use std::time::Duration;

use serde_json::Value;
use tokio::{io::AsyncWriteExt, net::TcpStream};

use crate::support::{Cluster, Sse, Stomp, User, eventually, eventually_within};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_role_change_takes_effect_on_every_node_after_its_client_disconnects() {
    let cluster = Cluster::start(2).await;
    let (admin, ann) = (cluster.admin(0).await, cluster.user(0, "ann").await);
    let mut socket = Stomp::connect(&ann.at_node(&cluster.address(1))).await;
    let mut stream = Sse::open(&ann.at_node(&cluster.address(1)), None).await;
    stream.expect("sync").await;
    // The change waits for a lock, and the client disconnects.
    let mut lock = cluster.db.begin().await.expect("a transaction");
    sqlx::query("select from users for update")
        .execute(&mut *lock)
        .await
        .expect("locked");
    let body = format!(r#"{{"userId":"{}","newRole":"CHANNEL_MANAGER"}}"#, ann.id);
    let request = format!(
        "PUT /api/auth/role HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        admin.token(),
        body.len()
    );
    let mut client = TcpStream::connect(cluster.address(0))
        .await
        .expect("connected");
    client.write_all(request.as_bytes()).await.expect("sent");
    eventually("the change has begun", async || {
        let waiting: i64 = sqlx::query_scalar(
            "select count(*) from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'",
        )
        .fetch_one(&cluster.db)
        .await
        .expect("PostgreSQL answers");
        waiting > 0
    })
    .await;
    drop(client);
    // The node detects the disconnect within 100 ms.
    tokio::time::sleep(Duration::from_millis(100)).await;
    lock.rollback().await.expect("released");
    let ended = async {
        assert_eq!(
            socket.expect("ERROR").await.header("code"),
            Some("SESSION_ENDED")
        );
        while stream.next().await.is_some() {}
    };
    tokio::time::timeout(Duration::from_secs(2), ended)
        .await
        .expect("the connections end within 2 s");
    let users = admin.get("/api/users").await.body;
    let changed = |user: &Value| user["id"] == ann.id && user["role"] == "CHANNEL_MANAGER";
    assert!(users.as_array().expect("a list").iter().any(changed));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn expired_sessions_leave_the_index_of_a_users_sessions() {
    let cluster = Cluster::start(1).await;
    let ann = cluster.user(0, "ann").await;
    let mut redis = cluster.redis.clone();
    let key = format!("sessions:{}", ann.id);
    let expired: Vec<String> = (0..40).map(|_| uuid::Uuid::new_v4().to_string()).collect();
    let () = redis::cmd("SADD")
        .arg(&key)
        .arg(expired)
        .query_async(&mut redis)
        .await
        .expect("SADD");
    for _ in 0..12 {
        User::sign_in(cluster.visitor(0), &ann.name, "password").await;
    }
    let left: usize = redis::cmd("SCARD")
        .arg(&key)
        .query_async(&mut redis)
        .await
        .expect("SCARD");
    assert!(left < 13 + 20, "{left} are left");
    // Open sessions stay in the index and end with the account.
    assert_eq!(ann.get("/api/users").await.status, 200);
    assert_eq!(
        cluster
            .admin(0)
            .await
            .delete(&format!("/api/users/{}", ann.id))
            .await
            .status,
        204
    );
    eventually("none is left", async || {
        let left: usize = redis::cmd("EXISTS")
            .arg(&key)
            .query_async(&mut redis)
            .await
            .expect("EXISTS");
        left == 0
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failed_presence_announcement_is_retried() {
    let cluster = Cluster::start(1).await;
    let (ann, bob) = (cluster.user(0, "ann").await, cluster.user(0, "bob").await);
    let mut stream = Sse::open(&ann, None).await;
    stream.expect("sync").await;
    stream
        .expect_about("users.refresh", "userId", &ann.id)
        .await;
    let mut redis = cluster.redis.clone();
    let mut run = async |command: &[&str]| -> i64 {
        let (name, arguments) = command.split_first().expect("a command");
        let answer: redis::Value = redis::cmd(name)
            .arg(arguments)
            .query_async(&mut redis)
            .await
            .expect("Redis answers");
        redis::from_redis_value(answer).unwrap_or(0)
    };
    // A key of another type makes every append to the history fail.
    run(&["RENAME", "sse:all", "aside"]).await;
    run(&["SET", "sse:all", "in the way"]).await;
    let _bobs = Stomp::connect(&bob).await;
    eventually_within(
        Duration::from_secs(20),
        "the announcement is pending",
        async || run(&["SCARD", "presence:{users}:announcing"]).await > 0,
    )
    .await;
    // One command: a retry between two could append to a stream that the second then replaces.
    run(&["RENAME", "aside", "sse:all"]).await;
    stream
        .expect_about("users.refresh", "userId", &bob.id)
        .await;
    eventually("no announcement is pending", async || {
        run(&["EXISTS", "presence:{users}:announcing"]).await == 0
    })
    .await;
}
