//! Search: what is found, where, in which order, and by whom.

use discodeit::store::search::BLOCK;
use reqwest::Method;
use serde_json::{Value, json};

use super::{
    accounts::{keys, text},
    channels::new_id,
    files::{attach, file},
    messages::seqs,
};
use crate::support::{Answer, Cluster, User, eventually};

async fn search(by: &User, parameters: &[(&str, &str)]) -> Answer {
    let request = by.request(Method::GET, "/api/messages/search");
    by.send(request.query(parameters)).await
}

/// The contents of the found messages, with the places of the query.
async fn found(by: &User, parameters: &[(&str, &str)]) -> Vec<(String, Value)> {
    let answer = search(by, parameters).await;
    assert_eq!(answer.status, 200, "{parameters:?}: {answer:?}");
    assert_eq!(keys(&answer.body), ["content", "hasNext", "nextCursor"]);
    let content = answer.body["content"].as_array().expect("a list");
    let found = content.iter().map(|found| {
        assert_eq!(keys(found), ["highlights", "message"]);
        let content = text(&found["message"]["content"]).to_owned();
        (content, found["highlights"].clone())
    });
    found.collect()
}

async fn contents(by: &User, parameters: &[(&str, &str)]) -> Vec<String> {
    let found = found(by, parameters).await;
    found.into_iter().map(|(content, _)| content).collect()
}

