//! One SSE stream: replays the history, then follows live events.

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
        sse::{SseItem, SseStream},
    },
    events::position::{Cursor, Entry, EventLog, Position, ReplayGap},
    ids::{FileId, NotificationId, SessionId, UserId},
    limits::STALL_TIMEOUT,
    model::event::{BINARY_CONTENTS_STATUS, NOTIFICATIONS, RESYNC, SYNC},
    problem::{Problem, chain},
    protocol::sse,
    store,
};

/// Events that a replay brings at most; more are refetched more cheaply than replayed.
const MAX_REPLAYED: usize = 1_000;
/// What is sent at once, in bytes: many events in one piece, none of them late.
const PIECE_BYTES: usize = 32 * 1024;
/// Pieces that wait for the connection to take them.
pub(super) const PIECES: usize = 2;
/// The time a client waits before it comes back, when a node leaves: spread, so that they do not come all at once.
const COME_BACK_MS: std::ops::Range<u32> = 500..3_000;
/// How long to wait before a store that is away is asked again.
const TRY_AGAIN: Duration = Duration::from_secs(1);
/// Who opens a stream.
pub(super) struct Opener {
    pub(super) user: UserId,
    pub(super) session: SessionId,
}

/// Writes one stream.
pub(super) struct Worker {
    pub(super) app: Arc<App>,
    pub(super) pieces: mpsc::Sender<Bytes>,
    /// What is written next.
    pub(super) text: Vec<u8>,
    /// The position of what has been written.
    pub(super) sent: Cursor,
}

/// The client has left, or does not read.
struct Gone;
impl Worker {
    pub(super) async fn run(mut self, opener: Opener, resume: Option<String>) {
        // At once, so that the headers leave and the client knows that it is connected.
        self.text.extend_from_slice(b"retry:3000\n: welcome\n\n");
        let stream = self.app.delivery.sse.join(opener.user, opener.session);
        let left = Left {
            app: self.app.clone(),
            stream: stream.clone(),
        };
        // Ends with the connection, or with a `CloseReason`.
        drop(self.stream(&stream, opener, resume).await);
        drop(left);
    }

    async fn stream(
        &mut self,
        stream: &Arc<SseStream>,
        opener: Opener,
        resume: Option<String>,
    ) -> Result<(), Gone> {
        self.flush().await?;
        loop {
            let begun = tokio::select! {
                biased;
                () = dismissed(stream) => break,
                // Boxed: the task would keep the room for it as long as the stream lives.
                begun = Box::pin(self.begin(stream, &opener, resume.as_deref())) => begun?,
            };
            match begun {
                Ok(()) => break,
                Err(error) => debug!(error = %chain(&error), "a stream waits for a store"),
            }
            self.rest(stream, TRY_AGAIN).await?;
        }
        // Looked at last, so that a replay does not go to a session that ended while it was read.
        if let Some(close_reason) = stream.send_queue.close_reason() {
            self.text.clear();
            return self.leave(close_reason).await;
        }
        self.flush().await?;
        let mut items = VecDeque::new();
        loop {
            let close_reason = stream.send_queue.take(&mut items);
            for item in items.drain(..) {
                self.item(item);
                if self.text.len() >= PIECE_BYTES {
                    self.flush().await?;
                }
            }
            self.flush().await?;
            if let Some(close_reason) = close_reason {
                return self.leave(close_reason).await;
            }
            self.wait(stream).await?;
        }
    }

    /// Waits for something to send, and keeps the stream alive meanwhile.
    async fn wait(&mut self, stream: &SseStream) -> Result<(), Gone> {
        let app = self.app.clone();
        loop {
            tokio::select! {
                () = stream.send_queue.changed() => return Ok(()),
                () = self.pieces.closed() => return Err(Gone),
                () = app.tasks.draining().cancelled() => {
                    stream.send_queue.close(CloseReason::Draining);
                    return Ok(());
                }
                () = tokio::time::sleep(app.config.sse_keep_alive) => {
                    self.text.extend_from_slice(b":\n\n");
                    self.flush().await?;
                }
            }
        }
    }

