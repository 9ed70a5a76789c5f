//! The connection of an SSE stream: sends what the client missed; then whoever delivers writes to the socket, and the task sends
//! keep-alives.

use std::{sync::Arc, time::Duration};

use serde::Deserialize;
use tokio::{
    net::TcpStream,
    time::{Instant, sleep, sleep_until},
};
use tracing::debug;
use uuid::Uuid;

use crate::{
    app::App,
    delivery::{
        disconnect::{CloseReason, Disconnect},
        outbound::SendQueue,
        socket,
        sse::{
            output::SseOutput,
            start::{Start, Step},
            stream::SseStream,
        },
    },
    events::position::{Entry, EventLog, ReplayGap},
    http::hijack::Hijacked,
    ids::{FileId, NotificationId, SessionId, UserId},
    metrics::Protocol,
    model::event::{BINARY_CONTENTS_STATUS, NOTIFICATIONS},
    problem::{Problem, chain},
    protocol::sse::Coding,
    store,
};

/// Maximum events of one replay. A client refetches its lists more cheaply than it reads more events.
const MAX_REPLAYED: usize = 1_000;
/// Bytes of a replay that are queued at once, about.
const REPLAY_BYTES: usize = 32 * 1024;
/// Bytes that a client may send on its stream. They have no meaning.
const MAX_DISCARDED_BYTES: usize = 64 * 1024;
/// A comment.
const KEEP_ALIVE: &[u8] = b":\n";
/// Delay in ms before a client reconnects when its node drains, random so that clients do not reconnect all at once.
const DRAIN_RETRY_MS: std::ops::Range<u32> = 500..3_000;
/// Delay before the writer retries an unavailable store.
const RETRY_DELAY: Duration = Duration::from_secs(1);

/// The user and the session that opened a stream.
pub(super) struct StreamOwner {
    pub(super) user: UserId,
    pub(super) session: SessionId,
}

/// The connection of one stream.
pub(super) struct SseConnection {
    app: Arc<App>,
    socket: Arc<TcpStream>,
    stream: Arc<SseStream>,
    coding: Coding,
}

/// The client disconnected or stopped reading.
#[derive(Clone, Copy)]
struct Disconnected;

impl From<Disconnect> for Disconnected {
    fn from(_: Disconnect) -> Self {
        Self
    }
}

impl SseConnection {
    /// Adds the stream to the node's streams, and queues the head of the response.
    pub(super) fn new(
        app: Arc<App>,
        connection: Hijacked,
        coding: Coding,
        owner: &StreamOwner,
    ) -> Self {
        let socket = Arc::new(connection.stream);
        let send_queue = Arc::new(SendQueue::of_socket(socket.clone()));
        send_queue.push_reply(connection.head);
        let streams = &app.delivery.sse;
        let stream = streams.join(owner.user, owner.session, send_queue, coding);
        Self {
            app,
            socket,
            stream,
            coding,
        }
    }

    /// Serves the stream until it ends.
    pub(super) async fn run(self, owner: StreamOwner, resume: Option<String>) {
        // Sent at once, so that the client knows that it is connected. Without an empty line, here and after each comment: several
        // client libraries take it as the end of an event, and dispatch one without data.
        self.queue(b"retry:3000\n: welcome\n");
        let connected = self.app.metrics.connected("sse");
        let ended = self.serve(&owner, resume).await;
        self.app.delivery.sse.leave(&self.stream);
        drop(connected);
        let reason = ended.map_or("gone", CloseReason::name);
        self.app.metrics.closed(Protocol::Sse, reason);
        if let Ok(close_reason) = ended {
            self.end(close_reason).await;
        }
    }

    async fn serve(
        &self,
        owner: &StreamOwner,
        resume: Option<String>,
    ) -> Result<CloseReason, Disconnected> {
        tokio::select! {
            biased;
            ended = self.until_closed() => return ended,
            // Boxed: the task would reserve memory for the future as long as the stream lives.
            started = Box::pin(self.start(owner, resume)) => started?,
        }
        self.until_closed().await
    }

