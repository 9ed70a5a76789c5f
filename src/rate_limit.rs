//! Rate limits: a token bucket that takes the time as an argument, and the buckets of each client.

pub mod client_network;
pub mod clients;

use std::time::Duration;

use tokio::time::Instant;

/// A rate in tokens per second with a burst.
#[derive(Debug)]
pub struct TokenBucket {
    /// Negative while in debt.
    tokens: f64,
    burst: f64,
    rate: f64,
    updated_at: Instant,
}

impl TokenBucket {
    /// A full bucket.
    pub fn new(rate: f64, burst: f64, now: Instant) -> Self {
        Self {
            tokens: burst,
            burst,
            rate,
            updated_at: now,
        }
    }

    fn refill(&mut self, now: Instant) {
        let gained = now.duration_since(self.updated_at).as_secs_f64() * self.rate;
        self.tokens = (self.tokens + gained).min(self.burst);
        self.updated_at = now;
    }

    /// Takes a token if there is one.
    pub fn try_take(&mut self, now: Instant) -> bool {
        self.try_spend(1.0, now)
    }

    /// Takes `cost` tokens if there is one token; the bucket is in debt afterwards if it has fewer than `cost`.
    ///
    /// So work that costs more than the burst is possible, and delays the next work.
    pub fn try_spend(&mut self, cost: f64, now: Instant) -> bool {
        self.refill(now);
        let enough = self.has_token();
        if enough {
            self.tokens -= cost;
        }
        enough
    }

    /// Takes `cost` tokens for work that is already done, possibly more than there are.
    pub fn spend(&mut self, cost: f64, now: Instant) {
        self.refill(now);
        self.tokens -= cost;
    }

    /// Whether a token is left, without those gained since the last change.
    pub fn has_token(&self) -> bool {
        self.tokens >= 1.0
    }

    /// Whether the bucket is full.
    pub fn is_full(&mut self, now: Instant) -> bool {
        self.refill(now);
        self.tokens >= self.burst
    }

    /// When the next token comes, up to 1 ms late, never early; in the past if there is one.
    pub fn next_token_at(&self) -> Instant {
        if self.has_token() {
            return self.updated_at;
        }
        let missing = 1.0 - self.tokens;
        self.updated_at + Duration::from_secs_f64(missing / self.rate) + Duration::from_millis(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_knows_when_its_next_token_comes() {
        let begin = Instant::now();
        let mut bucket = TokenBucket::new(10.0, 3.0, begin);
        assert!((0..3).all(|_| bucket.try_take(begin)) && !bucket.try_take(begin));
        let next = bucket.next_token_at();
        assert!(!bucket.try_take(begin + Duration::from_millis(90)));
        assert!(next <= begin + Duration::from_millis(110) && bucket.try_take(next));
        // The bucket never holds more than its burst.
        let late = begin + Duration::from_hours(1);
        assert!((0..3).all(|_| bucket.try_take(late)) && !bucket.try_take(late));
    }

    #[test]
    fn dear_work_needs_one_token_and_delays_the_next() {
        let begin = Instant::now();
        let mut bucket = TokenBucket::new(10.0, 3.0, begin);
        assert!(bucket.is_full(begin));
        assert!(bucket.try_spend(13.0, begin) && !bucket.try_spend(1.0, begin));
        let next = bucket.next_token_at();
        assert!(next > begin + Duration::from_secs(1) && bucket.try_spend(1.0, next));
        assert!(!bucket.is_full(next));
    }

    #[test]
    fn a_debt_is_paid_at_the_rate() {
        let begin = Instant::now();
        let mut bucket = TokenBucket::new(10.0, 3.0, begin);
        bucket.spend(13.0, begin);
        let next = bucket.next_token_at();
        assert!(next > begin + Duration::from_secs(1));
        assert!(next < begin + Duration::from_millis(1_200));
        assert!(bucket.try_take(next));
    }
}
