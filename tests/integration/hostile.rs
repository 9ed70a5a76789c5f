//! Malicious requests, which the node rejects or handles as plain data.

use reqwest::Method;
use serde_json::json;
use tokio::io::AsyncWriteExt;

use super::{
    accounts::text,
    errors::{Raw, alive},
};
use crate::support::{Cluster, User};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unusual_request_target_does_not_crash_the_node() {
    let cluster = Cluster::shared(1).await;
    let visitor = cluster.visitor(0);
    // warp itself panics on a target without a path.
    for line in [
        "CONNECT example.org:443 HTTP/1.1",
        "CONNECT 127.0.0.1:22 HTTP/1.1",
        "GET example.org:80 HTTP/1.1",
        "POST x:1 HTTP/1.1",
    ] {
        let mut raw = Raw::open(&cluster).await;
        raw.send(format!("{line}\r\nHost: x\r\n\r\n")).await;
        let answer = raw
            .answer()
            .await
            .unwrap_or_else(|| panic!("no answer to {line}"));
        assert_eq!(
            (answer.status, answer.code()),
            (400, "MALFORMED_REQUEST"),
            "{line}"
        );
    }
    for (line, status) in [
        ("OPTIONS * HTTP/1.1", 404),
        ("GET http://example.org HTTP/1.1", 404),
        ("GET http://example.org/api/health/live HTTP/1.1", 200),
        ("GET //api/health/live HTTP/1.1", 404),
        ("GET /?/api/health/live HTTP/1.1", 404),
        ("GET /api/health/live?%zz=%&&&=& HTTP/1.1", 200),
        ("GET /api/health/live HTTP/1.0", 200),
    ] {
        let answer = Raw::ask(&cluster, format!("{line}\r\nHost: x\r\n\r\n")).await;
        assert_eq!(answer.status, status, "{line}");
        if status != 200 {
            answer.code();
        }
    }
    // The node answers invalid HTTP with an error or closes the connection, and still serves the next connection.
    let long_path = format!("GET /{} HTTP/1.1\r\nHost: x\r\n\r\n", "x".repeat(70_000));
    let long_header = format!(
        "GET / HTTP/1.1\r\nHost: x\r\nX: {}\r\n\r\n",
        "x".repeat(100_000)
    );
    let many_headers = format!("GET / HTTP/1.1\r\n{}\r\n", "X: y\r\n".repeat(1_000));
    for garbage in [
        "\r\n\r\n",
        "\0\0\0\0\r\n\r\n",
        "GET / HTTP/9.9\r\n\r\n",
        "\u{16}\u{3}\u{1}\u{2}\0\r\n\r\n",
        "GET  /  HTTP/1.1\r\n\r\n",
        "GET / HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
        "GET / HTTP/1.1\r\nno colon\r\n\r\n",
        &long_path,
        &long_header,
        &many_headers,
    ] {
        let mut raw = Raw::open(&cluster).await;
        // The node may close before it has read everything.
        drop(raw.0.write_all(garbage.as_bytes()).await);
        raw.0.shutdown().await.ok();
        if let Some(answer) = raw.answer().await {
            assert!((400..500).contains(&answer.status), "{answer:?}");
        }
    }
    alive(&visitor).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_cannot_be_smuggled_in_another() {
    let cluster = Cluster::shared(1).await;
    let hidden = "GET /api/users HTTP/1.1\r\nHost: x\r\nDiscodeit-Request-ID: hidden\r\n\r\n";
    let head = "POST /api/auth/login HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n";
    for framing in [
        format!(
            "Content-Length: {}\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            hidden.len() + 5
        ),
        "Content-Length: 0\r\nContent-Length: 5\r\n\r\n".to_owned(),
        "Transfer-Encoding: xchunked\r\n\r\n".to_owned(),
        "Transfer-Encoding: chunked, identity\r\n\r\n".to_owned(),
        "Transfer-Encoding : chunked\r\n\r\n".to_owned(),
        "Content-Length: +0\r\n\r\n".to_owned(),
    ] {
        let mut raw = Raw::open(&cluster).await;
        drop(
            raw.0
                .write_all(format!("{head}{framing}{hidden}").as_bytes())
                .await,
        );
        let first = raw.answer().await;
        assert!(
            first
                .as_ref()
                .is_none_or(|answer| (400..500).contains(&answer.status)),
            "{framing:?}: {first:?}"
        );
        let second = raw.answer().await;
        assert!(
            second.is_none(),
            "{framing:?}: the connection stays open: {second:?}"
        );
    }
}

/// Sends typical injection strings in query parameters and body fields of the API.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_input_is_handled_as_plain_text() {
    let cluster = Cluster::start(1).await;
    let (admin, channel) = (cluster.admin(0).await, cluster.channel().await);
    assert_eq!(admin.write(&channel, "one").await.status, 201);
    let attacks = [
        "'",
        "\"",
        "' or '1'='1",
        "'; drop table users; --",
        "1); select pg_sleep(9)--",
        "\\",
        "%",
        "_",
        "\0",
        "\u{fffd}",
        "${jndi:ldap://x}",
        "{{7*7}}",
        "$1",
        "../../etc/passwd",
        "a\r\nb",
        "\u{202e}",
        "NaN",
        "-1",
        "1e9",
        "2147483648",
        "9223372036854775808",
        "null",
        "[]",
        "{}",
    ];
    for text in attacks {
        for (path, name) in [
            ("/api/channels", "userId"),
            ("/api/readStatuses", "userId"),
            ("/api/messages", "channelId"),
            ("/api/messages", "cursor"),
            ("/api/messages", "size"),
            ("/api/messages", "sort"),
            ("/api/messages", "around"),
            ("/api/messages", "at"),
        ] {
            let request = admin.request(Method::GET, path).query(&[(name, text)]);
            let request = if name == "channelId" || path != "/api/messages" {
                request
            } else {
                request.query(&[("channelId", &channel)])
            };
            let answer = admin.send(request).await;
            // A position is a valid cursor.
            if ["cursor", "around"].contains(&name)
                && text.parse::<i64>().is_ok_and(|position| position >= 0)
            {
                assert_eq!(answer.status, 200, "{text}: {answer:?}");
            } else {
                assert_eq!(answer.status, 400, "{path} {name}={text:?}: {answer:?}");
                answer.code();
            }
        }
        let answers = [
            admin.login(text, text).await,
            admin.sign_up(text, text, text).await,
            admin
                .post(
                    "/api/channels/public",
                    &json!({ "name": text, "description": text }),
                )
                .await,
            admin.write(&channel, text).await,
            admin
                .post(
                    "/api/channels/private",
                    &json!({ "participantIds": [text] }),
                )
                .await,
            admin
                .post(
                    "/api/readStatuses",
                    &json!({ "userId": text, "channelId": text, "lastReadAt": text }),
                )
                .await,
            admin
                .send(
                    admin
                        .request(Method::GET, "/api/users")
                        .query(&[(text, text)]),
                )
                .await,
        ];
        for answer in answers {
            assert!(answer.status < 500, "{text:?}: {answer:?}");
            let shown = answer.body.to_string().to_lowercase();
            assert!(
                !["select ", "sqlx", "postgres", ".rs:", "panicked"]
                    .iter()
                    .any(|word| shown.contains(word))
                    || shown.contains("pg_sleep"),
                "{shown}"
            );
        }
    }
    assert_eq!(
        admin.get("/api/users").await.body.as_array().map(Vec::len),
        Some(1),
        "no attack is a valid email address"
    );
    let written = admin.history(&channel).await;
    assert!(
        written
            .iter()
            .any(|message| message["content"] == "'; drop table users; --")
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unknown_fields_are_ignored() {
    let cluster = Cluster::start(1).await;
    let visitor = cluster.visitor(0);
    let id = uuid::Uuid::now_v7().to_string();
    let body = json!({
        "username": "eve", "email": "eve@example.org", "password": "password", "id": id, "role": "ADMIN", "newRole": "ADMIN",
        "createdAt": "2000-01-01T00:00:00Z", "passwordHash": "x", "online": true, "profile": { "id": id },
    });
    let answer = visitor
        .multipart(Method::POST, "/api/users", "userCreateRequest", &body)
        .await;
    assert_eq!((answer.status, text(&answer.body["role"])), (201, "USER"));
    assert_ne!(answer.body["id"], json!(id));
    let eve = User::sign_in(visitor, "eve", "password").await;
    let body = json!({ "role": "ADMIN", "newRole": "ADMIN", "id": id, "username": "eva" });
    let answer = eve
        .multipart(
            Method::PATCH,
            &format!("/api/users/{}", eve.id),
            "userUpdateRequest",
            &body,
        )
        .await;
    assert_eq!(
        (text(&answer.body["role"]), text(&answer.body["username"])),
        ("USER", "eve")
    );
    let answer = eve
        .post(
            "/api/channels/public",
            &json!({ "name": "x", "description": "", "role": "ADMIN" }),
        )
        .await;
    assert_eq!((answer.status, answer.code()), (403, "FORBIDDEN"));

    let channel = cluster.channel().await;
    let body = json!({
        "content": "x", "channelId": channel, "authorId": eve.id, "id": id, "seq": 77, "createdAt": "2000-01-01T00:00:00Z", "author": null,
    });
    let answer = eve
        .multipart(Method::POST, "/api/messages", "messageCreateRequest", &body)
        .await;
    assert_eq!(
        (
            answer.status,
            &answer.body["seq"],
            text(&answer.body["author"]["id"])
        ),
        (201, &json!(1), eve.id.as_str())
    );
    assert!(
        answer.body["id"] != json!(id)
            && text(&answer.body["createdAt"]).starts_with("20")
            && !text(&answer.body["createdAt"]).starts_with("2000")
    );
    let listed = eve.get("/api/users").await;
    let roles: Vec<_> = listed
        .body
        .as_array()
        .expect("a list")
        .iter()
        .map(|user| text(&user["role"]))
        .collect();
    assert_eq!(
        roles,
        ["ADMIN", "USER"],
        "the administrator and Eve, whose role is USER"
    );
}