    /// Waits for a store, or for a reason to leave, and keeps the stream alive meanwhile.
    async fn rest(&mut self, stream: &SseStream, time: Duration) -> Result<(), Gone> {
        self.text.extend_from_slice(b":\n\n");
        self.flush().await?;
        tokio::time::timeout(time, self.wait(stream))
            .await
            .unwrap_or(Ok(()))
    }

    /// Follows both histories, and replays what came after the client's position. Follow first, then read: so nothing falls
    /// in between, and what comes twice is seen by its position.
    async fn begin(
        &mut self,
        stream: &Arc<SseStream>,
        opener: &Opener,
        resume: Option<&str>,
    ) -> Result<Result<(), Problem>, Gone> {
        match self.try_begin(stream, opener, resume).await {
            Ok(true) => Ok(Ok(())),
            Ok(false) => {
                stream.send_queue.close(CloseReason::Revoked);
                Err(Gone)
            }
            Err(problem) => {
                // It begins again from the start, and must not stand in a line twice.
                self.app.delivery.sse.step_out(stream);
                Ok(Err(problem))
            }
        }
    }

    /// False when the session has ended.
    async fn try_begin(
        &mut self,
        stream: &Arc<SseStream>,
        opener: &Opener,
        resume: Option<&str>,
    ) -> Result<bool, Problem> {
        let app = self.app.clone();
        let streams = [EventLog::User(opener.user), EventLog::All];
        let [to_user, to_all] = streams.map(|stream| app.delivery.sse.enter(stream));
        let tip = app.history.cursor(opener.user).await?;
        let resume = resume.map(|text| Cursor::parse(text, opener.user));
        let replay = match resume {
            None => Ok(Vec::new()),
            Some(None) => Err(ReplayGap::Unknown),
            Some(Some(from)) => match read_missed(&app, streams, from, tip).await? {
                Ok(missed) => Ok(permitted(&app, opener.user, missed).await?),
                Err(lost) => Err(lost),
            },
        };
        // Now that the stream is known: a revocation before this shows here, one after it closes the queue.
        if app.sessions.user(opener.session).await? != Some(opener.user) {
            return Ok(false);
        }
        let (user, all) = (to_user.add(stream, tip.user), to_all.add(stream, tip.all));
        let live = Cursor::of(opener.user, user, all);
        // What lies between the tip that was read and the line's own position: the line may be ahead by now.
        let rest = read_missed(&app, streams, tip, live).await?;
        match replay.and_then(|replay| rest.map(|rest| (replay, rest))) {
            Ok((replay, rest)) => {
                self.sent = resume.flatten().unwrap_or(tip);
                for (stream, entry) in replay.into_iter().chain(rest) {
                    self.event(stream, entry.at, &sse::text(&entry.name, &entry.data));
                }
                self.sent.user = self.sent.user.max(live.user);
                self.sent.all = self.sent.all.max(live.all);
                self.own(SYNC, "{}");
            }
            Err(lost) => {
                self.sent = live;
                self.own(RESYNC, &format!("{{\"reason\":\"{}\"}}", lost.reason()));
            }
        }
        Ok(true)
    }

    fn item(&mut self, item: SseItem) {
        match item {
            SseItem::Event(stream, at, text) => self.event(stream, at, &text),
            SseItem::Moved(stream, at) => *self.position(stream) = at,
            SseItem::Lost(stream, at, lost) => {
                *self.position(stream) = at;
                self.own(RESYNC, &format!("{{\"reason\":\"{}\"}}", lost.reason()));
            }
        }
    }

    fn position(&mut self, stream: EventLog) -> &mut Position {
        match stream {
            EventLog::All => &mut self.sent.all,
            EventLog::User(_) => &mut self.sent.user,
        }
    }

    /// Writes an event unless it has been written.
    fn event(&mut self, stream: EventLog, at: Position, text: &[u8]) {
        let position = self.position(stream);
        if at > *position {
            *position = at;
            self.text
                .extend_from_slice(format!("id:{}\n", self.sent).as_bytes());
            self.text.extend_from_slice(text);
        }
    }

