//! PostgreSQL: the truth for everything people wrote. One file for each group of tables; free functions, no state.

pub mod channels;
pub mod files;
pub mod messages;
pub mod notifications;
pub mod outbox;
pub mod purge;
pub mod read_statuses;
pub mod users;

use std::time::Duration;

use sqlx::{
    Executor, PgPool, Postgres, Transaction,
    postgres::{PgConnectOptions, PgPoolOptions},
};
use tokio::sync::oneshot;

use crate::{config::Config, problem::Problem};

/// How long a request waits for a free connection before it is answered 503.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(3);

/// The schema, run at every start; each statement may run again.
const SCHEMA: &str = include_str!("../../schema.sql");

/// Any number will do that nothing else in the database uses for `pg_advisory_lock`.
const SCHEMA_LOCK: i64 = 0x4449_5343_4f44_4549;

/// A pool that connects when it is first used.
///
/// # Errors
/// When the URL cannot be parsed; the message does not contain it.
pub fn pool(config: &Config) -> Result<PgPool, String> {
    let options: PgConnectOptions = config
        .database_url
        .expose()
        .parse()
        .map_err(|_| "DATABASE_URL is not a PostgreSQL URL".to_owned())?;
    // A statement that takes longer than this would make its request miss the five seconds in which a failure must be
    // told; a transaction that a stalled node holds open would keep others from the channel.
    let options = options.application_name("discodeit").options([
        ("statement_timeout", "4000"),
        ("lock_timeout", "3000"),
        // Not "already exists, skipping" at every start.
        ("client_min_messages", "warning"),
        ("idle_in_transaction_session_timeout", "10000"),
    ]);
    Ok(PgPoolOptions::new()
        .max_connections(config.database_pool)
        .acquire_timeout(ACQUIRE_TIMEOUT)
        .idle_timeout(Duration::from_mins(5))
        .connect_lazy_with(options))
}

/// Begins a transaction. Cancel safe, unlike `Pool::begin`.
///
/// sqlx counts a transaction only when PostgreSQL has answered `BEGIN`. A caller that gives up before that would return a
/// connection to the pool inside a transaction that nobody ends: later statements on it would be acknowledged without a commit
/// (<https://github.com/launchbadge/sqlx/issues/4385>). Here, a task waits for the answer, and rolls back if the caller has
/// gone.
///
/// # Errors
/// No connection became free in time, or PostgreSQL refused.
pub async fn begin(db: &PgPool) -> Result<Transaction<'static, Postgres>, sqlx::Error> {
    let db = db.clone();
    let (sender, begun) = oneshot::channel();
    #[expect(
        clippy::disallowed_methods,
        reason = "ends with the answer or with the pool's timeout"
    )]
    tokio::spawn(async move { drop(sender.send(db.begin().await)) });
    begun.await.unwrap_or(Err(sqlx::Error::WorkerCrashed))
}

/// Runs schema.sql. Nodes that start together take turns.
///
/// # Errors
/// When the database cannot be reached or refuses a statement.
pub async fn prepare(db: &PgPool) -> Result<(), sqlx::Error> {
    let mut transaction = begin(db).await?;
    transaction
        .execute("set local statement_timeout = '60s'; set local lock_timeout = '60s'")
        .await?;
    sqlx::query("select pg_advisory_xact_lock($1)")
        .bind(SCHEMA_LOCK)
        .execute(&mut *transaction)
        .await?;
    transaction.execute(sqlx::raw_sql(SCHEMA)).await?;
    transaction.commit().await
}

/// Named constraints and the problems that their violations are.
pub type Constraints<'a> = [(&'a str, fn() -> Problem)];

/// Turns the violation of a named constraint into a problem of the caller's.
pub trait OnConstraint<T> {
    /// `problem` if this error is the violation of the constraint `name`, else the error as a problem of ours.
    ///
    /// # Errors
    /// Always the error, translated.
    fn on_constraint(self, table: &Constraints<'_>) -> Result<T, Problem>;
}

impl<T> OnConstraint<T> for Result<T, sqlx::Error> {
    fn on_constraint(self, table: &Constraints<'_>) -> Result<T, Problem> {
        self.map_err(|error| {
            let name = error.as_database_error().and_then(|db| db.constraint());
            let found = table
                .iter()
                .find(|(constraint, _)| Some(*constraint) == name);
            found.map_or_else(|| Problem::from(error), |(_, problem)| problem())
        })
    }
}
