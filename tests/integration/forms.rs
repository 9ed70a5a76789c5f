//! Requests in the forms that all kinds of clients write.

use reqwest::Method;
use serde_json::{Value, json};

use super::{
    accounts::{keys, text},
    errors::Raw,
    files::{PNG, count, file, with_picture},
    logins::{bare, tokens},
};
use crate::support::{Answer, Cluster, Stomp, User};

/// Posts parts to `/api/messages` as raw bytes; each part is its headers and its content.
async fn post_parts(by: &User, parts: &[(&str, &str)]) -> Answer {
    let parts = parts
        .iter()
        .map(|(headers, content)| format!("--x\r\n{headers}\r\n\r\n{content}\r\n"));
    let body = parts.collect::<String>() + "--x--\r\n";
    let request = by
        .request(Method::POST, "/api/messages")
        .header("content-type", "multipart/form-data; boundary=x")
        .body(body);
    by.send(request).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn attachments_are_found_in_every_form_of_their_header() {
    let cluster = Cluster::start(1).await;
    let (ann, channel) = (cluster.user(0, "ann").await, cluster.channel().await);
    let json = json!({ "content": "", "channelId": channel, "authorId": ann.id }).to_string();
    for (header, shown) in [
        (
            "Content-Disposition: form-data; NAME=\"attachments\"; FILENAME=\"upper.txt\"",
            "upper.txt",
        ),
        (
            "content-disposition: form-data; name=attachments; filename=plain.txt",
            "plain.txt",
        ),
        (
            "Content-Disposition: form-data; name=\"attachments\"; filename=\"say %22hi%22.txt\"",
            "say \"hi\".txt",
        ),
        (
            "Content-Disposition: form-data; name=\"attachments\"; filename=\"say \\\"hi\\\".txt\"",
            "say \"hi\".txt",
        ),
        (
            "Content-Disposition: form-data; name=\"attachments\"; filename*=UTF-8''%ED%95%9C%EA%B8%80.txt",
            "한글.txt",
        ),
        (
            "Content-Disposition: form-data; filename=\"고양이.txt\"; name=\"attachments\"",
            "고양이.txt",
        ),
    ] {
        let message = "Content-Disposition: form-data; Name=messageCreateRequest";
        let answer = post_parts(&ann, &[(message, &json), (header, "x")]).await;
        assert_eq!(answer.status, 201, "{header} {answer:?}");
        let attachments = answer.body["attachments"].as_array().expect("a list");
        assert_eq!(attachments.len(), 1, "{header}");
        assert_eq!(text(&attachments[0]["fileName"]), shown, "{header}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_under_another_name_is_refused() {
    let cluster = Cluster::start(1).await;
    let (ann, channel) = (cluster.user(0, "ann").await, cluster.channel().await);
    let json = json!({ "content": "look", "channelId": channel, "authorId": ann.id }).to_string();
    let message = (
        "Content-Disposition: form-data; name=\"messageCreateRequest\"",
        &*json,
    );
    for header in [
        "Content-Disposition: form-data; name=\"attachment\"; filename=\"a.txt\"",
        "Content-Disposition: form-data; name=\"attachments[]\"; filename=\"a.txt\"\r\nContent-Type: text/plain",
        "Content-Disposition: form-data; name=\"file\"\r\nContent-Type: image/png",
        "Content-Disposition: form-data; filename=\"a.txt\"",
        "Content-Type: text/plain",
    ] {
        let answer = post_parts(&ann, &[message, (header, "x")]).await;
        assert_eq!(
            (answer.status, answer.code()),
            (400, "MALFORMED_REQUEST"),
            "{header}"
        );
    }
    assert_eq!(
        (
            count(&cluster, "messages").await,
            count(&cluster, "binary_contents").await
        ),
        (0, 0)
    );
    // Fields that a form may have besides: a submit button, and a file input without a file.
    for header in [
        "Content-Disposition: form-data; name=\"submit\"",
        "Content-Disposition: form-data; name=\"_charset_\"\r\nContent-Type: text/plain; charset=utf-8",
        "Content-Disposition: form-data; name=\"other\"; filename=\"\"\r\nContent-Type: application/octet-stream",
    ] {
        let answer = post_parts(&ann, &[message, (header, "")]).await;
        assert_eq!(answer.status, 201, "{header} {answer:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_picture_without_a_content_type_is_known_by_its_bytes() {
    let cluster = Cluster::start(1).await;
    let ann = cluster.user(0, "ann").await;
    let plain = reqwest::multipart::Part::bytes(PNG.to_vec()).file_name("me.png");
    let octets = file("me.png", "application/octet-stream", PNG);
    for picture in [plain, octets] {
        let answer = with_picture(&ann, picture).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        assert_eq!(answer.body["profile"]["contentType"], "image/png");
    }
    for (content_type, content) in [
        ("image/jpeg", PNG),
        ("application/octet-stream", &b"<svg/>"[..]),
    ] {
        let answer = with_picture(&ann, file("me.png", content_type, content)).await;
        assert_eq!(
            (answer.status, keys(&answer.body["details"])),
            (400, vec!["profile"])
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn json_of_other_writers_is_read() {
    let cluster = Cluster::start(1).await;
    let admin = cluster.admin(0).await;
    let send = async |body: &str| {
        let request = admin
            .request(Method::POST, "/api/channels/public")
            .header("content-type", "application/json")
            .body(body.to_owned());
        admin.send(request).await
    };
    for (body, name) in [
        (r#"{"name":"cut \ud83d","description":""}"#, "cut \u{fffd}"),
        (
            "\u{feff}{\"name\":\"marked\",\"description\":\"\"}",
            "marked",
        ),
        (r#"{"name":"a","description":"","name":"last"}"#, "last"),
    ] {
        let answer = send(body).await;
        assert_eq!(answer.status, 201, "{body} {answer:?}");
        assert_eq!(text(&answer.body["name"]), name);
    }
    let answer = send(r#"{"name":5,"description":[]}"#).await;
    assert_eq!((answer.status, answer.code()), (400, "INVALID_INPUT"));
    assert_eq!(keys(&answer.body["details"]), ["description", "name"]);
    let body = json!({ "participantIds": [admin.id, ""] });
    let answer = admin.post("/api/channels/private", &body).await;
    assert_eq!(
        (answer.status, keys(&answer.body["details"])),
        (400, vec!["participantIds[1]"])
    );

    // STOMP bodies are read likewise, with a receipt too.
    let channel = cluster.channel().await;
    let mut stomp = Stomp::connect(&admin).await;
    stomp.subscribe(&channel).await;
    let body = format!(
        r#"{{"content":"cut \ud83d","channelId":"{channel}","authorId":"{}"}}"#,
        admin.id
    );
    stomp
        .send(&format!(
            "SEND\ndestination:/pub/messages\nreceipt:r\n\n\u{feff}{body}\0"
        ))
        .await;
    stomp.receipt("r").await;
    assert_eq!(stomp.message().await["content"], "cut \u{fffd}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_id_in_capitals_is_the_same_id_everywhere() {
    let cluster = Cluster::start(1).await;
    let (ann, channel) = (cluster.user(0, "ann").await, cluster.channel().await);
    let upper = channel.to_uppercase();
    assert_ne!(upper, channel);
    let mut stomp = Stomp::connect(&ann).await;
    stomp.subscribe(&upper).await;
    let body = json!({ "content": "hello", "channelId": upper, "authorId": ann.id.to_uppercase() });
    stomp
        .send(&format!("SEND\ndestination:/pub/messages\n\n{body}\0"))
        .await;
    let frame = stomp.expect("MESSAGE").await;
    let destination = format!("/sub/channels.{channel}.messages");
    assert_eq!(frame.header("destination"), Some(&*destination));
    let message: Value = serde_json::from_str(&frame.body).expect("JSON");
    assert_eq!(text(&message["channelId"]), channel);
    let answer = ann.get(&format!("/api/messages?channelId={upper}")).await;
    assert_eq!(answer.body["content"][0]["id"], message["id"], "{answer:?}");
    let id = text(&message["id"]).to_uppercase();
    assert_eq!(ann.delete(&format!("/api/messages/{id}")).await.status, 204);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn own_cookies_are_found_beside_odd_ones_and_on_any_line() {
    let cluster = Cluster::start(1).await;
    let ann = cluster.user(0, "ann").await;
    let (_, refresh) = tokens(&bare(&ann.at), &ann.name).await;
    for cookies in [
        format!("Cookie: theme=한글; REFRESH-TOKEN={refresh}\r\n"),
        format!("Cookie: a=\"; REFRESH-TOKEN={refresh}; b=\"\r\n"),
        format!("Cookie: theme=한글\r\nCookie: REFRESH-TOKEN={refresh}\r\n"),
    ] {
        let request = format!("GET /api/auth/me HTTP/1.1\r\nHost: x\r\n{cookies}\r\n");
        assert_eq!(Raw::ask(&cluster, request).await.status, 200, "{cookies}");
    }
    let request = format!(
        "POST /api/auth/refresh HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nX-XSRF-TOKEN: t\r\n\
         Cookie: theme=한글; XSRF-TOKEN=t\r\nCookie: REFRESH-TOKEN={refresh}\r\n\r\n"
    );
    assert_eq!(Raw::ask(&cluster, request).await.status, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn escaped_letters_in_a_path_are_those_letters() {
    let cluster = Cluster::start(1).await;
    for (path, status) in [
        ("/api/%75sers", 401),
        ("/%61pi/health/%6Cive", 200),
        ("/ws/%69nfo", 200),
        ("/api/%2575sers", 404),
        ("/api%2fusers", 404),
    ] {
        let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n");
        assert_eq!(Raw::ask(&cluster, request).await.status, status, "{path}");
    }
}
