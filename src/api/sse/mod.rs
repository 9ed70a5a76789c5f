//! `GET /api/sse`: server-sent events (WHATWG HTML §9.2), which a client can resume on any node.

mod stream;

use bytes::Bytes;
use futures_util::stream as streams;
use http::{
    HeaderValue, Version,
    header::{CACHE_CONTROL, CONNECTION, CONTENT_TYPE, TRANSFER_ENCODING},
};
use warp::reply::Response;

use crate::{
    auth::tokens::TokenError,
    http::{hijack::Hijack, request::Request},
    problem::Problem,
    protocol::sse::Coding,
    rate_limit::clients::{Client, LIST_COST},
    tasks::Group,
};

use stream::{SseConnection, StreamOwner};

/// The owner of the stream: from the bearer token or, if the token has expired or is absent, from the session cookie.
///
/// A valid token is accepted without Redis, since browsers never retry a rejected stream.
async fn authenticate(request: &Request) -> Result<StreamOwner, Problem> {
    let app = &request.app;
    let (user, session) = match request.claims() {
        Ok(caller) => match app.sessions.user(caller.session).await {
            Ok(user) if user != Some(caller.id) => return Err(Problem::Unauthenticated),
            // Without Redis the stream checks the session again before its first event.
            Ok(_) | Err(_) => (caller.id, caller.session),
        },
        Err(None) => request.cookie_session(None).await?,
        Err(Some(TokenError::Expired(caller))) => request.cookie_session(Some(&caller)).await?,
        Err(Some(TokenError::Invalid)) => return Err(Problem::Unauthenticated),
    };
    Ok(StreamOwner { user, session })
}

/// The position from which the client resumes, unparsed.
///
/// The header takes precedence: an `EventSource` repeats its first URL at each reconnect, while its header advances. An
/// unreadable position gets `resync`; treating the position as absent would lose events silently.
fn last_event_id(request: &Request) -> Option<String> {
    let header = request.head.headers.get("last-event-id");
    let header = header.map(|id| String::from_utf8_lossy(id.as_bytes()).into_owned());
    header.filter(|id| !id.is_empty()).or_else(|| {
        let query: Vec<(String, String)> = request.query().unwrap_or_default();
        let ids = query.into_iter().filter(|(name, _)| name == "lastEventId");
        // Several ids are ambiguous. Joined, they form an unreadable position, so that the client gets `resync`.
        ids.map(|(_, id)| id)
            .filter(|id| !id.is_empty())
            .reduce(|all, id| format!("{all} {id}"))
    })
}

/// Opens the event stream of the caller (server-sent events), which resumes after `Last-Event-ID`.
///
/// The stream sends `notifications`, `notifications.deleted`, `readStatuses.updated`, `binaryContents.status`, `channels.refresh`,
/// `users.refresh`, `sync` and `resync`.
#[utoipa::path(
    get,
    path = "/api/sse",
    params(
        ("Last-Event-ID" = Option<String>, Header, description = "The id of the last event that the client has."),
        ("lastEventId" = Option<String>, Query, description = "The same, for a client that cannot send the header."),
    ),
    responses((status = 200, body = String, content_type = "text/event-stream")),
    security(("bearer" = []), ("session" = [])),
)]
pub(super) async fn open(request: Request) -> Result<Response, Problem> {
    let limits = &request.app.limits;
    let owner = authenticate(&request).await;
    let admitted = owner.and_then(|owner| {
        limits.spend(Client::User(owner.user), LIST_COST)?;
        Ok(owner)
    });
    let owner = match admitted {
        Ok(owner) => owner,
        // Redis is down and the request has only a cookie, or the user opens streams too fast. The client retries after a
        // stream that ends at once, but not after an error response.
        Err(Problem::Unavailable(..) | Problem::TooMany { .. }) => {
            return Ok(response(streams::iter([Ok(Bytes::from(
                "retry:2000\n: try again later\n",
            ))])));
        }
        Err(problem) => return Err(problem),
    };
    if request.is_head() {
        return Ok(response(streams::empty()));
    }
    let resume = last_event_id(&request);
    let coding = if request.head.version < Version::HTTP_11 {
        Coding::Identity
    } else {
        Coding::Chunked
    };
    let (app, permit) = (request.app.clone(), request.head.permit.clone());
    let hijack = Hijack::new(move |hijacked| {
        let connection = SseConnection::new(app.clone(), hijacked, coding, &owner);
        // A drain waits for the end of the response.
        app.tasks.spawn_in(Group::Connections, async move {
            connection.run(owner, resume).await;
            drop(permit);
        });
    });
    let mut response = response(streams::empty());
    response.extensions_mut().insert(hijack);
    let headers = response.headers_mut();
    headers.insert(CONNECTION, HeaderValue::from_static("close"));
    if coding == Coding::Chunked {
        headers.insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
    }
    Ok(response)
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
    // nginx must forward each event without buffering.
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    response
}
