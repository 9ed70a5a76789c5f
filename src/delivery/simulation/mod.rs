//! A simulation of the delivery: nodes as plain values, a log and stores that fail, clients that check what they get.
//!
//! A schedule depends on its seed only. Its time is virtual and nothing is concurrent, so a second takes microseconds and a failure
//! can be replayed: `SIMULATION_SEED=17 make test T=simulation` prints what happens in schedule 17.
//!
//! - The nodes are [`Delivery`](super::Delivery) with the decisions of `repair::steps` and `sse::start`: the code that a node runs,
//!   without its tasks. A node may be killed; another one starts in its place.
//! - The log drops, doubles, delays and so reorders the records of each node.
//! - The stores answer at once, late or not at all, from what they had when they were asked or when they answer. Redis may lose all
//!   or its newest entries, once.
//! - STOMP clients subscribe to public and private channels, resume after the last message, disconnect, and read fast or slowly. Users
//!   are removed from private channels and added again. SSE clients resume after their last event id, on any node.
//!
//! Each schedule asserts the promises 2, 3 and 7 of `docs/architecture.md` at each frame, and at its end, some seconds after the last
//! fault, that everybody has everything.
//!
//! Not simulated: the outbox, events without a position, sessions that end, deleted channels, logs that expire after a day.

mod nodes;
mod rng;
mod schedule;
mod sse;
mod stomp;
mod stores;
mod world;

use std::{
    sync::atomic::{AtomicU64, Ordering},
    thread,
};

use super::check::{Check, REMOVED};

/// Schedules of [`no_schedule_breaks_a_promise`].
const SCHEDULES: u64 = 100_000;
/// Schedules of which one must notice that a check is removed.
const SCHEDULES_OF_A_MUTATION: u64 = 1_000;

/// Runs the schedule of a seed. Returns the violation of a promise, and what happened if it is `traced`.
fn run(seed: u64, traced: bool) -> Result<(), (String, String)> {
    let mut world = schedule::world(seed, traced);
    world.run();
    if world.violation.is_none() {
        world.check_end();
    }
    match world.violation.take() {
        None => Ok(()),
        Some(violation) => Err((violation, world.take_trace())),
    }
}

/// Runs the schedule of a seed again, and panics with what happened if it breaks a promise.
fn replay(seed: u64) {
    if let Err((violation, trace)) = run(seed, true) {
        panic!("{trace}{violation}\nreplay: SIMULATION_SEED={seed} make test T=simulation");
    }
}

#[test]
fn no_schedule_breaks_a_promise() {
    #[expect(
        clippy::disallowed_methods,
        reason = "a setting of the test, not of the node"
    )]
    if let Ok(seed) = std::env::var("SIMULATION_SEED") {
        replay(seed.parse().expect("SIMULATION_SEED is a number"));
        return;
    }
    let next = AtomicU64::new(0);
    let work = || {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= SCHEDULES {
                return;
            }
            if run(seed, false).is_err() {
                next.store(SCHEDULES, Ordering::Relaxed);
                replay(seed);
            }
        }
    };
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(work);
        }
    });
}

#[test]
fn a_removed_check_is_noticed() {
    for check in Check::ALL {
        REMOVED.set(Some(check));
        let noticed = (0..SCHEDULES_OF_A_MUTATION).any(|seed| run(seed, false).is_err());
        REMOVED.set(None);
        assert!(noticed, "no schedule notices that {check:?} is removed");
    }
}
