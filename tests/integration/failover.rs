//! Connections that stay open and are of no use: they carry nothing, or reach a server that accepts no writes. A node closes them.

use std::{sync::Arc, time::Duration};

use discodeit::{
    events::{
        history::{Append, History},
        position::EventLog,
    },
    ids::EventId,
    metrics::Metrics,
    redis_client::RedisClient,
    secret::Secret,
};
use futures_util::future::join_all;
use tokio::time::Instant;

use crate::support::{Cluster, Cut, RedisServer, Sse, Stomp, User, eventually, eventually_within};

/// A node works again within this time.
const RECOVERY: Duration = Duration::from_secs(10);

/// Everything that the user does succeeds again, many times at once: no connection of a pool is missing.
async fn until_all_works(user: &User, channel: &str, since: Instant) {
    let left = RECOVERY.saturating_sub(since.elapsed());
    eventually_within(
        left,
        "every request succeeds, and the node is ready",
        async || {
            let answers = join_all((0..12).map(async |number| {
                let text = number.to_string();
                let (list, write) =
                    tokio::join!(user.get("/api/users"), user.write(channel, &text));
                (list.status, write.status)
            }))
            .await;
            answers.into_iter().all(|answer| answer == (200, 201))
                && user.get("/api/health/ready").await.status == 200
        },
    )
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_to_postgres_that_carry_nothing_are_closed() {
    let mut cluster = Cluster::start(1).await;
    let channel = cluster.channel().await;
    let (postgres, url) = cluster.cut("DATABASE_URL").await;
    let node = cluster
        .add(&[("DATABASE_URL", &url), ("DATABASE_POOL", "4")])
        .await;
    let ann = cluster.user(node, "ann").await;
    // Again and again, so that the silence begins at every point in the use of a connection.
    for _ in 0..3 {
        let busy = join_all((0..40).map(async |number: i32| {
            tokio::time::sleep(Duration::from_millis(5) * number.unsigned_abs()).await;
            tokio::join!(ann.get("/api/users"), ann.write(&channel, "busy"))
        }));
        let (answers, ()) = tokio::join!(busy, async {
            tokio::time::sleep(Duration::from_millis(100)).await;
            postgres.silence();
        });
        let silenced = Instant::now();
        for (list, write) in answers {
            assert!([200, 503].contains(&list.status), "{list:?}");
            assert!([201, 503].contains(&write.status), "{write:?}");
        }
        until_all_works(&ann, &channel, silenced).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_to_redis_that_carries_nothing_is_replaced() {
    let mut cluster = Cluster::start(1).await;
    let channel = cluster.channel().await;
    let (redis, url) = cluster.cut("REDIS_URL").await;
    let node = cluster.add(&[("REDIS_URL", &url)]).await;
    let (ann, bob) = (
        cluster.user(node, "ann").await,
        cluster.user(0, "bob").await,
    );
    let mut events = Sse::open(&ann, None).await;
    events.expect("sync").await;
    redis.silence();
    let silenced = Instant::now();
    until_all_works(&ann, &channel, silenced).await;
    let private = bob.create_private(&[&ann]).await;
    events
        .expect_about("channels.refresh", "channelId", &private)
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failover_of_redis_behind_one_address_is_followed() {
    let (master, replica) = (RedisServer::start().await, RedisServer::start().await);
    replica.replicate(Some(&master)).await;
    let address = Cut::before(&master.address()).await;
    let url = format!("redis://{}", address.address);
    let cluster = Cluster::start_with(1, &[("REDIS_URL", &url)]).await;
    let (ann, bob) = (cluster.user(0, "ann").await, cluster.user(0, "bob").await);
    let channel = cluster.channel().await;
    let mut events = Sse::open(&ann, None).await;
    events.expect("sync").await;
    eventually("the replica has the sessions", async || {
        master.keys().await == replica.keys().await
    })
    .await;

    replica.replicate(None).await;
    master.replicate(Some(&replica)).await;
    address.redirect(&replica.address());
    // Reads succeed at the old master, writes do not.
    let moved = Instant::now();
    let state = ann.get("/api/health/ready").await;
    assert_eq!(state.body["details"]["redis"], "READ_ONLY", "{state:?}");
    until_all_works(&ann, &channel, moved).await;
    let login = cluster.visitor(0).login(&ann.name, "password").await;
    let private = bob.create_private(&[&ann]).await;
    assert_eq!(login.status, 200, "{login:?}");
    events
        .expect_about("channels.refresh", "channelId", &private)
        .await;
    assert!(moved.elapsed() < RECOVERY, "{:?}", moved.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failover_of_postgres_behind_one_address_is_followed() {
    let cluster = Cluster::start(1).await;
    let ann = cluster.user(0, "ann").await;
    let channel = cluster.channel().await;
    let execute = async |sql: &'static str| {
        let done = sqlx::query(sql).execute(&cluster.db).await;
        done.expect(sql);
    };
    // The node's new connections accept no writes, like those to a server that has become a standby. Later ones do.
    let read_only = "do $$ begin execute format('alter database %I set default_transaction_read_only = on', current_database()); end $$";
    let writable = "do $$ begin execute format('alter database %I reset default_transaction_read_only', current_database()); end $$";
    execute(read_only).await;
    execute(
        "select pg_terminate_backend(pid) from pg_stat_activity \
         where datname = current_database() and usename <> current_user",
    )
    .await;
    eventually("the node reaches the standby", async || {
        let state = ann.get("/api/health/ready").await;
        state.body["details"]["postgres"] == "READ_ONLY"
    })
    .await;
    let refused = ann.write(&channel, "read-only").await;
    assert_eq!(refused.code(), "SERVICE_UNAVAILABLE", "{refused:?}");
    assert_eq!(ann.get("/api/users").await.status, 200);
    execute(writable).await;
    // Connections that are in use all the time are not asked before each use, and are left all the same.
    let reads = async {
        loop {
            assert_eq!(ann.get("/api/users").await.status, 200);
        }
    };
    tokio::select! {
        () = reads => unreachable!("it has no end"),
        () = until_all_works(&ann, &channel, Instant::now()) => {}
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn revocations_take_effect_within_1_s_although_kafka_does_not_carry_them() {
    let mut cluster = Cluster::start(1).await;
    // The node that revokes never reaches Kafka, and the node that must act does not know that.
    let isolated = cluster
        .add_unready(&[("KAFKA_BROKERS", "127.0.0.1:1")])
        .await;
    let ann = cluster.user(0, "ann").await;
    let isolated_admin = cluster.admin(0).await.at_node(&cluster.address(isolated));
    for round in 0..3 {
        let bob = cluster.user(0, &format!("bob-{round}")).await;
        let isolated_bob = bob.at_node(&cluster.address(isolated));
        let private = ann.create_private(&[&bob]).await;
        let mut bobs = Stomp::connect(&bob).await;
        bobs.subscribe(&private).await;
        let left = isolated_bob
            .delete(&format!("/api/channels/{private}/participants/{}", bob.id))
            .await;
        assert!(left.status < 300, "{left:?}");
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(ann.write(&private, "without bob").await.status, 201);
        bobs.expect_nothing(Duration::from_millis(300)).await;

        let public = isolated_admin
            .create_channel(&format!("short-lived-{round}"))
            .await;
        bobs.subscribe(&public).await;
        let deleted = isolated_admin
            .delete(&format!("/api/channels/{public}"))
            .await;
        assert_eq!(deleted.status, 204, "{deleted:?}");
        let started = Instant::now();
        eventually("the channel has no subscription", async || {
            let id = public.parse().expect("an id");
            cluster.node(0).app().delivery.hub.position(id).is_none()
        })
        .await;
        assert!(started.elapsed() < Duration::from_secs(1));

        assert_eq!(isolated_bob.post_csrf("/api/auth/logout").await.status, 204);
        let started = Instant::now();
        assert_eq!(
            bobs.expect("ERROR").await.header("code"),
            Some("SESSION_ENDED")
        );
        assert!(started.elapsed() < Duration::from_secs(1));
    }
}

/// A node that still reads from the old master must not take the log of the new one for empty: the position of an empty log is its
/// time, and streams would drop the events that the new master has appended before.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_old_master_does_not_answer_for_the_log_of_the_new_one() {
    let (old, new) = (RedisServer::start().await, RedisServer::start().await);
    let [at_old, at_new] = [&old, &new].map(|server| {
        let client = RedisClient::new(&Secret::new(server.url()), Arc::new(Metrics::new()));
        History::new(client.expect("a URL"))
    });
    let log = EventLog::All;
    let append = async |history: &History| {
        let event = Append {
            log,
            event: EventId::new(),
            name: "test",
            data: "{}",
        };
        history.append(&[event]).await.expect("appended")
    };
    let first = append(&at_old).await;
    assert_eq!(at_old.tip(log).await.expect("read"), first[0]);
    new.replicate(Some(&old)).await;
    eventually("the replica has everything", async || {
        new.keys().await == old.keys().await
    })
    .await;
    new.replicate(None).await;
    let second = append(&at_new).await;
    old.replicate(Some(&new)).await;
    eventually("the old master has the entry of the new one", async || {
        let newest: redis::RedisResult<redis::streams::StreamRangeReply> = redis::cmd("XREVRANGE")
            .arg(&["sse:all", "+", "-", "COUNT", "1"])
            .query_async(&mut old.connect().await)
            .await;
        newest.is_ok_and(|newest| {
            newest
                .ids
                .iter()
                .any(|entry| entry.id == second[0].to_string())
        })
    })
    .await;
    assert!(at_old.tip(log).await.is_err());
    assert!(at_old.after(log, first[0], 10).await.is_err());
    assert_eq!(at_new.tip(log).await.expect("read"), second[0]);
}
