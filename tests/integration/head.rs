//! HEAD (RFC 9110 §9.3.2): the response has the status and the headers of GET, and no body.

use reqwest::Method;
use tokio::io::AsyncReadExt;

use super::{
    errors::Raw,
    files::{attach, bytes, file, until_ready},
};
use crate::support::{Cluster, SOON};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn head_has_the_headers_of_get_and_no_body() {
    let cluster = Cluster::shared(1).await;
    let (ann, channel) = (cluster.user(0, "ann").await, cluster.channel().await);
    let attachment = file("a.bin", "video/mp4", bytes(1_000));
    let id = attach(&ann, &channel, vec![attachment]).await.remove(0);
    until_ready(&ann, &id).await;
    let user = &ann.id;
    ann.until_ready().await;
    for path in [
        "/api/health/live".to_owned(),
        "/api/health/ready".to_owned(),
        "/api/auth/csrf-token".to_owned(),
        "/api/auth/me".to_owned(),
        "/api/users".to_owned(),
        "/api/notifications".to_owned(),
        format!("/api/channels?userId={user}"),
        format!("/api/readStatuses?userId={user}"),
        format!("/api/messages?channelId={channel}"),
        format!("/api/binaryContents?binaryContentIds={id}"),
        format!("/api/binaryContents/{id}"),
    ] {
        let get = ann.get(&path).await;
        let head = ann.send(ann.request(Method::HEAD, &path)).await;
        assert!(get.status < 300, "{path}: {get:?}");
        assert_eq!(head.status, get.status, "{path}");
        for name in ["content-type", "content-length", "cache-control"] {
            assert_eq!(head.header(name), get.header(name), "{path}: {name}");
        }
        assert_eq!(head.body, serde_json::Value::Null, "{path}");
    }

    let download = format!("/api/binaryContents/{id}/download");
    let head = |headers: &[(&'static str, &str)]| {
        let request = headers.iter().fold(
            ann.request(Method::HEAD, &download),
            |request, (name, value)| request.header(*name, *value),
        );
        ann.send(request)
    };
    // §14.2: only GET has a range.
    for headers in [
        &[][..],
        &[("range", "bytes=0-9")],
        &[("range", "bytes=5000-")],
    ] {
        let answer = head(headers).await;
        assert_eq!(answer.status, 200, "{headers:?}");
        assert_eq!(answer.header("content-length"), Some("1000"));
        assert_eq!(answer.header("content-range"), None);
        assert_eq!(answer.header("accept-ranges"), Some("bytes"));
    }
    let etag = format!("\"{id}\"");
    assert_eq!(head(&[("if-none-match", &etag)]).await.status, 304);

    let stream = ann.send(ann.request(Method::HEAD, "/api/sse")).await;
    assert_eq!(stream.status, 200);
    assert_eq!(stream.header("content-type"), Some("text/event-stream"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn head_is_refused_as_get_is() {
    let cluster = Cluster::shared(1).await;
    let ann = cluster.user(0, "ann").await;
    for (path, status) in [
        ("/nothing", 404),
        ("/api/auth/login", 405),
        ("/api/messages", 400),
    ] {
        let answer = ann.send(ann.request(Method::HEAD, path)).await;
        assert_eq!(answer.status, status, "{path}");
    }
    let stranger = cluster.visitor(0);
    for path in ["/api/users", "/api/sse"] {
        let answer = stranger.send(stranger.request(Method::HEAD, path)).await;
        assert_eq!(answer.status, 401, "{path}");
    }

    for path in ["/api/health/live", "/api/users"] {
        let mut raw = Raw::open(&cluster).await;
        raw.send(format!(
            "HEAD {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
        ))
        .await;
        let mut answer = String::new();
        let read = raw.0.read_to_string(&mut answer);
        tokio::time::timeout(SOON, read)
            .await
            .expect("the node closes")
            .expect("the head is text");
        assert!(
            answer.ends_with("\r\n\r\n") && answer.contains("content-length: "),
            "{path}: {answer}"
        );
    }
}
