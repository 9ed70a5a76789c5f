//! `X-Event-Cursor`: the SSE position of a list, from which a client that has fetched the list opens its stream.

use http::HeaderValue;
use warp::reply::Response;

use crate::{app::App, events::position::Cursor, ids::UserId};

/// The position of the newest events of a user; `None` without Redis, so that the list can still be read.
///
/// A handler takes the position before it reads the list. A stream that starts there misses no change made in between.
pub(super) async fn newest(app: &App, user: UserId) -> Option<Cursor> {
    app.history.cursor(user).await.ok()
}

/// Adds the position to the response with the list.
pub(super) fn with_cursor(mut response: Response, cursor: Option<Cursor>) -> Response {
    if let Some(value) = cursor.and_then(|cursor| HeaderValue::from_str(&cursor.to_string()).ok()) {
        response.headers_mut().insert("x-event-cursor", value);
    }
    response
}
