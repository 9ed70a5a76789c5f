//! The SSE streams that are open on this node, and the two histories each one follows.
//!
//! A [`LogSubscribers`] is one history that somebody here follows: the common one or a user's own. It hands each event on once and in
//! order, by the rule of [`Sequence`]; what is missing is read from Redis by the tasks in `repair.rs`.

use std::{collections::HashMap, sync::Arc};

use bytes::Bytes;
use parking_lot::Mutex;

use crate::{
    delivery::{
        disconnect::CloseReason,
        outbound::SendQueue,
        sequence::{Offer, Sequence},
    },
    events::position::{Entry, EventLog, Position, ReplayGap},
    ids::{SessionId, UserId},
    model::Control,
    protocol::sse::text,
};

/// What a line hands to a stream.
#[derive(Clone, Debug)]
pub enum SseItem {
    /// An event of that history. The text is complete but for its `id:` line, and shared by all streams.
    Event(EventLog, Position, Bytes),
    /// Nothing was lost, and the history goes on from that position.
    Moved(EventLog, Position),
    /// Something was lost; the history goes on from that position.
    Lost(EventLog, Position, ReplayGap),
}

/// An open stream.
#[derive(Debug)]
pub struct SseStream {
    id: u64,
    user: UserId,
    session: SessionId,
    /// What waits to be written.
    pub send_queue: SendQueue<SseItem>,
}

#[derive(Default)]
struct LogSubscribers {
    sequence: Sequence<Position, Bytes>,
    streams: Vec<Arc<SseStream>>,
    /// Streams on their way in, which keep the line.
    pins: usize,
    repairing: bool,
}

#[derive(Default)]
struct State {
    lines: HashMap<EventLog, LogSubscribers>,
    streams: HashMap<UserId, Vec<Arc<SseStream>>>,
    next_id: u64,
}

/// The map of open streams.
pub struct SseStreams {
    // One lock: SSE events are seldom beside messages, and handing one on is a push to each stream.
    state: Mutex<State>,
    per_user: usize,
}

impl SseStreams {
    /// An empty map that keeps `per_user` streams of one user.
    pub fn new(per_user: usize) -> Self {
        Self {
            state: Mutex::default(),
            per_user,
        }
    }

    /// Adds a stream. When the user has too many, the oldest is told to close. Must be followed by [`Self::leave`].
    pub fn join(&self, user: UserId, session: SessionId) -> Arc<SseStream> {
        let mut state = self.state.lock();
        state.next_id += 1;
        let stream = Arc::new(SseStream {
            id: state.next_id,
            user,
            session,
            send_queue: SendQueue::default(),
        });
        let of_user = state.streams.entry(user).or_default();
        of_user.push(stream.clone());
        // Those told to close leave when they have: they are counted out, not removed.
        if let Some(surplus) = of_user.len().checked_sub(self.per_user) {
            of_user
                .iter()
                .take(surplus)
                .for_each(|oldest| oldest.send_queue.close(CloseReason::TooMany));
        }
        stream
    }

    /// Removes a stream, by identity.
    pub fn leave(&self, stream: &SseStream) {
        let mut state = self.state.lock();
        if let Some(of_user) = state.streams.get_mut(&stream.user) {
            of_user.retain(|other| other.id != stream.id);
            if of_user.is_empty() {
                state.streams.remove(&stream.user);
            }
        }
        drop(state);
        self.step_out(stream);
    }

    /// Takes a stream out of its lines. It stays open.
    pub fn step_out(&self, stream: &SseStream) {
        let mut state = self.state.lock();
        for log in [EventLog::All, EventLog::User(stream.user)] {
            if let Some(line) = state.lines.get_mut(&log) {
                line.streams.retain(|other| other.id != stream.id);
            }
            state.sweep(log);
        }
    }

    /// How many streams are open.
    pub fn len(&self) -> usize {
        self.state.lock().streams.values().map(Vec::len).sum()
    }

    /// Whether no stream is open.
    pub fn is_empty(&self) -> bool {
        self.state.lock().streams.is_empty()
    }

    /// The sessions of all streams.
    pub fn sessions(&self) -> Vec<(UserId, SessionId)> {
        let state = self.state.lock();
        state
            .streams
            .values()
            .flatten()
            .map(|stream| (stream.user, stream.session))
            .collect()
    }

    /// Cuts what has lost its right.
    pub fn apply(&self, control: &Control) {
        let (user, session) = match control {
            Control::SessionRevoked {
                user_id,
                session_id,
            } => (user_id, Some(session_id)),
            Control::UserRevoked { user_id } => (user_id, None),
            // A private channel's events are addressed to those who are in it.
            Control::ChannelDeleted { .. } | Control::MembershipLost { .. } => return,
        };
        let state = self.state.lock();
        for stream in state.streams.get(user).into_iter().flatten() {
            if session.is_none_or(|session| stream.session == *session) {
                stream.send_queue.close(CloseReason::Revoked);
            }
        }
    }

