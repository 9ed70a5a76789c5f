//! SockJS 0.3.x: an ordered stream of texts each way over whatever of WebSocket and HTTP works between browser and server.
//!
//! Mounted with [`routes`] over any [`Handler`], at any path. Nothing here knows what the texts mean, and no store and no
//! token is touched before the first frame, `o`, is on its way. `frame.rs` is what travels inside every transport,
//! `framing.rs` what each HTTP transport wraps around it, `session.rs` the sessions over HTTP, `answer.rs` the URLs and their
//! headers, `upgrade.rs` the WebSocket handshake.

mod answer;
mod frame;
mod framing;
pub(crate) mod session;
mod upgrade;

use std::{borrow::Cow, future::Future, sync::Arc, time::Duration};

use futures_util::{FutureExt, future::BoxFuture};
use hyper::upgrade::OnUpgrade;
use warp::{Filter, Rejection, filters::BoxedFilter, path::Tail, reply::Response};

pub use frame::{
    BrokenJson, HEARTBEAT, OPEN, close, decode, info, interrupted, is_segment, messages,
    write_string,
};

use crate::{limits, link::Link, server::Head, tasks::Tasks};
use answer::{Endpoint, Request};
use session::Sessions;

/// What an endpoint allows and how it behaves.
#[derive(Clone, Debug)]
pub struct Parameters {
    /// A streaming response ends after this many octets, so that the browser may forget them. Default 128 KiB.
    pub response_limit: usize,
    /// A session over HTTP that nobody has received from for this long is closed. Default 5 s.
    pub disconnect_delay: Duration,
    /// After this long without traffic to the client a heartbeat is sent, unless the application beats itself. Default 25 s.
    pub heartbeat: Duration,
    /// What a client may send at once: a WebSocket message or the body of a request, in octets. As much may wait for the
    /// application of a session over HTTP. Default [`limits::MESSAGE_BYTES`].
    pub message_bytes: usize,
    /// Such a message or body must be there as a whole within this time. Default
    /// [`limits::MESSAGE_WITHIN`].
    pub message_within: Duration,
    /// A request that brings messages waits this long for its turn, and again for room in its session's queue, then it is
    /// refused. Default 10 s.
    pub patience: Duration,
    /// Sessions over HTTP at once. Default 10,000.
    pub sessions: usize,
    /// Whether the WebSocket transports are there. Default true.
    pub websocket: bool,
    /// Whether `JSESSIONID` is set, for balancers that stick by it. Default false.
    pub cookie: bool,
    /// Where the iframe page finds SockJS's client, as a plain script; begins with `/` or `http`.
    pub client_url: String,
    /// WebSocket sub-protocols; of a client's list the first that is here is chosen.
    pub protocols: &'static [&'static str],
}

impl Default for Parameters {
    fn default() -> Self {
        Self {
            response_limit: 128 * 1024,
            disconnect_delay: Duration::from_secs(5),
            heartbeat: Duration::from_secs(25),
            message_bytes: limits::MESSAGE_BYTES,
            message_within: limits::MESSAGE_WITHIN,
            patience: Duration::from_secs(10),
            sessions: 10_000,
            websocket: true,
            cookie: false,
            client_url: "/vendor/sockjs.min.js".to_owned(),
            protocols: &[],
        }
    }
}

/// An application: serves one connection until it ends.
pub type Handler = Arc<dyn Fn(Link) -> BoxFuture<'static, ()> + Send + Sync>;

/// An application from a function.
pub fn handler<F, Fut>(serve: F) -> Handler
where
    F: Fn(Link) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = ()> + Send + 'static,
{
    Arc::new(move |link| serve(link).boxed())
}

/// Everything under `prefix`. Connections and sessions are tasks of `tasks`. A path that SockJS does not know is a
/// rejection; every other answer is one.
pub fn routes(
    prefix: impl Filter<Extract = (), Error = Rejection> + Clone + Send + Sync + 'static,
    parameters: Parameters,
    tasks: &Tasks,
    handler: Handler,
) -> BoxedFilter<(Response,)> {
    let sessions = Sessions::new(parameters, tasks.clone(), handler);
    let endpoint = Arc::new(Endpoint::new(Arc::new(sessions)));
    prefix
        .and(warp::path::tail())
        .and(warp::method())
        .and(warp::ext::get::<Arc<Head>>())
        .and(warp::ext::optional::<OnUpgrade>())
        .and(warp::body::stream())
        .and_then(move |path: Tail, method, head, upgrade, body| {
            let endpoint = endpoint.clone();
            let request = Request::new(method, head, upgrade, body);
            async move {
                let answer = endpoint.answer(path.as_str(), request).await;
                answer.ok_or_else(warp::reject::not_found)
            }
        })
        .boxed()
}

/// A request's path as it may be logged: whoever knows a session's name can speak in it.
pub fn loggable(path: &str) -> Cow<'_, str> {
    let mut parts = path.rsplitn(3, '/');
    match (parts.next(), parts.next(), parts.next()) {
        (Some(transport), Some(_), Some(before))
            if !before.is_empty() && answer::is_transport(transport) =>
        {
            format!("{before}/-/{transport}").into()
        }
        _ => path.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sessions_name_is_not_logged() {
        assert_eq!(loggable("/ws/042/secret/xhr_send"), "/ws/042/-/xhr_send");
        assert_eq!(loggable("/ws/042/secret/websocket"), "/ws/042/-/websocket");
        for plain in ["/ws/info", "/", "/api/users/1/2", "/ws/websocket"] {
            assert_eq!(loggable(plain), plain);
        }
    }
}
