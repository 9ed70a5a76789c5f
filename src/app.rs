//! What handlers, sockets and tasks may use. Passed as `Arc<App>`, never global, so that several nodes live in one process.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use redis::aio::ConnectionManager;
use sqlx::PgPool;

use crate::{
    auth::{passwords::Passwords, sessions::Sessions, tokens::Tokens},
    blobs::Files,
    config::Config,
    delivery::{Delivery, presence::Presence},
    events::{history::History, kafka::Kafka, outbox::Outbox},
    group_commit::GroupCommit,
    tasks::Tasks,
};

/// The parts of one node.
pub struct App {
    /// Settings.
    pub config: Config,
    /// PostgreSQL.
    pub db: PgPool,
    /// Redis.
    pub redis: ConnectionManager,
    /// Sessions, in Redis.
    pub sessions: Sessions,
    /// The SSE history, in Redis.
    pub history: History,
    /// Who is online, in Redis.
    pub presence: Presence,
    /// Access tokens.
    pub tokens: Tokens,
    /// Password hashes.
    pub passwords: Passwords,
    /// The clients of this node.
    pub delivery: Arc<Delivery>,
    /// Kafka.
    pub kafka: Arc<Kafka>,
    /// From committed events to Kafka.
    pub outbox: Arc<Outbox>,
    /// The bytes of files.
    pub files: Arc<Files>,
    /// Writes new messages.
    pub posts: GroupCommit,
    /// Tasks.
    pub tasks: Tasks,
    /// Whether the schema and the admin account are there.
    pub prepared: AtomicBool,
    /// Whether the node is about to leave.
    pub leaving: AtomicBool,
}

impl App {
    /// Whether the schema and the admin account are there.
    pub fn is_prepared(&self) -> bool {
        self.prepared.load(Ordering::Relaxed)
    }

    /// Whether the node is about to leave.
    pub fn is_leaving(&self) -> bool {
        self.leaving.load(Ordering::Relaxed)
    }
}
