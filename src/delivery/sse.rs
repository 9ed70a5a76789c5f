//! The SSE streams of this node, and the two event logs that each one follows.
//!
//! A [`LogSubscribers`] is an event log with streams on this node: the common log or a user's own. It delivers each event once
//! and in order, by the rule of [`sequence`](super::sequence); the tasks in [`repair`](super::repair) read missing events from
//! Redis.

pub mod output;
pub mod start;
pub mod stream;

use std::{collections::HashMap, sync::Arc};

use bytes::Bytes;
use parking_lot::Mutex;
use prometheus_client::metrics::counter::Counter;

use crate::{
    delivery::{
        check::check,
        disconnect::CloseReason,
        outbound::{SendQueue, Unwritten},
        sequence::{Offer, Sequence},
        writers::Writers,
    },
    events::position::{Entry, EventLog, Position, ReplayGap},
    ids::{SessionId, UserId},
    model::Control,
    protocol::sse::{Coding, text},
};

use output::SseItem;
use stream::SseStream;

#[derive(Default)]
struct LogSubscribers {
    sequence: Sequence<Position, Bytes>,
    streams: Vec<Arc<SseStream>>,
    /// Pending streams; while there are any, the log stays.
    pending: usize,
}

#[derive(Default)]
struct State {
    logs: HashMap<EventLog, LogSubscribers>,
    streams: HashMap<UserId, Vec<Arc<SseStream>>>,
    next_id: u64,
}

/// The open streams of this node.
pub struct SseStreams {
    // One lock is enough: SSE events are rare beside messages, and delivering one is a push to each stream.
    state: Mutex<State>,
    per_user: usize,
    writers: Arc<Writers>,
    deliveries: Counter,
}

impl SseStreams {
    /// No streams yet. Each user may have `per_user` of them. `deliveries` counts what is delivered to them.
    pub fn new(per_user: usize, writers: Arc<Writers>, deliveries: Counter) -> Self {
        Self {
            state: Mutex::default(),
            per_user,
            writers,
            deliveries,
        }
    }

    /// Adds a stream. When the user has too many, the oldest is closed. The caller must call [`Self::leave`] in the end.
    pub fn join(
        &self,
        user: UserId,
        session: SessionId,
        send_queue: Arc<SendQueue>,
        coding: Coding,
    ) -> Arc<SseStream> {
        let mut state = self.state.lock();
        state.next_id += 1;
        let owner = (user, session);
        let stream = Arc::new(SseStream::new(state.next_id, owner, send_queue, coding));
        let of_user = state.streams.entry(user).or_default();
        of_user.push(stream.clone());
        // A closed stream stays in the list until it leaves, so each join closes all streams beyond the limit.
        if let Some(surplus) = of_user.len().checked_sub(self.per_user) {
            of_user
                .iter()
                .take(surplus)
                .for_each(|oldest| oldest.send_queue.close(CloseReason::TooMany));
        }
        stream
    }

    /// Removes a stream.
    pub fn leave(&self, stream: &SseStream) {
        let mut state = self.state.lock();
        if let Some(of_user) = state.streams.get_mut(&stream.user) {
            of_user.retain(|other| other.id != stream.id);
            if of_user.is_empty() {
                state.streams.remove(&stream.user);
            }
        }
        drop(state);
        self.unsubscribe(stream);
    }

    /// Ends the stream's subscriptions to its logs, and drops what waits. The stream stays open and may start again.
    pub fn unsubscribe(&self, stream: &SseStream) {
        let mut state = self.state.lock();
        for log in [EventLog::All, EventLog::User(stream.user)] {
            if let Some(subscribers) = state.logs.get_mut(&log) {
                subscribers.streams.retain(|other| other.id != stream.id);
            }
            state.remove_if_unused(log);
        }
        stream.restart();
    }

    /// Number of streams.
    pub fn len(&self) -> usize {
        self.state.lock().streams.values().map(Vec::len).sum()
    }

    /// Whether no stream is open.
    pub fn is_empty(&self) -> bool {
        self.state.lock().streams.is_empty()
    }

