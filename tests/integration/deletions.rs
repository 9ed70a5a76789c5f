//! Deletions: invisible at once, purged later, at any size and despite failures.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use serde_json::{Value, json};
use uuid::Uuid;

use super::{
    accounts::text,
    channels::{ids, list, read, read_statuses},
    files::{attach, count, file, stored, until_ready},
    logins::status_with,
    notifications::{follow, listed},
};
use crate::support::{Answer, Cluster, Sse, User, eventually, eventually_within};

fn uuid(id: &str) -> Uuid {
    id.parse().expect("an id")
}

/// Inserts messages into a channel that has none. The first thousand are indexed for search. The others are not, as if they were
/// written by an earlier version: indexing them takes a minute.
async fn fill(cluster: &Cluster, channel: &str, author: &User, messages: i64) {
    let written = "insert into messages (id, channel_id, seq, author_id, content, created_at, updated_at) \
                   select gen_random_uuid(), $1, n, $2, 'one of many', now(), now() from generate_series($3, $4) n";
    let positions = "update channels set last_seq = $2, last_message_at = now() where id = $1";
    let mut transaction = cluster.db.begin().await.expect("begun");
    for (first, last) in [(1, 1_000), (1_001, messages)] {
        sqlx::query(written)
            .bind(uuid(channel))
            .bind(uuid(&author.id))
            .bind(first)
            .bind(last)
            .execute(&mut *transaction)
            .await
            .expect("written");
        sqlx::query("set local session_replication_role = replica") // runs no trigger
            .execute(&mut *transaction)
            .await
            .expect("set");
    }
    sqlx::query(positions)
        .bind(uuid(channel))
        .bind(messages)
        .execute(&mut *transaction)
        .await
        .expect("updated");
    transaction.commit().await.expect("committed");
}

/// Inserts notifications of at most `limit` messages for the receiver.
async fn notify_of_all(cluster: &Cluster, channel: &str, receiver: &User, limit: i64) {
    let sql = "insert into notifications (id, receiver_id, type, cause_id, title, content, target_id, created_at) \
               select gen_random_uuid(), $1, 'NEW_MESSAGE', id, 'x', 'x', $2, now() from messages where channel_id = $2 limit $3 on conflict do nothing";
    sqlx::query(sql)
        .bind(uuid(&receiver.id))
        .bind(uuid(channel))
        .bind(limit)
        .execute(&cluster.db)
        .await
        .expect("written");
}

/// Awaits a request while another user writes. Neither may take 1.5 s.
async fn while_writing(by: &User, channel: &str, request: impl Future<Output = Answer>) -> Answer {
    let started = Instant::now();
    let (answer, longest) = tokio::join!(
        async {
            let answer = request.await;
            (answer, started.elapsed())
        },
        async {
            let mut longest = Duration::ZERO;
            while started.elapsed() < Duration::from_secs(2) {
                let sent = Instant::now();
                assert_eq!(by.write(channel, "meanwhile").await.status, 201);
                longest = longest.max(sent.elapsed());
            }
            longest
        }
    );
    assert!(answer.1 < Duration::from_millis(1_500), "{answer:?}");
    assert!(longest < Duration::from_millis(1_500), "{longest:?}");
    answer.0
}

/// Inserts users who cannot sign in, and returns their ids.
pub(crate) async fn people(cluster: &Cluster, number: i64) -> Vec<String> {
    let sql = "insert into users (id, username, username_key, email, email_key, password_hash, role) \
               select gen_random_uuid(), 'somebody ' || n, 'somebody ' || n, n || '@example.org', n || '@example.org', 'x', 'USER' \
               from generate_series(1, $1) n returning id::text";
    sqlx::query_scalar(sql)
        .bind(number)
        .fetch_all(&cluster.db)
        .await
        .expect("written")
}

