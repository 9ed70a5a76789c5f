//! The simulated nodes: records from the log, repairs and audits.

use std::{
    cell::Cell,
    collections::HashSet,
    rc::Rc,
    sync::{Arc, LazyLock},
    time::Duration,
};

use uuid::Uuid;

use super::{
    stores::{Stores, Time, channel_id, channel_number, data, user_id, user_number},
    world::World,
};
use crate::{
    auth::sessions::Sessions,
    delivery::{
        Delivery, Removal, Reports,
        repair::steps::{Repair, Step, compare_channels, compare_logs, end_memberships},
    },
    events::{
        kafka::Record,
        position::{EventLog, Position},
    },
    ids::EventId,
    model::{Control, Event, Topic, event},
    redis_client::RedisClient,
    secret::Secret,
    tasks::Tasks,
    traces::Traces,
};

/// Time between a gap and its repair.
const GAP_GRACE: Time = 15;
const AUDIT_INTERVAL: Time = 5_000;
/// Timeout of the check of a removal.
const REMOVAL_TIMEOUT: Time = 400;
/// Messages or events of one read. Small, so that repairs need several.
pub(super) const PAGE_LEN: usize = 3;

/// A node until it is killed. Its successor has the same index and another number.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct NodeRef {
    pub(super) index: usize,
    number: u64,
}

pub(super) struct Node {
    pub(super) delivery: Delivery,
    reports: Reports,
    /// Repairs that have begun and not ended.
    pub(super) repairs: usize,
    pub(super) at: NodeRef,
    started_at: Time,
    /// Removed participants, as channel and user, whose removal has taken effect on this node.
    removed: HashSet<(usize, usize)>,
}

/// A record of the log.
#[derive(Clone, Copy, Debug)]
pub(super) enum Published {
    Message {
        channel: usize,
        seq: i64,
    },
    Sse {
        log: EventLog,
        event: u32,
        at: Position,
    },
    Removal {
        channel: usize,
        user: usize,
    },
}

#[derive(Clone, Copy)]
enum Audit {
    Channels,
    Memberships,
    Logs,
}

/// A connection that is never used.
static SESSIONS: LazyLock<Sessions> = LazyLock::new(|| {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let _guard = runtime.enter();
    let redis =
        RedisClient::new(&Secret::new("redis://localhost"), Arc::default()).expect("a valid URL");
    Sessions::new(redis, Duration::from_hours(1), &Secret::new("unused"))
});

impl World {
    /// Starts a node, or another one in the place of a killed one.
    pub(super) fn start_node(&mut self, index: usize) {
        let (delivery, reports) = Delivery::new(
            20,
            SESSIONS.clone(),
            Tasks::new(),
            Arc::default(),
            Traces::default(),
        );
        let at = NodeRef {
            index,
            number: self.next_number(),
        };
        let node = Node {
            delivery,
            reports,
            repairs: 0,
            at,
            started_at: self.now,
            removed: HashSet::new(),
        };
        if index < self.nodes.len() {
            self.nodes[index] = node;
        } else {
            self.nodes.push(node);
        }
        for audit in [Audit::Channels, Audit::Memberships, Audit::Logs] {
            let first = self.rng.within(1..=AUDIT_INTERVAL);
            self.after(first, move |world| world.audit(at, audit));
        }
    }

    /// The node, if it was not killed.
    pub(super) fn node(&self, at: NodeRef) -> Option<&Node> {
        let node = &self.nodes[at.index];
        (node.at == at).then_some(node)
    }

    /// Gives a record to the log, which carries it to each node or not.
    pub(super) fn publish(&mut self, record: Published) {
        let published_at = self.now;
        let healed = self.is_healed();
        for node in 0..self.nodes.len() {
            let copies = if healed {
                1
            } else if self.rng.percent(self.faults.dropped) {
                0
            } else if self.rng.percent(self.faults.doubled) {
                2
            } else {
                1
            };
            for _ in 0..copies {
                let late = !healed && self.rng.percent(self.faults.late);
                let delay = self.rng.within(1..=if late { 6_000 } else { 10 });
                self.after(delay, move |world| {
                    // A node reads the log from the end that it has when the node starts.
                    if world.nodes[node].started_at <= published_at {
                        world.receive(node, record);
                    }
                });
            }
        }
    }

