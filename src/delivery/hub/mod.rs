//! The socket map of this node: who is connected here and which channels each one follows.
//!
//! A [`Room`] is a channel that somebody here follows. It delivers each message once and in order, by the rule of
//! [`Sequence`]; what is missing is read from PostgreSQL by the tasks in `repair.rs`. Nothing here waits while it holds a
//! lock.

mod subscribe;
mod subscriber;

use std::{
    collections::{HashMap, HashSet, VecDeque},
    hash::{BuildHasher, RandomState},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use bytes::Bytes;
use parking_lot::{Mutex, RwLock};
use tokio::sync::Semaphore;

use crate::{
    delivery::{
        destination::ChannelStream,
        disconnect::CloseReason,
        outbound::SendQueue,
        sequence::{Offer, Sequence},
    },
    ids::{ChannelId, EventId, SessionId, UserId},
    model::{Control, Message},
    protocol::{encoding::Encoding, stomp::Version},
};

use subscriber::{Members, deliver_message, encode};

pub use subscribe::{PendingSubscription, Subscribed};

/// More than the cores that deliver at once, so that they seldom meet.
const SHARDS: usize = 64;
/// Subscriptions that read stored messages at the same time: enough to be quick, few enough to leave the pool to the requests.
const READING: usize = 4;

/// Events without a position that a room remembers, to know one that Kafka brings again: more than a channel sees in the
/// seconds after which the outbox sends what it does not know to have arrived.
const REMEMBERED: usize = 64;

/// A STOMP connection whose user is known.
#[derive(Debug)]
pub struct Connection {
    /// Unique on this node; connections are removed by it, never by user.
    pub id: u64,
    /// User.
    pub user: UserId,
    /// The session whose end is this connection's.
    pub session: SessionId,
    /// What is to be written, in the format of its [`Encoding`].
    pub send_queue: Arc<SendQueue<Bytes>>,
}

/// What a subscription's frames have in common with those of others: encoded once for each format.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct FrameFormat {
    /// Transport.
    pub encoding: Encoding,
    /// Decides how headers are escaped.
    pub version: Version,
    /// The client's name for the subscription.
    pub subscription: Arc<str>,
}

/// What a room delivers.
#[derive(Clone, Debug)]
pub struct Payload {
    /// Identifies the event; becomes part of `message-id`.
    pub id: String,
    /// JSON.
    pub body: Bytes,
}

impl Payload {
    /// A message read from the store.
    pub fn stored(message: &Message) -> Self {
        Self {
            id: message.id.to_string(),
            body: serde_json::to_vec(message).unwrap_or_default().into(),
        }
    }
}

#[derive(Default)]
struct RoomState {
    sequence: Sequence<i64, Payload>,
    members: HashMap<(ChannelStream, FrameFormat), Members>,
    /// Subscriptions on their way in, which keep the room.
    pins: usize,
    /// How many have been on their way in so far.
    entered: u64,
    /// Who lost the channel while somebody was on the way in, perhaps they, and who was the last to enter before.
    expelled: HashMap<UserId, u64>,
    /// Whether who follows it must be in it.
    private: bool,
    repairing: bool,
    /// The last events that were told.
    told: VecDeque<EventId>,
    /// The channel is gone.
    closed: bool,
}

/// A channel that somebody on this node follows.
pub struct Room {
    channel: ChannelId,
    state: Mutex<RoomState>,
}

impl Room {
    fn member(
        &self,
        connection: &Connection,
        feed: ChannelStream,
        frame_format: &FrameFormat,
    ) -> bool {
        let state = self.state.lock();
        let members = state.members.get(&(feed, frame_format.clone()));
        members.is_some_and(|members| members.contains_key(&connection.id))
    }
}

/// The socket map.
pub struct Hub {
    hasher: RandomState,
    rooms: Vec<RwLock<HashMap<ChannelId, Arc<Room>>>>,
    connections: Mutex<HashMap<UserId, Vec<Arc<Connection>>>>,
    next_id: AtomicU64,
    per_user: usize,
    /// The turns of the subscriptions that read stored messages.
    pub reading: Semaphore,
}

impl Hub {
    /// An empty map that takes `per_user` connections of one user.
    pub fn new(per_user: usize) -> Self {
        Self {
            hasher: RandomState::new(),
            rooms: (0..SHARDS).map(|_| RwLock::default()).collect(),
            connections: Mutex::default(),
            next_id: AtomicU64::new(1),
            per_user,
            reading: Semaphore::new(READING),
        }
    }

