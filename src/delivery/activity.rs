//! `/user/queue/activity`: which channels have new messages, for clients that show what is unread.
//!
//! The node notes the channels with new messages, and each second `workers::activity` reads from the store their newest positions and
//! the users who may read them. So no event tells of a channel that its receiver has lost. The events are not durable: a subscription
//! begins with all channels.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use bytes::Bytes;
use parking_lot::Mutex;
use uuid::Uuid;

use crate::{
    delivery::{
        destination::ACTIVITY,
        hub::{Connection, FrameFormat},
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
struct State {
    /// By connection; a connection has one subscription.
    subscribers: HashMap<u64, Subscriber>,
    /// Channels with new messages since the last round.
    changed: HashSet<ChannelId>,
    /// Those that a subscription that is not live yet has missed.
    missed: HashSet<ChannelId>,
}

/// The subscriptions of this node to the activity of all channels.
#[derive(Default)]
pub struct Activity {
    state: Mutex<State>,
}

impl Activity {
    /// Notes a new message.
    pub fn note(&self, channel: ChannelId) {
        let mut state = self.state.lock();
        if !state.subscribers.is_empty() {
            state.changed.insert(channel);
        }
    }

    /// Begins a subscription. It gets no events until [`Self::start`]; then it gets those since now.
    pub fn join(&self, connection: Arc<Connection>, frame_format: FrameFormat) {
        let subscriber = Subscriber {
            connection,
            frame_format,
            is_live: false,
        };
        let mut state = self.state.lock();
        state
            .subscribers
            .insert(subscriber.connection.id, subscriber);
    }

    /// Sends the first event, with all channels that the user can read, and those that follow.
    pub fn start(&self, connection: &Connection, channels: &[ChannelActivity]) {
        let mut state = self.state.lock();
        let State {
            subscribers,
            changed,
            missed,
        } = &mut *state;
        if let Some(subscriber) = subscribers.get_mut(&connection.id) {
            subscriber.is_live = true;
            let frame = event(&subscriber.frame_format, channels);
            let bytes = frame.len();
            // The caller is the connection's task, which empties the queue.
            connection.send_queue.push_reply(frame, bytes);
        }
        // For all subscribers: a repeated event changes nothing.
        changed.extend(missed.drain());
    }

    /// Ends the connection's subscription, if there is one.
    pub fn leave(&self, connection: &Connection) {
        self.state.lock().subscribers.remove(&connection.id);
    }

    /// The users with subscriptions and the channels that changed since the last call; none without subscriptions.
    pub fn take(&self) -> (Vec<UserId>, HashSet<ChannelId>) {
        let mut state = self.state.lock();
        let State {
            subscribers,
            changed,
            missed,
        } = &mut *state;
        let taken = std::mem::take(changed);
        if subscribers.values().any(|subscriber| !subscriber.is_live) {
            missed.extend(&taken);
        } else {
            missed.clear();
        }
        let users: HashSet<UserId> = subscribers
            .values()
            .map(|subscriber| subscriber.connection.user)
            .collect();
        (users.into_iter().collect(), taken)
    }

    /// Delivers the new state of channels, each with the users who may read it; `None` stands for all.
    pub fn deliver(&self, changes: &[(ChannelActivity, Option<Vec<UserId>>)]) {
        let state = self.state.lock();
        for subscriber in state.subscribers.values().filter(|s| s.is_live) {
            let user = subscriber.connection.user;
            let visible: Vec<ChannelActivity> = changes
                .iter()
                .filter(|(_, users)| users.as_ref().is_none_or(|users| users.contains(&user)))
                .map(|(channel, _)| channel.clone())
                .collect();
            if !visible.is_empty() {
                let frame = event(&subscriber.frame_format, &visible);
                let bytes = frame.len();
                subscriber.connection.send_queue.push(frame, bytes);
            }
        }
    }
}

/// The frame of an event.
fn event(frame_format: &FrameFormat, channels: &[ChannelActivity]) -> Bytes {
    let mut frame = Vec::new();
    Message {
        destination: ACTIVITY,
        subscription: &frame_format.subscription,
        message_id: &format!("activity-{}", Uuid::new_v4().simple()),
        extra: &[],
        body: &serde_json::to_vec(channels).unwrap_or_default(),
    }
    .write(frame_format.version, &mut frame);
    frame_format.encoding.text(&frame)
}
