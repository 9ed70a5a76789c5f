//! How a subscription comes into its room: at a position, and perhaps with stored messages before what is live.

use std::sync::Arc;

use bytes::Bytes;

use crate::{
    delivery::{
        destination::ChannelStream,
        hub::{
            Connection, FrameFormat, Hub, Payload, Room, RoomState,
            subscriber::{Member, deliver_message, encode},
        },
    },
    model::Message,
};

/// What became of a subscription on its way in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subscribed {
    /// It is live.
    Live,
    /// What comes is held until [`PendingSubscription::release`]: the messages behind the first position, up to the second, have to be
    /// read from the store and delivered before.
    Behind(i64, i64),
    /// The channel is gone, or the user has lost it meanwhile.
    Lost,
}

/// A subscription on its way in; dropping it gives up.
pub struct PendingSubscription {
    pub(super) hub: Arc<Hub>,
    pub(super) room: Arc<Room>,
    /// How many have entered before it, and one.
    pub(super) number: u64,
}

impl PendingSubscription {
    /// Marks the channel as one that only those in it may follow.
    pub fn mark_private(&self) {
        self.room.state.lock().private = true;
    }

    /// Adds the subscription. `last_seq` is the channel's position, read after [`Hub::enter`]. With `after`, messages behind
    /// that position are for it too. A position that the channel has not reached is one of another history, perhaps of a
    /// database that was restored since: the client is told that all it has may differ, and goes on at the end.
    pub fn add(
        &self,
        connection: &Arc<Connection>,
        feed: ChannelStream,
        frame_format: &FrameFormat,
        last_seq: i64,
        after: Option<i64>,
    ) -> Subscribed {
        let mut state = self.room.state.lock();
        let RoomState {
            sequence,
            members,
            expelled,
            closed,
            ..
        } = &mut *state;
        let expelled_at = expelled.get(&connection.user);
        if *closed || expelled_at.is_some_and(|last| *last >= self.number) {
            return Subscribed::Lost;
        }
        let channel = self.room.channel;
        sequence.start(last_seq, |seq, delivery| {
            deliver_message(channel, members, seq, &delivery);
        });
        let position = sequence.position().unwrap_or(last_seq);
        // The room may be behind the store, and so behind what the client had from another node.
        let unknown = after.is_some_and(|after| after > last_seq.max(position));
        if unknown {
            let frame = self.gap(feed, frame_format, 0, position);
            connection.send_queue.answer(frame.clone(), frame.len());
        }
        let after = after.filter(|_| !unknown);
        let missing = after.filter(|after| *after < position);
        let member = Member {
            connection: connection.clone(),
            from: after.map_or(position, |after| after.max(position)),
            held: missing.map(|_| Vec::new()),
        };
        members
            .entry((feed, frame_format.clone()))
            .or_default()
            .insert(connection.id, member);
        missing.map_or(Subscribed::Live, |after| {
            Subscribed::Behind(after, position)
        })
    }

    /// Whether the subscription that was added has not been ended.
    pub fn follows(
        &self,
        connection: &Connection,
        feed: ChannelStream,
        frame_format: &FrameFormat,
    ) -> bool {
        self.room.member(connection, feed, frame_format)
    }

    /// The frame of a message that was read from the store.
    pub fn stored(
        &self,
        feed: ChannelStream,
        frame_format: &FrameFormat,
        message: &Message,
    ) -> Bytes {
        let delivery = Payload::stored(message);
        encode(frame_format, self.room.channel, feed, &delivery, &[])
    }

    /// The frame that says that the messages behind the first position, up to the second, are not delivered.
    pub fn gap(
        &self,
        feed: ChannelStream,
        frame_format: &FrameFormat,
        after: i64,
        through: i64,
    ) -> Bytes {
        let body = serde_json::json!({ "fromSeq": after + 1, "toSeq": through }).to_string();
        let delivery = Payload {
            id: format!("gap-{after}-{through}"),
            body: body.into(),
        };
        encode(
            frame_format,
            self.room.channel,
            feed,
            &delivery,
            &[("gap", "true")],
        )
    }

