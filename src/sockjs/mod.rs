//! SockJS 0.3.x: ordered texts in both directions over WebSocket, or over HTTP where a proxy blocks WebSocket.
//!
//! [`routes`] serves any application, a [`Handler`], at any path. This module does not interpret the texts. It sends the open
//! frame, `o`, before it reads a store or a token.
//!
//! # Example
//!
//! An echo service at `/echo`, and a client that reaches it over plain WebSocket:
//!
//! ```
//! use discodeit::{
//!     http::server::{self, ServerConfig},
//!     sockjs::{self, Link, Options},
//!     tasks::Tasks,
//! };
//! use futures_util::{SinkExt, StreamExt};
//! use tokio_tungstenite::{connect_async, tungstenite::Message};
//!
//! async fn echo(mut link: Link) {
//!     let disconnect = loop {
//!         match link.recv().await {
//!             Ok(text) => link.queue_text(&text),
//!             Err(disconnect) => break disconnect,
//!         }
//!     };
//!     link.disconnect(disconnect).await;
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let tasks = Tasks::new();
//! let routes = sockjs::routes(
//!     warp::path("echo"),
//!     Options::default(),
//!     &tasks,
//!     sockjs::handler(echo),
//! );
//! let listener = server::bind("127.0.0.1:0".parse()?)?;
//! let address = listener.local_addr()?;
//! let config = ServerConfig {
//!     routes,
//!     tasks: tasks.clone(),
//!     node_name: "example".to_owned(),
//!     max_connections: 100,
//!     trusted_proxies: Vec::new(),
//!     timings: None,
//! };
//! tasks.spawn("server", server::run(listener, config));
//!
//! let (mut client, _) = connect_async(format!("ws://{address}/echo/websocket")).await?;
//! client.send(Message::text("Hello")).await?;
//! let answer = client.next().await.expect("the connection is open")?;
//! assert_eq!(answer, Message::text("Hello"));
//! # Ok(())
//! # }
//! ```

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

use warp::{Filter, Rejection, filters::BoxedFilter, path::Tail, reply::Response};

use crate::{http::head::Head, tasks::Tasks};

use endpoint::Endpoint;
use request::SockJsRequest;
use sessions::Sessions;

pub use link::Link;
pub use options::Options;
pub use sessions::{Handler, handler};

/// Routes of a SockJS endpoint under `prefix`.
///
/// Each connection and each session over HTTP runs as a task of `tasks`. The filter rejects a path that SockJS does not
/// define, so that it can be combined with other filters, and answers everything else itself.
///
/// ```
/// use discodeit::{
///     sockjs::{self, Link, Options},
///     tasks::Tasks,
/// };
/// use warp::Filter;
///
/// async fn refuse(mut link: Link) {
///     link.close(3000, "Go away!").await;
/// }
///
/// let close = sockjs::routes(
///     warp::path("close"),
///     Options::default(),
///     &Tasks::new(),
///     sockjs::handler(refuse),
/// );
/// let routes = close.or(warp::path("about").map(|| "A SockJS server"));
/// # drop(routes);
/// ```
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
        .and(warp::body::stream())
        .and_then(move |path: Tail, method, head, body| {
            let endpoint = endpoint.clone();
            let request = SockJsRequest::new(method, head, body);
            async move {
                let answer = endpoint.answer(path.as_str(), request).await;
                answer.ok_or_else(warp::reject::not_found)
            }
        })
        .boxed()
}
