//! The opening handshake of a WebSocket, RFC 6455 §4.2.

use std::sync::Arc;

use base64::{Engine, engine::general_purpose::STANDARD};
use http::{
    HeaderMap, HeaderName, HeaderValue, StatusCode, Version,
    header::{
        CONNECTION, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL,
        SEC_WEBSOCKET_VERSION, UPGRADE,
    },
};
use warp::reply::Response;

use crate::{
    http::{head::tokens, hijack::Hijack},
    protocol::{encoding::Encoding, websocket},
    sockjs::{
        link::Link,
        request::{SockJsRequest, plain},
        sessions::Sessions,
    },
};

/// Answers the handshake and spawns the task that serves the application on the WebSocket.
pub(super) fn answer(
    sessions: &Arc<Sessions>,
    request: &SockJsRequest,
    encoding: Encoding,
) -> Response {
    let headers = &request.head.headers;
    let has = |name: HeaderName, token: &str| {
        tokens(headers, name).any(|item| item.eq_ignore_ascii_case(token))
    };
    let refused = |why: &'static str| plain(StatusCode::BAD_REQUEST, why);
    // RFC 9110 §7.8.
    if request.head.version < Version::HTTP_11 {
        return refused("Only HTTP/1.1 can be upgraded.");
    }
    if !has(UPGRADE, "websocket") || !has(CONNECTION, "upgrade") {
        return refused("Can \"Upgrade\" only to \"WebSocket\".");
    }
    if only(headers, SEC_WEBSOCKET_VERSION) != Some("13") {
        return version_required();
    }
    let accept = only(headers, SEC_WEBSOCKET_KEY)
        .filter(|key| is_nonce(key))
        .and_then(|key| HeaderValue::from_str(&websocket::accept_key(key)).ok());
    let Some(accept) = accept else {
        return refused("There must be one Sec-WebSocket-Key of 16 bytes in base64.");
    };
    let mut protocols = sessions.options.protocols.iter();
    let chosen = protocols
        .find(|known| tokens(headers, SEC_WEBSOCKET_PROTOCOL).any(|offer| offer == **known));

    // The permit counts the TCP connection, which outlives the request.
    let permit = request.head.permit.clone();
    let owner = sessions.clone();
    let hijack = Hijack::new(move |connection| {
        let link = Link::websocket(connection, encoding, &owner.options);
        let served = (owner.handler)(link);
        owner.tasks.spawn("socket", async move {
            served.await;
            drop(permit);
        });
    });

    let mut response = Response::default();
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    response.extensions_mut().insert(hijack);
    let headers = response.headers_mut();
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(SEC_WEBSOCKET_ACCEPT, accept);
    if let Some(protocol) = chosen {
        headers.insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(protocol));
    }
    response
}

/// The value of a header that must occur once.
fn only(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
    let mut lines = headers.get_all(name).into_iter();
    match (lines.next(), lines.next()) {
        (Some(line), None) => line.to_str().ok(),
        _ => None,
    }
}

/// Whether a key is 16 bytes in base64.
fn is_nonce(key: &str) -> bool {
    STANDARD.decode(key).is_ok_and(|nonce| nonce.len() == 16)
}

/// The response to another version of the protocol. RFC 9110 §15.5.22 requires `Upgrade`, and §7.8 then `Connection`.
fn version_required() -> Response {
    let mut response = plain(
        StatusCode::UPGRADE_REQUIRED,
        "The WebSocket version must be 13.",
    );
    let headers = response.headers_mut();
    for (name, value) in [
        (SEC_WEBSOCKET_VERSION, "13"),
        (UPGRADE, "websocket"),
        (CONNECTION, "Upgrade"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}
