use std::collections::VecDeque;

use proptest::prelude::*;

use prometheus_client::metrics::counter::Counter;

use bytes::Bytes;

use super::*;
use crate::{
    model::event::Part,
    protocol::{encoding::Encoding, stomp::Version},
};

pub(super) fn connection(hub: &Hub) -> Arc<Connection> {
    hub.join(UserId::new(), SessionId::new(), Arc::default())
        .expect("below the limit")
}

pub(super) fn frame_format(subscription: &str) -> FrameFormat {
    FrameFormat {
        encoding: Encoding::Raw,
        version: Version::V12,
        subscription: subscription.into(),
    }
}

pub(super) fn queued(connection: &Connection) -> VecDeque<Bytes> {
    let mut frames = VecDeque::new();
    connection.send_queue.take(&mut frames);
    frames
}

pub(super) fn payload(seq: i64) -> Payload {
    Payload {
        id: format!("event-{seq}"),
        body: Bytes::from(format!("{{\"seq\":{seq}}}")),
        span: None,
    }
}

#[test]
fn a_removed_user_loses_active_and_pending_subscriptions() {
    let hub = Arc::new(Hub::new(20, Counter::default()));
    let (ann, bob) = (connection(&hub), connection(&hub));
    let channel = ChannelId::new();
    for connection in [&ann, &bob] {
        let pending = hub.begin_subscription(channel);
        pending.mark_private();
        let outcome = pending.add(
            connection,
            ChannelStream::Messages,
            &frame_format("s"),
            0,
            None,
        );
        assert_eq!(outcome, Subscribed::Live);
    }
    let members = [(channel, ann.user), (channel, bob.user)];
    assert_eq!(hub.private_members(), HashSet::from(members));
    // Bob's permission is checked before he is removed.
    let late = hub.begin_subscription(channel);
    hub.end_membership(channel, bob.user, hub.tick());
    assert_eq!(
        late.add(
            &bob,
            ChannelStream::Messages,
            &frame_format("late"),
            0,
            None
        ),
        Subscribed::Lost,
        "his pending subscription is refused"
    );
    // A subscription that begins after the removal is accepted, while an older one is still pending.
    let back = hub.begin_subscription(channel);
    let outcome = back.add(
        &bob,
        ChannelStream::Messages,
        &frame_format("back"),
        0,
        None,
    );
    assert_eq!(outcome, Subscribed::Live);
    hub.unsubscribe(
        &bob,
        channel,
        ChannelStream::Messages,
        &frame_format("back"),
    );
    assert!(!hub.is_subscribed(&bob, channel, ChannelStream::Messages, &frame_format("s")));
    assert!(hub.is_subscribed(&ann, channel, ChannelStream::Messages, &frame_format("s")));
    drop(late);
    let payload = Payload {
        id: "m".to_owned(),
        body: Bytes::from_static(b"{}"),
        span: None,
    };
    assert!(!hub.offer(channel, 1, payload));
    assert_eq!((queued(&ann).len(), queued(&bob).len()), (1, 0));
    assert_eq!(hub.private_members(), HashSet::from([(channel, ann.user)]));
}

#[test]
fn a_connection_that_has_subscribed_since_a_removal_was_checked_is_closed() {
    let hub = Arc::new(Hub::new(20, Counter::default()));
    let channel = ChannelId::new();
    let (user, session) = (UserId::new(), SessionId::new());
    let join = || {
        let connection = hub.join(user, session, Arc::default());
        connection.expect("below the limit")
    };
    let subscribe = |connection| {
        let pending = hub.begin_subscription(channel);
        let format = frame_format("s");
        pending.add(connection, ChannelStream::Messages, &format, 0, None)
    };
    let (before, since, unknown) = (join(), join(), join());
    assert_eq!(subscribe(&before), Subscribed::Live);
    let checked_at = hub.tick();
    assert_eq!(subscribe(&since), Subscribed::Live);
    hub.end_membership(channel, user, checked_at);
    assert_eq!(before.send_queue.close_reason(), None);
    assert_eq!(
        since.send_queue.close_reason(),
        Some(CloseReason::Unverified)
    );
    // The store has not answered.
    assert_eq!(subscribe(&unknown), Subscribed::Live);
    hub.close_unverified(channel, user, hub.tick());
    assert_eq!(
        unknown.send_queue.close_reason(),
        Some(CloseReason::Unverified)
    );
    assert!(!hub.has_room(channel));
}

