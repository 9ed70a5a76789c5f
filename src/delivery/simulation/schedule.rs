//! A random schedule: what users write and change, and what fails.

use std::collections::BTreeMap;

use super::{
    nodes::Published,
    rng::Rng,
    sse::SseClient,
    stomp::StompClient,
    stores::{Channel, Redis, Stores, Time, user_id},
    world::{END, HEALED_AT, World},
};
use crate::events::position::EventLog;

/// Bytes of large records and of stored texts. Four records of the first kind are more than a node holds back for a channel, and a page
/// of its stored texts is delivered in portions. Six records of the second kind are more than a node queues for a client.
const LARGE: [(usize, usize); 2] = [(20_000, 12_000), (100_000, 0)];

/// The system of this seed with its schedule.
pub(super) fn world(seed: u64, traced: bool) -> World {
    let mut rng = Rng::new(seed);
    let users = 1 + rng.below(3);
    let large = rng.percent(1);
    let (record_len, stored_len) = if large { rng.pick(&LARGE) } else { (0, 0) };
    let channels = [false, true].map(|private| Channel {
        private,
        members: (0..users).collect(),
        removed: BTreeMap::new(),
        messages: Vec::new(),
        record_len,
        stored_len,
    });
    // The last channel is private.
    let channels: Vec<_> = channels.into_iter().skip(rng.below(2)).collect();
    let few = rng.percent(10);
    let max_len = if few { 4 } else { 1_000 };
    let stores = Stores {
        channels,
        redis: Redis::new(max_len),
    };
    let mut world = World::new(rng, stores, traced);
    world.max_replayed = if few { 5 } else { 1_000 };
    world.is_history_complete = !few && !world.faults.lossy;
    if world.faults.lossy {
        for log in [
            EventLog::All,
            EventLog::User(user_id(0)),
            EventLog::User(user_id(1)),
            EventLog::User(user_id(2)),
        ] {
            world.append_entry(log, 0);
        }
        let delay = world.rng.within(500..=3_000);
        world.after(delay, World::lose_history);
    }
    for node in 0..=world.rng.below(3) {
        world.start_node(node);
    }
    let (stomp, sse) = world.rng.pick(&[(2, 0), (3, 0), (0, 2), (2, 1)]);
    let channels = world.stores.channels.len();
    for client in 0..stomp {
        world.stomp.push(StompClient::new(client % users, channels));
        let delay = world.rng.within(0..=1_000);
        world.after(delay, move |world| world.connect_stomp(client));
    }
    for client in 0..sse {
        world.sse.push(SseClient::new(client % users));
        let delay = world.rng.within(0..=1_000);
        world.after(delay, move |world| world.connect_sse(client));
    }
    for _ in 0..6 + world.rng.below(12) {
        let delay = world.rng.within(0..=3_500);
        world.after(delay, World::act);
    }
    // The last events reveal a log that is not repaired any more.
    for channel in 0..channels {
        world.after(HEALED_AT + 100 - 1_000_000, move |world| {
            world.post(channel);
            if world.rng.percent(30) {
                // A message that was deleted before its record was published, which no node can get.
                world.stores.channels[channel].messages.push(false);
            }
        });
    }
    if sse > 0 {
        world.after(HEALED_AT + 200 - 1_000_000, |world| {
            world.append(EventLog::All);
        });
    }
    world
}

impl World {
    /// Does one random thing.
    fn act(&mut self) {
        let channel = self.rng.below(self.stores.channels.len());
        let private = self.stores.channels.len() - 1;
        let node = self.rng.below(self.nodes.len());
        match self.rng.below(100) {
            0..45 if !self.stomp.is_empty() => self.post(channel),
            45..50 => self.delete(channel),
            50..60 => self.remove(private),
            60..66 => self.add(private),
            66..76 if !self.stomp.is_empty() => {
                let client = self.rng.below(self.stomp.len());
                let delay = self.rng.within(0..=1_000);
                self.disconnect_stomp(client, delay);
            }
            76..86 if !self.sse.is_empty() => {
                let client = self.rng.below(self.sse.len());
                let delay = self.rng.within(0..=1_000);
                self.disconnect_sse(client, delay);
            }
            86..89 => self.kill(node),
            _ if self.sse.is_empty() => {}
            _ => {
                let user = self.rng.below(2);
                let own = EventLog::User(user_id(user));
                let log = self.rng.pick(&[EventLog::All, own]);
                self.append(log);
            }
        }
    }

