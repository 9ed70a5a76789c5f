//! SSE: what a stream that comes back is told, and what it is not.

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

/// `u64::MAX` as positions are written.
const LAST_NUMBER: &str = "3w5e11264sgsf";

fn own(user: &User) -> EventLog {
    EventLog::User(user.id.parse().expect("an id"))
}

/// Appends events as the outbox does, but tells Kafka nothing. Their data are numbered from `first`.
async fn append(history: &History, stream: EventLog, first: usize, events: usize) {
    let numbers: Vec<_> = (first..first + events).collect();
    for numbers in numbers.chunks(100) {
        let events: Vec<_> = numbers
            .iter()
            .map(|n| (EventId::new(), json!({ "channelId": n }).to_string()))
            .collect();
        let appends: Vec<_> = events
            .iter()
            .map(|(event, data)| Append {
                log: stream,
                event: *event,
                name: "channels.refresh",
                data,
            })
            .collect();
        history.append(&appends).await.expect("appended");
    }
}

/// The cursor that lists carry.
async fn cursor(user: &User) -> String {
    let list = user.get("/api/users").await;
    let cursor = list.header("x-event-cursor");
    cursor.expect("lists carry a cursor").to_owned()
}

/// The numbers of the events that a replay brings.
async fn replayed(user: &User, from: &str) -> Vec<u64> {
    let mut stream = Sse::open(user, Some(from)).await;
    let mut numbers = Vec::new();
    loop {
        let event = stream.next_but_presence().await.expect("a sync comes");
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
async fn a_flood_of_one_users_events_takes_nothing_from_anothers_history() {
    let cluster = Cluster::start(1).await;
    let (ann, bob) = (cluster.user(0, "ann").await, cluster.user(0, "bob").await);
    let history = &cluster.node(0).app().history;
    let (anns, bobs) = (cursor(&ann).await, cursor(&bob).await);
    append(history, own(&bob), 0, 3).await;
    append(history, own(&ann), 0, 1_500).await;
    append(history, own(&bob), 3, 2).await;
    assert_eq!(replayed(&bob, &bobs).await, [0, 1, 2, 3, 4]);
    assert_eq!(resync_reason(&ann, &anns).await, "expired");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_events_of_one_millisecond_are_all_replayed_in_order() {
    let cluster = Cluster::start(1).await;
    let bob = cluster.user(0, "bob").await;
    let from = cursor(&bob).await;
    // One round trip: they share whatever time they are given.
    append(&cluster.node(0).app().history, own(&bob), 0, 100).await;
    assert!(replayed(&bob, &from).await.into_iter().eq(0..100));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_events_are_replayed_and_one_more_is_too_far() {
    let cluster = Cluster::start(1).await;
    let bob = cluster.user(0, "bob").await;
    cluster.settled().await;
    let from = cursor(&bob).await;
    let history = &cluster.node(0).app().history;
    append(history, own(&bob), 0, 700).await;
    append(history, EventLog::All, 700, 300).await;
    assert!(replayed(&bob, &from).await.into_iter().eq(0..1_000));
    append(history, EventLog::All, 1_000, 1).await;
    assert_eq!(resync_reason(&bob, &from).await, "too_far");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn histories_are_bounded() {
    let cluster = Cluster::start(1).await;
    let bob = cluster.user(0, "bob").await;
    let history = &cluster.node(0).app().history;
    append(history, EventLog::All, 0, 11_000).await;
    append(history, own(&bob), 0, 1_500).await;
    let mut redis = cluster.redis.clone();
    let stream = format!("sse:user:{}", bob.id);
    // Redis trims by whole nodes of its own, of a hundred entries.
    for (stream, kept) in [("sse:all", 10_000), (stream.as_str(), 1_000)] {
        let entries: usize = redis.xlen(stream).await.expect("XLEN");
        assert!(
            (kept..kept + 200).contains(&entries),
            "{stream}: {entries} entries"
        );
        let seen = format!("sse:seen:{{{stream}}}");
        let ids: usize = redis.zcard(&seen).await.expect("ZCARD");
        assert!((1_000..=kept).contains(&ids), "{seen}: {ids} ids");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_position_of_this_user_is_told_and_never_taken_for_none() {
    let cluster = Cluster::start(1).await;
    let (ann, bob) = (cluster.user(0, "ann").await, cluster.user(0, "bob").await);
    let history = &cluster.node(0).app().history;
    for user in [&ann, &bob] {
        append(history, own(user), 0, 5).await;
    }
    let (anns, bobs) = (cursor(&ann).await, cursor(&bob).await);
    assert!(replayed(&bob, &bobs).await.is_empty(), "a position of his");
    let parts = |cursor: &str| -> [String; 5] {
        let parts: Vec<_> = cursor.split(['-', '.']).map(str::to_owned).collect();
        parts.try_into().expect("two positions and an owner")
    };
    let [epoch, number, all_epoch, all_number, owner] = parts(&bobs);
    let write =
        |n: &str, all_n: &str, owner: &str| format!("{epoch}-{n}.{all_epoch}-{all_n}.{owner}");
    assert_eq!(write(&number, &all_number, &owner), bobs);
    // As if the streams of both had begun in the same millisecond.
    let foreign = write(&number, &all_number, &parts(&anns)[4]);
    for from in [
        foreign,
        write(LAST_NUMBER, &all_number, &owner),
        write(&number, LAST_NUMBER, &owner),
        write(LAST_NUMBER, LAST_NUMBER, &owner),
        format!("{LAST_NUMBER}-1.{LAST_NUMBER}-1.{owner}"),
        bobs.rsplit_once('.').expect("an owner").0.to_owned(),
    ] {
        assert_eq!(resync_reason(&bob, &from).await, "unknown", "{from}");
    }
    // Not ASCII; and two at once.
    let bytes = HeaderValue::from_bytes("한".as_bytes()).expect("a header");
    let request = || bob.request(Method::GET, "/api/sse");
    let unreadable = request().header("last-event-id", bytes);
    let ids = [("lastEventId", &bobs), ("lastEventId", &anns)];
    for request in [unreadable, request().query(&ids)] {
        let event = Sse::open_with(request).await.expect("resync").await;
        assert_eq!(event.json()["reason"], "unknown");
    }
    // Empty ones are none, as a client has that has not been told any.
    let empty = request().header("last-event-id", "");
    let empty = empty.query(&[("lastEventId", "")]);
    Sse::open_with(empty).await.expect("sync").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_without_a_position_is_told_nothing_that_happened_while_its_node_was_away() {
    let mut cluster = Cluster::start(2).await;
    let (ann, bob) = (cluster.user(0, "ann").await, cluster.user(0, "bob").await);
    let mut before = Sse::open(&bob.at_node(&cluster.address(1)), None).await;
    before.expect("sync").await;
    assert!(cluster.drain(1).await);
    for _ in 0..5 {
        ann.create_private(&[&bob]).await;
    }
    cluster.settled().await;
    let back = cluster.add(&[]).await;
    let mut stream = Sse::open(&bob.at_node(&cluster.address(back)), None).await;
    stream.expect("sync").await;
    let channel = ann.create_private(&[&bob]).await;
    let event = stream.expect("channels.refresh").await;
    assert_eq!(
        event.json()["channelId"],
        channel,
        "the first that it is told"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_published_while_a_node_starts_reaches_those_who_resume_on_it() {
    const EVENTS: usize = 60;
    let mut cluster = Cluster::start(1).await;
    let (ann, bob) = (cluster.user(0, "ann").await, cluster.user(0, "bob").await);
    let from = cursor(&bob).await;
    let publishing = tokio::spawn({
        let (ann, bob) = (ann.clone(), bob.clone());
        async move {
            let mut made = Vec::new();
            for _ in 0..EVENTS {
                made.push(ann.create_private(&[&bob]).await);
            }
            made
        }
    });
    let starting = cluster.add_unready(&[]).await;
    let mut stream = Sse::open(&bob.at_node(&cluster.address(starting)), Some(&from)).await;
    let mut told = Vec::new();
    while told.len() < EVENTS {
        let event = stream.next_but_presence().await.expect("it goes on");
        match event.name.as_str() {
            "channels.refresh" => told.push(event.json()["channelId"].clone()),
            "sync" => {}
            _ => panic!("{event:?}"),
        }
    }
    let made = publishing.await.expect("all are made");
    assert!(told.iter().eq(&made), "each once, in order");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_that_kafka_lost_is_read_from_redis() {
    let cluster = Cluster::start(1).await;
    let (ann, bob) = (cluster.user(0, "ann").await, cluster.user(0, "bob").await);
    let mut stream = Sse::open(&bob, None).await;
    stream.expect("sync").await;
    let history = &cluster.node(0).app().history;
    append(history, own(&bob), 1, 1).await;
    // The next one shows the gap.
    let begun = tokio::time::Instant::now();
    let channel = ann.create_private(&[&bob]).await;
    for expected in [json!(1), json!(channel)] {
        let event = stream.expect("channels.refresh").await;
        assert_eq!(event.json()["channelId"], expected);
    }
    assert!(begun.elapsed().as_secs() < 2, "{:?}", begun.elapsed());
    // Nothing shows this one but the comparison with Redis.
    append(history, own(&bob), 2, 1).await;
    let event = stream.expect("channels.refresh").await;
    assert_eq!(event.json()["channelId"], 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_history_that_expired_is_no_loss_to_a_stream_that_saw_all_of_it() {
    let cluster = Cluster::start(1).await;
    let (ann, bob) = (cluster.user(0, "ann").await, cluster.user(0, "bob").await);
    let mut stream = Sse::open(&bob, None).await;
    stream.expect("sync").await;
    ann.create_private(&[&bob]).await;
    let last = stream.expect("channels.refresh").await.id;
    // What a day without an event leaves.
    let keys = [
        format!("sse:user:{}", bob.id),
        format!("sse:seen:{{sse:user:{}}}", bob.id),
    ];
    let () = cluster.redis.clone().del(&keys).await.expect("DEL");
    // Rather than wait for the audit.
    let app = cluster.node(0).app();
    app.delivery.request_repair(Gap::EventLog(own(&bob)));
    eventually("the line has seen it", async || {
        let position = app.delivery.sse.position(own(&bob));
        position.expect("it is followed").n == 0
    })
    .await;
    // A position that one can resume from again, and no resync before it.
    let channel = cluster.admin(0).await.create_channel("news").await;
    let event = stream.expect("channels.refresh").await;
    assert_eq!(event.json()["channelId"], channel);
    Sse::open(&bob, Some(&event.id)).await.expect("sync").await;
    let private = ann.create_private(&[&bob]).await;
    let event = stream.expect("channels.refresh").await;
    assert_eq!(event.json()["channelId"], private);
    // Who comes back with the old one cannot know.
    assert_eq!(resync_reason(&bob, &last).await, "expired");
}