/// Waits until all messages are indexed.
async fn indexed(cluster: &Cluster) {
    eventually("the messages are indexed", async || {
        let left: i64 = sqlx::query_scalar("select count(*) from unindexed_messages")
            .fetch_one(&cluster.db)
            .await
            .expect("counted");
        left == 0
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn parts_of_words_and_phrases_are_found_with_their_places() {
    let cluster = Cluster::start(2).await;
    let (ann, bob) = (cluster.user(0, "ann").await, cluster.user(1, "bob").await);
    let channel = cluster.channel().await;
    let mut written = Vec::new();
    for content in [
        "데이터베이스를 옮겼습니다",
        "이 터미널",
        "😀 Prehistory, the CAFÉ",
        "foo bar",
        "bar foo",
        "C++ 100% \\ ' _",
    ] {
        written.push(ann.write(&channel, content).await.body);
    }
    indexed(&cluster).await;
    for (q, expected) in [
        ("이터", json!([["데이터베이스를 옮겼습니다", [[1, 3]]]])),
        (
            "베이스 습니",
            json!([["데이터베이스를 옮겼습니다", [[3, 6], [10, 12]]]]),
        ),
        ("\"이 터\"", json!([["이 터미널", [[0, 3]]]])),
        ("hist", json!([["😀 Prehistory, the CAFÉ", [[5, 9]]]])),
        (
            "cafe\u{301}",
            json!([["😀 Prehistory, the CAFÉ", [[18, 22]]]]),
        ),
        (
            "foo bar",
            json!([["bar foo", [[0, 3], [4, 7]]], ["foo bar", [[0, 3], [4, 7]]]]),
        ),
        ("\"foo bar\"", json!([["foo bar", [[0, 7]]]])),
        ("foo OR bar", json!([])),
        ("-foo", json!([])),
        ("c++", json!([["C++ 100% \\ ' _", [[0, 3]]]])),
        ("%", json!([["C++ 100% \\ ' _", [[7, 8]]]])),
        ("100_", json!([])),
        ("없는", json!([])),
    ] {
        for by in [&ann, &bob] {
            assert_eq!(json!(found(by, &[("q", q)]).await), expected, "{q}");
        }
    }
    let answer = search(&bob, &[("q", "터미널")]).await;
    assert_eq!(answer.body["content"][0]["message"], written[1]);

    // An edit and a deletion change what is found.
    let path = |n: usize| format!("/api/messages/{}", text(&written[n]["id"]));
    let edited = json!({ "newContent": "새로운 문장" });
    assert_eq!(ann.patch(&path(0), &edited).await.status, 200);
    assert_eq!(ann.delete(&path(1)).await.status, 204);
    assert!(found(&bob, &[("q", "터미널")]).await.is_empty());
    indexed(&cluster).await;
    assert!(found(&bob, &[("q", "이터")]).await.is_empty());
    assert_eq!(contents(&bob, &[("q", "로운")]).await, ["새로운 문장"]);

    // A node of an earlier version writes messages without their terms.
    let older = "insert into messages (id, channel_id, seq, author_id, content, created_at, updated_at) \
                 select gen_random_uuid(), $1::uuid, 99, $2::uuid, '예전 노드의 글', now(), now()";
    sqlx::query(older)
        .bind(&channel)
        .bind(&ann.id)
        .execute(&cluster.db)
        .await
        .expect("written");
    eventually("the message is found", async || {
        !found(&bob, &[("q", "노드")]).await.is_empty()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn filters_narrow_a_search_to_what_the_reader_may_read() {
    let cluster = Cluster::start(2).await;
    let (ann, bob, eve) = (
        cluster.user(0, "ann").await,
        cluster.user(1, "bob").await,
        cluster.user(0, "eve").await,
    );
    let (public, private) = (cluster.channel().await, ann.create_private(&[&bob]).await);
    for (by, channel, content) in [
        (&ann, &public, "word one"),
        (&bob, &public, "word two https://example.org"),
        (&ann, &private, "word three"),
        (&bob, &private, "word four www.example.org"),
    ] {
        assert_eq!(by.write(channel, content).await.status, 201);
    }
    attach(&bob, &public, vec![file("a.txt", "text/plain", "x")]).await;
    indexed(&cluster).await;
    let all = [
        "word four www.example.org",
        "word three",
        "word two https://example.org",
        "word one",
    ];
    let (ann_id, bob_id) = (ann.id.as_str(), bob.id.as_str());
    for (parameters, expected) in [
        (vec![("q", "word")], all.to_vec()),
        (
            vec![("q", "word"), ("channelId", &private)],
            all[..2].to_vec(),
        ),
        (
            vec![("q", "word"), ("authorId", ann_id)],
            vec![all[1], all[3]],
        ),
        (vec![("authorId", ann_id)], vec![all[1], all[3]]),
        (vec![("q", "word"), ("has", "link")], vec![all[0], all[2]]),
        (
            vec![
                ("has", "link"),
                ("authorId", bob_id),
                ("channelId", &public),
            ],
            vec![all[2]],
        ),
        (vec![("has", "file")], vec!["look"]),
        (vec![("q", "word"), ("has", "file")], vec![]),
    ] {
        assert_eq!(
            contents(&ann, &parameters).await,
            expected,
            "{parameters:?}"
        );
    }
    let public_only = ["word two https://example.org", "word one"];
    assert_eq!(contents(&eve, &[("q", "word")]).await, public_only);
    let times: Vec<String> = ann
        .history(&public)
        .await
        .iter()
        .map(|message| text(&message["createdAt"]).to_owned())
        .collect();
    let until = [("q", "word"), ("before", &*times[1])];
    assert_eq!(contents(&eve, &until).await, ["word one"]);
    let since = [("q", "word"), ("after", &*times[1])];
    assert_eq!(contents(&eve, &since).await, [public_only[0]]);

    // Whoever leaves or deletes an account is no longer found or finding.
    let path = format!("/api/channels/{private}/participants/{}", bob.id);
    assert_eq!(bob.delete(&path).await.status, 204);
    assert_eq!(contents(&bob, &[("q", "word")]).await, public_only);
    assert_eq!(
        ann.delete(&format!("/api/users/{}", ann.id)).await.status,
        204
    );
    eventually("the author is removed", async || {
        contents(&eve, &[("authorId", ann_id)]).await.is_empty()
    })
    .await;

    let long = "a".repeat(101);
    for (name, value) in [
        ("q", ""),
        ("q", " \"\" "),
        ("q", &long),
        ("channelId", "x"),
        ("authorId", "x"),
        ("before", "yesterday"),
        ("after", "1"),
        ("has", "image"),
        ("size", "101"),
        ("cursor", "-1"),
    ] {
        let mut parameters = vec![(name, value)];
        if name != "q" {
            parameters.push(("q", "word"));
        }
        let answer = search(&eve, &parameters).await;
        assert_eq!(
            (answer.status, keys(&answer.body["details"])),
            (400, vec![name]),
            "{name}={value}"
        );
    }
    let unknown = search(&eve, &[("q", "word"), ("channelId", &new_id())]).await;
    assert_eq!(unknown.code(), "CHANNEL_NOT_FOUND");
    assert!(
        found(&eve, &[("q", "word"), ("cursor", "0")])
            .await
            .is_empty()
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pages_of_a_search_neither_skip_nor_repeat_across_blocks() {
    let cluster = Cluster::start(1).await;
    let ann = cluster.user(0, "ann").await;
    let channel = cluster.channel().await;
    let fill = async |from: i64, to: i64| {
        let sql = "insert into messages (id, channel_id, seq, author_id, content, created_at, updated_at) \
                   select ('00000000-0000-7000-8000-' || lpad(n::text, 12, '0'))::uuid, $1::uuid, n, $2::uuid, \
                   case when n = 150 then 'filler' when n % 2 = 0 then '짝수 번째' else '홀수 번째' end, now(), now() from generate_series($3, $4) n";
        sqlx::query(sql)
            .bind(&channel)
            .bind(&ann.id)
            .bind(from)
            .bind(to)
            .execute(&cluster.db)
            .await
            .expect("written");
        indexed(&cluster).await;
    };
    fill(1, 150).await;
    // Two blocks and three quarters of the next are empty.
    let moved = "with newest as (select message_id from message_terms where number = 150) \
                 update message_terms set number = $1 where message_id = (select message_id from newest)";
    sqlx::query(moved)
        .bind(3 * BLOCK - 75)
        .execute(&cluster.db)
        .await
        .expect("updated");
    fill(151, 300).await;
    for (q, step) in [("째", 1), ("번째", 1), ("짝수", 2), ("수 번", 1)] {
        let mut expected: Vec<i64> = (1..=300).rev().step_by(step).collect();
        expected.retain(|seq| *seq != 150);
        for size in ["7", "100"] {
            let (mut seen, mut cursor) = (Vec::new(), String::new());
            loop {
                let quoted = format!("\"{q}\"");
                let parameters = [("q", &*quoted), ("size", size), ("cursor", &cursor)];
                let answer = search(&ann, &parameters).await;
                assert_eq!(answer.status, 200, "{answer:?}");
                let content = answer.body["content"].as_array().expect("a list");
                let messages: Vec<Value> = content
                    .iter()
                    .map(|found| found["message"].clone())
                    .collect();
                seen.extend(seqs(&messages));
                assert_eq!(
                    answer.body["hasNext"],
                    json!(answer.body["nextCursor"].is_string())
                );
                match answer.body["nextCursor"].as_str() {
                    Some(next) => next.clone_into(&mut cursor),
                    None => break,
                }
            }
            if q == "째" {
                assert!(seen.is_empty(), "one syllable is found where a word begins");
            } else {
                assert_eq!(seen, expected, "{q} by {size}");
            }
        }
    }
    let since = [("q", "짝수"), ("after", "2020-01-01T00:00:00Z")];
    assert_eq!(contents(&ann, &since).await.len(), 50);
    let until = [("q", "짝수"), ("before", "2020-01-01T00:00:00Z")];
    assert!(found(&ann, &until).await.is_empty());
}
