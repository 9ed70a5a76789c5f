//! The `discodeit` program: one node, configured by its environment. `discodeit health` asks the node of the same
//! environment whether it is ready.

use std::{
    io::{Read, Write},
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream},
    process::ExitCode,
    time::Duration,
};

use discodeit::{Config, Node, problem::chain, telemetry};
use tokio::signal::unix::{SignalKind, signal};
use tracing::{error, info};

/// The exit code of wrong settings (`EX_USAGE`).
const USAGE: u8 = 64;

fn main() -> ExitCode {
    #[expect(
        clippy::disallowed_methods,
        reason = "the one place where the environment is read"
    )]
    let environment = |name: &str| std::env::var(name).ok();
    match std::env::args().nth(1).as_deref() {
        None => {}
        Some("health") => {
            let listen = environment("LISTEN").unwrap_or_else(|| "0.0.0.0:8080".to_owned());
            let healthy = listen.parse().is_ok_and(health);
            return if healthy {
                ExitCode::SUCCESS
            } else {
                ExitCode::FAILURE
            };
        }
        Some(other) => {
            return complain(
                USAGE,
                &format!("there is no command {other:?}; without one a node is started"),
            );
        }
    }
    let config = match Config::read(&environment) {
        Ok(config) => config,
        Err(mistakes) => return complain(USAGE, &mistakes.to_string()),
    };
    if let Err(mistake) = telemetry::start(&config.log, config.log_format) {
        return complain(USAGE, &mistake);
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => return complain(1, &format!("no threads: {error}")),
    };
    runtime.block_on(run(config))
}

fn complain(code: u8, what: &str) -> ExitCode {
    // Nothing to do if standard error is closed.
    drop(writeln!(std::io::stderr(), "{what}"));
    ExitCode::from(code)
}

async fn run(config: Config) -> ExitCode {
    let (Ok(mut terminate), Ok(mut interrupt)) = (
        signal(SignalKind::terminate()),
        signal(SignalKind::interrupt()),
    ) else {
        return complain(1, "signals cannot be received");
    };
    let node = match Node::start(config).await {
        Ok(node) => node,
        Err(failure) => {
            error!(error = %chain(&failure), "the node cannot start");
            return ExitCode::FAILURE;
        }
    };
    let mut ask = async || {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    };
    ask().await;
    // The second time it is meant.
    tokio::select! {
        clean = node.drain() => {
            info!(clean, "shut down");
            ExitCode::SUCCESS
        }
        () = ask() => ExitCode::FAILURE,
    }
}

/// Asks the node that listens there. By hand, so that an image needs no other program for it.
fn health(listen: SocketAddr) -> bool {
    let host = if listen.ip().is_unspecified() {
        IpAddr::V4(Ipv4Addr::LOCALHOST)
    } else {
        listen.ip()
    };
    let within = Duration::from_secs(3);
    let ask = || -> std::io::Result<bool> {
        let mut stream = TcpStream::connect_timeout(&SocketAddr::new(host, listen.port()), within)?;
        stream.set_read_timeout(Some(within))?;
        stream.write_all(
            b"GET /api/health/ready HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
        )?;
        let mut status = [0; 12];
        stream.read_exact(&mut status)?;
        Ok(status.ends_with(b" 200"))
    };
    ask().unwrap_or(false)
}
