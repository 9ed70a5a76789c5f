//! Error responses: one JSON format, and no request stops the node.

use reqwest::{Method, multipart};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::accounts::{keys, text};
use crate::support::{Answer, Cluster, SOON, Visitor};

/// A TCP connection on which a test sends arbitrary bytes.
pub(crate) struct Raw(pub(crate) TcpStream);

impl Raw {
    pub(crate) async fn open(cluster: &Cluster) -> Self {
        Self(
            TcpStream::connect(cluster.address(0))
                .await
                .expect("the node accepts"),
        )
    }

    pub(crate) async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.0
            .write_all(bytes.as_ref())
            .await
            .expect("the connection is open");
    }

    /// Sends bytes; false when the node has closed the connection.
    pub(crate) async fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        self.0.write_all(bytes.as_ref()).await.is_ok()
    }

    /// The next response, or `None` when the node closes the connection.
    pub(crate) async fn answer(&mut self) -> Option<Answer> {
        let mut read = Vec::new();
        let read = async {
            loop {
                if let Some(answer) = parse(&read) {
                    return Some(answer);
                }
                match self.0.read_buf(&mut read).await {
                    Ok(0) | Err(_) => return None,
                    Ok(_) => {}
                }
            }
        };
        tokio::time::timeout(SOON, read)
            .await
            .expect("the node answers or closes")
    }

    /// Sends a request on a new connection and returns the response.
    pub(crate) async fn ask(cluster: &Cluster, bytes: impl AsRef<[u8]>) -> Answer {
        let mut raw = Self::open(cluster).await;
        raw.send(bytes).await;
        raw.answer().await.expect("an answer")
    }
}

/// Parses a response; `None` while it is incomplete.
pub(crate) fn parse(read: &[u8]) -> Option<Answer> {
    let end = read.windows(4).position(|four| four == b"\r\n\r\n")?;
    let head = std::str::from_utf8(&read[..end]).expect("a head is text");
    let mut lines = head.split("\r\n");
    let status = lines.next()?.split(' ').nth(1)?.parse().expect("a status");
    let headers = lines.map(|line| {
        line.split_once(": ")
            .unwrap_or_else(|| panic!("a header has a colon: {line:?}"))
    });
    let headers = headers.map(|(name, value)| {
        let name: reqwest::header::HeaderName = name.parse().expect("a header's name");
        (name, value.parse().expect("a header's value"))
    });
    let headers: reqwest::header::HeaderMap = headers.collect();
    let length = headers.get("content-length");
    let length: usize = length.map_or(0, |length| {
        length.to_str().expect("text").parse().expect("a number")
    });
    let body = read.get(end + 4..end + 4 + length)?;
    let body = if body.is_empty() {
        Value::Null
    } else {
        serde_json::from_slice(body).expect("JSON")
    };
    Some(Answer {
        status,
        headers,
        body,
    })
}

