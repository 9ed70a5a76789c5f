//! The SSE streams that are open on this node, and the two histories each one follows.
//!
//! A [`Line`] is one history that somebody here follows: the common one or a user's own. It hands each event on once and in
//! order, by the rule of [`Sequence`]; what is missing is read from Redis by the tasks in `repair.rs`.

use std::{collections::HashMap, sync::Arc};

use bytes::Bytes;
use parking_lot::Mutex;

use crate::{
    history::{Entry, Lost, Position, Stream},
    ids::{SessionId, UserId},
    mailbox::{Farewell, Mailbox},
    model::Control,
    sequence::{Offer, Sequence},
};

/// What a line hands to a stream.
#[derive(Clone, Debug)]
pub enum Item {
    /// An event of that history. The text is complete but for its `id:` line, and shared by all streams.
    Event(Stream, Position, Bytes),
    /// Nothing was lost, and the history goes on from that position.
    Moved(Stream, Position),
    /// Something was lost; the history goes on from that position.
    Lost(Stream, Position, Lost),
}

/// An open stream.
#[derive(Debug)]
pub struct Listener {
    id: u64,
    user: UserId,
    session: SessionId,
    /// What waits to be written.
    pub mailbox: Mailbox<Item>,
}

#[derive(Default)]
struct Line {
    sequence: Sequence<Position, Bytes>,
    listeners: Vec<Arc<Listener>>,
    /// Streams on their way in, which keep the line.
    pins: usize,
    repairing: bool,
}

#[derive(Default)]
struct State {
    lines: HashMap<Stream, Line>,
    listeners: HashMap<UserId, Vec<Arc<Listener>>>,
    next_id: u64,
}

/// The map of open streams.
pub struct Feeds {
    // One lock: SSE events are seldom beside messages, and handing one on is a push to each stream.
    state: Mutex<State>,
    per_user: usize,
}

/// The part of an event that all streams share.
pub fn text(name: &str, data: &[u8]) -> Bytes {
    let mut text = Vec::with_capacity(name.len() + data.len() + 16);
    text.extend_from_slice(b"event:");
    text.extend_from_slice(name.as_bytes());
    text.extend_from_slice(b"\ndata:");
    // One line: it is JSON, in which line breaks are escaped. If ever it were not, a break must not become a field.
    text.extend(data.iter().map(|byte| {
        if matches!(byte, b'\n' | b'\r') {
            b' '
        } else {
            *byte
        }
    }));
    text.extend_from_slice(b"\n\n");
    text.into()
}

impl Feeds {
    /// An empty map that keeps `per_user` streams of one user.
    pub fn new(per_user: usize) -> Self {
        Self {
            state: Mutex::default(),
            per_user,
        }
    }

    /// Adds a stream. When the user has too many, the oldest is told to close. Must be followed by [`Self::leave`].
    pub fn join(&self, user: UserId, session: SessionId) -> Arc<Listener> {
        let mut state = self.state.lock();
        state.next_id += 1;
        let listener = Arc::new(Listener {
            id: state.next_id,
            user,
            session,
            mailbox: Mailbox::default(),
        });
        let of_user = state.listeners.entry(user).or_default();
        of_user.push(listener.clone());
        // Those told to close leave when they have: they are counted out, not removed.
        if let Some(surplus) = of_user.len().checked_sub(self.per_user) {
            of_user
                .iter()
                .take(surplus)
                .for_each(|oldest| oldest.mailbox.close(Farewell::TooMany));
        }
        listener
    }

    /// Removes a stream, by identity.
    pub fn leave(&self, listener: &Listener) {
        let mut state = self.state.lock();
        if let Some(of_user) = state.listeners.get_mut(&listener.user) {
            of_user.retain(|other| other.id != listener.id);
            if of_user.is_empty() {
                state.listeners.remove(&listener.user);
            }
        }
        drop(state);
        self.step_out(listener);
    }

    /// Takes a stream out of its lines. It stays open.
    pub fn step_out(&self, listener: &Listener) {
        let mut state = self.state.lock();
        for stream in [Stream::All, Stream::User(listener.user)] {
            if let Some(line) = state.lines.get_mut(&stream) {
                line.listeners.retain(|other| other.id != listener.id);
            }
            state.sweep(stream);
        }
    }

    /// How many streams are open.
    pub fn len(&self) -> usize {
        self.state.lock().listeners.values().map(Vec::len).sum()
    }

    /// Whether no stream is open.
    pub fn is_empty(&self) -> bool {
        self.state.lock().listeners.is_empty()
    }

