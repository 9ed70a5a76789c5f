//! SSE: live events, and resumption on any node.

use std::{collections::HashSet, time::Duration};

use discodeit::events::history::Append;
use serde_json::json;

use crate::support::{Cluster, RedisServer, Sse, User, eventually};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_reaches_its_receivers_on_every_node_with_the_same_id() {
    let cluster = Cluster::start(3).await;
    let (ann, bob, eve) = (
        cluster.user(0, "ann").await,
        cluster.user(1, "bob").await,
        cluster.user(2, "eve").await,
    );
    let mut streams = Vec::new();
    for user in [&ann, &bob, &eve] {
        let mut stream = Sse::open(user, None).await;
        assert_eq!(stream.headers["cache-control"], "no-cache, no-transform");
        assert_eq!(stream.headers["x-accel-buffering"], "no");
        stream.expect("sync").await;
        streams.push(stream);
    }
    let admin = cluster.admin(0).await;
    let channel = admin.create_channel("news").await;
    let mut ids = HashSet::new();
    for stream in &mut streams {
        let event = stream.expect("channels.refresh").await;
        assert_eq!(event.json(), json!({ "channelId": channel }));
        // The second part of an event id is the position in the shared history.
        ids.insert(event.id.split('.').nth(1).expect("three parts").to_owned());
    }
    assert_eq!(ids.len(), 1, "{ids:?}");
    let path = format!("/api/channels/{channel}");
    assert_eq!(
        admin
            .patch(&path, &json!({ "newName": "olds" }))
            .await
            .status,
        200
    );
    assert_eq!(admin.delete(&path).await.status, 204);
    let dave = cluster.user(1, "dave").await;
    for stream in &mut streams {
        for _ in 0..2 {
            assert_eq!(
                stream.expect("channels.refresh").await.json(),
                json!({ "channelId": channel })
            );
        }
        stream
            .expect_about("users.refresh", "userId", &dave.id)
            .await;
    }
    let private = ann.create_private(&[&bob]).await;
    for stream in &mut streams[..2] {
        assert_eq!(
            stream.expect("channels.refresh").await.json(),
            json!({ "channelId": private })
        );
    }
    streams[2].expect_nothing(Duration::from_millis(300)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_arrives_only_after_its_change_is_readable() {
    let cluster = Cluster::start_with(2, &[("INVITATIONS_PER_PAIR", "1000")]).await;
    let (ann, bob) = (cluster.user(0, "ann").await, cluster.user(1, "bob").await);
    let mut stream = Sse::open(&bob, None).await;
    stream.expect("sync").await;
    let creating = tokio::spawn({
        let (ann, bob) = (ann.clone(), bob.clone());
        async move {
            for _ in 0..100 {
                ann.create_private(&[&bob]).await;
            }
        }
    });
    for _ in 0..100 {
        let event = stream.expect("channels.refresh").await;
        let list = bob.get(&format!("/api/channels?userId={}", bob.id)).await;
        let id = event.json()["channelId"]
            .as_str()
            .expect("an id")
            .to_owned();
        assert!(
            list.body.to_string().contains(&id),
            "the event arrived before its change was readable"
        );
    }
    creating.await.expect("all are created");
}

/// Opens a stream and reads until `sync`.
///
/// Returns the stream and the channel ids of the replayed events.
async fn resume(user: &User, last_id: &str, by_query: bool) -> (Sse, Vec<String>) {
    let mut stream = if by_query {
        Sse::open_by_query(user, last_id).await
    } else {
        Sse::open(user, Some(last_id)).await
    };
    let mut replayed = Vec::new();
    loop {
        let event = stream.next_but_presence().await.expect("a sync event");
        match event.name.as_str() {
            "sync" => return (stream, replayed),
            "channels.refresh" => replayed.push(
                event.json()["channelId"]
                    .as_str()
                    .expect("an id")
                    .to_owned(),
            ),
            _ => panic!("{event:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_resumes_on_another_node_during_publishing() {
    let mut cluster = Cluster::start_with(3, &[("INVITATIONS_PER_PAIR", "1000")]).await;
    let (ann, bob) = (cluster.user(0, "ann").await, cluster.user(1, "bob").await);
    let admin = cluster.admin(0).await;
    let mut stream = Sse::open(&bob, None).await;
    stream.expect("sync").await;
    // Two nodes publish events of both histories without a pause.
    let publishing = tokio::spawn({
        let (ann, bob) = (ann.clone(), bob.clone());
        let admin = admin.at_node(&cluster.address(2));
        async move {
            let mut created = Vec::new();
            for n in 0..150 {
                created.push(if n % 3 == 0 {
                    admin.create_channel("c").await
                } else {
                    ann.create_private(&[&bob]).await
                });
            }
            created
        }
    });
    let mut received = Vec::new();
    let mut ids = HashSet::new();
    let mut rounds = 0;
    while received.len() < 150 {
        for _ in 0..7 {
            if received.len() < 150 {
                let event = stream.expect("channels.refresh").await;
                assert!(
                    ids.insert(event.id.clone()),
                    "duplicate event id: {event:?}"
                );
                received.push(
                    event.json()["channelId"]
                        .as_str()
                        .expect("an id")
                        .to_owned(),
                );
            }
        }
        let last_id = stream.last_id.clone();
        drop(stream);
        rounds += 1;
        if rounds == 3 {
            cluster.kill(1).await;
        }
        let node = if rounds % 2 == 0 { 0 } else { 2 };
        let missed;
        (stream, missed) = resume(
            &bob.at_node(&cluster.address(node)),
            &last_id,
            rounds % 3 == 0,
        )
        .await;
        received.extend(missed);
    }
    let created = publishing.await.expect("all are created");
    let unique: HashSet<_> = received.iter().collect();
    assert_eq!(
        (received.len(), unique.len()),
        (150, 150),
        "no event is duplicated"
    );
    assert_eq!(unique, created.iter().collect(), "no event is lost");
    // Order is guaranteed within each history only.
    let private = |ids: &[String]| {
        ids.iter()
            .filter(|id| {
                created
                    .iter()
                    .position(|m| m == *id)
                    .is_some_and(|n| n % 3 != 0)
            })
            .cloned()
            .collect::<Vec<_>>()
    };
    assert_eq!(private(&received), private(&created));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_for_an_absent_user_are_replayed() {
    let cluster = Cluster::start(2).await;
    let (ann, bob) = (cluster.user(0, "ann").await, cluster.user(1, "bob").await);
    // The cursor comes from a list; the user has never opened a stream.
    let list = bob.get(&format!("/api/channels?userId={}", bob.id)).await;
    let cursor = list
        .header("x-event-cursor")
        .expect("lists carry a cursor")
        .to_owned();
    let mut created = Vec::new();
    for _ in 0..5 {
        created.push(ann.create_private(&[&bob]).await);
    }
    // The response to a request may precede the event's entry in the history.
    eventually("the events are in the history", async || {
        let mut redis = cluster.redis.clone();
        redis::cmd("XLEN")
            .arg(format!("sse:user:{}", bob.id))
            .query_async::<u64>(&mut redis)
            .await
            .expect("XLEN")
            == 5
    })
    .await;
    let (mut stream, replayed) = resume(&bob, &cursor, true).await;
    assert_eq!(replayed, created);
    let one_more = ann.create_private(&[&bob]).await;
    assert_eq!(
        stream.expect("channels.refresh").await.json()["channelId"],
        one_more
    );
    // The Last-Event-ID header wins over the query parameter.
    let request = bob
        .request(reqwest::Method::GET, "/api/sse")
        .header("last-event-id", &stream.last_id)
        .query(&[("lastEventId", &cursor)]);
    Sse::open_with(request).await.expect("sync").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_invalid_or_expired_position_gets_resync_and_leaks_nothing() {
    let cluster = Cluster::start(1).await;
    let (ann, bob) = (cluster.user(0, "ann").await, cluster.user(0, "bob").await);
    let mut anns = Sse::open(&ann, None).await;
    anns.expect("sync").await;
    for _ in 0..3 {
        ann.create_private(&[&cluster.user(0, "carol").await]).await;
    }
    anns.expect("channels.refresh").await;
    let foreign = anns.last_id.clone();
    let invalid = [
        "x",
        "1-2",
        "0-1.0-1",
        "zzzzzzzzz-1.zzzzzzzzz-1",
        "한",
        "1-1.1-1; drop",
        foreign.as_str(),
    ];
    for id in invalid {
        let mut stream = Sse::open_by_query(&bob, id).await;
        let event = stream.expect("resync").await;
        assert!(
            ["unknown", "expired"].contains(&event.json()["reason"].as_str().expect("a reason")),
            "{id}: {event:?}"
        );
        // The resync event has a valid id to resume from.
        drop(stream);
        resume(&bob, &event.id, false).await;
    }

    // More events than the limit of a replay, then a history without the entries after the position.
    let mut stream = Sse::open(&bob, None).await;
    let start = stream.expect("sync").await.id;
    let history = &cluster.node(0).app().history;
    let of_user = discodeit::events::position::EventLog::User(bob.id.parse().expect("an id"));
    let publish = async |stream, events: usize| {
        for _ in 0..events / 100 {
            let events: Vec<_> = (0..100).map(|_| discodeit::ids::EventId::new()).collect();
            let append = |event: &discodeit::ids::EventId| Append {
                log: stream,
                event: *event,
                name: "channels.refresh",
                data: "{}",
            };
            let appends: Vec<_> = events.iter().map(append).collect();
            history.append(&appends).await.expect("appended");
        }
    };
    publish(of_user, 800).await;
    let near = Sse::open(&bob, Some(&start))
        .await
        .expect("channels.refresh")
        .await
        .id;
    publish(discodeit::events::position::EventLog::All, 300).await;
    for id in [&start, &near] {
        assert_eq!(
            Sse::open(&bob, Some(id))
                .await
                .expect("resync")
                .await
                .json()["reason"],
            "too_far"
        );
    }
    publish(of_user, 1_500).await;
    assert_eq!(
        Sse::open(&bob, Some(&near))
            .await
            .expect("resync")
            .await
            .json()["reason"],
        "expired"
    );
    let mut redis = cluster.redis.clone();
    let length: u64 = redis::cmd("XLEN")
        .arg(format!("sse:user:{}", bob.id))
        .query_async(&mut redis)
        .await
        .expect("XLEN");
    assert!(length < 1_300, "the history is bounded: {length}");
    let ttl: i64 = redis::cmd("TTL")
        .arg(format!("sse:user:{}", bob.id))
        .query_async(&mut redis)
        .await
        .expect("TTL");
    assert!((86_000..=86_400).contains(&ttl), "{ttl}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_resumed_after_redis_lost_its_data_get_resync() {
    let cluster = Cluster::start(1).await;
    let (ann, bob) = (cluster.user(0, "ann").await, cluster.user(0, "bob").await);
    let mut stream = Sse::open(&bob, None).await;
    let empty = stream.expect("sync").await.id;
    let channel = ann.create_private(&[&bob]).await;
    stream
        .expect_about("channels.refresh", "channelId", &channel)
        .await;
    let full = stream.last_id.clone();
    let mut redis = cluster.redis.clone();
    let () = redis::cmd("FLUSHDB")
        .query_async(&mut redis)
        .await
        .expect("flushed");
    // Redis lost the sessions too, so the user signs in again.
    let bob = User::sign_in(cluster.visitor(0), &bob.name, "password").await;
    for id in [&empty, &full] {
        Sse::open(&bob, Some(id)).await.expect("resync").await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_get_resync_after_redis_lost_its_newest_data_even_when_positions_repeat() {
    let mut server = RedisServer::start().await;
    let cluster = Cluster::start_with(2, &[("REDIS_URL", &server.url())]).await;
    let (ann, bob) = (cluster.user(0, "ann").await, cluster.user(0, "bob").await);
    let mut stream = Sse::open(&bob, None).await;
    let mut ids = vec![stream.expect("sync").await.id];
    for n in 0..4 {
        let channel = ann.create_private(&[&bob]).await;
        let event = stream.expect("channels.refresh").await;
        assert_eq!(event.json()["channelId"], channel.as_str());
        ids.push(event.id);
        if n == 1 {
            server.save().await;
        }
    }
    server.crash_and_start().await;
    // More events than were lost, so that Redis would assign the lost positions again.
    eventually("the nodes have reconnected to Redis", async || {
        ann.get("/api/users").await.status == 200
    })
    .await;
    for _ in 0..6 {
        ann.create_private(&[&bob]).await;
    }
    // The open stream stays open and gets resync before new events: it may have missed the lost ones.
    let event = stream
        .next_but_presence()
        .await
        .expect("the stream stays open");
    assert_eq!(
        (event.name.as_str(), &event.json()["reason"]),
        ("resync", &json!("unknown"))
    );
    let channel = ann.create_private(&[&bob]).await;
    stream
        .expect_about("channels.refresh", "channelId", &channel)
        .await;
    let other = bob.at_node(&cluster.address(1));
    let mut fresh = String::new();
    for id in &ids {
        let resync = Sse::open(&other, Some(id)).await.expect("resync").await;
        assert_eq!(resync.json()["reason"], "unknown");
        fresh = resync.id;
    }
    // Streams resume normally from the new position.
    let mut resumed = Sse::open(&other, Some(&fresh)).await;
    resumed.expect("sync").await;
    let channel = ann.create_private(&[&bob]).await;
    for stream in [&mut stream, &mut resumed] {
        stream
            .expect_about("channels.refresh", "channelId", &channel)
            .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_open_stream_gets_resync_before_new_events_after_redis_lost_its_data() {
    let cluster = Cluster::start(1).await;
    let bob = cluster.user(0, "bob").await;
    let mut stream = Sse::open(&bob, None).await;
    let epoch = |id: &str| {
        let (_, all) = id.split_once('.').expect("two positions");
        all.split_once('-').expect("an epoch").0.to_owned()
    };
    let before = epoch(&stream.expect("sync").await.id);
    let mut redis = cluster.redis.clone();
    let () = redis::cmd("FLUSHDB")
        .query_async(&mut redis)
        .await
        .expect("flushed");
    // A sign-up publishes an event, which starts a new history.
    cluster.user(0, "ann").await;
    loop {
        let event = stream.next().await.expect("the stream stays open");
        if event.name == "resync" {
            break;
        }
        assert_eq!(epoch(&event.id), before, "{event:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_requires_a_token_or_a_cookie() {
    let cluster = Cluster::start_with(2, &[("SSE_KEEP_ALIVE", "100ms")]).await;
    let user = cluster.user(0, "ann").await;
    let stranger = cluster.visitor(0);
    let assert_rejected = async |request: reqwest::RequestBuilder| {
        let answer = stranger.send(request).await;
        assert_eq!(answer.status, 401, "{answer:?}");
        assert_eq!(answer.code(), "UNAUTHENTICATED");
    };
    let request =
        |visitor: &crate::support::Visitor| visitor.http.get(format!("{}/api/sse", visitor.base));
    assert_rejected(request(&stranger)).await;
    assert_rejected(request(&stranger).bearer_auth("garbage")).await;
    // A forged token is rejected even with a valid cookie.
    assert_rejected(request(&user).bearer_auth(format!("{}x", user.token()))).await;
    // The cookie alone suffices, and so does the cookie with an expired token.
    let mut stream = Sse::open_with(request(&user)).await;
    stream.expect("sync").await;
    let expired = super::events_end::expired(&user);
    assert_rejected(request(&stranger).bearer_auth(&expired)).await;
    let mut expired_stream = Sse::open_with(request(&user).bearer_auth(&expired)).await;
    expired_stream.expect("sync").await;
    // Streams get keep-alive comments, and end with the session on every node.
    let mut elsewhere = Sse::open(&user.at_node(&cluster.address(1)), None).await;
    elsewhere.expect("sync").await;
    tokio::time::sleep(Duration::from_millis(350)).await;
    assert_eq!(user.post_csrf("/api/auth/logout").await.status, 204);
    let started = tokio::time::Instant::now();
    for mut stream in [stream, expired_stream, elsewhere] {
        assert_eq!(stream.next_but_presence().await, None);
        assert!(stream.comments >= 3, "{} comments", stream.comments);
    }
    assert!(started.elapsed() < Duration::from_secs(1));
    assert_rejected(user.request(reqwest::Method::GET, "/api/sse")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_stream_of_a_user_receives_every_event() {
    let cluster = Cluster::start(1).await;
    let (ann, bob) = (cluster.user(0, "ann").await, cluster.user(0, "bob").await);
    let mut tabs = Vec::new();
    for _ in 0..3 {
        let mut stream = Sse::open(&bob, None).await;
        stream.expect("sync").await;
        tabs.push(stream);
    }
    drop(tabs.remove(0));
    let app = cluster.node(0).app();
    eventually("the node has removed the closed stream", async || {
        app.delivery.sse.len() == 2
    })
    .await;
    let channel = ann.create_private(&[&bob]).await;
    for tab in &mut tabs {
        assert_eq!(
            tab.expect("channels.refresh").await.json()["channelId"],
            channel
        );
    }
    drop(tabs);
    eventually(
        "the node has removed all streams and positions",
        async || app.delivery.sse.is_empty() && app.delivery.sse.positions().is_empty(),
    )
    .await;
}
