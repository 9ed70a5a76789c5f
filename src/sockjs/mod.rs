//! SockJS 0.3.x: an ordered stream of texts in each direction over WebSocket, or over HTTP where WebSocket does not pass.
//!
//! [`routes`] mounts it over any [`Handler`], at any path. Nothing here knows what the texts mean, and no store and no token is
//! read before the first frame, `o`, is sent.

mod endpoint;
mod handshake;
mod http_framing;
mod link;
mod options;
mod request;
mod session;
mod sessions;
mod websocket;

use std::sync::Arc;

use hyper::upgrade::OnUpgrade;
use warp::{Filter, Rejection, filters::BoxedFilter, path::Tail, reply::Response};

use crate::{http::head::Head, tasks::Tasks};

use endpoint::Endpoint;
use request::Request;
use sessions::Sessions;

pub use link::Link;
pub use options::Options;
pub use sessions::{Handler, handler};

/// Everything under `prefix`. Connections and sessions are tasks of `tasks`. A path that SockJS does not know is a
/// rejection; every other answer is one.
pub fn routes(
    prefix: impl Filter<Extract = (), Error = Rejection> + Clone + Send + Sync + 'static,
    options: Options,
    tasks: &Tasks,
    handler: Handler,
) -> BoxedFilter<(Response,)> {
    let sessions = Sessions::new(options, tasks.clone(), handler);
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
