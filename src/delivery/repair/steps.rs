//! The decisions of repairs and audits, without IO: which read a repair needs next, and what an answer changes.
//!
//! The tasks in [`repair`](super) read from the stores. The tests in `delivery::simulation` answer from values.

use std::collections::{HashSet, VecDeque};

use crate::{
    delivery::{Delivery, Gap, Removal, check::check, hub::Payload},
    events::position::{Entry, EventLog, Position, ReplayGap},
    ids::ChannelId,
    limits::TURN_BYTES,
    model::{Control, Message},
};

/// A read of a store.
#[derive(Clone, Copy, Debug)]
pub enum Read {
    /// The position of a channel's newest message, while the node has delivered the messages up to `after`.
    Newest {
        /// The channel.
        channel: ChannelId,
        /// Position of the last delivered message.
        after: i64,
    },
    /// A page of a channel's messages.
    Messages {
        /// The channel.
        channel: ChannelId,
        /// Messages after this position.
        after: i64,
        /// Messages up to this position.
        through: i64,
    },
    /// A page of an event log's entries.
    Entries {
        /// The log.
        log: EventLog,
        /// Entries after this position.
        after: Position,
    },
    /// The newest position of an event log that has lost entries.
    Tip {
        /// The log.
        log: EventLog,
        /// Why the entries cannot be read.
        lost: ReplayGap,
    },
}

/// The answer to the [`Read`] of the same name.
#[derive(Debug)]
pub enum Answer {
    /// The position of the newest message; `None` for a deleted channel.
    Newest(Option<i64>),
    /// The messages in order. Deleted ones are missing.
    Messages(Vec<Message>),
    /// The entries in order, or the reason why the log no longer has all of them.
    Entries(Result<Vec<Entry>, ReplayGap>),
    /// The newest position.
    Tip(Position),
}

/// The next step of a [`Repair`].
#[derive(Debug)]
pub enum Step {
    /// The caller reads, and passes the answer to [`Repair::on_answer`].
    Read(Read),
    /// Events were delivered. The connections get a turn to empty their send queues.
    Yield,
    /// No event was missing at the last read, or nobody subscribes any more.
    Done,
}

/// Events that were read and are not delivered yet.
enum Undelivered {
    /// Messages of a channel: all that the store has up to `through`.
    Messages(VecDeque<Message>, i64),
    /// Entries of an event log.
    Entries(VecDeque<Entry>),
}

/// The repair of one gap.
pub struct Repair {
    gap: Gap,
    page_len: usize,
    undelivered: Option<Undelivered>,
    /// A read that follows from the answer to the one before it.
    next: Option<Read>,
    done: bool,
}

impl Repair {
    /// The repair of a gap, which reads pages of `page_len` events.
    pub fn new(gap: Gap, page_len: usize) -> Self {
        Self {
            gap,
            page_len,
            undelivered: None,
            next: None,
            done: false,
        }
    }

    /// Delivers a portion of the events that were read, or decides what to read.
    pub fn step(&mut self, delivery: &Delivery) -> Step {
        if let Some(undelivered) = self.undelivered.take() {
            self.undelivered = self.deliver(delivery, undelivered);
            return Step::Yield;
        }
        if self.done {
            return Step::Done;
        }
        let read = self.next.take().or_else(|| match self.gap {
            Gap::Channel(channel) => delivery
                .hub
                .position(channel)
                .map(|after| Read::Newest { channel, after }),
            Gap::EventLog(log) => delivery
                .sse
                .position(log)
                .map(|after| Read::Entries { log, after }),
        });
        read.map_or(Step::Done, Step::Read)
    }

    /// Takes the answer to a read.
    pub fn on_answer(&mut self, delivery: &Delivery, read: Read, answer: Answer) {
        match (read, answer) {
            // The newest position is read before the messages: a later message comes from Kafka or in the next round.
            (Read::Newest { channel, after }, Answer::Newest(Some(through))) if through > after => {
                self.next = Some(Read::Messages {
                    channel,
                    after,
                    through,
                });
            }
            (Read::Messages { through, .. }, Answer::Messages(messages)) => {
                let full = messages.len() >= self.page_len;
                let last = messages.last().filter(|_| check!(Page, full));
                let through = last.map_or(through, |message| message.seq);
                self.undelivered = Some(Undelivered::Messages(messages.into(), through));
            }
            (Read::Entries { .. }, Answer::Entries(Ok(entries))) => {
                self.done = entries.len() < self.page_len;
                if !entries.is_empty() {
                    self.undelivered = Some(Undelivered::Entries(entries.into()));
                }
            }
            (Read::Entries { log, .. }, Answer::Entries(Err(lost))) => {
                self.next = Some(Read::Tip { log, lost });
            }
            (Read::Tip { log, lost }, Answer::Tip(tip)) => {
                delivery.sse.skip_lost(log, tip, lost);
                self.done = true;
            }
            // No message is missing, or the channel was deleted.
            _ => self.done = true,
        }
    }

