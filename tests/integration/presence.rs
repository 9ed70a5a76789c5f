//! Presence: online users, and the announcements of changes.

use std::time::Duration;

use tokio::time::Instant;

use crate::support::{Cluster, Sse, Stomp, User, eventually};

async fn is_online(asker: &User, user: &User) -> bool {
    let list = asker.get("/api/users").await;
    let entry = list
        .body
        .as_array()
        .expect("a list")
        .iter()
        .find(|entry| entry["id"] == user.id)
        .cloned();
    entry.expect("the user is listed")["online"]
        .as_bool()
        .expect("the flag is set")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connected_user_is_online_and_changes_are_announced_at_most_once_a_second() {
    let mut cluster = Cluster::start(2).await;
    let (ann, bob) = (cluster.user(0, "ann").await, cluster.user(1, "bob").await);
    assert!(!is_online(&ann, &bob).await);
    let mut events = Sse::open(&ann, None).await;
    events.expect("sync").await;
    events
        .expect_about("users.refresh", "userId", &ann.id)
        .await;
    let stomp = Stomp::connect(&bob).await;
    let started = Instant::now();
    events
        .expect_about("users.refresh", "userId", &bob.id)
        .await;
    assert!(
        started.elapsed() < Duration::from_secs(4),
        "it took {:?}",
        started.elapsed()
    );
    assert!(is_online(&ann, &bob).await);

    // Ten users connect in quick succession, which takes at most three announcements.
    let mut crowd = Vec::new();
    for _ in 0..10 {
        let user = cluster.user(0, "crowd").await;
        events
            .expect_about("users.refresh", "userId", &user.id)
            .await;
        crowd.push(user);
    }
    let mut connections = Vec::new();
    for user in &crowd {
        connections.push(Stomp::connect(user).await);
    }
    let mut announced = 0;
    while tokio::time::timeout(Duration::from_millis(2_500), events.next())
        .await
        .is_ok()
    {
        announced += 1;
    }
    assert!((1..=3).contains(&announced), "{announced} announcements");

    // A user who leaves has a grace period. The leases of a dead node expire.
    drop(stomp);
    let mut redis = cluster.redis.clone();
    let mut lease_seconds = async |user: &User| -> f64 {
        let score: Option<f64> = redis::cmd("ZSCORE")
            .arg("presence:{users}")
            .arg(&user.id)
            .query_async(&mut redis)
            .await
            .expect("ZSCORE");
        let (seconds, micros): (u64, u64) = redis::cmd("TIME")
            .query_async(&mut redis)
            .await
            .expect("TIME");
        #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
        let now = (seconds * 1_000 + micros / 1_000) as f64;
        score.map_or(0.0, |expiry| (expiry - now) / 1_000.0)
    };
    eventually("the lease is shortened", async || {
        lease_seconds(&bob).await <= 20.0
    })
    .await;
    assert!(is_online(&ann, &bob).await, "within the grace period");
    let stomp = Stomp::connect(&bob).await;
    eventually("the lease is long again", async || {
        lease_seconds(&bob).await > 30.0
    })
    .await;
    cluster.kill(1).await;
    drop(stomp);
    assert!(
        (15.0..=40.0).contains(&lease_seconds(&bob).await),
        "the dead node neither shortens nor renews the lease"
    );
    // Expires the lease without waiting.
    let mut redis = cluster.redis.clone();
    let () = redis::cmd("ZADD")
        .arg("presence:{users}")
        .arg(1)
        .arg(&bob.id)
        .query_async(&mut redis)
        .await
        .expect("ZADD");
    events
        .expect_about("users.refresh", "userId", &bob.id)
        .await;
    assert!(!is_online(&ann, &bob).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_return_within_the_grace_period_announces_nothing() {
    let cluster = Cluster::start(2).await;
    let (ann, bob) = (cluster.user(0, "ann").await, cluster.user(0, "bob").await);
    let mut events = Sse::open(&ann, None).await;
    events.expect("sync").await;
    let mut bobs = Sse::open(&bob, None).await;
    bobs.expect("sync").await;
    eventually("both are online", async || {
        is_online(&ann, &ann).await && is_online(&ann, &bob).await
    })
    .await;
    // Skips pending announcements.
    while tokio::time::timeout(Duration::from_millis(1_500), events.next())
        .await
        .is_ok()
    {}
    // The user returns after 1.5 s over STOMP at another node.
    drop(bobs);
    let silent = tokio::time::timeout(Duration::from_millis(1_500), events.next()).await;
    assert!(
        silent.is_err(),
        "unexpected event in the grace period: {silent:?}"
    );
    let back = Stomp::connect(&bob.at_node(&cluster.address(1))).await;
    let silent = tokio::time::timeout(Duration::from_millis(2_500), events.next()).await;
    assert!(
        silent.is_err(),
        "unexpected event after the return: {silent:?}"
    );
    assert!(is_online(&ann, &bob).await);
    drop(back);
}
