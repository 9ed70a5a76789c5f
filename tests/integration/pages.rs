//! Pages of messages: complete, ordered and finite.

use std::collections::HashSet;

use futures_util::future::join_all;
use serde_json::{Value, json};

use super::{
    accounts::{keys, text},
    messages::seqs,
};
use crate::support::{Cluster, User};

/// Gets a page and checks its fields.
async fn page(by: &User, channel: &str, query: &str) -> Value {
    let answer = by
        .get(&format!("/api/messages?channelId={channel}{query}"))
        .await;
    assert_eq!(answer.status, 200, "{query}: {answer:?}");
    assert_eq!(
        keys(&answer.body),
        ["content", "hasNext", "nextCursor", "size", "totalElements"]
    );
    assert_eq!(
        answer.body["hasNext"],
        json!(answer.body["nextCursor"].is_string()),
        "{query}"
    );
    assert!(answer.body["nextCursor"].is_string() || answer.body["nextCursor"].is_null());
    assert!(answer.body["totalElements"].is_null());
    answer.body
}

fn content(page: &Value) -> &Vec<Value> {
    page["content"].as_array().expect("a page has content")
}

/// Every message, by following the cursors to the last page.
async fn all_pages(by: &User, channel: &str, sort: &str, size: usize) -> Vec<Value> {
    let (mut messages, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = page(
            by,
            channel,
            &format!("&sort={sort}&size={size}&cursor={cursor}"),
        )
        .await;
        assert_eq!(page["size"], json!(size));
        assert!(
            content(&page).len() <= size
                && (page["hasNext"] == false || content(&page).len() == size),
            "{page}"
        );
        messages.extend(content(&page).iter().cloned());
        match page["nextCursor"].as_str() {
            Some(next) => next.clone_into(&mut cursor),
            None => return messages,
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pages_neither_skip_nor_repeat_while_others_write() {
    let cluster = Cluster::shared(2).await;
    let (ann, bob, channel) = (
        cluster.user(0, "ann").await,
        cluster.user(1, "bob").await,
        cluster.channel().await,
    );
    let written = join_all((0..125).map(|n| [&ann, &bob][n % 2].write(&channel, "before"))).await;
    assert!(written.iter().all(|answer| answer.status == 201));
    let newest_first: Vec<i64> = (1..=125).rev().collect();
    assert_eq!(
        seqs(&all_pages(&bob, &channel, "createdAt,desc", 100).await),
        newest_first
    );

    let writing = async {
        for _ in 0..4 {
            let answers =
                join_all((0..20).map(|n| [&ann, &bob][n % 2].write(&channel, "meanwhile"))).await;
            assert!(answers.iter().all(|answer| answer.status == 201));
        }
    };
    let (down, up, ()) = tokio::join!(
        all_pages(&ann, &channel, "createdAt,desc", 10),
        all_pages(&bob, &channel, "createdAt,asc", 10),
        writing
    );
    let down = seqs(&down);
    assert!(down[0] >= 125);
    assert_eq!(
        down,
        (1..=down[0]).rev().collect::<Vec<_>>(),
        "from the newest at the first request to the first"
    );
    let up = seqs(&up);
    assert!(up.len() >= 125);
    assert_eq!(up, (1..).take(up.len()).collect::<Vec<_>>());
    assert_eq!(
        seqs(&ann.history(&channel).await),
        (1..=205).collect::<Vec<_>>()
    );

    // A page omits a deleted message, even the message of the cursor.
    let first = page(&ann, &channel, "&size=5").await;
    let last = &content(&first)[4];
    assert_eq!(last["seq"], json!(201));
    let author = if last["author"]["id"] == ann.id.as_str() {
        &ann
    } else {
        &bob
    };
    assert_eq!(
        author
            .delete(&format!("/api/messages/{}", text(&last["id"])))
            .await
            .status,
        204
    );
    let second = page(
        &ann,
        &channel,
        &format!("&size=2&cursor={}", text(&first["nextCursor"])),
    )
    .await;
    assert_eq!(seqs(content(&second)), [200, 199]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_with_equal_timestamps_are_each_on_one_page() {
    let cluster = Cluster::start(1).await;
    let (ann, channel) = (cluster.user(0, "ann").await, cluster.channel().await);
    join_all((0..30).map(|_| ann.write(&channel, "x"))).await;
    let same =
        "update messages set created_at = '2026-01-31T09:15:02.5Z' where seq between 6 and 25";
    sqlx::query(same)
        .execute(&cluster.db)
        .await
        .expect("changed");
    let rest = "update messages set created_at = case when seq < 6 then '2026-01-30T00:00:00Z'::timestamptz else '2026-02-01T00:00:00Z' end \
                where seq not between 6 and 25";
    sqlx::query(rest)
        .execute(&cluster.db)
        .await
        .expect("changed");
    for size in [1, 7, 10, 30] {
        assert_eq!(
            seqs(&all_pages(&ann, &channel, "createdAt,desc", size).await),
            (1..=30).rev().collect::<Vec<_>>(),
            "{size}"
        );
        assert_eq!(
            seqs(&all_pages(&ann, &channel, "createdAt,asc", size).await),
            (1..=30).collect::<Vec<_>>(),
            "{size}"
        );
    }
    // A timestamp as a cursor excludes the messages of exactly that time in both directions.
    for (query, first, how_many) in [
        ("&cursor=2026-02-01T00:00:00Z&sort=createdAt,desc", 25, 25),
        ("&cursor=2026-01-31T09:15:02.500001Z", 25, 25),
        ("&cursor=2026-01-31T18:15:02.5%2B09:00", 5, 5),
        ("&cursor=2026-01-31T09:15:02.5Z", 5, 5),
        ("&cursor=2026-01-30T12:00:00Z&sort=createdAt,asc", 6, 25),
        ("&cursor=2026-01-31T09:15:02.5Z&sort=createdAt,asc", 26, 5),
    ] {
        let page = page(&ann, &channel, query).await;
        assert_eq!(
            (content(&page)[0]["seq"].as_i64(), content(&page).len()),
            (Some(first), how_many),
            "{query}"
        );
    }
    for query in [
        "&cursor=1970-01-01T00:00:00Z",
        "&cursor=9999-12-31T00:00:00Z&sort=createdAt,asc",
        "&cursor=0001-01-01T00:00:00Z",
    ] {
        let page = page(&ann, &channel, query).await;
        assert_eq!(
            (content(&page).len(), &page["nextCursor"]),
            (0, &Value::Null),
            "{query}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_has_limits_and_an_end() {
    let cluster = Cluster::shared(1).await;
    let (ann, channel) = (cluster.user(0, "ann").await, cluster.channel().await);
    let empty = page(&ann, &channel, "").await;
    assert_eq!(
        empty,
        json!({ "content": [], "nextCursor": null, "size": 50, "hasNext": false, "totalElements": null })
    );
    join_all((0..100).map(|_| ann.write(&channel, "x"))).await;
    for (query, first, how_many, has_next) in [
        ("", 100, 50, true),
        ("&size=&cursor=&sort=", 100, 50, true),
        ("&size=100", 100, 100, false),
        ("&size=99", 100, 99, true),
        ("&size=1&sort=createdAt,asc", 1, 1, true),
        ("&size=100&sort=createdAt%2Casc", 1, 100, false),
        ("&sort=createdAt,desc", 100, 50, true),
    ] {
        let page = page(&ann, &channel, query).await;
        assert_eq!(
            (content(&page)[0]["seq"].as_i64(), content(&page).len()),
            (Some(first), how_many),
            "{query}"
        );
        assert_eq!(page["hasNext"], json!(has_next), "{query}");
    }
    let answer = ann.get(&format!("/api/messages?channelId={channel}")).await;
    assert!(
        answer
            .header("x-event-cursor")
            .is_some_and(|cursor| !cursor.is_empty()),
        "{answer:?}"
    );
    let second = page(
        &ann,
        &channel,
        &format!("&cursor={}", text(&answer.body["nextCursor"])),
    )
    .await;
    assert_eq!(
        (content(&second).len(), &second["nextCursor"]),
        (50, &Value::Null),
        "a full last page has no next cursor"
    );
    let ids: HashSet<_> = content(&answer.body)
        .iter()
        .chain(content(&second))
        .map(|message| text(&message["id"]))
        .collect();
    assert_eq!(ids.len(), 100);

    for (field, values) in [
        (
            "size",
            vec!["0", "101", "-1", "x", "1.5", "99999999999999999999"],
        ),
        (
            "cursor",
            vec![
                "x",
                "-1",
                "99999999999999999999",
                "2026-01-31",
                "9999-12-31T23:59:59-12:00",
                "%00",
                "1%27%20or%201=1",
            ],
        ),
        (
            "sort",
            vec!["createdAt,up", "id", "createdAt;drop", "content,desc", ","],
        ),
    ] {
        for value in values {
            let answer = ann
                .get(&format!(
                    "/api/messages?channelId={channel}&{field}={value}"
                ))
                .await;
            assert_eq!(
                (answer.status, answer.code()),
                (400, "INVALID_INPUT"),
                "{field}={value}"
            );
            assert_eq!(keys(&answer.body["details"]), [field], "{value}");
        }
    }
    for (query, code) in [
        ("", "MALFORMED_REQUEST"),
        ("?channelId=", "INVALID_INPUT"),
        ("?channelId=x", "INVALID_INPUT"),
        ("?size=5", "MALFORMED_REQUEST"),
    ] {
        let answer = ann.get(&format!("/api/messages{query}")).await;
        assert_eq!((answer.status, answer.code()), (400, code), "{query}");
    }
    assert_eq!(
        ann.get(&format!("/api/messages?channelId={}", uuid::Uuid::now_v7()))
            .await
            .code(),
        "CHANNEL_NOT_FOUND"
    );
}

/// Gets a page around a place and checks its fields. Returns the positions, and the cursors before and after.
async fn middle(by: &User, channel: &str, query: &str) -> (Vec<i64>, Option<i64>, Option<i64>) {
    let answer = by
        .get(&format!("/api/messages?channelId={channel}{query}"))
        .await;
    assert_eq!(answer.status, 200, "{query}: {answer:?}");
    let body = answer.body;
    assert_eq!(
        keys(&body),
        [
            "content",
            "hasNext",
            "nextCursor",
            "previousCursor",
            "size",
            "totalElements"
        ]
    );
    assert_eq!(body["hasNext"], json!(body["nextCursor"].is_string()));
    let cursor = |name: &str| {
        body[name]
            .as_str()
            .map(|text| text.parse().expect("a position"))
    };
    let (previous, next) = (cursor("previousCursor"), cursor("nextCursor"));
    (seqs(content(&body)), previous, next)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_around_a_message_a_position_or_an_instant_continues_both_ways() {
    let cluster = Cluster::shared(2).await;
    let (ann, bob, channel) = (
        cluster.user(0, "ann").await,
        cluster.user(1, "bob").await,
        cluster.channel().await,
    );
    let mut written = Vec::new();
    for n in 1..=30 {
        written.push(ann.write(&channel, &n.to_string()).await.body);
    }
    let asc = "&sort=createdAt,asc";
    let of = |n: usize| text(&written[n - 1]["id"]);
    let around = |query: String| {
        let bob = &bob;
        let channel = &channel;
        async move { middle(bob, channel, &query).await }
    };
    let up = |from: i64, to: i64| (from..=to).collect::<Vec<_>>();
    let down = |from: i64, to: i64| (to..=from).rev().collect::<Vec<_>>();
    assert_eq!(
        around(format!("&around={}&size=10{asc}", of(15))).await,
        (up(10, 19), Some(10), Some(19))
    );
    assert_eq!(
        around(format!("&around={}&size=10", of(15))).await,
        (down(19, 10), Some(19), Some(10))
    );
    // The cursors continue, each with its own order.
    let earlier = page(&bob, &channel, "&cursor=10&size=100").await;
    assert_eq!(seqs(content(&earlier)), down(9, 1));
    let later = page(&bob, &channel, &format!("&cursor=19&size=100{asc}")).await;
    assert_eq!(seqs(content(&later)), up(20, 30));
    for (query, expected) in [
        ("&around=15&size=1", (vec![15], Some(15), Some(15))),
        ("&around=1&size=4", (down(4, 1), Some(4), None)),
        ("&around=0&size=4", (down(4, 1), Some(4), None)),
        ("&around=30&size=4", (down(30, 27), None, Some(27))),
        ("&around=9999&size=4", (down(30, 27), None, Some(27))),
        ("&around=15&size=100", (down(30, 1), None, None)),
        (
            "&at=2020-01-01T00:00:00Z&size=3",
            (down(3, 1), Some(3), None),
        ),
        (
            "&at=9999-01-01T00:00:00Z&size=3",
            (down(30, 28), None, Some(28)),
        ),
    ] {
        assert_eq!(around(query.to_owned()).await, expected, "{query}");
    }
    let at = text(&written[19]["createdAt"]);
    assert_eq!(
        around(format!("&at={at}&size=3{asc}")).await,
        (up(19, 21), Some(19), Some(21))
    );

    // A position stays a place after its message is deleted; the message does not.
    let path = format!("/api/messages/{}", of(15));
    assert_eq!(ann.delete(&path).await.status, 204);
    assert_eq!(
        around(format!("&around=15&size=2{asc}")).await,
        (vec![14, 16], Some(14), Some(16))
    );
    let other = ann.write(&cluster.channel().await, "elsewhere").await.body;
    for id in [of(15), text(&other["id"])] {
        let path = format!("/api/messages?channelId={channel}&around={id}");
        let answer = bob.get(&path).await;
        assert_eq!((answer.status, answer.code()), (404, "MESSAGE_NOT_FOUND"));
    }
    for (query, field) in [
        ("&around=x", "around"),
        ("&around=-1", "around"),
        ("&at=1", "at"),
        ("&at=2020-01-01T00:00:00Z&around=1", "cursor"),
        ("&cursor=1&around=1", "cursor"),
    ] {
        let path = format!("/api/messages?channelId={channel}{query}");
        let answer = bob.get(&path).await;
        assert_eq!(
            (answer.status, keys(&answer.body["details"])),
            (400, vec![field]),
            "{query}"
        );
    }
    let empty = cluster.channel().await;
    assert_eq!(
        middle(&bob, &empty, "&around=1").await,
        (Vec::new(), None, None)
    );
}
