//! The STOMP connections of this node, and the channels that they subscribe to.
//!
//! A [`Room`] is a channel with subscribers on this node. It delivers each message once and in order, by the rule of
//! [`sequence`](super::sequence); the tasks in [`repair`](super::repair) read missing messages from PostgreSQL. No lock is held
//! across an await.

mod room;
mod subscribe;
mod subscriber;

use std::{
    collections::{HashMap, HashSet},
    hash::{BuildHasher, RandomState},
    num::NonZero,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
};

use parking_lot::{Mutex, RwLock};
use prometheus_client::metrics::counter::Counter;
use tokio::sync::Semaphore;

use crate::{
    delivery::{
        destination::ChannelStream, disconnect::CloseReason, outbound::SendQueue, sequence::Offer,
        writers::Writers,
    },
    ids::{ChannelId, EventId, SessionId, UserId},
    model::{Control, event::Change},
};

use room::Room;

pub use room::Source;
pub use subscribe::{PendingSubscription, Subscribed, Unread};
pub use subscriber::{Connection, FrameFormat, Payload};

/// Locks of the room map. More than the cores that deliver at the same time, so that they seldom contend.
const SHARDS: usize = 64;
/// Subscriptions that read missed messages at the same time. The other connections of the pool are left to requests.
const MAX_REPLAYING: usize = 4;

type Shard = RwLock<HashMap<ChannelId, Arc<Room>>>;

/// The STOMP connections and rooms of this node.
pub struct Hub {
    hasher: RandomState,
    rooms: Vec<Shard>,
    connections: Mutex<HashMap<UserId, Vec<Arc<Connection>>>>,
    next_id: AtomicU64,
    clock: AtomicU64,
    per_user: usize,
    /// Write what the rooms queue.
    pub writers: Arc<Writers>,
    /// Permits to read missed messages from the store.
    pub replay_permits: Semaphore,
}

impl Hub {
    /// An empty hub that accepts `per_user` connections of each user. It counts what it queues for them in `deliveries`.
    pub fn new(per_user: usize, deliveries: Counter) -> Self {
        let writers = thread::available_parallelism().map_or(1, NonZero::get);
        Self {
            hasher: RandomState::new(),
            rooms: (0..SHARDS).map(|_| RwLock::default()).collect(),
            connections: Mutex::default(),
            next_id: AtomicU64::new(1),
            clock: AtomicU64::new(1),
            per_user,
            writers: Arc::new(Writers::new(writers, deliveries)),
            replay_permits: Semaphore::new(MAX_REPLAYING),
        }
    }

