//! A channel with subscribers on this node.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
};

use parking_lot::Mutex;

use crate::{
    delivery::{
        check::check,
        destination::ChannelStream,
        disconnect::CloseReason,
        hub::subscriber::{
            Connection, FrameFormat, Payload, Subscriber, SubscribersByFormat, deliver_message,
            encode,
        },
        sequence::{Offer, Sequence},
        writers::{Queued, Writers},
    },
    ids::{ChannelId, EventId, UserId},
    model::event::{Change, Part},
};

/// Events without a position that a room remembers, to drop duplicates from Kafka. More than a channel has in the seconds
/// after which the outbox publishes an unacknowledged event again.
const RECENT_EVENTS: usize = 64;
/// Changes that a room delivered before Kafka carried them, of the seconds for which a node reads the outbox.
const MAX_EARLY_CHANGES: usize = 256;
/// Deleted messages that a room remembers, to drop edits that come later.
const MAX_DELETED: usize = 256;
/// Changes of missing messages that a room holds back. A repair takes milliseconds; of more changes the oldest are delivered.
const MAX_HELD_CHANGES: usize = 256;

/// From where an event without a position comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// Kafka, in order.
    Kafka,
    /// The outbox, which is read while Kafka is not known to work.
    Outbox,
}

#[derive(Default)]
pub(super) struct RoomState {
    pub(super) sequence: Sequence<i64, Payload>,
    pub(super) subscribers: SubscribersByFormat,
    /// Pending subscriptions; while there are any, the room stays.
    pub(super) pending: usize,
    /// Users removed while subscriptions are pending, with the time of the check; subscriptions that began before are refused.
    pub(super) removed_at: HashMap<UserId, u64>,
    /// Whether only participants of the channel may subscribe.
    pub(super) private: bool,
    recent_event_ids: VecDeque<EventId>,
    /// Changes that were read from the outbox, and that Kafka has not carried yet.
    early_changes: VecDeque<(EventId, Change)>,
    /// Positions of the messages that were deleted last.
    deleted: VecDeque<i64>,
    /// Changes of messages that are still missing, with the positions of these messages.
    held_changes: VecDeque<(i64, Payload)>,
    /// Whether the channel was deleted.
    pub(super) closed: bool,
}

impl RoomState {
    /// Whether clients must not get this event any more: they have had it, or they have had a later change from the outbox.
    ///
    /// Kafka carries the changes of a channel in their order. So until it carries the change that was read from the outbox, it
    /// carries earlier ones.
    fn is_late(&mut self, event: EventId, change: Option<&Change>, source: Source) -> bool {
        if source == Source::Kafka {
            if let Some(at) = self.early_changes.iter().position(|(id, _)| *id == event) {
                self.early_changes.remove(at);
                return true;
            }
            let is_replaced =
                |of: &Change| self.early_changes.iter().any(|(_, by)| by.replaces(of));
            if change.is_some_and(is_replaced) {
                return true;
            }
        }
        // Two nodes may have published an edit and the deletion in the other order.
        let is_of_deleted = |of: &Change| of.part != Part::Whole && self.deleted.contains(&of.seq);
        if change.is_some_and(is_of_deleted) {
            return true;
        }
        if self.recent_event_ids.contains(&event) {
            return true;
        }
        push_bounded(&mut self.recent_event_ids, event, RECENT_EVENTS);
        if let Some(change) = change
            && change.part == Part::Whole
        {
            push_bounded(&mut self.deleted, change.seq, MAX_DELETED);
        }
        if source == Source::Outbox
            && let Some(change) = change
        {
            self.early_changes
                .retain(|(_, earlier)| !change.replaces(earlier));
            let early = (event, change.clone());
            push_bounded(&mut self.early_changes, early, MAX_EARLY_CHANGES);
        }
        false
    }

