//! Notifications.
//!
//! Each notification is written once, visible only to its receiver, and deleted everywhere at once.

use std::time::Duration;

use discodeit::{model::Topic, store};
use rdkafka::{
    ClientConfig, Message as _, Offset, TopicPartitionList,
    consumer::{Consumer, StreamConsumer},
    message::{Header, Headers, OwnedHeaders},
    producer::{FutureProducer, FutureRecord},
};
use serde_json::{Value, json};

use super::{accounts::set_role, deletions::people, files::count};
use crate::support::{Cluster, SOON, Sse, User, eventually, eventually_within, run_command};

pub(crate) async fn listed(user: &User) -> Vec<Value> {
    let answer = user.get("/api/notifications").await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert!(answer.header("x-event-cursor").is_some());
    answer.body.as_array().expect("a list").clone()
}

async fn listed_when(user: &User, notifications: usize) -> Vec<Value> {
    eventually("the notifications are listed", async || {
        listed(user).await.len() == notifications
    })
    .await;
    listed(user).await
}

/// Enables the notifications of a channel; returns the read status id.
pub(crate) async fn follow(user: &User, channel: &str) -> String {
    let answer = user
        .post(
            "/api/readStatuses",
            &json!({ "userId": user.id, "channelId": channel, "lastReadAt": "2026-01-01T00:00:00Z" }),
        )
        .await;
    assert_eq!(answer.status, 201, "{answer:?}");
    let id = answer.body["id"].as_str().expect("an id").to_owned();
    let on = json!({ "newNotificationEnabled": true, "newLastReadAt": null });
    let answer = user.patch(&format!("/api/readStatuses/{id}"), &on).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    id
}

/// Inserts the outbox row of a finished job again.
///
/// A node that dies before it deletes the row leaves the same state. Returns the event id. Nodes do not send a
/// `sent` row again within 15 s.
async fn reinsert_job(cluster: &Cluster, channel: &str, message: &str, sent: bool) -> uuid::Uuid {
    let sql = "insert into outbox (event_id, topic, key, kind, body, sent_at) \
               values ($1, 'jobs', $2, 'message.created', $3, case when $4 then now() end)";
    let event = uuid::Uuid::now_v7();
    sqlx::query(sql)
        .bind(event)
        .bind(channel)
        .bind(json!({ "messageId": message }).to_string())
        .bind(sent)
        .execute(&cluster.db)
        .await
        .expect("written");
    event
}

