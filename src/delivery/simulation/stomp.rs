//! The simulated STOMP clients: they subscribe to the channels that they may read, resume, and check each message.

use std::{collections::VecDeque, sync::Arc};

use super::{
    nodes::{NodeRef, PAGE_LEN},
    stores::{channel_id, user_id},
    world::World,
};
use crate::{
    delivery::{
        destination::ChannelStream,
        hub::{Connection, FrameFormat, PendingSubscription, Subscribed, Unread},
        outbound::SendQueue,
    },
    ids::SessionId,
    protocol::{encoding::Encoding, stomp::Version},
};

/// What a client has of a channel.
#[derive(Clone, Copy, Default)]
struct Received {
    /// Position of the last received message.
    last: Option<i64>,
    /// Without a received message: later messages than this one must come.
    start: i64,
}

struct Subscription {
    frame_format: FrameFormat,
    /// Kept until the subscription is live.
    pending: Option<PendingSubscription>,
}

struct OpenConnection {
    node: NodeRef,
    connection: Arc<Connection>,
    /// One for each channel.
    subscriptions: Vec<Option<Subscription>>,
}

pub(super) struct StompClient {
    user: usize,
    open: Option<OpenConnection>,
    /// One for each channel.
    received: Vec<Received>,
}

impl StompClient {
    pub(super) fn new(user: usize, channels: usize) -> Self {
        Self {
            user,
            open: None,
            received: vec![Received::default(); channels],
        }
    }

    pub(super) fn is_connected(&self) -> bool {
        self.open.is_some()
    }

    pub(super) fn is_user(&self, user: usize) -> bool {
        self.user == user
    }

    pub(super) fn is_on(&self, node: NodeRef) -> bool {
        self.open.as_ref().is_some_and(|open| open.node == node)
    }
}

impl World {
    /// Connects a client to any node and subscribes to the channels that the user may read.
    pub(super) fn connect_stomp(&mut self, client: usize) {
        if self.stomp[client].is_connected() {
            return;
        }
        let index = self.rng.below(self.nodes.len());
        let node = &self.nodes[index];
        let user = self.stomp[client].user;
        let queue: Arc<SendQueue> = Arc::default();
        let session = SessionId(uuid::Uuid::nil());
        let connection = node.delivery.hub.join(user_id(user), session, queue);
        let channels = self.stores.channels.len();
        self.stomp[client].open = Some(OpenConnection {
            node: node.at,
            connection: connection.expect("few connections"),
            subscriptions: (0..channels).map(|_| None).collect(),
        });
        self.log(|| format!("client {client} of user {user} connects to node {index}"));
        for channel in 0..channels {
            // A client may also try a channel that the user may not read.
            if self.stores.channels[channel].is_readable(user) || self.rng.percent(10) {
                self.subscribe(client, channel);
            }
        }
    }

    /// Closes a connection; the client connects again after `delay`. Frames that the client has not read are lost.
    pub(super) fn disconnect_stomp(&mut self, client: usize, delay: u64) {
        let Some(open) = self.stomp[client].open.take() else {
            return;
        };
        self.log(|| format!("client {client} disconnects"));
        if let Some(node) = self.node(open.node) {
            let hub = &node.delivery.hub;
            for (channel, subscription) in open.subscriptions.into_iter().enumerate() {
                let Some(subscription) = subscription else {
                    continue;
                };
                drop(subscription.pending);
                let stream = ChannelStream::Messages;
                let format = &subscription.frame_format;
                hub.unsubscribe(&open.connection, channel_id(channel), stream, format);
            }
            hub.leave(&open.connection);
        }
        self.after(delay, move |world| world.connect_stomp(client));
    }

