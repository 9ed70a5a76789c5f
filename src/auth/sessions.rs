//! Sessions in Redis, shared by all nodes: the hash `session:{sid}`, the set `sessions:{userId}` as an index, and for some days the
//! reason of a session's end in `session:{sid}:ended`.

use std::{net::IpAddr, time::Duration};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD as BASE64};
use hmac::{Hmac, Mac};
use rand::RngCore;
use redis::{AsyncCommands, Script};
use serde::Serialize;
use serde_json::Value;
use sha2::{Digest, Sha256};
use time::OffsetDateTime;

use crate::{
    ids::{SessionId, UserId},
    model::{Role, instant},
    problem::Problem,
    redis_client::RedisClient,
    secret::Secret,
};

/// Entries of a user's index that a login checks.
const SCAN_LIMIT: usize = 8;
/// Sessions of a user that one command revokes.
const REVOKED_AT_ONCE: usize = 1_000;
/// Sessions of a user that one login ends at most.
const END_LIMIT: usize = 16;

/// Sessions in a list. More than [`SESSIONS_PER_USER`](crate::config::Config::sessions_per_user) allows, unless an earlier version
/// left them.
const LIST_LIMIT: usize = 200;
/// Characters of `User-Agent` that a session keeps.
const MAX_AGENT_CHARS: usize = 256;

/// Seconds for which the reason of a session's end is kept. A device that is opened later reads that the session has expired.
const REASON_TTL_SECONDS: u64 = 7 * 24 * 60 * 60;

/// Random bytes of a refresh token's secret. Its MAC follows them.
const RANDOM_BYTES: usize = 32;
/// Bytes of an HMAC-SHA256.
const MAC_BYTES: usize = 32;
/// Prefix of what the MAC covers. No JWT contains a NUL, so no MAC is the signature of an access token, which has the same key.
const MAC_CONTEXT: &[u8] = b"refresh token\0";

/// The sessions of all users.
#[derive(Clone)]
pub struct Sessions {
    redis: RedisClient,
    ttl: Duration,
    /// Authenticates refresh tokens, so that a token of the past is recognised without a list of them.
    mac: Hmac<Sha256>,
    rotate: Script,
}

/// Where a session is opened.
#[derive(Clone, Copy, Debug)]
pub struct Device<'a> {
    /// `User-Agent`, empty if the client sent none. The node keeps its first [`MAX_AGENT_CHARS`] characters.
    pub agent: &'a str,
    /// The client's address.
    pub address: IpAddr,
}

/// A session, for its user. Sessions of earlier versions lack some fields.
#[derive(Debug)]
pub struct SessionInfo {
    /// Identifier.
    pub id: SessionId,
    /// `User-Agent` of the login.
    pub device: Option<String>,
    /// The client's address at the login.
    pub address: Option<String>,
    /// Instant of the login, as JSON has it.
    pub issued: Option<String>,
    /// Instant of the login or of the last refresh.
    pub used: Option<String>,
}

/// The result of a token rotation.
#[derive(Debug)]
pub enum Rotation {
    /// The token was current; the session continues with this new one.
    Rotated(UserId, Secret),
    /// The node issued the token and has rotated it since, so two clients have it. The session is revoked.
    Reused(UserId),
    /// The session has ended, or the node never issued the token.
    Unknown,
}

/// Why a session has ended, for its user.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(tag = "reason", rename_all = "SCREAMING_SNAKE_CASE")]
pub enum EndReason {
    /// The user signed out.
    SignedOut,
    /// The user ended it from another session.
    SignedOutElsewhere,
    /// The user has another role.
    RoleChanged {
        /// The new role.
        role: Role,
    },
    /// The account has another password.
    PasswordChanged,
    /// The account is deleted.
    AccountDeleted,
    /// The user signed in on more devices than a user may.
    TooManySessions,
    /// Two clients had its refresh token.
    TokenReused,
    /// It was not used for too long.
    Expired,
}

