//! The stores of a simulated system: the channels in PostgreSQL and the SSE history in Redis.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use time::OffsetDateTime;
use uuid::Uuid;

use crate::{
    delivery::{
        Removal,
        repair::steps::{Answer, Read},
    },
    events::{
        history::{Clock, LogBounds},
        position::{Entry, EventLog, Position, ReplayGap},
    },
    ids::{ChannelId, MessageId, UserId},
    model::Message,
};

/// Time in milliseconds. The simulation begins at 1,000,000.
pub(super) type Time = u64;

/// The id of the user with this number.
pub(super) fn user_id(user: usize) -> UserId {
    UserId(Uuid::from_u64_pair(0, user as u64))
}

pub(super) fn user_number(user: UserId) -> usize {
    usize::try_from(user.0.as_u64_pair().1).expect("a small number")
}

/// The id of the channel with this number.
pub(super) fn channel_id(channel: usize) -> ChannelId {
    ChannelId(Uuid::from_u64_pair(0, channel as u64))
}

pub(super) fn channel_number(channel: ChannelId) -> usize {
    usize::try_from(channel.0.as_u64_pair().1).expect("a small number")
}

/// A channel. Message `seq` is at `seq - 1`; false when it was deleted.
pub(super) struct Channel {
    pub(super) private: bool,
    /// The participants, if the channel is private.
    pub(super) members: BTreeSet<usize>,
    /// The number of the event that last removed a participant.
    pub(super) removed: BTreeMap<usize, u64>,
    pub(super) messages: Vec<bool>,
    /// Bytes of each record.
    pub(super) record_len: usize,
    /// Bytes of each stored text.
    pub(super) stored_len: usize,
}

impl Channel {
    pub(super) fn is_readable(&self, user: usize) -> bool {
        !self.private || self.members.contains(&user)
    }

    /// Position of the newest message.
    pub(super) fn newest(&self) -> i64 {
        i64::try_from(self.messages.len()).expect("few messages")
    }

    /// Whether a message exists after position `after` and before `before`.
    pub(super) fn has_between(&self, after: i64, before: i64) -> bool {
        (after + 1..before).any(|seq| self.has(seq))
    }

    pub(super) fn has(&self, seq: i64) -> bool {
        let index = usize::try_from(seq - 1).ok();
        index.is_some_and(|index| self.messages.get(index) == Some(&true))
    }

    /// At most `limit` messages after a position, through another.
    pub(super) fn between(
        &self,
        channel: usize,
        after: i64,
        through: i64,
        limit: usize,
    ) -> Vec<Message> {
        let seqs = (after + 1..=through).filter(|seq| self.has(*seq));
        seqs.take(limit)
            .map(|seq| Message {
                id: MessageId(Uuid::nil()),
                created_at: OffsetDateTime::UNIX_EPOCH,
                updated_at: OffsetDateTime::UNIX_EPOCH,
                content: "x".repeat(self.stored_len),
                channel_id: channel_id(channel),
                author: None,
                attachments: Vec::new(),
                seq,
                reply_to: None,
                mentions: Vec::new(),
                reactions: Vec::new(),
                client_message_id: None,
            })
            .collect()
    }
}

/// An entry of an event log. `event` is the number of the event that it carries.
#[derive(Clone, Copy)]
pub(super) struct LogEntry {
    pub(super) at: Position,
    pub(super) event: u32,
    run: u64,
}

/// An event log in Redis.
#[derive(Default)]
pub(super) struct Log {
    /// The entries that Redis has.
    entries: Vec<LogEntry>,
    /// The events that Redis knows as appended.
    seen: HashMap<u32, Position>,
    /// All entries that were ever appended, in order of their positions.
    pub(super) appended: Vec<LogEntry>,
}

impl Log {
    /// Number of all appended entries up to a position.
    pub(super) fn count_through(&self, at: Position) -> usize {
        self.appended.partition_point(|entry| entry.at <= at)
    }
}

/// The SSE history. [`Self::append`] does what the script `APPEND` in `events::history` does, and [`Self::after`] what
/// `History::after` does; whether a replay is complete is decided by the same [`LogBounds`].
pub(super) struct Redis {
    run: u64,
    /// The time since which no data was lost, and the run that set it.
    epoch: Option<(Time, u64)>,
    pub(super) logs: HashMap<EventLog, Log>,
    pub(super) max_len: usize,
}

impl Redis {
    pub(super) fn new(max_len: usize) -> Self {
        Self {
            run: 1,
            epoch: None,
            logs: HashMap::new(),
            max_len,
        }
    }

    pub(super) fn log(&mut self, log: EventLog) -> &mut Log {
        self.logs.entry(log).or_default()
    }