    fn receive(&mut self, node: usize, record: Published) {
        self.log(|| format!("node {node} receives {record:?}"));
        let record = self.record(record);
        self.nodes[node].delivery.dispatch(record);
        self.begin_repairs(node);
    }

    /// A removal before event `asked` takes effect on a node, unless the user was added again. Earlier messages count as read.
    fn on_removal(&mut self, node: usize, (channel, user): Removal, asked: u64) {
        self.read_all();
        let (channel, user) = (channel_number(channel), user_number(user));
        let stored = &self.stores.channels[channel];
        if !stored.is_readable(user) && stored.removed[&user] < asked {
            self.nodes[node].removed.insert((channel, user));
        }
    }

    pub(super) fn is_removed(&self, node: usize, channel: usize, user: usize) -> bool {
        self.nodes[node].removed.contains(&(channel, user))
    }

    pub(super) fn forget_removal(&mut self, channel: usize, user: usize) {
        for node in &mut self.nodes {
            node.removed.remove(&(channel, user));
        }
    }

    fn record(&self, record: Published) -> Record {
        let mut of_event = Event {
            id: EventId(Uuid::nil()),
            topic: Topic::Messages,
            key: String::new(),
            kind: event::MESSAGE_CREATED,
            seq: None,
            body: bytes::Bytes::new(),
            trace: None,
        };
        let mut position = None;
        match record {
            Published::Message { channel, seq } => {
                let padding = "x".repeat(self.stores.channels[channel].record_len);
                of_event.key = channel_id(channel).to_string();
                of_event.seq = Some(seq);
                of_event.body = format!("{{\"seq\":{seq},\"text\":\"{padding}\"}}").into();
            }
            Published::Sse { log, event, at } => {
                of_event.topic = Topic::Sse;
                of_event.kind = event::CHANNELS_REFRESH;
                of_event.key = match log {
                    EventLog::All => event::EVERYONE.to_owned(),
                    EventLog::User(user) => user.to_string(),
                };
                of_event.body = data(log, event).into();
                position = Some(at);
            }
            Published::Removal { channel, user } => {
                of_event = Event::control(&Control::MembershipLost {
                    user_id: user_id(user),
                    channel_id: channel_id(channel),
                });
            }
        }
        Record {
            event: of_event,
            position,
        }
    }

    /// Begins a repair of each gap that the node has reported.
    pub(super) fn begin_repairs(&mut self, node: usize) {
        let at = self.nodes[node].at;
        while let Ok((gap, ..)) = self.nodes[node].reports.gaps.try_recv() {
            self.log(|| format!("node {node} repairs {gap:?}"));
            let repair = Repair::new(gap, PAGE_LEN);
            self.nodes[node].repairs += 1;
            self.after(GAP_GRACE, move |world| world.repair(at, repair));
        }
        while let Ok(removal) = self.nodes[node].reports.removals.try_recv() {
            self.check_removal(at, removal);
        }
    }

    /// Asks whether a user was removed, for 400 ms at most.
    fn check_removal(&mut self, at: NodeRef, removal: Removal) {
        let checked_at = self.nodes[at.index].delivery.hub.tick();
        let asked = self.next_number();
        let answered = Rc::new(Cell::new(false));
        let end = move |world: &mut Self, lost: Option<Vec<Removal>>| {
            if answered.replace(true) || world.node(at).is_none() {
                return;
            }
            world.log(|| {
                format!(
                    "node {} knows whether {removal:?} is lost: {lost:?}",
                    at.index
                )
            });
            if lost.as_ref().is_none_or(|lost| !lost.is_empty()) {
                world.on_removal(at.index, removal, asked);
            }
            let delivery = &world.nodes[at.index].delivery;
            end_memberships(delivery, &[removal], lost.as_deref(), checked_at);
        };
        let give_up = end.clone();
        self.after(REMOVAL_TIMEOUT, move |world| give_up(world, None));
        self.read(
            move |stores, _| stores.lost_memberships(vec![removal]),
            move |world, lost| end(world, lost),
        );
    }

