//! SockJS alone, without STOMP and without stores: the services that the protocol's own test suite wants, on the port given
//! as argument (8081 by default).
//!
//! `cargo run --example sockjs_services -- 8081`

use std::{error::Error, io::Write, net::SocketAddr};

use discodeit::{http::server, sockjs::Options, tasks::Tasks};

mod services;

fn main() -> Result<(), Box<dyn Error>> {
    let port = std::env::args()
        .nth(1)
        .map_or(Ok(8081), |port| port.parse())?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let listener = server::bind(SocketAddr::from(([127, 0, 0, 1], port)))?;
        writeln!(std::io::stdout(), "listening on {}", listener.local_addr()?)?;
        let parameters = Options {
            // The suite counts up to this many octets.
            response_limit: 4096,
            ..Options::default()
        };
        services::serve(listener, parameters, Tasks::new()).await;
        Ok(())
    })
}
