//! The HTTP side of SockJS: one handler for each URL, with the response headers that the protocol prescribes.

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
    http::body::BodyError,
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
        request::{SockJsRequest, field, plain, with_type},
        sessions::{Attach, ReceivedFrame, Receiver, SendOutcome, Sessions},
    },
};

/// Forbids caching, byte for byte as the protocol's test suite requires.
const NO_STORE: HeaderValue =
    HeaderValue::from_static("no-store, no-cache, no-transform, must-revalidate, max-age=0");
/// Allows caching for a year.
const ONE_YEAR: HeaderValue = HeaderValue::from_static("public, max-age=31536000");
const ONE_YEAR_SECONDS: HeaderValue = HeaderValue::from_static("31536000");
const EXPIRES_NEVER: HeaderValue = HeaderValue::from_static("Thu, 31 Dec 2099 23:59:59 GMT");
/// An `htmlfile` page loads nothing; it only runs its inline scripts, which carry the frames.
const INLINE_SCRIPTS_ONLY: HeaderValue =
    HeaderValue::from_static("default-src 'none'; script-src 'unsafe-inline'");
const HTML: HeaderValue = HeaderValue::from_static("text/html; charset=UTF-8");
const JSON: HeaderValue = HeaderValue::from_static("application/json; charset=UTF-8");

/// Maximum length of a callback's name.
const MAX_CALLBACK_BYTES: usize = 32;
/// Maximum body of a receiving request, whose body is ignored.
const MAX_RECEIVE_BODY_BYTES: usize = 4 * 1024;

impl From<BodyError> for Response {
    fn from(error: BodyError) -> Self {
        match error {
            BodyError::TooLarge => plain(StatusCode::PAYLOAD_TOO_LARGE, "The body is too large."),
            BodyError::Timeout => plain(StatusCode::REQUEST_TIMEOUT, "The body took too long."),
            BodyError::EndedEarly => plain(StatusCode::BAD_REQUEST, "The body ended early."),
        }
    }
}

/// A SockJS service at one path.
pub(super) struct Endpoint {
    sessions: Arc<Sessions>,
    iframe: Bytes,
    iframe_tag: HeaderValue,
    iframe_policy: HeaderValue,
}

impl Endpoint {
    pub(super) fn new(sessions: Arc<Sessions>) -> Self {
        let (iframe, policy) = http_framing::iframe(&sessions.options.client_url);
        let tag = URL_SAFE_NO_PAD.encode(Sha256::digest(&iframe));
        Self {
            iframe: iframe.into(),
            iframe_tag: HeaderValue::from_str(&format!("\"{tag}\""))
                .expect("base64 is visible ASCII"),
            iframe_policy: HeaderValue::from_str(&policy).expect("the client's URL is ASCII"),
            sessions,
        }
    }

    /// Answers a request. `None` for a path that SockJS does not define.
    pub(super) async fn answer(&self, path: &str, request: SockJsRequest) -> Option<Response> {
        let options = &self.sessions.options;
        let resource = Resource::parse(path)?;
        if !options.websocket
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
        let is_preflight = request.method == Method::OPTIONS;
        let mut response = match resource {
            Resource::Greeting => plain(StatusCode::OK, "Welcome to SockJS!\n"),
            Resource::Iframe => self.iframe(&head.headers),
            Resource::RawWebSocket => handshake::answer(&self.sessions, &request, Encoding::Raw),
            _ if is_preflight => preflight_response(&head.headers, methods),
            Resource::Info => {
                let (websocket, cookie) = (options.websocket, options.cookie);
                let body = sockjs::info(websocket, cookie, rand::random());
                let mut response = with_type(Response::new(body.into()), JSON);
                response.headers_mut().insert(CACHE_CONTROL, NO_STORE);
                response
            }
            Resource::Session(_, Transport::WebSocket) => {
                handshake::answer(&self.sessions, &request, Encoding::SockJs)
            }
            Resource::Session(name, transport) => {
                let mut response = self.session(name, transport, request).await;
                response.headers_mut().insert(CACHE_CONTROL, NO_STORE);
                response
            }
        };
        let headers = response.headers_mut();
        if matches!(resource, Resource::Info)
            || matches!(resource, Resource::Session(_, transport) if transport != Transport::WebSocket)
        {
            allow_origin(&head.headers, headers);
        }
        if options.cookie && matches!(resource, Resource::Session(..)) {
            headers.insert(SET_COOKIE, session_cookie(&head.headers));
        }
        Some(response)
    }

