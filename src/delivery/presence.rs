//! The users who are online: `presence:{users}`, a sorted set in Redis with a lease for each user who is connected to any node.
//! The score is the expiry of the lease, in milliseconds since 1970.
//!
//! A node renews the leases of its users every 10 s. When a user leaves, the node shortens the lease to a grace period, in which
//! the client may reconnect; another node that has the user extends it. A dead node's leases expire.
//!
//! ```text
//! ZRANGE presence:{users} 0 -1 WITHSCORES
//! ```

use std::{collections::HashSet, sync::Arc, time::Duration};

use redis::{AsyncCommands, Script};
use tokio::time::{Instant, MissedTickBehavior};
use tracing::debug;

use crate::{
    delivery::Delivery,
    events::{
        history::{Append, History},
        outbox::Outbox,
        position::EventLog,
    },
    ids::UserId,
    model::Event,
    problem::{Problem, chain},
    redis_client::RedisClient,
};

/// Length of a lease. A node may miss three renewals.
const LEASE: Duration = Duration::from_secs(40);
/// Interval at which a node renews the leases of its users.
const RENEW_INTERVAL: Duration = Duration::from_secs(10);
/// Lease of a user who has left. Longer than the renewal interval, so that another node that has the user extends it in time.
const GRACE: Duration = Duration::from_secs(20);
/// Interval at which a node reports its changes, and shortest interval between two announcements of all nodes.
const REPORT_INTERVAL: Duration = Duration::from_secs(1);

const KEY: &str = "presence:{users}";
/// Users whose state has changed since the last announcement.
const CHANGED: &str = "presence:{users}:changed";
/// Users whose change is being announced. When the node dies meanwhile, the next announcement includes them.
const ANNOUNCING: &str = "presence:{users}:announcing";
/// Exists for one interval after an announcement, to limit their rate.
const ANNOUNCED: &str = "presence:{users}:announced";

/// Renews the leases of the users who are here, shortens those of the users who left, removes expired ones, and returns a changed
/// user if an announcement is due. KEYS: users, changed, announced, announcing; ARGV: lease, grace, interval, number of users
/// here, users here, users who left.
const REPORT: &str = r"
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local here = tonumber(ARGV[4])
for i = 5, #ARGV do
    if i < 5 + here then
        local expires = redis.call('ZSCORE', KEYS[1], ARGV[i])
        if not expires then redis.call('SADD', KEYS[2], ARGV[i]) end
        redis.call('ZADD', KEYS[1], 'GT', now + ARGV[1], ARGV[i])
    else
        redis.call('ZADD', KEYS[1], 'XX', 'LT', now + ARGV[2], ARGV[i])
    end
end
for _, user in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now, 'LIMIT', 0, 1000)) do
    redis.call('ZREM', KEYS[1], user)
    redis.call('SADD', KEYS[2], user)
end
if redis.call('EXISTS', KEYS[2], KEYS[4]) == 0 then return '' end
if not redis.call('SET', KEYS[3], '1', 'NX', 'PX', ARGV[3]) then return '' end
redis.call('SUNIONSTORE', KEYS[4], KEYS[2], KEYS[4])
redis.call('DEL', KEYS[2])
return redis.call('SRANDMEMBER', KEYS[4])
";

/// The presence of every user.
#[derive(Clone)]
pub struct Presence {
    redis: RedisClient,
    report: Script,
}

impl Presence {
    /// The presence in this Redis.
    pub fn new(redis: RedisClient) -> Self {
        Self {
            redis,
            report: Script::new(REPORT),
        }
    }

    /// Those of `users` who are online.
    ///
    /// # Errors
    /// [`Problem::Unavailable`] without Redis.
    pub async fn online(&self, users: &[UserId]) -> Result<HashSet<UserId>, Problem> {
        if users.is_empty() {
            return Ok(HashSet::new());
        }
        let members: Vec<String> = users.iter().map(UserId::to_string).collect();
        let scores: Vec<Option<f64>> = self.redis.clone().zscore_multiple(KEY, &members).await?;
        let present = users.iter().zip(scores);
        Ok(present
            .filter_map(|(user, score)| score.map(|_| *user))
            .collect())
    }

    /// Reports the users who are connected to this node, and those who have left it. Returns a user whose state has changed on any
    /// node, if an announcement is due.
    async fn report(&self, here: &[UserId], left: &[UserId]) -> Result<Option<UserId>, Problem> {
        let mut call = self.report.prepare_invoke();
        call.key(KEY).key(CHANGED).key(ANNOUNCED).key(ANNOUNCING);
        for time in [LEASE, GRACE, REPORT_INTERVAL] {
            call.arg(u64::try_from(time.as_millis()).unwrap_or(u64::MAX));
        }
        call.arg(here.len());
        for user in here.iter().chain(left) {
            call.arg(user.to_string());
        }
        let changed: String = call.invoke_async(&mut self.redis.clone()).await?;
        Ok(changed.parse().ok())
    }

    /// Ends the announcement that [`Self::report`] has requested.
    async fn end_announcement(&self) -> Result<(), Problem> {
        Ok(self.redis.clone().del(ANNOUNCING).await?)
    }
}

/// Reports the users of this node, and announces changes to all clients. Runs until it is dropped.
pub async fn run(
    presence: Presence,
    delivery: Arc<Delivery>,
    history: History,
    outbox: Arc<Outbox>,
) {
    let mut known: HashSet<UserId> = HashSet::new();
    let mut renewed = Instant::now();
    let mut interval = tokio::time::interval(REPORT_INTERVAL);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        interval.tick().await;
        let here: HashSet<UserId> = delivery.sessions().map(|(user, _)| user).collect();
        let left: Vec<UserId> = known.difference(&here).copied().collect();
        let renew = renewed.elapsed() >= RENEW_INTERVAL;
        let report: Vec<UserId> = here
            .iter()
            .filter(|user| renew || !known.contains(user))
            .copied()
            .collect();
        match presence.report(&report, &left).await {
            Ok(changed) => {
                if renew {
                    renewed = Instant::now();
                }
                known = here;
                if let Some(user) = changed
                    && let Err(problem) = announce(&presence, &history, &outbox, user).await
                {
                    debug!(error = %chain(&problem), "announcing presence failed; the next announcement includes the change");
                }
            }
            // The changes are reported when Redis is back.
            Err(problem) => debug!(error = %chain(&problem), "presence report failed"),
        }
    }
}

/// Publishes that a user came or went. No transaction causes the event, so it has no outbox row.
async fn announce(
    presence: &Presence,
    history: &History,
    outbox: &Outbox,
    user: UserId,
) -> Result<(), Problem> {
    let event = Event::user(user);
    let append = Append {
        log: EventLog::All,
        event: event.id,
        name: event.kind,
        data: std::str::from_utf8(&event.body).unwrap_or_default(),
    };
    let positions = history.append(&[append]).await?;
    outbox.publish_untracked(&event, positions.first().copied());
    presence.end_announcement().await
}
