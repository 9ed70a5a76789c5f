//! The WebSocket transports, with and without SockJS frames.

use std::time::Duration;

use discodeit::sockjs::Options;
use futures_util::{SinkExt, StreamExt};
use tokio::{net::TcpStream, time::timeout};
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream, connect_async,
    tungstenite::{Message, protocol::CloseFrame},
};

use crate::{
    SOON, Server,
    client::{Connection, masked},
    session, start, start_with,
};

/// The key of a handshake.
const KEY: &str = "x3JJHMbDL1EzLkh9GBhXDw==";

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

impl Server {
    async fn websocket(&self, path: &str) -> Socket {
        let url = format!("ws://{}{path}", self.address);
        let (socket, response) = connect_async(url).await.expect("the handshake");
        assert_eq!(response.headers().get("content-length"), None);
        socket
    }
}

async fn next(socket: &mut Socket) -> Option<Message> {
    let next = timeout(SOON, socket.next()).await;
    next.expect("the server sends data or closes")?.ok()
}

async fn text(socket: &mut Socket) -> String {
    match next(socket).await {
        Some(Message::Text(text)) => text.to_string(),
        other => panic!("not a text message: {other:?}"),
    }
}

async fn send(socket: &mut Socket, text: &str) {
    socket
        .send(Message::text(text))
        .await
        .expect("the socket is open");
}

#[tokio::test]
async fn a_websocket_opens_and_echoes() {
    // Websocket.test_transport
    let server = start().await;
    let path = format!("{}/websocket", session("echo"));
    let mut socket = server.websocket(&path).await;
    assert_eq!(text(&mut socket).await, "o");
    send(&mut socket, "[\"a\"]").await;
    assert_eq!(text(&mut socket).await, "a[\"a\"]");
    send(&mut socket, "[\"b\",\"c\"]").await;
    assert_eq!(text(&mut socket).await, "a[\"b\"]");
    assert_eq!(text(&mut socket).await, "a[\"c\"]");
    send(&mut socket, "\"bare\"").await;
    assert_eq!(text(&mut socket).await, "a[\"bare\"]");
}

#[tokio::test]
async fn a_websocket_sends_the_sockjs_close_frame_before_it_closes() {
    // Websocket.test_close
    let server = start().await;
    let path = format!("{}/websocket", session("close"));
    let mut socket = server.websocket(&path).await;
    assert_eq!(text(&mut socket).await, "o");
    assert_eq!(text(&mut socket).await, "c[3000,\"Go away!\"]");
    assert!(matches!(next(&mut socket).await, Some(Message::Close(_))));
    assert_eq!(next(&mut socket).await, None);
}

#[tokio::test]
async fn the_handshake_follows_rfc_6455() {
    // Websocket.test_headersSanity
    let server = start().await;
    let mut connection = Connection::open(server.address).await;
    let headers = [
        ("Upgrade", "websocket"),
        ("Connection", "Upgrade"),
        ("Sec-WebSocket-Version", "13"),
        ("Sec-WebSocket-Origin", "http://asd"),
        ("Sec-WebSocket-Key", "x3JJHMbDL1EzLkh9GBhXDw=="),
    ];
    let path = format!("{}/websocket", session("echo"));
    connection.ask("GET", &path, "1.1", &headers, None).await;
    let head = connection.head().await;
    assert_eq!(head.status, 101);
    assert_eq!(
        head.header("sec-websocket-accept"),
        Some("HSmrc0sMlYUkAGmm5OPpG2HaGWk=")
    );
    let lower = |name| head.header(name).map(str::to_lowercase);
    assert_eq!(lower("connection").as_deref(), Some("upgrade"));
    assert_eq!(lower("upgrade").as_deref(), Some("websocket"));
    assert_eq!(head.header("content-length"), None);
}