#[test]
fn subscriptions_of_one_format_share_the_frame() {
    let hub = Arc::new(Hub::new(20, Counter::default()));
    let channel = ChannelId::new();
    let (ann, bob, eve) = (connection(&hub), connection(&hub), connection(&hub));
    for (connection, subscription) in [(&ann, "sub-0"), (&bob, "sub-0"), (&eve, "sub-1")] {
        assert_eq!(
            hub.begin_subscription(channel).add(
                connection,
                ChannelStream::Messages,
                &frame_format(subscription),
                0,
                None
            ),
            Subscribed::Live
        );
    }
    assert!(!hub.offer(channel, 1, payload(1)));
    let [ann, bob, eve] =
        [&ann, &bob, &eve].map(|connection| queued(connection).pop_front().expect("delivered"));
    assert_eq!(ann.as_ptr(), bob.as_ptr());
    assert_ne!(ann, eve);
}

#[test]
fn an_event_without_a_position_is_delivered_once() {
    let hub = Arc::new(Hub::new(20, Counter::default()));
    let (channel, ann) = (ChannelId::new(), connection(&hub));
    hub.begin_subscription(channel).add(
        &ann,
        ChannelStream::Events,
        &frame_format("sub-0"),
        0,
        None,
    );
    let events: Vec<_> = (0..3).map(|_| EventId::new()).collect();
    for event in [0, 1, 0, 2, 1] {
        hub.broadcast(channel, events[event], &payload(1), None, Source::Kafka);
    }
    assert_eq!(queued(&ann).len(), 3);
}

#[test]
fn a_change_of_a_message_is_delivered_after_the_message() {
    let hub = Arc::new(Hub::new(20, Counter::default()));
    let (channel, ann) = (ChannelId::new(), connection(&hub));
    for (stream, subscription) in [(ChannelStream::Messages, "m"), (ChannelStream::Events, "e")] {
        let format = frame_format(subscription);
        let pending = hub.begin_subscription(channel);
        pending.add(&ann, stream, &format, 0, None);
    }
    hub.offer(channel, 1, payload(1));
    let change = |seq: i64| Payload {
        id: format!("change-{seq}"),
        body: Bytes::from("{}"),
        span: None,
    };
    let broadcast = |seq| {
        let edit = Change {
            seq,
            part: Part::Text,
        };
        hub.broadcast(
            channel,
            EventId::new(),
            &change(seq),
            Some(&edit),
            Source::Kafka,
        )
    };
    assert!(!broadcast(1));
    // Message 2 is missing, and the first change that needs it begins a repair.
    assert!(broadcast(2));
    assert!(!broadcast(3));
    hub.offer(channel, 3, payload(3));
    hub.offer(channel, 2, payload(2));
    // Message 4 was deleted before the repair read it.
    broadcast(4);
    hub.repair(channel, Vec::new(), 4);
    let order: Vec<String> = queued(&ann)
        .iter()
        .map(|frame| {
            let text = String::from_utf8_lossy(frame).into_owned();
            let id = text.split_once("message-id:").expect("a header").1;
            id.split('\n').next().expect("a line").to_owned()
        })
        .collect();
    let expected = [
        "event-1", "change-1", "event-2", "event-3", "change-2", "change-3", "change-4",
    ];
    assert_eq!(order.len(), expected.len(), "{order:?}");
    for (id, expected) in order.iter().zip(expected) {
        assert!(id.contains(expected), "{order:?}");
    }
}

