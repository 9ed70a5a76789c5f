//! `discodeit doctor`: looks at everything that a node needs, and says what is wrong and what to do about it.

use std::{collections::HashMap, io::Write, sync::Arc, time::Duration};

use redis::aio::MultiplexedConnection;
use rustix::process::{Resource, getrlimit};
use sqlx::{ConnectOptions, Connection, PgConnection};
use time::OffsetDateTime;
use tokio::time::{Instant, timeout};

use crate::{
    blobs::Blobs,
    commands::CommandError,
    config::{Config, blob_url::BlobUrl},
    events::{kafka::Kafka, layout::Layout},
    metrics::Metrics,
    problem::chain,
    store,
    tasks::Tasks,
};

/// Time for a store to answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
/// Difference of clocks from which on the order of instants becomes visible to people.
const CLOCK_TOLERANCE: Duration = Duration::from_secs(2);
/// The oldest versions with which the tests run.
const OLDEST_POSTGRES: i32 = 15;
const OLDEST_REDIS: u32 = 7;
/// Free space of the folder for files below which the doctor warns, in bytes.
const LITTLE_SPACE: u64 = 1 << 30;
/// Descriptors of a node besides those of its clients.
const OTHER_DESCRIPTORS: u64 = 200;

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Severity {
    Well,
    /// A node runs, but something may be lost or slow.
    Warning,
    /// A node does not become ready.
    Fault,
}

/// What was found, in the order of the checks.
#[derive(Default)]
struct Findings(Vec<(Severity, String)>);

impl Findings {
    fn well(&mut self, what: impl Into<String>) {
        self.0.push((Severity::Well, what.into()));
    }

    fn warning(&mut self, what: impl Into<String>) {
        self.0.push((Severity::Warning, what.into()));
    }

    fn fault(&mut self, what: impl Into<String>) {
        self.0.push((Severity::Fault, what.into()));
    }
}

/// Runs the checks and writes a line for each finding. True when a node can become ready.
///
/// Writes some keys to Redis and an object to the storage, and deletes them.
///
/// # Errors
/// The output is closed.
pub async fn run(config: &Config, mut output: impl Write) -> Result<bool, CommandError> {
    let mut findings = Findings::default();
    check_postgres(config, &mut findings).await;
    check_redis(config, &mut findings).await;
    check_kafka(config, &mut findings).await;
    check_files(config, &mut findings).await;
    check_process(config, &mut findings);
    let mut can_run = true;
    for (severity, what) in findings.0 {
        let word = match severity {
            Severity::Well => "ok     ",
            Severity::Warning => "WARNING",
            Severity::Fault => "FAULT  ",
        };
        can_run &= severity != Severity::Fault;
        writeln!(output, "{word} {what}")?;
    }
    Ok(can_run)
}

// ---- PostgreSQL ------------------------------------------------------------------------------------------------------

async fn check_postgres(config: &Config, findings: &mut Findings) {
    let options = match store::options("DATABASE_URL", &config.database_url) {
        Ok(options) => options,
        Err(why) => return findings.fault(why),
    };
    let mut db = match timeout(ANSWER_TIMEOUT, options.connect()).await {
        Err(_) => return findings.fault("PostgreSQL does not answer within 5 s: is the host in DATABASE_URL right, and does a firewall drop the connection?"),
        Ok(Err(error)) => return findings.fault(explain_postgres(&error)),
        Ok(Ok(db)) => db,
    };
    let checked = timeout(ANSWER_TIMEOUT, async {
        check_server(config, &mut db, findings).await?;
        check_schema(config, &mut db, findings).await
    });
    match checked.await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => findings.fault(format!("PostgreSQL refuses a statement: {}", chain(&error))),
        Err(_) => findings.fault("PostgreSQL does not answer a statement within 5 s: it is overloaded, or its disk does not answer."),
    }
    drop(db.close().await);
}

fn explain_postgres(error: &sqlx::Error) -> String {
    let code = error
        .as_database_error()
        .and_then(sqlx::error::DatabaseError::code);
    let what = match code.as_deref() {
        Some("28000") if chain(error).contains("no encryption") => {
            "accepts connections with TLS only: DATABASE_URL must end with ?sslmode=verify-full"
        }
        Some("28P01" | "28000") => "refuses the user or the password in DATABASE_URL",
        Some("3D000") => "has no database with the name in DATABASE_URL: create it",
        Some("53300") => {
            "has no connection left: raise max_connections, or lower DATABASE_POOL of the nodes"
        }
        _ => "cannot be reached with DATABASE_URL",
    };
    let error = chain(error);
    let hint = if error.contains("server does not support TLS") {
        ". PostgreSQL has no TLS: switch it on (ssl = on), or remove sslmode from DATABASE_URL."
    } else {
        certificate_hint(&error)
    };
    format!("PostgreSQL {what}: {error}{hint}")
}

