//! Uploads: types, limits, and the clean-up after rejections and interruptions.

use reqwest::{Method, multipart};
use serde_json::{Value, json};

use super::{
    accounts::{keys, text},
    errors::Raw,
    files::{PNG, attach, bytes, count, file, post, stored},
};
use crate::support::{Answer, Cluster, User, eventually};

async fn nothing_is_left(cluster: &Cluster) {
    eventually("nothing is left in storage", async || {
        stored(cluster, "incoming").is_empty() && stored(cluster, "files").is_empty()
    })
    .await;
    assert_eq!(
        (
            count(cluster, "binary_contents").await,
            count(cluster, "messages").await
        ),
        (0, 0)
    );
}

const BOUNDARY: &str = "----x";

/// The head of a POST to `/api/messages` without the body's length.
///
/// The caller appends `Content-Length` or `Transfer-Encoding` and the empty line.
pub(crate) fn head(user: &User) -> String {
    format!(
        "POST /api/messages HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\nContent-Type: multipart/form-data; boundary={BOUNDARY}\r\n",
        user.token()
    )
}

pub(crate) fn part(name: &str, rest: &str) -> String {
    format!("--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"{name}\"{rest}\r\n\r\n")
}

pub(crate) fn chunk(data: &[u8]) -> Vec<u8> {
    [format!("{:x}\r\n", data.len()).as_bytes(), data, b"\r\n"].concat()
}