    /// Delivers at most about [`TURN_BYTES`], and returns the rest.
    fn deliver(&self, delivery: &Delivery, undelivered: Undelivered) -> Option<Undelivered> {
        let mut bytes = 0;
        match (self.gap, undelivered) {
            (Gap::Channel(channel), Undelivered::Messages(mut messages, through)) => {
                let mut portion = Vec::new();
                let mut delivered_through = through;
                while bytes <= TURN_BYTES
                    && let Some(message) = messages.pop_front()
                {
                    let payload = Payload::stored(&message);
                    bytes += payload.body.len();
                    portion.push((message.seq, payload));
                    delivered_through = message.seq;
                }
                if messages.is_empty() {
                    delivery.hub.repair(channel, portion, through);
                    return None;
                }
                delivery.hub.repair(channel, portion, delivered_through);
                Some(Undelivered::Messages(messages, through))
            }
            (Gap::EventLog(log), Undelivered::Entries(mut entries)) => {
                let fits = entries.iter().take_while(|entry| {
                    bytes += entry.data.len();
                    bytes <= TURN_BYTES
                });
                let later = entries.split_off(fits.count().max(1).min(entries.len()));
                delivery.sse.repair(log, entries.make_contiguous());
                (!later.is_empty()).then_some(Undelivered::Entries(later))
            }
            _ => None,
        }
    }

    /// Ends the repair. One that has succeeded begins again if an event is still missing; after a failure the audit does that.
    pub fn end(self, delivery: &Delivery, succeeded: bool) {
        if delivery.end_repair(self.gap) && succeeded {
            delivery.request_repair(self.gap);
        }
    }
}

/// Compares channels with the positions of their newest messages, read after `subscribed` was listed. Requests repairs, and
/// ends the subscriptions to deleted channels.
pub fn compare_channels(
    delivery: &Delivery,
    subscribed: &[ChannelId],
    stored: &[(ChannelId, i64)],
) {
    let existing: HashSet<ChannelId> = stored.iter().map(|(channel, _)| *channel).collect();
    for channel in subscribed.iter().filter(|id| !existing.contains(id)) {
        delivery.apply(&Control::ChannelDeleted {
            channel_id: *channel,
        });
    }
    for (channel, newest) in stored {
        let position = delivery.hub.position(*channel);
        if position.is_some_and(|position| position < *newest) {
            delivery.request_repair(Gap::Channel(*channel));
        }
    }
}

/// Compares event logs with their newest positions, read after `subscribed` was listed. Requests repairs.
pub fn compare_logs(delivery: &Delivery, subscribed: &[(EventLog, Position)], tips: &[Position]) {
    for ((log, position), tip) in subscribed.iter().zip(tips) {
        // The tip of a log without entries is the current time: it differs at each read and shows no event.
        let differs = tip != position && !(tip.n == 0 && position.n == 0);
        if differs && delivery.sse.position(*log) == Some(*position) {
            delivery.request_repair(Gap::EventLog(*log));
        }
    }
}

/// Ends the subscriptions of removed users that the store has confirmed as lost, or closes the users' connections when the store
/// did not answer. `checked_at` is a [`Hub::tick`](crate::delivery::hub::Hub::tick) from before the question.
pub fn end_memberships(
    delivery: &Delivery,
    removals: &[Removal],
    lost: Option<&[Removal]>,
    checked_at: u64,
) {
    let hub = &delivery.hub;
    for (channel, user) in lost.unwrap_or_default() {
        hub.end_membership(*channel, *user, checked_at);
    }
    if lost.is_none() {
        for (channel, user) in removals {
            hub.close_unverified(*channel, *user, checked_at);
        }
    }
}