/// What to do about a certificate that a client refuses.
fn certificate_hint(error: &str) -> &'static str {
    if error.contains("UnknownIssuer") {
        ". No authority that this machine trusts has signed the certificate: SSL_CERT_FILE names another file of authorities."
    } else if error.contains("certificate not valid for name") {
        ". The URL must have a name that the certificate has."
    } else {
        ""
    }
}

/// The facts about a server that one statement returns.
#[derive(sqlx::FromRow)]
struct Server {
    version: String,
    version_number: i32,
    is_read_only: bool,
    max_connections: i32,
    has_fsync: bool,
    synchronous_commit: String,
    encoding: String,
    clock: OffsetDateTime,
}

async fn check_server(
    config: &Config,
    db: &mut PgConnection,
    findings: &mut Findings,
) -> Result<(), sqlx::Error> {
    const SQL: &str = "select current_setting('server_version') as version, \
        current_setting('server_version_num')::int as version_number, \
        pg_is_in_recovery() or current_setting('default_transaction_read_only')::bool as is_read_only, \
        current_setting('max_connections')::int as max_connections, \
        current_setting('fsync')::bool as has_fsync, \
        current_setting('synchronous_commit') as synchronous_commit, \
        current_setting('server_encoding') as encoding, \
        clock_timestamp() as clock";
    let started = Instant::now();
    let server: Server = sqlx::query_as(SQL).fetch_one(&mut *db).await?;
    let took = started.elapsed();
    findings.well(format!(
        "PostgreSQL {} answers in {} ms; its {} connections are enough for {} nodes with DATABASE_POOL={}",
        server.version,
        took.as_millis(),
        server.max_connections,
        // PostgreSQL keeps some for administrators; nodes need one more while they start.
        u32::try_from(server.max_connections - 5).unwrap_or(0) / (config.database_pool + 1),
        config.database_pool,
    ));
    if server.version_number / 10_000 < OLDEST_POSTGRES {
        findings.warning(format!("PostgreSQL {} is older than {OLDEST_POSTGRES}, the oldest version with which Discodeit is tested.", server.version));
    }
    if server.is_read_only {
        findings.fault("PostgreSQL accepts no writes: it is a standby, or default_transaction_read_only is on. DATABASE_URL must name the primary.");
    }
    if server.encoding != "UTF8" {
        findings.fault(format!("The database has the encoding {}, in which not every message can be stored: create it with the encoding UTF8.", server.encoding));
    }
    if !server.has_fsync {
        findings.warning(
            "PostgreSQL has fsync = off: acknowledged messages are lost when its machine fails.",
        );
    }
    if server.synchronous_commit == "off" {
        findings.warning("PostgreSQL has synchronous_commit = off: the last acknowledged messages are lost when it fails.");
    }
    let difference = (OffsetDateTime::now_utc() - server.clock).as_seconds_f64();
    if difference.abs() > CLOCK_TOLERANCE.as_secs_f64() {
        findings.warning(format!("The clock of this machine is {difference:+.1} s off that of PostgreSQL: synchronise both, for example with chrony."));
    }
    Ok(())
}

async fn check_schema(
    config: &Config,
    db: &mut PgConnection,
    findings: &mut Findings,
) -> Result<(), sqlx::Error> {
    const MAY_WRITE: &str = "select has_table_privilege('messages', 'insert')";
    let exists: bool = sqlx::query_scalar("select to_regclass('messages') is not null")
        .fetch_one(&mut *db)
        .await?;
    if !exists {
        findings.well("The database is empty: the first node that starts creates the tables");
        return Ok(());
    }
    let may_write: bool = sqlx::query_scalar(MAY_WRITE).fetch_one(&mut *db).await?;
    if !may_write {
        findings.fault("The role in DATABASE_URL may not write to the tables: a node with MIGRATION_DATABASE_URL grants it the rights at start.");
    }
    // Only the owner of the tables may read which migrations have run.
    let missing = match &config.migration_database_url {
        None => store::missing_migrations(db).await?,
        Some(url) => match store::options("MIGRATION_DATABASE_URL", url) {
            Err(why) => {
                findings.fault(why);
                return Ok(());
            }
            Ok(options) => {
                let mut owner = options.connect().await?;
                let missing = store::missing_migrations(&mut owner).await;
                drop(owner.close().await);
                missing?
            }
        },
    };
    findings.well(match missing {
        0 => "The tables are those of this version".to_owned(),
        number => format!("The tables are of an older version: the next node of this version that starts runs {number} migrations"),
    });
    Ok(())
}