    /// Adds a connection; `None` when the user has too many. Must be followed by [`Self::leave`].
    pub fn join(
        &self,
        user: UserId,
        session: SessionId,
        send_queue: Arc<SendQueue<Bytes>>,
    ) -> Option<Arc<Connection>> {
        let mut connections = self.connections.lock();
        let of_user = connections.entry(user).or_default();
        if of_user.len() >= self.per_user {
            return None;
        }
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let connection = Arc::new(Connection {
            id,
            user,
            session,
            send_queue,
        });
        of_user.push(connection.clone());
        Some(connection)
    }

    /// Removes a connection. Its subscriptions are removed by whoever made them, with [`Self::unsubscribe`].
    pub fn leave(&self, connection: &Connection) {
        let mut connections = self.connections.lock();
        if let Some(of_user) = connections.get_mut(&connection.user) {
            of_user.retain(|other| other.id != connection.id);
            if of_user.is_empty() {
                connections.remove(&connection.user);
            }
        }
    }

    /// How many connections there are.
    pub fn len(&self) -> usize {
        self.connections.lock().values().map(Vec::len).sum()
    }

    /// Whether there is no connection.
    pub fn is_empty(&self) -> bool {
        self.connections.lock().is_empty()
    }

    /// The sessions of all connections.
    pub fn sessions(&self) -> Vec<(UserId, SessionId)> {
        let connections = self.connections.lock();
        connections
            .values()
            .flatten()
            .map(|connection| (connection.user, connection.session))
            .collect()
    }

    /// Cuts what has lost its right.
    pub fn apply(&self, control: &Control) {
        match control {
            Control::SessionRevoked {
                user_id,
                session_id,
            } => self.cut(*user_id, |connection| connection.session == *session_id),
            Control::UserRevoked { user_id } => self.cut(*user_id, |_| true),
            Control::ChannelDeleted { channel_id } => self.close_room(*channel_id),
            Control::MembershipLost {
                channel_id,
                user_id,
            } => self.expel(*channel_id, *user_id),
        }
    }

    /// Ends what a user follows of a channel. A subscription on its way in, whose right may have been judged before, ends
    /// with it.
    fn expel(&self, channel: ChannelId, user: UserId) {
        if let Some(room) = self.room(channel) {
            let mut state = room.state.lock();
            state.members.retain(|_, members| {
                members.retain(|_, member| member.connection.user != user);
                !members.is_empty()
            });
            if state.pins > 0 {
                let last = state.entered;
                state.expelled.insert(user, last);
            }
            drop(state);
            self.sweep(channel);
        }
    }

    /// Who follows which private channel.
    pub fn private_members(&self) -> HashSet<(ChannelId, UserId)> {
        let rooms = self
            .rooms
            .iter()
            .flat_map(|shard| shard.read().values().cloned().collect::<Vec<_>>());
        let mut found = HashSet::new();
        for room in rooms {
            let state = room.state.lock();
            if state.private {
                let members = state.members.values().flat_map(HashMap::values);
                found.extend(members.map(|member| (room.channel, member.connection.user)));
            }
        }
        found
    }

    fn cut(&self, user: UserId, which: impl Fn(&Connection) -> bool) {
        let connections = self.connections.lock();
        for connection in connections
            .get(&user)
            .into_iter()
            .flatten()
            .filter(|connection| which(connection))
        {
            connection.send_queue.close(CloseReason::Revoked);
        }
    }

    fn shard(&self, channel: ChannelId) -> &RwLock<HashMap<ChannelId, Arc<Room>>> {
        let hash = self.hasher.hash_one(channel);
        &self.rooms[usize::try_from(hash % SHARDS as u64).unwrap_or(0)]
    }

    fn room(&self, channel: ChannelId) -> Option<Arc<Room>> {
        self.shard(channel).read().get(&channel).cloned()
    }

    /// The channels that somebody here follows, with the position delivered last.
    pub fn positions(&self) -> Vec<(ChannelId, i64)> {
        let rooms = self
            .rooms
            .iter()
            .flat_map(|shard| shard.read().values().cloned().collect::<Vec<_>>());
        rooms
            .filter_map(|room| Some((room.channel, room.state.lock().sequence.position()?)))
            .collect()
    }

    /// Makes the channel's room, so that messages gather from now on while the caller asks the store for its position and
    /// whether the user may read it.
    pub fn enter(self: &Arc<Self>, channel: ChannelId) -> PendingSubscription {
        let mut shard = self.shard(channel).write();
        let room = shard.entry(channel).or_insert_with(|| {
            Arc::new(Room {
                channel,
                state: Mutex::default(),
            })
        });
        let mut state = room.state.lock();
        state.pins += 1;
        state.entered += 1;
        PendingSubscription {
            hub: self.clone(),
            room: room.clone(),
            number: state.entered,
        }
    }

