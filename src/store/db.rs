//! Connections to PostgreSQL. A connection goes back to the pool only when it is idle and intact; any other connection is closed.
//!
//! The pool is deadpool's, because that of sqlx asks PostgreSQL for one more answer after each statement before it takes the
//! connection back.
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

use deadpool::managed::{self, Object, Pool, PoolError, QueueMode, RecycleError, RecycleResult};
use futures_util::{
    FutureExt, StreamExt, TryFutureExt, TryStreamExt,
    future::BoxFuture,
    stream::{self, BoxStream},
};
use sqlx::{
    ConnectOptions, Connection, Describe, Either, Error, Execute, Executor, PgConnection, Postgres,
    SqlStr,
    postgres::{
        PgConnectOptions, PgDatabaseError, PgQueryResult, PgRow, PgSeverity, PgStatement,
        PgTypeInfo,
    },
    raw_sql,
};
use tokio::{
    runtime::Handle,
    time::{Instant, sleep, timeout},
};

use crate::{
    metrics::{Metrics, Operation},
    tasks::Backoff,
};

/// How long a request waits for a free connection before it fails with 503.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(3);
/// How long a statement waits for its answer. A little longer than PostgreSQL's own `statement_timeout`, which leaves the connection
/// usable.
const STATEMENT_TIMEOUT: Duration = Duration::from_millis(4_500);
/// How long the rollback of a dropped transaction, or the end of a session, waits for PostgreSQL.
const RELEASE_TIMEOUT: Duration = Duration::from_secs(2);
/// Connections that no request has needed for this long are closed.
const UNUSED_TIME: Duration = Duration::from_mins(5);
/// Interval at which unused connections are looked for.
const UNUSED_INTERVAL: Duration = Duration::from_mins(1);
/// The delays between tries to connect to a server that does not accept connections yet.
const CONNECT_BACKOFF: Backoff =
    Backoff::new(Duration::from_millis(10), Duration::from_millis(600));

/// A connection that was taken within this time is taken again without a question, which would be one more round trip for each request.
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
    pool: Pool<Connector>,
    suspicion: Arc<Suspicion>,
    metrics: Arc<Metrics>,
}

/// Makes the connections of the pool, and checks those that it takes again.
struct Connector {
    options: Arc<PgConnectOptions>,
    suspicion: Arc<Suspicion>,
}

impl managed::Manager for Connector {
    type Type = PgConnection;
    type Error = Error;

    /// Connects. Cancel safe: a connection that is not complete is closed.
    async fn create(&self) -> Result<PgConnection, Error> {
        let mut backoff = CONNECT_BACKOFF;
        loop {
            match self.options.connect().await {
                Err(error) if is_starting(&error) => backoff.wait().await,
                connected => return connected,
            }
        }
    }

    async fn recycle(
        &self,
        connection: &mut PgConnection,
        metrics: &managed::Metrics,
    ) -> RecycleResult<Error> {
        if metrics.last_used() < TRUST_TIME && !self.suspicion.is_raised() {
            return Ok(());
        }
        if is_usable(connection).await? {
            Ok(())
        } else {
            Err(RecycleError::message("inside a transaction, or read-only"))
        }
    }
}