impl EndReason {
    /// The API's `details`.
    pub fn details(self) -> Value {
        serde_json::to_value(self).unwrap_or_default()
    }
}

/// Time after a rotation during which the previous token still identifies its session.
///
/// A page that refreshes and reconnects at once sends both requests with the old token, and browsers never retry a rejected
/// stream.
const ROTATION_GRACE: Duration = Duration::from_secs(30);

/// Compares and replaces a token atomically, so that exactly one of two requests with the same token succeeds.
///
/// A session's id is in each of its access tokens, and so is no secret. So another token ends the session only if the node issued
/// it: `ARGV[6]` is the result of the MAC. The tokens of versions without a MAC count while they are `previous`.
const ROTATE: &str = r"
local session = redis.call('HMGET', KEYS[1], 'refresh', 'user', 'previous')
if not session[1] then return {0, ''} end
if session[1] ~= ARGV[1] then
    if ARGV[6] ~= '1' and session[3] ~= ARGV[1] then return {0, ''} end
    redis.call('DEL', KEYS[1])
    return {2, session[2]}
end
local time = redis.call('TIME')
local till = string.format('%d%03d', time[1] + ARGV[5], math.floor(time[2] / 1000))
redis.call('HSET', KEYS[1], 'refresh', ARGV[2], 'expires', ARGV[4], 'previous', ARGV[1], 'previous_until', till, 'used', ARGV[7])
redis.call('EXPIRE', KEYS[1], ARGV[3])
return {1, session[2]}
";

fn key(session: SessionId) -> String {
    format!("session:{session}")
}

fn reason_key(session: SessionId) -> String {
    format!("session:{session}:ended")
}

fn index(user: UserId) -> String {
    format!("sessions:{user}")
}

impl Sessions {
    /// Sessions that end `ttl` after their last refresh. `secret` authenticates refresh tokens.
    pub fn new(redis: RedisClient, ttl: Duration, secret: &Secret) -> Self {
        Self {
            redis,
            ttl,
            mac: Hmac::new_from_slice(secret.expose().as_bytes())
                .expect("HMAC takes a key of any length"),
            rotate: Script::new(ROTATE),
        }
    }

    fn mac(&self, session: SessionId, random: &[u8]) -> Hmac<Sha256> {
        self.mac
            .clone()
            .chain_update(MAC_CONTEXT)
            .chain_update(session.to_string())
            .chain_update(random)
    }

    /// A new secret of a refresh token: random bytes and their MAC.
    fn secret(&self, session: SessionId) -> String {
        let mut bytes = [0; RANDOM_BYTES + MAC_BYTES];
        let (random, mac) = bytes.split_at_mut(RANDOM_BYTES);
        rand::rng().fill_bytes(random);
        mac.copy_from_slice(&self.mac(session, random).finalize().into_bytes());
        BASE64.encode(bytes)
    }

    /// Whether a node issued the secret for this session.
    fn is_issued(&self, session: SessionId, secret: &str) -> bool {
        let bytes = BASE64.decode(secret).unwrap_or_default();
        let parts = bytes.split_at_checked(RANDOM_BYTES);
        parts.is_some_and(|(random, mac)| self.mac(session, random).verify_slice(mac).is_ok())
    }

    fn ttl_seconds(&self) -> i64 {
        i64::try_from(self.ttl.as_secs()).unwrap_or(i64::MAX)
    }

