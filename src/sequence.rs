//! The one rule that gives order, no gaps and no duplicates: deliver an event only when it is the next one after what was
//! delivered last. Sans-IO; the caller reads what is missing from the store.

use std::collections::BTreeMap;

/// Events that wait for an earlier one, at most. When there are more the newest are let go: the store has them.
const MOST_WAITING: usize = 1_024;

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
    waiting: BTreeMap<P, (P, T)>,
}

impl<P: Copy + Ord, T> Default for Sequence<P, T> {
    fn default() -> Self {
        Self {
            position: None,
            waiting: BTreeMap::new(),
        }
    }
}

impl<P: Copy + Ord, T> Sequence<P, T> {
    /// The position of what was delivered last; `None` until [`Self::start`].
    pub fn position(&self) -> Option<P> {
        self.position
    }

    /// Whether events wait for an earlier one.
    pub fn has_gap(&self) -> bool {
        self.position.is_some() && !self.waiting.is_empty()
    }

    /// Begins behind `at`, unless it has begun. What was offered before and lies behind `at` is delivered.
    pub fn start(&mut self, at: P, deliver: impl FnMut(P, T)) {
        if self.position.is_none() {
            self.fill(at, deliver);
        }
    }

    /// Offers an event; `previous` is the position right before it in the log.
    pub fn offer(&mut self, previous: P, at: P, event: T, mut deliver: impl FnMut(P, T)) -> Offer {
        match self.position {
            Some(position) if at <= position => Offer::Duplicate,
            Some(position) if previous <= position => {
                self.position = Some(at);
                deliver(at, event);
                self.fill(at, deliver);
                Offer::Delivered
            }
            _ => {
                self.waiting.insert(at, (previous, event));
                if self.waiting.len() > MOST_WAITING {
                    self.waiting.pop_last();
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
            let (at, previous) = (*entry.key(), entry.get().0);
            if at > position && previous > position {
                break;
            }
            let (_, event) = entry.remove();
            if at > position {
                position = at;
                deliver(at, event);
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
            sequence.offer(6, 7, "seven", |at, _| seen.push(at)),
            Offer::Waiting
        );
        assert_eq!(
            sequence.offer(4, 5, "five", |at, _| seen.push(at)),
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
            sequence.offer(3, 4, (), |at, ()| seen.push(at)),
            Offer::Waiting
        );
        assert!(sequence.has_gap());
        // Message 2 was deleted, message 3 is in the store.
        sequence.fill(2, |at, ()| seen.push(at));
        assert_eq!(
            sequence.offer(2, 3, (), |at, ()| seen.push(at)),
            Offer::Delivered
        );
        assert_eq!(seen, [3, 4]);
    }

    proptest! {
        #[test]
        fn any_order_with_any_losses_and_duplicates_is_delivered_once_and_in_order(
            (records, repair_at) in (1u64..60).prop_flat_map(|last| (
                proptest::collection::vec((1..=last, any::<bool>()), 0..150),
                Just(last),
            )),
        ) {
            let mut sequence = Sequence::default();
            let mut seen = Vec::new();
            sequence.start(0u64, |at, _: u64| seen.push(at));
            for (at, repair) in records {
                sequence.offer(at - 1, at, at, |at, _| seen.push(at));
                if repair && sequence.has_gap() {
                    let from = sequence.position().unwrap_or_default();
                    for stored in from + 1..=at {
                        sequence.offer(stored - 1, stored, stored, |at, _| seen.push(at));
                    }
                    sequence.fill(at, |at, _| seen.push(at));
                    prop_assert!(sequence.position() >= Some(at));
                }
            }
            let from = sequence.position().unwrap_or_default();
            for stored in from + 1..=repair_at {
                sequence.offer(stored - 1, stored, stored, |at, _| seen.push(at));
            }
            prop_assert_eq!(seen, (1..=repair_at).collect::<Vec<_>>());
        }
    }
}
