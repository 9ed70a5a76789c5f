//! Activates a subscription at a position in its room, with missed messages before live ones.

use std::sync::Arc;

use bytes::Bytes;

use crate::{
    delivery::{
        check::check,
        destination::ChannelStream,
        hub::{
            Hub,
            room::{Room, RoomState},
            subscriber::{Connection, FrameFormat, Payload, Subscriber, deliver_message, encode},
        },
        writers::Queued,
    },
    model::Message,
};

/// Outcome of [`PendingSubscription::add`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subscribed {
    /// The subscription is live.
    Live,
    /// Live frames are held back until [`PendingSubscription::release`]; the caller first reads the missed messages from the
    /// store and writes them.
    Replay(Unread),
    /// Refused: the channel was deleted, or the user has lost access to it.
    Lost,
}

/// Positions of missed messages that the store was not asked for yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unread {
    /// Messages after this position.
    pub after: i64,
    /// Messages up to this position.
    pub through: i64,
}

impl Unread {
    /// Removes a page of at most `page_len` messages that was read from the start.
    pub fn advance(&mut self, page: &[Message], page_len: usize) {
        let last = page.last().filter(|_| page.len() >= page_len);
        // A page that is not full is the last one: the other messages were deleted.
        self.after = last.map_or(self.through, |message| message.seq);
    }

    /// Whether the store was asked for all messages.
    pub fn is_empty(&self) -> bool {
        self.after >= self.through
    }
}

/// A subscription that the store has not confirmed yet. While it exists, its room stays.
pub struct PendingSubscription {
    hub: Arc<Hub>,
    room: Arc<Room>,
    begun_at: u64,
    /// The user sees messages after this position.
    visible_after: i64,
}

impl PendingSubscription {
    /// Must be called with the room's shard locked, so that the room is not removed meanwhile.
    pub(super) fn new(hub: Arc<Hub>, room: Arc<Room>) -> Self {
        room.state.lock().pending += 1;
        let begun_at = hub.tick();
        Self {
            hub,
            room,
            begun_at,
            visible_after: 0,
        }
    }

    /// Marks the channel as private: only participants may subscribe.
    pub fn mark_private(&self) {
        self.room.state.lock().private = true;
    }

    /// Hides the messages up to this position, and their changes.
    pub fn hide_through(&mut self, visible_after: i64) {
        self.visible_after = visible_after;
    }

    /// Adds the subscription. `last_seq` is the channel's position, read after [`Hub::begin_subscription`]. With `after`, the
    /// messages after that position are delivered too.
    ///
    /// A position that the channel has not reached belongs to another history, for example to a database that was restored
    /// since. The client then gets a gap frame for all its messages, and continues at the end.
    pub fn add(
        &self,
        connection: &Arc<Connection>,
        stream: ChannelStream,
        frame_format: &FrameFormat,
        last_seq: i64,
        after: Option<i64>,
    ) -> Subscribed {
        let mut state = self.room.state.lock();
        let RoomState {
            sequence,
            subscribers,
            removed_at,
            closed,
            ..
        } = &mut *state;
        let removed_at = removed_at.get(&connection.user);
        let removed = removed_at.is_some_and(|removed_at| *removed_at >= self.begun_at);
        if *closed || check!(Removed, removed) {
            return Subscribed::Lost;
        }
        let channel = self.room.channel;
        let mut queued = Queued::default();
        sequence.start(last_seq, |seq, payload| {
            deliver_message(channel, subscribers, seq, &payload, &mut queued);
        });
        let position = sequence.position().unwrap_or(last_seq);
        // The room may be behind the store, and so behind the messages that the client has from another node.
        let unknown = after.is_some_and(|after| after > last_seq.max(position));
        if unknown {
            let frame = self.gap_frame(stream, frame_format, self.visible_after, position);
            connection.send_queue.push_reply(frame);
        }
        let after = after.filter(|_| !unknown);
        let after = after.map(|after| after.max(self.visible_after));
        let missed_after = after.filter(|after| *after < position);
        let subscriber = Subscriber {
            connection: connection.clone(),
            added_at: self.hub.tick(),
            visible_after: self.visible_after,
            after: after.map_or(position, |after| after.max(position)),
            held: missed_after.map(|_| Vec::new()),
        };
        subscribers
            .entry((stream, frame_format.clone()))
            .or_default()
            .insert(connection.id, subscriber);
        drop(state);
        self.room.writers.write(queued);
        missed_after.map_or(Subscribed::Live, |after| {
            Subscribed::Replay(Unread {
                after,
                through: position,
            })
        })
    }

    /// Whether the added subscription has not ended.
    pub fn is_subscribed(
        &self,
        connection: &Connection,
        stream: ChannelStream,
        frame_format: &FrameFormat,
    ) -> bool {
        self.room.is_subscribed(connection, stream, frame_format)
    }