    /// Writes what is queued, and keep-alives, until there is a reason to close.
    async fn until_closed(&self) -> Result<CloseReason, Disconnected> {
        let (app, queue) = (&self.app, &self.stream.send_queue);
        let mut allowance = MAX_DISCARDED_BYTES;
        loop {
            if let Some(close_reason) = queue.write()? {
                return Ok(close_reason);
            }
            let stalls_at = queue.stalls_at();
            let keep_alive_at = || queue.last_write_at() + app.config.sse_keep_alive;
            let deadline = stalls_at.unwrap_or_else(keep_alive_at);
            if Instant::now() >= deadline {
                if stalls_at.is_some() {
                    return Err(Disconnected);
                }
                self.queue(KEEP_ALIVE);
                continue;
            }
            let on_read = |bytes: &[u8]| allowance = allowance.saturating_sub(bytes.len());
            tokio::select! {
                () = queue.changed() => {}
                ready = socket::ready(&self.socket, true, stalls_at.is_some(), on_read) => ready?,
                () = app.tasks.draining().cancelled() => queue.close(CloseReason::Draining),
                () = sleep_until(deadline) => {}
            }
            if allowance == 0 {
                return Err(Disconnected);
            }
        }
    }

    /// Sends what the client missed, and lets the stream deliver. Retries when a store is unavailable.
    async fn start(&self, owner: &StreamOwner, resume: Option<String>) -> Result<(), Disconnected> {
        let (mut output, mut text) = loop {
            match self.read_missed(owner, resume.as_deref()).await {
                Ok(Some(missed)) => break missed,
                Ok(None) => {
                    self.stream.send_queue.close(CloseReason::Revoked);
                    return Ok(());
                }
                Err(problem) => {
                    debug!(error = %chain(&problem), "SSE stream waits for a store");
                    // The retry subscribes again, and the stream must not be subscribed twice.
                    self.app.delivery.sse.unsubscribe(&self.stream);
                    self.queue(KEEP_ALIVE);
                    self.stream.send_queue.write()?;
                    sleep(RETRY_DELAY).await;
                }
            }
        };
        // Checked after the replay was read, so that it is not sent to a session that ended meanwhile.
        while self.stream.send_queue.close_reason().is_none() {
            self.write(&text).await?;
            text.clear();
            match self.stream.go_live(output, &mut text) {
                Ok(()) => break,
                Err(waited) => output = waited,
            }
        }
        Ok(())
    }

    /// Subscribes the stream and reads what the client missed: its position, and the text up to it. `None` if the session has
    /// ended.
    async fn read_missed(
        &self,
        owner: &StreamOwner,
        resume: Option<&str>,
    ) -> Result<Option<(SseOutput, Vec<u8>)>, Problem> {
        let app = &self.app;
        let mut start = Start::new(&app.delivery.sse, owner.user, resume, MAX_REPLAYED);
        loop {
            match start.step() {
                Step::ReadTips => start.on_tips(app.history.cursor(owner.user).await?),
                Step::ReadEntries {
                    log,
                    after,
                    through,
                    limit,
                } => {
                    let entries = app.replay.after(log, after, through, limit).await?;
                    start.on_entries(entries);
                }
                Step::Join => {
                    retain_visible(app, owner.user, start.missed()).await?;
                    // Checked after the stream joined: this check finds an earlier revocation, and a later revocation closes
                    // the queue.
                    if app.sessions.user(owner.session).await? != Some(owner.user) {
                        return Ok(None);
                    }
                    start.join(&self.stream);
                }
                Step::Finish => {
                    if resume.is_some() {
                        let outcome = start.gap().map_or("replayed", ReplayGap::reason);
                        app.metrics.resumed(Protocol::Sse, outcome);
                    }
                    let (mut output, mut text) = (SseOutput::new(owner.user), Vec::new());
                    start.finish(&mut output, &mut text);
                    return Ok(Some((output, text)));
                }
            }
        }
    }

