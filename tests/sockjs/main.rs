//! SockJS on the wire, with the services of the protocol's own suite and no store: what that suite asserts, test by test, and
//! what clients need beyond it.

#![expect(unreachable_pub, reason = "a test binary exports nothing")]

mod client;
mod closing;
mod limits;
mod polling;
#[path = "../../examples/sockjs_services/services.rs"]
mod services;
mod streaming;
mod urls;
mod websocket;

use std::{net::SocketAddr, time::Duration};

use discodeit::{http::server, sockjs::Options, tasks::Tasks};
use tokio_util::task::TaskTracker;

/// A running server. Its tasks end with the test's runtime.
pub struct Server {
    /// Where it listens.
    pub address: SocketAddr,
    /// Its connections and sessions.
    pub tasks: Tasks,
    /// The accept loop.
    pub services: TaskTracker,
}

/// The suite's server: responses of 4096 octets.
pub async fn start() -> Server {
    start_with(Options {
        response_limit: 4096,
        ..Options::default()
    })
    .await
}

/// Likewise, with other limits.
pub async fn start_with(parameters: Options) -> Server {
    let listener = server::bind(SocketAddr::from(([127, 0, 0, 1], 0))).expect("a port is free");
    let address = listener.local_addr().expect("it is bound");
    let tasks = Tasks::new();
    let serving = services::serve(listener, parameters, tasks.clone());
    Server::spawn(address, tasks, serving)
}

impl Server {
    fn spawn(
        address: SocketAddr,
        tasks: Tasks,
        serving: impl Future<Output = ()> + Send + 'static,
    ) -> Self {
        let services = TaskTracker::new();
        tasks.spawn("services", services.track_future(serving));
        Self {
            address,
            tasks,
            services,
        }
    }
}

/// A session's URL under `service` that nobody else uses.
pub fn session(service: &str) -> String {
    format!("/{service}/000/{}", uuid::Uuid::new_v4().simple())
}

/// Something that should happen soon has this long on a busy machine.
pub const SOON: Duration = Duration::from_secs(8);