    /// Ends a subscription.
    pub fn unsubscribe(
        &self,
        connection: &Connection,
        channel: ChannelId,
        feed: ChannelStream,
        frame_format: &FrameFormat,
    ) {
        if let Some(room) = self.room(channel) {
            let key = (feed, frame_format.clone());
            let mut state = room.state.lock();
            if let Some(members) = state.members.get_mut(&key) {
                members.remove(&connection.id);
                if members.is_empty() {
                    state.members.remove(&key);
                }
            }
            drop(state);
            self.sweep(channel);
        }
    }

    /// Whether the subscription has not been ended.
    pub fn follows(
        &self,
        connection: &Connection,
        channel: ChannelId,
        feed: ChannelStream,
        frame_format: &FrameFormat,
    ) -> bool {
        self.room(channel)
            .is_some_and(|room| room.member(connection, feed, frame_format))
    }

    /// Forgets a room that nobody follows.
    fn sweep(&self, channel: ChannelId) {
        let mut shard = self.shard(channel).write();
        let unused = shard.get(&channel).is_some_and(|room| {
            let state = room.state.lock();
            state.members.is_empty() && state.pins == 0
        });
        if unused {
            shard.remove(&channel);
        }
    }

    fn close_room(&self, channel: ChannelId) {
        if let Some(room) = self.shard(channel).write().remove(&channel) {
            let mut state = room.state.lock();
            state.closed = true;
            state.members.clear();
        }
    }

    /// Offers a new message to its channel's subscribers. True if an earlier one is missing and nobody is looking for it.
    pub fn offer(&self, channel: ChannelId, seq: i64, delivery: Payload) -> bool {
        let Some(room) = self.room(channel) else {
            return false;
        };
        let mut state = room.state.lock();
        let RoomState {
            sequence, members, ..
        } = &mut *state;
        let bytes = delivery.body.len();
        let offer = sequence.offer(seq - 1, seq, bytes, delivery, |seq, delivery| {
            deliver_message(channel, members, seq, &delivery);
        });
        let repair = offer == Offer::Waiting && sequence.has_gap() && !state.repairing;
        state.repairing |= repair;
        repair
    }

    /// Delivers what happened to a message. It has no position: a client that missed it reads it from the store.
    pub fn broadcast(&self, channel: ChannelId, event: EventId, delivery: &Payload) {
        let Some(room) = self.room(channel) else {
            return;
        };
        let mut state = room.state.lock();
        if state.told.contains(&event) {
            return;
        }
        if state.told.len() == REMEMBERED {
            state.told.pop_front();
        }
        state.told.push_back(event);
        for ((feed, frame_format), members) in &mut state.members {
            if *feed == ChannelStream::Events {
                let frame = encode(frame_format, channel, ChannelStream::Events, delivery, &[]);
                for member in members.values_mut() {
                    member.give(frame.clone());
                }
            }
        }
    }

    /// Marks that somebody looks for what a room is missing. Returns the position to read from, or `None` when there is no
    /// such room or somebody does so already.
    pub fn begin_repair(&self, channel: ChannelId) -> Option<i64> {
        let room = self.room(channel)?;
        let mut state = room.state.lock();
        if state.repairing {
            return None;
        }
        // Of a room that was made a moment ago it is not known yet what could be missing.
        let position = state.sequence.position()?;
        state.repairing = true;
        Some(position)
    }

    /// The position delivered last, if there is such a room.
    pub fn position(&self, channel: ChannelId) -> Option<i64> {
        self.room(channel)?.state.lock().sequence.position()
    }

    /// Delivers what was read from the store: all there is up to `through`.
    pub fn repair(&self, channel: ChannelId, messages: Vec<(i64, Payload)>, through: i64) {
        let Some(room) = self.room(channel) else {
            return;
        };
        let mut state = room.state.lock();
        let RoomState {
            sequence, members, ..
        } = &mut *state;
        for (seq, delivery) in messages {
            // Between two that follow each other in the store there is nothing: deleted messages leave holes.
            let previous = sequence.position().unwrap_or_default().min(seq - 1);
            let bytes = delivery.body.len();
            sequence.offer(previous, seq, bytes, delivery, |seq, delivery| {
                deliver_message(channel, members, seq, &delivery);
            });
        }
        sequence.fill(through, |seq, delivery| {
            deliver_message(channel, members, seq, &delivery);
        });
    }

    /// Ends a repair. True if something is missing again, or still.
    pub fn end_repair(&self, channel: ChannelId) -> bool {
        let Some(room) = self.room(channel) else {
            return false;
        };
        let mut state = room.state.lock();
        state.repairing = false;
        state.sequence.has_gap()
    }
}

#[cfg(test)]
mod tests;
