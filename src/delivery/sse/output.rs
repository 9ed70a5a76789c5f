//! The text of one SSE stream.

use bytes::Bytes;

use crate::{
    delivery::check::check,
    events::position::{Cursor, EventLog, Position, ReplayGap},
    ids::UserId,
    model::event::{RESYNC, SYNC},
    protocol::sse,
};

/// What a log delivers to a stream.
#[derive(Clone, Debug)]
pub enum SseItem {
    /// An event of the log. The text is complete except for its `id:` line, and shared by all streams.
    Event(EventLog, Position, Bytes),
    /// The log continues from the position, and no event was lost.
    Restarted(EventLog, Position),
    /// Events were lost; the log continues from the position.
    Lost(EventLog, Position, ReplayGap),
}

impl SseItem {
    /// Its bytes, about.
    pub(super) fn bytes(&self) -> usize {
        match self {
            Self::Event(_, _, text) => text.len(),
            Self::Restarted(..) | Self::Lost(..) => 64,
        }
    }
}

/// The position of a stream: after its last event. Writes what follows.
#[derive(Debug)]
pub struct SseOutput {
    position: Cursor,
}

impl SseOutput {
    /// At the start of both logs.
    pub fn new(owner: UserId) -> Self {
        Self {
            position: Cursor::of(owner, Position::default(), Position::default()),
        }
    }

    /// Appends an item to `text`; nothing, if the stream has had it.
    pub fn write_item(&mut self, item: &SseItem, text: &mut Vec<u8>) {
        match item {
            SseItem::Event(log, at, event) => self.write_event(*log, *at, event, text),
            SseItem::Restarted(log, at) => *self.position_in(*log) = *at,
            SseItem::Lost(log, at, gap) => {
                *self.position_in(*log) = *at;
                self.write_resync(*gap, text);
            }
        }
    }

    /// Appends an event, unless it was written before.
    pub(super) fn write_event(
        &mut self,
        log: EventLog,
        at: Position,
        event: &[u8],
        text: &mut Vec<u8>,
    ) {
        let position = self.position_in(log);
        if !check!(Written, at <= *position) {
            *position = at;
            sse::write_id(&self.position, text);
            text.extend_from_slice(event);
        }
    }

    /// Continues after a position.
    pub(super) fn set_position(&mut self, position: Cursor) {
        self.position = position;
    }

    /// Continues after `position` in each log, unless the last event is already after it.
    pub(super) fn advance(&mut self, position: Cursor) {
        self.position.user = self.position.user.max(position.user);
        self.position.all = self.position.all.max(position.all);
    }

    /// Appends that all events up to the position were sent.
    pub(super) fn write_sync(&mut self, text: &mut Vec<u8>) {
        sse::write_id(&self.position, text);
        text.extend_from_slice(&sse::text(SYNC, b"{}"));
    }

    /// Appends that the client must fetch everything again.
    pub(super) fn write_resync(&mut self, gap: ReplayGap, text: &mut Vec<u8>) {
        let data = format!("{{\"reason\":\"{}\"}}", gap.reason());
        sse::write_id(&self.position, text);
        text.extend_from_slice(&sse::text(RESYNC, data.as_bytes()));
    }

    fn position_in(&mut self, log: EventLog) -> &mut Position {
        match log {
            EventLog::All => &mut self.position.all,
            EventLog::User(_) => &mut self.position.user,
        }
    }
}