    /// Frame of a message that was read from the store.
    pub fn message_frame(
        &self,
        stream: ChannelStream,
        frame_format: &FrameFormat,
        message: &Message,
    ) -> Bytes {
        let payload = Payload::stored(message);
        encode(frame_format, self.room.channel, stream, &payload, &[])
    }

    /// Frame that reports a gap: the messages after position `after`, up to `through`, are not delivered.
    pub fn gap_frame(
        &self,
        stream: ChannelStream,
        frame_format: &FrameFormat,
        after: i64,
        through: i64,
    ) -> Bytes {
        let body = serde_json::json!({ "fromSeq": after + 1, "toSeq": through }).to_string();
        let payload = Payload {
            id: format!("gap-{after}-{through}"),
            body: body.into(),
            span: None,
        };
        let extra = [("gap", "true")];
        encode(frame_format, self.room.channel, stream, &payload, &extra)
    }

    /// Queues the held frames; the subscription is live from here on. False when it has ended.
    pub fn release(
        &self,
        connection: &Connection,
        stream: ChannelStream,
        frame_format: &FrameFormat,
    ) -> bool {
        self.room.release(connection, stream, frame_format)
    }
}

impl Drop for PendingSubscription {
    fn drop(&mut self) {
        let mut state = self.room.state.lock();
        state.pending -= 1;
        if state.pending == 0 {
            state.removed_at.clear();
        }
        drop(state);
        self.hub.remove_if_unused(self.room.channel);
    }
}

#[cfg(test)]
mod tests {
    use prometheus_client::metrics::counter::Counter;

    use super::{
        super::tests::{connection, frame_format, payload, queued},
        *,
    };
    use crate::{delivery::disconnect::CloseReason, ids::ChannelId, model::Control};

    #[test]
    fn frames_held_during_a_replay_are_bounded_and_follow_it() {
        let hub = Arc::new(Hub::new(20, Counter::default()));
        let channel = ChannelId::new();
        let (ann, bob) = (connection(&hub), connection(&hub));
        let pending = hub.begin_subscription(channel);
        for connection in [&ann, &bob] {
            let outcome = pending.add(
                connection,
                ChannelStream::Messages,
                &frame_format("s"),
                9,
                Some(3),
            );
            assert_eq!(
                outcome,
                Subscribed::Replay(Unread {
                    after: 3,
                    through: 9
                })
            );
        }
        let large = |seq| Payload {
            id: format!("event-{seq}"),
            body: vec![b'x'; 100_000].into(),
            span: None,
        };
        for seq in 10..14 {
            hub.offer(channel, seq, large(seq));
        }
        assert_eq!(
            (queued(&ann).len(), ann.send_queue.close_reason()),
            (0, None)
        );
        assert!(pending.release(&ann, ChannelStream::Messages, &frame_format("s")));
        assert_eq!(
            (queued(&ann).len(), ann.send_queue.close_reason()),
            (4, None)
        );
        for seq in 14..16 {
            hub.offer(channel, seq, large(seq));
        }
        assert_eq!(
            (queued(&ann).len(), ann.send_queue.close_reason()),
            (2, None)
        );
        assert_eq!(bob.send_queue.close_reason(), Some(CloseReason::Slow));
        hub.apply(&Control::ChannelDeleted {
            channel_id: channel,
        });
        assert!(!pending.release(&bob, ChannelStream::Messages, &frame_format("s")));
    }

    #[test]
    fn a_position_that_the_channel_has_not_reached_is_answered_with_a_gap_frame() {
        let hub = Arc::new(Hub::new(20, Counter::default()));
        let (channel, ann) = (ChannelId::new(), connection(&hub));
        let add = |sub, last_seq, after| {
            let pending = hub.begin_subscription(channel);
            pending.add(
                &ann,
                ChannelStream::Messages,
                &frame_format(sub),
                last_seq,
                Some(after),
            )
        };
        assert_eq!(add("ahead", 7, 8), Subscribed::Live);
        let gap = queued(&ann).pop_front().expect("the gap frame");
        let gap = String::from_utf8_lossy(&gap);
        assert!(gap.contains("gap:true") && gap.contains(r#"{"fromSeq":1,"toSeq":7}"#));
        // The client may have messages from another node that this room has not received yet.
        assert_eq!(add("newer", 9, 9), Subscribed::Live);
        assert!(queued(&ann).is_empty());
        hub.offer(channel, 8, payload(8));
        hub.offer(channel, 9, payload(9));
        hub.offer(channel, 10, payload(10));
        let frames: Vec<_> = queued(&ann).into();
        let of = |sub: &str| {
            let sub = format!("subscription:{sub}\n");
            frames
                .iter()
                .filter(|frame| String::from_utf8_lossy(frame).contains(&sub))
                .count()
        };
        assert_eq!((of("ahead"), of("newer")), (3, 1));
    }
}