    fn repair(&mut self, at: NodeRef, mut repair: Repair) {
        let Some(node) = self.node(at) else {
            return;
        };
        match repair.step(&node.delivery) {
            Step::Read(read) => self.read(
                move |stores, now| stores.answer(now, read, PAGE_LEN),
                move |world, answer| {
                    let Some(node) = world.node(at) else {
                        return;
                    };
                    if let Some(answer) = answer {
                        repair.on_answer(&node.delivery, read, answer);
                        world.repair(at, repair);
                    } else {
                        world.end_repair(at, repair, false);
                    }
                },
            ),
            Step::Yield => self.after(1, move |world| world.repair(at, repair)),
            Step::Done => self.end_repair(at, repair, true),
        }
    }

    fn end_repair(&mut self, at: NodeRef, repair: Repair, succeeded: bool) {
        let node = &mut self.nodes[at.index];
        node.repairs -= 1;
        repair.end(&node.delivery, succeeded);
        self.begin_repairs(at.index);
    }

    fn audit(&mut self, at: NodeRef, audit: Audit) {
        let Some(node) = self.node(at) else {
            return;
        };
        let delivery = &node.delivery;
        match audit {
            // Without clients there is nothing to list.
            Audit::Channels | Audit::Memberships if delivery.hub.is_empty() => {
                self.after(AUDIT_INTERVAL, move |world| world.audit(at, audit));
            }
            Audit::Channels => {
                let channels = delivery.hub.positions();
                let mut channels: Vec<_> = channels.into_iter().map(|(id, _)| id).collect();
                channels.sort_unstable();
                let listed = channels.clone();
                self.audit_with(
                    (at, audit),
                    channels.is_empty(),
                    move |stores, _| stores.newest(&listed),
                    move |world, newest| {
                        compare_channels(&world.nodes[at.index].delivery, &channels, &newest);
                    },
                );
            }
            Audit::Memberships => {
                let mut members: Vec<_> = delivery.hub.private_members().into_iter().collect();
                members.sort_unstable();
                let checked_at = delivery.hub.tick();
                let asked = self.next_number();
                self.audit_with(
                    (at, audit),
                    members.is_empty(),
                    move |stores, _| stores.lost_memberships(members),
                    move |world, lost| {
                        for removal @ (channel, user) in lost {
                            world.on_removal(at.index, removal, asked);
                            let hub = &world.nodes[at.index].delivery.hub;
                            hub.end_membership(channel, user, checked_at);
                        }
                    },
                );
            }
            Audit::Logs => {
                let mut subscribed = delivery.sse.positions();
                subscribed.sort_unstable_by_key(|(log, _)| match log {
                    EventLog::All => None,
                    EventLog::User(user) => Some(*user),
                });
                let listed = subscribed.clone();
                self.audit_with(
                    (at, audit),
                    subscribed.is_empty(),
                    move |stores, now| {
                        let tips = listed.iter().map(|(log, _)| stores.redis.tip(now, *log));
                        tips.collect::<Vec<_>>()
                    },
                    move |world, tips| {
                        compare_logs(&world.nodes[at.index].delivery, &subscribed, &tips);
                    },
                );
            }
        }
    }

    /// Reads for an audit unless there is nothing to compare, compares, and repeats the audit.
    fn audit_with<T: 'static>(
        &mut self,
        (at, audit): (NodeRef, Audit),
        nothing: bool,
        answer: impl FnOnce(&mut Stores, Time) -> T + 'static,
        compare: impl FnOnce(&mut Self, T) + 'static,
    ) {
        if nothing {
            self.after(AUDIT_INTERVAL, move |world| world.audit(at, audit));
            return;
        }
        self.read(answer, move |world, answer| {
            if world.node(at).is_none() {
                return;
            }
            if let Some(answer) = answer {
                compare(world, answer);
                world.begin_repairs(at.index);
            }
            world.after(AUDIT_INTERVAL, move |world| world.audit(at, audit));
        });
    }
}
