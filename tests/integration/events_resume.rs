//! SSE: replay for resumed streams, and resync when a replay is impossible.

use discodeit::{
    delivery::Gap,
    events::{
        history::{Append, History},
        position::EventLog,
    },
    ids::EventId,
};
use redis::AsyncCommands;
use reqwest::{Method, header::HeaderValue};
use serde_json::json;

use crate::support::{Cluster, Sse, User, eventually};

/// `u64::MAX` in base 36, the encoding of positions.
const MAX_NUMBER: &str = "3w5e11264sgsf";

fn log_of(user: &User) -> EventLog {
    EventLog::User(user.id.parse().expect("an id"))
}

/// Appends events to the history as the outbox does, but without Kafka.
///
/// The data of the events are numbered from `first`.
async fn append(history: &History, log: EventLog, first: usize, events: usize) {
    let numbers: Vec<_> = (first..first + events).collect();
    for numbers in numbers.chunks(100) {
        let events: Vec<_> = numbers
            .iter()
            .map(|n| (EventId::new(), json!({ "channelId": n }).to_string()))
            .collect();
        let appends: Vec<_> = events
            .iter()
            .map(|(event, data)| Append {
                log,
                event: *event,
                name: "channels.refresh",
                data,
            })
            .collect();
        history.append(&appends).await.expect("appended");
    }
}

/// The event cursor in the header of a list.
async fn cursor(user: &User) -> String {
    let list = user.get("/api/users").await;
    let cursor = list.header("x-event-cursor");
    cursor.expect("lists carry a cursor").to_owned()
}

/// Resumes from a position and returns the numbers of the replayed events.
async fn replayed(user: &User, from: &str) -> Vec<u64> {
    let mut stream = Sse::open(user, Some(from)).await;
    let mut numbers = Vec::new();
    loop {
        let event = stream.next_but_presence().await.expect("a sync event");
        match event.name.as_str() {
            "channels.refresh" => {
                numbers.push(event.json()["channelId"].as_u64().expect("a number"));
            }
            "sync" => return numbers,
            _ => panic!("{event:?}"),
        }
    }
}