// ---- Redis -----------------------------------------------------------------------------------------------------------

async fn check_redis(config: &Config, findings: &mut Findings) {
    let Ok(client) = redis::Client::open(config.redis_url.expose()) else {
        return findings.fault("REDIS_URL is not a Redis URL");
    };
    let connected = timeout(ANSWER_TIMEOUT, client.get_multiplexed_async_connection()).await;
    let mut redis = match connected {
        Err(_) => return findings.fault("Redis does not answer within 5 s: is the host in REDIS_URL right, and does a firewall drop the connection?"),
        Ok(Err(error)) => {
            let with_tls = config.redis_url.expose().starts_with("rediss:");
            return findings.fault(explain_redis(&error, with_tls));
        }
        Ok(Ok(redis)) => redis,
    };
    match timeout(ANSWER_TIMEOUT, check_redis_server(&mut redis, findings)).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => findings.fault(format!("Redis refuses a command: {}. deploy/redis/node.acl has the rights that a node needs.", chain(&error))),
        Err(_) => findings.fault("Redis does not answer a command within 5 s: it is overloaded, or its disk does not answer."),
    }
}

fn explain_redis(error: &redis::RedisError, with_tls: bool) -> String {
    let is_login = error.kind() == redis::ErrorKind::AuthenticationFailed
        || matches!(error.code(), Some("WRONGPASS" | "NOAUTH"));
    let what = if is_login {
        "refuses the user or the password in REDIS_URL"
    } else {
        "cannot be reached with REDIS_URL"
    };
    let text = chain(error);
    let hint = match certificate_hint(&text) {
        "" if is_login || error.is_connection_refusal() => "",
        "" if with_tls => {
            ". Does Redis have TLS at this port? Without TLS, the URL begins with redis://."
        }
        "" => ". Does Redis expect TLS at this port? Then the URL begins with rediss://.",
        hint => hint,
    };
    format!("Redis {what}: {text}{hint}")
}

/// A command of a node for each kind of key, which together need most rights of a node.
const USED_COMMANDS: [&[&str]; 6] = [
    &["SET", "health:doctor", "UP", "EX", "1"],
    &["HSET", "session:doctor", "field", "1"],
    &["SADD", "sessions:doctor", "member"],
    &["INCR", "ratelimit:doctor"],
    &["ZADD", "presence:doctor", "1", "member"],
    &["XADD", "sse:doctor", "*", "field", "1"],
];

/// Tries the commands of a node, and a script, with keys that it deletes. Returns those that the user may not use.
async fn refused_commands(
    redis: &mut MultiplexedConnection,
) -> Result<Vec<String>, redis::RedisError> {
    let mut refused = Vec::new();
    for words in USED_COMMANDS {
        let key = words[1];
        let script: &[&str] = &["EVAL", "return redis.call('EXISTS', KEYS[1])", "1", key];
        for words in [words, script, &["DEL", key]] {
            let mut command = redis::cmd(words[0]);
            match command.arg(&words[1..]).exec_async(redis).await {
                Err(error) if error.code() == Some("NOPERM") => {
                    refused.push(format!("{} {key}", words[0]));
                }
                result => result?,
            }
        }
    }
    Ok(refused)
}

async fn check_redis_server(
    redis: &mut MultiplexedConnection,
    findings: &mut Findings,
) -> Result<(), redis::RedisError> {
    let started = Instant::now();
    let info: String = redis::cmd("INFO").query_async(redis).await?;
    let took = started.elapsed();
    let facts: HashMap<&str, &str> = info
        .lines()
        .filter_map(|line| line.split_once(':'))
        .collect();
    let fact = |name: &str| facts.get(name).copied().unwrap_or_default().trim();
    let number = |name: &str| fact(name).parse::<u64>().unwrap_or(0);
    let version = fact("redis_version");
    findings.well(format!(
        "Redis {version} answers in {} ms",
        took.as_millis()
    ));
    let major = version
        .split('.')
        .next()
        .and_then(|major| major.parse().ok());
    if major.is_some_and(|major: u32| major < OLDEST_REDIS) {
        findings.warning(format!("Redis {version} is older than {OLDEST_REDIS}, the oldest version with which Discodeit is tested."));
    }
    if fact("role") == "slave" {
        findings
            .fault("Redis is a replica, which accepts no writes: REDIS_URL must name the master.");
        return Ok(());
    }
    let refused = refused_commands(redis).await?;
    if !refused.is_empty() {
        findings.fault(format!("The user in REDIS_URL may not use these commands and keys: {}. deploy/redis/node.acl has the rights that a node needs.", refused.join(", ")));
    }
    let (used, limit) = (number("used_memory"), number("maxmemory"));
    let policy = fact("maxmemory_policy");
    if limit > 0 && policy != "noeviction" {
        findings.warning(format!("Redis deletes keys when its memory is full (maxmemory-policy {policy}), which signs users out: set it to noeviction."));
    }
    if limit > 0 && used > limit / 10 * 9 {
        findings.warning(format!(
            "Redis uses {} of {} MiB: at the limit it refuses logins and events. Raise maxmemory.",
            used >> 20,
            limit >> 20
        ));
    }
    if fact("aof_enabled") == "0" {
        findings.warning("Redis has no append-only file: when it restarts, everybody signs in again, and event streams begin anew. Set appendonly yes.");
    }
    Ok(())
}

