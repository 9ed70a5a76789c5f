//! Those who follow a channel, and what each is given: a frame that is made once for all of one format.

use std::{collections::HashMap, sync::Arc};

use bytes::Bytes;

use crate::{
    delivery::{
        destination::ChannelStream,
        hub::{Connection, FrameFormat, Payload},
    },
    ids::ChannelId,
    protocol::stomp::Message,
};

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
        let (send_queue, bytes) = (&self.connection.send_queue, frame.len());
        match &mut self.held {
            Some(held) => {
                if send_queue.reserve(bytes) {
                    held.push(frame);
                }
            }
            None => send_queue.push(frame, bytes),
        }
    }

    /// Gives what was held, and goes on live.
    pub(super) fn release(&mut self) {
        for frame in self.held.take().into_iter().flatten() {
            self.connection.send_queue.unreserve(frame.len());
            self.give(frame);
        }
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        for frame in self.held.iter().flatten() {
            self.connection.send_queue.unreserve(frame.len());
        }
    }
}

/// The subscribers of a channel in one format, by connection: any of thousands may leave at once.
pub(super) type Members = HashMap<u64, Member>;

/// Gives a new message to those whose it is.
pub(super) fn deliver_message(
    channel: ChannelId,
    members: &mut HashMap<(ChannelStream, FrameFormat), Members>,
    seq: i64,
    delivery: &Payload,
) {
    for ((feed, frame_format), members) in members {
        if *feed != ChannelStream::Messages {
            continue;
        }
        let mut frame = None;
        for member in members.values_mut().filter(|member| seq > member.from) {
            let frame = frame.get_or_insert_with(|| {
                encode(
                    frame_format,
                    channel,
                    ChannelStream::Messages,
                    delivery,
                    &[],
                )
            });
            member.give(frame.clone());
        }
    }
}

/// The frame for a format.
pub(super) fn encode(
    frame_format: &FrameFormat,
    channel: ChannelId,
    feed: ChannelStream,
    delivery: &Payload,
    extra: &[(&str, &str)],
) -> Bytes {
    let mut octets = Vec::with_capacity(delivery.body.len() + 256);
    let message_id = format!("{}-{}", delivery.id, frame_format.subscription);
    let destination = feed.destination(channel);
    Message {
        destination: &destination,
        subscription: &frame_format.subscription,
        message_id: &message_id,
        extra,
        body: &delivery.body,
    }
    .write(frame_format.version, &mut octets);
    frame_format.encoding.text(&octets)
}
