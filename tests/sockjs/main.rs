//! SockJS over the network, without stores: the assertions of the protocol's test suite against its services, and further
//! requirements of clients.

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
    /// The address on which the server listens.
    pub address: SocketAddr,
    /// The tasks of the connections and sessions.
    pub tasks: Tasks,
    /// The accept loop.
    pub services: TaskTracker,
}

/// Starts the suite's server with streaming responses of 4,096 bytes.
pub async fn start() -> Server {
    start_with(Options {
        response_limit: 4096,
        ..Options::default()
    })
    .await
}

/// Starts the suite's server with these options.
pub async fn start_with(options: Options) -> Server {
    let listener = server::bind(SocketAddr::from(([127, 0, 0, 1], 0))).expect("a port is free");
    let address = listener.local_addr().expect("the listener is bound");
    let tasks = Tasks::new();
    let serving = services::serve(listener, options, tasks.clone());
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

/// The URL of a new session under `service`.
pub fn session(service: &str) -> String {
    format!("/{service}/000/{}", uuid::Uuid::new_v4().simple())
}

/// Timeout for the server's next step on a busy machine.
pub const SOON: Duration = Duration::from_secs(8);
