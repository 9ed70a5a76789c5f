//! Downloads: headers, ranges, conditional requests, hostile names and types.

use std::time::Duration;

use reqwest::Method;

use super::files::{PNG, attach, bytes, content, file, post, status, until_ready};
use crate::support::{Cluster, User, eventually};

/// Downloads a file and returns status, headers and bytes.
async fn download(
    by: &User,
    id: &str,
    headers: &[(&str, &str)],
) -> (u16, reqwest::header::HeaderMap, Vec<u8>) {
    let mut request = by.request(Method::GET, &format!("/api/binaryContents/{id}/download"));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let response = request.send().await.expect("an answer");
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    let body = response.bytes().await.expect("complete").to_vec();
    (status, headers, body)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn downloads_support_ranges_and_conditional_requests() {
    let cluster = Cluster::shared(1).await;
    let (ann, channel) = (cluster.user(0, "ann").await, cluster.channel().await);
    let all = bytes(700_001);
    let ids = attach(
        &ann,
        &channel,
        vec![
            file("a.bin", "video/mp4", all.clone()),
            file("empty", "text/plain", ""),
        ],
    )
    .await;
    let (id, empty) = (&ids[0], &ids[1]);
    until_ready(&ann, id).await;
    until_ready(&ann, empty).await;

    let (status, headers, body) = download(&ann, id, &[]).await;
    assert_eq!((status, &body), (200, &all));
    let header = |name: &str| headers[name].to_str().expect("text").to_owned();
    assert_eq!(header("content-length"), "700001");
    assert_eq!(header("content-type"), "video/mp4");
    assert_eq!(header("accept-ranges"), "bytes");
    assert_eq!(header("x-content-type-options"), "nosniff");
    assert_eq!(
        header("content-security-policy"),
        "sandbox; default-src 'none'"
    );
    assert!(header("cache-control").starts_with("private"));
    assert!(headers.contains_key("discodeit-request-id"));
    let etag = header("etag");

    for (range, from, to) in [
        ("bytes=0-0", 0, 1),
        ("bytes=262143-262145", 262_143, 262_146),
        ("bytes=700000-", 700_000, 700_001),
        ("bytes=-10", 699_991, 700_001),
        ("bytes=5-9999999", 5, 700_001),
    ] {
        for condition in [&[][..], &[("if-range", etag.as_str())]] {
            let request_headers = [&[("range", range)], condition].concat();
            let (status, headers, body) = download(&ann, id, &request_headers).await;
            assert_eq!((status, &body[..]), (206, &all[from..to]), "{range}");
            assert_eq!(
                headers["content-range"],
                format!("bytes {from}-{}/700001", to - 1)
            );
            assert_eq!(headers["content-length"], (to - from).to_string());
        }
        let (status, _, body) =
            download(&ann, id, &[("range", range), ("if-range", "\"another\"")]).await;
        assert_eq!((status, body.len()), (200, all.len()));
    }
    for (id, size) in [(id, 700_001), (empty, 0)] {
        let (status, headers, body) = download(&ann, id, &[("range", "bytes=700001-")]).await;
        assert_eq!(status, 416);
        assert_eq!(headers["content-range"], format!("bytes */{size}"));
        let body: serde_json::Value = serde_json::from_slice(&body).expect("an error is JSON");
        assert_eq!(body["code"], "RANGE_NOT_SATISFIABLE");
    }
    let (status, headers, body) = download(
        &ann,
        id,
        &[("if-none-match", &etag), ("range", "bytes=0-1")],
    )
    .await;
    assert_eq!((status, body.len()), (304, 0));
    assert_eq!(headers["etag"], etag);
    assert_eq!(
        download(&ann, id, &[("if-none-match", "\"x\"")]).await.0,
        200
    );
    let (status, headers, body) = download(&ann, empty, &[]).await;
    assert_eq!((status, body.len()), (200, 0));
    assert_eq!(headers["content-length"], "0");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_download_accepts_the_session_cookie_alone() {
    let cluster = Cluster::start_with(2, &[("ACCESS_TOKEN_TTL", "10s")]).await;
    let (ann, channel) = (cluster.user(0, "ann").await, cluster.channel().await);
    let id = attach(&ann, &channel, vec![file("a.png", "image/png", PNG)])
        .await
        .remove(0);
    until_ready(&ann, &id).await;
    let mut by_cookie = ann.at_node(&cluster.address(1));
    by_cookie.at.token = None;
    assert_eq!(content(&by_cookie, &id).await, PNG);
    let metadata = by_cookie.get(&format!("/api/binaryContents/{id}")).await;
    assert_eq!(metadata.status, 401, "only a download accepts the cookie");
    by_cookie.at.token = Some("not a token".to_owned());
    assert_eq!(
        download(&by_cookie, &id, &[]).await.0,
        401,
        "an invalid token is rejected even with the cookie"
    );
    assert_eq!(ann.post_csrf("/api/auth/logout").await.status, 204);
    by_cookie.at.token = None;
    assert_eq!(download(&by_cookie, &id, &[]).await.0, 401);
    assert_eq!(download(&ann, &id, &[]).await.0, 401);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_is_not_found_before_it_is_ready() {
    let cluster = Cluster::start(1).await;
    let (ann, channel) = (cluster.user(0, "ann").await, cluster.channel().await);
    std::fs::write(cluster.files.join("files"), b"in the way").expect("written");
    let id = attach(&ann, &channel, vec![file("a", "text/plain", "x")])
        .await
        .remove(0);
    let path = format!("/api/binaryContents/{id}/download");
    assert_eq!(status(&ann, &id).await, "WAITING");
    assert_eq!(ann.get(&path).await.code(), "BINARY_CONTENT_NOT_FOUND");
    std::fs::remove_file(cluster.files.join("files")).expect("removed");
    eventually("the file is ready", async || {
        ann.get(&path).await.status == 200
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hostile_names_and_types_are_neutralized() {
    let cluster = Cluster::start(1).await;
    let (ann, channel) = (cluster.user(0, "ann").await, cluster.channel().await);
    let long = format!("{}.png", "ä".repeat(300));
    let shortened = format!("{}.png", "ä".repeat(251));
    let names = [
        ("../../../etc/passwd", "passwd"),
        ("..\\..\\boot.ini", "boot.ini"),
        ("/etc/shadow", "shadow"),
        ("..%2f..%2fx", "..%2f..%2fx"),
        ("%252e%252e%252fx", "%252e%252e%252fx"),
        ("a\u{202e}gpj.exe", "agpj.exe"),
        ("고양이 \u{1f408}.png", "고양이 \u{1f408}.png"),
        ("..", "file"),
        ("a; filename=b", "a; filename=b"),
        (long.as_str(), shortened.as_str()),
    ];
    let script =
        "<svg xmlns='http://www.w3.org/2000/svg' onload='alert(1)'/><script>alert(1)</script>";
    let types = [
        "text/html",
        "image/svg+xml",
        "application/xhtml+xml",
        "text/xml",
        "text/javascript",
        "text/html; charset=utf-7",
        "application/octet-stream",
        "multipart/mixed",
        "text/css",
        "application/wasm",
    ];
    let files = (0..10).map(|n| file(names[n].0, types[n], script));
    let message = serde_json::json!({ "content": "", "channelId": channel, "authorId": ann.id });
    let answer = post(&ann, &message, files.collect()).await;
    assert_eq!(answer.status, 201, "{answer:?}");
    let mut ids = Vec::new();
    for (n, (_, shown)) in names.iter().enumerate() {
        let attached = &answer.body["attachments"][n];
        assert_eq!(attached["fileName"], *shown);
        let id = attached["id"].as_str().expect("an id").to_owned();
        until_ready(&ann, &id).await;
        let (status, headers, body) = download(&ann, &id, &[]).await;
        assert_eq!((status, &body[..]), (200, script.as_bytes()));
        let disposition = String::from_utf8(headers["content-disposition"].as_bytes().to_vec());
        let disposition = disposition.expect("text");
        assert!(
            disposition.starts_with("attachment; filename=\""),
            "{disposition}"
        );
        assert!(disposition.is_ascii() && disposition.contains("filename*=UTF-8''"));
        assert_eq!(
            headers["content-type"], "application/octet-stream",
            "{}",
            types[n]
        );
        assert_eq!(headers["x-content-type-options"], "nosniff");
        assert_eq!(
            headers["content-security-policy"],
            "sandbox; default-src 'none'"
        );
        ids.push(id);
    }
    let mut stored = super::files::stored(&cluster, "files");
    stored.sort_unstable();
    assert_eq!(
        stored, ids,
        "the storage uses ids as names, never the client's names"
    );

    // A PNG with a script appended keeps its type.
    let polyglot = [PNG, script.as_bytes()].concat();
    let id = attach(
        &ann,
        &channel,
        vec![file("a\"b.png", "image/png", polyglot)],
    )
    .await
    .remove(0);
    until_ready(&ann, &id).await;
    let (_, headers, _) = download(&ann, &id, &[]).await;
    assert_eq!(headers["content-type"], "image/png");
    let disposition = headers["content-disposition"].to_str().expect("text");
    assert!(
        disposition.starts_with("inline; filename=\"") && !disposition.contains("a\"b"),
        "{disposition}"
    );
    tokio::time::sleep(Duration::from_millis(1)).await;
}
