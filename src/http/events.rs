//! `GET /api/sse`: server-sent events (WHATWG HTML §9.2), resumable on any node.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::stream;
use http::{
    HeaderValue,
    header::{CACHE_CONTROL, CONTENT_TYPE},
};
use serde::Deserialize;
use tokio::sync::mpsc;
use tracing::debug;
use uuid::Uuid;
use warp::reply::Response;

use super::Request;
use crate::{
    app::App,
    feeds::{self, Item, Listener},
    history::{Cursor, Entry, Lost, Position, Stream},
    ids::{FileId, NotificationId, SessionId, UserId},
    mailbox::{Farewell, STALLED_AFTER},
    model::event::{BINARY_CONTENTS_STATUS, NOTIFICATIONS, RESYNC, SYNC},
    problem::{Problem, chain},
    store,
    token::Refused,
};

/// Events that a replay brings at most; more are refetched more cheaply than replayed.
const MOST_REPLAYED: usize = 1_000;
/// What is sent at once, in bytes: many events in one piece, none of them late.
const PIECE_BYTES: usize = 32 * 1024;
/// Pieces that wait for the connection to take them.
const PIECES: usize = 2;
/// The time a client waits before it comes back, when a node leaves: spread, so that they do not come all at once.
const COME_BACK_MS: std::ops::Range<u32> = 500..3_000;
/// How long to wait before a store that is away is asked again.
const TRY_AGAIN: Duration = Duration::from_secs(1);

/// The position of the newest events, taken before a list is read: a client that opens its stream behind it misses nothing
/// in between. `None` while Redis is away, which must not keep the list from being read.
pub(super) async fn cursor(app: &App, user: UserId) -> Option<Cursor> {
    app.history.cursor(user).await.ok()
}

/// Adds the cursor to a list's answer.
pub(super) fn with_cursor(mut response: Response, cursor: Option<Cursor>) -> Response {
    if let Some(value) = cursor.and_then(|cursor| HeaderValue::from_str(&cursor.to_string()).ok()) {
        response.headers_mut().insert("x-event-cursor", value);
    }
    response
}

/// Who opens a stream.
struct Opener {
    user: UserId,
    session: SessionId,
}

/// Who opens the stream: by bearer token, or by the session cookie when that has merely expired or is absent. A store that
/// is away is no reason for a refusal, after which clients would give up for ever.
async fn opener(request: &Request) -> Result<Opener, Problem> {
    let app = &request.app;
    let (user, session) = match request.claims() {
        Ok(caller) => match app.sessions.user(caller.session).await {
            Ok(user) if user != Some(caller.id) => return Err(Problem::Unauthenticated),
            // Without Redis it is asked again before anything is told.
            Ok(_) | Err(_) => (caller.id, caller.session),
        },
        Err(None) => request.cookie_holder(None).await?,
        Err(Some(Refused::Expired(caller))) => request.cookie_holder(Some(&caller)).await?,
        Err(Some(Refused::Invalid)) => return Err(Problem::Unauthenticated),
    };
    Ok(Opener { user, session })
}

/// Where the client wants to go on. The header first: a native client keeps the query it was made with for ever, while its
/// header moves on. What cannot be read is no position of ours, and must not look like none: so nothing is lost in silence.
fn resume(request: &Request) -> Option<String> {
    let header = request.head.headers.get("last-event-id");
    let header = header.map(|id| String::from_utf8_lossy(id.as_bytes()).into_owned());
    header.filter(|id| !id.is_empty()).or_else(|| {
        let query: Vec<(String, String)> = request.query().unwrap_or_default();
        let ids = query.into_iter().filter(|(name, _)| name == "lastEventId");
        // Of several nobody knows which is meant: joined they are no position of ours.
        ids.map(|(_, id)| id)
            .filter(|id| !id.is_empty())
            .reduce(|all, id| format!("{all} {id}"))
    })
}

