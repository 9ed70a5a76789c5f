//! `/api/notifications`: the notifications of the caller.

use warp::reply::Response;

use crate::{
    api::{cursor, list::List},
    http::{reply::no_content, request::Request},
    ids::NotificationId,
    ops,
    problem::Problem,
    store,
};

/// Maximum notifications of a list that is not paged. Older ones appear when newer ones are deleted.
const MAX_LISTED: usize = 1_000;
/// Notifications that a whole list reads at once.
const BATCH: usize = 250;

/// `GET /api/notifications`, with `limit` and `cursor` for a page
pub(super) async fn list(request: Request) -> Result<Response, Problem> {
    let caller = request.caller().await?;
    let position = cursor::newest(&request.app, caller.id).await;
    let list = List::new(&request.app, BATCH, move |app, after, limit| async move {
        store::notifications::list(&app.db, caller.id, after, limit).await
    });
    let list = list.at_most(MAX_LISTED);
    let response = list.respond(&request, caller.id).await?;
    Ok(cursor::with_cursor(response, position))
}

/// `DELETE /api/notifications/{id}`
pub(super) async fn delete(id: NotificationId, request: Request) -> Result<Response, Problem> {
    let caller = request.caller().await?;
    ops::notification::delete(&request.app, id, caller.id).await?;
    Ok(no_content())
}
