//! The `discodeit` program: one node, configured by environment variables.
//!
//! With an argument it is a command: see [`HELP`].

use std::{
    io::{Read, Write},
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream},
    process::ExitCode,
    time::Duration,
};

use discodeit::{
    Config, Node,
    commands::{
        self, CommandError,
        dead_letters::{self, Action},
    },
    node::StartError,
    problem::chain,
    telemetry, thumbnails,
};
use tokio::signal::unix::{SignalKind, signal};
use tracing::{error, info};

/// The answer to `discodeit help`.
const HELP: &str = "\
discodeit                      start a node
discodeit health               exit with 0 if the node with the same LISTEN is ready
discodeit doctor               look at everything that a node needs, and say what is wrong; exit with 1 if a node cannot run
discodeit check                compare the tables with each other and with the stored files; exit with 1 if something is wrong
discodeit dead-letters list    show the jobs that no node could do, with their reasons
discodeit dead-letters retry   let the nodes do these jobs again
discodeit dead-letters drop    delete these jobs
discodeit thumbnails           (for nodes) read a picture, write its thumbnails

All settings are environment variables, see docs/settings.md.
";

/// Time for threads to end that nothing waits for.
const EXIT_TIMEOUT: Duration = Duration::from_secs(1);

/// The exit code for invalid settings or arguments (`EX_USAGE`).
const USAGE: u8 = 64;

fn main() -> ExitCode {
    #[expect(
        clippy::disallowed_methods,
        reason = "only this function reads the environment"
    )]
    let environment = |name: &str| std::env::var(name).ok();
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let command = match arguments[..] {
        [] => Command::Node,
        ["health"] => {
            let listen = environment("LISTEN").unwrap_or_else(|| "0.0.0.0:8080".to_owned());
            return if listen.parse().is_ok_and(health) {
                ExitCode::SUCCESS
            } else {
                ExitCode::FAILURE
            };
        }
        ["thumbnails"] => {
            return match thumbnails::run(std::io::stdin().lock(), std::io::stdout().lock()) {
                Ok(()) => ExitCode::SUCCESS,
                Err(error) => fail(1, &error.to_string()),
            };
        }
        ["help" | "--help" | "-h"] => {
            // Fails when standard output is closed.
            drop(std::io::stdout().write_all(HELP.as_bytes()));
            return ExitCode::SUCCESS;
        }
        ["doctor"] => Command::Doctor,
        ["check"] => Command::Check,
        ["dead-letters", "list"] => Command::DeadLetters(Action::List),
        ["dead-letters", "retry"] => Command::DeadLetters(Action::Retry),
        ["dead-letters", "drop"] => Command::DeadLetters(Action::Drop),
        _ => {
            let unknown = arguments.join(" ");
            return fail(USAGE, &format!("unknown command {unknown:?}\n\n{HELP}"));
        }
    };
    #[cfg(feature = "crash-points")]
    if let Some(point) = environment("CRASH_AT") {
        discodeit::crash::arm(&point);
    }
    let config = match Config::read(&environment) {
        Ok(config) => config,
        Err(errors) => return fail(USAGE, &errors.to_string()),
    };
    // The output of a command is for people.
    if matches!(command, Command::Node)
        && let Err(error) = telemetry::start(&config.log, config.log_format)
    {
        return fail(USAGE, &error);
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => return fail(1, &format!("cannot start the runtime: {error}")),
    };
    let code = match command {
        Command::Node => runtime.block_on(run(config)),
        Command::Doctor => {
            let can_run = runtime.block_on(commands::doctor::run(&config, std::io::stdout()));
            exit_code(can_run)
        }
        Command::Check => {
            let sound = runtime.block_on(commands::check::run(&config, std::io::stdout()));
            exit_code(sound)
        }
        Command::DeadLetters(action) => {
            let done = dead_letters::run(&config, action, std::io::stdout());
            exit_code(runtime.block_on(done).map(|()| true))
        }
    };
    // A blocking call of a Kafka client may never end.
    runtime.shutdown_timeout(EXIT_TIMEOUT);
    code
}

/// What the process does with its settings.
enum Command {
    Node,
    Doctor,
    Check,
    DeadLetters(Action),
}

/// The exit code of a command that has found all well, or not.
fn exit_code(result: Result<bool, CommandError>) -> ExitCode {
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => fail(1, &chain(&error)),
    }
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