    /// The sessions of all streams.
    pub fn sessions(&self) -> Vec<(UserId, SessionId)> {
        let state = self.state.lock();
        state
            .listeners
            .values()
            .flatten()
            .map(|listener| (listener.user, listener.session))
            .collect()
    }

    /// Cuts what has lost its right.
    pub fn obey(&self, control: &Control) {
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
        for listener in state.listeners.get(user).into_iter().flatten() {
            if session.is_none_or(|session| listener.session == *session) {
                listener.mailbox.close(Farewell::Revoked);
            }
        }
    }

    /// Makes the history's line, so that events gather from now on while the caller asks Redis for its tip.
    pub fn enter(self: &Arc<Self>, stream: Stream) -> Entrance {
        self.state.lock().lines.entry(stream).or_default().pins += 1;
        Entrance {
            feeds: self.clone(),
            stream,
        }
    }

    /// The histories that somebody here follows, with the position handed on last.
    pub fn positions(&self) -> Vec<(Stream, Position)> {
        let state = self.state.lock();
        state
            .lines
            .iter()
            .filter_map(|(stream, line)| Some((*stream, line.sequence.position()?)))
            .collect()
    }

    /// Offers an event. True if an earlier one is missing and nobody is looking for it.
    pub fn offer(&self, stream: Stream, at: Position, text: Bytes) -> bool {
        let mut state = self.state.lock();
        let Some(line) = state.lines.get_mut(&stream) else {
            return false;
        };
        let Line {
            sequence,
            listeners,
            ..
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
            hand_on(listeners, stream, at, &text);
        });
        let repair = offer == Offer::Waiting && sequence.has_gap() && !line.repairing;
        line.repairing |= repair;
        repair
    }

    /// Marks that somebody looks for what a line is missing. Returns false when there is no such line or somebody does so
    /// already.
    pub fn begin_repair(&self, stream: Stream) -> bool {
        let mut state = self.state.lock();
        let line = state.lines.get_mut(&stream).filter(|line| !line.repairing);
        line.map(|line| line.repairing = true).is_some()
    }

    /// The position handed on last, if somebody follows that history.
    pub fn position(&self, stream: Stream) -> Option<Position> {
        self.state.lock().lines.get(&stream)?.sequence.position()
    }

    /// Hands on what was read from Redis after the position.
    pub fn repair(&self, stream: Stream, entries: &[Entry]) {
        let mut state = self.state.lock();
        let Some(Line {
            sequence,
            listeners,
            ..
        }) = state.lines.get_mut(&stream)
        else {
            return;
        };
        for entry in entries {
            let previous = sequence.position().unwrap_or_default();
            if entry.at > previous {
                let text = text(&entry.name, &entry.data);
                sequence.offer(previous, entry.at, text.len(), text, |at, text| {
                    hand_on(listeners, stream, at, &text);
                });
            }
        }
    }

    /// Goes on behind `tip`, and tells every stream of that history that something is lost.
    ///
    /// A history that is not there any more has expired, a day after its last event. Whatever this line has not seen had been
    /// there for that day, in which the audits did not find it: so there was nothing, and nobody needs to fetch anything.
    pub fn lose(&self, stream: Stream, tip: Position, lost: Lost) {
        let mut state = self.state.lock();
        let Some(line) = state.lines.get_mut(&stream) else {
            return;
        };
        line.sequence = Sequence::default();
        line.sequence.start(tip, |_, _| {});
        let item = if lost == Lost::Expired && tip.n == 0 {
            Item::Moved(stream, tip)
        } else {
            Item::Lost(stream, tip, lost)
        };
        for listener in &line.listeners {
            listener.mailbox.push(item.clone(), 64);
        }
    }

    /// Ends a repair. True if something is missing again, or still.
    pub fn end_repair(&self, stream: Stream) -> bool {
        let mut state = self.state.lock();
        let Some(line) = state.lines.get_mut(&stream) else {
            return false;
        };
        line.repairing = false;
        line.sequence.has_gap()
    }
}

fn hand_on(listeners: &[Arc<Listener>], stream: Stream, at: Position, text: &Bytes) {
    for listener in listeners {
        listener
            .mailbox
            .push(Item::Event(stream, at, text.clone()), text.len());
    }
}

impl State {
    fn sweep(&mut self, stream: Stream) {
        if self
            .lines
            .get(&stream)
            .is_some_and(|line| line.listeners.is_empty() && line.pins == 0)
        {
            self.lines.remove(&stream);
        }
    }
}

/// A stream on its way into a line; dropping it gives up.
pub struct Entrance {
    feeds: Arc<Feeds>,
    stream: Stream,
}

