//! The accept loop around warp's service: what warp's own server cannot be told. A cap on connections, a limit on the time
//! of a request's head, socket options, request ids, one log line a request, and a drain that ends.

use std::{
    convert::Infallible,
    io,
    net::{IpAddr, SocketAddr},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use futures_util::FutureExt;
use http::{
    HeaderMap, HeaderName, HeaderValue, StatusCode,
    header::{CONNECTION, EXPECT},
};
use http_body_util::BodyExt;
use hyper::{
    Request,
    body::{Body, Frame, Incoming, SizeHint},
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    time::Instant,
};
use tower_service::Service;
use tracing::{Instrument, debug, info_span, warn};
use uuid::Uuid;
use warp::reply::Response;

use crate::{
    config::{Config, Network},
    http as api,
    problem::Problem,
    sockjs,
    tasks::Tasks,
};

/// A request's head must come within this time. It is also how long an idle connection is kept; the proxy gives its own up
/// sooner, so that it never sends into one that is being closed.
const HEAD_WITHIN: Duration = Duration::from_secs(20);
/// A request's head at most, in bytes.
const HEAD_BYTES: usize = 64 * 1024;
/// Data that the peer does not acknowledge for this long ends the connection.
const UNACKNOWLEDGED: Duration = Duration::from_secs(20);
/// After a refusal, what is still coming of the body is read for this long, so that the client gets to read the answer.
const LINGER: Duration = Duration::from_secs(2);
/// And this much of it at most, in bytes: a request with files.
const LINGER_BYTES: usize = 64 * 1024 * 1024;
/// Connections that wait to be accepted: a whole proxy's worth coming back at once.
const BACKLOG: i32 = 4_096;

/// Names a request in every log line and answer.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("discodeit-request-id");
/// Names the node that answered.
const NODE: HeaderName = HeaderName::from_static("discodeit-node");

/// What every handler may know of its request.
#[derive(Debug)]
pub struct Head {
    /// Headers.
    pub headers: HeaderMap,
    /// Query, not decoded.
    pub query: Option<String>,
    /// The client, as a trusted proxy tells, else the peer.
    pub client: IpAddr,
    /// A socket that outlives its request keeps its place among the connections.
    pub permit: Arc<OwnedSemaphorePermit>,
}

/// What is served, and within which limits.
pub struct Site {
    /// Every route.
    pub routes: api::Route,
    /// Owns the connections; when it drains, nothing new is accepted.
    pub tasks: Tasks,
    /// Named in every answer.
    pub node_name: String,
    /// Open connections at most; the next ones wait.
    pub max_connections: usize,
    /// Whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Vec<Network>,
}

impl Site {
    /// These routes, as the node's settings say.
    pub fn new(routes: api::Route, config: &Config, tasks: &Tasks) -> Self {
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
pub async fn run(listener: TcpListener, site: Site) {
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
    site: Arc<Site>,
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
        .header_read_timeout(HEAD_WITHIN)
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
    site: Arc<Site>,
    peer: IpAddr,
    permit: Arc<OwnedSemaphorePermit>,
) -> Result<Response, Infallible>
where
    S: Service<Request<Watched>, Response = Response, Error = Infallible> + Send,
    S::Future: Send,
{
    let started = Instant::now();
    let id = request_id(request.headers());
    let path = sockjs::loggable(request.uri().path());
    let span = info_span!("http", method = %request.method(), path = &*path, request.id = id.to_str().unwrap_or_default());
    let unread = Arc::new(AtomicBool::new(false));
    // warp panics on a target without a path, as `CONNECT host:port` has one (warp#1166).
    let mut response = if request.uri().path_and_query().is_none() {
        api::problem(&Problem::Malformed(
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
        let request = request.map(|body| Watched {
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
            Err(_) => api::problem(&Problem::internal("a handler panicked")),
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

/// A request's body that tells when it is dropped before its end. What is still coming is then read and thrown away for a
/// while: closing on it at once would reset the connection, and the client would never see why it was refused.
struct Watched {
    body: Option<Incoming>,
    ended: bool,
    unread: Arc<AtomicBool>,
    linger: Option<Tasks>,
}

impl Body for Watched {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let Some(body) = &mut self.body else {
            return Poll::Ready(None);
        };
        let frame = Pin::new(body).poll_frame(context);
        self.ended |= matches!(frame, Poll::Ready(None));
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body
            .as_ref()
            .map_or_else(|| SizeHint::with_exact(0), Body::size_hint)
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        if self.ended || self.is_end_stream() {
            return;
        }
        self.unread.store(true, Ordering::Release);
        if let (Some(tasks), Some(body)) = (self.linger.take(), self.body.take()) {
            tasks.spawn("linger", linger(body));
        }
    }
}

/// Throws away what comes, for a while and up to a size.
async fn linger(mut body: Incoming) {
    let read = async {
        let mut left = LINGER_BYTES;
        while let Some(Ok(frame)) = body.frame().await {
            left = match left.checked_sub(frame.data_ref().map_or(0, Bytes::len)) {
                Some(left) => left,
                None => return,
            };
        }
    };
    // Whoever has not read the answer by then does not mean to.
    drop(tokio::time::timeout(LINGER, read).await);
}

/// The client's own id if it is one of 1 to 64 visible ASCII characters, else a new one.
fn request_id(headers: &HeaderMap) -> HeaderValue {
    let own = headers.get(REQUEST_ID).filter(|id| {
        (1..=64).contains(&id.len()) && id.as_bytes().iter().all(u8::is_ascii_graphic)
    });
    own.cloned().unwrap_or_else(|| {
        HeaderValue::from_str(&Uuid::new_v4().simple().to_string())
            .unwrap_or(HeaderValue::from_static("none"))
    })
}

/// The last address in `X-Forwarded-For` that is not a trusted proxy's own, if the peer is one.
fn client(headers: &HeaderMap, peer: IpAddr, proxies: &[Network]) -> IpAddr {
    let trusted = |address: IpAddr| proxies.iter().any(|network| network.contains(address));
    if !trusted(peer) {
        return peer;
    }
    let forwarded = headers
        .get_all("x-forwarded-for")
        .iter()
        .filter_map(|value| value.to_str().ok());
    let addresses: Vec<IpAddr> = forwarded
        .flat_map(|value| value.split(','))
        .filter_map(|address| address.trim().parse().ok())
        .collect();
    addresses
        .iter()
        .rev()
        .find(|address| !trusted(**address))
        .or_else(|| addresses.first())
        .copied()
        .unwrap_or(peer)
}
