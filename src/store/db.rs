//! Connections to PostgreSQL. A connection goes back to the pool only when it is idle; any other connection is closed.
//!
//! A statement that PostgreSQL does not answer in time, or whose future is dropped, leaves its connection with an answer still to
//! come, perhaps inside a transaction. A later statement on such a connection could be acknowledged without a commit
//! (<https://github.com/launchbadge/sqlx/issues/4385>), or wait as long as the network is silent. So [`Db`] and [`Transaction`]
//! know whether a statement is under way, and give each one a deadline.

use std::{
    fmt, io,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use futures_util::{
    FutureExt, StreamExt, TryFutureExt, TryStreamExt,
    future::BoxFuture,
    stream::{self, BoxStream},
};
use sqlx::{
    Describe, Either, Error, Execute, Executor, PgConnection, PgPool, Postgres, SqlStr,
    pool::PoolConnection,
    postgres::{PgConnectOptions, PgPoolOptions, PgQueryResult, PgRow, PgStatement, PgTypeInfo},
    raw_sql,
};
use tokio::{
    runtime::Handle,
    time::{Instant, timeout},
};

use crate::metrics::{Metrics, Operation};

/// How long a request waits for a free connection before it fails with 503.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(3);
/// How long a statement waits for its answer. A little longer than PostgreSQL's own `statement_timeout`, which leaves the connection
/// usable.
const STATEMENT_TIMEOUT: Duration = Duration::from_millis(4_500);
/// How long an unused connection waits for PostgreSQL before it is closed.
const RELEASE_TIMEOUT: Duration = Duration::from_secs(2);

/// A connection that was used within this time is taken without a question, which would be one more round trip for each request.
const TRUST_TIME: Duration = Duration::from_secs(1);
/// After an answer that the server accepts no writes, every connection is asked for this long.
const SUSPECT_TIME: Duration = Duration::from_secs(10);

/// Whether a connection from the pool is outside a transaction, and reaches a server that accepts writes. Only outside a
/// transaction does the statement begin one, at its own time. A server that has become a standby accepts no writes.
const IS_USABLE: &str =
    "select now() = statement_timestamp() and current_setting('transaction_read_only') = 'off'";

/// A pool of connections, and an executor of single statements.
#[derive(Clone)]
pub struct Db {
    pool: PgPool,
    suspicion: Arc<Suspicion>,
    metrics: Arc<Metrics>,
}

/// Until when connections may reach a server that accepts no writes.
struct Suspicion {
    start: Instant,
    /// Milliseconds after `start`.
    until: AtomicU64,
}

impl Suspicion {
    fn new() -> Self {
        Self {
            start: Instant::now(),
            until: AtomicU64::new(0),
        }
    }

    fn now(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn raise(&self) {
        let until = self.now() + SUSPECT_TIME.as_secs() * 1_000;
        self.until.store(until, Ordering::Relaxed);
    }

    fn is_raised(&self) -> bool {
        self.now() < self.until.load(Ordering::Relaxed)
    }

    /// Raises it when PostgreSQL refused a write because it is a standby.
    fn check<T>(&self, answer: &Result<T, Error>) {
        let refused = answer.as_ref().err().and_then(Error::as_database_error);
        if refused.is_some_and(|error| error.code().as_deref() == Some("25006")) {
            self.raise();
        }
    }
}

impl Db {
    /// A pool of at most `size` connections, which connects when it is first used.
    pub fn new(options: PgConnectOptions, size: u32, metrics: Arc<Metrics>) -> Self {
        let suspicion = Arc::new(Suspicion::new());
        let suspected = Arc::clone(&suspicion);
        let pool = PgPoolOptions::new()
            .max_connections(size)
            .acquire_timeout(ACQUIRE_TIMEOUT)
            .idle_timeout(Duration::from_mins(5))
            // `is_usable` also shows that the connection is alive.
            .test_before_acquire(false)
            .before_acquire(move |connection, metadata| {
                if metadata.idle_for < TRUST_TIME && !suspected.is_raised() {
                    Box::pin(async { Ok(true) })
                } else {
                    Box::pin(is_usable(connection))
                }
            })
            .connect_lazy_with(options);
        Self {
            pool,
            suspicion,
            metrics,
        }
    }

    /// The options of new connections.
    pub fn connect_options(&self) -> Arc<PgConnectOptions> {
        self.pool.connect_options()
    }

    /// Begins a transaction.
    ///
    /// # Errors
    /// No connection became free in time, or PostgreSQL refused.
    pub async fn begin(&self) -> Result<Transaction, Error> {
        let mut lease = self.acquire().await?;
        // Set first: when the answer is lost, the transaction may have begun.
        lease.in_transaction = true;
        lease.execute("begin").await?;
        Ok(Transaction { lease })
    }

    /// Whether the server accepts writes.
    ///
    /// # Errors
    /// PostgreSQL does not answer.
    pub async fn is_writable(&self) -> Result<bool, Error> {
        let writable: bool =
            sqlx::query_scalar("select current_setting('transaction_read_only') = 'off'")
                .fetch_one(self)
                .await?;
        if !writable {
            self.suspicion.raise();
        }
        Ok(writable)
    }

    /// Closes all connections, once they are returned.
    pub async fn close(&self) {
        self.pool.close().await;
    }

    async fn acquire(&self) -> Result<Lease, Error> {
        let started = Instant::now();
        let connection = self.pool.acquire().await;
        let waited = started.elapsed().as_secs_f64();
        self.metrics.postgres_wait_seconds.observe(waited);
        Ok(Lease {
            connection: Some(connection?),
            busy: false,
            in_transaction: false,
            suspicion: Arc::clone(&self.suspicion),
            metrics: self.metrics.clone(),
        })
    }

    /// Numbers of connections in use and of idle ones.
    pub fn connections(&self) -> (usize, usize) {
        let idle = self.pool.num_idle();
        let all = usize::try_from(self.pool.size()).unwrap_or(usize::MAX);
        (all.saturating_sub(idle), idle)
    }
}

impl fmt::Debug for Db {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Db").finish_non_exhaustive()
    }
}

async fn is_usable(connection: &mut PgConnection) -> Result<bool, Error> {
    // One simple query: the messages of a prepared statement have times of their own.
    let row = connection.fetch_one(raw_sql(IS_USABLE)).await?;
    sqlx::Row::try_get(&row, 0)
}

/// A connection out of the pool. It returns there when it is dropped, unless a statement is under way.
struct Lease {
    /// Taken by `drop` only.
    connection: Option<PoolConnection<Postgres>>,
    /// A statement has begun and not ended.
    busy: bool,
    in_transaction: bool,
    suspicion: Arc<Suspicion>,
    metrics: Arc<Metrics>,
}

impl Lease {
    /// The connection for a statement, and what [`answer`] needs.
    fn start(
        &mut self,
        operation: &'static str,
    ) -> Result<(&mut PgConnection, Statement<'_>), Error> {
        match &mut self.connection {
            Some(connection) if !self.busy => {
                let statement = Statement {
                    operation,
                    busy: &mut self.busy,
                    suspicion: &self.suspicion,
                    metrics: &self.metrics,
                };
                Ok((connection, statement))
            }
            // An earlier statement was late or dropped.
            _ => Err(late()),
        }
    }

    async fn execute(&mut self, statement: &'static str) -> Result<(), Error> {
        let (connection, started) = self.start(statement)?;
        let done = answer(started, connection.execute(raw_sql(statement))).await;
        done.map(drop)
    }

    async fn fetch_many<'q, E>(
        &mut self,
        query: E,
    ) -> Result<Vec<Either<PgQueryResult, PgRow>>, Error>
    where
        E: 'q + Execute<'q, Postgres>,
    {
        let (connection, started) = self.start("query")?;
        answer(started, connection.fetch_many(query).try_collect()).await
    }

    async fn fetch_optional<'q, E>(&mut self, query: E) -> Result<Option<PgRow>, Error>
    where
        E: 'q + Execute<'q, Postgres>,
    {
        let (connection, started) = self.start("query")?;
        answer(started, connection.fetch_optional(query)).await
    }

    async fn prepare_with(
        &mut self,
        sql: SqlStr,
        parameters: &[PgTypeInfo],
    ) -> Result<PgStatement, Error> {
        let (connection, started) = self.start("query")?;
        answer(started, connection.prepare_with(sql, parameters)).await
    }

    async fn describe(&mut self, sql: SqlStr) -> Result<Describe<Postgres>, Error> {
        let (connection, started) = self.start("query")?;
        answer(started, connection.describe(sql)).await
    }
}