// ---- Kafka -----------------------------------------------------------------------------------------------------------

async fn check_kafka(config: &Config, findings: &mut Findings) {
    let layout = match Kafka::new(config, Arc::new(Metrics::new())) {
        Ok(kafka) => Arc::new(kafka).layout(ANSWER_TIMEOUT).await,
        Err(error) => Err(chain(&error)),
    };
    let Layout {
        brokers,
        topics,
        missing,
    } = match layout {
        Ok(layout) => layout,
        Err(why) => {
            let login = match config.kafka_login {
                Some(_) => ", KAFKA_USERNAME, KAFKA_PASSWORD",
                None => "",
            };
            return findings.fault(format!("Kafka cannot be reached with KAFKA_BROKERS{login} and KAFKA_TLS={}: {why}. The addresses that the brokers advertise must be reachable, too.", config.kafka_tls));
        }
    };
    findings.well(format!(
        "Kafka answers; brokers: {brokers}, topics: {}",
        topics.len()
    ));
    if !missing.is_empty() {
        findings.well(format!(
            "Kafka lacks {}: the next node that starts creates them",
            missing.join(", ")
        ));
    }
    for topic in topics {
        if topic.without_leader > 0 {
            findings.fault(format!(
                "{} of {} partitions of {} have no leader: start the brokers that have them.",
                topic.without_leader, topic.partitions, topic.name
            ));
        }
        if brokers > 1 && topic.replicas < 2 {
            findings.warning(format!("{} has one replica of each partition: without that broker, events are late. Raise its replication factor.", topic.name));
        }
    }
}

// ---- files and process -----------------------------------------------------------------------------------------------

async fn check_files(config: &Config, findings: &mut Findings) {
    let blobs = match Blobs::open(config, &Tasks::new()) {
        Ok(blobs) => blobs,
        Err(why) => return findings.fault(why),
    };
    let started = Instant::now();
    match blobs.probe().await {
        Ok(()) => findings.well(format!(
            "The storage of files stores, returns and deletes an object in {} ms",
            started.elapsed().as_millis()
        )),
        Err(problem) => findings.fault(format!(
            "The storage at FILES_URL does not store an object, return it and delete it: {}",
            chain(&problem)
        )),
    }
    if let BlobUrl::Folder(folder) = &config.files
        && let Ok(space) = rustix::fs::statvfs(folder)
    {
        let free = space.f_bavail.saturating_mul(space.f_frsize);
        if free < LITTLE_SPACE {
            findings.warning(format!(
                "The folder for files has only {} MiB left.",
                free >> 20
            ));
        }
    }
}

fn check_process(config: &Config, findings: &mut Findings) {
    let clients = u64::try_from(config.max_connections).unwrap_or(u64::MAX);
    let needed = clients.saturating_add(OTHER_DESCRIPTORS);
    match getrlimit(Resource::Nofile).current {
        Some(limit) if limit < needed => findings.warning(format!("This process may open {limit} files, fewer than MAX_CONNECTIONS={clients} needs: raise the limit (ulimit -n, LimitNOFILE) to {needed}.")),
        limit => findings.well(format!(
            "This process may open {} files, enough for MAX_CONNECTIONS={clients}",
            limit.map_or_else(|| "any number of".to_owned(), |limit| limit.to_string())
        )),
    }
    if config.trusted_proxies.is_empty() {
        findings.warning("TRUSTED_PROXIES is empty: behind a proxy, all clients seem to have its address, and the limits for strangers count them together.");
    }
}
