//! `GET /api/sse`: server-sent events (WHATWG HTML §9.2), resumable on any node.

mod stream;

use bytes::Bytes;
use futures_util::stream as streams;
use http::{
    HeaderValue,
    header::{CACHE_CONTROL, CONTENT_TYPE},
};
use tokio::sync::mpsc;
use warp::reply::Response;

use crate::{
    auth::tokens::TokenError,
    events::position::{Cursor, Position},
    http::request::Request,
    problem::Problem,
};

use stream::{Opener, PIECES, Worker};

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
        Err(Some(TokenError::Expired(caller))) => request.cookie_holder(Some(&caller)).await?,
        Err(Some(TokenError::Invalid)) => return Err(Problem::Unauthenticated),
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
            return Ok(response(streams::iter([Ok(Bytes::from(
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
    Ok(response(streams::poll_fn(move |context| {
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
