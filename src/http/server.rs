//! The accept loop around warp's service.
//!
//! It replaces warp's own server, which has no limit on connections, no timeout for the head of a request, no socket
//! options and no bounded drain. It also adds request ids and one log line per request.

use std::{
    convert::Infallible,
    future::poll_fn,
    io,
    net::{IpAddr, SocketAddr},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::Poll,
    time::Duration,
};

use futures_util::{Future, FutureExt};
use http::{
    HeaderMap, HeaderValue, Method, StatusCode, Version,
    header::{CONNECTION, CONTENT_ENCODING, EXPECT, HOST, TRANSFER_ENCODING},
    uri::Authority,
};
use hyper::{
    Request,
    body::{Body, Incoming},
    server::conn::http1::{self, Parts},
    service::service_fn,
};
use hyper_util::rt::TokioTimer;
use ipnet::IpNet;
use parking_lot::Mutex;
use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    time::Instant,
};
use tower_service::Service;
use tracing::{Instrument, debug, field, info_span, warn};
use warp::reply::Response;

use crate::{
    config::Config,
    http::{
        body::LingeringBody,
        head::{Head, NODE, REQUEST_ID, client, request_id, tokens, trace_parent},
        hijack::{Handover, Hijack},
        reply::problem,
        resource::{Route, without_needless_escapes},
        socket::{HttpSocket, Progress},
    },
    metrics::{HttpRequest, Metrics},
    model::TraceParent,
    problem::Problem,
    protocol::sockjs::urls::redact_session_id,
    tasks::{Group, Tasks},
    traces::{self, Traces},
};

/// Timeout of the head of a request, and of an idle connection. The proxy closes its idle connections earlier, so that it
/// never sends a request into a connection that the node is closing.
const HEAD_TIMEOUT: Duration = Duration::from_secs(20);
/// Maximum size of the head of a request.
const MAX_HEAD_BYTES: usize = 64 * 1024;
/// Timeout of data that the peer does not acknowledge.
const UNACKNOWLEDGED_TIMEOUT: Duration = Duration::from_secs(20);
/// Connections that may wait to be accepted: all clients of a proxy may reconnect at once.
const BACKLOG: i32 = 4_096;

/// How requests are timed and traced.
pub struct Timings {
    /// The traces of this node.
    pub traces: Traces,
    /// Where.
    pub metrics: Arc<Metrics>,
    /// The name of a path. There must be few names.
    pub route_of: fn(&str) -> &'static str,
}

/// The routes of a server and its limits.
pub struct ServerConfig {
    /// Every route.
    pub routes: Route,
    /// Owner of the connections. The server accepts no connection once it drains.
    pub tasks: Tasks,
    /// The node's name, in every response.
    pub node_name: String,
    /// Maximum open connections; further ones wait in the kernel's queue.
    pub max_connections: usize,
    /// Proxies whose `X-Forwarded-For` is trusted.
    pub trusted_proxies: Vec<IpNet>,
    /// How requests are timed and traced, if they are.
    pub timings: Option<Timings>,
}

impl ServerConfig {
    /// Serves `routes` with the limits of the node's settings, without timings.
    pub fn new(routes: Route, config: &Config, tasks: &Tasks) -> Self {
        Self {
            routes,
            tasks: tasks.clone(),
            node_name: config.node_name.clone(),
            max_connections: config.max_connections,
            trusted_proxies: config.trusted_proxies.clone(),
            timings: None,
        }
    }
}

/// Binds a listener to an address.
///
/// # Errors
/// The address is in use, or this host has no such address.
pub fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