    /// Writes a text of any length. [`Self::until_closed`] watches its progress.
    async fn write(&self, mut text: &[u8]) -> Result<(), Disconnected> {
        let queue = &self.stream.send_queue;
        while !text.is_empty() {
            while queue.is_blocked() {
                self.socket.writable().await.map_err(|_| Disconnected)?;
                queue.write()?;
            }
            let (part, rest) = text.split_at(whole_events(text));
            self.queue(part);
            queue.write()?;
            text = rest;
        }
        Ok(())
    }

    fn queue(&self, text: &[u8]) {
        if let Some(frame) = self.coding.encode(text) {
            self.stream.send_queue.push_reply(frame);
        }
    }

    /// Ends the response and closes. When the node drains, the client reconnects after a random delay.
    async fn end(&self, close_reason: CloseReason) {
        let queue = &self.stream.send_queue;
        queue.end_deliveries();
        if close_reason == CloseReason::Draining {
            let retry = rand::random_range(DRAIN_RETRY_MS);
            let text = format!("retry:{retry}\n: this node is draining\n");
            self.coding
                .encode(text.as_bytes())
                .into_iter()
                .for_each(|frame| queue.push_last(frame));
        }
        if let Some(end) = self.coding.end() {
            queue.push_last(end);
        }
        socket::close(&self.socket, queue).await;
    }
}

/// The length of the events at the start of a text that [`REPLAY_BYTES`] hold, at least one. A stream that ends between two
/// parts ends between two events.
fn whole_events(text: &[u8]) -> usize {
    let ends = |pair: &[u8]| pair == b"\n\n";
    let end = match text.get(..REPLAY_BYTES) {
        None => None,
        Some(start) => match start.windows(2).rposition(ends) {
            Some(at) => Some(at),
            None => text.windows(2).position(ends),
        },
    };
    end.map_or(text.len(), |at| at + 2)
}

/// Removes events about files that the user may no longer read and notifications that the user has deleted.
///
/// `channels.refresh` stays, so that a user who was removed from a channel refetches the channels.
async fn retain_visible(
    app: &App,
    user: UserId,
    missed: &mut Vec<(EventLog, Entry)>,
) -> Result<(), Problem> {
    #[derive(Deserialize)]
    struct Object {
        id: Uuid,
    }
    let object_id = |entry: &Entry, name: &str| -> Option<Uuid> {
        let object: Option<Object> = (entry.name == name)
            .then(|| serde_json::from_slice(&entry.data).ok())
            .flatten();
        object.map(|object| object.id)
    };
    let ids = |name: &str| -> Vec<Uuid> {
        let entries = missed.iter();
        entries
            .filter_map(|(_, entry)| object_id(entry, name))
            .collect()
    };
    let notifications: Vec<_> = ids(NOTIFICATIONS).into_iter().map(NotificationId).collect();
    let files: Vec<_> = ids(BINARY_CONTENTS_STATUS)
        .into_iter()
        .map(FileId)
        .collect();
    if !notifications.is_empty() {
        let present = store::notifications::present(&app.db, user, &notifications).await?;
        let exists = |id: Uuid| present.contains(&NotificationId(id));
        missed.retain(|(_, entry)| object_id(entry, NOTIFICATIONS).is_none_or(exists));
    }
    if !files.is_empty() {
        let readable = store::files::readable(&app.db, &files, user).await?;
        let is_readable = |id: Uuid| readable.iter().any(|file| file.id.0 == id);
        missed
            .retain(|(_, entry)| object_id(entry, BINARY_CONTENTS_STATUS).is_none_or(is_readable));
    }
    Ok(())
}

impl Drop for SseConnection {
    fn drop(&mut self) {
        self.app.delivery.sse.leave(&self.stream);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_of_a_replay_ends_with_an_event() {
        let event = |bytes: usize| format!("{}\n\n", "x".repeat(bytes - 2));
        let small = event(100).repeat(REPLAY_BYTES / 100 + 1);
        assert_eq!(whole_events(small.as_bytes()), REPLAY_BYTES / 100 * 100);
        let large = event(2 * REPLAY_BYTES) + &event(100);
        assert_eq!(whole_events(large.as_bytes()), 2 * REPLAY_BYTES);
        assert_eq!(whole_events(event(100).as_bytes()), 100);
    }
}
