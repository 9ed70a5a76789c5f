//! Limits on logins and sign-ups, counted in Redis for all nodes.
//!
//! Failed logins count in three ways: for the pair of an account and a client network, for the account over all networks, and for
//! the network over all accounts. When one of them reaches its limit, further attempts are refused until a delay has passed. Each
//! failure after that doubles the delay. No account is locked: a pair that has signed in lately is limited by its own failures
//! only, so the failures of others do not delay the owner of an account.

use std::{borrow::Cow, time::Duration};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD as BASE64};
use redis::Script;
use sha2::{Digest, Sha256};

use crate::{
    problem::Problem, rate_limit::client_network::ClientNetwork, redis_client::RedisClient,
};

/// Delay after as many failures as the limit. It doubles with each further failure.
const FIRST_DELAY: Duration = Duration::from_secs(10);
/// Maximum delay. Short, because a client that shares its address with an attacker waits as long.
const MAX_DELAY: Duration = Duration::from_mins(1);
/// Time after the last failure when the failures before are forgotten.
///
/// Each failure costs a hash, so the number of keys is bounded by the hashes that the nodes compute in this time.
const FORGET_AFTER: Duration = Duration::from_mins(15);
/// Failed logins of a network, in multiples of the limit for an account. Many users may share an address.
const FAILURES_PER_NETWORK: u32 = 10;
/// Time after a login during which its account and network are a known pair.
const KNOWN_FOR: Duration = Duration::from_hours(30 * 24);
/// Known networks of an account. A further one replaces the one that was used least recently.
const MAX_KNOWN_NETWORKS: isize = 20;
/// Longer names in keys are replaced by their hash.
const MAX_NAME_BYTES: usize = 128;

/// Sign-ups from one network in a row. A school class or a company may share an address.
const SIGN_UP_BURST: u32 = 200;
/// Time in which a network gains another sign-up.
const SIGN_UP_INTERVAL: Duration = Duration::from_secs(6);

/// Counts an attempt as a failure, or returns the milliseconds until the next attempt.
///
/// KEYS: the pair, the account, the network, the known networks of the account. The result ends with the times until which the
/// attempt delays others in each way: 0 for no delay, -1 if the attempt does not count in this way.
const BEGIN: &str = r"
local network, limits, first, longest, forget, known_for =
    ARGV[1], {ARGV[2], ARGV[2], ARGV[3]}, tonumber(ARGV[4]), tonumber(ARGV[5]), ARGV[6], tonumber(ARGV[7])
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local seen = redis.call('ZSCORE', KEYS[4], network)
local ways = (seen and now - seen < known_for) and 1 or 3
local wait = 0
for way = 1, ways do
    wait = math.max(wait, (tonumber(redis.call('HGET', KEYS[way], 'until')) or 0) - now)
end
if wait > 0 then return {wait, -1, -1, -1} end
local result = {0, -1, -1, -1}
for way = 1, ways do
    local excess = redis.call('HINCRBY', KEYS[way], 'failures', 1) - limits[way]
    local delayed_until = 0
    if excess >= 0 then
        delayed_until = now + math.min(first * 2 ^ excess, longest)
        redis.call('HSET', KEYS[way], 'until', string.format('%d', delayed_until))
    end
    redis.call('EXPIRE', KEYS[way], forget)
    result[way + 1] = delayed_until
end
return result
";

/// Takes an attempt back that was no failure. Remembers the pair if the attempt was a login.
///
/// KEYS as for [`BEGIN`]. ARGV: the three times that it returned; for a login, the network, the maximum number of known networks
/// and the seconds for which they are known.
const TAKE_BACK: &str = r"
for way = 1, 3 do
    if ARGV[way] ~= '-1' and redis.call('EXISTS', KEYS[way]) == 1 then
        if redis.call('HINCRBY', KEYS[way], 'failures', -1) <= 0 then
            redis.call('DEL', KEYS[way])
        elseif redis.call('HGET', KEYS[way], 'until') == ARGV[way] then
            redis.call('HDEL', KEYS[way], 'until')
        end
    end
end
if ARGV[4] then
    local time = redis.call('TIME')
    redis.call('DEL', KEYS[1])
    redis.call('ZADD', KEYS[4], time[1] * 1000 + math.floor(time[2] / 1000), ARGV[4])
    redis.call('ZREMRANGEBYRANK', KEYS[4], 0, -1 - ARGV[5])
    redis.call('EXPIRE', KEYS[4], ARGV[6])
end
";

/// Counts a sign-up, or returns the milliseconds until the next one: the generic cell rate algorithm.
///
/// The key holds the time when all sign-ups of the burst are possible again.
const SIGN_UP: &str = r"
local interval, burst = tonumber(ARGV[1]), tonumber(ARGV[2])
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local full = math.max(tonumber(redis.call('GET', KEYS[1])) or 0, now) + interval
local wait = full - now - burst * interval
if wait > 0 then return wait end
redis.call('SET', KEYS[1], string.format('%d', full), 'PX', string.format('%d', full - now))
return 0
";