    /// User and session of every stream.
    pub fn sessions(&self) -> Vec<(UserId, SessionId)> {
        let state = self.state.lock();
        state
            .streams
            .values()
            .flatten()
            .map(|stream| (stream.user, stream.session))
            .collect()
    }

    /// Closes the streams that a control event revokes.
    pub fn apply(&self, control: &Control) {
        let (user, session) = match control {
            Control::SessionRevoked {
                user_id,
                session_id,
            } => (user_id, Some(session_id)),
            Control::UserRevoked { user_id } => (user_id, None),
            // The events of a private channel are addressed to its participants one by one.
            Control::ChannelDeleted { .. } | Control::MembershipLost { .. } => return,
        };
        let state = self.state.lock();
        for stream in state.streams.get(user).into_iter().flatten() {
            if session.is_none_or(|session| stream.session == *session) {
                stream.send_queue.close(CloseReason::Revoked);
            }
        }
    }

    /// Begins a subscription: from now on events of the log are collected, while the caller reads the log's newest position
    /// from Redis.
    pub fn begin_subscription(self: &Arc<Self>, log: EventLog) -> PendingStream {
        self.state.lock().logs.entry(log).or_default().pending += 1;
        PendingStream {
            sse: self.clone(),
            log,
        }
    }

    /// Logs with streams, with the position of the last delivered event.
    pub fn positions(&self) -> Vec<(EventLog, Position)> {
        let state = self.state.lock();
        state
            .logs
            .iter()
            .filter_map(|(log, subscribers)| Some((*log, subscribers.sequence.position()?)))
            .collect()
    }

    /// Delivers an event to the log's streams. True when an earlier event is missing and the caller must repair the gap.
    pub fn offer(&self, log: EventLog, at: Position, text: Bytes) -> bool {
        let mut state = self.state.lock();
        let Some(LogSubscribers {
            sequence, streams, ..
        }) = state.logs.get_mut(&log)
        else {
            return false;
        };
        // The log began a new epoch after entries that were delivered here. The last entries of the old epoch may be missing,
        // so this must be a gap; its repair finds that the events are lost.
        let previous = match sequence.position() {
            Some(position) if check!(Epoch, position.n > 0 && position.epoch < at.epoch) => {
                Position {
                    n: at.n.saturating_sub(1),
                    ..at
                }
            }
            _ => at.previous(),
        };
        let mut unwritten = Vec::new();
        let offer = sequence.offer(previous, at, text.len(), text, |at, text| {
            self.deliver(streams, &SseItem::Event(log, at, text), &mut unwritten);
        });
        drop(state);
        self.writers.write_queues(unwritten);
        offer == Offer::Gap
    }

    /// Marks a repair as begun. False without streams of the log, while a repair is running, or before the log's position is
    /// known.
    pub fn begin_repair(&self, log: EventLog) -> bool {
        let mut state = self.state.lock();
        let subscribers = state.logs.get_mut(&log);
        subscribers.is_some_and(|subscribers| subscribers.sequence.begin_repair())
    }

    /// Position of the last delivered event, if the log has streams.
    pub fn position(&self, log: EventLog) -> Option<Position> {
        self.state.lock().logs.get(&log)?.sequence.position()
    }

    /// Delivers entries that were read from Redis after the log's position.
    pub fn repair(&self, log: EventLog, entries: &[Entry]) {
        let mut state = self.state.lock();
        let Some(LogSubscribers {
            sequence, streams, ..
        }) = state.logs.get_mut(&log)
        else {
            return;
        };
        let mut unwritten = Vec::new();
        for entry in entries {
            let previous = sequence.position().unwrap_or_default();
            if entry.at > previous {
                let text = text(&entry.name, &entry.data);
                sequence.offer(previous, entry.at, text.len(), text, |at, text| {
                    self.deliver(streams, &SseItem::Event(log, at, text), &mut unwritten);
                });
            }
        }
        drop(state);
        self.writers.write_queues(unwritten);
    }

