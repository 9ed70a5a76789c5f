//! SockJS's URLs: which there are, with which methods, and what every answer's headers say.

use std::{convert::Infallible, sync::Arc};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use bytes::Bytes;
use futures_util::{Stream, StreamExt, stream};
use http::{
    HeaderMap, HeaderValue, Method, StatusCode,
    header::{
        ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS,
        ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_MAX_AGE,
        ACCESS_CONTROL_REQUEST_HEADERS, ALLOW, CACHE_CONTROL, CONTENT_SECURITY_POLICY,
        CONTENT_TYPE, COOKIE, ETAG, EXPIRES, IF_NONE_MATCH, ORIGIN, SET_COOKIE, VARY,
        X_CONTENT_TYPE_OPTIONS,
    },
};
use sha2::{Digest, Sha256};
use warp::{Reply, reply::Response};

use crate::{
    protocol::{
        encoding::Encoding,
        sockjs::{
            self, decode,
            urls::{Resource, Transport},
        },
    },
    sockjs::{
        handshake,
        http_framing::{self, Framing},
        request::{NoBody, Request, field, plain, with_type},
        sessions::{Attach, Frame, Receiver, Sent, Sessions},
    },
};

/// The protocol suite's own, octet for octet.
const NEVER: HeaderValue =
    HeaderValue::from_static("no-store, no-cache, no-transform, must-revalidate, max-age=0");
/// What may be kept for a year.
const LONG: HeaderValue = HeaderValue::from_static("public, max-age=31536000");
const YEAR: HeaderValue = HeaderValue::from_static("31536000");
const FAR_OFF: HeaderValue = HeaderValue::from_static("Thu, 31 Dec 2099 23:59:59 GMT");
/// A page of frames needs nothing but the scripts that they are.
const ONLY_ITSELF: HeaderValue =
    HeaderValue::from_static("default-src 'none'; script-src 'unsafe-inline'");
const HTML: HeaderValue = HeaderValue::from_static("text/html; charset=UTF-8");
const JSON: HeaderValue = HeaderValue::from_static("application/json; charset=UTF-8");

/// A callback's name at most.
const CALLBACK_BYTES: usize = 32;
/// A request that receives has nothing to say; this much is read and forgotten.
const IDLE_BODY_BYTES: usize = 4 * 1024;

impl From<NoBody> for Response {
    fn from(no_body: NoBody) -> Self {
        match no_body {
            NoBody::TooLarge => plain(StatusCode::PAYLOAD_TOO_LARGE, "The body is too large."),
            NoBody::TooSlow => plain(StatusCode::REQUEST_TIMEOUT, "The body took too long."),
            NoBody::Broken => plain(StatusCode::BAD_REQUEST, "The body ended early."),
        }
    }
}

/// A service at a path.
pub(super) struct Endpoint {
    sessions: Arc<Sessions>,
    iframe: Bytes,
    iframe_tag: HeaderValue,
}

impl Endpoint {
    pub(super) fn new(sessions: Arc<Sessions>) -> Self {
        let iframe = http_framing::iframe(&sessions.parameters.client_url);
        let tag = URL_SAFE_NO_PAD.encode(Sha256::digest(&iframe));
        Self {
            iframe: iframe.into(),
            iframe_tag: HeaderValue::from_str(&format!("\"{tag}\""))
                .expect("base64 is visible ASCII"),
            sessions,
        }
    }

    /// The answer; `None` for a path that is not SockJS's.
    pub(super) async fn answer(&self, path: &str, request: Request) -> Option<Response> {
        let parameters = &self.sessions.parameters;
        let resource = Resource::parse(path)?;
        if !parameters.websocket
            && matches!(
                resource,
                Resource::RawWebSocket | Resource::Session(_, Transport::WebSocket)
            )
        {
            return None;
        }
        let methods = resource.methods();
        if !methods.split(", ").any(|known| request.method == known) {
            return Some(method_not_allowed(methods));
        }
        let head = request.head.clone();
        let preflight = request.method == Method::OPTIONS;
        let mut response = match resource {
            Resource::Greeting => plain(StatusCode::OK, "Welcome to SockJS!\n"),
            Resource::Iframe => self.iframe(&head.headers),
            Resource::RawWebSocket => handshake::answer(&self.sessions, request, Encoding::Raw),
            _ if preflight => options(&head.headers, methods),
            Resource::Info => {
                let (websocket, cookie) = (parameters.websocket, parameters.cookie);
                let body = sockjs::info(websocket, cookie, rand::random());
                let mut response = with_type(Response::new(body.into()), JSON);
                response.headers_mut().insert(CACHE_CONTROL, NEVER);
                response
            }
            Resource::Session(_, Transport::WebSocket) => {
                handshake::answer(&self.sessions, request, Encoding::SockJs)
            }
            Resource::Session(name, transport) => {
                let mut response = self.session(name, transport, request).await;
                response.headers_mut().insert(CACHE_CONTROL, NEVER);
                response
            }
        };
        let headers = response.headers_mut();
        if matches!(resource, Resource::Info)
            || matches!(resource, Resource::Session(_, transport) if transport != Transport::WebSocket)
        {
            allow_origin(&head.headers, headers);
        }
        if parameters.cookie && matches!(resource, Resource::Session(..)) {
            headers.insert(SET_COOKIE, session_cookie(&head.headers));
        }
        Some(response)
    }