/// Accepts connections until the node drains.
pub async fn run(listener: TcpListener, config: ServerConfig) {
    let config = Arc::new(config);
    let permits = Arc::new(Semaphore::new(config.max_connections));
    loop {
        // The permit first, so that connections above the limit wait in the kernel's queue.
        let next = async {
            let permit = permits.clone().acquire_owned().await.ok()?;
            Some((permit, listener.accept().await))
        };
        let accepted = tokio::select! {
            accepted = next => accepted,
            () = config.tasks.draining().cancelled() => return,
        };
        match accepted {
            Some((permit, Ok((stream, peer)))) => {
                if let Err(error) = prepare(&stream) {
                    debug!(%error, "connection closed before its first request");
                    continue;
                }
                let connection = serve(stream, peer, Arc::new(permit), config.clone());
                config.tasks.spawn_in(Group::Connections, connection);
            }
            Some((_, Err(error))) if error.kind() == io::ErrorKind::ConnectionAborted => {}
            Some((_, Err(error))) => {
                // Probably no file descriptor is left. An immediate retry would keep a core busy.
                warn!(%error, "accept failed");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            None => return,
        }
    }
}

/// Sets the options of an accepted socket.
fn prepare(stream: &TcpStream) -> io::Result<()> {
    // Otherwise Nagle's algorithm delays the second of two small writes until the first is acknowledged.
    stream.set_nodelay(true)?;
    let socket = SockRef::from(stream);
    socket.set_tcp_keepalive(
        &TcpKeepalive::new()
            .with_time(Duration::from_mins(1))
            .with_interval(Duration::from_secs(15)),
    )?;
    socket.set_tcp_user_timeout(Some(UNACKNOWLEDGED_TIMEOUT))
}

async fn serve(
    stream: TcpStream,
    peer: SocketAddr,
    permit: Arc<OwnedSemaphorePermit>,
    config: Arc<ServerConfig>,
) {
    let service = warp::service(config.routes.clone());
    let draining = config.tasks.draining().clone();
    let node = HeaderValue::from_str(&config.node_name);
    let node = node.unwrap_or(HeaderValue::from_static("node"));
    let progress = Progress::default();
    let socket = HttpSocket::new(stream, progress.clone(), node.clone());
    let handover: Arc<Mutex<Option<Handover>>> = Arc::default();
    let hijacked = handover.clone();
    let service = service_fn(move |request| {
        let is_first_unwritten = progress.begin();
        let response = respond(
            request,
            service.clone(),
            config.clone(),
            peer.ip(),
            permit.clone(),
        );
        let (progress, node, hijacked) = (progress.clone(), node.clone(), hijacked.clone());
        // Boxed: hyper reserves memory for the future as long as the connection lives.
        Box::pin(async move {
            let mut response = response.await;
            if let Some(taker) = Hijack::take_from(&mut response) {
                if is_first_unwritten {
                    response.headers_mut().insert(NODE, node);
                    *hijacked.lock() = Some(Handover::new(taker, &mut response));
                    // The caller of hyper finds the handover, and drops this future.
                    return std::future::pending().await;
                }
                // hyper may still hold a part of an earlier response.
                response = problem(&Problem::Malformed(
                    "A request for a stream must wait for the response to the request before it."
                        .into(),
                ));
            }
            response.headers_mut().insert(NODE, node);
            Ok::<_, Infallible>(progress.until_end(response))
        })
    });
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(MAX_HEAD_BYTES)
        // The buffer alone may take more, when much arrives at once.
        .max_header_size(MAX_HEAD_BYTES);
    let mut connection = http.serve_connection(socket, service);
    let mut is_draining = false;
    let result = loop {
        let served = poll_fn(|context| {
            let polled = Pin::new(&mut connection).poll(context);
            match handover.lock().take() {
                Some(handover) => Poll::Ready(Err(handover)),
                None => polled.map(Ok),
            }
        });
        tokio::select! {
            served = served => match served {
                Ok(result) => break result,
                Err(handover) => {
                    let Parts { io, read_buf, .. } = connection.into_parts();
                    return handover.complete(io.into_inner(), read_buf);
                }
            },
            () = draining.cancelled(), if !is_draining => {
                is_draining = true;
                Pin::new(&mut connection).graceful_shutdown();
            }
        }
    };
    if let Err(error) = result {
        debug!(error = %crate::problem::chain(&error), "connection failed");
    }
}

/// Responds to a request. Adds the request id, the log span, and the handling of bodies and panics to warp's service.
async fn respond<S>(
    mut request: Request<Incoming>,
    mut service: S,
    config: Arc<ServerConfig>,
    peer: IpAddr,
    permit: Arc<OwnedSemaphorePermit>,
) -> Response
where
    S: Service<Request<LingeringBody>, Response = Response, Error = Infallible> + Send,
    S::Future: Send,
{
    let started = Instant::now();
    let id = request_id(request.headers());
    if let Some(uri) = without_needless_escapes(request.uri()) {
        *request.uri_mut() = uri;
    }
    let path = redact_session_id(request.uri().path());
    let timing = config.timings.as_ref().map(|timings| {
        let route = (timings.route_of)(&path);
        (timings, method_name(request.method()), route)
    });
    let span = info_span!("http", method = %request.method(), path = &*path, request.id = id.to_str().unwrap_or_default(), trace_id = field::Empty);
    let traced = timing.and_then(|(timings, method, route)| {
        let caller = || trace_parent(request.headers(), peer, &config.trusted_proxies);
        begin_trace(&timings.traces, &span, (method, route, &path), caller)
    });
    let unread = Arc::new(AtomicBool::new(false));
    let invalid = check(&request);
    let head = Head {
        version: request.version(),
        headers: request.headers().clone(),
        query: request.uri().query().map(str::to_owned),
        client: client(request.headers(), peer, &config.trusted_proxies),
        permit,
    };
    request.extensions_mut().insert(Arc::new(head));
    // A client that sends `Expect: 100-continue` waits with its body; discarding the body would ask for it.
    let linger = !request.headers().contains_key(EXPECT);
    let request = request.map(|body| LingeringBody {
        body: Some(body),
        ended: false,
        unread: unread.clone(),
        linger: linger.then(|| config.tasks.clone()),
    });
    let mut response = if let Err(invalid) = invalid {
        drop(request);
        span.in_scope(|| problem(&invalid))
    } else {
        // A panic in a handler becomes a 500 and does not end the connection.
        let work = async {
            std::panic::AssertUnwindSafe(service.call(request))
                .catch_unwind()
                .await
        };
        let place = traced.as_ref().map(traces::Span::place);
        let work = traces::within(place, work);
        match work.instrument(span.clone()).await {
            Ok(Ok(response)) => response,
            Err(_) => problem(&Problem::internal("a handler panicked")),
        }
    };
    response.headers_mut().insert(REQUEST_ID, id);
    // hyper closes a connection with an unread body. A proxy that reuses connections must know before its next request.
    if unread.load(Ordering::Acquire) {
        response
            .headers_mut()
            .insert(CONNECTION, HeaderValue::from_static("close"));
    }
    let status = response.status();
    if let Some(traced) = traced {
        end_trace(&traced, status);
    }
    if let Some((timings, method, route)) = timing {
        let labels = HttpRequest {
            method,
            route,
            status: status.as_u16(),
        };
        let timings = &timings.metrics.http_seconds;
        timings
            .get_or_create(&labels)
            .observe(started.elapsed().as_secs_f64());
    }
    let quiet = status == StatusCode::SWITCHING_PROTOCOLS || span.is_disabled();
    if !quiet {
        let elapsed_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
        span.in_scope(|| debug!(status = status.as_u16(), elapsed_ms, "request served"));
    }
    response
}

/// Begins the span of a request in the trace of its caller. Log lines in the span `log` get the id of the trace.
fn begin_trace(
    traces: &Traces,
    log: &tracing::Span,
    (method, route, path): (&'static str, &'static str, &str),
    caller: impl FnOnce() -> Option<TraceParent>,
) -> Option<traces::Span> {
    let span = traces.begin("request", caller)?;
    span.rename(format!("{method} {route}"));
    span.set("http.request.method", method);
    span.set("http.route", route);
    span.set("url.path", path.to_owned());
    log.record("trace_id", span.place().trace());
    Some(span)
}

fn end_trace(span: &traces::Span, status: StatusCode) {
    span.set("http.response.status_code", i64::from(status.as_u16()));
    if status.is_server_error() {
        span.fail(status);
    }
}

/// The method for the timings: a client may send any word.
fn method_name(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        Method::OPTIONS => "OPTIONS",
        _ => "other",
    }
}