    /// Continues after `tip`, and reports the loss to every stream of the log.
    ///
    /// A log that Redis no longer has expired a day after its last event. During that day the audits found no event that was
    /// missing here, so none was lost and the clients need not refetch.
    pub fn skip_lost(&self, log: EventLog, tip: Position, lost: ReplayGap) {
        let mut state = self.state.lock();
        let Some(subscribers) = state.logs.get_mut(&log) else {
            return;
        };
        subscribers.sequence.restart(tip);
        let item = if lost == ReplayGap::Expired && tip.n == 0 {
            SseItem::Restarted(log, tip)
        } else {
            SseItem::Lost(log, tip, lost)
        };
        let (mut text, mut unwritten) = (Vec::new(), Vec::new());
        for stream in &subscribers.streams {
            unwritten.extend(stream.deliver(&item, &mut text));
        }
        drop(state);
        self.writers.write_queues(unwritten);
    }

    /// Marks the repair as ended. True when an event is still missing.
    pub fn end_repair(&self, log: EventLog) -> bool {
        let mut state = self.state.lock();
        let subscribers = state.logs.get_mut(&log);
        subscribers.is_some_and(|subscribers| subscribers.sequence.end_repair())
    }

    /// Bytes in the send queues.
    pub fn queued_bytes(&self) -> usize {
        let state = self.state.lock();
        let streams = state.streams.values().flatten();
        streams.map(|stream| stream.send_queue.bytes()).sum()
    }

    /// Queues an item for each stream. The caller writes what is `unwritten` once it holds no lock.
    fn deliver(&self, streams: &[Arc<SseStream>], item: &SseItem, unwritten: &mut Vec<Unwritten>) {
        let mut text = Vec::new();
        unwritten.extend(
            streams
                .iter()
                .filter_map(|stream| stream.deliver(item, &mut text)),
        );
        self.deliveries.inc_by(streams.len() as u64);
    }
}

impl State {
    fn remove_if_unused(&mut self, log: EventLog) {
        if self
            .logs
            .get(&log)
            .is_some_and(|subscribers| subscribers.streams.is_empty() && subscribers.pending == 0)
        {
            self.logs.remove(&log);
        }
    }
}

/// A subscription to a log whose position is not known yet. While it exists, the log stays.
pub struct PendingStream {
    sse: Arc<SseStreams>,
    log: EventLog,
}

impl PendingStream {
    /// Adds the stream to the log. `tip` was read after [`SseStreams::begin_subscription`]. Returns the position after which
    /// every event is delivered; the caller reads the events before it.
    pub fn add(&self, stream: &Arc<SseStream>, tip: Position) -> Position {
        let mut state = self.sse.state.lock();
        let LogSubscribers {
            sequence, streams, ..
        } = state.logs.entry(self.log).or_default();
        let mut unwritten = Vec::new();
        sequence.start(tip, |at, text| {
            let event = SseItem::Event(self.log, at, text);
            self.sse.deliver(streams, &event, &mut unwritten);
        });
        streams.push(stream.clone());
        let position = sequence.position().unwrap_or(tip);
        drop(state);
        self.sse.writers.write_queues(unwritten);
        position
    }
}

