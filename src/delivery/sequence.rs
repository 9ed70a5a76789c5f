//! The one rule that gives order, no gaps and no duplicates: deliver an event only when it is the next one after what was
//! delivered last. Sans-IO; the caller reads what is missing from the store.

use std::collections::BTreeMap;

/// Bytes of events that wait for an earlier one, at most. When there are more the newest are let go: the store has them.
/// When the gap closes they leave all at once, so this is a fraction of what may wait for one connection.
const MAX_QUEUED_BYTES: usize = crate::limits::MAX_QUEUED_BYTES / 8;
/// An event counts with this at least: what is kept beside its body.
const LEAST_BYTES: usize = 128;

/// What became of an offered event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Offer {
    /// Delivered, perhaps with others that had waited for it.
    Delivered,
    /// Delivered before.
    Duplicate,
    /// Something before it is missing; or where to begin is not known yet.
    Waiting,
}

/// One ordered log as one node sees it. `P` is a position in the log.
#[derive(Debug)]
pub struct Sequence<P, T> {
    position: Option<P>,
    waiting: BTreeMap<P, Early<P, T>>,
    waiting_bytes: usize,
    /// The last of those that were let go: the store is to be read at least that far.
    let_go: Option<P>,
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
            waiting: BTreeMap::new(),
            waiting_bytes: 0,
            let_go: None,
        }
    }
}

impl<P: Copy + Ord, T> Sequence<P, T> {
    /// The position of what was delivered last; `None` until [`Self::start`].
    pub fn position(&self) -> Option<P> {
        self.position
    }

    /// Whether events wait for an earlier one, or did and were let go.
    pub fn has_gap(&self) -> bool {
        self.position.is_some() && (!self.waiting.is_empty() || self.let_go > self.position)
    }

    /// Begins behind `at`, unless it has begun. What was offered before and lies behind `at` is delivered.
    pub fn start(&mut self, at: P, deliver: impl FnMut(P, T)) {
        if self.position.is_none() {
            self.fill(at, deliver);
        }
    }

    /// Offers an event of that many bytes; `previous` is the position right before it in the log.
    pub fn offer(
        &mut self,
        previous: P,
        at: P,
        bytes: usize,
        event: T,
        mut deliver: impl FnMut(P, T),
    ) -> Offer {
        match self.position {
            Some(position) if at <= position => Offer::Duplicate,
            Some(position) if previous <= position => {
                self.position = Some(at);
                deliver(at, event);
                self.fill(at, deliver);
                Offer::Delivered
            }
            _ => {
                let bytes = bytes.max(LEAST_BYTES);
                let early = Early {
                    previous,
                    bytes,
                    event,
                };
                let before = self.waiting.insert(at, early);
                self.waiting_bytes += bytes;
                self.waiting_bytes -= before.map_or(0, |before| before.bytes);
                while self.waiting_bytes > MAX_QUEUED_BYTES
                    && let Some((at, newest)) = self.waiting.pop_last()
                {
                    self.waiting_bytes -= newest.bytes;
                    self.let_go = self.let_go.max(Some(at));
                }
                Offer::Waiting
            }
        }
    }

    /// Says that the store holds nothing further up to `through`, the caller having offered what it does hold. Delivers
    /// what had waited and is next now.
    pub fn fill(&mut self, through: P, mut deliver: impl FnMut(P, T)) {
        let mut position = self
            .position
            .map_or(through, |position| position.max(through));
        while let Some(entry) = self.waiting.first_entry() {
            let (at, previous) = (*entry.key(), entry.get().previous);
            if at > position && previous > position {
                break;
            }
            let early = entry.remove();
            self.waiting_bytes -= early.bytes;
            if at > position {
                position = at;
                deliver(at, early.event);
            }
        }
        self.position = Some(position);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_event_before_the_start_is_known_waits_for_it() {
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
        assert!(
            !sequence.has_gap(),
            "nothing is missing while nothing has begun"
        );
        sequence.start(6, |at, _| seen.push(at));
        assert_eq!((seen, sequence.position()), (vec![7], Some(7)));
    }

    #[test]
    fn a_hole_that_the_store_does_not_fill_is_passed() {
        let mut sequence = Sequence::default();
        let mut seen = Vec::new();
        sequence.start(1, |at, ()| seen.push(at));
        assert_eq!(
            sequence.offer(3, 4, 0, (), |at, ()| seen.push(at)),
            Offer::Waiting
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
    fn what_does_not_fit_among_those_that_wait_is_a_gap_until_it_has_been_read() {
        let mut sequence = Sequence::default();
        let mut seen = Vec::new();
        sequence.start(0, |at, ()| seen.push(at));
        let half = MAX_QUEUED_BYTES / 2;
        for at in 2..=5 {
            sequence.offer(at - 1, at, half, (), |at, ()| seen.push(at));
        }
        sequence.offer(0, 1, half, (), |at, ()| seen.push(at));
        assert_eq!(seen, [1, 2, 3]);
        assert!(sequence.has_gap(), "4 and 5 were let go");
        for at in 4..=5 {
            sequence.offer(at - 1, at, half, (), |at, ()| seen.push(at));
        }
        assert!(!sequence.has_gap());
    }

    proptest! {
        #[test]
        fn any_order_with_any_losses_and_duplicates_is_delivered_once_and_in_order(
            (records, repair_at) in (1u64..60).prop_flat_map(|last| (
                proptest::collection::vec((1..=last, any::<bool>()), 0..150),
                Just(last),
            )),
        ) {
            // Some are so large that others are let go.
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
