//! The start of an SSE stream, without IO: subscribes to both event logs and replays the events after the client's position.
//!
//! The stream subscribes before the read, so that no event is missed between the two. An event that arrives twice is skipped by
//! its position.

use std::{collections::VecDeque, sync::Arc};

use crate::{
    delivery::{
        check::check,
        sse::{PendingStream, SseStreams, output::SseOutput, stream::SseStream},
    },
    events::position::{Cursor, Entry, EventLog, Position, ReplayGap},
    ids::UserId,
    protocol::sse,
};

/// The next step of a [`Start`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// The caller reads the newest positions of both logs, for [`Start::on_tips`].
    ReadTips,
    /// The caller reads at most `limit` entries of a log, for [`Start::on_entries`].
    ReadEntries {
        /// The log.
        log: EventLog,
        /// Entries after this position.
        after: Position,
        /// The read must reach this position.
        through: Position,
        /// Maximum number of entries.
        limit: usize,
    },
    /// The caller removes from [`Start::missed`] the events that the user may no longer see, and calls [`Start::join`].
    Join,
    /// The caller calls [`Start::finish`].
    Finish,
}

/// A stream that starts. Dropping it abandons the start.
pub struct Start {
    owner: UserId,
    to_user: PendingStream,
    to_all: PendingStream,
    /// The client's position, if it resumes.
    resume: Option<Result<Cursor, ReplayGap>>,
    max_replayed: usize,
    /// The newest positions when the start began.
    tip: Option<Cursor>,
    /// The positions after which every event comes through the stream's send queue.
    live: Option<Cursor>,
    /// Reads to do: a log, the position after which it is read, and the position that the read must reach.
    reads: VecDeque<(EventLog, Position, Position)>,
    /// Entries that the present series of reads has returned.
    entries_read: usize,
    missed: Vec<(EventLog, Entry)>,
    gap: Option<ReplayGap>,
}

impl Start {
    /// Begins the subscriptions of the owner. `resume` is the client's `Last-Event-ID`. A replay has at most `max_replayed` events.
    pub fn new(
        sse: &Arc<SseStreams>,
        owner: UserId,
        resume: Option<&str>,
        max_replayed: usize,
    ) -> Self {
        Self {
            owner,
            to_user: sse.begin_subscription(EventLog::User(owner)),
            to_all: sse.begin_subscription(EventLog::All),
            resume: resume.map(|text| Cursor::parse(text, owner).ok_or(ReplayGap::Unknown)),
            max_replayed,
            tip: None,
            live: None,
            reads: VecDeque::new(),
            entries_read: 0,
            missed: Vec::new(),
            gap: None,
        }
    }

    /// The step that the caller takes next.
    pub fn step(&self) -> Step {
        match (self.tip, self.reads.front(), self.live) {
            (None, ..) => Step::ReadTips,
            (_, Some(&(log, after, through)), _) => Step::ReadEntries {
                log,
                after,
                through,
                limit: self.max_replayed + 1,
            },
            (_, None, None) => Step::Join,
            (_, None, Some(_)) => Step::Finish,
        }
    }

    /// Takes the newest positions of both logs.
    pub fn on_tips(&mut self, tip: Cursor) {
        self.tip = Some(tip);
        match self.resume {
            None => {}
            Some(Err(gap)) => self.gap = Some(gap),
            Some(Ok(from)) => self.read_between(from, tip),
        }
    }

    /// Requests the entries of both logs after `from`, unless `from` is also the end.
    fn read_between(&mut self, from: Cursor, through: Cursor) {
        self.entries_read = 0;
        if from.user != through.user {
            let log = EventLog::User(self.owner);
            self.reads.push_back((log, from.user, through.user));
        }
        if from.all != through.all {
            self.reads.push_back((EventLog::All, from.all, through.all));
        }
    }

    /// Takes the entries of a log, or the reason why it no longer has all of them.
    pub fn on_entries(&mut self, entries: Result<Vec<Entry>, ReplayGap>) {
        let Some((log, ..)) = self.reads.pop_front() else {
            return;
        };
        match entries {
            Ok(entries) => {
                self.entries_read += entries.len();
                self.missed
                    .extend(entries.into_iter().map(|entry| (log, entry)));
                if self.entries_read > self.max_replayed {
                    self.lose(ReplayGap::TooFar);
                }
            }
            Err(gap) => self.lose(gap),
        }
    }

    fn lose(&mut self, gap: ReplayGap) {
        self.gap = Some(gap);
        self.reads.clear();
        self.missed.clear();
    }

    /// The events that the replay has so far.
    pub fn missed(&mut self) -> &mut Vec<(EventLog, Entry)> {
        &mut self.missed
    }

    /// Why the replay is incomplete, if it is.
    pub fn gap(&self) -> Option<ReplayGap> {
        self.gap
    }

    /// Adds the stream to both logs.
    pub fn join(&mut self, stream: &Arc<SseStream>) {
        let Some(tip) = self.tip else {
            return;
        };
        let user = self.to_user.add(stream, tip.user);
        let all = self.to_all.add(stream, tip.all);
        let live = Cursor::of(self.owner, user, all);
        self.live = Some(live);
        // Events may have arrived between the read of the tips and the subscription.
        if check!(Recent, self.gap.is_none()) {
            self.read_between(tip, live);
        }
    }

    /// Appends the replay and `sync` to `text`, or `resync` when the replay would be incomplete.
    pub fn finish(self, output: &mut SseOutput, text: &mut Vec<u8>) {
        let (Some(tip), Some(live)) = (self.tip, self.live) else {
            return;
        };
        if let Some(gap) = self.gap {
            output.set_position(live);
            output.write_resync(gap, text);
            return;
        }
        output.set_position(self.resume.and_then(Result::ok).unwrap_or(tip));
        for (log, entry) in self.missed {
            let event = sse::text(&entry.name, &entry.data);
            output.write_event(log, entry.at, &event, text);
        }
        output.advance(live);
        output.write_sync(text);
    }
}
