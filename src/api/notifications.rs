//! `/api/notifications`: the notifications of the caller.

use warp::reply::Response;

use crate::{
    api::{
        cursor,
        list::{List, ListBody, PageQuery},
    },
    http::{reply::no_content, request::Request},
    ids::NotificationId,
    model::Notification,
    ops,
    problem::Problem,
    store,
};

/// Maximum notifications of a list that is not paged. Older ones appear when newer ones are deleted.
const MAX_LISTED: usize = 1_000;
/// Notifications that a whole list reads at once.
const BATCH: usize = 250;

/// Lists the notifications of the caller, newest first.
#[utoipa::path(
    get,
    path = "/api/notifications",
    params(PageQuery),
    responses((status = 200, body = ListBody<Notification>)),
)]
pub(super) async fn list(request: Request) -> Result<Response, Problem> {
    let (caller, position) = cursor::caller(&request).await?;
    let list = List::new(&request.app, BATCH, move |app, after, limit| async move {
        store::notifications::list(&app.db, caller.id, after, limit).await
    });
    let list = list.at_most(MAX_LISTED);
    let response = list.respond(&request, caller.id).await?;
    Ok(cursor::with_cursor(response, position))
}

/// Dismisses a notification of the caller.
#[utoipa::path(
    delete,
    path = "/api/notifications/{id}",
    params(("id" = NotificationId, Path)),
    responses((status = 204)),
)]
pub(super) async fn delete(id: NotificationId, request: Request) -> Result<Response, Problem> {
    let caller = request.caller().await?;
    ops::notification::delete(&request.app, id, caller.id).await?;
    Ok(no_content())
}
