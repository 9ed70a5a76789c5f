//! The connection to Redis. It is made anew when it is lost, when Redis does not answer, and when it reaches a read-only replica.

use std::{sync::Arc, time::Duration};

use parking_lot::Mutex;
use redis::{
    Cmd, Pipeline, RedisError, RedisFuture, RedisResult, Value,
    aio::{ConnectionLike, ConnectionManager, ConnectionManagerConfig},
};
use tokio::time::Instant;
use tracing::{info, warn};

use crate::{
    metrics::{Metrics, Operation},
    secret::Secret,
};

/// Timeout of a command, so that a request that needs Redis gets 503 within 5 s.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(2);

/// Timeout of a connection attempt.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);

/// A connection that all parts of a node share. Clones share it too.
///
/// [`ConnectionManager`] reconnects when the socket is closed. That is not enough: a network that carries nothing leaves the socket
/// open, and after a failover behind one address the old server stays connected and refuses writes.
#[derive(Clone)]
pub struct RedisClient {
    shared: Arc<Shared>,
}

struct Shared {
    client: redis::Client,
    current: Mutex<Current>,
    metrics: Arc<Metrics>,
}

#[derive(Clone)]
struct Current {
    connection: ConnectionManager,
    /// Number of replaced connections before this one.
    number: u64,
}

impl RedisClient {
    /// Connects when it is first used.
    ///
    /// # Errors
    /// When the URL cannot be parsed.
    pub fn new(url: &Secret, metrics: Arc<Metrics>) -> RedisResult<Self> {
        let client = redis::Client::open(url.expose())?;
        let current = Mutex::new(Current {
            connection: connect(&client)?,
            number: 0,
        });
        Ok(Self {
            shared: Arc::new(Shared {
                client,
                current,
                metrics,
            }),
        })
    }

    fn current(&self) -> Current {
        self.shared.current.lock().clone()
    }

    fn observe(&self, operation: &'static str, started: Instant) {
        let took = started.elapsed().as_secs_f64();
        let timings = &self.shared.metrics.redis_seconds;
        timings
            .get_or_create(&Operation { operation })
            .observe(took);
    }

    /// Replaces the connection if it is still the one that failed.
    fn replace(&self, failed: u64, reason: &'static str) {
        let mut current = self.shared.current.lock();
        if current.number != failed {
            return;
        }
        match connect(&self.shared.client) {
            Ok(connection) => {
                info!(reason, "reconnecting to Redis");
                *current = Current {
                    connection,
                    number: failed + 1,
                };
            }
            Err(error) => warn!(error = %error, "cannot reconnect to Redis"),
        }
    }

    /// Replaces the connection if it answered with a fault of its own.
    fn inspect(&self, failed: u64, answer: Result<&[Value], &RedisError>) {
        let reason = match answer {
            // An error of the server is the value of its command.
            Ok(values) => values.iter().find_map(|value| match value {
                Value::ServerError(error) => server_fault(error.code()),
                _ => None,
            }),
            Err(error) if error.is_timeout() => Some("no answer"),
            Err(error) => error.code().and_then(server_fault),
        };
        if let Some(reason) = reason {
            self.replace(failed, reason);
        }
    }
}

fn connect(client: &redis::Client) -> RedisResult<ConnectionManager> {
    let settings = ConnectionManagerConfig::new()
        .set_response_timeout(Some(RESPONSE_TIMEOUT))
        .set_connection_timeout(Some(CONNECT_TIMEOUT))
        .set_number_of_retries(1)
        .set_max_delay(Duration::from_millis(500));
    ConnectionManager::new_lazy_with_config(client.clone(), settings)
}

/// The commands that nodes send, for their timings.
const COMMANDS: [&str; 25] = [
    "DEL",
    "EVAL",
    "EVALSHA",
    "EXISTS",
    "EXPIRE",
    "GET",
    "HDEL",
    "HGET",
    "HGETALL",
    "HMGET",
    "HSET",
    "MGET",
    "PING",
    "SADD",
    "SCAN",
    "SCRIPT",
    "SET",
    "SETEX",
    "SREM",
    "XADD",
    "XRANGE",
    "XREVRANGE",
    "ZADD",
    "ZRANGE",
    "ZREM",
];

/// The name of a command, or `other`.
fn name(command: &Cmd) -> &'static str {
    let Some(redis::Arg::Simple(sent)) = command.args_iter().next() else {
        return "other";
    };
    let known = COMMANDS
        .iter()
        .find(|name| name.as_bytes().eq_ignore_ascii_case(sent));
    known.copied().unwrap_or("other")
}

/// Why a connection must be replaced that answers with this code, if it must.
fn server_fault(code: &str) -> Option<&'static str> {
    match code {
        "READONLY" => Some("a read-only replica answers"),
        "MASTERDOWN" => Some("a replica without its master answers"),
        _ => None,
    }
}

impl ConnectionLike for RedisClient {
    fn req_packed_command<'a>(&'a mut self, command: &'a Cmd) -> RedisFuture<'a, Value> {
        Box::pin(async move {
            let mut current = self.current();
            let started = Instant::now();
            let answer = current.connection.req_packed_command(command).await;
            self.observe(name(command), started);
            self.inspect(current.number, answer.as_ref().map(std::slice::from_ref));
            answer
        })
    }

    fn req_packed_commands<'a>(
        &'a mut self,
        pipeline: &'a Pipeline,
        offset: usize,
        count: usize,
    ) -> RedisFuture<'a, Vec<Value>> {
        Box::pin(async move {
            let mut current = self.current();
            let (connection, started) = (&mut current.connection, Instant::now());
            let answers = connection
                .req_packed_commands(pipeline, offset, count)
                .await;
            self.observe("pipeline", started);
            self.inspect(current.number, answers.as_deref());
            answers
        })
    }

    fn get_db(&self) -> i64 {
        self.shared.current.lock().connection.get_db()
    }
}