#[tokio::test]
async fn an_invalid_handshake_is_refused() {
    // WebsocketHttpErrors.test_httpMethod, .test_invalidConnectionHeader
    let server = start().await;
    for path in ["/echo/0/0/websocket", "/echo/websocket"] {
        assert_eq!(server.get(path).await.status(), 400);
        let headers = [("Upgrade", "WebSocket"), ("Connection", "close")];
        let answer = server.request("GET", path, &headers, None).await;
        assert_eq!(answer.status(), 400);
        for versions in [&["8"][..], &[], &["13", "8"]] {
            let mut headers = vec![
                ("Upgrade", "websocket"),
                ("Connection", "Upgrade"),
                ("Sec-WebSocket-Key", KEY),
            ];
            headers.extend(versions.iter().map(|v| ("Sec-WebSocket-Version", *v)));
            let answer = server.request("GET", path, &headers, None).await;
            assert_eq!(answer.status(), 426, "{versions:?}");
            assert_eq!(answer.header("sec-websocket-version"), Some("13"));
            // RFC 9110 §15.5.22 and §7.8
            assert_eq!(answer.header("upgrade"), Some("websocket"));
            let connection = answer.header("connection").map(str::to_lowercase);
            assert!(connection.is_some_and(|options| options.contains("upgrade")));
        }
        // RFC 6455 §4.2.1: the key is 16 bytes in base64.
        for keys in [
            &[][..],
            &[""],
            &["AAAA"],
            &["x3JJHMbDL1EzLkh9GBhXDw"],
            &["x3JJHMbDL1EzLkh9GBhXDw=="; 2],
            &["x3JJHMbDL1EzLkh9GBhXD!=="],
            &["x3JJHMbDL1EzLkh9GBhXDwAA"],
        ] {
            let mut headers = vec![
                ("Upgrade", "websocket"),
                ("Connection", "Upgrade"),
                ("Sec-WebSocket-Version", "13"),
            ];
            headers.extend(keys.iter().map(|key| ("Sec-WebSocket-Key", *key)));
            let answer = server.request("GET", path, &headers, None).await;
            assert_eq!(answer.status(), 400, "{keys:?}");
        }
    }
}

#[tokio::test]
async fn a_handshake_may_spread_its_lists_over_lines() {
    let server = start_with(Options {
        protocols: &["b", "a"],
        ..Options::default()
    })
    .await;
    for (offers, chosen) in [
        (&["a"][..], Some("a")),
        (&["a, b"], Some("b")),
        (&["a", "x, b"], Some("b")),
        (&["x", "A"], None),
    ] {
        let mut connection = Connection::open(server.address).await;
        let mut headers = vec![
            ("Upgrade", "h2c"),
            ("Upgrade", "x, WebSocket"),
            ("Connection", "keep-alive"),
            ("Connection", "x, upgrade"),
            ("Sec-WebSocket-Version", "13"),
            ("Sec-WebSocket-Key", KEY),
        ];
        headers.extend(
            offers
                .iter()
                .map(|offer| ("Sec-WebSocket-Protocol", *offer)),
        );
        connection
            .ask("GET", "/echo/websocket", "1.1", &headers, None)
            .await;
        let head = connection.head().await;
        assert_eq!(head.status, 101, "{offers:?}");
        assert_eq!(head.header("sec-websocket-protocol"), chosen, "{offers:?}");
    }
}

#[tokio::test]
async fn empty_messages_are_ignored() {
    // Websocket.test_empty_frame
    let server = start().await;
    let path = format!("{}/websocket", session("echo"));
    let mut socket = server.websocket(&path).await;
    assert_eq!(text(&mut socket).await, "o");
    for payload in ["", "[]", "[\"a\"]"] {
        send(&mut socket, payload).await;
    }
    assert_eq!(text(&mut socket).await, "a[\"a\"]");
}

#[tokio::test]
async fn websockets_with_the_same_session_name_share_nothing() {
    // Websocket.test_reuseSessionId
    let server = start().await;
    let url = session("echo");
    let path = format!("{url}/websocket");
    let mut first = server.websocket(&path).await;
    assert_eq!(text(&mut first).await, "o");
    let mut second = server.websocket(&path).await;
    assert_eq!(text(&mut second).await, "o");
    send(&mut first, "[\"a\"]").await;
    assert_eq!(text(&mut first).await, "a[\"a\"]");
    send(&mut second, "[\"b\"]").await;
    assert_eq!(text(&mut second).await, "a[\"b\"]");
    // An HTTP request with the name cannot send into the WebSocket.
    let answer = server.post(&format!("{url}/xhr_send"), "[\"x\"]").await;
    assert_eq!(answer.status(), 404);
    first.close(None).await.expect("the socket closes");
    second.close(None).await.expect("the socket closes");
    let mut third = server.websocket(&path).await;
    assert_eq!(text(&mut third).await, "o");
    send(&mut third, "[\"a\"]").await;
    assert_eq!(text(&mut third).await, "a[\"a\"]");
}

#[tokio::test]
async fn broken_json_closes_a_websocket() {
    // Websocket.test_broken_json
    let server = start().await;
    let path = format!("{}/websocket", session("echo"));
    let mut socket = server.websocket(&path).await;
    assert_eq!(text(&mut socket).await, "o");
    send(&mut socket, "[\"a").await;
    assert_eq!(next(&mut socket).await, None, "no close frame");
}

