//! PostgreSQL, the source of truth for everything that users write.
//!
//! One file for each group of tables; free functions, no state.

pub mod channels;
mod db;
pub mod files;
pub mod mentions;
pub mod messages;
pub mod new_messages;
pub mod notifications;
pub mod outbox;
pub mod purge;
pub mod reactions;
pub mod read_statuses;
pub mod search;
pub mod users;
mod visibility;

use std::{fmt, str::FromStr, sync::Arc};

use sqlx::{
    ConnectOptions, Connection, Executor, PgConnection, migrate::Migrator,
    postgres::PgConnectOptions,
};
use thiserror::Error;
use time::OffsetDateTime;
use uuid::Uuid;

pub use db::{Db, Transaction};

use crate::{config::Config, metrics::Metrics, problem::Problem, secret::Secret};

/// The migrations from the first schema to the current one, `schema.sql`.
///
/// Unknown migrations in the database are no error: during a rolling upgrade, an older node may restart after a newer one has run
/// its migrations. So each migration leaves the database usable for the version before it.
static MIGRATIONS: Migrator = Migrator {
    ignore_missing: true,
    ..sqlx::migrate!("./migrations")
};

/// Advisory lock of versions before migrations.
///
/// They hold it while they run their whole schema at start.
const SCHEMA_LOCK: i64 = 0x4449_5343_4f44_4549;

/// Parses the URL in a setting.
///
/// # Errors
/// When the URL cannot be parsed; the message does not contain it.
pub fn options(setting: &str, url: &Secret) -> Result<PgConnectOptions, String> {
    let options: PgConnectOptions = url
        .expose()
        .parse()
        .map_err(|_| format!("{setting} is not a PostgreSQL URL"))?;
    // The statement timeout lets a request fail within 5 s, as promised. The idle timeout ends the transaction of a stalled node,
    // which would keep its locks.
    Ok(options.application_name("discodeit").options([
        ("statement_timeout", "4000"),
        ("lock_timeout", "3000"),
        // Hides the notice "already exists, skipping" at each start.
        ("client_min_messages", "warning"),
        ("idle_in_transaction_session_timeout", "10000"),
    ]))
}

/// A pool of the size in the settings.
///
/// # Errors
/// When `DATABASE_URL` cannot be parsed; the message does not contain it.
pub fn pool(config: &Config, metrics: Arc<Metrics>) -> Result<Db, String> {
    let options = options("DATABASE_URL", &config.database_url)?;
    Ok(Db::new(options, config.database_pool, metrics))
}

/// Runs the migrations that the database does not have yet, and brings the keys of names up to date, which SQL cannot compute.
///
/// `owner` owns the schema. `runtime_role` is another role, of the nodes' pools: it may read and write rows, and nothing else.
///
/// Nodes that start together take turns: the migrator holds an advisory lock of the session. The connection is not from a pool:
/// a failed run leaves the lock to the connection, and a migration may take longer than a pool's 4 s.
///
/// # Errors
/// The database cannot be reached, refuses a statement, or has run a migration whose text has changed since.
pub async fn prepare(
    owner: &PgConnectOptions,
    runtime_role: Option<&str>,
) -> Result<(), sqlx::Error> {
    let mut connection = owner.connect().await?;
    connection
        .execute("set statement_timeout = '60s'; set lock_timeout = '60s'")
        .await?;
    // Excludes a node from before migrations that starts at the same time.
    sqlx::query("select pg_advisory_lock($1)")
        .bind(SCHEMA_LOCK)
        .execute(&mut connection)
        .await?;
    // Not `run`: the future of its `Acquire` argument is not `Send` for every lifetime, which a spawned task needs.
    MIGRATIONS.run_direct(None, &mut connection, false).await?;
    users::update_keys(&mut connection).await?;
    if let Some(role) = runtime_role {
        // At each start, because a migration may have added a table.
        let grants: String = sqlx::query_scalar(GRANTS)
            .bind(role)
            .fetch_one(&mut connection)
            .await?;
        connection.execute(sqlx::AssertSqlSafe(grants)).await?;
    }
    connection.close().await
}

/// The number of migrations of this version that the database has not run yet. Needs the owner of the schema.
///
/// # Errors
/// The database cannot be reached, or refuses a statement.
pub async fn missing_migrations(connection: &mut PgConnection) -> Result<usize, sqlx::Error> {
    const TABLE: &str = "select to_regclass('_sqlx_migrations') is not null";
    let exists: bool = sqlx::query_scalar(TABLE)
        .fetch_one(&mut *connection)
        .await?;
    let mut done: Vec<i64> = Vec::new();
    if exists {
        done = sqlx::query_scalar("select version from _sqlx_migrations where success")
            .fetch_all(connection)
            .await?;
    }
    let missing = MIGRATIONS
        .iter()
        .filter(|migration| !done.contains(&migration.version));
    Ok(missing.count())
}

/// The statements that give the role $1 its rights. `post_messages` takes ids from a sequence.
const GRANTS: &str = "select format( \
    'grant usage on schema %1$I to %2$I; \
     grant select, insert, update, delete on all tables in schema %1$I to %2$I; \
     grant usage on all sequences in schema %1$I to %2$I; \
     revoke all on %1$I._sqlx_migrations from %2$I', \
    current_schema(), $1)";

/// The place of a row in a list by creation time. Its text is the cursor of a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CreationKey {
    at: OffsetDateTime,
    id: Uuid,
}

impl CreationKey {
    /// Before every row.
    const FIRST: Self = Self {
        at: OffsetDateTime::UNIX_EPOCH,
        id: Uuid::nil(),
    };
}

impl fmt::Display for CreationKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.at.unix_timestamp_nanos() / 1_000, self.id)
    }
}

/// The text is no cursor of a page.
#[derive(Debug, Error)]
#[error("not a cursor")]
pub struct BadCursor;

impl FromStr for CreationKey {
    type Err = BadCursor;

    fn from_str(text: &str) -> Result<Self, BadCursor> {
        let (micros, id) = text.split_once('.').ok_or(BadCursor)?;
        let micros: i64 = micros.parse().map_err(|_| BadCursor)?;
        let at = OffsetDateTime::from_unix_timestamp_nanos(i128::from(micros) * 1_000);
        Ok(Self {
            at: at.map_err(|_| BadCursor)?,
            id: id.parse().map_err(|_| BadCursor)?,
        })
    }
}

/// Names of constraints, each with the problem that its violation becomes.
pub type Constraints<'a> = [(&'a str, fn() -> Problem)];

/// Maps a violated constraint to a problem.
pub trait OnConstraint<T> {
    /// Maps the error to the problem of the violated constraint, and any other error to a server error.
    ///
    /// # Errors
    /// The mapped error.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_names_one_place() {
        let key = CreationKey {
            at: time::macros::datetime!(2026-01-31 09:15:02.123456 UTC),
            id: Uuid::now_v7(),
        };
        assert_eq!(key.to_string().parse::<CreationKey>().ok(), Some(key));
        for wrong in [
            "",
            ".",
            "1",
            "1.x",
            "x.00000000-0000-0000-0000-000000000000",
        ] {
            assert!(wrong.parse::<CreationKey>().is_err(), "{wrong}");
        }
        let far = format!("{}.{}", i64::MAX, Uuid::nil());
        assert!(far.parse::<CreationKey>().is_err());
    }
}
