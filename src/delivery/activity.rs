//! `/user/queue/activity`: which channels have new messages, for clients that show what is unread.
//!
//! The node notes the channels with new messages, and each second `workers::activity` reads from the store their newest positions and
//! the users who may read them. So no event tells of a channel that its receiver has lost. The events are not durable: a subscription
//! begins with all channels.

use std::{
    collections::{HashMap, HashSet},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use bytes::Bytes;
use parking_lot::Mutex;
use serde::Serialize;
use uuid::Uuid;

use crate::{
    delivery::{
        destination::ACTIVITY,
        hub::{Connection, FrameFormat},
        outbound::Unwritten,
    },
    ids::{ChannelId, UserId},
    model::ChannelActivity,
    protocol::stomp::Message,
};

/// One subscription.
struct Subscriber {
    connection: Arc<Connection>,
    frame_format: FrameFormat,
    /// Whether the client has the first event, with all channels.
    is_live: bool,
}

#[derive(Default)]
struct Changes {
    /// Channels with new messages since the last round.
    changed: HashSet<ChannelId>,
    /// Those that a subscription that is not live yet has missed.
    missed: HashSet<ChannelId>,
}

/// Subscribers that get their events while the lock is held; others subscribe and unsubscribe between.
const TURN: usize = 128;

/// The subscriptions of this node to the activity of all channels.
///
/// Two locks, so that a new message never waits for the delivery to all subscribers.
#[derive(Default)]
pub struct Activity {
    changes: Mutex<Changes>,
    /// By connection; a connection has one subscription.
    subscribers: Mutex<HashMap<u64, Subscriber>>,
    has_subscribers: AtomicBool,
}

impl Activity {
    /// Notes a new message.
    pub fn note(&self, channel: ChannelId) {
        // Set before a subscription reads the channels, so no message falls between.
        if self.has_subscribers.load(Ordering::SeqCst) {
            self.changes.lock().changed.insert(channel);
        }
    }

    /// Begins a subscription. It gets no events until [`Self::start`]; then it gets those since now.
    pub fn join(&self, connection: Arc<Connection>, frame_format: FrameFormat) {
        let subscriber = Subscriber {
            connection,
            frame_format,
            is_live: false,
        };
        let mut subscribers = self.subscribers.lock();
        subscribers.insert(subscriber.connection.id, subscriber);
        self.has_subscribers.store(true, Ordering::SeqCst);
    }

    /// Sends the first event, with all channels that the user can read, and those that follow.
    pub fn start(&self, connection: &Connection, channels: &[ChannelActivity]) {
        if let Some(subscriber) = self.subscribers.lock().get_mut(&connection.id) {
            subscriber.is_live = true;
            let frame = frame(&subscriber.frame_format, &body(channels));
            // The caller is the connection's task, which empties the queue.
            connection.send_queue.push_reply(frame);
        }
        let Changes { changed, missed } = &mut *self.changes.lock();
        // For all subscribers: a repeated event changes nothing.
        changed.extend(missed.drain());
    }

    /// Ends the connection's subscription, if there is one.
    pub fn leave(&self, connection: &Connection) {
        let mut subscribers = self.subscribers.lock();
        subscribers.remove(&connection.id);
        self.has_subscribers
            .store(!subscribers.is_empty(), Ordering::SeqCst);
    }

    /// The users with subscriptions and the channels that changed since the last call; none without subscriptions.
    pub fn take(&self) -> (Vec<UserId>, HashSet<ChannelId>) {
        let subscribers = self.subscribers.lock();
        let mut changes = self.changes.lock();
        let taken = std::mem::take(&mut changes.changed);
        if subscribers.values().any(|subscriber| !subscriber.is_live) {
            changes.missed.extend(&taken);
        } else {
            changes.missed.clear();
        }
        let users: HashSet<UserId> = subscribers
            .values()
            .map(|subscriber| subscriber.connection.user)
            .collect();
        (users.into_iter().collect(), taken)
    }

    /// Delivers the new state of channels, each with the users who may read it; `None` stands for all.
    ///
    /// A dropped future has delivered to some of the subscribers.
    pub async fn deliver(&self, changes: &[(ChannelActivity, Option<Vec<UserId>>)]) {
        let mut public: Vec<&ChannelActivity> = Vec::new();
        let mut private: HashMap<UserId, Vec<&ChannelActivity>> = HashMap::new();
        for (channel, users) in changes {
            match users {
                None => public.push(channel),
                Some(users) => {
                    for user in users {
                        private.entry(*user).or_default().push(channel);
                    }
                }
            }
        }
        // Encoded once for all who see only public changes.
        let common = body(&public);
        let connections: Vec<u64> = self.subscribers.lock().keys().copied().collect();
        for turn in connections.chunks(TURN) {
            let mut unwritten = Vec::new();
            {
                let subscribers = self.subscribers.lock();
                let live = turn.iter().filter_map(|id| subscribers.get(id));
                for subscriber in live.filter(|subscriber| subscriber.is_live) {
                    let frame = match private.get(&subscriber.connection.user) {
                        Some(own) => {
                            let all = [&public[..], own].concat();
                            frame(&subscriber.frame_format, &body(&all))
                        }
                        None if public.is_empty() => continue,
                        None => frame(&subscriber.frame_format, &common),
                    };
                    unwritten.extend(subscriber.connection.send_queue.deliver(frame));
                }
            }
            unwritten.into_iter().for_each(Unwritten::write);
            tokio::task::yield_now().await;
        }
    }
}

/// The body of an event.
fn body(channels: &[impl Serialize]) -> Vec<u8> {
    serde_json::to_vec(channels).unwrap_or_default()
}

/// The frame of an event.
fn frame(frame_format: &FrameFormat, body: &[u8]) -> Bytes {
    let mut frame = Vec::new();
    Message {
        destination: ACTIVITY,
        subscription: &frame_format.subscription,
        message_id: &format!("activity-{}", Uuid::new_v4().simple()),
        extra: &[],
        body,
    }
    .write(frame_format.version, &mut frame);
    frame_format.encoding.text(&frame)
}
