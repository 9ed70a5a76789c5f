//! SSE: live events and resumption, on any node.

use std::{collections::HashSet, time::Duration};

use discodeit::events::history::Append;
use serde_json::json;

use crate::support::{Cluster, RedisServer, Sse, User, eventually};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_reaches_everyone_it_concerns_on_every_node_under_one_id() {
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
        // The second part is the position in the common history.
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
async fn an_event_is_told_only_when_a_client_that_refetches_sees_the_new_state() {
    let cluster = Cluster::start(2).await;
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
            "a hint came before its cause"
        );
    }
    creating.await.expect("all are created");
}

/// Opens, reads until a `sync`, and returns the stream with the ids of the channels told.
async fn resume(user: &User, last_id: &str, by_query: bool) -> (Sse, Vec<String>) {
    let mut stream = if by_query {
        Sse::open_by_query(user, last_id).await
    } else {
        Sse::open(user, Some(last_id)).await
    };
    let mut told = Vec::new();
    loop {
        let event = stream.next_but_presence().await.expect("a sync comes");
        match event.name.as_str() {
            "sync" => return (stream, told),
            "channels.refresh" => told.push(
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
async fn a_stream_resumes_on_another_node_while_events_are_being_published() {
    let mut cluster = Cluster::start(3).await;
    let (ann, bob) = (cluster.user(0, "ann").await, cluster.user(1, "bob").await);
    let admin = cluster.admin(0).await;
    let mut stream = Sse::open(&bob, None).await;
    stream.expect("sync").await;
    // Events of both histories, from two nodes, without a pause.
    let publishing = tokio::spawn({
        let (ann, bob) = (ann.clone(), bob.clone());
        let admin = admin.at_node(&cluster.address(2));
        async move {
            let mut made = Vec::new();
            for n in 0..150 {
                made.push(if n % 3 == 0 {
                    admin.create_channel("c").await
                } else {
                    ann.create_private(&[&bob]).await
                });
            }
            made
        }
    });
    let mut told = Vec::new();
    let mut ids = HashSet::new();
    let mut rounds = 0;
    while told.len() < 150 {
        for _ in 0..7 {
            if told.len() < 150 {
                let event = stream.expect("channels.refresh").await;
                assert!(ids.insert(event.id.clone()), "an id came twice: {event:?}");
                told.push(
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
        told.extend(missed);
    }
    let made = publishing.await.expect("all are made");
    let unique: HashSet<_> = told.iter().collect();
    assert_eq!((told.len(), unique.len()), (150, 150), "none twice");
    assert_eq!(unique, made.iter().collect(), "none lost");
    // Each history in its own order.
    let private = |ids: &[String]| {
        ids.iter()
            .filter(|id| {
                made.iter()
                    .position(|m| m == *id)
                    .is_some_and(|n| n % 3 != 0)
            })
            .cloned()
            .collect::<Vec<_>>()
    };
    assert_eq!(private(&told), private(&made));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_of_one_who_was_away_wait_for_them() {
    let cluster = Cluster::start(2).await;
    let (ann, bob) = (cluster.user(0, "ann").await, cluster.user(1, "bob").await);
    // A cursor taken with a list; no stream was ever open.
    let list = bob.get(&format!("/api/channels?userId={}", bob.id)).await;
    let cursor = list
        .header("x-event-cursor")
        .expect("lists carry a cursor")
        .to_owned();
    let mut made = Vec::new();
    for _ in 0..5 {
        made.push(ann.create_private(&[&bob]).await);
    }
    // Published means in the history; the answer to the request may be a moment earlier.
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
    let (mut stream, told) = resume(&bob, &cursor, true).await;
    assert_eq!(told, made);
    let one_more = ann.create_private(&[&bob]).await;
    assert_eq!(
        stream.expect("channels.refresh").await.json()["channelId"],
        one_more
    );
    // The header counts when both are there.
    let request = bob
        .request(reqwest::Method::GET, "/api/sse")
        .header("last-event-id", &stream.last_id)
        .query(&[("lastEventId", &cursor)]);
    Sse::open_with(request).await.expect("sync").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_position_that_cannot_be_resumed_from_is_told_and_leaks_nothing() {
    let cluster = Cluster::start(1).await;
    let (ann, bob) = (cluster.user(0, "ann").await, cluster.user(0, "bob").await);
    let mut anns = Sse::open(&ann, None).await;
    anns.expect("sync").await;
    for _ in 0..3 {
        ann.create_private(&[&cluster.user(0, "carol").await]).await;
    }
    anns.expect("channels.refresh").await;
    let foreign = anns.last_id.clone();
    let garbage = [
        "x",
        "1-2",
        "0-1.0-1",
        "zzzzzzzzz-1.zzzzzzzzz-1",
        "한",
        "1-1.1-1; drop",
        foreign.as_str(),
    ];
    for id in garbage {
        let mut stream = Sse::open_by_query(&bob, id).await;
        let event = stream.expect("resync").await;
        assert!(
            ["unknown", "expired"].contains(&event.json()["reason"].as_str().expect("a reason")),
            "{id}: {event:?}"
        );
        // It carries a fresh id, from which one can resume.
        drop(stream);
        resume(&bob, &event.id, false).await;
    }

    // More than a replay may bring, and a history that no longer reaches back that far.
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
async fn a_redis_that_lost_its_data_is_told_never_passed_over() {
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
    // Sessions are gone too; everyone signs in again.
    let bob = User::sign_in(cluster.visitor(0), &bob.name, "password").await;
    for id in [&empty, &full] {
        Sse::open(&bob, Some(id)).await.expect("resync").await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_comes_back_without_its_newest_data_is_told_even_when_its_numbers_are_used_again()
 {
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
    // More events than were lost: their numbers would be given out a second time.
    eventually("the nodes have found Redis again", async || {
        ann.get("/api/users").await.status == 200
    })
    .await;
    for _ in 0..6 {
        ann.create_private(&[&bob]).await;
    }
    // The open stream is not cut, but told before anything new: what was lost may be what it never saw.
    let event = stream.next_but_presence().await.expect("still open");
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
    // From here on everything is as ever.
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
async fn an_open_stream_is_told_that_redis_lost_its_data_before_anything_new() {
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
    // What makes the history begin anew.
    cluster.user(0, "ann").await;
    loop {
        let event = stream.next().await.expect("the stream goes on");
        if event.name == "resync" {
            break;
        }
        assert_eq!(epoch(&event.id), before, "{event:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_is_opened_by_token_or_cookie_and_by_nothing_else() {
    let cluster = Cluster::start_with(2, &[("SSE_KEEP_ALIVE", "100ms")]).await;
    let user = cluster.user(0, "ann").await;
    let stranger = cluster.visitor(0);
    let refused = async |request: reqwest::RequestBuilder| {
        let answer = stranger.send(request).await;
        assert_eq!(answer.status, 401, "{answer:?}");
        assert_eq!(answer.code(), "UNAUTHENTICATED");
    };
    let request =
        |visitor: &crate::support::Visitor| visitor.http.get(format!("{}/api/sse", visitor.base));
    refused(request(&stranger)).await;
    refused(request(&stranger).bearer_auth("garbage")).await;
    // A forged token is refused even beside a good cookie.
    refused(request(&user).bearer_auth(format!("{}x", user.token()))).await;
    // The cookie alone, and the cookie beside a token that has merely expired.
    let mut stream = Sse::open_with(request(&user)).await;
    stream.expect("sync").await;
    let expired = super::events_end::expired(&user);
    refused(request(&stranger).bearer_auth(&expired)).await;
    let mut expired_stream = Sse::open_with(request(&user).bearer_auth(&expired)).await;
    expired_stream.expect("sync").await;
    // It is kept alive, and ends with the session, on every node.
    let mut elsewhere = Sse::open(&user.at_node(&cluster.address(1)), None).await;
    elsewhere.expect("sync").await;
    tokio::time::sleep(Duration::from_millis(350)).await;
    assert_eq!(user.post_csrf("/api/auth/logout").await.status, 204);
    let begun = tokio::time::Instant::now();
    for mut stream in [stream, expired_stream, elsewhere] {
        assert_eq!(stream.next_but_presence().await, None);
        assert!(stream.comments >= 3, "{} comments", stream.comments);
    }
    assert!(begun.elapsed() < Duration::from_secs(1));
    refused(user.request(reqwest::Method::GET, "/api/sse")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_of_several_streams_of_a_user_is_complete() {
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
    eventually("the closed stream is gone", async || {
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
    eventually("nothing is left", async || {
        app.delivery.sse.is_empty() && app.delivery.sse.positions().is_empty()
    })
    .await;
}
