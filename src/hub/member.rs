//! Those who follow a channel, and what each is given: a frame that is made once for all of one shape.

use std::{collections::HashMap, sync::Arc};

use bytes::Bytes;

use super::{Connection, Delivery, Feed, Shape};
use crate::{ids::ChannelId, stomp::Message};

/// One subscription.
pub(super) struct Member {
    pub(super) connection: Arc<Connection>,
    /// Messages up to here are not for this subscription.
    pub(super) from: i64,
    /// Frames that wait until earlier ones have been read from the store. They count as what waits for the connection.
    pub(super) held: Option<Vec<Bytes>>,
}

impl Member {
    pub(super) fn give(&mut self, frame: Bytes) {
        let (mailbox, bytes) = (&self.connection.mailbox, frame.len());
        match &mut self.held {
            Some(held) => {
                if mailbox.reserve(bytes) {
                    held.push(frame);
                }
            }
            None => mailbox.push(frame, bytes),
        }
    }

    /// Gives what was held, and goes on live.
    pub(super) fn release(&mut self) {
        for frame in self.held.take().into_iter().flatten() {
            self.connection.mailbox.unreserve(frame.len());
            self.give(frame);
        }
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        for frame in self.held.iter().flatten() {
            self.connection.mailbox.unreserve(frame.len());
        }
    }
}

/// Who follows a channel in one shape, by connection: any of thousands may leave at once.
pub(super) type Members = HashMap<u64, Member>;

/// Gives a new message to those whose it is.
pub(super) fn deliver_message(
    channel: ChannelId,
    members: &mut HashMap<(Feed, Shape), Members>,
    seq: i64,
    delivery: &Delivery,
) {
    for ((feed, shape), members) in members {
        if *feed != Feed::Messages {
            continue;
        }
        let mut frame = None;
        for member in members.values_mut().filter(|member| seq > member.from) {
            let frame =
                frame.get_or_insert_with(|| encode(shape, channel, Feed::Messages, delivery, &[]));
            member.give(frame.clone());
        }
    }
}

/// The frame for a shape.
pub(super) fn encode(
    shape: &Shape,
    channel: ChannelId,
    feed: Feed,
    delivery: &Delivery,
    extra: &[(&str, &str)],
) -> Bytes {
    let mut octets = Vec::with_capacity(delivery.body.len() + 256);
    let message_id = format!("{}-{}", delivery.id, shape.subscription);
    let destination = feed.destination(channel);
    Message {
        destination: &destination,
        subscription: &shape.subscription,
        message_id: &message_id,
        extra,
        body: &delivery.body,
    }
    .write(shape.version, &mut octets);
    shape.wire.text(&octets)
}
