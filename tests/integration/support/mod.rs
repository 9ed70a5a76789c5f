//! Clients, nodes and stores for the tests.

mod audit;
mod broker;
mod bucket;
mod client;
mod cluster;
mod collector;
mod cut;
mod process;
mod redis_server;
mod sockjs;
mod sse;
mod stomp;

pub use audit::{audit_log, record_audit_log};
pub use broker::Broker;
pub use bucket::Bucket;
pub use client::{Answer, User, Visitor};
pub use cluster::{ADMIN, Cluster, NODE_REDIS_USER};
pub use collector::{Collector, Exported};
pub use cut::Cut;
pub use process::{NodeProcess, run_command, run_command_with};
pub use redis_server::RedisServer;
pub use sockjs::SockJs;
pub use sse::Sse;
pub use stomp::Stomp;

use std::time::Duration;

/// Timeout for an expected event on a busy machine.
///
/// A test of a guaranteed time has its own bound.
pub const SOON: Duration = Duration::from_secs(30);

/// Timeout for the start of a node.
///
/// Kafka creates the node's topics while other tests create theirs.
const START: Duration = Duration::from_mins(1);

/// Waits at most [`SOON`] until `holds` returns true.
///
/// `what` names the condition in the panic.
pub async fn eventually(what: &str, holds: impl AsyncFnMut() -> bool) {
    eventually_within(SOON, what, holds).await;
}

/// [`eventually`] with another timeout.
pub async fn eventually_within(time: Duration, what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let deadline = tokio::time::Instant::now() + time;
    while !holds().await {
        assert!(tokio::time::Instant::now() < deadline, "timeout: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
