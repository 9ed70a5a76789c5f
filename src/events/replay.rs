//! The newest entries of the common log, in memory: streams that resume at the same time read them from Redis once.

use std::sync::Arc;

use futures_util::{
    FutureExt,
    future::{BoxFuture, Shared},
};
use parking_lot::Mutex;

use crate::{
    events::{
        history::History,
        position::{Entry, EventLog, Position, ReplayGap},
    },
    problem::Problem,
};

/// Entries in memory. More than a replay has.
const MAX_ENTRIES: usize = 2_000;
/// Bytes of the names and data in memory.
const MAX_BYTES: usize = 1024 * 1024;
/// Reads that a stream waits for before it reads by itself.
const MAX_WAITS: usize = 3;

/// Reads the history for streams that resume.
#[derive(Clone)]
pub struct Replay {
    history: History,
    state: Arc<Mutex<State>>,
}

/// The entries in memory, and the read that is under way.
#[derive(Default)]
struct State {
    window: Window,
    read: Option<Shared<BoxFuture<'static, ()>>>,
}

/// All entries of one epoch after one position, up to another.
#[derive(Default)]
struct Window {
    after: Position,
    through: Position,
    entries: Vec<Entry>,
}

impl Window {
    /// Whether the window goes on at this position, or has entries after it.
    fn contains(&self, position: Position) -> bool {
        position.epoch == self.through.epoch && (self.after..=self.through).contains(&position)
    }

    /// At most `limit` entries after a position; `None` unless the window has them up to `through`, or up to the limit.
    fn entries(&self, after: Position, through: Position, limit: usize) -> Option<Vec<Entry>> {
        if !self.contains(after) {
            return None;
        }
        let from = self.entries.partition_point(|entry| entry.at <= after);
        let found = &self.entries[from..];
        let is_complete = self.contains(through) || found.len() >= limit;
        is_complete.then(|| found[..found.len().min(limit)].to_vec())
    }

    /// Takes the entries after a position, which follow the window or replace it.
    fn add(&mut self, after: Position, mut entries: Vec<Entry>) {
        if entries.iter().any(|entry| entry.at.epoch != after.epoch) {
            // The log begins anew. Redis says what a stream has missed.
            *self = Self::default();
            return;
        }
        let through = entries.last().map_or(after, |entry| entry.at);
        if self.through == after {
            self.entries.append(&mut entries);
        } else {
            self.after = after;
            self.entries = entries;
        }
        self.through = through;
        let mut bytes = 0;
        let kept = self
            .entries
            .iter()
            .rev()
            .take(MAX_ENTRIES)
            .take_while(|entry| {
                bytes += entry.name.len() + entry.data.len();
                bytes <= MAX_BYTES
            });
        let surplus = self.entries.len() - kept.count();
        if let Some(last) = self.entries.drain(..surplus).next_back() {
            self.after = last.at;
        }
    }
}

impl Replay {
    /// Nothing in memory yet.
    pub fn new(history: History) -> Self {
        Self {
            history,
            state: Arc::default(),
        }
    }

    /// At most `limit` entries of a log after a position, or the reason why the log no longer has all of them. They reach at least
    /// `through`, the position of an entry that the log has.
    ///
    /// # Errors
    /// [`Problem::Unavailable`] without Redis.
    pub async fn after(
        &self,
        log: EventLog,
        after: Position,
        through: Position,
        limit: usize,
    ) -> Result<Result<Vec<Entry>, ReplayGap>, Problem> {
        if log == EventLog::All && after.n > 0 && after.epoch == through.epoch {
            for _ in 0..MAX_WAITS {
                let read = {
                    let mut state = self.state.lock();
                    if let Some(entries) = state.window.entries(after, through, limit) {
                        return Ok(Ok(entries));
                    }
                    match &state.read {
                        Some(read) => read.clone(),
                        None => self.begin_read(&mut state, after, limit),
                    }
                };
                read.await;
            }
        }
        self.history.after(log, after, limit).await
    }

    /// Begins to read the entries that the window lacks.
    fn begin_read(
        &self,
        state: &mut State,
        after: Position,
        limit: usize,
    ) -> Shared<BoxFuture<'static, ()>> {
        let from = if state.window.contains(after) {
            state.window.through
        } else {
            after
        };
        let replay = self.clone();
        let read = async move {
            let read = replay.history.after(EventLog::All, from, limit).await;
            let mut state = replay.state.lock();
            match read {
                Ok(Ok(entries)) => state.window.add(from, entries),
                Ok(Err(_)) => state.window = Window::default(),
                // Each stream that waits asks Redis by itself.
                Err(_) => {}
            }
            state.read = None;
        };
        let read = read.boxed().shared();
        state.read = Some(read.clone());
        read
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(epoch: u64, n: u64) -> Position {
        Position { epoch, n }
    }

    fn entries(epoch: u64, numbers: std::ops::RangeInclusive<u64>, bytes: usize) -> Vec<Entry> {
        numbers
            .map(|n| Entry {
                at: at(epoch, n),
                name: String::new(),
                data: vec![b'x'; bytes].into(),
            })
            .collect()
    }

    fn numbers(found: Option<Vec<Entry>>) -> Option<Vec<u64>> {
        found.map(|found| found.iter().map(|entry| entry.at.n).collect())
    }

    #[test]
    fn a_window_has_entries_from_its_start_to_its_end() {
        let mut window = Window::default();
        window.add(at(7, 10), entries(7, 11..=13, 1));
        let found = |after, through| numbers(window.entries(after, through, 9));
        assert_eq!(found(at(7, 10), at(7, 13)), Some(vec![11, 12, 13]));
        assert_eq!(found(at(7, 12), at(7, 12)), Some(vec![13]));
        assert_eq!(found(at(7, 13), at(7, 13)), Some(vec![]));
        assert_eq!(found(at(7, 9), at(7, 13)), None, "before its start");
        assert_eq!(found(at(7, 12), at(7, 14)), None, "after its end");
        assert_eq!(found(at(6, 12), at(7, 13)), None, "another epoch");
        let limited = window.entries(at(7, 10), at(7, 99), 2);
        assert_eq!(numbers(limited), Some(vec![11, 12]), "up to the limit");
    }

    #[test]
    fn later_entries_follow_and_others_replace_the_window() {
        let mut window = Window::default();
        window.add(at(7, 10), entries(7, 11..=12, 1));
        window.add(at(7, 12), entries(7, 13..=13, 1));
        let all = window.entries(at(7, 10), at(7, 13), 9);
        assert_eq!(numbers(all), Some(vec![11, 12, 13]));
        window.add(at(7, 5), entries(7, 6..=13, 1));
        assert!(window.entries(at(7, 5), at(7, 13), 9).is_some());
        // The log began anew after entry 13.
        window.add(at(7, 13), entries(8, 1..=1, 1));
        assert!(window.entries(at(7, 5), at(7, 13), 9).is_none());
    }

    #[test]
    fn a_window_is_bounded() {
        let mut window = Window::default();
        window.add(at(7, 0), entries(7, 1..=3, MAX_BYTES / 2));
        assert!(!window.contains(at(7, 0)) && window.contains(at(7, 1)));
        window.add(at(7, 3), entries(7, 4..=5_000, 1));
        assert_eq!(window.entries.len(), MAX_ENTRIES);
        assert!(!window.contains(at(7, 2_999)) && window.contains(at(7, 3_000)));
    }
}