    /// Opens a session and returns its refresh token.
    ///
    /// # Errors
    /// [`Problem::Unavailable`] without Redis.
    pub async fn open(
        &self,
        user: UserId,
        role: Role,
        device: Device<'_>,
    ) -> Result<(SessionId, Secret), Problem> {
        let session = SessionId(uuid::Uuid::new_v4());
        let secret = self.secret(session);
        let now = OffsetDateTime::now_utc();
        let fields = [
            ("user", user.to_string()),
            ("role", role.name().to_owned()),
            ("refresh", digest(&secret)),
            ("issued", instant::format(now)),
            ("expires", instant::format(now + self.ttl)),
            ("used", instant::format(now)),
            ("address", device.address.to_string()),
            (
                "agent",
                device.agent.chars().take(MAX_AGENT_CHARS).collect(),
            ),
        ];
        let mut redis = self.redis.clone();
        // The session before the index. An index entry without a session is harmless; a session without an index entry
        // could not be revoked with the user's other sessions.
        let () = redis::pipe()
            .hset_multiple(key(session), &fields)
            .ignore()
            .expire(key(session), self.ttl_seconds())
            .ignore()
            .query_async(&mut redis)
            .await?;
        let () = redis::pipe()
            .sadd(index(user), session.to_string())
            .ignore()
            .expire(index(user), self.ttl_seconds())
            .ignore()
            .query_async(&mut redis)
            .await?;
        self.prune_index(user).await?;
        Ok((session, join(session, &secret)))
    }

    /// The sessions of a user, at most [`LIST_LIMIT`].
    ///
    /// # Errors
    /// [`Problem::Unavailable`] without Redis.
    pub async fn list(&self, user: UserId) -> Result<Vec<SessionInfo>, Problem> {
        type Fields = [Option<String>; 5];
        let mut redis = self.redis.clone();
        let ids: Vec<String> = redis::cmd("SRANDMEMBER")
            .arg(index(user))
            .arg(LIST_LIMIT)
            .query_async(&mut redis)
            .await?;
        let ids: Vec<SessionId> = ids.iter().filter_map(|id| id.parse().ok()).collect();
        let mut pipe = redis::pipe();
        for id in &ids {
            pipe.hmget(key(*id), &["user", "agent", "address", "issued", "used"]);
        }
        let found: Vec<Fields> = pipe.query_async(&mut redis).await?;
        let owner = Some(user.to_string());
        Ok(ids
            .into_iter()
            .zip(found)
            // Without an owner the session has ended.
            .filter(|(_, [user, ..])| *user == owner)
            .map(|(id, [_, device, address, issued, used])| SessionInfo {
                id,
                device,
                address,
                issued,
                used,
            })
            .collect())
    }

    /// Ends the sessions of a user that were opened or refreshed longest ago, until at most `keep` remain. Returns them.
    ///
    /// Each login adds one session. At most [`END_LIMIT`] end at once, in case an earlier version left more.
    ///
    /// # Errors
    /// [`Problem::Unavailable`] without Redis.
    pub async fn end_oldest(&self, user: UserId, keep: usize) -> Result<Vec<SessionId>, Problem> {
        let mut redis = self.redis.clone();
        let count: usize = redis.scard(index(user)).await?;
        if count <= keep {
            return Ok(Vec::new());
        }
        let excess = (count - keep).min(END_LIMIT);
        // A sample, because an index of any size must not delay a login. It has every session unless there are far too many.
        let ids: Vec<String> = redis::cmd("SRANDMEMBER")
            .arg(index(user))
            .arg(keep + END_LIMIT)
            .query_async(&mut redis)
            .await?;
        let mut pipe = redis::pipe();
        for id in &ids {
            pipe.hget(format!("session:{id}"), "expires");
        }
        let expires: Vec<Option<String>> = pipe.query_async(&mut redis).await?;
        // Each refresh extends a session. Those without an expiry have ended; they come first.
        let mut by_age: Vec<(Option<String>, String)> = expires.into_iter().zip(ids).collect();
        by_age.sort_unstable();
        let mut ended = Vec::new();
        for (expires, id) in by_age.into_iter().take(excess) {
            if let (Some(_), Ok(session)) = (expires, id.parse()) {
                self.revoke(user, session, EndReason::TooManySessions)
                    .await?;
                ended.push(session);
            } else {
                let () = redis.srem(index(user), id).await?;
            }
        }
        Ok(ended)
    }