    fn iframe(&self, asked: &HeaderMap) -> Response {
        let mut response = if asked.get(IF_NONE_MATCH) == Some(&self.iframe_tag) {
            let mut response = Response::default();
            *response.status_mut() = StatusCode::NOT_MODIFIED;
            response
        } else {
            with_type(Response::new(self.iframe.clone().into()), HTML)
        };
        let headers = response.headers_mut();
        headers.insert(ETAG, self.iframe_tag.clone());
        headers.insert(CACHE_CONTROL, LONG);
        headers.insert(EXPIRES, FAR_OFF);
        response
    }

    async fn session(&self, name: &str, transport: Transport, request: Request) -> Response {
        match transport {
            Transport::XhrSend | Transport::JsonpSend => self.send(name, transport, request).await,
            Transport::Xhr => self.receive(name, Framing::Xhr, request).await,
            Transport::XhrStreaming => self.receive(name, Framing::XhrStreaming, request).await,
            Transport::EventSource => self.receive(name, Framing::EventSource, request).await,
            Transport::HtmlFile | Transport::Jsonp => {
                let framing = match callback(&request) {
                    Ok(callback) if transport == Transport::Jsonp => Framing::Jsonp(callback),
                    Ok(callback) => Framing::HtmlFile(callback),
                    Err(why) => return plain(StatusCode::INTERNAL_SERVER_ERROR, why),
                };
                self.receive(name, framing, request).await
            }
            Transport::WebSocket => plain(StatusCode::BAD_REQUEST, "This is no WebSocket."),
        }
    }

    async fn receive(&self, name: &str, framing: Framing, mut request: Request) -> Response {
        let within = self.sessions.parameters.message_timeout;
        // Read to its end, or the client's going would be noticed late.
        if let Err(no_body) = request.body(IDLE_BODY_BYTES, within).await {
            return no_body.into();
        }
        let entrance = self.sessions.enter(name).await;
        let body = match (entrance, framing.prelude()) {
            (Attach::Full, _) => {
                return plain(StatusCode::SERVICE_UNAVAILABLE, "Too many sessions.");
            }
            (Attach::Told(frame), None) => Response::new(framing.wrap(&frame).into()),
            (Attach::Told(frame), Some(prelude)) => {
                let frames = [prelude, framing.wrap(&frame)].map(Ok::<_, Infallible>);
                warp::reply::stream(stream::iter(frames)).into_response()
            }
            (Attach::Open(mut receiver), None) => {
                let room = self.sessions.parameters.response_limit;
                let (Frame::More(frame) | Frame::Last(frame)) = receiver.next(room).await;
                receiver.leave();
                Response::new(framing.wrap(&frame).into())
            }
            (Attach::Open(receiver), Some(prelude)) => {
                let limit = self.sessions.parameters.response_limit;
                warp::reply::stream(frames(receiver, framing.clone(), prelude, limit))
                    .into_response()
            }
        };
        let mut response = with_type(body, HeaderValue::from_static(framing.content_type()));
        let headers = response.headers_mut();
        // nginx and those who understand it: send on what comes.
        headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
        headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        if matches!(framing, Framing::HtmlFile(_)) {
            headers.insert(CONTENT_SECURITY_POLICY, ONLY_ITSELF);
        }
        response
    }

    async fn send(&self, name: &str, transport: Transport, mut request: Request) -> Response {
        let turn = match self.sessions.turn(name).await {
            Ok(turn) => turn,
            Err(sent) => return sent.into(),
        };
        let within = self.sessions.parameters.message_timeout;
        let body = match request.body(turn.most_bytes(), within).await {
            Ok(body) => body,
            Err(no_body) => return no_body.into(),
        };
        let failed = |what| plain(StatusCode::INTERNAL_SERVER_ERROR, what);
        let plain_text = request
            .header(CONTENT_TYPE)
            .is_some_and(|value| value.trim_start().starts_with("text/plain"));
        let payload = if transport == Transport::XhrSend || plain_text {
            String::from_utf8(body).map_err(|_| sockjs::BrokenJson)
        } else {
            Ok(field(&body, &["d"]).unwrap_or_default())
        };
        let messages = match payload.as_deref() {
            Ok("") => return failed("Payload expected."),
            Ok(payload) => decode(payload),
            Err(broken) => Err(*broken),
        };
        let Ok(messages) = messages else {
            return failed("Broken JSON encoding.");
        };
        match turn.send(messages).await {
            Sent::Accepted if transport == Transport::JsonpSend => plain(StatusCode::OK, "ok"),
            sent => sent.into(),
        }
    }
}