/// The limits on logins and sign-ups.
pub struct Attempts {
    redis: RedisClient,
    login_failures: u32,
    begin: Script,
    take_back: Script,
    sign_up: Script,
}

/// A login attempt, counted as a failure until it is taken back.
///
/// It is counted before the password is verified, so that concurrent guesses count too.
pub struct LoginAttempt<'a> {
    attempts: &'a Attempts,
    keys: [String; 4],
    network: String,
    /// For the pair, the account and the network: the time until which this attempt delays others, 0, or -1.
    delays: [i64; 3],
}

impl Attempts {
    /// Limits with `login_failures` failed logins of an account before the first delay.
    pub fn new(redis: RedisClient, login_failures: u32) -> Self {
        Self {
            redis,
            login_failures,
            begin: Script::new(BEGIN),
            take_back: Script::new(TAKE_BACK),
            sign_up: Script::new(SIGN_UP),
        }
    }

    /// Counts a login attempt with this username.
    ///
    /// # Errors
    /// [`Problem::TooMany`] while attempts are delayed; such an attempt does not count. Or Redis failed.
    pub async fn login(
        &self,
        username_key: &str,
        client: ClientNetwork,
    ) -> Result<LoginAttempt<'_>, Problem> {
        let (name, network) = (name_in_key(username_key), client.to_string());
        let keys = [
            format!("ratelimit:{{login}}:pair:{name}@{network}"),
            format!("ratelimit:{{login}}:account:{name}"),
            format!("ratelimit:{{login}}:address:{network}"),
            format!("ratelimit:{{login}}:known:{name}"),
        ];
        let (wait, pair, account, address): (u64, i64, i64, i64) = self
            .begin
            .key(&keys)
            .arg(&network)
            .arg(self.login_failures)
            .arg(self.login_failures.saturating_mul(FAILURES_PER_NETWORK))
            .arg(FIRST_DELAY.as_millis())
            .arg(MAX_DELAY.as_millis())
            .arg(FORGET_AFTER.as_secs())
            .arg(KNOWN_FOR.as_millis())
            .invoke_async(&mut self.redis.clone())
            .await?;
        refuse_for(wait)?;
        Ok(LoginAttempt {
            attempts: self,
            keys,
            network,
            delays: [pair, account, address],
        })
    }

    /// Counts a sign-up.
    ///
    /// # Errors
    /// [`Problem::TooMany`] after many sign-ups from this network, or Redis failed.
    pub async fn sign_up(&self, client: ClientNetwork) -> Result<(), Problem> {
        let wait: u64 = self
            .sign_up
            .key(format!("ratelimit:signup:{client}"))
            .arg(SIGN_UP_INTERVAL.as_millis())
            .arg(SIGN_UP_BURST)
            .invoke_async(&mut self.redis.clone())
            .await?;
        refuse_for(wait)
    }
}

impl LoginAttempt<'_> {
    /// Takes the attempt back, forgets the failures of the pair, and remembers the pair.
    ///
    /// # Errors
    /// Redis failed.
    pub async fn succeeded(self) -> Result<(), Problem> {
        let take_back = &self.attempts.take_back;
        let () = take_back
            .key(&self.keys)
            .arg(&self.delays)
            .arg(&self.network)
            .arg(MAX_KNOWN_NETWORKS)
            .arg(KNOWN_FOR.as_secs())
            .invoke_async(&mut self.attempts.redis.clone())
            .await?;
        Ok(())
    }

    /// Takes the attempt back, because the password was not verified.
    ///
    /// # Errors
    /// Redis failed.
    pub async fn take_back(self) -> Result<(), Problem> {
        let take_back = &self.attempts.take_back;
        let () = take_back
            .key(&self.keys)
            .arg(&self.delays)
            .invoke_async(&mut self.attempts.redis.clone())
            .await?;
        Ok(())
    }
}

/// An error if the client has to wait. Rounds up, so that a client that waits as long is not refused again.
fn refuse_for(wait_ms: u64) -> Result<(), Problem> {
    if wait_ms == 0 {
        return Ok(());
    }
    Err(Problem::TooMany {
        retry_after: Duration::from_secs(wait_ms.div_ceil(1_000)),
    })
}

/// The name as it is in keys, with a bounded length.
fn name_in_key(username_key: &str) -> Cow<'_, str> {
    if username_key.len() <= MAX_NAME_BYTES {
        username_key.into()
    } else {
        format!("sha256-{}", BASE64.encode(Sha256::digest(username_key))).into()
    }
}