    /// Adds a connection; `None` when the user has too many. The caller must call [`Self::leave`] in the end.
    pub fn join(
        &self,
        user: UserId,
        session: SessionId,
        send_queue: Arc<SendQueue>,
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

    /// Removes a connection. The caller removes its subscriptions with [`Self::unsubscribe`].
    pub fn leave(&self, connection: &Connection) {
        let mut connections = self.connections.lock();
        if let Some(of_user) = connections.get_mut(&connection.user) {
            of_user.retain(|other| other.id != connection.id);
            if of_user.is_empty() {
                connections.remove(&connection.user);
            }
        }
    }

    /// Number of connections.
    pub fn len(&self) -> usize {
        self.connections.lock().values().map(Vec::len).sum()
    }

    /// Whether there is no connection.
    pub fn is_empty(&self) -> bool {
        self.connections.lock().is_empty()
    }

    /// User and session of every connection.
    pub fn sessions(&self) -> Vec<(UserId, SessionId)> {
        let connections = self.connections.lock();
        connections
            .values()
            .flatten()
            .map(|connection| (connection.user, connection.session))
            .collect()
    }

    /// Closes the connections and ends the subscriptions that a control event revokes.
    pub fn apply(&self, control: &Control) {
        match control {
            Control::SessionRevoked {
                user_id,
                session_id,
            } => self.close_connections(*user_id, |connection| connection.session == *session_id),
            Control::UserRevoked { user_id } => self.close_connections(*user_id, |_| true),
            Control::ChannelDeleted { channel_id } => self.close_room(*channel_id),
            // The user may participate again; the caller checks that, and calls `end_membership`.
            Control::MembershipLost { .. } => {}
        }
    }

    /// The next time of a logical clock. It orders subscriptions and the checks of their permissions.
    pub fn tick(&self) -> u64 {
        self.clock.fetch_add(1, Ordering::Relaxed)
    }

    /// Whether users subscribe to the channel on this node, or begin to.
    pub fn has_room(&self, channel: ChannelId) -> bool {
        self.room(channel).is_some()
    }

    /// Ends the subscriptions of a user who did not participate in a private channel when the store was asked. `checked_at` is a
    /// [`Self::tick`] from before the question. The user may participate again since: a connection that has subscribed since
    /// then is closed, and its client subscribes again.
    pub fn end_membership(&self, channel: ChannelId, user: UserId, checked_at: u64) {
        if let Some(room) = self.room(channel) {
            room.remove_user(user, checked_at, false);
            self.remove_if_unused(channel);
        }
    }

    /// Closes the connections of a user who may have lost a private channel, when the store does not answer. A client subscribes
    /// again with its next connection, if it may.
    pub fn close_unverified(&self, channel: ChannelId, user: UserId, checked_at: u64) {
        if let Some(room) = self.room(channel) {
            room.remove_user(user, checked_at, true);
            self.remove_if_unused(channel);
        }
    }

    /// Private channels with their subscribed users.
    pub fn private_members(&self) -> HashSet<(ChannelId, UserId)> {
        self.all_rooms()
            .flat_map(|room| {
                let users = room.private_subscribers().into_iter();
                users.map(move |user| (room.channel, user))
            })
            .collect()
    }

    fn close_connections(&self, user: UserId, which: impl Fn(&Connection) -> bool) {
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

    fn shard(&self, channel: ChannelId) -> &Shard {
        let hash = self.hasher.hash_one(channel);
        &self.rooms[usize::try_from(hash % SHARDS as u64).unwrap_or(0)]
    }

    fn room(&self, channel: ChannelId) -> Option<Arc<Room>> {
        self.shard(channel).read().get(&channel).cloned()
    }

    /// Every room; no shard stays locked meanwhile.
    fn all_rooms(&self) -> impl Iterator<Item = Arc<Room>> {
        let mut rooms = Vec::new();
        for shard in &self.rooms {
            rooms.extend(shard.read().values().cloned());
        }
        rooms.into_iter()
    }

    /// Channels with subscribers.
    pub fn channels(&self) -> Vec<ChannelId> {
        self.all_rooms().map(|room| room.channel).collect()
    }

    /// Number of subscriptions.
    pub fn subscriptions(&self) -> usize {
        self.all_rooms().map(|room| room.subscriptions()).sum()
    }

    /// Bytes in the send queues.
    pub fn queued_bytes(&self) -> usize {
        let connections = self.connections.lock();
        connections
            .values()
            .flatten()
            .map(|connection| connection.send_queue.bytes())
            .sum()
    }

    /// Channels with subscribers, with the position of the last delivered message.
    pub fn positions(&self) -> Vec<(ChannelId, i64)> {
        self.all_rooms()
            .filter_map(|room| Some((room.channel, room.position()?)))
            .collect()
    }

    /// Begins a subscription: from now on the room collects messages, while the caller reads the channel's position and the
    /// user's permission from the store.
    pub fn begin_subscription(self: &Arc<Self>, channel: ChannelId) -> PendingSubscription {
        let mut shard = self.shard(channel).write();
        let room = shard
            .entry(channel)
            .or_insert_with(|| Arc::new(Room::new(channel, self.writers.clone())));
        PendingSubscription::new(self.clone(), room.clone())
    }

    /// Ends a subscription.
    pub fn unsubscribe(
        &self,
        connection: &Connection,
        channel: ChannelId,
        stream: ChannelStream,
        frame_format: &FrameFormat,
    ) {
        if let Some(room) = self.room(channel) {
            room.unsubscribe(connection, stream, frame_format);
            self.remove_if_unused(channel);
        }
    }

    /// Whether a subscription has not ended.
    pub fn is_subscribed(
        &self,
        connection: &Connection,
        channel: ChannelId,
        stream: ChannelStream,
        frame_format: &FrameFormat,
    ) -> bool {
        self.room(channel)
            .is_some_and(|room| room.is_subscribed(connection, stream, frame_format))
    }

    /// Removes a room without subscribers.
    fn remove_if_unused(&self, channel: ChannelId) {
        let mut shard = self.shard(channel).write();
        if shard.get(&channel).is_some_and(|room| room.is_unused()) {
            shard.remove(&channel);
        }
    }

    fn close_room(&self, channel: ChannelId) {
        if let Some(room) = self.shard(channel).write().remove(&channel) {
            room.close();
        }
    }

    /// Delivers a message to the channel's subscribers. True when an earlier message is missing and the caller must repair
    /// the gap.
    pub fn offer(&self, channel: ChannelId, seq: i64, payload: Payload) -> bool {
        self.room(channel)
            .is_some_and(|room| room.offer(seq, payload) == Offer::Gap)
    }

    /// Delivers an event without a position. A client that misses one reads the changed message from the store.
    ///
    /// The event has the change of a message, if there is one, so it is held back while that message is missing, and is dropped when
    /// a later change was read from the outbox. True when it is held back and no repair is running.
    pub fn broadcast(
        &self,
        channel: ChannelId,
        event: EventId,
        payload: &Payload,
        change: Option<&Change>,
        source: Source,
    ) -> bool {
        self.room(channel).is_some_and(|room| {
            room.broadcast(event, payload, change, source) && room.begin_repair()
        })
    }

    /// Forgets which changes were read from the outbox, now that Kafka carries all of them again.
    pub fn forget_early_changes(&self) {
        self.all_rooms()
            .for_each(|room| room.forget_early_changes());
    }

    /// Marks a repair as begun. False without a room, while a repair is running, or before the room's position is known.
    pub fn begin_repair(&self, channel: ChannelId) -> bool {
        self.room(channel).is_some_and(|room| room.begin_repair())
    }

    /// Position of the last delivered message, if the channel has subscribers.
    pub fn position(&self, channel: ChannelId) -> Option<i64> {
        self.room(channel)?.position()
    }

    /// Delivers messages read from the store: all that it has up to `through`.
    pub fn repair(&self, channel: ChannelId, messages: Vec<(i64, Payload)>, through: i64) {
        if let Some(room) = self.room(channel) {
            room.repair(messages, through);
        }
    }

    /// Marks the repair as ended. True when a message is still missing.
    pub fn end_repair(&self, channel: ChannelId) -> bool {
        self.room(channel).is_some_and(|room| room.end_repair())
    }
}

#[cfg(test)]
mod tests;
