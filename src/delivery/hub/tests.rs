use proptest::prelude::*;

use super::*;

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

pub(super) fn waiting(connection: &Connection) -> VecDeque<Bytes> {
    let mut frames = VecDeque::new();
    connection.send_queue.take(&mut frames);
    frames
}

pub(super) fn delivery(seq: i64) -> Payload {
    Payload {
        id: format!("event-{seq}"),
        body: Bytes::from(format!("{{\"seq\":{seq}}}")),
    }
}

#[test]
fn who_loses_a_channel_loses_what_they_follow_and_what_they_are_about_to() {
    let hub = Arc::new(Hub::new(20));
    let (ann, bob) = (connection(&hub), connection(&hub));
    let channel = ChannelId::new();
    for connection in [&ann, &bob] {
        let entrance = hub.enter(channel);
        entrance.mark_private();
        let added = entrance.add(
            connection,
            ChannelStream::Messages,
            &frame_format("s"),
            0,
            None,
        );
        assert_eq!(added, Subscribed::Live);
    }
    let members = [(channel, ann.user), (channel, bob.user)];
    assert_eq!(hub.private_members(), HashSet::from(members));
    // Bob's right was judged before it was lost.
    let late = hub.enter(channel);
    hub.apply(&Control::MembershipLost {
        user_id: bob.user,
        channel_id: channel,
    });
    assert_eq!(
        late.add(
            &bob,
            ChannelStream::Messages,
            &frame_format("late"),
            0,
            None
        ),
        Subscribed::Lost,
        "and is told so"
    );
    // Who has got it back meanwhile is judged anew, however long somebody else is on the way in.
    let back = hub.enter(channel);
    let added = back.add(
        &bob,
        ChannelStream::Messages,
        &frame_format("back"),
        0,
        None,
    );
    assert_eq!(added, Subscribed::Live);
    hub.unsubscribe(
        &bob,
        channel,
        ChannelStream::Messages,
        &frame_format("back"),
    );
    assert!(!hub.follows(&bob, channel, ChannelStream::Messages, &frame_format("s")));
    assert!(hub.follows(&ann, channel, ChannelStream::Messages, &frame_format("s")));
    drop(late);
    let delivery = Payload {
        id: "m".to_owned(),
        body: Bytes::from_static(b"{}"),
    };
    assert!(!hub.offer(channel, 1, delivery));
    assert_eq!((waiting(&ann).len(), waiting(&bob).len()), (1, 0));
    assert_eq!(hub.private_members(), HashSet::from([(channel, ann.user)]));
}

#[test]
fn subscriptions_of_one_shape_share_the_bytes() {
    let hub = Arc::new(Hub::new(20));
    let channel = ChannelId::new();
    let (ann, bob, eve) = (connection(&hub), connection(&hub), connection(&hub));
    for (connection, subscription) in [(&ann, "sub-0"), (&bob, "sub-0"), (&eve, "sub-1")] {
        assert_eq!(
            hub.enter(channel).add(
                connection,
                ChannelStream::Messages,
                &frame_format(subscription),
                0,
                None
            ),
            Subscribed::Live
        );
    }
    assert!(!hub.offer(channel, 1, delivery(1)));
    let [ann, bob, eve] =
        [&ann, &bob, &eve].map(|connection| waiting(connection).pop_front().expect("delivered"));
    assert_eq!(ann.as_ptr(), bob.as_ptr());
    assert_ne!(ann, eve);
}

#[test]
fn an_event_without_a_position_is_told_once() {
    let hub = Arc::new(Hub::new(20));
    let (channel, ann) = (ChannelId::new(), connection(&hub));
    hub.enter(channel)
        .add(&ann, ChannelStream::Events, &frame_format("sub-0"), 0, None);
    let events: Vec<_> = (0..3).map(|_| EventId::new()).collect();
    for event in [0, 1, 0, 2, 1] {
        hub.broadcast(channel, events[event], &delivery(1));
    }
    assert_eq!(waiting(&ann).len(), 3);
}

#[test]
fn a_deleted_channel_delivers_nothing_more() {
    let hub = Arc::new(Hub::new(20));
    let (channel, ann) = (ChannelId::new(), connection(&hub));
    hub.enter(channel).add(
        &ann,
        ChannelStream::Messages,
        &frame_format("sub-0"),
        0,
        None,
    );
    let late = hub.enter(channel);
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
        "who was on the way in is told so"
    );
    hub.offer(channel, 1, delivery(1));
    assert!(waiting(&ann).is_empty());
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
    let upper = format!(
        "/sub/channels.{}.messages",
        channel.to_string().to_uppercase()
    );
    assert_eq!(ChannelStream::parse(&upper), None);
}

proptest! {
    #[test]
    fn whatever_comes_and_goes_nothing_is_left_behind(steps in proptest::collection::vec((0usize..4, 0usize..3, any::<bool>()), 0..60)) {
        let hub = Arc::new(Hub::new(20));
        let channels: Vec<_> = (0..3).map(|_| ChannelId::new()).collect();
        let connections: Vec<_> = (0..4).map(|_| connection(&hub)).collect();
        for (who, channel, enter) in steps {
            let (connection, channel) = (&connections[who], channels[channel]);
            hub.unsubscribe(connection, channel, ChannelStream::Messages, &frame_format("s"));
            if enter {
                hub.enter(channel).add(connection, ChannelStream::Messages, &frame_format("s"), 0, None);
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
