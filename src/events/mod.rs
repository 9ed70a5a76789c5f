//! Carries an event from a commit to every node: outbox, SSE history, Kafka.

mod canary;
pub mod consumer;
pub mod history;
pub mod kafka;
pub mod layout;
pub mod outbox;
pub mod position;
pub mod producer;
pub mod replay;