/// Sends at most `limit` chunks and returns the response.
///
/// Stops early when a write fails: a node that rejects the upload closes the connection.
async fn flood(raw: &mut Raw, data: &[u8], limit: usize) -> Answer {
    for _ in 0..limit {
        if !raw.try_send(chunk(data)).await {
            break;
        }
    }
    raw.answer().await.expect("an answer")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upload_over_a_limit_is_rejected_early_and_leaves_nothing() {
    let limits = [("MAX_FILE_SIZE", "300KiB"), ("MAX_REQUEST_SIZE", "1MiB")];
    let cluster = Cluster::start_with(1, &limits).await;
    let (ann, channel) = (cluster.user(0, "ann").await, cluster.channel().await);
    let message = json!({ "content": "x", "channelId": channel, "authorId": ann.id });
    // A Content-Length over the limit is rejected before the node reads the body.
    let mut raw = Raw::open(&cluster).await;
    raw.send(format!("{}Content-Length: 1048577\r\n\r\n", head(&ann)))
        .await;
    let answer = raw.answer().await.expect("an answer");
    assert_eq!((answer.status, answer.code()), (413, "PAYLOAD_TOO_LARGE"));
    assert_eq!(answer.body["details"], json!({ "limitBytes": 1_048_576 }));

    // A chunked file over the file limit.
    let mut raw = Raw::open(&cluster).await;
    raw.send(format!("{}Transfer-Encoding: chunked\r\n\r\n", head(&ann)))
        .await;
    raw.send(chunk(part("attachments", "; filename=\"a\"").as_bytes()))
        .await;
    let answer = flood(&mut raw, &bytes(0x8000), 20).await;
    assert_eq!((answer.status, answer.code()), (413, "PAYLOAD_TOO_LARGE"));
    assert_eq!(answer.body["details"], json!({ "limitBytes": 307_200 }));
    let answer = post(
        &ann,
        &message,
        vec![file("a", "text/plain", bytes(307_201))],
    )
    .await;
    assert_eq!(answer.status, 413);

    // A chunked request over the request limit, with each file within the file limit.
    let mut raw = Raw::open(&cluster).await;
    raw.send(format!("{}Transfer-Encoding: chunked\r\n\r\n", head(&ann)))
        .await;
    for _ in 0..4 {
        let begin = part("attachments", "; filename=\"a\"");
        let data = [begin.as_bytes(), &bytes(300 * 1024), b"\r\n"].concat();
        if !raw.try_send(chunk(&data)).await {
            break;
        }
    }
    let answer = raw.answer().await;
    assert_eq!(
        answer.expect("an answer").body["details"],
        json!({ "limitBytes": 1_048_576 })
    );

    // The headers of a part and the bytes before the first part have a limit of 16 KiB.
    for (before, filler) in [
        (part("attachments", "; filename=\"a\"\r\nX-A: "), "y"),
        (String::new(), "z"),
    ] {
        let before = before.trim_end();
        let mut raw = Raw::open(&cluster).await;
        raw.send(format!("{}Transfer-Encoding: chunked\r\n\r\n", head(&ann)))
            .await;
        if !before.is_empty() {
            raw.send(chunk(before.as_bytes())).await;
        }
        let answer = flood(&mut raw, filler.repeat(0x4000).as_bytes(), 64).await;
        assert_eq!(
            (answer.status, answer.code()),
            (413, "PAYLOAD_TOO_LARGE"),
            "{filler}"
        );
        assert_eq!(answer.body["details"], json!({ "limitBytes": 16_384 }));
    }
    nothing_is_left(&cluster).await;
    let largest_allowed = (0..3).map(|_| file("a", "text/plain", bytes(300 * 1024)));
    assert_eq!(
        attach(&ann, &channel, largest_allowed.collect())
            .await
            .len(),
        3
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rejected_upload_leaves_nothing() {
    let cluster = Cluster::start(1).await;
    let (ann, bob) = (cluster.user(0, "ann").await, cluster.user(0, "bob").await);
    let channel = cluster.channel().await;
    let private = bob.create_private(&[&cluster.admin(0).await]).await;
    let files = |n: usize| -> Vec<_> {
        (0..n)
            .map(|_| file("a", "text/plain", bytes(300_000)))
            .collect()
    };
    let message = |channel: &str, by: &User| json!({ "content": "x", "channelId": channel, "authorId": by.id });
    let answer = post(&ann, &message(&channel, &ann), files(11)).await;
    assert_eq!(
        (answer.status, keys(&answer.body["details"])),
        (400, vec!["attachments"])
    );
    let answer = post(&ann, &message(&private, &ann), files(1)).await;
    assert_eq!((answer.status, answer.code()), (404, "CHANNEL_NOT_FOUND"));
    let answer = post(&ann, &message(&channel, &bob), files(1)).await;
    assert_eq!((answer.status, answer.code()), (403, "FORBIDDEN"));
    for wrong in [json!([]), json!({ "channelId": 1 }), json!({})] {
        assert_eq!(post(&ann, &wrong, files(1)).await.status, 400, "{wrong}");
    }
    let without = multipart::Form::new().part("attachments", files(1).remove(0));
    let answer = ann
        .send(
            ann.request(Method::POST, "/api/messages")
                .multipart(without),
        )
        .await;
    assert_eq!(
        (answer.status, keys(&answer.body["details"])),
        (400, vec!["messageCreateRequest"])
    );
    // By hand: reqwest reads the parts of a form by recursion, too deep here for a thread's stack.
    let part = |n| format!("--b\r\nContent-Disposition: form-data; name=\"p{n}\"\r\n\r\n\r\n");
    let many: String = (0..10_000)
        .map(part)
        .chain(["--b--\r\n".to_owned()])
        .collect();
    let request = ann
        .request(Method::POST, "/api/messages")
        .header("Content-Type", "multipart/form-data; boundary=b");
    let answer = ann.send(request.body(many)).await;
    assert_eq!((answer.status, answer.code()), (400, "MALFORMED_REQUEST"));
    let mut visitor = ann.clone();
    visitor.at.token = None;
    assert_eq!(
        post(&visitor, &message(&channel, &ann), files(1))
            .await
            .status,
        401
    );
    nothing_is_left(&cluster).await;
    assert_eq!(attach(&ann, &channel, files(10)).await.len(), 10);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_interrupted_upload_leaves_nothing() {
    let cluster = Cluster::start(1).await;
    let (ann, channel) = (cluster.user(0, "ann").await, cluster.channel().await);
    let json = json!({ "content": "x", "channelId": channel, "authorId": ann.id }).to_string();
    let whole = [
        part("attachments", "; filename=\"first\"").as_bytes(),
        &bytes(400_000),
        b"\r\n",
        part("messageCreateRequest", "").as_bytes(),
        json.as_bytes(),
        b"\r\n",
        part("attachments", "; filename=\"second\"").as_bytes(),
        &bytes(800_000),
        format!("\r\n--{BOUNDARY}--\r\n").as_bytes(),
    ]
    .concat();
    for length in [200_000, 399_000, 400_300, 900_000, whole.len() - 3] {
        let mut raw = Raw::open(&cluster).await;
        raw.send(format!(
            "{}Content-Length: {}\r\n\r\n",
            head(&ann),
            whole.len()
        ))
        .await;
        raw.send(&whole[..length]).await;
        if length > 800_000 {
            eventually("the upload is in progress", async || {
                !stored(&cluster, "incoming").is_empty()
            })
            .await;
        }
        drop(raw);
    }
    nothing_is_left(&cluster).await;
    let mut raw = Raw::open(&cluster).await;
    raw.send(format!(
        "{}Content-Length: {}\r\n\r\n",
        head(&ann),
        whole.len()
    ))
    .await;
    raw.send(&whole).await;
    let answer = raw.answer().await.expect("an answer");
    assert_eq!(answer.status, 201, "{answer:?}");
    let names = answer.body["attachments"]
        .as_array()
        .expect("a list")
        .iter();
    let names: Vec<_> = names.map(|file| text(&file["fileName"])).collect();
    assert_eq!(names, ["first", "second"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_profile_picture_must_be_an_image() {
    let cluster = Cluster::start(1).await;
    let ann = cluster.user(0, "ann").await;
    let path = format!("/api/users/{}", ann.id);
    let send = async |part: multipart::Part| {
        let form = multipart::Form::new()
            .text("userUpdateRequest", "{}")
            .part("profile", part);
        ann.send(ann.request(Method::PATCH, &path).multipart(form))
            .await
    };
    for wrong in [
        file("a.svg", "image/svg+xml", "<svg onload='alert(1)'/>"),
        file("a.png", "image/png", "<script>alert(1)</script>"),
        file("a.png", "image/jpeg", PNG),
        file("a.png", "text/html", PNG),
        file("a.png", "image/png", ""),
    ] {
        let answer = send(wrong).await;
        assert_eq!((answer.status, answer.code()), (400, "INVALID_INPUT"));
        assert_eq!(keys(&answer.body["details"]), ["profile"]);
    }
    let two = multipart::Form::new()
        .part("profile", file("a.png", "image/png", PNG))
        .part("profile", file("b.png", "image/png", PNG))
        .text("userUpdateRequest", "{}");
    let answer = ann
        .send(ann.request(Method::PATCH, &path).multipart(two))
        .await;
    assert_eq!(
        (answer.status, keys(&answer.body["details"])),
        (400, vec!["profile"])
    );
    nothing_is_left(&cluster).await;
    for (content_type, start) in [
        ("image/png", PNG),
        ("image/jpeg", b"\xff\xd8\xff\xe0\0\x10JFIF\0\x01"),
        ("image/gif", b"GIF89a\x01\0\x01\0\0\0\0"),
        ("image/webp", b"RIFF\x10\0\0\0WEBPVP8 "),
    ] {
        let answer = send(file("me", content_type, start)).await;
        assert_eq!(
            (answer.status, text(&answer.body["profile"]["contentType"])),
            (200, content_type)
        );
    }
    // An empty file input and an update without a picture keep the picture.
    let none = send(multipart::Part::bytes(&b""[..]).file_name("")).await;
    assert_eq!(text(&none.body["profile"]["contentType"]), "image/webp");
    let other: Value = json!({ "newEmail": "other@example.org" });
    let changed = ann
        .multipart(Method::PATCH, &path, "userUpdateRequest", &other)
        .await;
    assert_eq!(changed.body["profile"]["id"], none.body["profile"]["id"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_limits_concurrent_uploads_but_not_text_messages() {
    let cluster = Cluster::start_with(1, &[("MAX_UPLOADS", "1")]).await;
    let (ann, channel) = (cluster.user(0, "ann").await, cluster.channel().await);
    let mut slow = Raw::open(&cluster).await;
    slow.send(format!("{}Transfer-Encoding: chunked\r\n\r\n", head(&ann)))
        .await;
    slow.send(chunk(part("attachments", "; filename=\"a\"").as_bytes()))
        .await;
    slow.send(chunk(&bytes(300_000))).await;
    eventually("the upload is in progress", async || {
        !stored(&cluster, "incoming").is_empty()
    })
    .await;
    let message = json!({ "content": "x", "channelId": channel, "authorId": ann.id });
    let answer = post(&ann, &message, vec![file("b", "text/plain", "x")]).await;
    assert_eq!((answer.status, answer.code()), (503, "SERVICE_UNAVAILABLE"));
    assert!(answer.header("retry-after").is_some());
    assert_eq!(post(&ann, &message, Vec::new()).await.status, 201);
    drop(slow);
    eventually("an upload is accepted again", async || {
        post(&ann, &message, vec![file("b", "text/plain", "x")])
            .await
            .status
            == 201
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_sign_ups_do_not_block_uploads_of_members() {
    const SIGN_UPS: usize = 8;
    let cluster = Cluster::start_with(1, &[("TRUSTED_PROXIES", "127.0.0.0/8")]).await;
    let (ann, channel) = (cluster.user(0, "ann").await, cluster.channel().await);
    let head = |address: usize| {
        format!(
            "POST /api/users HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: 203.0.113.{address}\r\n\
             Content-Type: multipart/form-data; boundary={BOUNDARY}\r\nTransfer-Encoding: chunked\r\n\r\n"
        )
    };
    let picture = part(
        "profile",
        "; filename=\"me.png\"\r\nContent-Type: image/png",
    );
    let mut slow = Vec::new();
    // Two from each address; a third one is refused.
    for number in (0..SIGN_UPS).chain([0]) {
        let mut raw = Raw::open(&cluster).await;
        raw.send(head(number / 2)).await;
        raw.send(chunk(picture.as_bytes())).await;
        raw.send(chunk(PNG)).await;
        raw.send(chunk(&bytes(300_000))).await;
        slow.push(raw);
    }
    eventually("all sign-ups are in progress", async || {
        stored(&cluster, "incoming").len() == SIGN_UPS
    })
    .await;
    let third = slow.pop().expect("a sign-up").answer().await;
    let third = third.expect("an answer");
    assert_eq!((third.status, third.code()), (429, "TOO_MANY_REQUESTS"));
    let sign_up = async |name: &str, with_picture: bool| {
        let account = json!({ "username": name, "email": format!("{name}@example.org"), "password": "password" });
        let mut form = multipart::Form::new().text("userCreateRequest", account.to_string());
        if with_picture {
            form = form.part("profile", file("me.png", "image/png", PNG));
        }
        let visitor = cluster.visitor(0);
        let request = visitor.request(Method::POST, "/api/users").multipart(form);
        visitor.send(request).await
    };
    let rejected = sign_up("bob", true).await;
    assert_eq!(
        (rejected.status, rejected.code()),
        (503, "SERVICE_UNAVAILABLE")
    );
    assert_eq!(sign_up("bob", false).await.status, 201);
    let message = json!({ "content": "x", "channelId": channel, "authorId": ann.id });
    let answer = post(&ann, &message, vec![file("b", "text/plain", "x")]).await;
    assert_eq!(answer.status, 201, "{answer:?}");
    drop(slow);
    eventually("an upload is accepted again", async || {
        sign_up("eve", true).await.status == 201
    })
    .await;
}
