//! The simulated system: stores, log, nodes and clients in virtual time.

use std::{collections::BTreeMap, fmt::Write};

use super::{
    nodes::Node,
    rng::Rng,
    sse::SseClient,
    stomp::StompClient,
    stores::{Stores, Time},
};

/// Time at which the stores and the log work again.
pub(super) const HEALED_AT: Time = 1_004_000;
/// Time at which everybody has everything. An audit may fail until the heal, and again with the answer that comes last; the
/// audit after it and its repairs end 12 s after the heal.
pub(super) const END: Time = HEALED_AT + 12_500;

/// How a schedule treats the log and the stores, until [`HEALED_AT`].
pub(super) struct Faults {
    /// Percentage of records that a node does not get.
    pub(super) dropped: u64,
    /// Percentage of records that a node gets twice.
    pub(super) doubled: u64,
    /// Percentage of records that come up to 6 s late.
    pub(super) late: u64,
    /// Percentage of reads that fail after up to 5 s.
    pub(super) failed: u64,
    /// Longest time of every other read that succeeds, in milliseconds.
    pub(super) latency: Time,
    /// Whether Redis loses data.
    pub(super) lossy: bool,
    /// Percentage of events after which a client reads all that the node has for it.
    pub(super) read: u64,
}

type Event = Box<dyn FnOnce(&mut World)>;

/// The simulated system. Events run one after the other, in the order of their times.
pub(super) struct World {
    pub(super) now: Time,
    pub(super) rng: Rng,
    pub(super) faults: Faults,
    pub(super) stores: Stores,
    pub(super) nodes: Vec<Node>,
    pub(super) stomp: Vec<StompClient>,
    pub(super) sse: Vec<SseClient>,
    /// Maximum events of one replay of a stream.
    pub(super) max_replayed: usize,
    /// Whether each replay is short and Redis loses nothing, so that no stream needs a `resync`.
    pub(super) is_history_complete: bool,
    events: BTreeMap<(Time, u64), Event>,
    /// Number of the events so far, which orders the events of one time and names connections and nodes.
    pub(super) count: u64,
    pub(super) violation: Option<String>,
    /// What happened, if the schedule is replayed.
    trace: Option<String>,
}

impl World {
    pub(super) fn new(mut rng: Rng, stores: Stores, traced: bool) -> Self {
        let faults = Faults {
            dropped: rng.pick(&[0, 5, 20, 50]),
            doubled: rng.pick(&[0, 10, 30]),
            late: rng.pick(&[0, 10, 30]),
            failed: rng.pick(&[0, 0, 10, 40]),
            latency: rng.pick(&[5, 50, 400, 2_000]),
            lossy: rng.percent(30),
            read: rng.pick(&[50, 50, 10]),
        };
        Self {
            now: 1_000_000,
            rng,
            faults,
            stores,
            nodes: Vec::new(),
            stomp: Vec::new(),
            sse: Vec::new(),
            max_replayed: 0,
            is_history_complete: false,
            events: BTreeMap::new(),
            count: 0,
            violation: None,
            trace: traced.then(String::new),
        }
    }

    /// Runs all events until a violation or the [`END`].
    pub(super) fn run(&mut self) {
        while self.violation.is_none()
            && let Some(((time, _), event)) = self.events.pop_first()
            && time <= END
        {
            self.now = time;
            event(self);
            let percent = if self.is_healed() {
                50
            } else {
                self.faults.read
            };
            if self.rng.percent(percent) {
                self.read_all();
            }
        }
    }

    /// Every client reads all that its node has for it.
    pub(super) fn read_all(&mut self) {
        for client in 0..self.stomp.len() {
            self.read_stomp(client);
        }
        for client in 0..self.sse.len() {
            self.read_sse(client);
        }
    }

    pub(super) fn is_healed(&self) -> bool {
        self.now >= HEALED_AT
    }

    /// Runs an event after `delay` milliseconds.
    pub(super) fn after(&mut self, delay: Time, event: impl FnOnce(&mut Self) + 'static) {
        let number = self.next_number();
        self.events
            .insert((self.now + delay, number), Box::new(event));
    }

    pub(super) fn next_number(&mut self) -> u64 {
        self.count += 1;
        self.count
    }

    /// Reads from a store, which looks at its data when the request leaves or when the answer comes. `None` is a failure.
    pub(super) fn read<T: 'static>(
        &mut self,
        answer: impl FnOnce(&mut Stores, Time) -> T + 'static,
        then: impl FnOnce(&mut Self, Option<T>) + 'static,
    ) {
        if !self.is_healed() && self.rng.percent(self.faults.failed) {
            let delay = self.rng.within(1..=5_000);
            self.after(delay, |world| then(world, None));
            return;
        }
        let slow = !self.is_healed() && self.rng.percent(50);
        let latency = if slow { self.faults.latency } else { 5 };
        let delay = self.rng.within(1..=latency);
        if self.rng.percent(50) {
            let value = answer(&mut self.stores, self.now);
            self.after(delay, move |world| then(world, Some(value)));
        } else {
            self.after(delay, move |world| {
                let value = answer(&mut world.stores, world.now);
                then(world, Some(value));
            });
        }
    }

    /// Records the first violation of a promise.
    pub(super) fn violate(&mut self, violation: String) {
        self.log(|| format!("VIOLATION: {violation}"));
        self.violation.get_or_insert(violation);
    }

    /// Adds a line to the trace.
    pub(super) fn log(&mut self, line: impl FnOnce() -> String) {
        if let Some(trace) = &mut self.trace {
            let time = self.now - 1_000_000;
            writeln!(trace, "{time:>6} ms  {}", line()).expect("a string takes all");
        }
    }

    pub(super) fn take_trace(&mut self) -> String {
        self.trace.take().unwrap_or_default()
    }
}
