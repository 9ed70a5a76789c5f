//! Sessions outlive neither their end nor their use.

use std::time::Duration;

use serde_json::Value;
use tokio::{io::AsyncWriteExt, net::TcpStream};

use crate::support::{Cluster, Sse, Stomp, User, eventually, eventually_within};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_that_has_begun_is_felt_on_every_node_though_its_client_has_hung_up() {
    let cluster = Cluster::start(2).await;
    let (admin, ann) = (cluster.admin(0).await, cluster.user(0, "ann").await);
    let mut socket = Stomp::connect(&ann.at_node(&cluster.address(1))).await;
    let mut stream = Sse::open(&ann.at_node(&cluster.address(1)), None).await;
    stream.expect("sync").await;
    // The change waits for somebody else's, and its client does not.
    let mut other = cluster.db.begin().await.expect("a transaction");
    sqlx::query("select from users for update")
        .execute(&mut *other)
        .await
        .expect("locked");
    let body = format!(r#"{{"userId":"{}","newRole":"CHANNEL_MANAGER"}}"#, ann.id);
    let request = format!(
        "PUT /api/auth/role HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        admin.token(),
        body.len()
    );
    let mut tab = TcpStream::connect(cluster.address(0))
        .await
        .expect("connected");
    tab.write_all(request.as_bytes()).await.expect("sent");
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
    drop(tab);
    // Long enough for the node to notice.
    tokio::time::sleep(Duration::from_millis(100)).await;
    other.rollback().await.expect("released");
    let felt = async {
        assert_eq!(
            socket.expect("ERROR").await.header("code"),
            Some("SESSION_ENDED")
        );
        while stream.next().await.is_some() {}
    };
    tokio::time::timeout(Duration::from_secs(2), felt)
        .await
        .expect("at once");
    let users = admin.get("/api/users").await.body;
    let changed = |user: &Value| user["id"] == ann.id && user["role"] == "CHANNEL_MANAGER";
    assert!(users.as_array().expect("a list").iter().any(changed));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_list_of_a_users_sessions_forgets_those_that_have_run_out() {
    let cluster = Cluster::start(1).await;
    let ann = cluster.user(0, "ann").await;
    let mut redis = cluster.redis.clone();
    let key = format!("sessions:{}", ann.id);
    let gone: Vec<String> = (0..40).map(|_| uuid::Uuid::new_v4().to_string()).collect();
    let () = redis::cmd("SADD")
        .arg(&key)
        .arg(gone)
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
    // Those that live stay, and end together.
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
async fn that_somebody_came_is_told_even_if_it_could_not_be_told_at_first() {
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
    // Nothing can be appended for a while.
    run(&["RENAME", "sse:all", "aside"]).await;
    run(&["SET", "sse:all", "in the way"]).await;
    let _bobs = Stomp::connect(&bob).await;
    eventually_within(Duration::from_secs(20), "it was to be told", async || {
        run(&["SCARD", "presence:{users}:announcing"]).await > 0
    })
    .await;
    run(&["DEL", "sse:all"]).await;
    run(&["RENAME", "aside", "sse:all"]).await;
    stream
        .expect_about("users.refresh", "userId", &bob.id)
        .await;
    eventually("nothing is left to tell", async || {
        run(&["EXISTS", "presence:{users}:announcing"]).await == 0
    })
    .await;
}