    /// Subscribes to a channel, after ending the subscription before.
    pub(super) fn subscribe(&mut self, client: usize, channel: usize) {
        let number = self.next_number();
        let Some(open) = &mut self.stomp[client].open else {
            return;
        };
        let node = &self.nodes[open.node.index];
        let hub = &node.delivery.hub;
        let id = channel_id(channel);
        if let Some(before) = open.subscriptions[channel].take() {
            let stream = ChannelStream::Messages;
            hub.unsubscribe(&open.connection, id, stream, &before.frame_format);
        }
        let frame_format = FrameFormat {
            encoding: Encoding::Raw,
            version: Version::V12,
            subscription: format!("{channel}.{number}").into(),
        };
        open.subscriptions[channel] = Some(Subscription {
            frame_format,
            pending: Some(hub.begin_subscription(id)),
        });
        let user = self.stomp[client].user;
        self.read(
            move |stores, _| {
                let channel = &stores.channels[channel];
                let readable = channel.is_readable(user);
                readable.then(|| (channel.private, channel.newest()))
            },
            move |world, readable| {
                world.on_readable(client, channel, number, readable.flatten());
            },
        );
    }

    /// The pending subscription with this number, unless the client has ended it.
    fn pending(&mut self, client: usize, channel: usize, number: u64) -> Option<NotLive<'_>> {
        let open = self.stomp[client].open.as_ref()?;
        let subscription = open.subscriptions[channel].as_ref()?;
        let format = &subscription.frame_format;
        let is_same = format.subscription.ends_with(&format!(".{number}"));
        let pending = subscription.pending.as_ref().filter(|_| is_same)?;
        Some(NotLive {
            pending,
            connection: &open.connection,
            frame_format: format,
        })
    }

    /// Continues a subscription after the store has answered whether the user may read the channel.
    fn on_readable(
        &mut self,
        client: usize,
        channel: usize,
        number: u64,
        readable: Option<(bool, i64)>,
    ) {
        let after = self.stomp[client].received[channel].last;
        let Some(NotLive {
            pending,
            connection,
            frame_format,
        }) = self.pending(client, channel, number)
        else {
            return;
        };
        let Some((private, newest)) = readable else {
            self.refuse(client);
            return;
        };
        if private {
            pending.mark_private();
        }
        let stream = ChannelStream::Messages;
        match pending.add(connection, stream, frame_format, newest, after) {
            Subscribed::Live => self.on_subscribed(client, channel),
            Subscribed::Replay(unread) => self.replay(client, channel, number, unread),
            Subscribed::Lost => self.refuse(client),
        }
    }

    /// Reads a page of missed messages and writes it.
    fn replay(&mut self, client: usize, channel: usize, number: u64, unread: Unread) {
        let Unread { after, through } = unread;
        self.read(
            move |stores, _| stores.channels[channel].between(channel, after, through, PAGE_LEN),
            move |world, page| {
                let Some(NotLive {
                    pending,
                    connection,
                    frame_format,
                }) = world.pending(client, channel, number)
                else {
                    return;
                };
                let stream = ChannelStream::Messages;
                let Some(page) =
                    page.filter(|_| pending.is_subscribed(connection, stream, frame_format))
                else {
                    world.refuse(client);
                    return;
                };
                let mut unread = unread;
                unread.advance(&page, PAGE_LEN);
                for message in &page {
                    let frame = pending.message_frame(stream, frame_format, message);
                    connection.send_queue.push_reply(frame);
                }
                if !unread.is_empty() {
                    world.replay(client, channel, number, unread);
                } else if pending.release(connection, stream, frame_format) {
                    world.on_subscribed(client, channel);
                } else {
                    world.refuse(client);
                }
            },
        );
    }

    /// The subscription is live.
    fn on_subscribed(&mut self, client: usize, channel: usize) {
        let newest = self.stores.channels[channel].newest();
        let stomp = &mut self.stomp[client];
        let open = stomp.open.as_mut();
        let subscription = open.and_then(|open| open.subscriptions[channel].as_mut());
        if let Some(subscription) = subscription {
            subscription.pending = None;
        }
        if stomp.received[channel].last.is_none() {
            stomp.received[channel].start = newest;
        }
        self.log(|| format!("client {client} is subscribed to channel {channel}"));
    }

    /// Closes a connection after an ERROR frame.
    fn refuse(&mut self, client: usize) {
        self.read_stomp(client);
        let delay = self.rng.within(100..=1_000);
        self.disconnect_stomp(client, delay);
    }

    /// The client reads all frames that the node has queued for it.
    pub(super) fn read_stomp(&mut self, client: usize) {
        let Some(open) = &self.stomp[client].open else {
            return;
        };
        let mut frames = VecDeque::new();
        let close = open.connection.send_queue.take(&mut frames);
        for frame in frames {
            self.on_frame(client, &frame);
        }
        if close.is_some() {
            self.disconnect_stomp(client, 200);
        }
    }

    /// Checks a MESSAGE frame: who gets it, and whether it is the next one.
    fn on_frame(&mut self, client: usize, frame: &[u8]) {
        // The text follows the header of the WebSocket frame.
        let header = match frame[1] {
            126 => 4,
            127 => 10,
            _ => 2,
        };
        let text = std::str::from_utf8(&frame[header..]).expect("a text");
        let number = |key: &str| -> Option<i64> {
            let (_, value) = text.split_once(key)?;
            let end = value.find(|c: char| !c.is_ascii_digit());
            value.get(..end.unwrap_or(value.len()))?.parse().ok()
        };
        let channel = number("\nsubscription:").and_then(|channel| usize::try_from(channel).ok());
        let (Some(channel), Some(seq)) = (channel, number("\"seq\":")) else {
            self.violate(format!("client {client} got an unexpected frame: {text}"));
            return;
        };
        let StompClient {
            user,
            open,
            received,
        } = &mut self.stomp[client];
        let (user, Some(open)) = (*user, open) else {
            return;
        };
        let node = open.node.index;
        let is_current = open.subscriptions[channel].as_ref().is_some_and(|current| {
            text.contains(&format!(
                "\nsubscription:{}\n",
                current.frame_format.subscription
            ))
        });
        let before = received[channel];
        if is_current {
            received[channel].last = Some(seq);
        }
        self.log(|| format!("client {client} gets message {seq} of channel {channel}"));
        let stored = &self.stores.channels[channel];
        let violation = if !stored.is_readable(user) && self.is_removed(node, channel, user) {
            "after the user's removal"
        } else if !is_current {
            // The client has ended this subscription.
            return;
        } else if before.last.is_some_and(|last| seq <= last) {
            "again, or after a later one"
        } else if stored.has_between(before.last.unwrap_or(before.start), seq) {
            "before an earlier one"
        } else {
            return;
        };
        self.violate(format!(
            "client {client} of user {user} got message {seq} of channel {channel} {violation}"
        ));
    }

    /// Checks that a client has all messages, and that no removed user is subscribed.
    pub(super) fn check_stomp(&mut self, client: usize) {
        let stomp = &self.stomp[client];
        let user = stomp.user;
        let Some(open) = &stomp.open else {
            self.violate(format!("client {client} is not connected"));
            return;
        };
        let hub = &self.nodes[open.node.index].delivery.hub;
        for (channel, received) in stomp.received.iter().enumerate() {
            let stored = &self.stores.channels[channel];
            let subscription = open.subscriptions[channel].as_ref();
            let is_subscribed = subscription.is_some_and(|subscription| {
                let (id, stream) = (channel_id(channel), ChannelStream::Messages);
                hub.is_subscribed(&open.connection, id, stream, &subscription.frame_format)
            });
            let has = received.last.unwrap_or(received.start);
            let violation = if !stored.is_readable(user) {
                if !is_subscribed {
                    continue;
                }
                "is subscribed without the right"
            } else if !is_subscribed {
                "has lost its subscription"
            } else if stored.has_between(has, stored.newest() + 1) {
                "misses messages"
            } else {
                continue;
            };
            let violation = format!(
                "client {client} of user {user} {violation} of channel {channel} after message {has}"
            );
            self.violate(violation);
            return;
        }
    }
}

/// A subscription that is not live.
struct NotLive<'a> {
    pending: &'a PendingSubscription,
    connection: &'a Arc<Connection>,
    frame_format: &'a FrameFormat,
}