/// `GET /api/sse`
pub(super) async fn open(request: Request) -> Result<Response, Problem> {
    let opener = match opener(&request).await {
        Ok(opener) => opener,
        // Only a cookie, and Redis is away: the stream ends at once and cleanly, and the client comes back.
        Err(Problem::Unavailable(..)) => {
            return Ok(response(stream::iter([Ok(Bytes::from(
                "retry:2000\n: a store is away\n\n",
            ))])));
        }
        Err(problem) => return Err(problem),
    };
    let resume = resume(&request);
    let (pieces, mut receiver) = mpsc::channel(PIECES);
    let app = request.app.clone();
    let worker = Worker {
        app: app.clone(),
        pieces,
        text: Vec::new(),
        sent: Cursor::of(opener.user, Position::default(), Position::default()),
    };
    app.tasks.spawn("sse", worker.run(opener, resume));
    Ok(response(stream::poll_fn(move |context| {
        receiver.poll_recv(context).map(|piece| piece.map(Ok))
    })))
}

fn response(
    stream: impl futures_util::Stream<Item = Result<Bytes, std::convert::Infallible>>
    + Send
    + Sync
    + 'static,
) -> Response {
    let mut response = warp::Reply::into_response(warp::reply::stream(stream));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(
        CACHE_CONTROL,
        HeaderValue::from_static("no-cache, no-transform"),
    );
    // nginx and those who understand it: send on what comes.
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    response
}

/// Writes one stream.
struct Worker {
    app: Arc<App>,
    pieces: mpsc::Sender<Bytes>,
    /// What is written next.
    text: Vec<u8>,
    /// The position of what has been written.
    sent: Cursor,
}

/// The client has left, or does not read.
struct Gone;

impl Worker {
    async fn run(mut self, opener: Opener, resume: Option<String>) {
        // At once, so that the headers leave and the client knows that it is connected.
        self.text.extend_from_slice(b"retry:3000\n: welcome\n\n");
        let listener = self.app.feeds.join(opener.user, opener.session);
        let left = Left {
            app: self.app.clone(),
            listener: listener.clone(),
        };
        // Ends with the connection, or with a farewell.
        drop(self.stream(&listener, opener, resume).await);
        drop(left);
    }

    async fn stream(
        &mut self,
        listener: &Arc<Listener>,
        opener: Opener,
        resume: Option<String>,
    ) -> Result<(), Gone> {
        self.flush().await?;
        loop {
            let begun = tokio::select! {
                biased;
                () = dismissed(listener) => break,
                // Boxed: the task would keep the room for it as long as the stream lives.
                begun = Box::pin(self.begin(listener, &opener, resume.as_deref())) => begun?,
            };
            match begun {
                Ok(()) => break,
                Err(error) => debug!(error = %chain(&error), "a stream waits for a store"),
            }
            self.rest(listener, TRY_AGAIN).await?;
        }
        // Looked at last, so that a replay does not go to a session that ended while it was read.
        if let Some(farewell) = listener.mailbox.farewell() {
            self.text.clear();
            return self.leave(farewell).await;
        }
        self.flush().await?;
        let mut items = VecDeque::new();
        loop {
            let farewell = listener.mailbox.take(&mut items);
            for item in items.drain(..) {
                self.item(item);
                if self.text.len() >= PIECE_BYTES {
                    self.flush().await?;
                }
            }
            self.flush().await?;
            if let Some(farewell) = farewell {
                return self.leave(farewell).await;
            }
            self.wait(listener).await?;
        }
    }

