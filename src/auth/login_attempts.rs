//! The limit on failed logins, counted in Redis.

use std::{net::IpAddr, time::Duration};

use redis::aio::ConnectionManager;

use crate::problem::Problem;

/// Time over which failed logins are counted.
const FAILURE_WINDOW: Duration = Duration::from_mins(1);

/// A login attempt, counted as a failure until it succeeds.
///
/// It is counted before the password is verified, so that concurrent guesses count too.
pub struct LoginAttempt {
    redis: ConnectionManager,
    counter: String,
}

impl LoginAttempt {
    /// Counts an attempt with this username from this address.
    ///
    /// # Errors
    /// [`Problem::TooMany`] after `limit` failures within a minute, or Redis failed.
    pub async fn begin(
        mut redis: ConnectionManager,
        limit: u32,
        username_key: &str,
        peer: IpAddr,
    ) -> Result<Self, Problem> {
        let name: String = username_key.chars().take(50).collect();
        let counter = format!("ratelimit:login:{name}@{peer}");
        let window = FAILURE_WINDOW.as_secs();
        let (attempts, seconds): (u32, i64) = redis::pipe()
            .incr(&counter, 1)
            .cmd("EXPIRE")
            .arg(&counter)
            .arg(window)
            .arg("NX")
            .ignore()
            .ttl(&counter)
            .query_async(&mut redis)
            .await?;
        if attempts > limit {
            let retry_after = Duration::from_secs(u64::try_from(seconds).unwrap_or(window));
            return Err(Problem::TooMany { retry_after });
        }
        Ok(Self { redis, counter })
    }

    /// Subtracts the attempt from the failures.
    ///
    /// # Errors
    /// Redis failed.
    pub async fn succeeded(mut self) -> Result<(), Problem> {
        let window = FAILURE_WINDOW.as_secs();
        // If the counter has expired, DECR creates it again without an expiry.
        Ok(redis::pipe()
            .decr(&self.counter, 1)
            .ignore()
            .cmd("EXPIRE")
            .arg(&self.counter)
            .arg(window)
            .arg("NX")
            .ignore()
            .query_async(&mut self.redis)
            .await?)
    }
}