/// Whether a server that refused a connection may accept the next one: it starts, or has no place until it notices which
/// connections were closed.
fn is_starting(error: &Error) -> bool {
    match error {
        Error::Io(error) => error.kind() == io::ErrorKind::ConnectionRefused,
        Error::Database(error) => matches!(error.code().as_deref(), Some("53300" | "57P03")),
        _ => false,
    }
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
        let connector = Connector {
            options: Arc::new(options),
            suspicion: Arc::clone(&suspicion),
        };
        let pool = Pool::builder(connector)
            .max_size(size as usize)
            // The last one used is the least likely to need a check, and the others become unused.
            .queue_mode(QueueMode::Lifo)
            .build()
            .expect("a pool without timeouts of its own needs no runtime");
        Self {
            pool,
            suspicion,
            metrics,
        }
    }

    /// The options of new connections.
    pub fn connect_options(&self) -> Arc<PgConnectOptions> {
        Arc::clone(&self.pool.manager().options)
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

    /// Closes all connections: those in use when they are returned. Every later statement fails.
    pub async fn close(&self) {
        let idle = self.pool.retain(|_, _| false).removed;
        self.pool.close();
        for connection in idle {
            end_session(connection).await;
        }
    }

    /// Closes connections that are not used any more. Runs until it is dropped.
    pub async fn close_unused(self) {
        loop {
            sleep(UNUSED_INTERVAL).await;
            let is_used =
                |_: &PgConnection, metrics: managed::Metrics| metrics.last_used() < UNUSED_TIME;
            for connection in self.pool.retain(is_used).removed {
                end_session(connection).await;
            }
        }
    }

    async fn acquire(&self) -> Result<Lease, Error> {
        let started = Instant::now();
        let connection = match timeout(ACQUIRE_TIMEOUT, self.pool.get()).await {
            Ok(Ok(connection)) => Ok(connection),
            Ok(Err(PoolError::Backend(error))) => Err(error),
            Ok(Err(PoolError::Closed)) => Err(Error::PoolClosed),
            _ => Err(Error::PoolTimedOut),
        };
        let waited = started.elapsed().as_secs_f64();
        self.metrics.postgres_wait_seconds.observe(waited);
        Ok(Lease {
            connection: Some(connection?),
            is_lost: false,
            in_transaction: false,
            suspicion: Arc::clone(&self.suspicion),
            metrics: self.metrics.clone(),
        })
    }

    /// Numbers of connections in use and of idle ones.
    pub fn connections(&self) -> (usize, usize) {
        let status = self.pool.status();
        let used = status.size.saturating_sub(status.available);
        (used, status.available)
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

/// Tells PostgreSQL that a session ends, and closes the connection.
async fn end_session(connection: PgConnection) {
    drop(timeout(RELEASE_TIMEOUT, connection.close()).await);
}

/// A connection out of the pool. It returns there when it is dropped, unless it is lost.
struct Lease {
    /// Taken by `drop` only.
    connection: Option<Object<Connector>>,
    /// A statement has begun and not ended, or the connection failed.
    is_lost: bool,
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
            Some(connection) if !self.is_lost => {
                let statement = Statement {
                    operation,
                    is_lost: &mut self.is_lost,
                    suspicion: &self.suspicion,
                    metrics: &self.metrics,
                };
                Ok((connection, statement))
            }
            // An earlier statement was late, dropped, or found the connection broken.
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
    is_lost: &'a mut bool,
    suspicion: &'a Suspicion,
    metrics: &'a Metrics,
}

/// The answer to a statement. Until then the connection counts as lost: for ever when the answer is late or shows that the
/// connection is broken, or when this future is dropped.
async fn answer<T>(
    Statement {
        operation,
        is_lost,
        suspicion,
        metrics,
    }: Statement<'_>,
    statement: impl Future<Output = Result<T, Error>>,
) -> Result<T, Error> {
    *is_lost = true;
    let started = Instant::now();
    let answer = timeout(STATEMENT_TIMEOUT, statement).await;
    let took = started.elapsed().as_secs_f64();
    let timings = &metrics.postgres_seconds;
    timings
        .get_or_create(&Operation { operation })
        .observe(took);
    let answer = answer.unwrap_or_else(|_| Err(late()));
    *is_lost = !leaves_intact(&answer);
    suspicion.check(&answer);
    answer
}

/// Whether the connection is still usable after this answer. PostgreSQL closes it after errors of the severities FATAL and PANIC.
fn leaves_intact<T>(answer: &Result<T, Error>) -> bool {
    match answer {
        Ok(_) => true,
        Err(Error::Database(error)) => {
            error
                .try_downcast_ref::<PgDatabaseError>()
                .is_some_and(|error| {
                    !matches!(error.severity(), PgSeverity::Fatal | PgSeverity::Panic)
                })
        }
        Err(_) => false,
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let Some(connection) = self.connection.take() else {
            return;
        };
        if !self.is_lost && !self.in_transaction {
            // Dropping it returns it to the pool.
            return;
        }
        match Handle::try_current() {
            // Not a task of the node, so that a stop of the tasks does not interrupt it.
            Ok(runtime) if !self.is_lost => drop(runtime.spawn(roll_back(connection))),
            // Dropping the inner connection closes its socket.
            _ => drop(Object::take(connection)),
        }
    }
}

/// Ends the transaction of a connection and returns it to the pool, or closes it if PostgreSQL does not answer.
async fn roll_back(mut connection: Object<Connector>) {
    let rollback = connection.execute(raw_sql("rollback"));
    if !matches!(timeout(RELEASE_TIMEOUT, rollback).await, Ok(Ok(_))) {
        drop(Object::take(connection));
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
