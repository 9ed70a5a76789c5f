//! `/api/notifications`: the notifications of the caller.

use http::StatusCode;
use warp::reply::Response;

use crate::{
    api::cursor,
    http::{
        reply::{json, no_content},
        request::Request,
    },
    ids::NotificationId,
    ops,
    problem::Problem,
    store,
};

/// Maximum notifications of a list, which has no pages. Older ones appear when newer ones are deleted.
const MAX_LISTED: i64 = 1_000;

/// `GET /api/notifications`
pub(super) async fn list(request: Request) -> Result<Response, Problem> {
    let caller = request.caller().await?;
    let app = &request.app;
    let position = cursor::newest(app, caller.id).await;
    let notifications = store::notifications::list(&app.db, caller.id, MAX_LISTED).await?;
    Ok(cursor::with_cursor(
        json(StatusCode::OK, &notifications)?,
        position,
    ))
}

/// `DELETE /api/notifications/{id}`
pub(super) async fn delete(id: NotificationId, request: Request) -> Result<Response, Problem> {
    let caller = request.caller().await?;
    ops::notification::delete(&request.app, id, caller.id).await?;
    Ok(no_content())
}