impl From<Sent> for Response {
    fn from(sent: Sent) -> Self {
        match sent {
            Sent::Accepted => plain(StatusCode::NO_CONTENT, ""),
            Sent::Unknown => plain(StatusCode::NOT_FOUND, "There is no such session."),
            Sent::Full => plain(StatusCode::SERVICE_UNAVAILABLE, "Too much is waiting."),
        }
    }
}

/// A streaming response: the prelude, then a chunk for each frame, until it has been long enough or the session is closed.
fn frames(
    receiver: Receiver,
    framing: Framing,
    prelude: Bytes,
    limit: usize,
) -> impl Stream<Item = Result<Bytes, Infallible>> + Send + Sync {
    let first = stream::once(std::future::ready(Ok(prelude)));
    let state = (Some(receiver), 0);
    first.chain(stream::unfold(state, move |(receiver, sent)| {
        let framing = framing.clone();
        async move {
            let mut receiver = receiver?;
            let (frame, last) = match receiver.next(limit).await {
                Frame::More(frame) => (framing.wrap(&frame), false),
                Frame::Last(frame) => (framing.wrap(&frame), true),
            };
            let sent = sent + frame.len();
            // It has left before its client can see the end and come again.
            let receiver = if last || sent >= limit {
                receiver.leave();
                None
            } else {
                Some(receiver)
            };
            Some((Ok(frame), (receiver, sent)))
        }
    }))
}

/// The function that a script calls.
fn callback(request: &Request) -> Result<String, &'static str> {
    let callback = request
        .parameter(&["c", "callback"])
        .filter(|callback| !callback.is_empty())
        .ok_or("\"callback\" parameter required")?;
    let known = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'-' | b'_' | b'.');
    if callback.len() > CALLBACK_BYTES || !callback.bytes().all(known) {
        return Err("invalid \"callback\" parameter");
    }
    Ok(callback)
}

/// A preflight, which may be kept for a year.
fn options(asked: &HeaderMap, methods: &'static str) -> Response {
    let mut response = Response::default();
    *response.status_mut() = StatusCode::NO_CONTENT;
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, LONG);
    headers.insert(EXPIRES, FAR_OFF);
    headers.insert(ACCESS_CONTROL_MAX_AGE, YEAR);
    headers.insert(
        ACCESS_CONTROL_ALLOW_METHODS,
        HeaderValue::from_static(methods),
    );
    if let Some(wanted) = asked
        .get(ACCESS_CONTROL_REQUEST_HEADERS)
        .filter(|wanted| !wanted.is_empty())
    {
        headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, wanted.clone());
    }
    response
}

/// Any origin may ask, because no cookie is looked at here: who somebody is, the application finds out inside.
fn allow_origin(asked: &HeaderMap, headers: &mut HeaderMap) {
    headers.insert(VARY, HeaderValue::from_static("Origin"));
    let Some(origin) = asked.get(ORIGIN) else {
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
        return;
    };
    headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
    headers.insert(
        ACCESS_CONTROL_ALLOW_CREDENTIALS,
        HeaderValue::from_static("true"),
    );
}

/// The client's own `JSESSIONID`, or one that only shows that cookies work.
fn session_cookie(asked: &HeaderMap) -> HeaderValue {
    let pairs = asked
        .get_all(COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(';'))
        .filter_map(|pair| pair.trim().split_once('='));
    let own = pairs
        .filter(|(name, value)| *name == "JSESSIONID" && !value.is_empty())
        .map(|(_, value)| value)
        .next();
    HeaderValue::from_str(&format!("JSESSIONID={}; path=/", own.unwrap_or("dummy")))
        .unwrap_or(HeaderValue::from_static("JSESSIONID=dummy; path=/"))
}

/// The suite: no type and no body.
fn method_not_allowed(methods: &'static str) -> Response {
    let mut response = Response::default();
    *response.status_mut() = StatusCode::METHOD_NOT_ALLOWED;
    response
        .headers_mut()
        .insert(ALLOW, HeaderValue::from_static(methods));
    response
}
