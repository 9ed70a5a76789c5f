//! The writer of an SSE stream: replays missed events, then forwards live ones.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use bytes::Bytes;
use serde::Deserialize;
use tokio::sync::mpsc;
use tracing::debug;
use uuid::Uuid;

use crate::{
    app::App,
    delivery::{
        disconnect::CloseReason,
        sse::{
            SseStream,
            output::SseOutput,
            start::{Start, Step},
        },
    },
    events::position::{Entry, EventLog, ReplayGap},
    ids::{FileId, NotificationId, SessionId, UserId},
    limits::STALL_TIMEOUT,
    metrics::{Connected, Protocol},
    model::event::{BINARY_CONTENTS_STATUS, NOTIFICATIONS},
    problem::{Problem, chain},
    store,
};

/// Maximum events of one replay. A client refetches its lists more cheaply than it reads more events.
const MAX_REPLAYED: usize = 1_000;
/// Size from which the writer sends a chunk before it adds more events.
const CHUNK_BYTES: usize = 32 * 1024;
/// Maximum chunks that wait for the connection.
pub(super) const MAX_QUEUED_CHUNKS: usize = 2;
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

/// The writer of one stream.
pub(super) struct SseWriter {
    pub(super) app: Arc<App>,
    pub(super) chunks: mpsc::Sender<Bytes>,
    /// The next chunk.
    pub(super) output: SseOutput,
}

/// The client disconnected or stopped reading.
struct Disconnected;

impl SseWriter {
    pub(super) async fn run(mut self, owner: StreamOwner, resume: Option<String>) {
        // Sent at once, so that the client gets the headers and knows that it is connected. Without an empty line, here and after
        // each comment: several client libraries take it as the end of an event, and dispatch one without data.
        self.output
            .text
            .extend_from_slice(b"retry:3000\n: welcome\n");
        let stream = self.app.delivery.sse.join(owner.user, owner.session);
        let guard = LeaveGuard {
            app: self.app.clone(),
            stream: stream.clone(),
            _connected: self.app.metrics.connected("sse"),
        };
        let ended = self.stream(&stream, owner, resume).await;
        let reason = match stream.send_queue.close_reason() {
            Some(close_reason) if ended.is_ok() => close_reason.name(),
            _ => "gone",
        };
        self.app.metrics.closed(Protocol::Sse, reason);
        drop(guard);
    }

    async fn stream(
        &mut self,
        stream: &Arc<SseStream>,
        owner: StreamOwner,
        resume: Option<String>,
    ) -> Result<(), Disconnected> {
        self.flush().await?;
        loop {
            let result = tokio::select! {
                biased;
                () = closed(stream) => break,
                // Boxed: the task would reserve memory for the future as long as the stream lives.
                result = Box::pin(self.begin(stream, &owner, resume.as_deref())) => result?,
            };
            match result {
                Ok(()) => break,
                Err(error) => debug!(error = %chain(&error), "SSE stream waits for a store"),
            }
            self.pause(stream, RETRY_DELAY).await?;
        }
        // Checked after the replay was read, so that it is not sent to a session that ended meanwhile.
        if let Some(close_reason) = stream.send_queue.close_reason() {
            self.output.text.clear();
            return self.end(close_reason).await;
        }
        self.flush().await?;
        let mut items = VecDeque::new();
        loop {
            let close_reason = stream.send_queue.take(&mut items);
            for item in items.drain(..) {
                self.output.write_item(item);
                if self.output.text.len() >= CHUNK_BYTES {
                    self.flush().await?;
                }
            }
            self.flush().await?;
            if let Some(close_reason) = close_reason {
                return self.end(close_reason).await;
            }
            self.wait(stream).await?;
        }
    }

