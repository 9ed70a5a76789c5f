//! The connection to Redis. It is made anew when it is lost, when Redis does not answer, and when it reaches a read-only replica.

use std::{sync::Arc, time::Duration};

use parking_lot::Mutex;
use redis::{
    Cmd, Pipeline, RedisError, RedisFuture, RedisResult, Value,
    aio::{ConnectionLike, ConnectionManager, ConnectionManagerConfig},
};
use tracing::{info, warn};

use crate::secret::Secret;

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
    pub fn new(url: &Secret) -> RedisResult<Self> {
        let client = redis::Client::open(url.expose())?;
        let current = Mutex::new(Current {
            connection: connect(&client)?,
            number: 0,
        });
        Ok(Self {
            shared: Arc::new(Shared { client, current }),
        })
    }

    fn current(&self) -> Current {
        self.shared.current.lock().clone()
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
            let answer = current.connection.req_packed_command(command).await;
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
            let connection = &mut current.connection;
            let answers = connection
                .req_packed_commands(pipeline, offset, count)
                .await;
            self.inspect(current.number, answers.as_deref());
            answers
        })
    }

    fn get_db(&self) -> i64 {
        self.shared.current.lock().connection.get_db()
    }
}