async fn resync_reason(user: &User, from: &str) -> String {
    let event = Sse::open(user, Some(from)).await.expect("resync").await;
    event.json()["reason"]
        .as_str()
        .expect("a reason")
        .to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_events_for_one_user_leaves_other_histories_intact() {
    let cluster = Cluster::start(1).await;
    let (ann, bob) = (cluster.user(0, "ann").await, cluster.user(0, "bob").await);
    let history = &cluster.node(0).app().history;
    let (anns, bobs) = (cursor(&ann).await, cursor(&bob).await);
    append(history, log_of(&bob), 0, 3).await;
    append(history, log_of(&ann), 0, 1_500).await;
    append(history, log_of(&bob), 3, 2).await;
    assert_eq!(replayed(&bob, &bobs).await, [0, 1, 2, 3, 4]);
    assert_eq!(resync_reason(&ann, &anns).await, "expired");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_simultaneous_events_are_replayed_in_order() {
    let cluster = Cluster::start(1).await;
    let bob = cluster.user(0, "bob").await;
    let from = cursor(&bob).await;
    // One round trip to Redis, so the events may get the same time.
    append(&cluster.node(0).app().history, log_of(&bob), 0, 100).await;
    assert!(replayed(&bob, &from).await.into_iter().eq(0..100));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replay_has_at_most_a_thousand_events() {
    let cluster = Cluster::start(1).await;
    let bob = cluster.user(0, "bob").await;
    // The change of the presence is an event too. With another stream open, a stream that resumes causes none.
    let mut online = Sse::open(&bob, None).await;
    online
        .expect_about("users.refresh", "userId", &bob.id)
        .await;
    cluster.settled().await;
    let from = cursor(&bob).await;
    let history = &cluster.node(0).app().history;
    append(history, log_of(&bob), 0, 700).await;
    append(history, EventLog::All, 700, 300).await;
    assert!(replayed(&bob, &from).await.into_iter().eq(0..1_000));
    append(history, EventLog::All, 1_000, 1).await;
    assert_eq!(resync_reason(&bob, &from).await, "too_far");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn histories_have_a_bounded_length() {
    let cluster = Cluster::start(1).await;
    let bob = cluster.user(0, "bob").await;
    let history = &cluster.node(0).app().history;
    append(history, EventLog::All, 0, 11_000).await;
    append(history, log_of(&bob), 0, 1_500).await;
    let mut redis = cluster.redis.clone();
    let stream = format!("sse:user:{}", bob.id);
    // Redis trims a stream by whole nodes of 100 entries.
    for (stream, limit) in [("sse:all", 10_000), (stream.as_str(), 1_000)] {
        let entries: usize = redis.xlen(stream).await.expect("XLEN");
        assert!(
            (limit..limit + 200).contains(&entries),
            "{stream}: {entries} entries"
        );
        let seen = format!("sse:seen:{{{stream}}}");
        let ids: usize = redis.zcard(&seen).await.expect("ZCARD");
        assert!((1_000..=limit).contains(&ids), "{seen}: {ids} ids");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_invalid_or_foreign_position_gets_resync() {
    let cluster = Cluster::start(1).await;
    let (ann, bob) = (cluster.user(0, "ann").await, cluster.user(0, "bob").await);
    let history = &cluster.node(0).app().history;
    for user in [&ann, &bob] {
        append(history, log_of(user), 0, 5).await;
    }
    let (anns, bobs) = (cursor(&ann).await, cursor(&bob).await);
    assert!(
        replayed(&bob, &bobs).await.is_empty(),
        "a position at the end of the history"
    );
    let parts = |cursor: &str| -> [String; 5] {
        let parts: Vec<_> = cursor.split(['-', '.']).map(str::to_owned).collect();
        parts.try_into().expect("two positions and an owner")
    };
    let [epoch, number, all_epoch, all_number, owner] = parts(&bobs);
    let write =
        |n: &str, all_n: &str, owner: &str| format!("{epoch}-{n}.{all_epoch}-{all_n}.{owner}");
    assert_eq!(write(&number, &all_number, &owner), bobs);
    // Another user's position with the same epochs, as if both histories began in the same millisecond.
    let foreign = write(&number, &all_number, &parts(&anns)[4]);
    for from in [
        foreign,
        write(MAX_NUMBER, &all_number, &owner),
        write(&number, MAX_NUMBER, &owner),
        write(MAX_NUMBER, MAX_NUMBER, &owner),
        format!("{MAX_NUMBER}-1.{MAX_NUMBER}-1.{owner}"),
        bobs.rsplit_once('.').expect("an owner").0.to_owned(),
    ] {
        assert_eq!(resync_reason(&bob, &from).await, "unknown", "{from}");
    }
    // A position that is not ASCII, and two positions in one request.
    let bytes = HeaderValue::from_bytes("한".as_bytes()).expect("a header");
    let request = || bob.request(Method::GET, "/api/sse");
    let unreadable = request().header("last-event-id", bytes);
    let ids = [("lastEventId", &bobs), ("lastEventId", &anns)];
    for request in [unreadable, request().query(&ids)] {
        let event = Sse::open_with(request).await.expect("resync").await;
        assert_eq!(event.json()["reason"], "unknown");
    }
    // An empty position counts as absent: a client may send it before its first event.
    let empty = request().header("last-event-id", "");
    let empty = empty.query(&[("lastEventId", "")]);
    Sse::open_with(empty).await.expect("sync").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_without_a_position_replays_nothing() {
    let mut cluster = Cluster::start(2).await;
    let (ann, bob) = (cluster.user(0, "ann").await, cluster.user(0, "bob").await);
    let mut before = Sse::open(&bob.at_node(&cluster.address(1)), None).await;
    before.expect("sync").await;
    assert!(cluster.drain(1).await);
    for _ in 0..5 {
        ann.create_private(&[&bob]).await;
    }
    cluster.settled().await;
    let restarted = cluster.add(&[]).await;
    let mut stream = Sse::open(&bob.at_node(&cluster.address(restarted)), None).await;
    stream.expect("sync").await;
    let channel = ann.create_private(&[&bob]).await;
    let event = stream.expect("channels.refresh").await;
    assert_eq!(
        event.json()["channelId"],
        channel,
        "the first event of the stream"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_published_during_a_nodes_start_reach_streams_resumed_on_it() {
    const EVENTS: usize = 60;
    let mut cluster = Cluster::start_with(1, &[("INVITATIONS_PER_PAIR", "1000")]).await;
    let (ann, bob) = (cluster.user(0, "ann").await, cluster.user(0, "bob").await);
    let from = cursor(&bob).await;
    let publishing = tokio::spawn({
        let (ann, bob) = (ann.clone(), bob.clone());
        async move {
            let mut created = Vec::new();
            for _ in 0..EVENTS {
                created.push(ann.create_private(&[&bob]).await);
            }
            created
        }
    });
    let starting = cluster.add_unready(&[]).await;
    let mut stream = Sse::open(&bob.at_node(&cluster.address(starting)), Some(&from)).await;
    let mut received = Vec::new();
    while received.len() < EVENTS {
        let event = stream
            .next_but_presence()
            .await
            .expect("the stream stays open");
        match event.name.as_str() {
            "channels.refresh" => received.push(event.json()["channelId"].clone()),
            "sync" => {}
            _ => panic!("{event:?}"),
        }
    }
    let created = publishing.await.expect("all are created");
    assert!(received.iter().eq(&created), "each event once, in order");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_missing_from_kafka_is_read_from_redis() {
    let cluster = Cluster::start(1).await;
    let (ann, bob) = (cluster.user(0, "ann").await, cluster.user(0, "bob").await);
    let mut stream = Sse::open(&bob, None).await;
    stream.expect("sync").await;
    let history = &cluster.node(0).app().history;
    append(history, log_of(&bob), 1, 1).await;
    // The next event from Kafka reveals the gap.
    let started = tokio::time::Instant::now();
    let channel = ann.create_private(&[&bob]).await;
    for expected in [json!(1), json!(channel)] {
        let event = stream.expect("channels.refresh").await;
        assert_eq!(event.json()["channelId"], expected);
    }
    assert!(started.elapsed().as_secs() < 2, "{:?}", started.elapsed());
    // No later event reveals this gap: the audit finds it in Redis.
    append(history, log_of(&bob), 2, 1).await;
    let event = stream.expect("channels.refresh").await;
    assert_eq!(event.json()["channelId"], 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_expired_history_causes_no_resync_for_a_complete_stream() {
    let cluster = Cluster::start(1).await;
    let (ann, bob) = (cluster.user(0, "ann").await, cluster.user(0, "bob").await);
    let mut stream = Sse::open(&bob, None).await;
    stream.expect("sync").await;
    ann.create_private(&[&bob]).await;
    let last = stream.expect("channels.refresh").await.id;
    // Redis expires the keys after a day without an event.
    let keys = [
        format!("sse:user:{}", bob.id),
        format!("sse:seen:{{sse:user:{}}}", bob.id),
    ];
    let () = cluster.redis.clone().del(&keys).await.expect("DEL");
    // A requested repair avoids the wait for the audit.
    let app = cluster.node(0).app();
    app.delivery.request_repair(Gap::EventLog(log_of(&bob)));
    eventually("the node has seen the empty history", async || {
        let position = app.delivery.sse.position(log_of(&bob));
        position.expect("the node follows the history").n == 0
    })
    .await;
    // The next event needs no resync before it, and its position is valid to resume from.
    let channel = cluster.admin(0).await.create_channel("news").await;
    let event = stream.expect("channels.refresh").await;
    assert_eq!(event.json()["channelId"], channel);
    Sse::open(&bob, Some(&event.id)).await.expect("sync").await;
    let private = ann.create_private(&[&bob]).await;
    let event = stream.expect("channels.refresh").await;
    assert_eq!(event.json()["channelId"], private);
    // The old position gets resync: the node cannot know whether events after it expired.
    assert_eq!(resync_reason(&bob, &last).await, "expired");
}