impl Drop for PendingStream {
    fn drop(&mut self) {
        let mut state = self.sse.state.lock();
        if let Some(subscribers) = state.logs.get_mut(&self.log) {
            subscribers.pending -= 1;
        }
        state.remove_if_unused(self.log);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use super::*;

    fn streams(per_user: usize) -> Arc<SseStreams> {
        let writers = Arc::new(Writers::new(1, Counter::default()));
        Arc::new(SseStreams::new(per_user, writers, Counter::default()))
    }

    fn join(sse: &SseStreams, user: UserId, session: SessionId) -> Arc<SseStream> {
        sse.join(user, session, Arc::default(), Coding::Identity)
    }

    #[test]
    fn a_line_break_in_the_data_cannot_begin_a_field() {
        assert_eq!(
            text("x", b"a\r\nid:9\n\nevent:y"),
            "event:x\ndata:a  id:9  event:y\n\n"
        );
    }

    #[test]
    fn closing_one_stream_of_a_user_leaves_the_others() {
        let sse = streams(20);
        let (user, session) = (UserId::new(), SessionId::new());
        let tip = Position { epoch: 1, n: 0 };
        let (first, second) = (join(&sse, user, session), join(&sse, user, session));
        for stream in [&first, &second] {
            sse.begin_subscription(EventLog::User(user))
                .add(stream, tip);
        }
        sse.leave(&first);
        assert!(!sse.offer(
            EventLog::User(user),
            Position { epoch: 2, n: 1 },
            text("x", b"{}")
        ));
        let items = second.restart();
        assert_eq!(items.len(), 1);
        sse.leave(&second);
        assert!(sse.is_empty() && sse.positions().is_empty());
    }

    #[test]
    fn the_first_event_of_a_new_epoch_is_a_gap() {
        let sse = streams(20);
        let stream = join(&sse, UserId::new(), SessionId::new());
        let tip = Position { epoch: 1, n: 4 };
        sse.begin_subscription(EventLog::All).add(&stream, tip);
        let first = Position { epoch: 2, n: 1 };
        assert!(sse.offer(EventLog::All, first, text("x", b"{}")));
        let items = stream.restart();
        assert!(items.is_empty(), "{items:?}");
        sse.skip_lost(EventLog::All, first, ReplayGap::Unknown);
        let mut items = stream.restart();
        assert!(
            matches!(items.make_contiguous(), [SseItem::Lost(EventLog::All, at, ReplayGap::Unknown)] if *at == first),
            "{items:?}"
        );
    }

    #[test]
    fn an_expired_log_restarts_without_a_loss_and_a_trimmed_log_reports_one() {
        let sse = streams(20);
        let user = UserId::new();
        let (stream, log) = (join(&sse, user, SessionId::new()), EventLog::User(user));
        let at = |epoch, n| Position { epoch, n };
        sse.begin_subscription(log).add(&stream, at(1, 17));
        sse.skip_lost(log, at(5, 0), ReplayGap::Expired);
        // The next event is the first of a new epoch.
        assert!(!sse.offer(log, at(6, 1), text("x", b"{}")));
        sse.skip_lost(log, at(6, 900), ReplayGap::Expired);
        let mut items = stream.restart();
        let items = items.make_contiguous();
        assert!(
            matches!(items, [SseItem::Restarted(_, restarted), SseItem::Event(_, next, _), SseItem::Lost(_, lost, ReplayGap::Expired)]
                if (*restarted, *next, *lost) == (at(5, 0), at(6, 1), at(6, 900))),
            "{items:?}"
        );
    }

    #[test]
    fn a_stream_that_subscribes_again_gets_each_event_once() {
        let sse = streams(20);
        let user = UserId::new();
        let (stream, log) = (join(&sse, user, SessionId::new()), EventLog::User(user));
        let at = |n| Position { epoch: 1, n };
        for _ in 0..3 {
            sse.unsubscribe(&stream);
            sse.begin_subscription(log).add(&stream, at(0));
        }
        sse.offer(log, at(1), text("x", b"{}"));
        let items = stream.restart();
        assert_eq!((items.len(), sse.len()), (1, 1), "{items:?}");
    }

    #[test]
    fn a_stream_that_starts_again_does_not_go_back_to_a_position_of_the_first_start() {
        let sse = streams(20);
        let user = UserId::new();
        let (stream, log) = (join(&sse, user, SessionId::new()), EventLog::User(user));
        let at = |n| Position { epoch: 1, n };
        sse.begin_subscription(log).add(&stream, at(5));
        sse.skip_lost(log, at(6), ReplayGap::Unknown);
        // A store fails while the stream starts.
        sse.unsubscribe(&stream);
        sse.begin_subscription(log).add(&stream, at(7));
        let items = stream.restart();
        assert!(items.is_empty(), "{items:?}");
    }

    #[test]
    fn a_stream_beyond_the_limit_closes_the_oldest() {
        let sse = streams(2);
        let (user, session) = (UserId::new(), SessionId::new());
        let streams: Vec<_> = (0..3).map(|_| join(&sse, user, session)).collect();
        let reasons: Vec<_> = streams
            .iter()
            .map(|stream| stream.send_queue.take(&mut VecDeque::new()))
            .collect();
        assert_eq!(reasons, [Some(CloseReason::TooMany), None, None]);
    }
}
