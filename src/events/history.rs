//! The SSE history in Redis streams: `sse:user:{userId}` and `sse:all`. An event's id is assigned here, once.
//!
//! A stream's entries have the ids `E-1`, `E-2`, `E-3` …, where the epoch E is the Redis time in milliseconds when the
//! stream began. Consecutive numbers make a hole visible, and an epoch makes a stream that was lost or has expired differ
//! from the one that takes its place. Each entry also says which run of the Redis server took it: a server that was
//! restarted, or has taken another's place, may lack the newest entries, so it begins every stream anew. Commands to look
//! inside:
//!
//! ```text
//! XREVRANGE sse:all + - COUNT 3
//! ```

use std::time::Duration;

use redis::{FromRedisValue, Script, Value, aio::ConnectionManager, streams::StreamRangeReply};

use crate::{
    events::position::{Cursor, Entry, EventLog, Position, ReplayGap},
    ids::{EventId, UserId},
    problem::Problem,
};

/// Entries kept for one user; trimmed in steps of Redis' own.
const USER_MAX_LEN: usize = 1_000;
/// Entries kept of those for everyone.
const ALL_MAX_LEN: usize = 10_000;
/// A user's stream goes this long after its last event.
const USER_TTL: Duration = Duration::from_hours(24);
/// Says since when this Redis has kept everything, and in which run: set when it is missing or of another run, so a Redis
/// that lost its data, or some of it, shows.
const EPOCH_KEY: &str = "sse:epoch";

/// The beginning of the server's run id, which is another after each start.
macro_rules! run {
    () => {
        "local run = string.sub(string.match(redis.call('INFO', 'server'), 'run_id:(%x+)'), 1, 8)\n"
    };
}

/// Appends once per event id and returns the entry's id. KEYS: stream, seen; ARGV: entries to keep, seconds to live or 0,
/// event id, name, data.
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
        -- Another server's clock may have been ahead of this one's.
        local before = string.match(tip[1], '^(%d+)-')
        if tonumber(before) >= tonumber(epoch) then epoch = string.format('%d', tonumber(before) + 1) end
    end
    redis.call('DEL', KEYS[1], KEYS[2])
end
local id = epoch .. '-' .. string.format('%d', n)
redis.call('XADD', KEYS[1], 'MAXLEN', '~', ARGV[1], id, 'eid', ARGV[3], 'name', ARGV[4], 'data', ARGV[5], 'run', run)
redis.call('ZADD', KEYS[2], n, ARGV[3])
-- As many as there are entries: an event may be appended again as long as its row is in the outbox.
redis.call('ZREMRANGEBYRANK', KEYS[2], 0, -1 - ARGV[1])
if ARGV[2] ~= '0' then
    redis.call('EXPIRE', KEYS[1], ARGV[2])
    redis.call('EXPIRE', KEYS[2], ARGV[2])
end
return id
"
);

/// Returns since when this Redis has kept everything and its clock, both in milliseconds, and its run. KEYS: epoch.
const CLOCK: &str = concat!(
    run!(),
    r"
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

/// What is to be appended.
pub struct Append<'a> {
    /// To which stream.
    pub stream: EventLog,
    /// The event, which may have been appended before.
    pub event: EventId,
    /// The SSE event's name.
    pub name: &'a str,
    /// Its data.
    pub data: &'a str,
}

/// The history of every user.
#[derive(Clone)]
pub struct History {
    redis: ConnectionManager,
    append: Script,
    clock: Script,
}

impl History {
    /// The history in that Redis.
    pub fn new(redis: ConnectionManager) -> Self {
        Self {
            redis,
            append: Script::new(APPEND),
            clock: Script::new(CLOCK),
        }
    }

