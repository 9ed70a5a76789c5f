//! Records that a node sends to itself, to know whether Kafka carries its events.
//!
//! A broker that answers is not enough. A producer can end in an error that it does not leave, and a consumer can wait on a connection
//! that carries nothing. Either way the events of this node, or to it, would wait for the sweeps and audits until a restart.

use std::time::Duration;

use tokio::time::Instant;

use crate::model::{Event, Topic};

/// Interval between two canaries.
pub(super) const INTERVAL: Duration = Duration::from_secs(1);
/// After this time without an expected canary, audits run more often.
const SUSPECT_AFTER: Duration = Duration::from_millis(1_500);
/// After this time without an expected canary, the client that lost it is replaced.
const LATE_AFTER: Duration = Duration::from_secs(4);
/// The part of a canary's key before the name of its node and its number. No channel and no SSE log has such a key, so nodes of
/// versions without canaries ignore them.
pub(super) const PREFIX: &str = "canary:";

/// The client that must be replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// Kafka acknowledges no canary.
    Producer,
    /// Kafka acknowledged canaries that did not arrive.
    Consumer,
}

/// The canaries of one node.
#[derive(Debug)]
pub(super) struct Canary {
    node: String,
    /// Number of the newest canary.
    newest: u64,
    /// Number of the oldest canary that may still arrive, and since when it is the oldest.
    oldest: Option<(u64, Instant)>,
    /// Whether Kafka acknowledged a canary since then.
    acknowledged: bool,
    /// Whether a canary was lost, and none has arrived since.
    late: bool,
}

impl Canary {
    /// `node` is unique among all processes.
    pub(super) fn new(node: String) -> Self {
        Self {
            node,
            newest: 0,
            oldest: None,
            acknowledged: false,
            late: false,
        }
    }

    /// The next canary. The canaries use all topics and partitions in turn.
    pub(super) fn next(&mut self, now: Instant) -> Event {
        self.newest += 1;
        self.oldest.get_or_insert((self.newest, now));
        let number = usize::try_from(self.newest).unwrap_or_default();
        let topic = Topic::FAN_OUT[number % Topic::FAN_OUT.len()];
        Event::canary(topic, format!("{PREFIX}{}:{}", self.node, self.newest))
    }

    /// Kafka has acknowledged a canary.
    pub(super) fn acknowledge(&mut self) {
        self.acknowledged = true;
    }

    /// Takes the key of a canary that has arrived, of this node or another.
    pub(super) fn arrive(&mut self, key: &str, now: Instant) {
        if let Some(rest) = key.strip_prefix(PREFIX)
            && let Some((node, number)) = rest.rsplit_once(':')
            && node == self.node
            && let Ok(number) = number.parse::<u64>()
            && self.oldest.is_some_and(|(oldest, _)| oldest <= number)
        {
            self.oldest = (number < self.newest).then_some((number + 1, now));
            self.acknowledged = false;
            self.late = false;
        }
    }

    /// Waits for no canary: those on their way cannot arrive, because Kafka is down or the consumer starts anew.
    pub(super) fn forget(&mut self) {
        self.oldest = None;
        self.acknowledged = false;
    }

    /// Whether a canary is so late that events may be late too.
    pub(super) fn is_suspect(&self, now: Instant) -> bool {
        self.late || self.waits_longer_than(SUSPECT_AFTER, now)
    }

    /// Whether canaries are lost.
    pub(super) fn is_late(&self) -> bool {
        self.late
    }

    /// The client to replace, if a canary is lost. The next fault is found no sooner than after the same time.
    pub(super) fn fault(&mut self, now: Instant) -> Option<Fault> {
        if !self.waits_longer_than(LATE_AFTER, now) {
            return None;
        }
        let fault = if self.acknowledged {
            Fault::Consumer
        } else {
            Fault::Producer
        };
        self.late = true;
        self.forget();
        Some(fault)
    }

    /// Since when a canary is expected.
    pub(super) fn age(&self, now: Instant) -> Duration {
        self.oldest.map_or(Duration::ZERO, |(_, since)| {
            now.saturating_duration_since(since)
        })
    }

    fn waits_longer_than(&self, limit: Duration, now: Instant) -> bool {
        self.age(now) > limit
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(event: &Event) -> &str {
        &event.key
    }

    #[test]
    fn a_canary_that_arrives_is_not_late() {
        let (mut canary, now) = (Canary::new("a".to_owned()), Instant::now());
        let first = canary.next(now);
        canary.arrive(key(&first), now);
        assert!(!canary.is_suspect(now + LATE_AFTER * 2));
        assert_eq!(canary.fault(now + LATE_AFTER * 2), None);
    }

    #[test]
    fn a_delay_longer_than_the_interval_is_measured_from_the_last_arrival() {
        let (mut canary, start) = (Canary::new("a".to_owned()), Instant::now());
        let mut sent = Vec::new();
        for second in 0..10 {
            sent.push(canary.next(start + INTERVAL * second));
            if second >= 2 {
                let arrived = sent.remove(0);
                canary.arrive(key(&arrived), start + INTERVAL * second);
                assert!(!canary.is_suspect(start + INTERVAL * second));
            }
        }
        assert_eq!(canary.fault(start + INTERVAL * 10), None);
    }

    #[test]
    fn the_client_that_lost_a_canary_is_named_once() {
        let start = Instant::now();
        for (acknowledged, expected) in [(false, Fault::Producer), (true, Fault::Consumer)] {
            let mut canary = Canary::new("a".to_owned());
            canary.next(start);
            canary.next(start + INTERVAL);
            if acknowledged {
                canary.acknowledge();
            }
            assert!(!canary.is_suspect(start + SUSPECT_AFTER));
            assert!(canary.is_suspect(start + INTERVAL * 2));
            assert_eq!(canary.fault(start + LATE_AFTER), None);
            let late = start + LATE_AFTER + INTERVAL;
            assert_eq!(canary.fault(late), Some(expected));
            assert_eq!(canary.fault(late), None);
            // Late until one arrives.
            let next = canary.next(late);
            assert!(canary.is_late() && canary.is_suspect(late));
            canary.arrive(key(&next), late);
            assert!(!canary.is_late() && !canary.is_suspect(late));
        }
    }

    #[test]
    fn canaries_of_other_nodes_and_old_ones_prove_nothing() {
        let now = Instant::now();
        let (mut canary, mut other) = (Canary::new("a".to_owned()), Canary::new("b".to_owned()));
        let old = canary.next(now);
        canary.forget();
        canary.next(now);
        for stranger in [&old, &other.next(now), &other.next(now)] {
            canary.arrive(key(stranger), now);
        }
        canary.arrive("a-channel", now);
        assert!(canary.is_suspect(now + LATE_AFTER));
    }

    #[test]
    fn nothing_is_expected_while_kafka_is_down() {
        let (mut canary, now) = (Canary::new("a".to_owned()), Instant::now());
        canary.next(now);
        canary.forget();
        assert_eq!(canary.fault(now + LATE_AFTER * 2), None);
    }

    #[test]
    fn canaries_use_every_topic() {
        let (mut canary, now) = (Canary::new("a".to_owned()), Instant::now());
        for topic in Topic::FAN_OUT {
            assert!((0..3).any(|_| canary.next(now).topic == topic));
        }
    }
}
