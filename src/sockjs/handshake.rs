//! The opening handshake of a WebSocket, RFC 6455 §4.2.

use std::sync::Arc;

use http::{
    HeaderName, HeaderValue, StatusCode,
    header::{
        CONNECTION, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL,
        SEC_WEBSOCKET_VERSION, UPGRADE,
    },
};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tracing::debug;
use warp::reply::Response;

use crate::{
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
    mut request: SockJsRequest,
    encoding: Encoding,
) -> Response {
    let has = |name: HeaderName, token: &str| {
        request.header(name).is_some_and(|value| {
            value
                .split(',')
                .any(|item| item.trim().eq_ignore_ascii_case(token))
        })
    };
    let refused = |why: &'static str| plain(StatusCode::BAD_REQUEST, why);
    if !has(UPGRADE, "websocket") || !has(CONNECTION, "upgrade") {
        return refused("Can \"Upgrade\" only to \"WebSocket\".");
    }
    if request.header(SEC_WEBSOCKET_VERSION) != Some("13") {
        let mut response = plain(
            StatusCode::UPGRADE_REQUIRED,
            "The WebSocket version must be 13.",
        );
        response
            .headers_mut()
            .insert(SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
        return response;
    }
    let accept = request
        .header(SEC_WEBSOCKET_KEY)
        .and_then(|key| HeaderValue::from_str(&websocket::accept_key(key)).ok());
    let Some(accept) = accept else {
        return refused("There is no Sec-WebSocket-Key.");
    };
    let protocols = sessions.options.protocols;
    let offered = request.header(SEC_WEBSOCKET_PROTOCOL).unwrap_or_default();
    let chosen = offered
        .split(',')
        .find_map(|offer| protocols.iter().find(|known| **known == offer.trim()));
    let Some(upgrade) = request.upgrade.take() else {
        return refused("This connection cannot be upgraded.");
    };

    // The permit counts the TCP connection, which outlives the request.
    let permit = request.head.permit.clone();
    let owner = sessions.clone();
    sessions.tasks.spawn("socket", async move {
        let upgraded = match upgrade.await {
            Ok(upgraded) => upgraded,
            Err(error) => {
                debug!(%error, "connection closed during the WebSocket upgrade");
                return;
            }
        };
        // Takes the TCP stream out of hyper and drops hyper's buffers: an idle link needs none.
        if let Ok(parts) = upgraded.downcast::<TokioIo<TcpStream>>() {
            let stream = parts.io.into_inner();
            let link = Link::websocket(stream, &parts.read_buf, encoding, &owner.options);
            drop(parts.read_buf);
            (owner.handler)(link).await;
        }
        drop(permit);
    });

    let mut response = Response::default();
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(SEC_WEBSOCKET_ACCEPT, accept);
    if let Some(protocol) = chosen {
        headers.insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(protocol));
    }
    response
}