    fn iframe(&self, request_headers: &HeaderMap) -> Response {
        let mut response = if request_headers.get(IF_NONE_MATCH) == Some(&self.iframe_tag) {
            let mut response = Response::default();
            *response.status_mut() = StatusCode::NOT_MODIFIED;
            response
        } else {
            with_type(Response::new(self.iframe.clone().into()), HTML)
        };
        let headers = response.headers_mut();
        headers.insert(ETAG, self.iframe_tag.clone());
        headers.insert(CONTENT_SECURITY_POLICY, self.iframe_policy.clone());
        headers.insert(CACHE_CONTROL, ONE_YEAR);
        headers.insert(EXPIRES, EXPIRES_NEVER);
        response
    }

    async fn session(&self, name: &str, transport: Transport, request: SockJsRequest) -> Response {
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

    async fn receive(&self, name: &str, framing: Framing, mut request: SockJsRequest) -> Response {
        let message_timeout = self.sessions.options.message_timeout;
        // hyper notices a lost client only after the body has been read to its end.
        if let Err(error) = request.body(MAX_RECEIVE_BODY_BYTES, message_timeout).await {
            return error.into();
        }
        let attach = self.sessions.attach(name).await;
        let body = match (attach, framing.prelude()) {
            (Attach::TooManySessions, _) => {
                return plain(StatusCode::SERVICE_UNAVAILABLE, "Too many sessions.");
            }
            (Attach::Closed(frame), None) => Response::new(framing.wrap(&frame).into()),
            (Attach::Closed(frame), Some(prelude)) => {
                let frames = [prelude, framing.wrap(&frame)].map(Ok::<_, Infallible>);
                warp::reply::stream(stream::iter(frames)).into_response()
            }
            (Attach::Attached(mut receiver), None) => {
                let limit = self.sessions.options.response_limit;
                let (ReceivedFrame::More(frame) | ReceivedFrame::Last(frame)) =
                    receiver.next(limit).await;
                receiver.detach();
                Response::new(framing.wrap(&frame).into())
            }
            (Attach::Attached(receiver), Some(prelude)) => {
                let limit = self.sessions.options.response_limit;
                warp::reply::stream(frames(receiver, framing.clone(), prelude, limit))
                    .into_response()
            }
        };
        let mut response = with_type(body, HeaderValue::from_static(framing.content_type()));
        let headers = response.headers_mut();
        // Makes nginx, and proxies that copy it, forward each frame without buffering.
        headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
        headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        if matches!(framing, Framing::HtmlFile(_)) {
            headers.insert(CONTENT_SECURITY_POLICY, INLINE_SCRIPTS_ONLY);
        }
        response
    }

    async fn send(&self, name: &str, transport: Transport, mut request: SockJsRequest) -> Response {
        let permit = match self.sessions.send_permit(name).await {
            Ok(permit) => permit,
            Err(outcome) => return outcome.into(),
        };
        let message_timeout = self.sessions.options.message_timeout;
        let body = match request.body(permit.max_body_bytes(), message_timeout).await {
            Ok(body) => body,
            Err(error) => return error.into(),
        };
        // The protocol's test suite requires 500 for invalid payloads.
        let failed = |why| plain(StatusCode::INTERNAL_SERVER_ERROR, why);
        let plain_text = request
            .header(CONTENT_TYPE)
            .is_some_and(|value| value.trim_start().starts_with("text/plain"));
        let payload = if transport == Transport::XhrSend || plain_text {
            String::from_utf8(body.into()).map_err(|_| sockjs::BrokenJson)
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
        match permit.send(messages).await {
            SendOutcome::Accepted if transport == Transport::JsonpSend => {
                plain(StatusCode::OK, "ok")
            }
            outcome => outcome.into(),
        }
    }
}

impl From<SendOutcome> for Response {
    fn from(outcome: SendOutcome) -> Self {
        match outcome {
            SendOutcome::Accepted => plain(StatusCode::NO_CONTENT, ""),
            SendOutcome::UnknownSession => {
                plain(StatusCode::NOT_FOUND, "There is no such session.")
            }
            SendOutcome::QueueFull => {
                plain(StatusCode::SERVICE_UNAVAILABLE, "Too much is waiting.")
            }
        }
    }
}

/// The chunks of a streaming response: the prelude, then the frames, until it has `limit` bytes or the session is closed.
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
                ReceivedFrame::More(frame) => (framing.wrap(&frame), false),
                ReceivedFrame::Last(frame) => (framing.wrap(&frame), true),
            };
            let sent = sent + frame.len();
            // Detaches before the client sees the end of the response and sends its next request.
            let receiver = if last || sent >= limit {
                receiver.detach();
                None
            } else {
                Some(receiver)
            };
            Some((Ok(frame), (receiver, sent)))
        }
    }))
}