    /// Delivers an event to the subscriptions for events. It changes the message at the position `of`, if there is one.
    fn deliver_event(
        &mut self,
        channel: ChannelId,
        payload: &Payload,
        of: Option<i64>,
        queued: &mut Queued,
    ) {
        let before = queued.frames;
        for ((stream, frame_format), subscribers) in &mut self.subscribers {
            if *stream == ChannelStream::Events {
                let frame = encode(frame_format, channel, *stream, payload, &[]);
                let is_visible = |subscriber: &&mut Subscriber| {
                    of.is_none_or(|of| of > subscriber.visible_after)
                };
                for subscriber in subscribers.values_mut().filter(is_visible) {
                    subscriber.deliver(frame.clone(), queued);
                }
            }
        }
        payload.set_deliveries(queued.frames - before);
    }

    /// Delivers the changes of messages that are no longer missing.
    fn release_changes(&mut self, channel: ChannelId, queued: &mut Queued) {
        if self.held_changes.is_empty() {
            return;
        }
        let position = self.sequence.position();
        for (after, payload) in std::mem::take(&mut self.held_changes) {
            if position.is_none_or(|position| after <= position) {
                self.deliver_event(channel, &payload, Some(after), queued);
            } else {
                self.held_changes.push_back((after, payload));
            }
        }
    }
}

/// Appends to a queue. When the queue is full, removes the oldest item, and returns it.
fn push_bounded<T>(queue: &mut VecDeque<T>, item: T, max: usize) -> Option<T> {
    let oldest = if queue.len() == max {
        queue.pop_front()
    } else {
        None
    };
    queue.push_back(item);
    oldest
}

/// A channel with subscribers on this node.
pub(super) struct Room {
    pub(super) channel: ChannelId,
    pub(super) state: Mutex<RoomState>,
    pub(super) writers: Arc<Writers>,
}

impl Room {
    /// A room without subscribers.
    pub(super) fn new(channel: ChannelId, writers: Arc<Writers>) -> Self {
        Self {
            channel,
            state: Mutex::default(),
            writers,
        }
    }

    pub(super) fn is_subscribed(
        &self,
        connection: &Connection,
        stream: ChannelStream,
        frame_format: &FrameFormat,
    ) -> bool {
        let state = self.state.lock();
        let subscribers = state.subscribers.get(&(stream, frame_format.clone()));
        subscribers.is_some_and(|subscribers| subscribers.contains_key(&connection.id))
    }

    /// Whether the room has neither subscribers nor pending subscriptions.
    pub(super) fn is_unused(&self) -> bool {
        let state = self.state.lock();
        state.subscribers.is_empty() && state.pending == 0
    }

    pub(super) fn unsubscribe(
        &self,
        connection: &Connection,
        stream: ChannelStream,
        frame_format: &FrameFormat,
    ) {
        let key = (stream, frame_format.clone());
        let mut state = self.state.lock();
        if let Some(subscribers) = state.subscribers.get_mut(&key) {
            subscribers.remove(&connection.id);
            if subscribers.is_empty() {
                state.subscribers.remove(&key);
            }
        }
    }

    /// Ends the subscriptions of a user who had no right to the channel at a check that began at `checked_at`.
    ///
    /// The user may have got the right after the check and subscribed since. The connection of a subscription that was added
    /// since is closed, so that the client subscribes again. With `unknown` the check failed, and every connection closes.
    pub(super) fn remove_user(&self, user: UserId, checked_at: u64, unknown: bool) {
        let mut state = self.state.lock();
        state.subscribers.retain(|_, subscribers| {
            subscribers.retain(|_, subscriber| {
                let kept = subscriber.connection.user != user;
                let added_since = check!(AddedSince, subscriber.added_at >= checked_at);
                if !kept && (unknown || added_since) {
                    let send_queue = &subscriber.connection.send_queue;
                    send_queue.close(CloseReason::Unverified);
                }
                kept
            });
            !subscribers.is_empty()
        });
        if state.pending > 0 {
            let removed_at = state.removed_at.entry(user).or_default();
            *removed_at = checked_at.max(*removed_at);
        }
    }

    /// Ends all subscriptions; pending ones are refused.
    pub(super) fn close(&self) {
        let mut state = self.state.lock();
        state.closed = true;
        state.subscribers.clear();
    }

    /// The subscribed users, if the channel is private.
    pub(super) fn private_subscribers(&self) -> Vec<UserId> {
        let state = self.state.lock();
        if !state.private {
            return Vec::new();
        }
        let subscribers = state.subscribers.values().flat_map(HashMap::values);
        subscribers
            .map(|subscriber| subscriber.connection.user)
            .collect()
    }