/// Checks the head of a request by the rules of HTTP that neither hyper nor warp checks.
fn check(request: &Request<impl Body>) -> Result<(), Problem> {
    let malformed = |why: &'static str| Err(Problem::Malformed(why.into()));
    let headers = request.headers();
    // warp panics on a request target without a path, for example `CONNECT host:port` (warp#1166).
    if request.uri().path_and_query().is_none() {
        return malformed("The request target must be a path.");
    }
    // RFC 9112 §3.2. Two names may be two different hosts to two servers on the way.
    if request.version() == Version::HTTP_11 && !has_one_host(headers) {
        return malformed("The request must have one Host header.");
    }
    // RFC 9112 §6.1. hyper checks only that the last coding is chunked, and decodes no other.
    let mut codings = tokens(headers, TRANSFER_ENCODING);
    let is_chunked = codings
        .next()
        .is_none_or(|coding| coding.eq_ignore_ascii_case("chunked"));
    if !is_chunked || codings.next().is_some() {
        return Err(Problem::UnsupportedTransferEncoding);
    }
    // RFC 9110 §15.5.16. The node decodes no body.
    let is_encoded =
        tokens(headers, CONTENT_ENCODING).any(|coding| !coding.eq_ignore_ascii_case("identity"));
    if is_encoded && !request.body().is_end_stream() {
        return Err(Problem::UnsupportedContentEncoding);
    }
    Ok(())
}

/// Whether the headers have one `Host`, which is empty or a host with or without a port.
fn has_one_host(headers: &HeaderMap) -> bool {
    let mut hosts = headers.get_all(HOST).iter();
    let (Some(host), None) = (hosts.next(), hosts.next()) else {
        return false;
    };
    let is_host = |host: Authority| !host.as_str().contains('@');
    host.is_empty() || Authority::try_from(host.as_bytes()).is_ok_and(is_host)
}
