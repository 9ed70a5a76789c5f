//! Counts failed logins in Redis.

use std::{net::IpAddr, time::Duration};

use redis::aio::ConnectionManager;

use crate::problem::Problem;

/// Wrong passwords are counted over this time.
const FAILURE_WINDOW: Duration = Duration::from_mins(1);

/// A login that counts as a failure until it has succeeded: counted before the password is looked at, so that guesses made
/// at once count like guesses made in turn.
pub struct LoginAttempt {
    redis: ConnectionManager,
    counter: String,
}

impl LoginAttempt {
    /// Counts the attempt.
    ///
    /// # Errors
    /// More than `limit` attempts failed within the last minute, or Redis failed.
    pub async fn begin(
        mut redis: ConnectionManager,
        limit: u32,
        username_key: &str,
        peer: IpAddr,
    ) -> Result<Self, Problem> {
        let name: String = username_key.chars().take(50).collect();
        let counter = format!("ratelimit:login:{name}@{peer}");
        let within = FAILURE_WINDOW.as_secs();
        let (attempts, seconds): (u32, i64) = redis::pipe()
            .incr(&counter, 1)
            .cmd("EXPIRE")
            .arg(&counter)
            .arg(within)
            .arg("NX")
            .ignore()
            .ttl(&counter)
            .query_async(&mut redis)
            .await?;
        if attempts > limit {
            let retry_after = Duration::from_secs(u64::try_from(seconds).unwrap_or(within));
            return Err(Problem::TooMany { retry_after });
        }
        Ok(Self { redis, counter })
    }

    /// Takes the attempt out of the count of failures.
    ///
    /// # Errors
    /// Redis failed.
    pub async fn succeeded(mut self) -> Result<(), Problem> {
        let within = FAILURE_WINDOW.as_secs();
        // The counter may have gone meanwhile: what is made then goes too.
        Ok(redis::pipe()
            .decr(&self.counter, 1)
            .ignore()
            .cmd("EXPIRE")
            .arg(&self.counter)
            .arg(within)
            .arg("NX")
            .ignore()
            .query_async(&mut self.redis)
            .await?)
    }
}
