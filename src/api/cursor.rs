//! `X-Event-Cursor`: the SSE position of a list, from which a client that has fetched the list opens its stream.

use http::HeaderValue;
use warp::reply::Response;

use crate::{
    auth::tokens::Caller, events::position::Cursor, http::request::Request, problem::Problem,
};

/// The caller, and the position of the caller's newest events; `None` if Redis cannot say, so that the list can still be read.
///
/// A handler takes the position before it reads the list. A stream that starts there misses no change made in between. It is read
/// beside the session, in one round trip, and returned only if the session is alive.
///
/// # Errors
/// As [`Request::caller`].
pub(super) async fn caller(request: &Request) -> Result<(Caller, Option<Cursor>), Problem> {
    let claims = request.claims().map_err(|_| Problem::Unauthenticated)?;
    let history = &request.app.history;
    let (caller, cursor) = tokio::join!(request.caller(), history.cursor(claims.id));
    Ok((caller?, cursor.ok()))
}

/// Adds the position to the response with the list.
pub(super) fn with_cursor(mut response: Response, cursor: Option<Cursor>) -> Response {
    if let Some(value) = cursor.and_then(|cursor| HeaderValue::from_str(&cursor.to_string()).ok()) {
        response.headers_mut().insert("x-event-cursor", value);
    }
    response
}
