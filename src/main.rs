//! The `discodeit` program: one node, configured by environment variables.
//!
//! `discodeit health` checks whether the node with the same environment is ready. `discodeit thumbnails` makes the thumbnails of one
//! picture for a node.

use std::{
    io::{Read, Write},
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream},
    process::ExitCode,
    time::Duration,
};

use discodeit::{Config, Node, node::StartError, problem::chain, telemetry};
use tokio::signal::unix::{SignalKind, signal};
use tracing::{error, info};

/// The exit code for invalid settings or arguments (`EX_USAGE`).
const USAGE: u8 = 64;

fn main() -> ExitCode {
    #[expect(
        clippy::disallowed_methods,
        reason = "only this function reads the environment"
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
        Some("thumbnails") => {
            return match discodeit::thumbnails::run(
                std::io::stdin().lock(),
                std::io::stdout().lock(),
            ) {
                Ok(()) => ExitCode::SUCCESS,
                Err(error) => fail(1, &error.to_string()),
            };
        }
        Some(other) => {
            return fail(
                USAGE,
                &format!(
                    "unknown command {other:?}; run discodeit without a command to start a node"
                ),
            );
        }
    }
    #[cfg(feature = "crash-points")]
    if let Some(point) = environment("CRASH_AT") {
        discodeit::crash::arm(&point);
    }
    let config = match Config::read(&environment) {
        Ok(config) => config,
        Err(errors) => return fail(USAGE, &errors.to_string()),
    };
    if let Err(error) = telemetry::start(&config.log, config.log_format) {
        return fail(USAGE, &error);
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => return fail(1, &format!("cannot start the runtime: {error}")),
    };
    runtime.block_on(run(config))
}

/// Writes a message to standard error and returns the exit code.
fn fail(code: u8, message: &str) -> ExitCode {
    // Fails when standard error is closed.
    drop(writeln!(std::io::stderr(), "{message}"));
    ExitCode::from(code)
}

async fn run(config: Config) -> ExitCode {
    let (Ok(mut terminate), Ok(mut interrupt)) = (
        signal(SignalKind::terminate()),
        signal(SignalKind::interrupt()),
    ) else {
        return fail(1, "cannot install signal handlers");
    };
    let node = match Node::start(config).await {
        Ok(node) => node,
        Err(error) => {
            error!(error = %chain(&error), "start failed");
            return match error {
                StartError::Setting(_) => ExitCode::from(USAGE),
                _ => ExitCode::FAILURE,
            };
        }
    };
    let mut shutdown_signal = async || {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    };
    shutdown_signal().await;
    // A second signal ends the process without waiting for the drain.
    tokio::select! {
        clean = node.drain() => {
            info!(clean, "shut down");
            ExitCode::SUCCESS
        }
        () = shutdown_signal() => ExitCode::FAILURE,
    }
}

/// Whether the node at this address is ready. Needs no HTTP client, which an image may not have.
fn health(listen: SocketAddr) -> bool {
    let host = if listen.ip().is_unspecified() {
        IpAddr::V4(Ipv4Addr::LOCALHOST)
    } else {
        listen.ip()
    };
    let timeout = Duration::from_secs(3);
    let check = || -> std::io::Result<bool> {
        let mut stream =
            TcpStream::connect_timeout(&SocketAddr::new(host, listen.port()), timeout)?;
        stream.set_read_timeout(Some(timeout))?;
        stream.write_all(
            b"GET /api/health/ready HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
        )?;
        let mut status = [0; 12];
        stream.read_exact(&mut status)?;
        Ok(status.ends_with(b" 200"))
    };
    check().unwrap_or(false)
}
