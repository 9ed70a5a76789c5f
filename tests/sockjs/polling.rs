//! Transports with one frame per response: xhr and jsonp.

use serde_json::Value;

use crate::{client::Answer, session, start};

const FORM: [(&str, &str); 1] = [("Content-Type", "application/x-www-form-urlencoded")];

fn escape(unit: u32) -> String {
    format!("\\u{unit:04x}")
}

#[tokio::test]
async fn a_session_opens_echoes_and_has_one_receiver() {
    // Protocol.test_simpleSession
    let server = start().await;
    let url = session("echo");
    assert_eq!(server.poll(&url).await, "o\n");
    server.send(&url, "[\"a\"]").await;
    assert_eq!(server.poll(&url).await, "a[\"a\"]\n");
    let unknown = server
        .post("/echo/000/bad_session/xhr_send", "[\"a\"]")
        .await;
    assert_eq!(unknown.status(), 404);
    let _first = server.begin_poll(&url).await;
    assert_eq!(
        server.poll(&url).await,
        "c[2010,\"Another connection still open\"]\n"
    );
}

#[tokio::test]
async fn every_poll_of_a_closed_session_gets_the_close_frame() {
    // Protocol.test_closeSession
    let server = start().await;
    let url = session("close");
    assert_eq!(server.poll(&url).await, "o\n");
    for _ in 0..3 {
        assert_eq!(server.poll(&url).await, "c[3000,\"Go away!\"]\n");
    }
}

#[tokio::test]
async fn xhr_answers_have_the_headers_that_browsers_need() {
    // XhrPolling.test_transport
    let server = start().await;
    let url = session("echo");
    let origin = [("Origin", "test")];
    let answer = server
        .request("POST", &format!("{url}/xhr"), &origin, Some(""))
        .await;
    assert_eq!((answer.status(), answer.body.as_str()), (200, "o\n"));
    assert_eq!(
        answer.header("content-type"),
        Some("application/javascript; charset=UTF-8")
    );
    answer.head.assert_cors(Some("test"));
    answer.head.assert_not_cached();
    let answer = server
        .request("POST", &format!("{url}/xhr_send"), &origin, Some("[\"x\"]"))
        .await;
    assert_eq!((answer.status(), answer.body.as_str()), (204, ""));
    assert_eq!(
        answer.header("content-type"),
        Some("text/plain; charset=UTF-8")
    );
    answer.head.assert_cors(Some("test"));
    answer.head.assert_not_cached();
    assert_eq!(server.poll(&url).await, "a[\"x\"]\n");
}

#[tokio::test]
async fn a_send_to_an_unknown_session_is_not_found() {
    // XhrPolling.test_invalid_session
    let server = start().await;
    for transport in ["xhr_send", "jsonp_send"] {
        let path = format!("{}/{transport}", session("echo"));
        assert_eq!(server.post(&path, "[\"x\"]").await.status(), 404);
    }
}

#[tokio::test]
async fn a_session_survives_a_failed_send() {
    // XhrPolling.test_invalid_json
    let server = start().await;
    let url = session("echo");
    let path = format!("{url}/xhr_send");
    assert_eq!(server.poll(&url).await, "o\n");
    for (body, error) in [
        ("[\"x", "Broken JSON encoding."),
        ("[1]", "Broken JSON encoding."),
        ("", "Payload expected."),
    ] {
        let answer = server.post(&path, body).await;
        assert_eq!(answer.status(), 500);
        assert!(answer.body.contains(error), "{answer:?}");
    }
    server.send(&url, "[\"a\"]").await;
    assert_eq!(server.poll(&url).await, "a[\"a\"]\n");
}

#[tokio::test]
async fn messages_of_any_content_type_are_accepted_and_merged_into_one_frame() {
    // XhrPolling.test_content_types
    let server = start().await;
    let url = session("echo");
    assert_eq!(server.poll(&url).await, "o\n");
    let types = [
        "text/plain",
        "T",
        "application/json",
        "application/xml",
        "",
        "application/json; charset=utf-8",
        "text/xml; charset=utf-8",
        "text/xml",
    ];
    for content_type in types {
        let headers = [("Content-Type", content_type)];
        let path = format!("{url}/xhr_send");
        let answer = server
            .request("POST", &path, &headers, Some("[\"a\"]"))
            .await;
        assert_eq!((answer.status(), answer.body.as_str()), (204, ""));
    }
    let merged = ["\"a\""; 8].join(",");
    assert_eq!(server.poll(&url).await, format!("a[{merged}]\n"));
}

#[tokio::test]
async fn an_empty_array_is_accepted() {
    // XhrPolling.test_sending_empty_frame
    let server = start().await;
    let url = session("echo");
    assert_eq!(server.poll(&url).await, "o\n");
    server.send(&url, "[]").await;
    server.send(&url, "[\"a\"]").await;
    assert_eq!(server.poll(&url).await, "a[\"a\"]\n");
}

#[tokio::test]
async fn a_post_without_content_length_has_no_body() {
    // HttpQuirks.test_emptyContentLengthForPost
    let server = start().await;
    let path = format!("{}/xhr", session("echo"));
    let answer = server.request("POST", &path, &[], None).await;
    assert_eq!((answer.status(), answer.body.as_str()), (200, "o\n"));
}

