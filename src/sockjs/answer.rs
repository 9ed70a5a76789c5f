//! SockJS's URLs: which there are, with which methods, and what every answer's headers say.

use std::{convert::Infallible, sync::Arc, time::Duration};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use bytes::{Buf, Bytes};
use futures_util::{Stream, StreamExt, stream, stream::BoxStream};
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, StatusCode,
    header::{
        ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS,
        ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_MAX_AGE,
        ACCESS_CONTROL_REQUEST_HEADERS, ALLOW, CACHE_CONTROL, CONTENT_LENGTH,
        CONTENT_SECURITY_POLICY, CONTENT_TYPE, COOKIE, ETAG, EXPIRES, IF_NONE_MATCH, ORIGIN,
        SET_COOKIE, VARY, X_CONTENT_TYPE_OPTIONS,
    },
};
use hyper::upgrade::OnUpgrade;
use parking_lot::Mutex;
use sha2::{Digest, Sha256};
use tokio::time::timeout;
use warp::{Reply, reply::Response};

use super::{
    decode, frame, framing,
    framing::Framing,
    session::{Entrance, Frame, Receiver, Sent, Sessions},
    upgrade,
};
use crate::{server::Head, wire::Wire};

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
const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=UTF-8");
const HTML: HeaderValue = HeaderValue::from_static("text/html; charset=UTF-8");
const JSON: HeaderValue = HeaderValue::from_static("application/json; charset=UTF-8");

/// A session's name at most; clients make eight characters. It is kept as long as the session.
const NAME_BYTES: usize = 256;
/// A callback's name at most.
const CALLBACK_BYTES: usize = 32;
/// A request that receives has nothing to say; this much is read and forgotten.
const IDLE_BODY_BYTES: usize = 4 * 1024;

/// What is at the end of a session's URL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Transport {
    WebSocket,
    Xhr,
    XhrStreaming,
    XhrSend,
    EventSource,
    HtmlFile,
    Jsonp,
    JsonpSend,
}

impl Transport {
    fn parse(name: &str) -> Option<Self> {
        Some(match name {
            "websocket" => Self::WebSocket,
            "xhr" => Self::Xhr,
            "xhr_streaming" => Self::XhrStreaming,
            "xhr_send" => Self::XhrSend,
            "eventsource" => Self::EventSource,
            "htmlfile" => Self::HtmlFile,
            "jsonp" => Self::Jsonp,
            "jsonp_send" => Self::JsonpSend,
            _ => return None,
        })
    }

    /// The methods, as preflights name them.
    fn methods(self) -> &'static str {
        match self {
            Self::Xhr | Self::XhrStreaming | Self::XhrSend => "OPTIONS, POST",
            Self::JsonpSend => "POST",
            Self::WebSocket | Self::EventSource | Self::HtmlFile | Self::Jsonp => "GET",
        }
    }
}

/// Whether a session's URL may end so.
pub(super) fn is_transport(name: &str) -> bool {
    Transport::parse(name).is_some()
}

/// What a path names.
enum Resource<'a> {
    Greeting,
    Info,
    Iframe,
    RawWebSocket,
    Session(&'a str, Transport),
}

impl<'a> Resource<'a> {
    /// `path` is what follows the endpoint's own and a slash. Looked at as it came: nothing is decoded, and an empty segment
    /// is one.
    fn parse(path: &'a str) -> Option<Self> {
        match path {
            "" => return Some(Self::Greeting),
            "info" => return Some(Self::Info),
            "websocket" => return Some(Self::RawWebSocket),
            "iframe.html" => return Some(Self::Iframe),
            _ => {}
        }
        let version = path
            .strip_prefix("iframe-")
            .and_then(|rest| rest.strip_suffix(".html"));
        if let Some(version) = version {
            let known = |c: u8| matches!(c, b'0'..=b'9' | b'a'..=b'z' | b'-' | b'.' | b'_');
            return version.bytes().all(known).then_some(Self::Iframe);
        }
        let mut segments = path.split('/');
        let (server, name) = (segments.next()?, segments.next()?);
        let transport = Transport::parse(segments.next()?)?;
        let right = segments.next().is_none()
            && frame::is_segment(server)
            && frame::is_segment(name)
            && name.len() <= NAME_BYTES;
        right.then_some(Self::Session(name, transport))
    }

    fn methods(&self) -> &'static str {
        match self {
            Self::Info => "OPTIONS, GET",
            Self::Greeting | Self::Iframe | Self::RawWebSocket => "GET",
            Self::Session(_, transport) => transport.methods(),
        }
    }
}

/// One request.
pub(super) struct Request {
    method: Method,
    pub(super) head: Arc<Head>,
    pub(super) upgrade: Option<OnUpgrade>,
    // Never locked: it only makes a shared reference to the request something that tasks may hold.
    body: Mutex<BoxStream<'static, Result<Bytes, warp::Error>>>,
}

/// A body that cannot be had.
enum NoBody {
    TooLarge,
    TooSlow,
    Broken,
}

impl Request {
    pub(super) fn new(
        method: Method,
        head: Arc<Head>,
        upgrade: Option<OnUpgrade>,
        body: impl Stream<Item = Result<impl Buf, warp::Error>> + Send + 'static,
    ) -> Self {
        let body = body
            .map(|item| item.map(|mut chunk| chunk.copy_to_bytes(chunk.remaining())))
            .boxed();
        Self {
            method,
            head,
            upgrade,
            body: Mutex::new(body),
        }
    }