impl Entrance {
    /// Adds the stream to the line. `tip` was read after [`Feeds::enter`]. Returns the position behind which it will get
    /// every event; the caller reads what lies before.
    pub fn add(&self, listener: &Arc<Listener>, tip: Position) -> Position {
        let mut state = self.feeds.state.lock();
        let Line {
            sequence,
            listeners,
            ..
        } = state.lines.entry(self.stream).or_default();
        sequence.start(tip, |at, text| hand_on(listeners, self.stream, at, &text));
        listeners.push(listener.clone());
        sequence.position().unwrap_or(tip)
    }
}

impl Drop for Entrance {
    fn drop(&mut self) {
        let mut state = self.feeds.state.lock();
        if let Some(line) = state.lines.get_mut(&self.stream) {
            line.pins -= 1;
        }
        state.sweep(self.stream);
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
        let feeds = Arc::new(Feeds::new(20));
        let (user, session) = (UserId::new(), SessionId::new());
        let tip = Position { epoch: 1, n: 0 };
        let (first, second) = (feeds.join(user, session), feeds.join(user, session));
        for listener in [&first, &second] {
            feeds.enter(Stream::User(user)).add(listener, tip);
        }
        feeds.leave(&first);
        assert!(!feeds.offer(
            Stream::User(user),
            Position { epoch: 2, n: 1 },
            text("x", b"{}")
        ));
        let mut items = std::collections::VecDeque::new();
        second.mailbox.take(&mut items);
        assert_eq!(items.len(), 1);
        feeds.leave(&second);
        assert!(feeds.is_empty() && feeds.positions().is_empty());
    }

    #[test]
    fn a_history_that_began_anew_is_not_taken_for_the_next_event() {
        let feeds = Arc::new(Feeds::new(20));
        let listener = feeds.join(UserId::new(), SessionId::new());
        let tip = Position { epoch: 1, n: 4 };
        feeds.enter(Stream::All).add(&listener, tip);
        let anew = Position { epoch: 2, n: 1 };
        assert!(feeds.offer(Stream::All, anew, text("x", b"{}")));
        let mut items = std::collections::VecDeque::new();
        listener.mailbox.take(&mut items);
        assert!(items.is_empty(), "{items:?}");
        feeds.lose(Stream::All, anew, Lost::Unknown);
        listener.mailbox.take(&mut items);
        assert!(
            matches!(items.make_contiguous(), [Item::Lost(Stream::All, at, Lost::Unknown)] if *at == anew),
            "{items:?}"
        );
    }

    #[test]
    fn a_history_that_expired_goes_on_in_silence_and_one_that_was_trimmed_does_not() {
        let feeds = Arc::new(Feeds::new(20));
        let user = UserId::new();
        let (listener, stream) = (feeds.join(user, SessionId::new()), Stream::User(user));
        let at = |epoch, n| Position { epoch, n };
        feeds.enter(stream).add(&listener, at(1, 17));
        feeds.lose(stream, at(5, 0), Lost::Expired);
        // What comes then begins the history anew.
        assert!(!feeds.offer(stream, at(6, 1), text("x", b"{}")));
        feeds.lose(stream, at(6, 900), Lost::Expired);
        let mut items = std::collections::VecDeque::new();
        listener.mailbox.take(&mut items);
        let told = items.make_contiguous();
        assert!(
            matches!(told, [Item::Moved(_, moved), Item::Event(_, next, _), Item::Lost(_, lost, Lost::Expired)]
                if (*moved, *next, *lost) == (at(5, 0), at(6, 1), at(6, 900))),
            "{told:?}"
        );
    }

    #[test]
    fn a_stream_that_begins_again_stands_in_its_lines_once() {
        let feeds = Arc::new(Feeds::new(20));
        let user = UserId::new();
        let (listener, stream) = (feeds.join(user, SessionId::new()), Stream::User(user));
        let at = |n| Position { epoch: 1, n };
        for _ in 0..3 {
            feeds.step_out(&listener);
            feeds.enter(stream).add(&listener, at(0));
        }
        feeds.offer(stream, at(1), text("x", b"{}"));
        let mut items = std::collections::VecDeque::new();
        listener.mailbox.take(&mut items);
        assert_eq!((items.len(), feeds.len()), (1, 1), "{items:?}");
    }

    #[test]
    fn the_oldest_stream_gives_way_to_one_too_many() {
        let feeds = Feeds::new(2);
        let (user, session) = (UserId::new(), SessionId::new());
        let streams: Vec<_> = (0..3).map(|_| feeds.join(user, session)).collect();
        let told: Vec<_> = streams
            .iter()
            .map(|stream| stream.mailbox.take(&mut std::collections::VecDeque::new()))
            .collect();
        assert_eq!(told, [Some(Farewell::TooMany), None, None]);
    }
}
