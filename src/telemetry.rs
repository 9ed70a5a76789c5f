//! Log lines.

use tracing_subscriber::{EnvFilter, layer::SubscriberExt, util::SubscriberInitExt};

/// Sends log lines to standard output in the configured form. Does nothing if the process has a subscriber already.
///
/// # Errors
/// When `LOG` is not a filter.
pub fn start(filter: &str, format: LogFormat) -> Result<(), String> {
    let filter =
        EnvFilter::try_new(filter).map_err(|error| format!("LOG is not a filter: {error}"))?;
    let registry = tracing_subscriber::registry().with(filter);
    // Colours only where a person looks.
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

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}