    /// A header's value, if it is text.
    pub(super) fn header(&self, name: HeaderName) -> Option<&str> {
        self.head.headers.get(name)?.to_str().ok()
    }

    /// The value of the first of these parameters in the query.
    fn parameter(&self, names: &[&str]) -> Option<String> {
        let query = self.head.query.as_deref().unwrap_or_default();
        field(query.as_bytes(), names)
    }

    async fn body(&mut self, most: usize, within: Duration) -> Result<Vec<u8>, NoBody> {
        let length = self.header(CONTENT_LENGTH).map(str::parse::<usize>);
        if length.is_some_and(|length| length.is_ok_and(|length| length > most)) {
            return Err(NoBody::TooLarge);
        }
        let body = self.body.get_mut();
        let read = async {
            let mut whole = Vec::new();
            while let Some(chunk) = body.next().await {
                let chunk = chunk.map_err(|_| NoBody::Broken)?;
                if whole.len() + chunk.len() > most {
                    return Err(NoBody::TooLarge);
                }
                whole.extend_from_slice(&chunk);
            }
            Ok(whole)
        };
        timeout(within, read).await.unwrap_or(Err(NoBody::TooSlow))
    }
}

impl From<NoBody> for Response {
    fn from(no_body: NoBody) -> Self {
        match no_body {
            NoBody::TooLarge => plain(StatusCode::PAYLOAD_TOO_LARGE, "The body is too large."),
            NoBody::TooSlow => plain(StatusCode::REQUEST_TIMEOUT, "The body took too long."),
            NoBody::Broken => plain(StatusCode::BAD_REQUEST, "The body ended early."),
        }
    }
}

/// The value of the first of these fields of a form.
fn field(form: &[u8], names: &[&str]) -> Option<String> {
    let fields: Vec<(String, String)> = serde_urlencoded::from_bytes(form).ok()?;
    fields
        .into_iter()
        .find(|(name, _)| names.contains(&name.as_str()))
        .map(|(_, value)| value)
}

/// A service at a path.
pub(super) struct Endpoint {
    sessions: Arc<Sessions>,
    iframe: Bytes,
    iframe_tag: HeaderValue,
}

impl Endpoint {
    pub(super) fn new(sessions: Arc<Sessions>) -> Self {
        let iframe = framing::iframe(&sessions.parameters.client_url);
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
            Resource::RawWebSocket => upgrade::answer(&self.sessions, request, Wire::Raw),
            _ if preflight => options(&head.headers, methods),
            Resource::Info => {
                let (websocket, cookie) = (parameters.websocket, parameters.cookie);
                let body = super::info(websocket, cookie, rand::random());
                let mut response = with_type(Response::new(body.into()), JSON);
                response.headers_mut().insert(CACHE_CONTROL, NEVER);
                response
            }
            Resource::Session(_, Transport::WebSocket) => {
                upgrade::answer(&self.sessions, request, Wire::SockJs)
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
        let within = self.sessions.parameters.message_within;
        // Read to its end, or the client's going would be noticed late.
        if let Err(no_body) = request.body(IDLE_BODY_BYTES, within).await {
            return no_body.into();
        }
        let entrance = self.sessions.enter(name).await;
        let body = match (entrance, framing.prelude()) {
            (Entrance::Full, _) => {
                return plain(StatusCode::SERVICE_UNAVAILABLE, "Too many sessions.");
            }
            (Entrance::Told(frame), None) => Response::new(framing.wrap(&frame).into()),
            (Entrance::Told(frame), Some(prelude)) => {
                let frames = [prelude, framing.wrap(&frame)].map(Ok::<_, Infallible>);
                warp::reply::stream(stream::iter(frames)).into_response()
            }
            (Entrance::Open(mut receiver), None) => {
                let room = self.sessions.parameters.response_limit;
                let (Frame::More(frame) | Frame::Last(frame)) = receiver.next(room).await;
                receiver.leave();
                Response::new(framing.wrap(&frame).into())
            }
            (Entrance::Open(receiver), Some(prelude)) => {
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
        let within = self.sessions.parameters.message_within;
        let body = match request.body(turn.most_bytes(), within).await {
            Ok(body) => body,
            Err(no_body) => return no_body.into(),
        };
        let failed = |what| plain(StatusCode::INTERNAL_SERVER_ERROR, what);
        let plain_text = request
            .header(CONTENT_TYPE)
            .is_some_and(|value| value.trim_start().starts_with("text/plain"));
        let payload = if transport == Transport::XhrSend || plain_text {
            String::from_utf8(body).map_err(|_| frame::BrokenJson)
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

/// A short text. SockJS wants its type on an answer without one as well: Firefox takes that for XML else.
pub(super) fn plain(status: StatusCode, text: &'static str) -> Response {
    let mut response = Response::new(text.into());
    *response.status_mut() = status;
    with_type(response, TEXT)
}

fn with_type(mut response: Response, content_type: HeaderValue) -> Response {
    response.headers_mut().insert(CONTENT_TYPE, content_type);
    response
}