    /// Waits for something to send, and keeps the stream alive meanwhile.
    async fn wait(&mut self, listener: &Listener) -> Result<(), Gone> {
        let app = self.app.clone();
        loop {
            tokio::select! {
                () = listener.mailbox.changed() => return Ok(()),
                () = self.pieces.closed() => return Err(Gone),
                () = app.tasks.draining().cancelled() => {
                    listener.mailbox.close(Farewell::Draining);
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
    async fn rest(&mut self, listener: &Listener, time: Duration) -> Result<(), Gone> {
        self.text.extend_from_slice(b":\n\n");
        self.flush().await?;
        tokio::time::timeout(time, self.wait(listener))
            .await
            .unwrap_or(Ok(()))
    }

    /// Follows both histories, and replays what came after the client's position. Follow first, then read: so nothing falls
    /// in between, and what comes twice is seen by its position.
    async fn begin(
        &mut self,
        listener: &Arc<Listener>,
        opener: &Opener,
        resume: Option<&str>,
    ) -> Result<Result<(), Problem>, Gone> {
        match self.try_begin(listener, opener, resume).await {
            Ok(true) => Ok(Ok(())),
            Ok(false) => {
                listener.mailbox.close(Farewell::Revoked);
                Err(Gone)
            }
            Err(problem) => {
                // It begins again from the start, and must not stand in a line twice.
                self.app.feeds.step_out(listener);
                Ok(Err(problem))
            }
        }
    }

    /// False when the session has ended.
    async fn try_begin(
        &mut self,
        listener: &Arc<Listener>,
        opener: &Opener,
        resume: Option<&str>,
    ) -> Result<bool, Problem> {
        let app = self.app.clone();
        let streams = [Stream::User(opener.user), Stream::All];
        let [to_user, to_all] = streams.map(|stream| app.feeds.enter(stream));
        let tip = app.history.cursor(opener.user).await?;
        let resume = resume.map(|text| Cursor::parse(text, opener.user));
        let replay = match resume {
            None => Ok(Vec::new()),
            Some(None) => Err(Lost::Unknown),
            Some(Some(from)) => match read_missed(&app, streams, from, tip).await? {
                Ok(missed) => Ok(permitted(&app, opener.user, missed).await?),
                Err(lost) => Err(lost),
            },
        };
        // Now that the listener is known: a revocation before this shows here, one after it closes the mailbox.
        if app.sessions.user(opener.session).await? != Some(opener.user) {
            return Ok(false);
        }
        let (user, all) = (
            to_user.add(listener, tip.user),
            to_all.add(listener, tip.all),
        );
        let live = Cursor::of(opener.user, user, all);
        // What lies between the tip that was read and the line's own position: the line may be ahead by now.
        let rest = read_missed(&app, streams, tip, live).await?;
        match replay.and_then(|replay| rest.map(|rest| (replay, rest))) {
            Ok((replay, rest)) => {
                self.sent = resume.flatten().unwrap_or(tip);
                for (stream, entry) in replay.into_iter().chain(rest) {
                    self.event(stream, entry.at, &feeds::text(&entry.name, &entry.data));
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

    fn item(&mut self, item: Item) {
        match item {
            Item::Event(stream, at, text) => self.event(stream, at, &text),
            Item::Moved(stream, at) => *self.position(stream) = at,
            Item::Lost(stream, at, lost) => {
                *self.position(stream) = at;
                self.own(RESYNC, &format!("{{\"reason\":\"{}\"}}", lost.reason()));
            }
        }
    }

    fn position(&mut self, stream: Stream) -> &mut Position {
        match stream {
            Stream::All => &mut self.sent.all,
            Stream::User(_) => &mut self.sent.user,
        }
    }

    /// Writes an event unless it has been written.
    fn event(&mut self, stream: Stream, at: Position, text: &[u8]) {
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
            .extend_from_slice(&feeds::text(name, data.as_bytes()));
    }

    async fn leave(&mut self, farewell: Farewell) -> Result<(), Gone> {
        if farewell == Farewell::Draining {
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
        match tokio::time::timeout(STALLED_AFTER, self.pieces.send(piece)).await {
            Ok(Ok(())) => Ok(()),
            _ => Err(Gone),
        }
    }
}

/// Waits until the stream is told to close.
async fn dismissed(listener: &Listener) {
    while listener.mailbox.farewell().is_none() {
        listener.mailbox.changed().await;
    }
}

/// What came after `from` in both histories, up to `through`, or why it cannot be told.
async fn read_missed(
    app: &App,
    streams: [Stream; 2],
    from: Cursor,
    through: Cursor,
) -> Result<Result<Vec<(Stream, Entry)>, Lost>, Problem> {
    let mut missed = Vec::new();
    for (stream, from, through) in [
        (streams[0], from.user, through.user),
        (streams[1], from.all, through.all),
    ] {
        if from == through {
            continue;
        }
        match app.history.after(stream, from, MOST_REPLAYED + 1).await? {
            Ok(entries) => missed.extend(entries.into_iter().map(|entry| (stream, entry))),
            Err(lost) => return Ok(Err(lost)),
        }
        if missed.len() > MOST_REPLAYED {
            return Ok(Err(Lost::TooFar));
        }
    }
    Ok(Ok(missed))
}

/// Leaves out what the user may not see any more, or has deleted since. `channels.refresh` stays: those who were removed are
/// to fetch their channels again.
async fn permitted(
    app: &App,
    user: UserId,
    mut missed: Vec<(Stream, Entry)>,
) -> Result<Vec<(Stream, Entry)>, Problem> {
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
    listener: Arc<Listener>,
}

impl Drop for Left {
    fn drop(&mut self) {
        self.app.feeds.leave(&self.listener);
    }
}
