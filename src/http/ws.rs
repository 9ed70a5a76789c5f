//! `/ws`: STOMP over WebSocket (RFC 6455), raw and over SockJS.

use std::sync::Arc;

use http::{
    HeaderValue, StatusCode,
    header::{
        ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS,
        ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_MAX_AGE,
        ACCESS_CONTROL_REQUEST_HEADERS, CACHE_CONTROL, CONNECTION, CONTENT_TYPE, EXPIRES, ORIGIN,
        SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION,
        UPGRADE, VARY,
    },
};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tracing::debug;
use warp::reply::Response;

use super::{Request, no_content};
use crate::{
    problem::{Missing, Problem},
    socket, sockjs, websocket,
    wire::Wire,
};

/// The STOMP versions as WebSocket sub-protocols; of a client's list the first that is here is chosen.
const PROTOCOLS: [&str; 3] = ["v12.stomp", "v11.stomp", "v10.stomp"];

/// SockJS's own rule, octet for octet.
const NEVER_CACHED: HeaderValue =
    HeaderValue::from_static("no-store, no-cache, no-transform, must-revalidate, max-age=0");

/// SockJS: any origin may ask, because no cookie is looked at here; who it is says the token in CONNECT.
fn allow_origin(request: &Request, response: &mut Response) {
    let headers = response.headers_mut();
    headers.insert(VARY, HeaderValue::from_static("Origin"));
    match request.head.headers.get(ORIGIN) {
        Some(origin) => {
            headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
            headers.insert(
                ACCESS_CONTROL_ALLOW_CREDENTIALS,
                HeaderValue::from_static("true"),
            );
        }
        None => {
            headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
        }
    }
}

/// `GET /ws/info`
pub(super) async fn info(request: Request) -> Result<Response, Problem> {
    let body = sockjs::info(true, false, rand::random());
    let mut response = Response::new(body.into());
    response.headers_mut().insert(
        CONTENT_TYPE,
        HeaderValue::from_static("application/json; charset=UTF-8"),
    );
    response.headers_mut().insert(CACHE_CONTROL, NEVER_CACHED);
    allow_origin(&request, &mut response);
    Ok(response)
}

/// `OPTIONS /ws/info`: a preflight, which may be kept for a year.
pub(super) async fn info_options(request: Request) -> Result<Response, Problem> {
    let mut response = no_content();
    allow_origin(&request, &mut response);
    let headers = response.headers_mut();
    headers.insert(
        CACHE_CONTROL,
        HeaderValue::from_static("public, max-age=31536000"),
    );
    headers.insert(
        EXPIRES,
        HeaderValue::from_static("Thu, 31 Dec 2099 23:59:59 GMT"),
    );
    headers.insert(ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("31536000"));
    headers.insert(
        ACCESS_CONTROL_ALLOW_METHODS,
        HeaderValue::from_static("OPTIONS, GET"),
    );
    if let Some(asked) = request
        .head
        .headers
        .get(ACCESS_CONTROL_REQUEST_HEADERS)
        .filter(|asked| !asked.is_empty())
    {
        headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, asked.clone());
    }
    Ok(response)
}

/// `GET /ws/websocket`
pub(super) async fn raw(request: Request) -> Result<Response, Problem> {
    upgrade(request, Wire::Raw)
}

/// `GET /ws/{server}/{session}/websocket`. The session's name means nothing here: two sockets with one name are two.
pub(super) async fn sockjs(
    (server, session): (String, String),
    request: Request,
) -> Result<Response, Problem> {
    if !sockjs::is_segment(&server) || !sockjs::is_segment(&session) {
        return Err(Problem::NotFound(Missing::Path));
    }
    upgrade(request, Wire::SockJs)
}

/// The opening handshake, RFC 6455 §4.2.
fn upgrade(mut request: Request, wire: Wire) -> Result<Response, Problem> {
    let has = |name: http::HeaderName, token: &str| {
        request.header(name).is_some_and(|value| {
            value
                .split(',')
                .any(|item| item.trim().eq_ignore_ascii_case(token))
        })
    };
    if !has(UPGRADE, "websocket") || !has(CONNECTION, "upgrade") {
        return Err(Problem::Malformed(
            "Can \"Upgrade\" only to \"WebSocket\".".into(),
        ));
    }
    if request.header(SEC_WEBSOCKET_VERSION) != Some("13") {
        let mut response = super::problem(&Problem::Malformed(
            "The WebSocket version must be 13.".into(),
        ));
        *response.status_mut() = StatusCode::UPGRADE_REQUIRED;
        response
            .headers_mut()
            .insert(SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
        return Ok(response);
    }
    let key = request
        .header(SEC_WEBSOCKET_KEY)
        .ok_or_else(|| Problem::Malformed("There is no Sec-WebSocket-Key.".into()))?;
    let accept = HeaderValue::from_str(&websocket::accept_key(key)).map_err(Problem::internal)?;
    let offered = request.header(SEC_WEBSOCKET_PROTOCOL).unwrap_or_default();
    let chosen = offered
        .split(',')
        .find_map(|offer| PROTOCOLS.into_iter().find(|known| *known == offer.trim()));
    let upgrade = request
        .take_upgrade()
        .ok_or_else(|| Problem::Malformed("This connection cannot be upgraded.".into()))?;

    let (app, head) = (request.app.clone(), request.head.clone());
    request.app.tasks.spawn("socket", async move {
        let upgraded = match upgrade.await {
            Ok(upgraded) => upgraded,
            Err(error) => {
                debug!(%error, "a connection closed during its upgrade");
                return;
            }
        };
        // Out of hyper's hands, with its buffers: the socket needs none while it is idle.
        if let Ok(parts) = upgraded.downcast::<TokioIo<TcpStream>>() {
            let permit = Arc::clone(&head.permit);
            drop(head);
            socket::run(app, parts.io.into_inner(), &parts.read_buf, wire).await;
            drop(permit);
        }
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
    Ok(response)
}