#[test]
fn a_change_that_kafka_carries_after_a_later_one_is_dropped() {
    let hub = Arc::new(Hub::new(20, Counter::default()));
    let (channel, ann) = (ChannelId::new(), connection(&hub));
    hub.begin_subscription(channel)
        .add(&ann, ChannelStream::Events, &frame_format("e"), 0, None);
    for seq in [1, 2] {
        hub.offer(channel, seq, payload(seq));
    }
    let reaction = Part::Reaction(UserId::new(), "👍".to_owned());
    let changes = [
        (1, Part::Text),
        (1, Part::Text),
        (1, Part::Text),
        (1, reaction.clone()),
        (1, reaction),
        (2, Part::Text),
        (2, Part::Whole),
        (2, Part::Text),
    ];
    let ids: Vec<EventId> = changes.iter().map(|_| EventId::new()).collect();
    let broadcast = |change: usize, source| {
        let (seq, part) = changes[change].clone();
        let payload = Payload {
            id: change.to_string(),
            body: Bytes::from("{}"),
            span: None,
        };
        let change_of = Change { seq, part };
        hub.broadcast(channel, ids[change], &payload, Some(&change_of), source);
        queued(&ann).len()
    };
    // The outbox has the last edit, the last reaction, and the deletion, while Kafka carries nothing.
    for read in [1, 4, 6] {
        assert_eq!(broadcast(read, Source::Outbox), 1, "{read}");
    }
    // Then Kafka carries everything that came before, and what has come since.
    for (change, delivered) in [
        (0, 0),
        (1, 0),
        (3, 0),
        (4, 0),
        (5, 0),
        (6, 0),
        // Of a node that published it after the deletion.
        (7, 0),
        (2, 1),
    ] {
        assert_eq!(broadcast(change, Source::Kafka), delivered, "{change}");
    }
    // What Kafka carries again is a duplicate.
    assert_eq!(broadcast(2, Source::Kafka), 0);
}

#[test]
fn after_an_outage_changes_that_kafka_has_lost_hold_up_no_later_ones() {
    let hub = Arc::new(Hub::new(20, Counter::default()));
    let (channel, ann) = (ChannelId::new(), connection(&hub));
    hub.begin_subscription(channel)
        .add(&ann, ChannelStream::Events, &frame_format("e"), 0, None);
    hub.offer(channel, 1, payload(1));
    let edit = Change {
        seq: 1,
        part: Part::Text,
    };
    let broadcast = |source| {
        hub.broadcast(channel, EventId::new(), &payload(1), Some(&edit), source);
        queued(&ann).len()
    };
    assert_eq!(broadcast(Source::Outbox), 1);
    assert_eq!(broadcast(Source::Kafka), 0, "an earlier edit");
    hub.forget_early_changes();
    assert_eq!(broadcast(Source::Kafka), 1);
}

#[test]
fn a_deleted_channel_delivers_nothing_more() {
    let hub = Arc::new(Hub::new(20, Counter::default()));
    let (channel, ann) = (ChannelId::new(), connection(&hub));
    hub.begin_subscription(channel).add(
        &ann,
        ChannelStream::Messages,
        &frame_format("sub-0"),
        0,
        None,
    );
    let late = hub.begin_subscription(channel);
    hub.apply(&Control::ChannelDeleted {
        channel_id: channel,
    });
    assert_eq!(
        late.add(
            &ann,
            ChannelStream::Messages,
            &frame_format("late"),
            0,
            None
        ),
        Subscribed::Lost,
        "the pending subscription is refused"
    );
    hub.offer(channel, 1, payload(1));
    assert!(queued(&ann).is_empty());
}

#[test]
fn only_exact_destinations_are_known() {
    let channel = ChannelId::new();
    assert_eq!(
        ChannelStream::parse(&ChannelStream::Events.destination(channel)),
        Some((channel, ChannelStream::Events))
    );
    for wrong in [
        "/sub/**",
        "/sub/channels.*.messages",
        "/sub/channels.x.messages",
        "/sub/channels.",
        "/topic/a",
    ] {
        assert_eq!(ChannelStream::parse(wrong), None, "{wrong}");
    }
}

proptest! {
    #[test]
    fn connections_and_rooms_without_use_are_removed(steps in proptest::collection::vec((0usize..4, 0usize..3, any::<bool>()), 0..60)) {
        let hub = Arc::new(Hub::new(20, Counter::default()));
        let channels: Vec<_> = (0..3).map(|_| ChannelId::new()).collect();
        let connections: Vec<_> = (0..4).map(|_| connection(&hub)).collect();
        for (user, channel, subscribe) in steps {
            let (connection, channel) = (&connections[user], channels[channel]);
            hub.unsubscribe(connection, channel, ChannelStream::Messages, &frame_format("s"));
            if subscribe {
                hub.begin_subscription(channel).add(connection, ChannelStream::Messages, &frame_format("s"), 0, None);
            }
        }
        for connection in &connections {
            for channel in &channels {
                hub.unsubscribe(connection, *channel, ChannelStream::Messages, &frame_format("s"));
            }
            hub.leave(connection);
        }
        prop_assert!(hub.is_empty());
        prop_assert!(hub.positions().is_empty());
        prop_assert!(hub.rooms.iter().all(|shard| shard.read().is_empty()));
    }
}
