//! The accept loop around warp's service: what warp's own server cannot be told. A cap on connections, a limit on the time
//! of a request's head, socket options, request ids, one log line a request, and a drain that ends.

use std::{
    convert::Infallible,
    io,
    net::{IpAddr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use futures_util::FutureExt;
use http::{
    HeaderName, HeaderValue, StatusCode,
    header::{CONNECTION, EXPECT},
};
use hyper::{Request, body::Incoming, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use ipnet::IpNet;
use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    time::Instant,
};
use tower_service::Service;
use tracing::{Instrument, debug, info_span, warn};
use warp::reply::Response;

use crate::{
    config::Config,
    http::{
        body::LingeringBody,
        head::{Head, REQUEST_ID, client, request_id},
        reply::problem,
        resource::Route,
    },
    problem::Problem,
    protocol::sockjs::urls::redact_session_id,
    tasks::Tasks,
};

/// A request's head must come within this time. It is also how long an idle connection is kept; the proxy gives its own up
/// sooner, so that it never sends into one that is being closed.
const HEAD_TIMEOUT: Duration = Duration::from_secs(20);
/// A request's head at most, in bytes.
const HEAD_BYTES: usize = 64 * 1024;
/// Data that the peer does not acknowledge for this long ends the connection.
const UNACKNOWLEDGED: Duration = Duration::from_secs(20);
/// Connections that wait to be accepted: a whole proxy's worth coming back at once.
const BACKLOG: i32 = 4_096;

/// Names the node that answered.
const NODE: HeaderName = HeaderName::from_static("discodeit-node");

/// What is served, and within which limits.
pub struct ServerConfig {
    /// Every route.
    pub routes: Route,
    /// Owns the connections; when it drains, nothing new is accepted.
    pub tasks: Tasks,
    /// Named in every answer.
    pub node_name: String,
    /// Open connections at most; the next ones wait.
    pub max_connections: usize,
    /// Whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Vec<IpNet>,
}

impl ServerConfig {
    /// These routes, as the node's settings say.
    pub fn new(routes: Route, config: &Config, tasks: &Tasks) -> Self {
        Self {
            routes,
            tasks: tasks.clone(),
            node_name: config.node_name.clone(),
            max_connections: config.max_connections,
            trusted_proxies: config.trusted_proxies.clone(),
        }
    }
}

/// Binds the address.
///
/// # Errors
/// When it is taken or not ours.
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
pub async fn run(listener: TcpListener, site: ServerConfig) {
    let site = Arc::new(site);
    let permits = Arc::new(Semaphore::new(site.max_connections));
    loop {
        // The place first: beyond the cap connections wait in the kernel's queue.
        let next = async {
            let permit = permits.clone().acquire_owned().await.ok()?;
            Some((permit, listener.accept().await))
        };
        let accepted = tokio::select! {
            accepted = next => accepted,
            () = site.tasks.draining().cancelled() => return,
        };
        match accepted {
            Some((permit, Ok((stream, peer)))) => {
                if let Err(error) = prepare(&stream) {
                    debug!(%error, "a connection closed before it began");
                    continue;
                }
                let connection = serve(stream, peer, Arc::new(permit), site.clone());
                site.tasks.spawn("connection", connection);
            }
            Some((_, Err(error))) if error.kind() == io::ErrorKind::ConnectionAborted => {}
            Some((_, Err(error))) => {
                // Out of file descriptors, most likely: trying at once would only burn the core.
                warn!(%error, "a connection cannot be accepted");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            None => return,
        }
    }
}

fn prepare(stream: &TcpStream) -> io::Result<()> {
    // Two small writes would wait for an acknowledgement in between.
    stream.set_nodelay(true)?;
    let socket = SockRef::from(stream);
    socket.set_tcp_keepalive(
        &TcpKeepalive::new()
            .with_time(Duration::from_mins(1))
            .with_interval(Duration::from_secs(15)),
    )?;
    socket.set_tcp_user_timeout(Some(UNACKNOWLEDGED))
}

async fn serve(
    stream: TcpStream,
    peer: SocketAddr,
    permit: Arc<OwnedSemaphorePermit>,
    site: Arc<ServerConfig>,
) {
    let service = warp::service(site.routes.clone());
    let draining = site.tasks.draining().clone();
    let service = service_fn(move |request| {
        // Boxed: hyper keeps the room for it as long as the connection lives, which an event stream does for hours.
        Box::pin(answer(
            request,
            service.clone(),
            site.clone(),
            peer.ip(),
            permit.clone(),
        ))
    });
    let mut http = hyper::server::conn::http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(HEAD_BYTES);
    let mut connection = std::pin::pin!(
        http.serve_connection(TokioIo::new(stream), service)
            .with_upgrades()
    );
    let result = tokio::select! {
        result = &mut connection => result,
        () = draining.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = result {
        debug!(error = %crate::problem::chain(&error), "a connection ended early");
    }
}

/// One request, from its head to its response.
async fn answer<S>(
    mut request: Request<Incoming>,
    mut service: S,
    site: Arc<ServerConfig>,
    peer: IpAddr,
    permit: Arc<OwnedSemaphorePermit>,
) -> Result<Response, Infallible>
where
    S: Service<Request<LingeringBody>, Response = Response, Error = Infallible> + Send,
    S::Future: Send,
{
    let started = Instant::now();
    let id = request_id(request.headers());
    let path = redact_session_id(request.uri().path());
    let span = info_span!("http", method = %request.method(), path = &*path, request.id = id.to_str().unwrap_or_default());
    let unread = Arc::new(AtomicBool::new(false));
    // warp panics on a target without a path, as `CONNECT host:port` has one (warp#1166).
    let mut response = if request.uri().path_and_query().is_none() {
        problem(&Problem::Malformed(
            "The request target must be a path.".into(),
        ))
    } else {
        let head = Head {
            headers: request.headers().clone(),
            query: request.uri().query().map(str::to_owned),
            client: client(request.headers(), peer, &site.trusted_proxies),
            permit,
        };
        request.extensions_mut().insert(Arc::new(head));
        // A panic in one handler is that request's 500, not its connection's end.
        // Reading on would ask for a body that the client keeps back until it is asked.
        let linger = !request.headers().contains_key(EXPECT);
        let request = request.map(|body| LingeringBody {
            body: Some(body),
            ended: false,
            unread: unread.clone(),
            linger: linger.then(|| site.tasks.clone()),
        });
        let work = async {
            std::panic::AssertUnwindSafe(service.call(request))
                .catch_unwind()
                .await
        };
        match work.instrument(span.clone()).await {
            Ok(Ok(response)) => response,
            Err(_) => problem(&Problem::internal("a handler panicked")),
        }
    };
    response.headers_mut().insert(REQUEST_ID, id);
    // hyper closes a connection on which a body was left; who keeps connections, as our proxy does, must know before it
    // sends the next request on it.
    if unread.load(Ordering::Acquire) {
        response
            .headers_mut()
            .insert(CONNECTION, HeaderValue::from_static("close"));
    }
    if let Ok(node) = HeaderValue::from_str(&site.node_name) {
        response.headers_mut().insert(NODE, node);
    }
    let status = response.status();
    // Answers that keep a client waiting for hours are told when they begin.
    let quiet = status == StatusCode::SWITCHING_PROTOCOLS || span.is_disabled();
    if !quiet {
        let elapsed_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
        span.in_scope(|| debug!(status = status.as_u16(), elapsed_ms, "answered"));
    }
    Ok(response)
}
