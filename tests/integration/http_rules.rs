//! Rules of HTTP (RFC 9110, RFC 9112): requests that the parser rejects, `Host`, encodings, preconditions, and pages of other
//! origins.

use reqwest::{Method, header::HeaderMap};
use tokio::io::AsyncReadExt;

use super::{
    errors::{Raw, alive, parse},
    files::{attach, file, until_ready},
};
use crate::support::{Answer, Cluster, SOON, User};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_that_the_parser_rejects_gets_the_error_body() {
    let cluster = Cluster::shared(1).await;
    let rejected = [
        (
            "GET /api/users HTTP/1.1\r\nHost: x\r\nX: a\u{1}b\r\n\r\n".to_owned(),
            400,
            "MALFORMED_REQUEST",
        ),
        (
            "GET /api/users?a=< HTTP/1.1\r\nHost: x\r\n\r\n".to_owned(),
            400,
            "MALFORMED_REQUEST",
        ),
        (
            "GET / HTTP/9.9\r\nHost: x\r\n\r\n".to_owned(),
            400,
            "MALFORMED_REQUEST",
        ),
        (
            "\u{16}\u{3}\u{1}\u{2}\0\r\n\r\n".to_owned(),
            400,
            "MALFORMED_REQUEST",
        ),
        (
            format!(
                "GET / HTTP/1.1\r\nHost: x\r\n{}\r\n",
                "X: y\r\n".repeat(110)
            ),
            431,
            "HEADERS_TOO_LARGE",
        ),
        (
            format!(
                "GET / HTTP/1.1\r\nHost: x\r\nX: {}\r\n\r\n",
                "x".repeat(100_000)
            ),
            431,
            "HEADERS_TOO_LARGE",
        ),
    ];
    let valid = "GET /api/health/live HTTP/1.1\r\nHost: x\r\n\r\n";
    for (request, status, code) in &rejected {
        // On a new connection, on a connection that was used before, and behind a request in the same packet.
        for (first, then) in [("", ""), (valid, ""), ("", valid)] {
            let mut raw = Raw::open(&cluster).await;
            if !first.is_empty() {
                raw.send(first).await;
                assert_eq!(raw.answer().await.map(|answer| answer.status), Some(200));
            }
            raw.send(format!("{then}{request}")).await;
            let mut text = String::new();
            let read = raw.0.read_to_string(&mut text);
            let closed = tokio::time::timeout(SOON, read).await;
            closed.expect("the node closes").expect("a text");
            let last = text.rfind("HTTP/1.1 ").expect("an answer");
            assert_eq!(
                text.starts_with("HTTP/1.1 200 "),
                !then.is_empty(),
                "{text}"
            );
            let answer = parse(&text.as_bytes()[last..]).expect("a whole answer");
            assert_eq!((answer.status, answer.code()), (*status, *code));
            assert_eq!(answer.header("content-type"), Some("application/json"));
            assert_eq!(answer.header("connection"), Some("close"));
            assert!(answer.header("discodeit-node").is_some());
        }
    }
    alive(&cluster.visitor(0)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_has_one_host_and_no_encoding() {
    let cluster = Cluster::shared(1).await;
    let login = "POST /api/auth/login HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n";
    let send = "POST /ws/000/abcdefgh/xhr_send HTTP/1.1\r\nHost: x\r\n";
    let sign_up =
        "POST /api/users HTTP/1.1\r\nHost: x\r\nContent-Type: multipart/form-data; boundary=x\r\n";
    let chunked = "0\r\n\r\n";
    for (head, rest, status) in [
        ("GET /api/health/live HTTP/1.1\r\n", "\r\n", 400),
        (
            "GET /api/health/live HTTP/1.1\r\n",
            "Host: a\r\nHost: b\r\n\r\n",
            400,
        ),
        (
            "GET /api/health/live HTTP/1.1\r\n",
            "Host: a\r\nHost: a\r\n\r\n",
            400,
        ),
        (
            "GET /api/health/live HTTP/1.1\r\n",
            "Host: a b\r\n\r\n",
            400,
        ),
        (
            "GET /api/health/live HTTP/1.1\r\n",
            "Host: u@a\r\n\r\n",
            400,
        ),
        ("GET /api/health/live HTTP/1.1\r\n", "Host:\r\n\r\n", 200),
        (
            "GET /api/health/live HTTP/1.1\r\n",
            "Host: [::1]:80\r\n\r\n",
            200,
        ),
        ("GET /api/health/live HTTP/1.0\r\n", "\r\n", 200),
        (login, "Transfer-Encoding: gzip, chunked\r\n\r\n", 501),
        (
            login,
            "Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n",
            501,
        ),
        (login, "Transfer-Encoding: Chunked\r\n\r\n", 400),
        (
            login,
            "Content-Encoding: gzip\r\nContent-Length: 2\r\n\r\n{}",
            415,
        ),
        (
            login,
            "Content-Encoding: identity, br\r\nContent-Length: 2\r\n\r\n{}",
            415,
        ),
        (
            login,
            "Content-Encoding: identity\r\nContent-Length: 2\r\n\r\n{}",
            400,
        ),
        (
            sign_up,
            "Content-Encoding: gzip\r\nContent-Length: 2\r\n\r\n{}",
            415,
        ),
        (
            send,
            "Content-Encoding: gzip\r\nContent-Length: 2\r\n\r\n[]",
            415,
        ),
        (
            "GET /api/health/live HTTP/1.1\r\nHost: x\r\n",
            "Content-Encoding: gzip\r\n\r\n",
            200,
        ),
    ] {
        let mut raw = Raw::open(&cluster).await;
        raw.send(format!("{head}{rest}")).await;
        if rest.to_lowercase().contains("chunked") {
            raw.send(chunked).await;
        }
        let answer = raw.answer().await;
        let answer = answer.unwrap_or_else(|| panic!("no answer to {head}{rest}"));
        assert_eq!(answer.status, status, "{head}{rest}");
        if status != 200 {
            answer.code();
        }
        let coding = (status == 415).then_some("identity");
        assert_eq!(answer.header("accept-encoding"), coding, "{head}{rest}");
    }
    let visitor = cluster.visitor(0);
    let request = visitor.request(Method::POST, "/api/auth/login").body("{}");
    let answer = visitor.send(request).await;
    assert_eq!(answer.header("accept"), Some("application/json"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_download_with_a_failed_precondition_gets_412() {
    let cluster = Cluster::shared(1).await;
    let (ann, channel) = (cluster.user(0, "ann").await, cluster.channel().await);
    let id = attach(
        &ann,
        &channel,
        vec![file("a.txt", "text/plain", "0123456789")],
    )
    .await
    .remove(0);
    until_ready(&ann, &id).await;
    let path = format!("/api/binaryContents/{id}/download");
    let etag = format!("\"{id}\"");
    for method in [Method::GET, Method::HEAD] {
        for (tags, status) in [
            ("\"zzz\"", 412),
            ("zzz", 412),
            (etag.as_str(), 200),
            ("*", 200),
        ] {
            let request = ann.request(method.clone(), &path).header("if-match", tags);
            let answer = ann.send(request).await;
            assert_eq!(answer.status, status, "{method} {tags}");
            if status == 412 && method == Method::GET {
                assert_eq!(answer.code(), "PRECONDITION_FAILED");
            }
        }
    }
}

/// Sends the request that uses the session's cookie in each way.
async fn by_cookie(user: &User, method: &Method, path: &str, headers: &HeaderMap) -> Answer {
    let csrf = user.csrf().await;
    let request = user
        .http
        .request(method.clone(), format!("{}{path}", user.base));
    let request = request
        .header("x-xsrf-token", csrf)
        .headers(headers.clone());
    user.send(request).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_of_another_origin_cannot_use_the_session_cookie() {
    let cluster = Cluster::shared(1).await;
    let (ann, channel) = (cluster.user(0, "ann").await, cluster.channel().await);
    let id = attach(&ann, &channel, vec![file("a.txt", "text/plain", "text")])
        .await
        .remove(0);
    until_ready(&ann, &id).await;
    let download = format!("/api/binaryContents/{id}/download");
    let address = cluster.address(0);
    let (own, sibling) = (
        format!("http://{address}"),
        format!("http://{}", address.replace(':', ":1")),
    );
    let headers = |name: &'static str, value: &str| {
        HeaderMap::from_iter([(
            name.parse().expect("a name"),
            value.parse().expect("a value"),
        )])
    };
    let foreign = [
        headers("sec-fetch-site", "cross-site"),
        headers("sec-fetch-site", "same-site"),
        headers("origin", "https://evil.example"),
        headers("origin", "null"),
        headers("origin", &sibling),
        headers("origin", &format!("{own}.evil.example")),
    ];
    let uses = [
        (Method::HEAD, "/api/sse"),
        (Method::GET, &download),
        (Method::GET, "/api/auth/me"),
        (Method::POST, "/api/auth/refresh"),
        (Method::POST, "/api/auth/logout"),
    ];
    for (method, path) in &uses {
        for headers in &foreign {
            let answer = by_cookie(&ann, method, path, headers).await;
            assert_eq!(answer.status, 403, "{method} {path} {headers:?}");
        }
        // A token is not sent by the browser itself.
        if !path.contains("/auth/") {
            let request = ann
                .request(method.clone(), path)
                .headers(foreign[0].clone());
            assert_eq!(ann.send(request).await.status, 200, "{method} {path}");
        }
    }
    for headers in [
        headers("sec-fetch-site", "same-origin"),
        headers("sec-fetch-site", "none"),
        headers("origin", &own),
        HeaderMap::new(),
    ] {
        for (method, path) in &uses[..4] {
            let answer = by_cookie(&ann, method, path, &headers).await;
            assert_eq!(answer.status, 200, "{method} {path} {headers:?}");
        }
    }
}