    /// Appends an event and returns its position.
    pub(super) fn append(&mut self, now: Time, log: EventLog, event: u32) -> Position {
        let (run, max_len) = (self.run, self.max_len);
        let log = self.log(log);
        let tip = log.entries.last().copied();
        let at = match tip {
            Some(tip) if tip.run == run => {
                if let Some(at) = log.seen.get(&event) {
                    return *at;
                }
                Position {
                    n: tip.at.n + 1,
                    ..tip.at
                }
            }
            _ => {
                log.entries.clear();
                log.seen.clear();
                // Two epochs of a log do not begin in the same millisecond, also when Redis has lost the first one.
                let before = log.appended.last();
                let epoch = before.map_or(now, |before| now.max(before.at.epoch + 1));
                Position { epoch, n: 1 }
            }
        };
        let entry = LogEntry { at, event, run };
        log.entries.push(entry);
        log.seen.insert(event, at);
        log.appended.push(entry);
        let surplus = log.entries.len().saturating_sub(max_len);
        log.entries.drain(..surplus);
        at
    }

    fn clock(&mut self, now: Time) -> Clock {
        let (complete_since, _) = match self.epoch {
            Some(epoch) if epoch.1 == self.run => epoch,
            _ => *self.epoch.insert((now, self.run)),
        };
        Clock {
            complete_since,
            now_ms: now,
            run: self.run.to_string(),
        }
    }

    fn newest(&self, log: EventLog) -> Option<LogEntry> {
        let newest = *self.logs.get(&log)?.entries.last()?;
        (newest.run == self.run).then_some(newest)
    }

    /// The newest position of a log.
    pub(super) fn tip(&mut self, now: Time, log: EventLog) -> Position {
        self.clock(now);
        let empty = Position { epoch: now, n: 0 };
        self.newest(log).map_or(empty, |entry| entry.at)
    }

    /// At most `limit` entries after a position.
    pub(super) fn after(
        &mut self,
        now: Time,
        log: EventLog,
        position: Position,
        limit: usize,
    ) -> Result<Vec<Entry>, ReplayGap> {
        let clock = self.clock(now);
        let newest = self.newest(log).map(|entry| entry.at);
        let entries = self.logs.get(&log).map_or(&[][..], |log| &log.entries);
        let oldest = entries.first().map(|entry| entry.at);
        let bounds = LogBounds {
            oldest: newest.and(oldest),
            newest,
            clock,
            expires: log != EventLog::All,
        };
        bounds.check(position)?;
        if newest.is_none() {
            return Ok(Vec::new());
        }
        let later = entries.iter().filter(|entry| entry.at > position);
        let entry = |entry: &LogEntry| Entry {
            at: entry.at,
            name: "e".to_owned(),
            data: data(log, entry.event).into(),
        };
        Ok(later.take(limit).map(entry).collect())
    }

    /// Loses all data, as `FLUSHALL` does.
    pub(super) fn flush(&mut self) {
        self.epoch = None;
        for log in self.logs.values_mut() {
            log.entries.clear();
            log.seen.clear();
        }
    }

    /// Restarts, and loses the newest entries of each log.
    pub(super) fn restart(&mut self, lost: usize) {
        self.run += 1;
        for log in self.logs.values_mut() {
            let kept = log.entries.len().saturating_sub(lost);
            log.entries.truncate(kept);
        }
    }
}

/// The data of an SSE event: its log and its number.
pub(super) fn data(log: EventLog, event: u32) -> String {
    match log {
        EventLog::All => format!("all {event}"),
        EventLog::User(user) => format!("{user} {event}"),
    }
}

/// PostgreSQL and Redis.
pub(super) struct Stores {
    pub(super) channels: Vec<Channel>,
    pub(super) redis: Redis,
}

impl Stores {
    /// Answers a read of a repair.
    pub(super) fn answer(&mut self, now: Time, read: Read, page_len: usize) -> Answer {
        match read {
            Read::Newest { channel, .. } => {
                Answer::Newest(Some(self.channels[channel_number(channel)].newest()))
            }
            Read::Messages {
                channel,
                after,
                through,
            } => {
                let channel = channel_number(channel);
                Answer::Messages(self.channels[channel].between(channel, after, through, page_len))
            }
            Read::Entries { log, after } => {
                Answer::Entries(self.redis.after(now, log, after, page_len))
            }
            Read::Tip { log, .. } => Answer::Tip(self.redis.tip(now, log)),
        }
    }

    /// The positions of the newest messages of these channels.
    pub(super) fn newest(&self, channels: &[ChannelId]) -> Vec<(ChannelId, i64)> {
        let newest = |id: &ChannelId| (*id, self.channels[channel_number(*id)].newest());
        channels.iter().map(newest).collect()
    }

    /// The memberships that have ended.
    pub(super) fn lost_memberships(&self, mut members: Vec<Removal>) -> Vec<Removal> {
        members.retain(|(channel, user)| {
            let channel = &self.channels[channel_number(*channel)];
            !channel.is_readable(user_number(*user))
        });
        members
    }
}