    /// Appends events in one round trip and returns their positions.
    ///
    /// # Errors
    /// [`Problem::Unavailable`] without Redis; then some may have been appended, and doing it again does no harm.
    pub async fn append(&self, events: &[Append<'_>]) -> Result<Vec<Position>, Problem> {
        let mut pipe = redis::pipe();
        for event in events {
            let (kept, ttl) = match event.stream {
                EventLog::All => (ALL_MAX_LEN, 0),
                EventLog::User(_) => (USER_MAX_LEN, USER_TTL.as_secs()),
            };
            let mut call = self.append.key(event.stream.key());
            call.key(event.stream.seen_key())
                .arg(kept)
                .arg(ttl)
                .arg(event.event.to_string())
                .arg(event.name)
                .arg(event.data);
            pipe.invoke_script(&call);
        }
        let mut redis = self.redis.clone();
        let mut ids: redis::RedisResult<Vec<String>> = pipe.query_async(&mut redis).await;
        if ids
            .as_ref()
            .is_err_and(|error| error.code() == Some("NOSCRIPT"))
        {
            self.append.load_async(&mut redis).await?;
            ids = pipe.query_async(&mut redis).await;
        }
        ids?.iter()
            .map(|id| {
                Position::parse(id)
                    .ok_or_else(|| Problem::internal(format!("Redis answered XADD with {id:?}")))
            })
            .collect()
    }

    /// Runs a pipeline in front of which Redis tells its clock and since when it has kept everything.
    async fn with_clock<T: FromRedisValue>(
        &self,
        rest: &mut redis::Pipeline,
    ) -> Result<(Clock, T), Problem> {
        let mut redis = self.redis.clone();
        let mut pipe = redis::pipe();
        // Before any position is given out, so that none is older than what it is compared with.
        pipe.invoke_script(&self.clock.key(EPOCH_KEY));
        for command in rest.cmd_iter() {
            pipe.add_command(command.clone());
        }
        let mut answer: redis::RedisResult<Vec<Value>> = pipe.query_async(&mut redis).await;
        if answer
            .as_ref()
            .is_err_and(|error| error.code() == Some("NOSCRIPT"))
        {
            self.clock.load_async(&mut redis).await?;
            answer = pipe.query_async(&mut redis).await;
        }
        let mut answer = answer?.into_iter();
        let (kept_since, now_ms, run) =
            redis::from_redis_value(answer.next().unwrap_or(Value::Nil))
                .map_err(Problem::internal)?;
        let rest =
            redis::from_redis_value(Value::Array(answer.collect())).map_err(Problem::internal)?;
        let clock = Clock {
            kept_since,
            now_ms,
            run,
        };
        Ok((clock, rest))
    }

    /// The positions behind the newest entries of these streams, in one round trip.
    ///
    /// # Errors
    /// [`Problem::Unavailable`] without Redis.
    pub async fn tips(&self, streams: &[EventLog]) -> Result<Vec<Position>, Problem> {
        let mut pipe = redis::pipe();
        for stream in streams {
            pipe.xrevrange_count(stream.key(), "+", "-", 1);
        }
        let (clock, newest): (_, Vec<StreamRangeReply>) = self.with_clock(&mut pipe).await?;
        let empty = Position {
            epoch: clock.now_ms,
            n: 0,
        };
        let tips = newest.iter().map(|newest| clock.end_of(newest));
        Ok(tips.map(|tip| tip.unwrap_or(empty)).collect())
    }

    /// The position behind the newest entry.
    ///
    /// # Errors
    /// [`Problem::Unavailable`] without Redis.
    pub async fn tip(&self, stream: EventLog) -> Result<Position, Problem> {
        Ok(self.tips(&[stream]).await?.pop().unwrap_or_default())
    }

    /// The positions behind the newest entries of both streams of a user.
    ///
    /// # Errors
    /// [`Problem::Unavailable`] without Redis.
    pub async fn cursor(&self, user: UserId) -> Result<Cursor, Problem> {
        let tips = self.tips(&[EventLog::User(user), EventLog::All]).await?;
        let [own, all] = tips[..] else {
            return Err(Problem::internal("Redis answered other than it was asked"));
        };
        Ok(Cursor::of(user, own, all))
    }

    /// The entries after `position`, `most` at most, or why they cannot be told.
    ///
    /// # Errors
    /// [`Problem::Unavailable`] without Redis.
    pub async fn after(
        &self,
        stream: EventLog,
        position: Position,
        most: usize,
    ) -> Result<Result<Vec<Entry>, ReplayGap>, Problem> {
        // No entry has the last number there is, and Redis refuses to look behind it.
        let Some(n) = position.n.checked_add(1) else {
            return Ok(Err(ReplayGap::Unknown));
        };
        let next = Position { n, ..position };
        let mut pipe = redis::pipe();
        // The entries before the oldest one: if a trim comes between, it looks like a loss and is none; the other way round
        // a loss would not be seen.
        pipe.xrange_count(stream.key(), next.to_string(), "+", most)
            .xrange_count(stream.key(), "-", "+", 1)
            .xrevrange_count(stream.key(), "+", "-", 1);
        let (clock, [entries, oldest, newest]): (_, [StreamRangeReply; 3]) =
            self.with_clock(&mut pipe).await?;
        let newest = clock.end_of(&newest);
        let known = Known {
            oldest: newest.and_then(|_| Position::parse(&oldest.ids.first()?.id)),
            newest,
            clock,
            expires: stream != EventLog::All,
        };
        if let Err(lost) = known.check(position) {
            return Ok(Err(lost));
        }
        if newest.is_none() {
            return Ok(Ok(Vec::new()));
        }
        Ok(Ok(entries.ids.iter().filter_map(entry).collect()))
    }
}

/// What Redis says of itself, in milliseconds since 1970.
struct Clock {
    /// Since when it has kept everything.
    kept_since: u64,
    now_ms: u64,
    /// Which run of the server it is.
    run: String,
}

impl Clock {
    /// The position of the newest entry, given as a range of one. A stream whose newest entry is of another run counts as
    /// empty: nobody knows what came behind it.
    fn end_of(&self, newest: &StreamRangeReply) -> Option<Position> {
        let entry = newest.ids.first()?;
        let run: Option<String> = entry.get("run");
        (run.as_deref() == Some(&self.run))
            .then(|| Position::parse(&entry.id))
            .flatten()
    }
}

/// What is known of a stream when somebody asks for what came after a position.
struct Known {
    oldest: Option<Position>,
    newest: Option<Position>,
    clock: Clock,
    expires: bool,
}

impl Known {
    /// Whether everything after `position` is still there.
    fn check(&self, position: Position) -> Result<(), ReplayGap> {
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
        // From here on the stream that the position speaks of is not the one that is there.
        if position.epoch < self.clock.kept_since {
            return Err(ReplayGap::Unknown);
        }
        if position.n > 0 || (self.expires && self.clock.now_ms - position.epoch >= ttl_ms) {
            return Err(ReplayGap::Expired);
        }
        match self.oldest {
            // It was empty then and is empty now.
            None => Ok(()),
            // It was empty then, and everything since is there.
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
    fn a_cursor_survives_its_wire_form() {
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
    fn a_cursor_is_its_owners_alone() {
        // Made in the same millisecond.
        let [ann, bob] = [0x5_1234, 0x5_1235].map(|end| UserId(uuid::Uuid::from_u64_pair(7, end)));
        let anns = Cursor::of(ann, at(5_000, 3), at(4_000, 9)).to_string();
        assert!(Cursor::parse(&anns, ann).is_some());
        assert_eq!(Cursor::parse(&anns, bob), None);
    }

    #[test]
    fn anything_else_is_not_a_cursor() {
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
    fn a_hole_in_the_history_is_told_apart_from_nothing_new() {
        let known = |oldest, newest, kept_since| Known {
            oldest,
            newest,
            clock: Clock {
                kept_since,
                now_ms: 90_000_000,
                run: "0a1b2c3d".to_owned(),
            },
            expires: true,
        };
        let normal = known(Some(at(5_000, 11)), Some(at(5_000, 20)), 1_000);
        assert_eq!(normal.check(at(5_000, 20)), Ok(()), "nothing new");
        assert_eq!(
            normal.check(at(5_000, 10)),
            Ok(()),
            "the oldest kept is the next"
        );
        assert_eq!(
            normal.check(at(5_000, 9)),
            Err(ReplayGap::Expired),
            "trimmed"
        );
        assert_eq!(
            normal.check(at(5_000, 21)),
            Err(ReplayGap::Unknown),
            "Redis lost its newest part"
        );
        assert_eq!(
            normal.check(at(4_000, 3)),
            Err(ReplayGap::Expired),
            "an earlier stream of that user"
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
        let young = known(Some(at(80_000_000, 1)), Some(at(80_000_000, 2)), 1_000);
        assert_eq!(
            young.check(at(79_000_000, 0)),
            Ok(()),
            "empty then, all of it is there"
        );
        assert_eq!(
            young.check(at(2_000, 0)),
            Err(ReplayGap::Expired),
            "so long ago that a stream may have come and gone"
        );
        let empty = known(None, None, 70_000_000);
        assert_eq!(empty.check(at(75_000_000, 0)), Ok(()), "still empty");
        assert_eq!(
            empty.check(at(75_000_000, 4)),
            Err(ReplayGap::Expired),
            "it is gone"
        );
        assert_eq!(
            empty.check(at(60_000_000, 0)),
            Err(ReplayGap::Unknown),
            "Redis was emptied since"
        );
    }

    #[test]
    fn a_streams_first_entry_follows_everything_before_it() {
        assert_eq!(at(7, 1).previous(), Position::default());
        assert_eq!(at(7, 2).previous(), at(7, 1));
    }
}