async fn jobs_left(cluster: &Cluster) -> i64 {
    sqlx::query_scalar("select count(*) from outbox where topic = 'jobs'")
        .fetch_one(&cluster.db)
        .await
        .expect("counted")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_notifies_the_other_participants_once_and_nobody_else() {
    let cluster = Cluster::start(2).await;
    let (ann, bob, eve) = (
        cluster.user(0, "ann").await,
        cluster.user(1, "bob").await,
        cluster.user(1, "eve").await,
    );
    let channel = ann.create_private(&[&bob]).await;
    cluster.settled().await;
    let mut bobs = Sse::open(&bob, None).await;
    bobs.expect("sync").await;
    let mut eves = Sse::open(&eve, None).await;
    eves.expect("sync").await;
    let answer = ann.write(&channel, "안녕 😀").await;
    assert_eq!(answer.status, 201);
    let event = bobs.expect("notifications").await.json();
    assert_eq!(event["receiverId"], bob.id.as_str());
    assert_eq!(event["type"], "NEW_MESSAGE");
    assert_eq!(event["targetId"], channel.as_str());
    assert_eq!(event["title"], ann.name.as_str());
    assert_eq!(event["content"], "안녕 😀");
    let mut fields: Vec<_> = event.as_object().expect("an object").keys().collect();
    fields.sort_unstable();
    assert_eq!(
        fields,
        [
            "content",
            "createdAt",
            "id",
            "reason",
            "receiverId",
            "targetId",
            "title",
            "type"
        ]
    );
    assert_eq!(listed_when(&bob, 1).await, [event]);
    // Neither the author nor a stranger is notified.
    assert!(listed(&ann).await.is_empty());
    assert!(listed(&eve).await.is_empty());
    eves.expect_nothing(Duration::from_millis(200)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_public_channel_notifies_users_only_while_they_have_it_enabled() {
    let cluster = Cluster::shared(1).await;
    let (ann, bob, eve) = (
        cluster.user(0, "ann").await,
        cluster.user(0, "bob").await,
        cluster.user(0, "eve").await,
    );
    let channel = cluster.admin(0).await.create_channel("news").await;
    let status = follow(&bob, &channel).await;
    for n in 1..=3 {
        assert_eq!(ann.write(&channel, &format!("news {n}")).await.status, 201);
    }
    let notifications = listed_when(&bob, 3).await;
    // Newest first.
    let contents: Vec<_> = notifications.iter().map(|n| n["content"].clone()).collect();
    assert_eq!(contents, ["news 3", "news 2", "news 1"]);
    assert_eq!(notifications[0]["title"], format!("{} (#news)", ann.name));
    let off = json!({ "newNotificationEnabled": false });
    let path = format!("/api/readStatuses/{status}");
    assert_eq!(bob.patch(&path, &off).await.status, 200);
    assert_eq!(ann.write(&channel, "while disabled").await.status, 201);
    follow(&eve, &channel).await;
    assert_eq!(ann.write(&channel, "for eve").await.status, 201);
    assert_eq!(listed_when(&eve, 1).await[0]["content"], "for eve");
    assert_eq!(listed(&bob).await.len(), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deleted_notification_disappears_from_every_tab_for_good() {
    let cluster = Cluster::start(2).await;
    let (ann, bob) = (cluster.user(0, "ann").await, cluster.user(0, "bob").await);
    let channel = ann.create_private(&[&bob]).await;
    let other_tab = bob.at_node(&cluster.address(1));
    cluster.settled().await;
    let mut stream = Sse::open(&other_tab, None).await;
    let before = stream.expect("sync").await.id;
    let message = ann.write(&channel, "hello").await.body["id"].clone();
    let event = stream.expect("notifications").await.json();
    let id = event["id"].as_str().expect("an id");
    // Another user's notification gives the same error as an unknown id.
    let path = format!("/api/notifications/{id}");
    let refused = ann.delete(&path).await;
    assert_eq!(
        (refused.status, refused.code()),
        (404, "NOTIFICATION_NOT_FOUND")
    );
    assert_eq!(bob.delete(&path).await.status, 204);
    let gone = stream.expect("notifications.deleted").await;
    assert_eq!(gone.json(), json!({ "id": id }));
    assert!(listed(&other_tab).await.is_empty());
    assert_eq!(bob.delete(&path).await.status, 404);
    // The job runs again, like after a crash between the commit and the deletion of the outbox row.
    let message = message.as_str().expect("an id");
    reinsert_job(&cluster, &channel, message, false).await;
    cluster.settled().await;
    assert!(listed(&bob).await.is_empty());
    // A replay omits the deleted notification.
    let mut late = Sse::open(&bob, Some(&before)).await;
    let again = late.expect("notifications.deleted").await;
    // The first half is the position in bob's own history. The common history may have new presence events.
    let own = |id: &str| id.split_once('.').map(|(own, _)| own.to_owned());
    assert_eq!(own(&again.id), own(&gone.id));
    late.expect("sync").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deleting_a_message_or_channel_deletes_its_notifications() {
    let cluster = Cluster::start(1).await;
    let (ann, bob) = (cluster.user(0, "ann").await, cluster.user(0, "bob").await);
    let admin = cluster.admin(0).await;
    let channel = admin.create_private(&[&ann, &bob]).await;
    cluster.settled().await;
    let mut stream = Sse::open(&bob, None).await;
    let before = stream.expect("sync").await.id;
    let first = ann.write(&channel, "regretted").await.body["id"].clone();
    ann.write(&channel, "kept").await;
    listed_when(&bob, 2).await;
    let path = format!("/api/messages/{}", first.as_str().expect("an id"));
    assert_eq!(ann.delete(&path).await.status, 204);
    assert_eq!(listed_when(&bob, 1).await[0]["content"], "kept");
    assert_eq!(
        admin
            .delete(&format!("/api/channels/{channel}"))
            .await
            .status,
        204
    );
    assert!(listed(&bob).await.is_empty());
    // A replay omits the events that bob may no longer read.
    let mut late = Sse::open(&bob, Some(&before)).await;
    let mut names = Vec::new();
    loop {
        let event = late.next_but_presence().await.expect("an event");
        if event.name == "sync" {
            break;
        }
        names.push(event.name);
    }
    assert_eq!(names, ["notifications.deleted", "channels.refresh"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_role_change_notifies_the_user_once() {
    let cluster = Cluster::shared(1).await;
    let ann = cluster.user(0, "ann").await;
    let admin = cluster.admin(0).await;
    for _ in 0..2 {
        let answer = set_role(&admin, &ann.id, "CHANNEL_MANAGER").await;
        assert_eq!(answer.status, 200, "{answer:?}");
    }
    let ann = User::sign_in(cluster.visitor(0), &ann.name, "password").await;
    let notifications = listed_when(&ann, 1).await;
    assert_eq!(notifications[0]["type"], "ROLE_CHANGED");
    assert_eq!(notifications[0]["targetId"], ann.id.as_str());
    assert_eq!(notifications[0]["content"], "USER → CHANNEL_MANAGER");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_duplicate_record_is_applied_once_and_an_invalid_record_becomes_a_dead_letter() {
    let cluster = Cluster::start(1).await;
    let (ann, bob) = (cluster.user(0, "ann").await, cluster.user(0, "bob").await);
    let channel = ann.create_private(&[&bob]).await;
    let config = cluster.node(0).app().config.clone();
    let topic = format!("{}{}", config.kafka_topic_prefix, Topic::Jobs.name());
    cluster.settled().await;
    let mut stream = Sse::open(&bob, None).await;
    stream.expect("sync").await;
    let message = ann.write(&channel, "once").await.body["id"].clone();
    let message = message.as_str().expect("an id");
    assert_eq!(
        stream.expect("notifications").await.json()["content"],
        "once"
    );
    eventually("the job is done", async || jobs_left(&cluster).await == 0).await;

    let producer: FutureProducer = ClientConfig::new()
        .set("bootstrap.servers", &config.kafka_brokers)
        .create()
        .expect("a producer");
    let send = async |id: uuid::Uuid, kind: &str, body: &str| {
        let id = id.to_string();
        let headers = [("id", id.as_str()), ("kind", kind)].into_iter().fold(
            OwnedHeaders::new(),
            |headers, (key, value)| {
                headers.insert(Header {
                    key,
                    value: Some(value),
                })
            },
        );
        let record = FutureRecord::to(&topic)
            .key(&channel)
            .payload(body)
            .headers(headers);
        producer
            .send(record, SOON)
            .await
            .expect("Kafka accepts the record");
    };
    let again = json!({ "messageId": message }).to_string();
    // Duplicates arrive with the outbox row, like after a crash before its deletion, and later without the row.
    let job = reinsert_job(&cluster, &channel, message, true).await;
    for _ in 0..2 {
        send(job, "message.created", &again).await;
    }
    eventually("the job is done again", async || {
        jobs_left(&cluster).await == 0
    })
    .await;
    for (kind, body) in [
        ("message.created", "garbage"),
        ("message.created", "{}"),
        ("message.from-the-future", "{}"),
    ] {
        send(uuid::Uuid::now_v7(), kind, body).await;
    }
    send(job, "message.created", &again).await;
    // The node handles the next record.
    assert_eq!(ann.write(&channel, "after").await.status, 201);
    let contents: Vec<_> = listed_when(&bob, 2)
        .await
        .iter()
        .map(|n| n["content"].clone())
        .collect();
    assert_eq!(contents, ["after", "once"]);
    let next = stream.expect("notifications").await.json();
    assert_eq!(
        next["content"], "after",
        "each notification is announced once"
    );
    assert_eq!(cluster.node(0).app().kafka.dead_letter_count(), 3);

    // Each dead letter has the record and the reason.
    let consumer: StreamConsumer = ClientConfig::new()
        .set("bootstrap.servers", &config.kafka_brokers)
        .set("group.id", "inspection")
        .create()
        .expect("a consumer");
    let mut position = TopicPartitionList::new();
    position
        .add_partition_offset(&format!("{topic}.dlq"), 0, Offset::Beginning)
        .expect("a position");
    consumer.assign(&position).expect("assigned");
    for body in ["garbage", "{}", "{}"] {
        let record = tokio::time::timeout(SOON, consumer.recv())
            .await
            .expect("in time")
            .expect("a record");
        assert_eq!(record.payload(), Some(body.as_bytes()));
        let headers = record.headers().expect("headers");
        let reason = headers.iter().find(|header| header.key == "reason");
        assert!(reason.is_some_and(|reason| reason.value.is_some_and(|v| !v.is_empty())));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn other_nodes_run_each_job_of_a_killed_node_exactly_once() {
    const MESSAGES: usize = 60;
    let mut cluster = Cluster::start(3).await;
    let (ann, bob) = (cluster.user(2, "ann").await, cluster.user(2, "bob").await);
    // Several channels spread the jobs over the nodes.
    let mut channels = Vec::new();
    for _ in 0..4 {
        channels.push(ann.create_private(&[&bob]).await);
    }
    for n in 0..MESSAGES {
        if n == MESSAGES / 3 {
            cluster.kill(0).await;
        }
        let answer = ann.write(&channels[n % 4], &format!("{n}")).await;
        assert_eq!(answer.status, 201, "{answer:?}");
    }
    let notifications = listed_when(&bob, MESSAGES).await;
    let mut contents: Vec<usize> = notifications
        .iter()
        .map(|n| {
            n["content"]
                .as_str()
                .and_then(|n| n.parse().ok())
                .expect("a number")
        })
        .collect();
    contents.sort_unstable();
    assert_eq!(contents, (0..MESSAGES).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_of_a_node_without_kafka_runs_on_another_node() {
    let mut cluster = Cluster::start(1).await;
    let (cut, brokers) = cluster.cut("KAFKA_BROKERS").await;
    drop(cut);
    // A node without Kafka accepts messages.
    let isolated = cluster.add_unready(&[("KAFKA_BROKERS", &brokers)]).await;
    let (ann, bob) = (cluster.user(0, "ann").await, cluster.user(0, "bob").await);
    let channel = ann.create_private(&[&bob]).await;
    let ann = ann.at_node(&cluster.address(isolated));
    eventually("a message is accepted", async || {
        ann.write(&channel, "without Kafka").await.status == 201
    })
    .await;
    // The other node publishes the rows in the outbox.
    assert_eq!(listed_when(&bob, 1).await[0]["content"], "without Kafka");
    eventually("the outbox is empty", async || {
        let left: i64 = sqlx::query_scalar(
            "select count(*) from outbox where topic = 'jobs' or sent_at is null",
        )
        .fetch_one(&cluster.db)
        .await
        .expect("PostgreSQL answers");
        left == 0
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_users_are_notified_once_and_delay_no_other_channel() {
    const PEOPLE: i64 = 10_000;
    const MESSAGES: i64 = 5;
    let cluster = Cluster::start(2).await;
    let (ann, bob) = (cluster.user(0, "ann").await, cluster.user(1, "bob").await);
    let popular = cluster.admin(0).await.create_channel("popular").await;
    let private = ann.create_private(&[&bob]).await;
    people(&cluster, PEOPLE).await;
    follow(&bob, &popular).await;
    let sql = "insert into read_statuses (id, user_id, channel_id, last_read_at, notification_enabled) \
               select gen_random_uuid(), id, $1, now(), true from users where username like 'somebody %'";
    let channel: uuid::Uuid = popular.parse().expect("an id");
    sqlx::query(sql)
        .bind(channel)
        .execute(&cluster.db)
        .await
        .expect("written");
    for n in 0..MESSAGES {
        assert_eq!(ann.write(&popular, &format!("{n}")).await.status, 201);
    }
    assert_eq!(ann.write(&private, "in another channel").await.status, 201);
    eventually_within(Duration::from_secs(40), "all are notified", async || {
        count(&cluster, "notifications").await == MESSAGES * (PEOPLE + 1) + 1
    })
    .await;
    eventually("the jobs are done", async || jobs_left(&cluster).await == 0).await;
    assert_eq!(listed(&bob).await.len(), 6);
    let uneven: i64 = sqlx::query_scalar(
        "select count(*) from (select receiver_id from notifications where target_id = $1 group by 1 having count(distinct cause_id) <> $2) x",
    )
    .bind(channel)
    .bind(MESSAGES)
    .fetch_one(&cluster.db)
    .await
    .expect("counted");
    assert_eq!(uneven, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_that_always_times_out_becomes_a_dead_letter_which_an_operator_retries() {
    let cluster = Cluster::start(1).await;
    let (ann, bob) = (cluster.user(0, "ann").await, cluster.user(0, "bob").await);
    let channel = ann.create_private(&[&bob]).await;
    for sql in [
        "create function slow() returns trigger language plpgsql as $$ begin \
         raise exception 'canceling statement due to statement timeout' using errcode = 'query_canceled'; end $$",
        "create trigger slow before insert on notifications for each row when (new.content = 'slow') execute function slow()",
    ] {
        sqlx::query(sql).execute(&cluster.db).await.expect(sql);
    }
    assert_eq!(ann.write(&channel, "slow").await.status, 201);
    assert_eq!(ann.write(&channel, "quick").await.status, 201);
    eventually_within(
        Duration::from_secs(40),
        "the next job is done",
        async || {
            let notifications = listed(&bob).await;
            notifications.len() == 1 && notifications[0]["content"] == "quick"
        },
    )
    .await;
    // The failing job keeps its row until its dead letter is in Kafka.
    eventually("no job is left", async || jobs_left(&cluster).await == 0).await;
    assert_eq!(cluster.node(0).app().kafka.dead_letter_count(), 1);

    let (code, output) = run_command(&cluster, &["dead-letters", "list"]).await;
    assert_eq!(code, Some(0), "{output}");
    assert!(output.contains("statement timeout"), "{output}");
    assert!(output.ends_with("there are 1 dead letters\n"), "{output}");
    sqlx::query("drop trigger slow on notifications")
        .execute(&cluster.db)
        .await
        .expect("dropped");
    let (code, output) = run_command(&cluster, &["dead-letters", "retry"]).await;
    assert_eq!(code, Some(0), "{output}");
    eventually("the retried job is done", async || {
        listed(&bob).await.len() == 2
    })
    .await;
    let (_, output) = run_command(&cluster, &["dead-letters", "list"]).await;
    assert_eq!(output, "there are 0 dead letters\n");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn old_dismissed_notifications_are_deleted_in_batches() {
    let cluster = Cluster::start(1).await;
    let ann = cluster.user(0, "ann").await;
    let receiver: uuid::Uuid = ann.id.parse().expect("an id");
    let sql = "insert into notifications (id, receiver_id, type, cause_id, title, content, created_at, dismissed_at) \
               select gen_random_uuid(), $1, 'ASYNC_FAILED', gen_random_uuid(), 'x', 'x', now() - make_interval(days => 30), \
               now() - make_interval(days => $2) from generate_series(1, $3)";
    for (days, rows) in [(Some(9), 5), (Some(7), 1), (None, 1)] {
        sqlx::query(sql)
            .bind(receiver)
            .bind(days)
            .bind(rows)
            .execute(&cluster.db)
            .await
            .expect("written");
    }
    let mut deleted = Vec::new();
    for _ in 0..3 {
        let batch =
            store::notifications::sweep(&cluster.node(0).app().db, Duration::from_hours(8 * 24), 3)
                .await;
        deleted.push(batch.expect("PostgreSQL answers"));
    }
    assert_eq!(deleted, [3, 2, 0]);
    assert_eq!(count(&cluster, "notifications").await, 2);
    assert_eq!(listed(&ann).await.len(), 1);
}