    /// Writes an event of this stream alone, at the position reached.
    fn own(&mut self, name: &str, data: &str) {
        self.text
            .extend_from_slice(format!("id:{}\n", self.sent).as_bytes());
        self.text
            .extend_from_slice(&sse::text(name, data.as_bytes()));
    }

    async fn leave(&mut self, close_reason: CloseReason) -> Result<(), Gone> {
        if close_reason == CloseReason::Draining {
            self.text.extend_from_slice(
                format!(
                    "retry:{}\n: this node is leaving\n\n",
                    rand::random_range(COME_BACK_MS)
                )
                .as_bytes(),
            );
            self.flush().await?;
        }
        Ok(())
    }

    /// Sends what is written. Waits for the connection to take it, but not for ever.
    async fn flush(&mut self) -> Result<(), Gone> {
        if self.text.is_empty() {
            return Ok(());
        }
        let piece = Bytes::from(std::mem::take(&mut self.text));
        match tokio::time::timeout(STALL_TIMEOUT, self.pieces.send(piece)).await {
            Ok(Ok(())) => Ok(()),
            _ => Err(Gone),
        }
    }
}

/// Waits until the stream is told to close.
async fn dismissed(stream: &SseStream) {
    while stream.send_queue.close_reason().is_none() {
        stream.send_queue.changed().await;
    }
}

/// What came after `from` in both histories, up to `through`, or why it cannot be told.
async fn read_missed(
    app: &App,
    streams: [EventLog; 2],
    from: Cursor,
    through: Cursor,
) -> Result<Result<Vec<(EventLog, Entry)>, ReplayGap>, Problem> {
    let mut missed = Vec::new();
    for (stream, from, through) in [
        (streams[0], from.user, through.user),
        (streams[1], from.all, through.all),
    ] {
        if from == through {
            continue;
        }
        match app.history.after(stream, from, MAX_REPLAYED + 1).await? {
            Ok(entries) => missed.extend(entries.into_iter().map(|entry| (stream, entry))),
            Err(lost) => return Ok(Err(lost)),
        }
        if missed.len() > MAX_REPLAYED {
            return Ok(Err(ReplayGap::TooFar));
        }
    }
    Ok(Ok(missed))
}

/// Leaves out what the user may not see any more, or has deleted since. `channels.refresh` stays: those who were removed are
/// to fetch their channels again.
async fn permitted(
    app: &App,
    user: UserId,
    mut missed: Vec<(EventLog, Entry)>,
) -> Result<Vec<(EventLog, Entry)>, Problem> {
    #[derive(Deserialize)]
    struct Named {
        id: Uuid,
    }
    let named = |entry: &Entry, name: &str| -> Option<Uuid> {
        let named: Option<Named> = (entry.name == name)
            .then(|| serde_json::from_slice(&entry.data).ok())
            .flatten();
        named.map(|named| named.id)
    };
    let ids = |name: &str| -> Vec<Uuid> {
        let entries = missed.iter();
        entries
            .filter_map(|(_, entry)| named(entry, name))
            .collect()
    };
    let notifications: Vec<_> = ids(NOTIFICATIONS).into_iter().map(NotificationId).collect();
    let files: Vec<_> = ids(BINARY_CONTENTS_STATUS)
        .into_iter()
        .map(FileId)
        .collect();
    if !notifications.is_empty() {
        let present = store::notifications::present(&app.db, user, &notifications).await?;
        let may = |id: Uuid| present.contains(&NotificationId(id));
        missed.retain(|(_, entry)| named(entry, NOTIFICATIONS).is_none_or(may));
    }
    if !files.is_empty() {
        let readable = store::files::readable(&app.db, &files, user).await?;
        let may = |id: Uuid| readable.iter().any(|file| file.id.0 == id);
        missed.retain(|(_, entry)| named(entry, BINARY_CONTENTS_STATUS).is_none_or(may));
    }
    Ok(missed)
}

/// Takes the stream out of the map, whatever ended it.
struct Left {
    app: Arc<App>,
    stream: Arc<SseStream>,
}

impl Drop for Left {
    fn drop(&mut self) {
        self.app.delivery.sse.leave(&self.stream);
    }
}