    /// Makes the history's line, so that events gather from now on while the caller asks Redis for its tip.
    pub fn enter(self: &Arc<Self>, log: EventLog) -> PendingStream {
        self.state.lock().lines.entry(log).or_default().pins += 1;
        PendingStream {
            sse: self.clone(),
            log,
        }
    }

    /// The histories that somebody here follows, with the position handed on last.
    pub fn positions(&self) -> Vec<(EventLog, Position)> {
        let state = self.state.lock();
        state
            .lines
            .iter()
            .filter_map(|(log, line)| Some((*log, line.sequence.position()?)))
            .collect()
    }

    /// Offers an event. True if an earlier one is missing and nobody is looking for it.
    pub fn offer(&self, log: EventLog, at: Position, text: Bytes) -> bool {
        let mut state = self.state.lock();
        let Some(line) = state.lines.get_mut(&log) else {
            return false;
        };
        let LogSubscribers {
            sequence, streams, ..
        } = line;
        // A new epoch behind entries that were followed: what came last of them may never have been seen here. That makes
        // a gap, which the repair finds cannot be closed.
        let previous = match sequence.position() {
            Some(reached) if reached.n > 0 && reached.epoch < at.epoch => Position {
                n: at.n.saturating_sub(1),
                ..at
            },
            _ => at.previous(),
        };
        let offer = sequence.offer(previous, at, text.len(), text, |at, text| {
            hand_on(streams, log, at, &text);
        });
        let repair = offer == Offer::Waiting && sequence.has_gap() && !line.repairing;
        line.repairing |= repair;
        repair
    }

    /// Marks that somebody looks for what a line is missing. Returns false when there is no such line or somebody does so
    /// already.
    pub fn begin_repair(&self, log: EventLog) -> bool {
        let mut state = self.state.lock();
        let line = state.lines.get_mut(&log).filter(|line| !line.repairing);
        line.map(|line| line.repairing = true).is_some()
    }

    /// The position handed on last, if somebody follows that history.
    pub fn position(&self, log: EventLog) -> Option<Position> {
        self.state.lock().lines.get(&log)?.sequence.position()
    }

    /// Hands on what was read from Redis after the position.
    pub fn repair(&self, log: EventLog, entries: &[Entry]) {
        let mut state = self.state.lock();
        let Some(LogSubscribers {
            sequence, streams, ..
        }) = state.lines.get_mut(&log)
        else {
            return;
        };
        for entry in entries {
            let previous = sequence.position().unwrap_or_default();
            if entry.at > previous {
                let text = text(&entry.name, &entry.data);
                sequence.offer(previous, entry.at, text.len(), text, |at, text| {
                    hand_on(streams, log, at, &text);
                });
            }
        }
    }

    /// Goes on behind `tip`, and tells every stream of that history that something is lost.
    ///
    /// A history that is not there any more has expired, a day after its last event. Whatever this line has not seen had been
    /// there for that day, in which the audits did not find it: so there was nothing, and nobody needs to fetch anything.
    pub fn lose(&self, log: EventLog, tip: Position, lost: ReplayGap) {
        let mut state = self.state.lock();
        let Some(line) = state.lines.get_mut(&log) else {
            return;
        };
        line.sequence = Sequence::default();
        line.sequence.start(tip, |_, _| {});
        let item = if lost == ReplayGap::Expired && tip.n == 0 {
            SseItem::Moved(log, tip)
        } else {
            SseItem::Lost(log, tip, lost)
        };
        for stream in &line.streams {
            stream.send_queue.push(item.clone(), 64);
        }
    }

    /// Ends a repair. True if something is missing again, or still.
    pub fn end_repair(&self, log: EventLog) -> bool {
        let mut state = self.state.lock();
        let Some(line) = state.lines.get_mut(&log) else {
            return false;
        };
        line.repairing = false;
        line.sequence.has_gap()
    }
}

fn hand_on(streams: &[Arc<SseStream>], log: EventLog, at: Position, text: &Bytes) {
    for stream in streams {
        stream
            .send_queue
            .push(SseItem::Event(log, at, text.clone()), text.len());
    }
}

impl State {
    fn sweep(&mut self, log: EventLog) {
        if self
            .lines
            .get(&log)
            .is_some_and(|line| line.streams.is_empty() && line.pins == 0)
        {
            self.lines.remove(&log);
        }
    }
}

/// A stream on its way into a line; dropping it gives up.
pub struct PendingStream {
    sse: Arc<SseStreams>,
    log: EventLog,
}

