//! The position of a list in the SSE history: a client that fetched a list resumes its stream from there.

use http::HeaderValue;
use warp::reply::Response;

use crate::{app::App, events::position::Cursor, ids::UserId};

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