#[tokio::test]
async fn characters_that_browsers_mangle_are_sent_escaped() {
    // JSONEncoding.test_xhr_server_encodes
    let server = start().await;
    let url = session("echo");
    assert_eq!(server.poll(&url).await, "o\n");
    let ranges = [
        0x200c..=0x200f,
        0x2028..=0x202f,
        0x2060..=0x206f,
        0xfff0..=0xffff,
    ];
    let units: Vec<u32> = ranges.into_iter().flatten().collect();
    let raw: String = units
        .iter()
        .filter_map(|unit| char::from_u32(*unit))
        .collect();
    let escaped: Vec<String> = units.iter().copied().map(escape).collect();
    let escaped = escaped.concat();
    server.send(&url, &format!("[\"{raw}\"]")).await;
    assert_eq!(server.poll(&url).await, format!("a[\"{escaped}\"]\n"));
}

#[tokio::test]
async fn escapes_of_clients_are_decoded() {
    // JSONEncoding.test_xhr_server_decodes, with every unit instead of the client's list.
    let server = start().await;
    let url = session("echo");
    assert_eq!(server.poll(&url).await, "o\n");
    let units = || (0..=0xffff_u32).filter(|unit| char::from_u32(*unit).is_some());
    let escaped: Vec<String> = units().map(escape).collect();
    let escaped = escaped.concat();
    server.send(&url, &format!("[\"{escaped}\"]")).await;
    let mut echoed = server.poll(&url).await;
    assert_eq!(echoed.pop(), Some('\n'));
    let echoed: Value =
        serde_json::from_str(echoed.strip_prefix('a').expect("an a")).expect("JSON");
    let raw: String = units().filter_map(char::from_u32).collect();
    assert!(echoed[0] == raw.as_str(), "every character is echoed");
}

#[tokio::test]
async fn jsonp_sends_frames_as_calls_of_the_callback() {
    // JsonPolling.test_transport
    let server = start().await;
    let url = session("echo");
    let answer = server.get(&format!("{url}/jsonp?c=%63allback")).await;
    assert_eq!(answer.status(), 200);
    assert_eq!(
        answer.header("content-type"),
        Some("application/javascript; charset=UTF-8")
    );
    assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
    answer.head.assert_not_cached();
    assert_eq!(answer.body, "/**/callback(\"o\");\r\n");
    let path = format!("{url}/jsonp_send");
    let answer = server
        .request("POST", &path, &FORM, Some("d=%5B%22x%22%5D"))
        .await;
    assert_eq!((answer.status(), answer.body.as_str()), (200, "ok"));
    assert_eq!(
        answer.header("content-type"),
        Some("text/plain; charset=UTF-8")
    );
    answer.head.assert_not_cached();
    let answer = server.get(&format!("{url}/jsonp?c=%63allback")).await;
    assert_eq!(answer.body, "/**/callback(\"a[\\\"x\\\"]\");\r\n");
}

#[tokio::test]
async fn a_callback_is_required_and_must_be_an_identifier() {
    // JsonPolling and HtmlFile: .test_no_callback, .test_invalid_callback
    let server = start().await;
    let assert_error = |answer: &Answer, error: &str| {
        assert_eq!(answer.status(), 500);
        assert!(answer.body.contains(error), "{answer:?}");
    };
    for transport in ["jsonp", "htmlfile"] {
        for query in ["", "?c=", "?d=x"] {
            let answer = server.get(&format!("/echo/a/a/{transport}{query}")).await;
            assert_error(&answer, "\"callback\" parameter required");
        }
        let long = "x".repeat(33);
        for callback in ["%20", "*", "abc(", "abc%28", &long] {
            let answer = server
                .get(&format!("/echo/a/a/{transport}?c={callback}"))
                .await;
            assert_error(&answer, "invalid \"callback\" parameter");
        }
    }
    // A refused request creates no session.
    assert_eq!(server.post("/echo/a/a/xhr_send", "[]").await.status(), 404);
}

#[tokio::test]
async fn jsonp_send_accepts_forms_and_plain_text() {
    // JsonPolling.test_invalid_json, .test_content_types, .test_sending_empty_frame
    let server = start().await;
    let url = session("echo");
    let path = format!("{url}/jsonp_send");
    let poll = async || server.get(&format!("{url}/jsonp?c=x")).await.body;
    assert_eq!(poll().await, "/**/x(\"o\");\r\n");
    for (body, error) in [
        ("d=%5B%22x", "Broken JSON encoding."),
        ("", "Payload expected."),
        ("d=", "Payload expected."),
        ("p=p", "Payload expected."),
    ] {
        let answer = server.request("POST", &path, &FORM, Some(body)).await;
        assert_eq!(answer.status(), 500);
        assert!(answer.body.contains(error), "{answer:?}");
    }
    for body in ["d=%5B%5D", "d=%5B%22abc%22%5D"] {
        let answer = server.request("POST", &path, &FORM, Some(body)).await;
        assert_eq!(answer.body, "ok");
    }
    let plain = [("Content-Type", "text/plain")];
    let answer = server
        .request("POST", &path, &plain, Some("[\"%61bc\"]"))
        .await;
    assert_eq!(answer.body, "ok");
    assert_eq!(poll().await, "/**/x(\"a[\\\"abc\\\",\\\"%61bc\\\"]\");\r\n");
}

#[tokio::test]
async fn jsonp_sends_the_close_frame_of_a_closed_session() {
    // JsonPolling.test_close
    let server = start().await;
    let path = format!("{}/jsonp?c=x", session("close"));
    assert_eq!(server.get(&path).await.body, "/**/x(\"o\");\r\n");
    for _ in 0..2 {
        assert_eq!(
            server.get(&path).await.body,
            "/**/x(\"c[3000,\\\"Go away!\\\"]\");\r\n"
        );
    }
}