    /// Removes some expired sessions from a user's index.
    ///
    /// Each login adds one entry and checks [`SCAN_LIMIT`], so the index stays about as large as the number of sessions.
    async fn prune_index(&self, user: UserId) -> Result<(), Problem> {
        let mut redis = self.redis.clone();
        let sample: Vec<String> = redis::cmd("SRANDMEMBER")
            .arg(index(user))
            .arg(SCAN_LIMIT)
            .query_async(&mut redis)
            .await?;
        let sessions: Vec<SessionId> = sample
            .iter()
            .filter_map(|session| session.parse().ok())
            .collect();
        let ended = self.filter_ended(&sessions).await?;
        if ended.is_empty() {
            return Ok(());
        }
        let ended: Vec<String> = ended.iter().map(SessionId::to_string).collect();
        Ok(redis.srem(index(user), ended).await?)
    }

    /// The user of a session, if the session is alive.
    ///
    /// # Errors
    /// [`Problem::Unavailable`] without Redis.
    pub async fn user(&self, session: SessionId) -> Result<Option<UserId>, Problem> {
        let user: Option<String> = self.redis.clone().hget(key(session), "user").await?;
        Ok(user.and_then(|user| user.parse().ok()))
    }

    /// The instant of the login that opened a session, if the session is alive.
    ///
    /// # Errors
    /// [`Problem::Unavailable`] without Redis.
    pub async fn opened_at(&self, session: SessionId) -> Result<Option<OffsetDateTime>, Problem> {
        let issued: Option<String> = self.redis.clone().hget(key(session), "issued").await?;
        Ok(issued.and_then(|issued| instant::parse(&issued)))
    }

    /// The sessions of `sessions` that have ended.
    ///
    /// # Errors
    /// [`Problem::Unavailable`] without Redis.
    pub async fn filter_ended(&self, sessions: &[SessionId]) -> Result<Vec<SessionId>, Problem> {
        let mut pipe = redis::pipe();
        for session in sessions {
            pipe.exists(key(*session));
        }
        let alive: Vec<bool> = pipe.query_async(&mut self.redis.clone()).await?;
        Ok(sessions
            .iter()
            .zip(alive)
            .filter(|(_, alive)| !alive)
            .map(|(session, _)| *session)
            .collect())
    }

    /// The user and the session of a refresh token that is current, or was until [`ROTATION_GRACE`] ago.
    ///
    /// # Errors
    /// [`Problem::Unavailable`] without Redis.
    pub async fn find_by_token(&self, token: &str) -> Result<Option<(UserId, SessionId)>, Problem> {
        type Fields = (Option<String>, Option<String>, Option<String>, Option<u64>);
        let Some((session, secret)) = split(token) else {
            return Ok(None);
        };
        // The expiry was taken from the clock of Redis; the clocks of nodes may differ.
        let ((user, refresh, previous, until_ms), (seconds, _)): (Fields, (u64, u64)) =
            redis::pipe()
                .hmget(
                    key(session),
                    &["user", "refresh", "previous", "previous_until"],
                )
                .cmd("TIME")
                .query_async(&mut self.redis.clone())
                .await?;
        // Digests are compared, so the time of the comparison reveals nothing about the token.
        let presented = Some(digest(secret));
        let is_valid = refresh == presented
            || previous == presented && until_ms.is_some_and(|until| seconds * 1_000 < until);
        Ok(user
            .filter(|_| is_valid)
            .and_then(|user| user.parse().ok())
            .map(|user| (user, session)))
    }

    /// Why the session of a refresh token has ended, as the API's `details`; empty when the session lives, or no node issued the token.
    ///
    /// # Errors
    /// [`Problem::Unavailable`] without Redis.
    pub async fn end_reason(&self, token: &str) -> Result<Value, Problem> {
        let issued = split(token).filter(|(session, secret)| self.is_issued(*session, secret));
        let Some((session, _)) = issued else {
            return Ok(Value::default());
        };
        let mut redis = self.redis.clone();
        let is_alive: bool = redis.exists(key(session)).await?;
        if is_alive {
            return Ok(Value::default());
        }
        let reason: Option<String> = redis.get(reason_key(session)).await?;
        let details = reason.and_then(|reason| serde_json::from_str(&reason).ok());
        Ok(details.unwrap_or_else(|| EndReason::Expired.details()))
    }

