//! The text of one SSE stream.

use crate::{
    delivery::{check::check, sse::SseItem},
    events::position::{Cursor, EventLog, Position, ReplayGap},
    ids::UserId,
    model::event::{RESYNC, SYNC},
    protocol::sse,
};

/// The text that a stream has not sent yet, and the position after its last event.
pub struct SseOutput {
    /// Text to send.
    pub text: Vec<u8>,
    /// The position after the last event in the text.
    position: Cursor,
}

impl SseOutput {
    /// No text yet.
    pub fn new(owner: UserId) -> Self {
        Self {
            text: Vec::new(),
            position: Cursor::of(owner, Position::default(), Position::default()),
        }
    }

    /// Writes an item of the stream's send queue.
    pub fn write_item(&mut self, item: SseItem) {
        match item {
            SseItem::Event(log, at, text) => self.write_event(log, at, &text),
            SseItem::Restarted(log, at) => *self.position_in(log) = at,
            SseItem::Lost(log, at, gap) => {
                *self.position_in(log) = at;
                self.write_resync(gap);
            }
        }
    }

    /// Writes an event, unless it was written before.
    pub(super) fn write_event(&mut self, log: EventLog, at: Position, text: &[u8]) {
        let position = self.position_in(log);
        if !check!(Written, at <= *position) {
            *position = at;
            self.write_id();
            self.text.extend_from_slice(text);
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

    /// Writes that all events up to the position were sent.
    pub(super) fn write_sync(&mut self) {
        self.write_id();
        self.text.extend_from_slice(&sse::text(SYNC, b"{}"));
    }

    /// Writes that the client must fetch everything again.
    pub(super) fn write_resync(&mut self, gap: ReplayGap) {
        let data = format!("{{\"reason\":\"{}\"}}", gap.reason());
        self.write_id();
        self.text
            .extend_from_slice(&sse::text(RESYNC, data.as_bytes()));
    }

    fn write_id(&mut self) {
        self.text
            .extend_from_slice(format!("id:{}\n", self.position).as_bytes());
    }

    fn position_in(&mut self, log: EventLog) -> &mut Position {
        match log {
            EventLog::All => &mut self.position.all,
            EventLog::User(_) => &mut self.position.user,
        }
    }
}