pub(crate) async fn alive(visitor: &Visitor) {
    assert_eq!(
        visitor.get("/api/health/live").await.status,
        200,
        "the node is alive"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unknown_paths_and_methods_get_json_errors() {
    let cluster = Cluster::shared(1).await;
    let ann = cluster.user(0, "ann").await;
    let unknown = [
        "/",
        "/api",
        "/api/",
        "/api/nothing",
        "/api/users/x/y",
        "/nothing",
        "/metrics",
        "/api/../etc/passwd",
        "/api/%2e%2e/x",
        "/%00",
        "/api/%FF",
    ];
    for path in unknown {
        for visitor in [&cluster.visitor(0), &*ann] {
            let answer = visitor.get(path).await;
            assert_eq!(
                (answer.status, answer.code()),
                (404, "PATH_NOT_FOUND"),
                "{path}"
            );
            assert_eq!(answer.header("content-type"), Some("application/json"));
            assert_eq!(
                (text(&answer.body["exceptionType"]), &answer.body["details"]),
                ("PathNotFound", &json!({}))
            );
            super::channels::instant(&answer.body["timestamp"]);
        }
    }
    for kind in ["users", "channels", "messages", "readStatuses"] {
        for id in [
            "x",
            "0",
            "00000000-0000-0000-0000-00000000000",
            "' or 1=1 --",
            "..",
            "%00",
            "null",
            "{id}",
        ] {
            let answer = ann.patch(&format!("/api/{kind}/{id}"), &json!({})).await;
            assert!(
                [404, 405].contains(&answer.status),
                "{kind}/{id}: {answer:?}"
            );
            answer.code();
        }
    }
    for (method, path, allow) in [
        (Method::DELETE, "/api/users", "GET, HEAD, POST"),
        (Method::GET, "/api/auth/login", "POST"),
        (Method::POST, "/api/auth/role", "PUT"),
        (Method::PUT, "/api/messages", "GET, HEAD, POST"),
        (Method::GET, "/api/channels/public", "POST"),
        (Method::POST, "/api/channels", "GET, HEAD"),
        (
            Method::DELETE,
            "/api/readStatuses/01890a5d-ac96-774b-bcce-b302099a8057",
            "PATCH",
        ),
        (
            Method::POST,
            "/api/users/01890a5d-ac96-774b-bcce-b302099a8057",
            "GET, HEAD, PATCH, DELETE",
        ),
        (Method::POST, "/api/health/live", "GET, HEAD"),
        (Method::OPTIONS, "/api/auth/me", "GET, HEAD"),
        (Method::TRACE, "/api/auth/me", "GET, HEAD"),
        (
            Method::from_bytes(b"BREW").expect("a token"),
            "/api/auth/csrf-token",
            "GET, HEAD",
        ),
    ] {
        let answer = cluster
            .visitor(0)
            .send(ann.request(method.clone(), path))
            .await;
        assert_eq!(
            (answer.status, answer.code()),
            (405, "METHOD_NOT_ALLOWED"),
            "{method} {path}"
        );
        assert_eq!(answer.header("allow"), Some(allow), "{method} {path}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_invalid_json_body_is_rejected() {
    let cluster = Cluster::shared(1).await;
    let admin = cluster.admin(0).await;
    let send = async |content_type: Option<&str>, body: &[u8]| {
        let request = admin
            .request(Method::POST, "/api/channels/public")
            .body(body.to_vec());
        admin
            .send(content_type.into_iter().fold(request, |request, value| {
                request.header("content-type", value)
            }))
            .await
    };
    let valid_body = br#"{"name":"x","description":"","unknown":[{}]}"#;
    for content_type in [
        "application/json",
        "application/json; charset=utf-8",
        "APPLICATION/JSON;charset=UTF-8",
    ] {
        assert_eq!(
            send(Some(content_type), valid_body).await.status,
            201,
            "{content_type}"
        );
    }
    for wrong in [
        None,
        Some(""),
        Some("text/plain"),
        Some("application/x-www-form-urlencoded"),
        Some("multipart/form-data; boundary=x"),
        Some("application/jsonp"),
    ] {
        let answer = send(wrong, valid_body).await;
        assert_eq!(
            (answer.status, answer.code()),
            (415, "UNSUPPORTED_MEDIA_TYPE"),
            "{wrong:?}"
        );
    }
    let deep = [
        "[".repeat(30_000),
        format!("{{\"name\":{}", "[".repeat(30_000)),
        r#"{"name":{"a":"#.to_owned() + &r#"{"a":"#.repeat(10_000),
    ];
    let broken = [
        "",
        " ",
        "{",
        "null",
        "x",
        "{\"name\":}",
        "{\"name\":\"x\"}}",
        "{\"name\":1e999}",
    ];
    let not_utf8: &[u8] = b"{\"name\":\"\xff\xfe\",\"description\":\"\"}";
    let broken = broken
        .iter()
        .map(|body| body.as_bytes())
        .chain(deep.iter().map(String::as_bytes))
        .chain([not_utf8]);
    for body in broken {
        let answer = send(Some("application/json"), body).await;
        let shown = String::from_utf8_lossy(&body[..body.len().min(40)]);
        assert_eq!(
            (answer.status, answer.code()),
            (400, "MALFORMED_REQUEST"),
            "{shown}"
        );
    }
    // Deep nesting in an unknown field may be skipped or rejected, but must not overflow the stack.
    let nested = format!(
        "{{\"name\":\"x\",\"description\":\"\",\"unknown\":{}{}}}",
        "[".repeat(20_000),
        "]".repeat(20_000)
    );
    assert!(
        [201, 400].contains(
            &send(Some("application/json"), nested.as_bytes())
                .await
                .status
        )
    );

    // Authentication comes first: the node answers before it reads the body.
    let head = "POST /api/channels/public HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 999999999\r\n\r\n";
    assert_eq!(Raw::ask(&cluster, head).await.code(), "UNAUTHENTICATED");
    alive(&admin).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_over_the_limit_is_rejected_before_it_is_read() {
    let cluster = Cluster::shared(1).await;
    let visitor = cluster.visitor(0);
    let head = "POST /api/auth/login HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n";
    for length in ["65537", "9999999999"] {
        let answer = Raw::ask(&cluster, format!("{head}Content-Length: {length}\r\n\r\n")).await;
        assert_eq!((answer.status, answer.code()), (413, "PAYLOAD_TOO_LARGE"));
        assert_eq!(answer.body["details"], json!({ "limitBytes": 65_536 }));
    }
    let mut chunked = Raw::open(&cluster).await;
    chunked
        .send(format!(
            "{head}Transfer-Encoding: chunked\r\n\r\n1\r\n{{\r\n"
        ))
        .await;
    for _ in 0..4 {
        chunked
            .send(format!("4000\r\n{}\r\n", " ".repeat(0x4000)))
            .await;
    }
    let answer = chunked
        .answer()
        .await
        .expect("an answer before the end of the body");
    assert_eq!((answer.status, answer.code()), (413, "PAYLOAD_TOO_LARGE"));

    // A body of exactly 64 KiB is read, so the error is the too long password.
    let body = |length: usize| json!({ "username": "x", "password": "y".repeat(length - 30) });
    assert_eq!(
        visitor.post("/api/auth/login", &body(65_536)).await.code(),
        "INVALID_INPUT"
    );

    let boundary = "----x";
    let head = format!(
        "POST /api/users HTTP/1.1\r\nHost: x\r\nContent-Type: multipart/form-data; boundary={boundary}\r\n"
    );
    for part in ["userCreateRequest", "unknown"] {
        let start =
            format!("--{boundary}\r\nContent-Disposition: form-data; name=\"{part}\"\r\n\r\n");
        let mut raw = Raw::open(&cluster).await;
        raw.send(format!(
            "{head}Transfer-Encoding: chunked\r\n\r\n{:x}\r\n{start}\r\n",
            start.len()
        ))
        .await;
        for _ in 0..5 {
            raw.send(format!("4000\r\n{}\r\n", "x".repeat(0x4000)))
                .await;
        }
        let answer = raw
            .answer()
            .await
            .expect("an answer before the end of the body");
        assert_eq!(
            (answer.status, answer.code()),
            (413, "PAYLOAD_TOO_LARGE"),
            "{part}"
        );
    }
    alive(&visitor).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_response_without_connection_close_leaves_the_connection_usable() {
    let cluster = Cluster::shared(1).await;
    let ann = cluster.user(0, "ann").await;
    // A proxy reuses a connection for the next client unless the response has `Connection: close`.
    for (request, status) in [
        ("POST /api/nothing", 404),
        ("PUT /api/users", 405),
        ("POST /api/channels/private", 401),
        ("POST /api/auth/login", 415),
        ("POST /api/auth/logout", 204),
        ("GET /api/health/live", 200),
    ] {
        for length in [10, 10_000, 60_000, 200_000] {
            let mut raw = Raw::open(&cluster).await;
            let head = format!("{request} HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n");
            // The node may reject the request and close before the test has sent all of the body.
            drop(raw.0.write_all(head.as_bytes()).await);
            drop(raw.0.write_all(&vec![b'x'; length]).await);
            let answer = raw.answer().await.expect("an answer");
            if status != 415 || length <= 65_536 {
                assert_eq!(answer.status, status, "{request} with {length}");
            }
            if answer.header("connection") != Some("close") {
                let next = "GET /api/health/live HTTP/1.1\r\nHost: x\r\n\r\n";
                drop(raw.0.write_all(next.as_bytes()).await);
                let next = raw.answer().await.map(|answer| answer.status);
                assert_eq!(next, Some(200), "after {request} with {length}");
            }
        }
    }
    alive(&ann).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_invalid_multipart_body_is_rejected() {
    let cluster = Cluster::shared(1).await;
    let visitor = cluster.visitor(0);
    let form = multipart::Form::new()
        .text("other", "{}")
        .text("userUpdateRequest", "{}");
    let answer = visitor
        .send(visitor.request(Method::POST, "/api/users").multipart(form))
        .await;
    assert_eq!((answer.status, answer.code()), (400, "INVALID_INPUT"));
    assert_eq!(keys(&answer.body["details"]), ["userCreateRequest"]);

    let send = async |content_type: &str, body: &[u8]| {
        visitor
            .send(
                visitor
                    .request(Method::POST, "/api/users")
                    .header("content-type", content_type)
                    .body(body.to_vec()),
            )
            .await
    };
    for wrong in [
        "application/json",
        "multipart/form-data",
        "multipart/mixed",
        "text/plain; boundary=x",
        "multipart/form-data; boundary=",
    ] {
        let answer = send(wrong, b"{}").await;
        assert!([400, 415].contains(&answer.status), "{wrong}: {answer:?}");
        answer.code();
    }
    assert_eq!(
        send("application/json", b"{}").await.code(),
        "UNSUPPORTED_MEDIA_TYPE"
    );
    let multipart = "multipart/form-data; boundary=x";
    let part = "Content-Disposition: form-data; name=\"userCreateRequest\"\r\n\r\n";
    for body in [
        String::new(),
        "garbage".to_owned(),
        "--x--\r\n".to_owned(),
        "--x\r\n".to_owned(),
        format!("--x\r\n{part}{{}}"),
        format!("--x\r\n{part}{{\r\n--x--\r\n"),
        format!("--x\r\n{part}\r\n--x--\r\n"),
        "--x\r\n\r\n{}\r\n--x--\r\n".to_owned(),
        "--x\r\nContent-Disposition: form-data; name\r\n\r\n{}\r\n--x--\r\n".to_owned(),
        format!("--x\r\n{}: y\r\n\r\n{{}}\r\n--x--\r\n", "H".repeat(20_000)),
        format!(
            "--x\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\nb\r\n{}--x--\r\n",
            "--x\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\nb\r\n".repeat(500)
        ),
    ] {
        let answer = send(multipart, body.as_bytes()).await;
        assert_eq!(
            answer.status,
            400,
            "{answer:?}: {}",
            &body.get(..body.len().min(60)).unwrap_or_default()
        );
        answer.code();
    }
    alive(&visitor).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_endpoint_requires_a_token() {
    let cluster = Cluster::shared(1).await;
    let visitor = cluster.visitor(0);
    let garbage = Visitor {
        token: Some("garbage".to_owned()),
        ..visitor.clone()
    };
    let id = uuid::Uuid::now_v7();
    for (method, path) in [
        (Method::GET, "/api/users".to_owned()),
        (Method::PATCH, format!("/api/users/{id}")),
        (Method::DELETE, format!("/api/users/{id}")),
        (Method::PUT, "/api/auth/role".to_owned()),
        (Method::GET, format!("/api/channels?userId={id}")),
        (Method::POST, "/api/channels/public".to_owned()),
        (Method::POST, "/api/channels/private".to_owned()),
        (Method::PATCH, format!("/api/channels/{id}")),
        (Method::DELETE, format!("/api/channels/{id}")),
        (Method::PUT, format!("/api/channels/{id}/participants/{id}")),
        (Method::GET, format!("/api/messages?channelId={id}")),
        (Method::GET, "/api/messages/search?q=x".to_owned()),
        (Method::POST, "/api/messages".to_owned()),
        (Method::PATCH, format!("/api/messages/{id}")),
        (Method::DELETE, format!("/api/messages/{id}")),
        (Method::PUT, format!("/api/messages/{id}/reactions/x")),
        (Method::DELETE, format!("/api/messages/{id}/reactions/x")),
        (Method::GET, format!("/api/readStatuses?userId={id}")),
        (Method::POST, "/api/readStatuses".to_owned()),
        (Method::PATCH, format!("/api/readStatuses/{id}")),
        (Method::GET, "/api/sse".to_owned()),
    ] {
        for visitor in [&visitor, &garbage] {
            let answer = visitor.send(visitor.request(method.clone(), &path)).await;
            assert_eq!(
                (answer.status, answer.code()),
                (401, "UNAUTHENTICATED"),
                "{method} {path}"
            );
            assert_eq!(answer.header("www-authenticate"), Some("Bearer"));
            assert_eq!(answer.body["details"], json!({}));
        }
        let query = format!(
            "{path}{}access_token=x&token=x",
            if path.contains('?') { '&' } else { '?' }
        );
        assert_eq!(
            visitor
                .send(visitor.request(method.clone(), &query))
                .await
                .status,
            401
        );
    }
    for path in ["/api/health/live", "/api/health/ready"] {
        assert_eq!(garbage.get(path).await.status, 200, "{path} needs no token");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_response_has_a_request_id() {
    let cluster = Cluster::shared(1).await;
    let ann = cluster.user(0, "ann").await;
    let ask = async |path: &str, id: Option<&[u8]>| {
        let request = ann.request(Method::GET, path);
        let request = id.into_iter().fold(request, |request, id| {
            request.header(
                "discodeit-request-id",
                reqwest::header::HeaderValue::from_bytes(id).expect("a value"),
            )
        });
        let answer = ann.send(request).await;
        answer
            .header("discodeit-request-id")
            .expect("every response has a request id")
            .to_owned()
    };
    let longest = "x".repeat(64);
    for client_id in [
        "1",
        "a-b_c.d/e",
        "<script>\"';--",
        "a%0d%0aX-Evil:1",
        &longest,
    ] {
        for path in [
            "/api/users",
            "/api/nothing",
            "/api/health/live",
            "/api/auth/me",
            "/api/auth/csrf-token",
            "/api/channels",
        ] {
            assert_eq!(
                ask(path, Some(client_id.as_bytes())).await,
                client_id,
                "{path}"
            );
        }
    }
    let mut generated = std::collections::HashSet::new();
    let long = "x".repeat(65);
    for client_id in [
        None,
        Some(&b""[..]),
        Some(b"two words"),
        Some("ünïcode".as_bytes()),
        Some(b"tab\tbed"),
        Some(long.as_bytes()),
    ] {
        let id = ask("/api/users", client_id).await;
        assert_ne!(Some(id.as_bytes()), client_id);
        assert!(
            (1..=64).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_graphic()),
            "{id:?}"
        );
        assert!(generated.insert(id), "each request gets a new id");
    }
    // A value with a control character must not add a header to the response.
    for value in [
        "a\rX-Evil: 1",
        "a\0X-Evil: 1",
        "a\n X-Evil: 1",
        "a\r\n X-Evil: 1",
    ] {
        let mut raw = Raw::open(&cluster).await;
        raw.send(format!(
            "GET /api/health/live HTTP/1.1\r\nHost: x\r\nDiscodeit-Request-ID: {value}\r\n\r\n"
        ))
        .await;
        if let Some(answer) = raw.answer().await {
            assert!(answer.header("x-evil").is_none(), "{answer:?}");
            assert!(
                !format!("{:?}", answer.headers)
                    .to_lowercase()
                    .contains("evil"),
                "{answer:?}"
            );
        }
    }
    alive(&ann).await;
}