    /// Delivers what was held, and goes on live. False when the subscription was ended meanwhile.
    pub fn release(
        &self,
        connection: &Connection,
        feed: ChannelStream,
        frame_format: &FrameFormat,
    ) -> bool {
        let mut state = self.room.state.lock();
        let members = state.members.get_mut(&(feed, frame_format.clone()));
        let member = members.and_then(|members| members.get_mut(&connection.id));
        member.map(Member::release).is_some()
    }
}

impl Drop for PendingSubscription {
    fn drop(&mut self) {
        let mut state = self.room.state.lock();
        state.pins -= 1;
        if state.pins == 0 {
            state.expelled.clear();
        }
        drop(state);
        self.hub.sweep(self.room.channel);
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::tests::{connection, delivery, frame_format, waiting},
        *,
    };
    use crate::{delivery::disconnect::CloseReason, ids::ChannelId, model::Control};

    #[test]
    fn what_is_held_for_a_resumption_is_bounded_and_comes_behind_it() {
        let hub = Arc::new(Hub::new(20));
        let channel = ChannelId::new();
        let (ann, bob) = (connection(&hub), connection(&hub));
        let entrance = hub.enter(channel);
        for connection in [&ann, &bob] {
            let added = entrance.add(
                connection,
                ChannelStream::Messages,
                &frame_format("s"),
                9,
                Some(3),
            );
            assert_eq!(added, Subscribed::Behind(3, 9));
        }
        let large = |seq| Payload {
            id: format!("event-{seq}"),
            body: vec![b'x'; 100_000].into(),
        };
        for seq in 10..14 {
            hub.offer(channel, seq, large(seq));
        }
        assert_eq!(
            (waiting(&ann).len(), ann.send_queue.close_reason()),
            (0, None)
        );
        assert!(entrance.release(&ann, ChannelStream::Messages, &frame_format("s")));
        assert_eq!(
            (waiting(&ann).len(), ann.send_queue.close_reason()),
            (4, None)
        );
        for seq in 14..16 {
            hub.offer(channel, seq, large(seq));
        }
        assert_eq!(
            (waiting(&ann).len(), ann.send_queue.close_reason()),
            (2, None)
        );
        assert_eq!(bob.send_queue.close_reason(), Some(CloseReason::Slow));
        hub.apply(&Control::ChannelDeleted {
            channel_id: channel,
        });
        assert!(!entrance.release(&bob, ChannelStream::Messages, &frame_format("s")));
    }

    #[test]
    fn a_position_that_the_channel_has_not_reached_is_answered_with_a_gap() {
        let hub = Arc::new(Hub::new(20));
        let (channel, ann) = (ChannelId::new(), connection(&hub));
        let add = |sub, last_seq, after| {
            let entrance = hub.enter(channel);
            entrance.add(
                &ann,
                ChannelStream::Messages,
                &frame_format(sub),
                last_seq,
                Some(after),
            )
        };
        assert_eq!(add("ahead", 7, 8), Subscribed::Live);
        let told = waiting(&ann).pop_front().expect("the gap");
        let told = String::from_utf8_lossy(&told);
        assert!(told.contains("gap:true") && told.contains(r#"{"fromSeq":1,"toSeq":7}"#));
        // From another node the client may have what this room has not heard of yet.
        assert_eq!(add("quicker", 9, 9), Subscribed::Live);
        assert!(waiting(&ann).is_empty());
        hub.offer(channel, 8, delivery(8));
        hub.offer(channel, 9, delivery(9));
        hub.offer(channel, 10, delivery(10));
        let told: Vec<_> = waiting(&ann).into();
        let of = |sub: &str| {
            let sub = format!("subscription:{sub}\n");
            told.iter()
                .filter(|frame| String::from_utf8_lossy(frame).contains(&sub))
                .count()
        };
        assert_eq!((of("ahead"), of("quicker")), (3, 1));
    }
}