    /// Waits for an event or a reason to close, and sends keep-alives meanwhile.
    async fn wait(&mut self, stream: &SseStream) -> Result<(), Disconnected> {
        let app = self.app.clone();
        loop {
            tokio::select! {
                () = stream.send_queue.changed() => return Ok(()),
                () = self.chunks.closed() => return Err(Disconnected),
                () = app.tasks.draining().cancelled() => {
                    stream.send_queue.close(CloseReason::Draining);
                    return Ok(());
                }
                () = tokio::time::sleep(app.config.sse_keep_alive) => {
                    self.output.text.extend_from_slice(KEEP_ALIVE);
                    self.flush().await?;
                }
            }
        }
    }

    /// Sends a keep-alive and waits for `time`, or until there is a reason to close.
    async fn pause(&mut self, stream: &SseStream, time: Duration) -> Result<(), Disconnected> {
        self.output.text.extend_from_slice(KEEP_ALIVE);
        self.flush().await?;
        tokio::time::timeout(time, self.wait(stream))
            .await
            .unwrap_or(Ok(()))
    }

    /// Starts the stream. The outer error ends the stream; the caller retries after the inner error.
    async fn begin(
        &mut self,
        stream: &Arc<SseStream>,
        owner: &StreamOwner,
        resume: Option<&str>,
    ) -> Result<Result<(), Problem>, Disconnected> {
        match self.try_begin(stream, owner, resume).await {
            Ok(true) => Ok(Ok(())),
            Ok(false) => {
                stream.send_queue.close(CloseReason::Revoked);
                Err(Disconnected)
            }
            Err(problem) => {
                // The retry subscribes again, and the stream must not be subscribed twice.
                self.app.delivery.sse.unsubscribe(stream);
                Ok(Err(problem))
            }
        }
    }

    /// As [`Self::begin`]; false if the session has ended.
    async fn try_begin(
        &mut self,
        stream: &Arc<SseStream>,
        owner: &StreamOwner,
        resume: Option<&str>,
    ) -> Result<bool, Problem> {
        let app = self.app.clone();
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
                    retain_visible(&app, owner.user, start.missed()).await?;
                    // Checked after the stream joined: this check finds an earlier revocation, and a later revocation closes
                    // the queue.
                    if app.sessions.user(owner.session).await? != Some(owner.user) {
                        return Ok(false);
                    }
                    start.join(stream);
                }
                Step::Finish => {
                    if resume.is_some() {
                        let outcome = start.gap().map_or("replayed", ReplayGap::reason);
                        app.metrics.resumed(Protocol::Sse, outcome);
                    }
                    start.finish(&mut self.output);
                    return Ok(true);
                }
            }
        }
    }

    /// Ends the stream. When the node drains, the client reconnects after a random delay.
    async fn end(&mut self, close_reason: CloseReason) -> Result<(), Disconnected> {
        if close_reason == CloseReason::Draining {
            self.output.text.extend_from_slice(
                format!(
                    "retry:{}\n: this node is draining\n",
                    rand::random_range(DRAIN_RETRY_MS)
                )
                .as_bytes(),
            );
            self.flush().await?;
        }
        Ok(())
    }

    /// Sends the chunk; fails if the connection does not accept it within [`STALL_TIMEOUT`].
    async fn flush(&mut self) -> Result<(), Disconnected> {
        if self.output.text.is_empty() {
            return Ok(());
        }
        let chunk = Bytes::from(std::mem::take(&mut self.output.text));
        match tokio::time::timeout(STALL_TIMEOUT, self.chunks.send(chunk)).await {
            Ok(Ok(())) => Ok(()),
            _ => Err(Disconnected),
        }
    }
}

/// Waits until the stream has a reason to close.
async fn closed(stream: &SseStream) {
    while stream.send_queue.close_reason().is_none() {
        stream.send_queue.changed().await;
    }
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

/// Removes the stream from the node's streams when dropped.
struct LeaveGuard {
    app: Arc<App>,
    stream: Arc<SseStream>,
    _connected: Connected,
}

impl Drop for LeaveGuard {
    fn drop(&mut self) {
        self.app.delivery.sse.leave(&self.stream);
    }
}