/// The name of the callback that `jsonp` and `htmlfile` scripts call.
fn callback(request: &SockJsRequest) -> Result<String, &'static str> {
    let callback = request
        .parameter(&["c", "callback"])
        .filter(|callback| !callback.is_empty())
        .ok_or("\"callback\" parameter required")?;
    let known = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'-' | b'_' | b'.');
    if callback.len() > MAX_CALLBACK_BYTES || !callback.bytes().all(known) {
        return Err("invalid \"callback\" parameter");
    }
    Ok(callback)
}

/// The answer to a CORS preflight; browsers may cache it for a year.
fn preflight_response(request_headers: &HeaderMap, methods: &'static str) -> Response {
    let mut response = Response::default();
    *response.status_mut() = StatusCode::NO_CONTENT;
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, ONE_YEAR);
    headers.insert(EXPIRES, EXPIRES_NEVER);
    headers.insert(ACCESS_CONTROL_MAX_AGE, ONE_YEAR_SECONDS);
    headers.insert(
        ACCESS_CONTROL_ALLOW_METHODS,
        HeaderValue::from_static(methods),
    );
    if let Some(wanted) = request_headers
        .get(ACCESS_CONTROL_REQUEST_HEADERS)
        .filter(|wanted| !wanted.is_empty())
    {
        headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, wanted.clone());
    }
    response
}

/// Allows any origin, because SockJS reads no cookie: the application authenticates inside the connection.
fn allow_origin(request_headers: &HeaderMap, headers: &mut HeaderMap) {
    headers.insert(VARY, HeaderValue::from_static("Origin"));
    let Some(origin) = request_headers.get(ORIGIN) else {
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
        return;
    };
    headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
    headers.insert(
        ACCESS_CONTROL_ALLOW_CREDENTIALS,
        HeaderValue::from_static("true"),
    );
}

/// Repeats the client's `JSESSIONID`, or sets a dummy, as load balancers with cookie affinity expect.
fn session_cookie(request_headers: &HeaderMap) -> HeaderValue {
    let pairs = request_headers
        .get_all(COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(';'))
        .filter_map(|pair| pair.trim().split_once('='));
    let session = pairs
        .filter(|(name, value)| *name == "JSESSIONID" && !value.is_empty())
        .map(|(_, value)| value)
        .next();
    HeaderValue::from_str(&format!(
        "JSESSIONID={}; path=/",
        session.unwrap_or("dummy")
    ))
    .unwrap_or(HeaderValue::from_static("JSESSIONID=dummy; path=/"))
}

/// A 405 response without content type and body, as the protocol's test suite requires.
fn method_not_allowed(methods: &'static str) -> Response {
    let mut response = Response::default();
    *response.status_mut() = StatusCode::METHOD_NOT_ALLOWED;
    response
        .headers_mut()
        .insert(ALLOW, HeaderValue::from_static(methods));
    response
}