    /// Number of subscriptions.
    pub(super) fn subscriptions(&self) -> usize {
        let state = self.state.lock();
        state.subscribers.values().map(HashMap::len).sum()
    }

    /// Position of the last delivered message; `None` until a first subscription is active.
    pub(super) fn position(&self) -> Option<i64> {
        self.state.lock().sequence.position()
    }

    /// Delivers a message, or holds it back while an earlier one is missing.
    pub(super) fn offer(&self, seq: i64, payload: Payload) -> Offer {
        let mut state = self.state.lock();
        let RoomState {
            sequence,
            subscribers,
            ..
        } = &mut *state;
        let (bytes, mut queued) = (payload.body.len(), Queued::default());
        let offer = sequence.offer(seq - 1, seq, bytes, payload, |seq, payload| {
            deliver_message(self.channel, subscribers, seq, &payload, &mut queued);
        });
        state.release_changes(self.channel, &mut queued);
        drop(state);
        self.writers.write(queued);
        offer
    }

    /// Delivers an event without a position, unless it is a duplicate or late, or changes a message that is still missing: clients
    /// would see the old message after its change. True when it is held back.
    pub(super) fn broadcast(
        &self,
        event: EventId,
        payload: &Payload,
        change: Option<&Change>,
        source: Source,
    ) -> bool {
        let mut state = self.state.lock();
        if state.is_late(event, change, source) {
            return false;
        }
        let after = change.map(|change| change.seq);
        let mut queued = Queued::default();
        if let (Some(after), Some(position)) = (after, state.sequence.position())
            && after > position
        {
            let held = (after, payload.clone());
            if let Some((of, oldest)) =
                push_bounded(&mut state.held_changes, held, MAX_HELD_CHANGES)
            {
                state.deliver_event(self.channel, &oldest, Some(of), &mut queued);
            }
            drop(state);
            self.writers.write(queued);
            return true;
        }
        state.deliver_event(self.channel, payload, after, &mut queued);
        drop(state);
        self.writers.write(queued);
        false
    }

    /// Forgets which changes were read from the outbox, now that Kafka carries all of them again.
    pub(super) fn forget_early_changes(&self) {
        self.state.lock().early_changes.clear();
    }

    /// Delivers messages read from the store: all that it has up to `through`.
    pub(super) fn repair(&self, messages: Vec<(i64, Payload)>, through: i64) {
        let mut state = self.state.lock();
        let RoomState {
            sequence,
            subscribers,
            ..
        } = &mut *state;
        let mut queued = Queued::default();
        let mut deliver = |seq, payload: Payload| {
            deliver_message(self.channel, subscribers, seq, &payload, &mut queued);
        };
        for (seq, payload) in messages {
            // Deleted messages leave holes, so the previous message is the one before it in the store.
            let previous = sequence.position().unwrap_or_default().min(seq - 1);
            let bytes = payload.body.len();
            sequence.offer(previous, seq, bytes, payload, &mut deliver);
        }
        sequence.fill(through, deliver);
        state.release_changes(self.channel, &mut queued);
        drop(state);
        self.writers.write(queued);
    }

    /// Marks a repair as begun; see [`Sequence::begin_repair`].
    pub(super) fn begin_repair(&self) -> bool {
        self.state.lock().sequence.begin_repair()
    }

    /// Marks the repair as ended. True when a message is still missing.
    pub(super) fn end_repair(&self) -> bool {
        self.state.lock().sequence.end_repair()
    }

    /// Queues the frames held for a subscription. False when the subscription has ended.
    pub(super) fn release(
        &self,
        connection: &Connection,
        stream: ChannelStream,
        frame_format: &FrameFormat,
    ) -> bool {
        let mut state = self.state.lock();
        let subscribers = state.subscribers.get_mut(&(stream, frame_format.clone()));
        let subscriber = subscribers.and_then(|subscribers| subscribers.get_mut(&connection.id));
        subscriber.map(Subscriber::release).is_some()
    }
}
