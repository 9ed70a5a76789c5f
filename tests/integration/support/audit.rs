//! The audit log of all nodes in this process.

use std::{
    io::{self, Write},
    sync::{Mutex, OnceLock},
};

use serde_json::Value;
use tracing_subscriber::{EnvFilter, fmt::MakeWriter};

static LINES: Mutex<Vec<u8>> = Mutex::new(Vec::new());
static STARTED: OnceLock<()> = OnceLock::new();

struct Lines;

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        LINES.lock().expect("not poisoned").write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Lines {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        Self
    }
}

/// Starts to record the audit log. No other test has a log.
pub fn record_audit_log() {
    STARTED.get_or_init(|| {
        tracing_subscriber::fmt()
            .json()
            .flatten_event(true)
            .with_env_filter(EnvFilter::new("audit=info"))
            .with_writer(Lines)
            .init();
    });
}

/// The lines with this text, since [`record_audit_log`].
pub fn audit_log(text: &str) -> Vec<Value> {
    let lines = String::from_utf8(LINES.lock().expect("not poisoned").clone()).expect("UTF-8");
    lines
        .lines()
        .filter(|line| line.contains(text))
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect()
}
