//! The SSE history in Redis streams: `sse:user:{userId}` and `sse:all`. Assigns each event its id.
//!
//! The entries of a log have the ids `E-1`, `E-2`, `E-3` …, where the epoch E is the Redis time in milliseconds at which the
//! log began. Consecutive numbers reveal a missing entry, and the epoch distinguishes a log from an earlier one that was lost
//! or has expired. Each entry also names the run of the Redis server that appended it: after a restart or a failover the newest
//! entries may be missing, so the new run starts a new epoch of each log. To look inside:
//!
//! ```text
//! XREVRANGE sse:all + - COUNT 3
//! ```

use std::time::Duration;

use redis::{FromRedisValue, Pipeline, Script, Value, streams::StreamRangeReply};

use crate::{
    events::position::{Cursor, Entry, EventLog, Position, ReplayGap},
    ids::{EventId, UserId},
    problem::Problem,
    redis_client::RedisClient,
};

/// Length of a user's log. Redis trims it in steps of its own.
const USER_MAX_LEN: usize = 1_000;
/// Length of the common log.
const ALL_MAX_LEN: usize = 10_000;
/// A user's log expires this long after its last event.
const USER_TTL: Duration = Duration::from_hours(24);
/// Key of the time since which Redis has lost no data, with its run. A script sets it when it is missing or of another run, so it
/// reveals a Redis that lost data.
const EPOCH_KEY: &str = "sse:epoch";

/// Start of the Redis server's run id, which differs after each start.
macro_rules! run {
    () => {
        "local run = string.sub(string.match(redis.call('INFO', 'server'), 'run_id:(%x+)'), 1, 8)\n"
    };
}

/// Appends an event once and returns the id of its entry. KEYS: log, seen event ids; ARGV: length of the log, time to live in
/// seconds or 0, event id, name, data.
const APPEND: &str = concat!(
    run!(),
    r"
local tip = redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)[1]
local epoch, n
if tip and tip[2][8] == run then
    local last
    epoch, last = string.match(tip[1], '^(%d+)-(%d+)$')
    local seen = redis.call('ZSCORE', KEYS[2], ARGV[3])
    if seen then return epoch .. '-' .. string.format('%d', seen) end
    n = tonumber(last) + 1
else
    local time = redis.call('TIME')
    epoch, n = string.format('%d%03d', time[1], math.floor(time[2] / 1000)), 1
    if tip then
        -- The clock of the server before may have been ahead.
        local before = string.match(tip[1], '^(%d+)-')
        if tonumber(before) >= tonumber(epoch) then epoch = string.format('%d', tonumber(before) + 1) end
    end
    redis.call('DEL', KEYS[1], KEYS[2])
end
local id = epoch .. '-' .. string.format('%d', n)
redis.call('XADD', KEYS[1], 'MAXLEN', '~', ARGV[1], id, 'eid', ARGV[3], 'name', ARGV[4], 'data', ARGV[5], 'run', run)
redis.call('ZADD', KEYS[2], n, ARGV[3])
-- As many ids as entries: an event may be appended again while its row is in the outbox.
redis.call('ZREMRANGEBYRANK', KEYS[2], 0, -1 - ARGV[1])
if ARGV[2] ~= '0' then
    redis.call('EXPIRE', KEYS[1], ARGV[2])
    redis.call('EXPIRE', KEYS[2], ARGV[2])
end
return id
"
);

/// Returns the time since which Redis has lost no data and the current time, both in milliseconds, and its run. KEYS: epoch.
///
/// Fails on a replica: after a failover, the entries of the new master have another run than the old one, so the log would look
/// empty, and its position would be after entries that the stream has not sent.
const CLOCK: &str = concat!(
    run!(),
    r"
if string.find(redis.call('INFO', 'replication'), 'role:slave') then
    return redis.error_reply('READONLY a replica does not answer reads of a log')
end
local time = redis.call('TIME')
local now = string.format('%d%03d', time[1], math.floor(time[2] / 1000))
local since, of = string.match(redis.call('GET', KEYS[1]) or '', '^(%d+) (%x+)$')
if of ~= run then
    since = now
    redis.call('SET', KEYS[1], now .. ' ' .. run)
end
return {since, now, run}
"
);

