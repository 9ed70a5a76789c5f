//! The parts of a node, shared by handlers, connections and tasks as `Arc<App>`.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use crate::{
    auth::{attempts::Attempts, passwords::Passwords, sessions::Sessions, tokens::Tokens},
    blobs::Blobs,
    config::Config,
    delivery::{Delivery, presence::Presence},
    events::{history::History, kafka::Kafka, outbox::Outbox, replay::Replay},
    group_commit::GroupCommit,
    metrics::Metrics,
    model::FirstAdmin,
    rate_limit::clients::Clients,
    redis_client::RedisClient,
    store::Db,
    tasks::Tasks,
    traces::Traces,
};

/// The parts of one node.
pub struct App {
    /// Settings.
    pub config: Config,
    /// The first administrator, validated.
    pub admin: Option<FirstAdmin>,
    /// PostgreSQL.
    pub db: Db,
    /// Redis.
    pub redis: RedisClient,
    /// Sessions, in Redis.
    pub sessions: Sessions,
    /// SSE history, in Redis.
    pub history: History,
    /// The same, for streams that resume.
    pub replay: Replay,
    /// Users who are online, in Redis.
    pub presence: Presence,
    /// Access tokens.
    pub tokens: Tokens,
    /// Password hashes.
    pub passwords: Passwords,
    /// Limits on logins and sign-ups, in Redis.
    pub attempts: Attempts,
    /// Rates and concurrent work of each client.
    pub limits: Clients,
    /// The clients of this node.
    pub delivery: Arc<Delivery>,
    /// Kafka.
    pub kafka: Arc<Kafka>,
    /// Publishes committed events.
    pub outbox: Arc<Outbox>,
    /// Bytes of files.
    pub blobs: Arc<Blobs>,
    /// Commits new messages, many in one transaction.
    pub posts: GroupCommit,
    /// What this node counts.
    pub metrics: Arc<Metrics>,
    /// Traces for a collector.
    pub traces: Traces,
    /// Tasks of this node.
    pub tasks: Tasks,
    /// Whether the schema and the first administrator exist, or the latter cannot be created.
    pub prepared: AtomicBool,
    /// Whether the node is draining.
    pub draining: AtomicBool,
}

impl App {
    /// Whether the schema and the first administrator exist, or the latter cannot be created.
    pub fn is_prepared(&self) -> bool {
        self.prepared.load(Ordering::Relaxed)
    }

    /// Whether the node is draining.
    pub fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }
}
