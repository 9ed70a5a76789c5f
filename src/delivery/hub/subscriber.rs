//! The subscribers of a channel, and the frames that they get: encoded once for all subscribers with the same format.

use std::{collections::HashMap, sync::Arc};

use bytes::Bytes;

use crate::{
    delivery::{check::check, destination::ChannelStream, outbound::SendQueue, writers::Queued},
    ids::{ChannelId, SessionId, UserId},
    model,
    protocol::{
        encoding::Encoding,
        stomp::{Message, Version},
    },
    traces::Span,
};

/// A STOMP connection of an authenticated user.
#[derive(Debug)]
pub struct Connection {
    /// Unique on this node. A user may have several connections, so they are removed by this id.
    pub id: u64,
    /// The user.
    pub user: UserId,
    /// The session; the connection is closed when it ends.
    pub session: SessionId,
    /// Frames to write, in the connection's [`Encoding`].
    pub send_queue: Arc<SendQueue>,
}

/// The parts of a MESSAGE frame that differ between subscriptions.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct FrameFormat {
    /// Encoding of the transport.
    pub encoding: Encoding,
    /// STOMP version, which decides how headers are escaped.
    pub version: Version,
    /// The client's id of the subscription.
    pub subscription: Arc<str>,
}

/// The event that a room delivers.
#[derive(Clone, Debug)]
pub struct Payload {
    /// Id of the event; becomes part of the `message-id` header.
    pub id: String,
    /// JSON.
    pub body: Bytes,
    /// The recorded span of the delivery, which ends with it.
    pub span: Option<Span>,
}

impl Payload {
    /// The payload of a message that was read from the store.
    pub fn stored(message: &model::Message) -> Self {
        Self {
            id: message.id.to_string(),
            body: message.to_json().unwrap_or_default(),
            span: None,
        }
    }

    /// Notes in the trace to how many connections the event was delivered.
    pub(super) fn set_deliveries(&self, number: u64) {
        if let Some(span) = &self.span {
            span.set(
                "discodeit.deliveries",
                i64::try_from(number).unwrap_or(i64::MAX),
            );
        }
    }
}

/// One subscription.
pub(super) struct Subscriber {
    pub(super) connection: Arc<Connection>,
    /// When the subscription was added, after its permission was read; see [`Hub::tick`](super::Hub::tick).
    pub(super) added_at: u64,
    /// Messages up to this position are not delivered to the subscription.
    pub(super) after: i64,
    /// Messages up to this position are invisible to the user, and so are their changes.
    pub(super) visible_after: i64,
    /// Live frames held back until the missed messages are written. Their bytes are reserved in the connection's send queue.
    pub(super) held: Option<Vec<Bytes>>,
}

impl Subscriber {
    /// Queues a frame, or holds it back.
    pub(super) fn deliver(&mut self, frame: Bytes, queued: &mut Queued) {
        queued.frames += 1;
        let send_queue = &self.connection.send_queue;
        match &mut self.held {
            Some(held) => {
                if send_queue.reserve(frame.len()) {
                    held.push(frame);
                }
            }
            None => queued.unwritten.extend(send_queue.deliver(frame)),
        }
    }

    /// Queues the held frames; later frames are queued at once.
    pub(super) fn release(&mut self) {
        let send_queue = &self.connection.send_queue;
        for frame in self.held.take().into_iter().flatten() {
            send_queue.unreserve(frame.len());
            send_queue.push(frame);
        }
    }
}

impl Drop for Subscriber {
    fn drop(&mut self) {
        for frame in self.held.iter().flatten() {
            self.connection.send_queue.unreserve(frame.len());
        }
    }
}

/// Subscribers with the same format by connection id, so that one of thousands is removed at once.
pub(super) type Subscribers = HashMap<u64, Subscriber>;

/// All subscribers of a channel.
pub(super) type SubscribersByFormat = HashMap<(ChannelStream, FrameFormat), Subscribers>;

/// Delivers a message to each subscriber that has not had it.
pub(super) fn deliver_message(
    channel: ChannelId,
    subscribers: &mut SubscribersByFormat,
    seq: i64,
    payload: &Payload,
    queued: &mut Queued,
) {
    let before = queued.frames;
    for ((stream, frame_format), subscribers) in subscribers {
        if *stream != ChannelStream::Messages {
            continue;
        }
        let mut frame = None;
        for subscriber in subscribers
            .values_mut()
            .filter(|subscriber| !check!(After, seq <= subscriber.after))
        {
            let frame =
                frame.get_or_insert_with(|| encode(frame_format, channel, *stream, payload, &[]));
            subscriber.deliver(frame.clone(), queued);
        }
    }
    payload.set_deliveries(queued.frames - before);
}

/// Encodes a MESSAGE frame with `extra` headers.
pub(super) fn encode(
    frame_format: &FrameFormat,
    channel: ChannelId,
    stream: ChannelStream,
    payload: &Payload,
    extra: &[(&str, &str)],
) -> Bytes {
    let mut bytes = Vec::with_capacity(payload.body.len() + 256);
    let message_id = format!("{}-{}", payload.id, frame_format.subscription);
    let destination = stream.destination(channel);
    Message {
        destination: &destination,
        subscription: &frame_format.subscription,
        message_id: &message_id,
        extra,
        body: &payload.body,
    }
    .write(frame_format.version, &mut bytes);
    frame_format.encoding.text(&bytes)
}