    /// Commits a message and publishes its event.
    fn post(&mut self, channel: usize) {
        self.stores.channels[channel].messages.push(true);
        let seq = self.stores.channels[channel].newest();
        self.log(|| format!("message {seq} of channel {channel} is stored"));
        self.publish(Published::Message { channel, seq });
    }

    fn delete(&mut self, channel: usize) {
        let messages = self.stores.channels[channel].messages.len();
        if messages > 0 {
            let index = self.rng.below(messages);
            self.stores.channels[channel].messages[index] = false;
            self.log(|| format!("message {} of channel {channel} is deleted", index + 1));
        }
    }

    /// Appends an event to a log and publishes it; sometimes twice, when the first node dies before it deletes the outbox row.
    fn append(&mut self, log: EventLog) {
        let event = u32::try_from(self.next_number()).expect("few events");
        let copies = if !self.is_healed() && self.rng.percent(10) {
            2
        } else {
            1
        };
        for copy in 0..copies {
            self.after(copy * 500, move |world| {
                world.append_entry(log, event);
            });
        }
    }

    fn append_entry(&mut self, log: EventLog, event: u32) {
        let at = self.stores.redis.append(self.now, log, event);
        self.log(|| format!("event {event} is appended to {log:?} at {at}"));
        self.publish(Published::Sse { log, event, at });
    }

    /// Removes a participant from a private channel.
    fn remove(&mut self, channel: usize) {
        let members = &mut self.stores.channels[channel].members;
        let Some(user) = members
            .iter()
            .copied()
            .nth(self.rng.below(members.len().max(1)))
        else {
            return;
        };
        members.remove(&user);
        let number = self.next_number();
        self.stores.channels[channel].removed.insert(user, number);
        self.log(|| format!("user {user} is removed from channel {channel}"));
        self.publish(Published::Removal { channel, user });
        // A message that a subscription without the right would get.
        let delay = self.rng.within(1..=1_000);
        self.after(delay, move |world| world.post(channel));
        if self.rng.percent(70) {
            let longest = self.rng.pick(&[50, 600]);
            let delay = self.rng.within(1..=longest);
            self.after(delay, move |world| world.add(channel));
        }
    }

    /// Adds a user to a private channel again. The user's clients subscribe soon after.
    fn add(&mut self, channel: usize) {
        let stored = &self.stores.channels[channel];
        let Some(user) = (0..3).find(|user| !stored.is_readable(*user)) else {
            return;
        };
        self.read_all();
        self.stores.channels[channel].members.insert(user);
        self.forget_removal(channel, user);
        self.log(|| format!("user {user} is added to channel {channel}"));
        for client in 0..self.stomp.len() {
            if self.stomp[client].is_user(user) {
                let longest: Time = self.rng.pick(&[20, 300]);
                let delay = self.rng.within(1..=longest);
                self.after(delay, move |world| {
                    if world.stores.channels[channel].is_readable(user) {
                        world.subscribe(client, channel);
                    }
                });
            }
        }
    }

    /// Kills a node and starts another one in its place.
    fn kill(&mut self, node: usize) {
        self.log(|| format!("node {node} is killed"));
        let at = self.nodes[node].at;
        let delay = self.rng.within(1..=500);
        for client in 0..self.stomp.len() {
            if self.stomp[client].is_on(at) {
                self.disconnect_stomp(client, delay);
            }
        }
        for client in 0..self.sse.len() {
            if self.sse[client].is_on(at) {
                self.disconnect_sse(client, delay);
            }
        }
        self.start_node(node);
    }

    /// Redis loses data, once. A node cannot notice that an empty log got its first entry and lost it again before the record of
    /// that entry arrived, so the logs have entries, and a second loss would be too early.
    fn lose_history(&mut self) {
        if self.rng.percent(50) {
            self.log(|| "Redis is emptied".to_owned());
            self.stores.redis.flush();
        } else {
            let lost = self.rng.below(4);
            self.log(|| format!("Redis restarts without the last {lost} entries of each log"));
            self.stores.redis.restart(lost);
        }
    }

    /// Checks at the [`END`] that everybody has everything.
    pub(super) fn check_end(&mut self) {
        self.now = END;
        self.read_all();
        for client in 0..self.stomp.len() {
            self.check_stomp(client);
        }
        for client in 0..self.sse.len() {
            self.check_sse(client);
        }
        if self.nodes.iter().any(|node| node.repairs > 0) {
            self.violate("a repair does not end".to_owned());
        }
    }
}
