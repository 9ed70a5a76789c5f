//! A token bucket that takes the time as an argument.

use std::time::Duration;

use tokio::time::Instant;

/// So many a second, with bursts.
pub(super) struct TokenBucket {
    tokens: f64,
    burst: f64,
    rate: f64,
    at: Instant,
}

impl TokenBucket {
    pub(super) fn new(rate: f64, burst: f64, at: Instant) -> Self {
        Self {
            tokens: burst,
            burst,
            rate,
            at,
        }
    }

    pub(super) fn take(&mut self, now: Instant) -> bool {
        let gained = now.duration_since(self.at).as_secs_f64() * self.rate;
        self.tokens = (self.tokens + gained).min(self.burst);
        self.at = now;
        let enough = self.tokens >= 1.0;
        if enough {
            self.tokens -= 1.0;
        }
        enough
    }

    /// When there will be one again, a moment late rather than early.
    pub(super) fn next(&self) -> Instant {
        let missing = (1.0 - self.tokens).max(0.0);
        self.at + Duration::from_secs_f64(missing / self.rate) + Duration::from_millis(1)
    }
}
