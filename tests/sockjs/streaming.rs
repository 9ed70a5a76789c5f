//! Transports with many frames per response, each in its own chunk: xhr streaming, eventsource and htmlfile.

use crate::{client::Connection, session, start};

async fn chunk(connection: &mut Connection) -> String {
    connection.chunk().await.expect("the stream continues")
}

#[tokio::test]
async fn an_xhr_stream_begins_with_its_prelude() {
    // XhrStreaming.test_transport
    let server = start().await;
    let url = session("echo");
    let mut stream = Connection::open(server.address).await;
    let origin = [("Origin", "test")];
    stream
        .ask(
            "POST",
            &format!("{url}/xhr_streaming"),
            "1.1",
            &origin,
            Some(""),
        )
        .await;
    let head = stream.head().await;
    assert_eq!(head.status, 200);
    assert_eq!(
        head.header("content-type"),
        Some("application/javascript; charset=UTF-8")
    );
    head.assert_cors(Some("test"));
    head.assert_not_cached();
    assert_eq!(head.header("x-accel-buffering"), Some("no"));
    assert_eq!(chunk(&mut stream).await, format!("{}\n", "h".repeat(2048)));
    assert_eq!(chunk(&mut stream).await, "o\n");
    server.send(&url, "[\"x\"]").await;
    assert_eq!(chunk(&mut stream).await, "a[\"x\"]\n");
}

#[tokio::test]
async fn a_long_xhr_stream_ends_and_the_next_stream_continues() {
    // XhrStreaming.test_response_limit, then the next request of a client.
    let server = start().await;
    let url = session("echo");
    let mut stream = server.xhr_stream(&url).await;
    assert_eq!(chunk(&mut stream).await, "o\n");
    let message = format!("\"{}\"", "x".repeat(128));
    for _ in 0..31 {
        server.send(&url, &format!("[{message}]")).await;
        assert_eq!(chunk(&mut stream).await, format!("a[{message}]\n"));
    }
    assert_eq!(stream.chunk().await, None);
    server.send(&url, "[\"between\"]").await;
    server.send(&url, "[\"streams\"]").await;
    let mut stream = server.xhr_stream(&url).await;
    assert_eq!(chunk(&mut stream).await, "a[\"between\",\"streams\"]\n");
}

#[tokio::test]
async fn a_backlog_is_split_by_the_response_limit() {
    let server = start().await;
    let url = session("echo");
    assert_eq!(server.poll(&url).await, "o\n");
    for n in 0..100 {
        server.send(&url, &format!("[\"{n:0>100}\"]")).await;
    }
    let mut got = Vec::new();
    while got.len() < 100 {
        let mut stream = server.xhr_stream(&url).await;
        let frame = chunk(&mut stream).await;
        assert!(frame.len() <= 4096 + 1, "{}", frame.len());
        let array = frame.strip_prefix('a').expect("an a");
        got.extend(serde_json::from_str::<Vec<String>>(array).expect("JSON"));
        if got.len() < 100 {
            // The response is just below the limit, so its next frame is its last.
            let last = stream.chunk().await.expect("another frame");
            let array = last.strip_prefix('a').expect("an a");
            got.extend(serde_json::from_str::<Vec<String>>(array).expect("JSON"));
            if got.len() < 100 {
                assert_eq!(stream.chunk().await, None);
            }
        }
    }
    for (n, text) in got.iter().enumerate() {
        assert_eq!(*text, format!("{n:0>100}"));
    }
}

