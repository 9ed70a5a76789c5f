//! The services that SockJS's protocol test suite expects, without STOMP and stores. The argument is the port (8081).
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
        let options = Options {
            // The test suite expects streaming responses to end after 4,096 bytes.
            response_limit: 4096,
            ..Options::default()
        };
        services::serve(listener, options, Tasks::new()).await;
        Ok(())
    })
}
