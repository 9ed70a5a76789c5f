//! Delivers each event of a log once and in order: an event is delivered only when it follows the last delivered one.
//!
//! A [`Sequence`] does no IO. It holds back events that arrive early, and reports a gap once; the caller reads the missing
//! events from the store, offers them, and ends the repair.
//!
//! ```
//! use discodeit::delivery::sequence::{Offer, Sequence};
//!
//! /// Offers the event at position `seq` of a log whose positions are 1, 2, 3 …
//! fn offer(log: &mut Sequence<i64, &'static str>, seq: i64, text: &'static str, seen: &mut Vec<&'static str>) -> Offer {
//!     log.offer(seq - 1, seq, text.len(), text, |_, text| seen.push(text))
//! }
//!
//! let mut log = Sequence::default();
//! let mut seen = Vec::new();
//! // The store's newest event is 4: events after it are delivered.
//! log.start(4, |_, text| seen.push(text));
//!
//! // In order.
//! assert_eq!(offer(&mut log, 5, "five", &mut seen), Offer::Delivered);
//! // A duplicate.
//! assert_eq!(offer(&mut log, 5, "five", &mut seen), Offer::Duplicate);
//!
//! // Event 6 is missing. The gap is reported once.
//! assert_eq!(offer(&mut log, 7, "seven", &mut seen), Offer::Gap);
//! assert_eq!(offer(&mut log, 8, "eight", &mut seen), Offer::Waiting);
//! assert_eq!(seen, ["five"]);
//!
//! // The repair: the store has event 6, and no other event up to 6.
//! assert_eq!(offer(&mut log, 6, "six", &mut seen), Offer::Delivered);
//! log.fill(6, |_, text| seen.push(text));
//! assert!(!log.end_repair(), "no event is missing");
//! assert_eq!(seen, ["five", "six", "seven", "eight"]);
//! ```

use std::collections::BTreeMap;

use crate::delivery::check::check;

/// Limit for the bytes of early events. Beyond it the newest ones are dropped: the store has them. When a gap closes, all early
/// events are delivered at once, so the limit is a fraction of what one connection may queue.
const MAX_EARLY_BYTES: usize = crate::limits::MAX_QUEUED_BYTES / 8;
/// Smallest size that an early event counts with: the memory it takes beside its body.
const MIN_EVENT_BYTES: usize = 128;

/// Outcome of [`Sequence::offer`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Offer {
    /// Delivered, with the early events that follow it.
    Delivered,
    /// Dropped: delivered before.
    Duplicate,
    /// Held back: the start is unknown, or a repair of the gap before the event is running.
    Waiting,
    /// Held back: an earlier event is missing. The repair counts as begun, and the caller runs it.
    Gap,
}

/// An ordered log as this node delivers it. `P` is a position in the log.
#[derive(Debug)]
pub struct Sequence<P, T> {
    position: Option<P>,
    early: BTreeMap<P, Early<P, T>>,
    early_bytes: usize,
    /// Position of the newest early event that was dropped; a repair reads the store at least that far.
    dropped_through: Option<P>,
    repairing: bool,
}

#[derive(Debug)]
struct Early<P, T> {
    previous: P,
    bytes: usize,
    event: T,
}

impl<P: Copy + Ord, T> Default for Sequence<P, T> {
    fn default() -> Self {
        Self {
            position: None,
            early: BTreeMap::new(),
            early_bytes: 0,
            dropped_through: None,
            repairing: false,
        }
    }
}

impl<P: Copy + Ord, T> Sequence<P, T> {
    /// Position of the last delivered event; `None` until [`Self::start`].
    pub fn position(&self) -> Option<P> {
        self.position
    }

    /// Whether an event is missing: early events are held back, or were dropped.
    pub fn has_gap(&self) -> bool {
        self.position.is_some() && (!self.early.is_empty() || self.dropped_through > self.position)
    }

    /// Starts after `at`, and delivers the early events that follow it. Has no effect on a started sequence.
    pub fn start(&mut self, at: P, deliver: impl FnMut(P, T)) {
        if !check!(Start, self.position.is_some()) {
            self.fill(at, deliver);
        }
    }

    /// Drops all early events and continues after `at`. A running repair goes on.
    pub fn restart(&mut self, at: P) {
        *self = Self {
            position: Some(at),
            repairing: self.repairing,
            ..Self::default()
        };
    }

    /// Offers an event of `bytes` bytes at position `at`; `previous` is the position right before it in the log.
    pub fn offer(
        &mut self,
        previous: P,
        at: P,
        bytes: usize,
        event: T,
        mut deliver: impl FnMut(P, T),
    ) -> Offer {
        match self.position {
            Some(position) if check!(Duplicates, at <= position) => Offer::Duplicate,
            Some(position) if !check!(Gaps, previous > position) => {
                self.position = Some(at);
                deliver(at, event);
                self.fill(at, deliver);
                Offer::Delivered
            }
            _ => {
                self.hold(previous, at, bytes.max(MIN_EVENT_BYTES), event);
                if self.has_gap() && self.begin_repair() {
                    Offer::Gap
                } else {
                    Offer::Waiting
                }
            }
        }
    }

    fn hold(&mut self, previous: P, at: P, bytes: usize, event: T) {
        let early = Early {
            previous,
            bytes,
            event,
        };
        let replaced = self.early.insert(at, early);
        self.early_bytes += bytes;
        self.early_bytes -= replaced.map_or(0, |replaced| replaced.bytes);
        while self.early_bytes > MAX_EARLY_BYTES
            && let Some((at, newest)) = self.early.pop_last()
        {
            self.early_bytes -= newest.bytes;
            self.dropped_through = self.dropped_through.max(Some(at));
        }
    }

