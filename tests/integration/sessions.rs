//! Sessions outlive neither their end nor their use.

use std::time::Duration;

use reqwest::Method;
use tokio::{io::AsyncWriteExt, net::TcpStream};

use crate::support::{Cluster, Sse, Stomp, User, eventually, eventually_within};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_logout_is_felt_on_every_node_though_its_client_has_hung_up() {
    let cluster = Cluster::start(2).await;
    let ann = cluster.user(0, "ann").await;
    let login = cluster.visitor(0).login(&ann.name, "password").await;
    let token = login.body.as_str().expect("a token");
    let cookie = login
        .header("set-cookie")
        .and_then(|cookie| cookie.split(';').next());
    let cookie = cookie.expect("a cookie");
    let elsewhere = cluster.visitor(1);
    let mut socket = Stomp::open(&cluster.address(1)).await;
    socket.log_in(token).await;
    let stream = elsewhere.request(Method::GET, "/api/sse");
    let mut stream = Sse::open_with(stream.bearer_auth(token)).await;
    stream.expect("sync").await;
    let mut tab = TcpStream::connect(cluster.address(0))
        .await
        .expect("connected");
    // As a page does that is closed by its sign-out button.
    let request = format!(
        "POST /api/auth/logout HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\nx-xsrf-token: t\r\n\
         cookie: XSRF-TOKEN=t; {cookie}\r\n\r\n"
    );
    tab.write_all(request.as_bytes()).await.expect("sent");
    drop(tab);
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
    let after = elsewhere
        .send(
            elsewhere
                .request(Method::GET, "/api/users")
                .bearer_auth(token),
        )
        .await;
    assert_eq!(after.status, 401);
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
        run(&["SCARD", "presence:{users}:telling"]).await > 0
    })
    .await;
    run(&["DEL", "sse:all"]).await;
    run(&["RENAME", "aside", "sse:all"]).await;
    stream
        .expect_about("users.refresh", "userId", &bob.id)
        .await;
    eventually("nothing is left to tell", async || {
        run(&["EXISTS", "presence:{users}:telling"]).await == 0
    })
    .await;
}