#[tokio::test]
async fn a_lone_surrogate_becomes_the_replacement_character() {
    let server = start().await;
    let path = format!("{}/websocket", session("echo"));
    let mut socket = server.websocket(&path).await;
    assert_eq!(text(&mut socket).await, "o");
    send(&mut socket, "[\"\\ud83d\\ude00\",\"\\ud800\"]").await;
    assert_eq!(text(&mut socket).await, "a[\"\\ud83d\\ude00\"]");
    assert_eq!(text(&mut socket).await, "a[\"\\ufffd\"]");
}

#[tokio::test]
async fn a_raw_websocket_has_no_sockjs_frames() {
    // RawWebsocket.test_transport
    let server = start().await;
    let mut socket = server.websocket("/echo/websocket").await;
    send(&mut socket, "Hello world!\u{ffff}").await;
    assert_eq!(text(&mut socket).await, "Hello world!\u{ffff}");
    send(&mut socket, "[\"a").await;
    assert_eq!(text(&mut socket).await, "[\"a");
}

#[tokio::test]
async fn a_raw_websocket_is_closed_with_code_and_reason() {
    // RawWebsocket.test_close
    let server = start().await;
    let mut socket = server.websocket("/close/websocket").await;
    let Some(Message::Close(Some(CloseFrame { code, reason }))) = next(&mut socket).await else {
        panic!("no close frame");
    };
    assert_eq!((u16::from(code), reason.as_str()), (3000, "Go away!"));
}

/// The server's FIN must follow its Close frame within this time, although the client sends no FIN.
const FIN_LIMIT: Duration = Duration::from_millis(50);

#[tokio::test]
async fn the_server_closes_the_tcp_connection_after_its_own_close_frame() {
    // RFC 6455 §7.1.1
    let server = start().await;
    let close = b"\x88\x0a\x0b\xb8Go away!";
    let mut raw = Connection::websocket(server.address, "/close/websocket").await;
    assert_eq!(raw.octets(close.len()).await, close);
    assert!(raw.time_to_eof().await < FIN_LIMIT);

    let path = format!("{}/websocket", session("close"));
    let mut framed = Connection::websocket(server.address, &path).await;
    let expected = b"\x81\x01o\x81\x12c[3000,\"Go away!\"]\x88\x0a\x0b\xb8Go away!";
    assert_eq!(framed.octets(expected.len()).await, expected);
    assert!(framed.time_to_eof().await < FIN_LIMIT);
}

#[tokio::test]
async fn the_server_closes_the_tcp_connection_after_the_clients_close_frame() {
    // RFC 6455 §7.1.1
    let server = start().await;
    let mut raw = Connection::websocket(server.address, "/echo/websocket").await;
    raw.write(&masked(0x88, &1000_u16.to_be_bytes())).await;
    assert_eq!(raw.octets(4).await, b"\x88\x02\x03\xe8");
    assert!(raw.time_to_eof().await < FIN_LIMIT);

    let path = format!("{}/websocket", session("echo"));
    let mut framed = Connection::websocket(server.address, &path).await;
    assert_eq!(framed.octets(3).await, b"\x81\x01o");
    framed.write(&masked(0x88, &1000_u16.to_be_bytes())).await;
    assert_eq!(framed.octets(4).await, b"\x88\x02\x03\xe8");
    assert!(framed.time_to_eof().await < FIN_LIMIT);
}

#[tokio::test]
async fn input_after_the_close_does_not_reset_the_connection() {
    let server = start().await;
    let mut socket = Connection::websocket(server.address, "/close/websocket").await;
    // Unread input would make the kernel answer the server's close with a reset, which discards the Close frame.
    for _ in 0..100 {
        socket.write(&masked(0x82, &[0; 10_000])).await;
    }
    let close = b"\x88\x0a\x0b\xb8Go away!";
    assert_eq!(socket.octets(close.len()).await, close);
    socket.time_to_eof().await;
    assert!(socket.try_write(&masked(0x82, &[0; 10_000])).await);
}

/// A handshake for the echo application.
fn handshake(version: &str) -> String {
    format!(
        "GET /echo/websocket HTTP/{version}\r\nHost: server\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {KEY}\r\n\r\n"
    )
}

#[tokio::test]
async fn a_message_that_comes_with_the_handshake_is_read() {
    let server = start().await;
    let mut socket = Connection::open(server.address).await;
    let handshake = handshake("1.1");
    let both = [handshake.as_bytes(), &masked(0x81, b"early")].concat();
    socket.write(&both).await;
    assert_eq!(socket.head().await.status, 101);
    assert_eq!(socket.octets(7).await, b"\x81\x05early");
}

#[tokio::test]
async fn http_1_0_cannot_be_upgraded() {
    // RFC 9110 §7.8
    let server = start().await;
    let mut socket = Connection::open(server.address).await;
    socket.write(handshake("1.0").as_bytes()).await;
    assert_eq!(socket.head().await.status, 400);
}