    /// Replaces a refresh token by a new one.
    ///
    /// # Errors
    /// [`Problem::Unavailable`] without Redis.
    pub async fn rotate(&self, token: &str) -> Result<(SessionId, Rotation), Problem> {
        let Some((session, secret)) = split(token) else {
            return Ok((SessionId::default(), Rotation::Unknown));
        };
        let next = self.secret(session);
        let (outcome, user): (u8, String) = self
            .rotate
            .key(key(session))
            .arg(digest(secret))
            .arg(digest(&next))
            .arg(self.ttl_seconds())
            .arg(instant::format(OffsetDateTime::now_utc() + self.ttl))
            .arg(ROTATION_GRACE.as_secs())
            .arg(u8::from(self.is_issued(session, secret)))
            .arg(instant::format(OffsetDateTime::now_utc()))
            .invoke_async(&mut self.redis.clone())
            .await?;
        let rotation = match (outcome, user.parse::<UserId>()) {
            (1, Ok(user)) => {
                let () = self
                    .redis
                    .clone()
                    .expire(index(user), self.ttl_seconds())
                    .await?;
                Rotation::Rotated(user, join(session, &next))
            }
            (2, Ok(user)) => Rotation::Reused(user),
            _ => Rotation::Unknown,
        };
        Ok((session, rotation))
    }

    /// Ends a session. Every node rejects its tokens from now on; the caller closes its connections by a control event.
    ///
    /// # Errors
    /// [`Problem::Unavailable`] without Redis.
    pub async fn revoke(
        &self,
        user: UserId,
        session: SessionId,
        reason: EndReason,
    ) -> Result<(), Problem> {
        let mut redis = self.redis.clone();
        let (name, value) = (reason_key(session), reason.details().to_string());
        // First, so that nobody reads that the session has expired.
        let () = redis.set_ex(name, value, REASON_TTL_SECONDS).await?;
        let () = redis.del(key(session)).await?;
        Ok(redis.srem(index(user), session.to_string()).await?)
    }

    /// Ends every session of a user except `keep`, and returns the ended sessions.
    ///
    /// # Errors
    /// [`Problem::Unavailable`] without Redis.
    pub async fn revoke_all(
        &self,
        user: UserId,
        keep: Option<SessionId>,
        reason: EndReason,
    ) -> Result<Vec<SessionId>, Problem> {
        let mut redis = self.redis.clone();
        let sessions: Vec<String> = redis.smembers(index(user)).await?;
        let ended: Vec<SessionId> = sessions
            .iter()
            .filter_map(|session| session.parse().ok())
            .filter(|session| Some(*session) != keep)
            .collect();
        // In parts, each well within the timeout of a command: an earlier version limited no user's sessions.
        for part in ended.chunks(REVOKED_AT_ONCE) {
            let keys: Vec<String> = part.iter().map(|session| key(*session)).collect();
            let ids: Vec<String> = part.iter().map(SessionId::to_string).collect();
            let value = reason.details().to_string();
            let mut pipe = redis::pipe();
            for session in part {
                pipe.set_ex(reason_key(*session), &value, REASON_TTL_SECONDS)
                    .ignore();
            }
            let () = pipe
                .del(keys)
                .ignore()
                .srem(index(user), ids)
                .ignore()
                .query_async(&mut redis)
                .await?;
        }
        Ok(ended)
    }
}

fn digest(secret: &str) -> String {
    BASE64.encode(Sha256::digest(secret))
}

/// A refresh token: the session's id and a secret, opaque to clients.
fn join(session: SessionId, secret: &str) -> Secret {
    Secret::new(format!("{session}.{secret}"))
}

fn split(token: &str) -> Option<(SessionId, &str)> {
    let (session, secret) = token.split_once('.')?;
    Some((session.parse().ok()?, secret))
}