/// A statement that begins.
struct Statement<'a> {
    /// For the timings.
    operation: &'static str,
    busy: &'a mut bool,
    suspicion: &'a Suspicion,
    metrics: &'a Metrics,
}

/// The answer to a statement, which counts as under way until then: for ever when it is late, or when this future is dropped.
async fn answer<T>(
    Statement {
        operation,
        busy,
        suspicion,
        metrics,
    }: Statement<'_>,
    statement: impl Future<Output = Result<T, Error>>,
) -> Result<T, Error> {
    *busy = true;
    let started = Instant::now();
    let answer = timeout(STATEMENT_TIMEOUT, statement).await;
    let took = started.elapsed().as_secs_f64();
    let timings = &metrics.postgres_seconds;
    timings
        .get_or_create(&Operation { operation })
        .observe(took);
    *busy = answer.is_err();
    let answer = answer.unwrap_or_else(|_| Err(late()));
    suspicion.check(&answer);
    answer
}

impl Drop for Lease {
    fn drop(&mut self) {
        let Some(connection) = self.connection.take() else {
            return;
        };
        match Handle::try_current() {
            // Not a task of the node: `Db::close` waits for it.
            Ok(runtime) if !self.busy => {
                drop(runtime.spawn(release(connection, self.in_transaction)));
            }
            // Dropping a detached connection closes its socket.
            _ => drop(connection.detach()),
        }
    }
}

