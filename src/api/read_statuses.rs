//! `/api/readStatuses`: the time and the position up to which the caller has read each channel.

use http::StatusCode;
use serde::Deserialize;
use time::OffsetDateTime;
use utoipa::ToSchema;
use warp::reply::Response;

use crate::{
    api::{
        cursor,
        list::{List, ListBody, PageQuery},
    },
    http::{reply::json, request::Request},
    ids::{ChannelId, ReadStatusId, UserId},
    model::{Field, NotificationLevel, ReadStatus, Validate, instant},
    ops,
    problem::Problem,
    store,
};

fn parse_instant(text: &str) -> Result<OffsetDateTime, &'static str> {
    instant::parse(text).ok_or("must be an instant like 2026-01-31T09:15:02.123456Z")
}

#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct ReadStatusCreateRequest {
    /// The caller.
    #[schema(value_type = UserId)]
    user_id: Option<UserId>,
    #[schema(value_type = ChannelId)]
    channel_id: Option<ChannelId>,
    #[schema(value_type = String, format = DateTime)]
    last_read_at: Option<String>,
    /// By default `ALL` for a private channel and `NONE` for a public one.
    notification_level: Option<NotificationLevel>,
}

/// Creates the read status of the caller for a channel.
#[utoipa::path(
    post,
    path = "/api/readStatuses",
    request_body = ReadStatusCreateRequest,
    responses((status = 201, body = ReadStatus)),
)]
pub(super) async fn create(mut request: Request) -> Result<Response, Problem> {
    let caller = request.caller().await?;
    let body: ReadStatusCreateRequest = request.json().await?;
    let (user, channel, at) = (
        Field::required("userId", body.user_id),
        Field::required("channelId", body.channel_id),
        Field::required("lastReadAt", body.last_read_at).parse(|text| parse_instant(&text)),
    )
        .validate()?;
    if user != caller.id {
        return Err(Problem::Forbidden("This is another user's read status."));
    }
    json(
        StatusCode::CREATED,
        &ops::read_status::create(
            &request.app,
            caller.id,
            channel,
            at,
            body.notification_level,
        )
        .await?,
    )
}

#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct ReadStatusUpdateRequest {
    #[schema(format = DateTime)]
    new_last_read_at: Option<String>,
    /// `ALL` or `NONE`, for clients without levels.
    new_notification_enabled: Option<bool>,
    #[schema(minimum = 0)]
    new_last_read_seq: Option<i64>,
    /// Whether the position may move back.
    force: Option<bool>,
    new_notification_level: Option<NotificationLevel>,
}

/// Changes how far the caller has read a channel, or which messages notify.
#[utoipa::path(
    patch,
    path = "/api/readStatuses/{id}",
    params(("id" = ReadStatusId, Path)),
    request_body = ReadStatusUpdateRequest,
    responses((status = 200, body = ReadStatus)),
)]
pub(super) async fn update(id: ReadStatusId, mut request: Request) -> Result<Response, Problem> {
    let caller = request.caller().await?;
    let body: ReadStatusUpdateRequest = request.json().await?;
    let at = body
        .new_last_read_at
        .map(|text| parse_instant(&text))
        .transpose()
        .map_err(|why| Problem::invalid("newLastReadAt", why))?;
    let seq = body.new_last_read_seq;
    if seq.is_some_and(|seq| seq < 0) {
        return Err(Problem::invalid("newLastReadSeq", "must be a position"));
    }
    let of_switch = |enabled| {
        if enabled {
            NotificationLevel::All
        } else {
            NotificationLevel::None
        }
    };
    let level = body.new_notification_level;
    let changes = store::read_statuses::Changes {
        last_read_at: at,
        last_read_seq: seq,
        force: body.force.unwrap_or(false),
        level: level.or_else(|| body.new_notification_enabled.map(of_switch)),
    };
    json(
        StatusCode::OK,
        &ops::read_status::update(&request.app, id, caller.id, changes).await?,
    )
}

/// Read statuses that a whole list reads at once.
const BATCH: usize = 500;

#[derive(Deserialize, utoipa::IntoParams)]
#[serde(rename_all = "camelCase")]
#[into_params(parameter_in = Query)]
struct ListQuery {
    /// The caller.
    user_id: UserId,
}

/// Lists the read statuses of the caller.
#[utoipa::path(
    get,
    path = "/api/readStatuses",
    params(ListQuery, PageQuery),
    responses((status = 200, body = ListBody<ReadStatus>)),
)]
pub(super) async fn list(request: Request) -> Result<Response, Problem> {
    let (caller, position) = cursor::caller(&request).await?;
    let query: ListQuery = request.query()?;
    if query.user_id != caller.id {
        return Err(Problem::Forbidden(
            "These are another user's read statuses.",
        ));
    }
    let list = List::new(&request.app, BATCH, move |app, after, limit| async move {
        store::read_statuses::list(&app.db, caller.id, after, limit).await
    });
    let response = list.respond(&request, caller.id).await?;
    Ok(cursor::with_cursor(response, position))
}