#[tokio::test]
async fn an_event_stream_sends_frames_as_events() {
    // EventSource.test_transport, and a percent sign, which the client would decode.
    let server = start().await;
    let url = session("echo");
    let (head, mut stream) = server.stream("GET", &format!("{url}/eventsource")).await;
    assert_eq!(head.status, 200);
    assert_eq!(head.header("content-type"), Some("text/event-stream"));
    assert_eq!(head.header("x-accel-buffering"), Some("no"));
    head.assert_not_cached();
    assert_eq!(chunk(&mut stream).await, "\r\n");
    assert_eq!(chunk(&mut stream).await, "data: o\r\n\r\n");
    for (sent, got) in [
        ("[\"x\"]", "a[\"x\"]"),
        (r#"["  \u0000\n\r "]"#, r#"a["  \u0000\n\r "]"#),
        ("[\"100% sure\"]", "a[\"100%25 sure\"]"),
    ] {
        server.send(&url, sent).await;
        assert_eq!(chunk(&mut stream).await, format!("data: {got}\r\n\r\n"));
    }
}

#[tokio::test]
async fn an_htmlfile_page_sends_frames_as_calls_of_its_parent() {
    // HtmlFile.test_transport
    let server = start().await;
    let url = session("echo");
    let path = format!("{url}/htmlfile?c=%63allback");
    let (head, mut stream) = server.stream("GET", &path).await;
    assert_eq!(head.status, 200);
    assert_eq!(
        head.header("content-type"),
        Some("text/html; charset=UTF-8")
    );
    head.assert_not_cached();
    let page = chunk(&mut stream).await;
    assert!(page.len() > 1024);
    assert_eq!(
        page.trim(),
        concat!(
            "<!doctype html>\n<html><head>\n",
            "  <meta http-equiv=\"X-UA-Compatible\" content=\"IE=edge\" />\n",
            "  <meta http-equiv=\"Content-Type\" content=\"text/html; charset=UTF-8\" />\n",
            "</head><body><h2>Don't panic!</h2>\n  <script>\n",
            "    document.domain = document.domain;\n    var c = parent.callback;\n",
            "    c.start();\n    function p(d) {c.message(d);};\n",
            "    window.onload = function() {c.stop();};\n  </script>",
        )
    );
    assert_eq!(
        chunk(&mut stream).await,
        "<script>\np(\"o\");\n</script>\r\n"
    );
    server.send(&url, "[\"x\"]").await;
    assert_eq!(
        chunk(&mut stream).await,
        "<script>\np(\"a[\\\"x\\\"]\");\n</script>\r\n"
    );
}

#[tokio::test]
async fn long_event_streams_and_htmlfile_pages_end() {
    // EventSource.test_response_limit, HtmlFile.test_response_limit
    let server = start().await;
    let text = "x".repeat(4096);
    let cases = [
        (
            "eventsource",
            "data: o\r\n\r\n",
            format!("data: a[\"{text}\"]\r\n\r\n"),
        ),
        (
            "htmlfile?c=callback",
            "<script>\np(\"o\");\n</script>\r\n",
            format!("<script>\np(\"a[\\\"{text}\\\"]\");\n</script>\r\n"),
        ),
    ];
    for (transport, open, message) in cases {
        let url = session("echo");
        let (_, mut stream) = server.stream("GET", &format!("{url}/{transport}")).await;
        chunk(&mut stream).await;
        assert_eq!(chunk(&mut stream).await, open);
        server.send(&url, &format!("[\"{text}\"]")).await;
        assert_eq!(chunk(&mut stream).await, message);
        assert_eq!(stream.chunk().await, None, "{transport}");
    }
}

#[tokio::test]
async fn a_stream_over_http_1_0_has_no_chunks_and_no_content_length() {
    // Http10.test_streaming
    let server = start().await;
    let mut stream = Connection::open(server.address).await;
    let path = format!("{}/xhr_streaming", session("close"));
    let headers = [("Connection", "Keep-Alive")];
    stream.ask("POST", &path, "1.0", &headers, None).await;
    let head = stream.head().await;
    assert_eq!(head.status, 200);
    assert_eq!(head.header("transfer-encoding"), None);
    assert_eq!(head.header("content-length"), None);
    let prelude = "h".repeat(2048);
    assert_eq!(
        stream.read_to_end().await,
        format!("{prelude}\no\nc[3000,\"Go away!\"]\n")
    );
}

#[tokio::test]
async fn a_stream_over_http_1_1_has_a_chunk_for_each_frame() {
    // Http11.test_streaming
    let server = start().await;
    let mut stream = server.xhr_stream(&session("close")).await;
    assert_eq!(chunk(&mut stream).await, "o\n");
    assert_eq!(chunk(&mut stream).await, "c[3000,\"Go away!\"]\n");
    assert_eq!(stream.chunk().await, None);
}