/// Returns an idle connection to the pool, or closes it if PostgreSQL does not answer.
async fn release(mut connection: PoolConnection<Postgres>, in_transaction: bool) {
    if in_transaction {
        let rollback = connection.execute(raw_sql("rollback"));
        if !matches!(timeout(RELEASE_TIMEOUT, rollback).await, Ok(Ok(_))) {
            drop(connection.detach());
            return;
        }
    }
    // The future owns the connection, which it closes when it is dropped.
    let returned = timeout(RELEASE_TIMEOUT, connection.return_to_pool()).await;
    if returned.is_err() {
        tracing::debug!("PostgreSQL does not answer on an unused connection; closed it");
    }
}

fn late() -> Error {
    Error::Io(io::Error::new(
        io::ErrorKind::TimedOut,
        "PostgreSQL did not answer in time",
    ))
}

/// Runs single statements, each on a connection of its own. Rows are collected, so a statement must limit their number.
impl<'c> Executor<'c> for &Db {
    type Database = Postgres;

    fn fetch_many<'e, 'q: 'e, E>(
        self,
        query: E,
    ) -> BoxStream<'e, Result<Either<PgQueryResult, PgRow>, Error>>
    where
        'c: 'e,
        E: 'q + Execute<'q, Postgres>,
    {
        let db = self.clone();
        let rows = async move { db.acquire().await?.fetch_many(query).await };
        rows.map_ok(|rows| stream::iter(rows).map(Ok))
            .try_flatten_stream()
            .boxed()
    }

    fn fetch_optional<'e, 'q: 'e, E>(self, query: E) -> BoxFuture<'e, Result<Option<PgRow>, Error>>
    where
        'c: 'e,
        E: 'q + Execute<'q, Postgres>,
    {
        let db = self.clone();
        async move { db.acquire().await?.fetch_optional(query).await }.boxed()
    }

    fn prepare_with<'e>(
        self,
        sql: SqlStr,
        parameters: &'e [PgTypeInfo],
    ) -> BoxFuture<'e, Result<PgStatement, Error>>
    where
        'c: 'e,
    {
        let db = self.clone();
        async move { db.acquire().await?.prepare_with(sql, parameters).await }.boxed()
    }

    fn describe<'e>(self, sql: SqlStr) -> BoxFuture<'e, Result<Describe<Postgres>, Error>>
    where
        'c: 'e,
    {
        let db = self.clone();
        async move { db.acquire().await?.describe(sql).await }.boxed()
    }
}

/// A transaction. It is rolled back when it is dropped before [`Self::commit`].
///
/// Cancel safe: when a statement's future is dropped, or is late, the connection is closed with the transaction, and every further
/// statement fails.
pub struct Transaction {
    lease: Lease,
}

impl Transaction {
    /// Commits.
    ///
    /// # Errors
    /// PostgreSQL refuses, or does not answer in time; then the changes may be stored or not.
    pub async fn commit(mut self) -> Result<(), Error> {
        self.lease.execute("commit").await?;
        self.lease.in_transaction = false;
        Ok(())
    }
}

impl fmt::Debug for Transaction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transaction").finish_non_exhaustive()
    }
}

impl<'c> Executor<'c> for &'c mut Transaction {
    type Database = Postgres;

    fn fetch_many<'e, 'q: 'e, E>(
        self,
        query: E,
    ) -> BoxStream<'e, Result<Either<PgQueryResult, PgRow>, Error>>
    where
        'c: 'e,
        E: 'q + Execute<'q, Postgres>,
    {
        let rows = self.lease.fetch_many(query);
        rows.map_ok(|rows| stream::iter(rows).map(Ok))
            .try_flatten_stream()
            .boxed()
    }

    fn fetch_optional<'e, 'q: 'e, E>(self, query: E) -> BoxFuture<'e, Result<Option<PgRow>, Error>>
    where
        'c: 'e,
        E: 'q + Execute<'q, Postgres>,
    {
        self.lease.fetch_optional(query).boxed()
    }

    fn prepare_with<'e>(
        self,
        sql: SqlStr,
        parameters: &'e [PgTypeInfo],
    ) -> BoxFuture<'e, Result<PgStatement, Error>>
    where
        'c: 'e,
    {
        self.lease.prepare_with(sql, parameters).boxed()
    }

    fn describe<'e>(self, sql: SqlStr) -> BoxFuture<'e, Result<Describe<Postgres>, Error>>
    where
        'c: 'e,
    {
        self.lease.describe(sql).boxed()
    }
}