    /// Closes the gap up to `through`, for a caller that has offered all that the store has up to there. Delivers the early
    /// events that follow.
    pub fn fill(&mut self, through: P, mut deliver: impl FnMut(P, T)) {
        let mut position = match self.position {
            Some(position) if !check!(Through, through > position) => position,
            _ => through,
        };
        while let Some(entry) = self.early.first_entry() {
            let (at, previous) = (*entry.key(), entry.get().previous);
            if check!(EarlyOrder, at > position && previous > position) {
                break;
            }
            let early = entry.remove();
            self.early_bytes -= early.bytes;
            if at > position {
                position = at;
                deliver(at, early.event);
            }
        }
        self.position = Some(position);
    }

    /// Marks a repair as begun. False when one is running, or before the start, when the missing events are unknown.
    pub fn begin_repair(&mut self) -> bool {
        let begins = self.position.is_some() && !self.repairing;
        self.repairing |= begins;
        begins
    }

    /// Marks the repair as ended. True when an event is still missing.
    pub fn end_repair(&mut self) -> bool {
        self.repairing = false;
        self.has_gap()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_event_offered_before_the_start_is_held_back() {
        let mut sequence = Sequence::default();
        let mut seen = Vec::new();
        assert_eq!(
            sequence.offer(6, 7, 0, "seven", |at, _| seen.push(at)),
            Offer::Waiting
        );
        assert_eq!(
            sequence.offer(4, 5, 0, "five", |at, _| seen.push(at)),
            Offer::Waiting
        );
        assert!(!sequence.has_gap(), "there is no gap before the start");
        sequence.start(6, |at, _| seen.push(at));
        assert_eq!((seen, sequence.position()), (vec![7], Some(7)));
    }

    #[test]
    fn a_deleted_event_is_skipped() {
        let mut sequence = Sequence::default();
        let mut seen = Vec::new();
        sequence.start(1, |at, ()| seen.push(at));
        assert_eq!(
            sequence.offer(3, 4, 0, (), |at, ()| seen.push(at)),
            Offer::Gap
        );
        assert!(sequence.has_gap());
        // Message 2 was deleted, message 3 is in the store.
        sequence.fill(2, |at, ()| seen.push(at));
        assert_eq!(
            sequence.offer(2, 3, 0, (), |at, ()| seen.push(at)),
            Offer::Delivered
        );
        assert_eq!(seen, [3, 4]);
    }

    #[test]
    fn a_dropped_early_event_is_a_gap_until_it_is_offered_again() {
        let mut sequence = Sequence::default();
        let mut seen = Vec::new();
        sequence.start(0, |at, ()| seen.push(at));
        let half = MAX_EARLY_BYTES / 2;
        for at in 2..=5 {
            sequence.offer(at - 1, at, half, (), |at, ()| seen.push(at));
        }
        sequence.offer(0, 1, half, (), |at, ()| seen.push(at));
        assert_eq!(seen, [1, 2, 3]);
        assert!(sequence.has_gap(), "4 and 5 were dropped");
        for at in 4..=5 {
            sequence.offer(at - 1, at, half, (), |at, ()| seen.push(at));
        }
        assert!(!sequence.has_gap());
    }

    #[test]
    fn a_gap_is_reported_once_until_its_repair_ends() {
        let mut sequence = Sequence::default();
        assert!(!sequence.begin_repair(), "not started");
        sequence.start(0, |_, ()| {});
        let offer =
            |sequence: &mut Sequence<_, _>, at| sequence.offer(at - 1, at, 0, (), |_, ()| {});
        assert_eq!(offer(&mut sequence, 2), Offer::Gap);
        assert_eq!(offer(&mut sequence, 3), Offer::Waiting);
        assert!(!sequence.begin_repair(), "one is running");
        sequence.restart(4);
        assert_eq!(sequence.position(), Some(4));
        assert_eq!(
            offer(&mut sequence, 6),
            Offer::Waiting,
            "the repair goes on"
        );
        assert!(sequence.end_repair(), "5 is missing");
        assert_eq!(offer(&mut sequence, 7), Offer::Gap);
        assert_eq!(offer(&mut sequence, 5), Offer::Delivered);
        assert!(!sequence.end_repair());
        assert!(sequence.begin_repair());
    }

    proptest! {
        #[test]
        fn events_are_delivered_once_and_in_order_despite_reordering_loss_and_duplicates(
            (records, repair_at) in (1u64..60).prop_flat_map(|last| (
                proptest::collection::vec((1..=last, any::<bool>()), 0..150),
                Just(last),
            )),
        ) {
            // Some events are so large that others are dropped.
            let bytes = |at: u64| usize::try_from(at % 7).unwrap_or(0) * 8 * 1024;
            let mut sequence = Sequence::default();
            let mut seen = Vec::new();
            sequence.start(0u64, |at, _: u64| seen.push(at));
            for (at, repair) in records {
                sequence.offer(at - 1, at, bytes(at), at, |at, _| seen.push(at));
                if repair && sequence.has_gap() {
                    let from = sequence.position().unwrap_or_default();
                    for stored in from + 1..=at {
                        sequence.offer(stored - 1, stored, bytes(stored), stored, |at, _| seen.push(at));
                    }
                    sequence.fill(at, |at, _| seen.push(at));
                    prop_assert!(sequence.position() >= Some(at));
                }
            }
            let from = sequence.position().unwrap_or_default();
            for stored in from + 1..=repair_at {
                sequence.offer(stored - 1, stored, bytes(stored), stored, |at, _| seen.push(at));
            }
            prop_assert_eq!(seen, (1..=repair_at).collect::<Vec<_>>());
        }
    }
}