/// Waits until no deletion is pending.
async fn purged(cluster: &Cluster) {
    eventually_within(
        Duration::from_mins(2),
        "every pending deletion is purged",
        async || count(cluster, "pending_deletions").await == 0,
    )
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deleting_a_channel_deletes_its_messages_and_read_statuses() {
    let cluster = Cluster::start(1).await;
    let (ann, admin) = (cluster.user(0, "ann").await, cluster.admin(0).await);
    let (gone, stays) = (
        admin.create_channel("gone").await,
        admin.create_channel("stays").await,
    );
    for channel in [&gone, &stays] {
        assert_eq!(ann.write(channel, "hello").await.status, 201);
        assert_eq!(
            read(&ann, &ann.id, channel, "2026-01-31T09:15:02Z")
                .await
                .status,
            201
        );
    }
    let message = text(&ann.history(&gone).await[0]["id"]).to_owned();
    // Writes race with the deletion: each is accepted or rejected, and no message outlives the channel.
    let path = format!("/api/channels/{gone}");
    let (answers, deleted) = tokio::join!(
        join_all((0..20).map(|_| ann.write(&gone, "still here"))),
        admin.delete(&path)
    );
    assert_eq!(deleted.status, 204);
    for answer in answers {
        assert!([201, 404].contains(&answer.status), "{answer:?}");
    }
    assert_eq!(
        ann.get(&format!("/api/messages?channelId={gone}"))
            .await
            .code(),
        "CHANNEL_NOT_FOUND"
    );
    assert_eq!(
        ann.patch(
            &format!("/api/messages/{message}"),
            &json!({ "newContent": "x" })
        )
        .await
        .code(),
        "MESSAGE_NOT_FOUND"
    );
    assert_eq!(ann.write(&gone, "hello?").await.code(), "CHANNEL_NOT_FOUND");
    assert_eq!(
        read(&ann, &ann.id, &gone, "2026-01-31T09:15:02Z")
            .await
            .code(),
        "CHANNEL_NOT_FOUND"
    );
    let statuses = read_statuses(&ann).await;
    assert_eq!(
        statuses
            .iter()
            .map(|status| text(&status["channelId"]))
            .collect::<Vec<_>>(),
        [&stays]
    );
    assert_eq!(ann.history(&stays).await.len(), 1);
    purged(&cluster).await;
    let (messages,): (i64,) = sqlx::query_as("select count(*) from messages")
        .fetch_one(&cluster.db)
        .await
        .expect("counted");
    assert_eq!(messages, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_of_a_deleted_account_stay_without_an_author() {
    let cluster = Cluster::shared(2).await;
    let (ann, bob, admin) = (
        cluster.user(0, "ann").await,
        cluster.user(1, "bob").await,
        cluster.admin(0).await,
    );
    let (public, private) = (
        admin.create_channel("general").await,
        ann.create_private(&[&bob]).await,
    );
    for channel in [&public, &private] {
        assert_eq!(ann.write(channel, "I was here").await.status, 201);
    }
    let path = format!("/api/users/{}", ann.id);
    assert_eq!(bob.delete(&path).await.status, 403);
    assert_eq!(cluster.visitor(0).delete(&path).await.status, 401);
    let answer = ann.delete(&path).await;
    assert_eq!((answer.status, &answer.body), (204, &Value::Null));

    for node in [0, 1] {
        assert_eq!(status_with(&cluster.visitor(node), ann.token()).await, 401);
        assert_eq!(
            cluster
                .visitor(node)
                .login(&ann.name, "password")
                .await
                .status,
            401
        );
    }
    assert_eq!(ann.get("/api/auth/me").await.status, 401);
    for channel in [&public, &private] {
        let messages = bob.history(channel).await;
        assert_eq!(messages.len(), 1);
        assert_eq!(
            (text(&messages[0]["content"]), &messages[0]["author"]),
            ("I was here", &Value::Null)
        );
    }
    let channels = bob.get(&format!("/api/channels?userId={}", bob.id)).await;
    let channel = channels
        .body
        .as_array()
        .expect("a list")
        .iter()
        .find(|channel| channel["id"] == *private);
    let participants = channel.expect("the channel still exists")["participants"]
        .as_array()
        .expect("a list");
    assert_eq!(
        participants
            .iter()
            .map(|user| text(&user["id"]))
            .collect::<Vec<_>>(),
        [bob.id.as_str()]
    );
    assert_eq!(bob.write(&private, "alone").await.status, 201);

    let users = bob.get("/api/users").await;
    assert!(!users.body.to_string().contains(&ann.id), "{users:?}");
    let answer = admin.delete(&path).await;
    assert_eq!((answer.status, answer.code()), (404, "USER_NOT_FOUND"));
    let again = cluster
        .visitor(0)
        .sign_up(&ann.name, &format!("{}@example.org", ann.name), "password")
        .await;
    assert_eq!(
        again.status, 201,
        "the name of a deleted account is available"
    );
    assert_ne!(again.body["id"], ann.id.as_str());
    let answer = admin.delete(&format!("/api/users/{}", bob.id)).await;
    assert_eq!(
        answer.status, 204,
        "an administrator may delete any account: {answer:?}"
    );
    assert_eq!(bob.get("/api/users").await.status, 401);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn concurrent_deletions_of_users_channels_and_messages_all_succeed() {
    let cluster = Cluster::shared(2).await;
    let admin = cluster.admin(0).await;
    let admin_on_node_1 = admin.at_node(&cluster.address(1));
    let (one, two) = (
        admin.create_channel("one").await,
        admin.create_channel("two").await,
    );
    let people = join_all((0..4).map(|n| cluster.user(n % 2, "somebody"))).await;
    let mut writes = Vec::new();
    for n in 0..80 {
        let channel = if n % 2 == 0 { &one } else { &two };
        writes.push(people[n * 7 % 4].write(channel, "x"));
    }
    join_all(writes).await;
    for user in &people {
        let others: Vec<_> = people.iter().filter(|other| other.id != user.id).collect();
        user.create_private(&others).await;
    }
    let messages: Vec<_> = admin
        .history(&two)
        .await
        .iter()
        .map(|message| format!("/api/messages/{}", text(&message["id"])))
        .collect();
    let user_paths: Vec<_> = people
        .iter()
        .map(|user| format!("/api/users/{}", user.id))
        .collect();
    let channel_path = format!("/api/channels/{one}");
    let (users, channel, messages, writes) = tokio::join!(
        join_all(
            user_paths
                .iter()
                .enumerate()
                .map(|(n, path)| [&admin, &admin_on_node_1][n % 2].delete(path))
        ),
        admin_on_node_1.delete(&channel_path),
        join_all(
            messages
                .iter()
                .rev()
                .enumerate()
                .map(|(n, path)| [&admin, &admin_on_node_1][n % 2].delete(path))
        ),
        join_all((0..40).map(|n| people[n % 4].write(if n % 3 == 0 { &one } else { &two }, "y"))),
    );
    let statuses = |answers: &[Answer]| {
        answers
            .iter()
            .map(|answer| answer.status)
            .collect::<Vec<_>>()
    };
    assert!(
        users
            .iter()
            .chain(&messages)
            .chain([&channel])
            .all(|answer| answer.status == 204),
        "{:?} {:?} {}",
        statuses(&users),
        statuses(&messages),
        channel.status
    );
    assert!(
        writes
            .iter()
            .all(|answer| [201, 401, 404].contains(&answer.status)),
        "{writes:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_channel_of_300000_messages_disappears_at_once_and_is_purged_although_its_node_dies() {
    let mut cluster = Cluster::start(2).await;
    let (admin, ann, bob) = (
        cluster.admin(0).await,
        cluster.user(1, "ann").await,
        cluster.user(1, "bob").await,
    );
    let (doomed, other) = (
        admin.create_channel("doomed").await,
        admin.create_channel("other").await,
    );
    follow(&bob, &doomed).await;
    let mut ids = attach(&ann, &doomed, vec![file("a", "text/plain", "x")]).await;
    let attached = ids.remove(0);
    until_ready(&ann, &attached).await;
    eventually("bob is notified", async || listed(&bob).await.len() == 1).await;
    let message = text(&ann.history(&doomed).await[0]["id"]).to_owned();
    sqlx::query("update messages set seq = 0")
        .execute(&cluster.db)
        .await
        .expect("updated");
    fill(&cluster, &doomed, &ann, 300_000).await;
    notify_of_all(&cluster, &doomed, &bob, 20_000).await;
    let status = text(&read_statuses(&bob).await[0]["id"]).to_owned();

    let path = format!("/api/channels/{doomed}");
    let answer = while_writing(&ann, &other, admin.delete(&path)).await;
    assert_eq!(answer.status, 204, "{answer:?}");
    cluster.kill(0).await;

    // Most rows still exist, and no request may see one.
    assert!(count(&cluster, "messages").await > 100_000);
    assert!(!self::ids(&list(&ann).await).contains(&doomed.as_str()));
    let page = ann.get(&format!("/api/messages?channelId={doomed}")).await;
    assert_eq!((page.status, page.code()), (404, "CHANNEL_NOT_FOUND"));
    let path = format!("/api/messages/{message}");
    for answer in [
        ann.patch(&path, &json!({ "newContent": "x" })).await,
        ann.delete(&path).await,
    ] {
        assert_eq!((answer.status, answer.code()), (404, "MESSAGE_NOT_FOUND"));
    }
    assert_eq!(ann.write(&doomed, "too late").await.status, 404);
    for path in ["", "/download"] {
        let path = format!("/api/binaryContents/{attached}{path}");
        assert_eq!(ann.get(&path).await.code(), "BINARY_CONTENT_NOT_FOUND");
    }
    assert!(listed(&bob).await.is_empty());
    assert!(read_statuses(&bob).await.is_empty());
    let path = format!("/api/readStatuses/{status}");
    let answer = bob
        .patch(&path, &json!({ "newNotificationEnabled": false }))
        .await;
    assert_eq!(
        (answer.status, answer.code()),
        (404, "READ_STATUS_NOT_FOUND")
    );

    purged(&cluster).await;
    let left: i64 = sqlx::query_scalar("select count(*) from messages where channel_id = $1")
        .bind(uuid(&doomed))
        .fetch_one(&cluster.db)
        .await
        .expect("counted");
    assert_eq!(left, 0);
    for table in ["notifications", "read_statuses"] {
        assert_eq!(count(&cluster, table).await, 0, "{table}");
    }
    eventually("the bytes of the attachment are deleted", async || {
        stored(&cluster, "files").is_empty() && count(&cluster, "binary_contents").await == 0
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_account_of_300000_messages_is_deleted_at_once_and_its_messages_lose_their_author() {
    let cluster = Cluster::start(2).await;
    let (admin, ann, bob) = (
        cluster.admin(0).await,
        cluster.user(0, "ann").await,
        cluster.user(1, "bob").await,
    );
    let (busy, other) = (
        admin.create_channel("busy").await,
        admin.create_channel("other").await,
    );
    fill(&cluster, &busy, &ann, 300_000).await;
    notify_of_all(&cluster, &busy, &ann, 20_000).await;
    let path = format!("/api/users/{}", ann.id);
    let answer = while_writing(&bob, &other, admin.delete(&path)).await;
    assert_eq!(answer.status, 204, "{answer:?}");
    let page = bob
        .get(&format!("/api/messages?channelId={busy}&size=100"))
        .await;
    let messages = page.body["content"].as_array().expect("a page");
    assert!(messages.len() == 100 && messages.iter().all(|m| m["author"].is_null()));
    assert_eq!(bob.write(&busy, "still writable").await.status, 201);
    purged(&cluster).await;
    let left: (i64, i64) =
        sqlx::query_as("select count(*), count(author_id) from messages where channel_id = $1")
            .bind(uuid(&busy))
            .fetch_one(&cluster.db)
            .await
            .expect("counted");
    assert_eq!(left, (300_001, 1));
    assert_eq!(count(&cluster, "notifications").await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_with_3000_notifications_disappears_at_once_and_its_receivers_get_an_event() {
    const PEOPLE: i64 = 3_000;
    let cluster = Cluster::start(1).await;
    let (admin, ann, bob) = (
        cluster.admin(0).await,
        cluster.user(0, "ann").await,
        cluster.user(0, "bob").await,
    );
    let (channel, other) = (
        admin.create_channel("news").await,
        admin.create_channel("other").await,
    );
    let message = text(&ann.write(&channel, "regretted").await.body["id"]).to_owned();
    people(&cluster, PEOPLE).await;
    let sql = "insert into notifications (id, receiver_id, type, cause_id, title, content, target_id, created_at) \
               select gen_random_uuid(), id, 'NEW_MESSAGE', $1, 'x', 'x', $2, now() from users where username like 'somebody %' or id = $3 \
               order by created_at desc";
    sqlx::query(sql)
        .bind(uuid(&message))
        .bind(uuid(&channel))
        .bind(uuid(&bob.id))
        .execute(&cluster.db)
        .await
        .expect("written");
    assert_eq!(listed(&bob).await.len(), 1);
    cluster.settled().await;
    let mut stream = Sse::open(&bob, None).await;
    stream.expect("sync").await;
    let path = format!("/api/messages/{message}");
    let answer = while_writing(&bob, &other, ann.delete(&path)).await;
    assert_eq!(answer.status, 204, "{answer:?}");
    assert!(
        listed(&bob).await.is_empty(),
        "the notification disappears at once"
    );
    stream.expect("notifications.deleted").await;
    purged(&cluster).await;
    assert_eq!(count(&cluster, "notifications").await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_private_channel_without_participants_is_deleted_with_its_files() {
    let cluster = Cluster::start(2).await;
    let (ann, bob, eve) = (
        cluster.user(0, "ann").await,
        cluster.user(1, "bob").await,
        cluster.user(1, "eve").await,
    );
    let (theirs, kept) = (
        ann.create_private(&[&bob]).await,
        ann.create_private(&[&bob, &eve]).await,
    );
    for channel in [&theirs, &kept] {
        let ids = attach(&ann, channel, vec![file("a", "text/plain", "x")]).await;
        until_ready(&bob, &ids[0]).await;
    }
    // Concurrently, so that neither transaction sees the other participant leave.
    let (anns, bobs) = (
        format!("/api/users/{}", ann.id),
        format!("/api/users/{}", bob.id),
    );
    let (one, two) = tokio::join!(ann.delete(&anns), bob.delete(&bobs));
    assert_eq!((one.status, two.status), (204, 204), "{one:?} {two:?}");
    purged(&cluster).await;
    assert_eq!(ids(&list(&eve).await), [kept.as_str()]);
    assert_eq!(eve.history(&kept).await.len(), 1);
    let left = (
        count(&cluster, "channels").await,
        count(&cluster, "messages").await,
    );
    assert_eq!(left, (1, 1));
    eventually("the bytes of the attachment are deleted", async || {
        stored(&cluster, "files").len() == 1 && count(&cluster, "binary_contents").await == 1
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_migration_of_an_old_database_drops_foreign_keys_and_purges_orphans() {
    let mut cluster = Cluster::start(1).await;
    let ann = cluster.user(0, "ann").await;
    cluster.kill(0).await;
    for sql in [
        "alter table messages add constraint messages_channel foreign key (channel_id) references channels on delete cascade",
        "alter table messages add constraint messages_author foreign key (author_id) references users on delete set null",
        "alter table read_statuses add constraint read_statuses_channel foreign key (channel_id) references channels on delete cascade",
        "alter table notifications add constraint notifications_receiver foreign key (receiver_id) references users on delete cascade",
        "alter table binary_contents add constraint binary_contents_uploader foreign key (uploader_id) references users on delete set null",
        "alter table channels drop column created_by",
        "alter table channels drop column with_history",
        "alter table channel_participants drop column visible_after",
        "alter table channel_participants drop column invited_by",
        "drop view remains",
        "drop table pending_deletions",
        "drop table admin_bootstrap",
        "drop table deleted_client_ids",
        "drop table reactions",
        "alter table messages drop column reply_to_id, drop column reply_to_seq",
        "drop index users_by_name",
        "drop trigger messages_inserted on messages",
        "drop trigger messages_content_updated on messages",
        "drop function add_unindexed_messages, add_unindexed_message, post_messages",
        "drop table message_terms, unindexed_messages",
        "drop index users_admins",
        "drop index outbox_recent",
        "alter table binary_contents drop column width, drop column height",
        "drop table mentions",
        "alter table messages drop column mentions",
        "alter table read_statuses drop column last_read_seq, drop column mentions_only",
        "alter table notifications drop column reason",
        "alter table users drop column username_look",
        "drop table _sqlx_migrations",
    ] {
        sqlx::query(sql).execute(&cluster.db).await.expect(sql);
    }
    let sql = "insert into notifications (id, receiver_id, type, cause_id, title, content, target_id, created_at) \
               values (gen_random_uuid(), $1, 'NEW_MESSAGE', gen_random_uuid(), 'x', 'x', gen_random_uuid(), now())";
    sqlx::query(sql)
        .bind(uuid(&ann.id))
        .execute(&cluster.db)
        .await
        .expect("written");
    cluster.add(&[]).await;
    let keys: i64 = sqlx::query_scalar("select count(*) from pg_constraint where contype = 'f' and conname in \
        ('messages_channel', 'messages_author', 'read_statuses_channel', 'notifications_receiver', 'binary_contents_uploader')")
        .fetch_one(&cluster.db)
        .await
        .expect("counted");
    assert_eq!(keys, 0);
    purged(&cluster).await;
    assert_eq!(count(&cluster, "notifications").await, 0);
}