/// An event to append to a log.
pub struct Append<'a> {
    /// The log.
    pub log: EventLog,
    /// Id of the event. An event that was appended before keeps its position.
    pub event: EventId,
    /// Name of the SSE event.
    pub name: &'a str,
    /// Data of the SSE event.
    pub data: &'a str,
}

/// The SSE history: the common log and a log for each user.
#[derive(Clone)]
pub struct History {
    redis: RedisClient,
    append: Script,
    clock: Script,
}

impl History {
    /// The history in this Redis.
    pub fn new(redis: RedisClient) -> Self {
        Self {
            redis,
            append: Script::new(APPEND),
            clock: Script::new(CLOCK),
        }
    }

    /// Appends events in one round trip and returns their positions. Appending is idempotent.
    ///
    /// # Errors
    /// [`Problem::Unavailable`] without Redis; then some events may have been appended.
    pub async fn append(&self, events: &[Append<'_>]) -> Result<Vec<Position>, Problem> {
        let mut pipe = redis::pipe();
        for event in events {
            let (max_len, ttl) = match event.log {
                EventLog::All => (ALL_MAX_LEN, 0),
                EventLog::User(_) => (USER_MAX_LEN, USER_TTL.as_secs()),
            };
            let mut call = self.append.key(event.log.key());
            call.key(event.log.seen_key())
                .arg(max_len)
                .arg(ttl)
                .arg(event.event.to_string())
                .arg(event.name)
                .arg(event.data);
            pipe.invoke_script(&call);
        }
        let ids: Vec<String> = self.query_with_script(&pipe, &self.append).await?;
        ids.iter()
            .map(|id| {
                Position::parse(id)
                    .ok_or_else(|| Problem::internal(format!("Redis answered XADD with {id:?}")))
            })
            .collect()
    }

    /// Runs a pipeline that invokes a script, and loads the script first when Redis does not have it.
    async fn query_with_script<T: FromRedisValue>(
        &self,
        pipe: &Pipeline,
        script: &Script,
    ) -> Result<T, Problem> {
        let mut redis = self.redis.clone();
        let result: redis::RedisResult<T> = pipe.query_async(&mut redis).await;
        match result {
            Err(error) if error.code() == Some("NOSCRIPT") => {
                script.load_async(&mut redis).await?;
                Ok(pipe.query_async(&mut redis).await?)
            }
            result => Ok(result?),
        }
    }

    /// Runs a pipeline after reading the clock of Redis.
    async fn with_clock<T: FromRedisValue>(&self, rest: &Pipeline) -> Result<(Clock, T), Problem> {
        let mut pipe = redis::pipe();
        // The clock first, so that no position is older than the time that it is compared with.
        pipe.invoke_script(&self.clock.key(EPOCH_KEY));
        for command in rest.cmd_iter() {
            pipe.add_command(command.clone());
        }
        let replies: Vec<Value> = self.query_with_script(&pipe, &self.clock).await?;
        let mut replies = replies.into_iter();
        let (complete_since, now_ms, run) =
            redis::from_redis_value(replies.next().unwrap_or(Value::Nil))
                .map_err(Problem::internal)?;
        let rest =
            redis::from_redis_value(Value::Array(replies.collect())).map_err(Problem::internal)?;
        let clock = Clock {
            complete_since,
            now_ms,
            run,
        };
        Ok((clock, rest))
    }

    /// The newest positions of these logs, in one round trip.
    ///
    /// # Errors
    /// [`Problem::Unavailable`] without Redis.
    pub async fn tips(&self, logs: &[EventLog]) -> Result<Vec<Position>, Problem> {
        let mut pipe = redis::pipe();
        for log in logs {
            pipe.xrevrange_count(log.key(), "+", "-", 1);
        }
        let (clock, newest): (_, Vec<StreamRangeReply>) = self.with_clock(&pipe).await?;
        let empty = Position {
            epoch: clock.now_ms,
            n: 0,
        };
        let tips = newest.iter().map(|newest| clock.newest_position(newest));
        Ok(tips.map(|tip| tip.unwrap_or(empty)).collect())
    }

    /// The newest position of a log.
    ///
    /// # Errors
    /// [`Problem::Unavailable`] without Redis.
    pub async fn tip(&self, log: EventLog) -> Result<Position, Problem> {
        Ok(self.tips(&[log]).await?.pop().unwrap_or_default())
    }

    /// The newest positions of both logs of a user.
    ///
    /// # Errors
    /// [`Problem::Unavailable`] without Redis.
    pub async fn cursor(&self, user: UserId) -> Result<Cursor, Problem> {
        let tips = self.tips(&[EventLog::User(user), EventLog::All]).await?;
        let [own, all] = tips[..] else {
            return Err(Problem::internal(
                "Redis returned a different number of logs",
            ));
        };
        Ok(Cursor::of(user, own, all))
    }

    /// At most `limit` entries after `position`, or the reason why the log no longer has all of them.
    ///
    /// # Errors
    /// [`Problem::Unavailable`] without Redis.
    pub async fn after(
        &self,
        log: EventLog,
        position: Position,
        limit: usize,
    ) -> Result<Result<Vec<Entry>, ReplayGap>, Problem> {
        // No entry has the largest number, and Redis refuses a range after it.
        let Some(n) = position.n.checked_add(1) else {
            return Ok(Err(ReplayGap::Unknown));
        };
        let next = Position { n, ..position };
        let mut pipe = redis::pipe();
        // The entries are read before the oldest one: a trim in between looks like a loss, which is harmless. In the other order
        // a loss would be missed.
        pipe.xrange_count(log.key(), next.to_string(), "+", limit)
            .xrange_count(log.key(), "-", "+", 1)
            .xrevrange_count(log.key(), "+", "-", 1);
        let (clock, [entries, oldest, newest]): (_, [StreamRangeReply; 3]) =
            self.with_clock(&pipe).await?;
        let newest = clock.newest_position(&newest);
        let bounds = LogBounds {
            oldest: newest.and_then(|_| Position::parse(&oldest.ids.first()?.id)),
            newest,
            clock,
            expires: log != EventLog::All,
        };
        if let Err(lost) = bounds.check(position) {
            return Ok(Err(lost));
        }
        if newest.is_none() {
            return Ok(Ok(Vec::new()));
        }
        Ok(Ok(entries.ids.iter().filter_map(entry).collect()))
    }
}

/// The clock of the Redis server, in milliseconds since 1970.
pub(crate) struct Clock {
    /// Time since which Redis has lost no data.
    pub(crate) complete_since: u64,
    pub(crate) now_ms: u64,
    /// Run of the server.
    pub(crate) run: String,
}

impl Clock {
    /// Position of the newest entry, given as a range of one. A log whose newest entry is of another run counts as empty: later
    /// entries of that run may be lost.
    fn newest_position(&self, newest: &StreamRangeReply) -> Option<Position> {
        let entry = newest.ids.first()?;
        let run: Option<String> = entry.get("run");
        (run.as_deref() == Some(&self.run))
            .then(|| Position::parse(&entry.id))
            .flatten()
    }
}

/// Bounds of a log, which decide whether the entries after a position are complete.
pub(crate) struct LogBounds {
    pub(crate) oldest: Option<Position>,
    pub(crate) newest: Option<Position>,
    pub(crate) clock: Clock,
    pub(crate) expires: bool,
}

impl LogBounds {
    /// Whether the log still has every entry after `position`.
    pub(crate) fn check(&self, position: Position) -> Result<(), ReplayGap> {
        let ttl_ms = u64::try_from(USER_TTL.as_millis()).unwrap_or(u64::MAX);
        if position.epoch > self.clock.now_ms {
            return Err(ReplayGap::Unknown);
        }
        if let (Some(oldest), Some(newest)) = (self.oldest, self.newest)
            && newest.epoch == position.epoch
            && position.n > 0
        {
            return if position.n > newest.n {
                Err(ReplayGap::Unknown)
            } else if position.n + 1 < oldest.n {
                Err(ReplayGap::Expired)
            } else {
                Ok(())
            };
        }
        // From here on the position belongs to an earlier log than the present one.
        if position.epoch < self.clock.complete_since {
            return Err(ReplayGap::Unknown);
        }
        if position.n > 0 || (self.expires && self.clock.now_ms - position.epoch >= ttl_ms) {
            return Err(ReplayGap::Expired);
        }
        match self.oldest {
            // The log was empty then and is empty now.
            None => Ok(()),
            // The log was empty then, and has every entry since.
            Some(oldest) if oldest.n == 1 && position.epoch <= oldest.epoch => Ok(()),
            Some(_) => Err(ReplayGap::Expired),
        }
    }
}

fn entry(reply: &redis::streams::StreamId) -> Option<Entry> {
    let at = Position::parse(&reply.id)?;
    let name: String = reply.get("name")?;
    let data: Vec<u8> = reply.get("data")?;
    Some(Entry {
        at,
        name,
        data: data.into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(epoch: u64, n: u64) -> Position {
        Position { epoch, n }
    }

    #[test]
    fn a_cursor_is_parsed_from_its_text() {
        let user = UserId::new();
        for cursor in [
            Cursor::of(user, at(0, 0), at(u64::MAX, u64::MAX)),
            Cursor::of(user, at(1_769_850_902_123, 17), at(1_769_000_000_000, 204)),
        ] {
            let text = cursor.to_string();
            assert_eq!(Cursor::parse(&text, user), Some(cursor), "{cursor}");
        }
    }

    #[test]
    fn a_cursor_of_another_user_is_refused() {
        // Their ids were made in the same millisecond.
        let [ann, bob] = [0x5_1234, 0x5_1235].map(|end| UserId(uuid::Uuid::from_u64_pair(7, end)));
        let anns = Cursor::of(ann, at(5_000, 3), at(4_000, 9)).to_string();
        assert!(Cursor::parse(&anns, ann).is_some());
        assert_eq!(Cursor::parse(&anns, bob), None);
    }

    #[test]
    fn malformed_cursors_are_refused() {
        let user = UserId(uuid::Uuid::from_u64_pair(7, 5));
        assert!(Cursor::parse("1-2.3-4.5", user).is_some());
        for text in [
            "",
            "1",
            "1-2",
            "1-2.3",
            "1-2.3-4",
            "1-2.3-4.",
            "1-2.3-4.6",
            "1-2.3-4.5.5",
            "1-2.3-4.5 ",
            "+1-2.3-4.5",
            "1-2.3-4294967296zzzzzzzzzzzz.5",
            "A-1.1-1.5",
            "한-1.1-1.5",
        ] {
            assert_eq!(Cursor::parse(text, user), None, "{text:?}");
        }
    }

    #[test]
    fn a_loss_is_distinguished_from_no_new_entries() {
        let bounds = |oldest, newest, complete_since| LogBounds {
            oldest,
            newest,
            clock: Clock {
                complete_since,
                now_ms: 90_000_000,
                run: "0a1b2c3d".to_owned(),
            },
            expires: true,
        };
        let normal = bounds(Some(at(5_000, 11)), Some(at(5_000, 20)), 1_000);
        assert_eq!(normal.check(at(5_000, 20)), Ok(()), "nothing new");
        assert_eq!(
            normal.check(at(5_000, 10)),
            Ok(()),
            "the oldest entry is the next one"
        );
        assert_eq!(
            normal.check(at(5_000, 9)),
            Err(ReplayGap::Expired),
            "trimmed"
        );
        assert_eq!(
            normal.check(at(5_000, 21)),
            Err(ReplayGap::Unknown),
            "Redis lost its newest entries"
        );
        assert_eq!(
            normal.check(at(4_000, 3)),
            Err(ReplayGap::Expired),
            "an earlier log of the user"
        );
        assert_eq!(
            normal.check(at(99_000_000, 3)),
            Err(ReplayGap::Unknown),
            "from the future"
        );
        assert_eq!(
            normal.check(at(4_000, 0)),
            Err(ReplayGap::Expired),
            "empty then, trimmed since"
        );
        let young = bounds(Some(at(80_000_000, 1)), Some(at(80_000_000, 2)), 1_000);
        assert_eq!(
            young.check(at(79_000_000, 0)),
            Ok(()),
            "empty then, complete since"
        );
        assert_eq!(
            young.check(at(2_000, 0)),
            Err(ReplayGap::Expired),
            "so long ago that another log may have begun and expired"
        );
        let empty = bounds(None, None, 70_000_000);
        assert_eq!(empty.check(at(75_000_000, 0)), Ok(()), "still empty");
        assert_eq!(
            empty.check(at(75_000_000, 4)),
            Err(ReplayGap::Expired),
            "the log has expired"
        );
        assert_eq!(
            empty.check(at(60_000_000, 0)),
            Err(ReplayGap::Unknown),
            "Redis was emptied since"
        );
    }

    #[test]
    fn the_first_entry_of_a_log_follows_the_lowest_position() {
        assert_eq!(at(7, 1).previous(), Position::default());
        assert_eq!(at(7, 2).previous(), at(7, 1));
    }
}
