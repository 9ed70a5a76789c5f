//! What the tests stand on.

mod broker;
mod bucket;
mod client;
mod cluster;
mod cut;
mod redis_server;
mod sse;
mod stomp;

pub use broker::Broker;
pub use bucket::Bucket;
pub use client::{Answer, User, Visitor};
pub use cluster::{ADMIN, Cluster};
pub use cut::Cut;
pub use redis_server::RedisServer;
pub use sse::Sse;
pub use stomp::Stomp;

use std::time::Duration;

/// Something that should happen soon has this long on a busy machine. What is promised within a time is measured apart.
pub const SOON: Duration = Duration::from_secs(30);

/// A node that starts has this long: Kafka makes its topics, beside those of other tests and of whatever else is starting.
const START: Duration = Duration::from_mins(1);

/// Waits until `what` holds.
pub async fn eventually(what: &str, holds: impl AsyncFnMut() -> bool) {
    eventually_within(SOON, what, holds).await;
}

/// Likewise, within another time.
pub async fn eventually_within(time: Duration, what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let deadline = tokio::time::Instant::now() + time;
    while !holds().await {
        assert!(
            tokio::time::Instant::now() < deadline,
            "it never happened: {what}"
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