impl PendingStream {
    /// Adds the stream to the line. `tip` was read after [`SseStreams::enter`]. Returns the position behind which it will get
    /// every event; the caller reads what lies before.
    pub fn add(&self, stream: &Arc<SseStream>, tip: Position) -> Position {
        let mut state = self.sse.state.lock();
        let LogSubscribers {
            sequence, streams, ..
        } = state.lines.entry(self.log).or_default();
        sequence.start(tip, |at, text| hand_on(streams, self.log, at, &text));
        streams.push(stream.clone());
        sequence.position().unwrap_or(tip)
    }
}

impl Drop for PendingStream {
    fn drop(&mut self) {
        let mut state = self.sse.state.lock();
        if let Some(line) = state.lines.get_mut(&self.log) {
            line.pins -= 1;
        }
        state.sweep(self.log);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_break_in_the_data_cannot_begin_a_field() {
        assert_eq!(
            text("x", b"a\r\nid:9\n\nevent:y"),
            "event:x\ndata:a  id:9  event:y\n\n"
        );
    }

    #[test]
    fn closing_one_stream_of_a_user_leaves_the_others() {
        let sse = Arc::new(SseStreams::new(20));
        let (user, session) = (UserId::new(), SessionId::new());
        let tip = Position { epoch: 1, n: 0 };
        let (first, second) = (sse.join(user, session), sse.join(user, session));
        for stream in [&first, &second] {
            sse.enter(EventLog::User(user)).add(stream, tip);
        }
        sse.leave(&first);
        assert!(!sse.offer(
            EventLog::User(user),
            Position { epoch: 2, n: 1 },
            text("x", b"{}")
        ));
        let mut items = std::collections::VecDeque::new();
        second.send_queue.take(&mut items);
        assert_eq!(items.len(), 1);
        sse.leave(&second);
        assert!(sse.is_empty() && sse.positions().is_empty());
    }

    #[test]
    fn a_history_that_began_anew_is_not_taken_for_the_next_event() {
        let sse = Arc::new(SseStreams::new(20));
        let stream = sse.join(UserId::new(), SessionId::new());
        let tip = Position { epoch: 1, n: 4 };
        sse.enter(EventLog::All).add(&stream, tip);
        let anew = Position { epoch: 2, n: 1 };
        assert!(sse.offer(EventLog::All, anew, text("x", b"{}")));
        let mut items = std::collections::VecDeque::new();
        stream.send_queue.take(&mut items);
        assert!(items.is_empty(), "{items:?}");
        sse.lose(EventLog::All, anew, ReplayGap::Unknown);
        stream.send_queue.take(&mut items);
        assert!(
            matches!(items.make_contiguous(), [SseItem::Lost(EventLog::All, at, ReplayGap::Unknown)] if *at == anew),
            "{items:?}"
        );
    }

    #[test]
    fn a_history_that_expired_goes_on_in_silence_and_one_that_was_trimmed_does_not() {
        let sse = Arc::new(SseStreams::new(20));
        let user = UserId::new();
        let (stream, log) = (sse.join(user, SessionId::new()), EventLog::User(user));
        let at = |epoch, n| Position { epoch, n };
        sse.enter(log).add(&stream, at(1, 17));
        sse.lose(log, at(5, 0), ReplayGap::Expired);
        // What comes then begins the history anew.
        assert!(!sse.offer(log, at(6, 1), text("x", b"{}")));
        sse.lose(log, at(6, 900), ReplayGap::Expired);
        let mut items = std::collections::VecDeque::new();
        stream.send_queue.take(&mut items);
        let told = items.make_contiguous();
        assert!(
            matches!(told, [SseItem::Moved(_, moved), SseItem::Event(_, next, _), SseItem::Lost(_, lost, ReplayGap::Expired)]
                if (*moved, *next, *lost) == (at(5, 0), at(6, 1), at(6, 900))),
            "{told:?}"
        );
    }

    #[test]
    fn a_stream_that_begins_again_stands_in_its_lines_once() {
        let sse = Arc::new(SseStreams::new(20));
        let user = UserId::new();
        let (stream, log) = (sse.join(user, SessionId::new()), EventLog::User(user));
        let at = |n| Position { epoch: 1, n };
        for _ in 0..3 {
            sse.step_out(&stream);
            sse.enter(log).add(&stream, at(0));
        }
        sse.offer(log, at(1), text("x", b"{}"));
        let mut items = std::collections::VecDeque::new();
        stream.send_queue.take(&mut items);
        assert_eq!((items.len(), sse.len()), (1, 1), "{items:?}");
    }

    #[test]
    fn the_oldest_stream_gives_way_to_one_too_many() {
        let sse = SseStreams::new(2);
        let (user, session) = (UserId::new(), SessionId::new());
        let streams: Vec<_> = (0..3).map(|_| sse.join(user, session)).collect();
        let told: Vec<_> = streams
            .iter()
            .map(|stream| {
                stream
                    .send_queue
                    .take(&mut std::collections::VecDeque::new())
            })
            .collect();
        assert_eq!(told, [Some(CloseReason::TooMany), None, None]);
    }
}
