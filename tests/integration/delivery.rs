//! Message delivery: once and in order to every subscriber on every node.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::{Cluster, Stomp, User};

/// A message rate that no test reaches.
const UNLIMITED_RATE: (&str, &str) = ("MESSAGE_RATE", "100000");

/// Returns the contents of the next messages; positions must be consecutive.
async fn read_in_order(stomp: &mut Stomp, first: i64, count: i64) -> Vec<String> {
    let mut contents = Vec::new();
    for seq in first..first + count {
        let message = stomp.message().await;
        assert_eq!(message["seq"], seq, "{message}");
        contents.push(
            message["content"]
                .as_str()
                .expect("a message has content")
                .to_owned(),
        );
    }
    contents
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn subscribers_on_three_nodes_receive_every_message_once_in_order() {
    const SENDERS: usize = 10;
    const MESSAGES_PER_SENDER: usize = 200;
    let cluster = Cluster::start_with(3, &[UNLIMITED_RATE]).await;
    let channel = cluster.channel().await;
    let mut subscribers = Vec::new();
    for node in 0..3 {
        let user = cluster.user(node, "reader").await;
        let mut stomp = Stomp::connect(&user).await;
        stomp.subscribe(&channel).await;
        subscribers.push(stomp);
    }
    let mut senders = tokio::task::JoinSet::new();
    for sender in 0..SENDERS {
        let user = cluster.user(sender % 3, "writer").await;
        let channel = channel.clone();
        senders.spawn(async move {
            let mut stomp = Stomp::connect(&user).await;
            for n in 0..MESSAGES_PER_SENDER - 1 {
                stomp.say(&user, &channel, &format!("{sender}/{n}")).await;
            }
            stomp
                .say_surely(
                    &user,
                    &channel,
                    &format!("{sender}/{}", MESSAGES_PER_SENDER - 1),
                )
                .await;
        });
    }
    let total = i64::try_from(SENDERS * MESSAGES_PER_SENDER).expect("fits");
    let mut seen = Vec::new();
    for mut subscriber in subscribers {
        let contents = read_in_order(&mut subscriber, 1, total).await;
        subscriber.expect_nothing(Duration::from_millis(200)).await;
        // The messages of each sender arrive in the order of sending.
        for sender in 0..SENDERS {
            let of_sender: Vec<_> = contents
                .iter()
                .filter(|content| content.starts_with(&format!("{sender}/")))
                .collect();
            let expected: Vec<_> = (0..MESSAGES_PER_SENDER)
                .map(|n| format!("{sender}/{n}"))
                .collect();
            assert!(
                of_sender.iter().eq(&expected.iter().collect::<Vec<_>>()),
                "sender {sender}: {of_sender:?}"
            );
        }
        seen.push(contents);
    }
    assert!(
        seen[0] == seen[1] && seen[1] == seen[2],
        "all subscribers receive the same order"
    );
    senders.join_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_dies_between_commit_and_publish_loses_nothing() {
    let mut cluster = Cluster::start_with(1, &[UNLIMITED_RATE]).await;
    let channel = cluster.channel().await;
    let reader = cluster.user(0, "reader").await;
    let mut stomp = Stomp::connect(&reader).await;
    stomp.subscribe(&channel).await;
    let mut events = crate::support::Sse::open(&reader, None).await;
    events.expect("sync").await;
    // This node commits to PostgreSQL but cannot publish to Kafka.
    let doomed = cluster
        .add_unready(&[("KAFKA_BROKERS", "127.0.0.1:1")])
        .await;
    let writer = cluster
        .user(0, "writer")
        .await
        .at_node(&cluster.address(doomed));
    events
        .expect_about("users.refresh", "userId", &writer.id)
        .await;
    for n in 0..20 {
        assert_eq!(writer.write(&channel, &format!("{n}")).await.status, 201);
    }
    let private = writer.create_private(&[&reader]).await;
    cluster.kill(doomed).await;
    let committed = tokio::time::Instant::now();
    let contents = read_in_order(&mut stomp, 1, 20).await;
    assert!(contents.into_iter().eq((0..20).map(|n| n.to_string())));
    events
        .expect_about("channels.refresh", "channelId", &private)
        .await;
    assert!(
        committed.elapsed() < Duration::from_secs(5),
        "delivery took {:?}",
        committed.elapsed()
    );
    // Subscribers drop the events that the outbox publishes after the audit has delivered them.
    cluster.settled().await;
    stomp.expect_nothing(Duration::from_millis(300)).await;
    events.expect_nothing(Duration::from_millis(300)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_private_channel_is_invisible_to_a_third_user() {
    let cluster = Cluster::start(2).await;
    let (ann, bob, eve) = (
        cluster.user(0, "ann").await,
        cluster.user(1, "bob").await,
        cluster.user(1, "eve").await,
    );
    let mut eves_events = crate::support::Sse::open(&eve, None).await;
    eves_events.expect("sync").await;
    let channel = ann.create_private(&[&bob]).await;
    assert_eq!(ann.write(&channel, "between us").await.status, 201);

    let page = eve.get(&format!("/api/messages?channelId={channel}")).await;
    assert_eq!((page.status, page.code()), (404, "CHANNEL_NOT_FOUND"));
    assert_eq!(
        eve.write(&channel, "hello?").await.code(),
        "CHANNEL_NOT_FOUND"
    );
    let list = eve.get(&format!("/api/channels?userId={}", eve.id)).await;
    assert!(!list.body.to_string().contains(&channel), "{list:?}");

    for feed in ["messages", "events"] {
        let mut stomp = Stomp::connect(&eve).await;
        stomp
            .send(&format!(
                "SUBSCRIBE\nid:x\ndestination:/sub/channels.{channel}.{feed}\n\n\0"
            ))
            .await;
        let error = stomp.expect("ERROR").await;
        assert_eq!(error.header("code"), Some("CHANNEL_NOT_FOUND"));
        assert!(
            stomp.frame().await.is_none(),
            "an ERROR closes the connection"
        );
    }
    let mut stomp = Stomp::connect(&eve).await;
    stomp.subscribe_with("/user/queue/errors", "").await;
    stomp.say(&eve, &channel, "hello?").await;
    assert_eq!(stomp.message().await["code"], "CHANNEL_NOT_FOUND");

    let mut stomp = Stomp::connect(&bob).await;
    stomp.subscribe(&channel).await;
    assert_eq!(ann.write(&channel, "still between us").await.status, 201);
    assert_eq!(stomp.message().await["content"], "still between us");
    assert_eq!(
        bob.history(&channel).await.len(),
        2,
        "the rejected messages were not stored"
    );
    eves_events.expect_nothing(Duration::from_millis(300)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_subscription_resumes_after_a_position_without_gap_or_duplicate() {
    let cluster = Cluster::start_with(2, &[UNLIMITED_RATE]).await;
    let channel = cluster.channel().await;
    let (writer, reader) = (
        cluster.user(0, "writer").await,
        cluster.user(1, "reader").await,
    );
    let mut writing = Stomp::connect(&writer).await;
    for n in 1..=30 {
        writing.say(&writer, &channel, &n.to_string()).await;
    }
    writing.say_surely(&writer, &channel, "31").await;
    // The writer continues during the subscriptions, so that replay and live messages overlap.
    let concurrent = tokio::spawn({
        let (writer, channel) = (writer.clone(), channel.clone());
        async move {
            for n in 32..=200 {
                writing.say(&writer, &channel, &n.to_string()).await;
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            writing
        }
    });
    for after in [10, 25, 31] {
        let mut stomp = Stomp::connect(&reader).await;
        let destination = format!("/sub/channels.{channel}.messages");
        stomp
            .subscribe_with(&destination, &format!("after-seq:{after}\n"))
            .await;
        let contents = read_in_order(&mut stomp, after + 1, 200 - after).await;
        assert_eq!(contents.last().map(String::as_str), Some("200"));
    }
    let mut writing = concurrent.await.expect("the writer succeeds");
    // More than a replay may contain: the client gets a gap frame, then live messages.
    for n in 201..=510 {
        writing.say(&writer, &channel, &n.to_string()).await;
    }
    writing.say_surely(&writer, &channel, "511").await;
    let mut stomp = Stomp::connect(&reader).await;
    stomp
        .subscribe_with(
            &format!("/sub/channels.{channel}.messages"),
            "after-seq:3\n",
        )
        .await;
    let gap = stomp.expect("MESSAGE").await;
    assert_eq!(gap.header("gap"), Some("true"));
    let through = gap.json()["toSeq"].as_i64().expect("a position");
    assert_eq!(gap.json()["fromSeq"], 4);
    writing.say_surely(&writer, &channel, "512").await;
    assert_eq!(
        read_in_order(&mut stomp, through + 1, 512 - through)
            .await
            .last()
            .map(String::as_str),
        Some("512")
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_missing_from_kafka_is_read_from_postgres() {
    let cluster = Cluster::start(1).await;
    let channel = cluster.channel().await;
    let user = cluster.user(0, "ann").await;
    let mut stomp = Stomp::connect(&user).await;
    stomp.subscribe(&channel).await;
    let write_unpublished = async |seq: i64| {
        let sql = "with moved as (update channels set last_seq = $2 where id = $1::uuid) \
                   insert into messages (id, channel_id, seq, content, created_at, updated_at) values (gen_random_uuid(), $1::uuid, $2, $3, now(), now())";
        sqlx::query(sql)
            .bind(&channel)
            .bind(seq)
            .bind(format!("unpublished {seq}"))
            .execute(&cluster.db)
            .await
            .expect("written");
    };
    write_unpublished(1).await;
    assert_eq!(user.write(&channel, "published").await.status, 201);
    // The next message from Kafka reveals the gap.
    let started = tokio::time::Instant::now();
    assert_eq!(
        read_in_order(&mut stomp, 1, 2).await,
        ["unpublished 1", "published"]
    );
    assert!(
        started.elapsed() < Duration::from_secs(1),
        "delivery took {:?}",
        started.elapsed()
    );
    // No later message reveals this gap: the audit finds it in PostgreSQL.
    write_unpublished(3).await;
    assert_eq!(read_in_order(&mut stomp, 3, 1).await, ["unpublished 3"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_published_twice_is_delivered_once() {
    let cluster = Cluster::start(2).await;
    let channel = cluster.channel().await;
    let (ann, bob) = (cluster.user(0, "ann").await, cluster.user(1, "bob").await);
    let mut stomp = Stomp::connect(&bob).await;
    stomp.subscribe(&channel).await;
    let mut events = crate::support::Sse::open(&bob, None).await;
    events.expect("sync").await;
    // A trigger copies each row of the outbox, so that the test can publish the events again. Its function has the owner's rights.
    let copy = "create table copies as table outbox with no data; \
                create function copy_row() returns trigger language plpgsql security definer as $$ begin insert into copies select new.*; return new; end $$; \
                create trigger copy_row after insert on outbox for each row execute function copy_row()";
    sqlx::raw_sql(copy)
        .execute(&cluster.db)
        .await
        .expect("the trigger is created");
    for n in 0..5 {
        assert_eq!(ann.write(&channel, &n.to_string()).await.status, 201);
    }
    let private = ann.create_private(&[&bob]).await;
    assert_eq!(
        read_in_order(&mut stomp, 1, 5).await,
        ["0", "1", "2", "3", "4"]
    );
    let event = events
        .expect_about("channels.refresh", "channelId", &private)
        .await;
    let insert_again = "drop trigger copy_row on outbox; insert into outbox (event_id, topic, key, kind, seq, body, created_at) \
                 select event_id, topic, key, kind, seq, body, now() - interval '1 minute' from copies";
    sqlx::raw_sql(insert_again)
        .execute(&cluster.db)
        .await
        .expect("inserted again");
    cluster.settled().await;
    stomp.expect_nothing(Duration::from_millis(300)).await;
    events.expect_nothing(Duration::from_millis(300)).await;
    // The SSE history contains the event once, under the id that the client received.
    let mut redis = cluster.redis.clone();
    let entries: redis::streams::StreamRangeReply = redis::cmd("XRANGE")
        .arg(format!("sse:user:{}", bob.id))
        .arg("-")
        .arg("+")
        .query_async(&mut redis)
        .await
        .expect("XRANGE");
    let matching: Vec<_> = entries
        .ids
        .iter()
        .filter(|entry| {
            entry
                .get::<String>("data")
                .is_some_and(|data| data.contains(&private))
        })
        .collect();
    assert_eq!(matching.len(), 1);
    let (epoch, n) = matching[0].id.split_once('-').expect("a stream id");
    let (user_part, _) = event.id.split_once('.').expect("a pair");
    let base36 = |text: &str| u64::from_str_radix(text, 36).expect("base 36").to_string();
    let (wire_epoch, wire_n) = user_part.split_once('-').expect("epoch and number");
    assert_eq!(
        (base36(wire_epoch).as_str(), base36(wire_n).as_str()),
        (epoch, n),
        "the event id equals the id of the Redis stream entry"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deleted_message_does_not_block_a_replay() {
    let cluster = Cluster::shared(1).await;
    let channel = cluster.channel().await;
    let user = cluster.user(0, "ann").await;
    let ids: Vec<String> = {
        let mut ids = Vec::new();
        for n in 1..=5 {
            ids.push(
                user.write(&channel, &n.to_string()).await.body["id"]
                    .as_str()
                    .expect("an id")
                    .to_owned(),
            );
        }
        ids
    };
    for id in [&ids[1], &ids[4]] {
        assert_eq!(
            user.delete(&format!("/api/messages/{id}")).await.status,
            204
        );
    }
    let mut stomp = Stomp::connect(&user).await;
    stomp
        .subscribe_with(
            &format!("/sub/channels.{channel}.messages"),
            "after-seq:0\n",
        )
        .await;
    let stored: Vec<_> = [
        stomp.message().await,
        stomp.message().await,
        stomp.message().await,
    ]
    .map(|m| m["seq"].as_i64().expect("a position"))
    .into();
    assert_eq!(stored, [1, 3, 4]);
    assert_eq!(
        user.write(&channel, "6").await.body["seq"],
        6,
        "positions are never reused"
    );
    assert_eq!(stomp.message().await["seq"], 6);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn message_edits_and_deletions_are_delivered_to_subscribers() {
    let cluster = Cluster::shared(2).await;
    let channel = cluster.channel().await;
    let (ann, bob) = (cluster.user(0, "ann").await, cluster.user(1, "bob").await);
    let mut stomp = Stomp::connect(&bob).await;
    stomp
        .subscribe_with(&format!("/sub/channels.{channel}.events"), "")
        .await;
    let id = ann.write(&channel, "teh").await.body["id"]
        .as_str()
        .expect("an id")
        .to_owned();
    let changed = ann
        .patch(
            &format!("/api/messages/{id}"),
            &json!({ "newContent": "the" }),
        )
        .await;
    assert_eq!(changed.status, 200);
    assert_eq!(
        stomp.message().await,
        json!({ "type": "message.updated", "message": changed.body })
    );
    assert_eq!(ann.delete(&format!("/api/messages/{id}")).await.status, 204);
    assert_eq!(
        stomp.message().await,
        json!({ "type": "message.deleted", "channelId": channel, "messageId": id, "seq": changed.body["seq"] })
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_does_not_read_is_disconnected_without_delaying_others() {
    let cluster = Cluster::start_with(1, &[UNLIMITED_RATE]).await;
    let channel = cluster.channel().await;
    let users: Vec<User> = vec![
        cluster.user(0, "slow").await,
        cluster.user(0, "quick").await,
    ];
    let mut slow = Stomp::open_narrow(&cluster.address(0)).await;
    slow.log_in(users[0].token()).await;
    slow.subscribe(&channel).await;
    let mut quick = Stomp::connect(&users[1]).await;
    quick.subscribe(&channel).await;
    let mut writer = Stomp::connect(&users[1]).await;
    let text = "x".repeat(2_000);
    let hub = &cluster.node(0).app().delivery.hub;
    let disconnected = || {
        let slow = |user: &discodeit::ids::UserId| user.to_string() == users[0].id;
        !hub.sessions().iter().any(|(user, _)| slow(user))
    };
    // Writes at the pace of the fast reader until the kernel's buffers and the send queue of the slow client are full.
    let mut latencies = Vec::new();
    let mut written = 0;
    while !disconnected() {
        assert!(
            written < 10_000,
            "the slow client is still connected after {written} messages"
        );
        for _ in 0..99 {
            writer.say(&users[1], &channel, &text).await;
        }
        writer.say_surely(&users[1], &channel, &text).await;
        read_in_order(&mut quick, written + 1, 100).await;
        let started = tokio::time::Instant::now();
        writer.say(&users[1], &channel, "quick?").await;
        read_in_order(&mut quick, written + 101, 1).await;
        latencies.push(started.elapsed());
        written += 101;
    }
    latencies.sort_unstable();
    let median = latencies[latencies.len() / 2];
    assert!(
        median < Duration::from_millis(100),
        "median delivery to the fast client took {median:?}"
    );
    // The slow client receives the oldest messages, then the close code.
    let (mut received, mut bytes) = (0, 0);
    let code = loop {
        match slow.frame_or_close().await {
            Ok(frame) => {
                received += 1;
                bytes += frame.body.len();
                assert_eq!(frame.json()["seq"], received);
            }
            Err(code) => break code,
        }
    };
    assert_eq!(code, Some(4500));
    // The kernel may buffer 4 MiB, the send queue 512 KiB.
    assert!(
        received < written,
        "the slow client received all {written} messages"
    );
    assert!(bytes < 5 * 1024 * 1024, "{bytes} bytes were buffered");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_position_beyond_the_channels_end_gets_a_gap_and_then_live_messages() {
    let cluster = Cluster::shared(1).await;
    let channel = cluster.channel().await;
    let user = cluster.user(0, "ann").await;
    for n in 1..=3 {
        user.write(&channel, &n.to_string()).await;
    }
    // A client has such a position after PostgreSQL was restored from a backup.
    let mut stomp = Stomp::connect(&user).await;
    let destination = format!("/sub/channels.{channel}.messages");
    stomp.subscribe_with(&destination, "after-seq:99\n").await;
    let gap = stomp.expect("MESSAGE").await;
    assert_eq!(gap.header("gap"), Some("true"));
    assert_eq!(gap.json(), json!({ "fromSeq": 1, "toSeq": 3 }));
    user.write(&channel, "4").await;
    assert_eq!(read_in_order(&mut stomp, 4, 1).await, ["4"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn changes_of_a_message_are_delivered_in_order_on_every_node() {
    let cluster = Cluster::start(3).await;
    let channel = cluster.channel().await;
    let writer = cluster.user(0, "writer").await;
    let mut readers = Vec::new();
    for node in 0..3 {
        let reader = cluster.user(node, "reader").await;
        let mut stomp = Stomp::connect(&reader).await;
        stomp.subscribe(&channel).await;
        let events = format!("/sub/channels.{channel}.events");
        stomp.subscribe_with(&events, "").await;
        readers.push(stomp);
    }
    for round in 0..10 {
        let id = writer.write(&channel, "one").await.body["id"].clone();
        let path = format!("/api/messages/{}", id.as_str().expect("an id"));
        for content in ["two", "three"] {
            let answer = writer.patch(&path, &json!({ "newContent": content })).await;
            assert_eq!(answer.status, 200);
        }
        let is_deleted = round % 2 == 0;
        if is_deleted {
            assert_eq!(writer.delete(&path).await.status, 204);
        }
        for reader in &mut readers {
            let created = reader.message().await;
            assert_eq!((&created["id"], &created["content"]), (&id, &json!("one")));
            // A change that the next one replaces while it is on its way is not delivered.
            let mut seen = Vec::new();
            let last = if is_deleted { "deleted" } else { "three" };
            while seen.last() != Some(&last) {
                seen.push(change(&reader.message().await, &id));
            }
            assert!(
                is_subsequence(&seen, &["two", "three", "deleted"]),
                "the changes of one message arrived as {seen:?}"
            );
        }
    }
}

/// The new content of an edited message, or "deleted".
fn change(event: &Value, message: &Value) -> &'static str {
    if event["type"] == "message.deleted" {
        assert_eq!(&event["messageId"], message);
        return "deleted";
    }
    assert_eq!(event["type"], "message.updated", "{event}");
    assert_eq!(&event["message"]["id"], message);
    match event["message"]["content"].as_str() {
        Some("two") => "two",
        Some("three") => "three",
        other => panic!("nobody wrote {other:?}"),
    }
}

/// Whether `part` has items of `whole` in its order, each at most once.
fn is_subsequence(part: &[&str], whole: &[&str]) -> bool {
    let mut whole = whole.iter();
    part.iter().all(|item| whole.any(|other| other == item))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_whose_node_died_is_published_as_it_is_now_and_a_deleted_one_is_not() {
    let cluster = Cluster::start(2).await;
    let (ann, bob) = (cluster.user(0, "ann").await, cluster.user(1, "bob").await);
    let channel = ann.create_private(&[&bob]).await;
    let mut stomp = Stomp::connect(&bob).await;
    stomp.subscribe(&channel).await;
    // What a dead node has left: it stored three messages, of which the first was edited since, and the second deleted.
    let left = "with stored as ( \
                insert into messages (id, channel_id, seq, author_id, content, created_at, updated_at) \
                select gen_random_uuid(), $1::uuid, seq, $2::uuid, content, now(), now() from (values (1, 'edited'), (3, 'last')) as m (seq, content) \
                ), moved as (update channels set last_seq = 3, last_message_at = now() where id = $1::uuid) \
                insert into outbox (event_id, topic, key, kind, seq, body, created_at) \
                select gen_random_uuid(), 'messages', $1::uuid::text, 'message.stored', seq, '{}', now() - interval '1 minute' from generate_series(1, 3) as seq";
    let left = sqlx::query(left).bind(&channel).bind(&ann.id);
    left.execute(&cluster.db).await.expect("written");
    for content in ["edited", "last"] {
        let message = stomp.message().await;
        assert_eq!(message["content"], content);
        assert_eq!(message["author"]["username"], ann.name);
    }
    cluster.settled().await;
    assert_eq!(ann.write(&channel, "next").await.status, 201);
    let next = stomp.message().await;
    assert_eq!(
        (&next["content"], &next["seq"]),
        (&json!("next"), &json!(4))
    );
}
