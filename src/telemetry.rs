//! The log subscriber. Traces are not its business: [`crate::traces`] records them, and adds their ids to spans of log lines.

use tracing_subscriber::{EnvFilter, layer::SubscriberExt, util::SubscriberInitExt};

/// The target of log lines about logins, accounts, roles and sessions, at the level `info`. They contain no secrets.
pub const AUDIT: &str = "audit";

/// Writes log lines to standard output. Does nothing if the process has a subscriber already.
///
/// # Errors
/// `LOG` is not a filter.
pub fn start(filter: &str, format: LogFormat) -> Result<(), String> {
    let filter =
        EnvFilter::try_new(filter).map_err(|error| format!("LOG is not a filter: {error}"))?;
    let registry = tracing_subscriber::registry().with(filter);
    // Colours only on a terminal.
    let ansi = std::io::IsTerminal::is_terminal(&std::io::stdout());
    let started = match format {
        LogFormat::Text => registry
            .with(tracing_subscriber::fmt::layer().with_ansi(ansi))
            .try_init(),
        LogFormat::Json => registry
            .with(tracing_subscriber::fmt::layer().json().flatten_event(true))
            .try_init(),
    };
    drop(started);
    Ok(())
}

/// The format of log lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// Text for people.
    Text,
    /// One JSON object per line.
    Json,
}
