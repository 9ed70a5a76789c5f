//! Who is online: `presence:{users}`, a sorted set in Redis with one member for each user who is connected to any node. The
//! score is when that ends unless a node says otherwise, in milliseconds since 1970.
//!
//! A node says so every ten seconds for everyone connected to it. Of somebody who leaves it shortens the time, so that a
//! client has a while to come back, unless another node that has them prolongs it again; of a node that dies nobody has to
//! say anything.
//!
//! ```text
//! ZRANGE presence:{users} 0 -1 WITHSCORES
//! ```

use std::{collections::HashSet, sync::Arc, time::Duration};

use redis::{AsyncCommands, Script, aio::ConnectionManager};
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
};

/// How long a user counts as online after a node has said so. Long enough to miss three of its reports.
const LEASE: Duration = Duration::from_secs(40);
/// How often a node says so.
const RENEW_INTERVAL: Duration = Duration::from_secs(10);
/// How long somebody who has left may take to come back. Longer than it takes another node to renew.
const GRACE: Duration = Duration::from_secs(20);
/// How often a node looks who came and went. Changes of all nodes together are told at most this often.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

const KEY: &str = "presence:{users}";
/// Users whose state changed since that was told last.
const CHANGED: &str = "presence:{users}:changed";
/// Those of whom a node is telling. Left behind by a node that could not, they are told with the next ones.
const ANNOUNCING: &str = "presence:{users}:announcing";
/// There while nothing may be told, because something just was.
const ANNOUNCED: &str = "presence:{users}:announced";

/// Renews those who are here, shortens the time of those who left, removes those whose time is over, and returns one of
/// those who changed if it is time to tell. KEYS: users, changed, told, telling; ARGV: lease, grace, interval, number of those
/// here, those here, those who left.
const LOOK: &str = r"
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local here = tonumber(ARGV[4])
for i = 5, #ARGV do
    if i < 5 + here then
        local till = redis.call('ZSCORE', KEYS[1], ARGV[i])
        if not till then redis.call('SADD', KEYS[2], ARGV[i]) end
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
    redis: ConnectionManager,
    look: Script,
}

impl Presence {
    /// The presence in that Redis.
    pub fn new(redis: ConnectionManager) -> Self {
        Self {
            redis,
            look: Script::new(LOOK),
        }
    }

    /// Everyone who is online.
    ///
    /// # Errors
    /// [`Problem::Unavailable`] without Redis.
    pub async fn online(&self) -> Result<HashSet<UserId>, Problem> {
        let users: Vec<String> = self.redis.clone().zrange(KEY, 0, -1).await?;
        Ok(users.iter().filter_map(|user| user.parse().ok()).collect())
    }

    /// Reports who is connected to this node and who was and is no longer. Returns one of those whose state changed on any
    /// node, if it is time to tell.
    async fn report(&self, here: &[UserId], left: &[UserId]) -> Result<Option<UserId>, Problem> {
        let mut call = self.look.prepare_invoke();
        call.key(KEY).key(CHANGED).key(ANNOUNCED).key(ANNOUNCING);
        for time in [LEASE, GRACE, LOOK_INTERVAL] {
            call.arg(u64::try_from(time.as_millis()).unwrap_or(u64::MAX));
        }
        call.arg(here.len());
        for user in here.iter().chain(left) {
            call.arg(user.to_string());
        }
        let changed: String = call.invoke_async(&mut self.redis.clone()).await?;
        Ok(changed.parse().ok())
    }

    /// Says that those of whom [`Self::report`] wanted to be told have been.
    async fn announced(&self) -> Result<(), Problem> {
        Ok(self.redis.clone().del(ANNOUNCING).await?)
    }
}

/// Reports this node's connections, and tells everyone when something changed. Runs until it is dropped.
pub async fn run(
    presence: Presence,
    delivery: Arc<Delivery>,
    history: History,
    outbox: Arc<Outbox>,
) {
    let mut known: HashSet<UserId> = HashSet::new();
    let mut renewed = Instant::now();
    let mut looks = tokio::time::interval(LOOK_INTERVAL);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        looks.tick().await;
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
                    debug!(error = %chain(&problem), "a change of presence is told with the next one");
                }
            }
            // Those who came and left are reported when Redis is back.
            Err(problem) => debug!(error = %chain(&problem), "presence cannot be reported"),
        }
    }
}

/// A hint that somebody came or went. No transaction caused it, so it goes without the outbox.
async fn announce(
    presence: &Presence,
    history: &History,
    outbox: &Outbox,
    user: UserId,
) -> Result<(), Problem> {
    let event = Event::user(user);
    let append = Append {
        stream: EventLog::All,
        event: event.id,
        name: event.kind,
        data: std::str::from_utf8(&event.body).unwrap_or_default(),
    };
    let positions = history.append(&[append]).await?;
    outbox.announce(&event, positions.first().copied());
    presence.announced().await
}
