//! Commands for operators: `discodeit doctor`, `discodeit check` and `discodeit dead-letters`. They take the settings of a node, beside running nodes.

pub mod check;
pub mod dead_letters;
pub mod doctor;

use thiserror::Error;

use crate::problem::Problem;

/// Why a command has failed.
#[derive(Debug, Error)]
pub enum CommandError {
    /// A setting is invalid.
    #[error("{0}")]
    Setting(String),
    /// A store does not answer.
    #[error("a store does not answer")]
    Store(#[from] Problem),
    /// PostgreSQL does not answer, or refuses a statement.
    #[error("PostgreSQL does not answer, or refuses a statement")]
    Postgres(#[from] sqlx::Error),
    /// Kafka does not answer, or refuses a request.
    #[error("Kafka does not answer, or refuses a request")]
    Kafka(#[from] rdkafka::error::KafkaError),
    /// The output is closed.
    #[error("the output is closed")]
    Output(#[from] std::io::Error),
}
