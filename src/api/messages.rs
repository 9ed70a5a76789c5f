//! `/api/messages`: messages with attachments, pages of a channel.

use http::StatusCode;
use serde::Deserialize;
use warp::reply::Response;

use crate::{
    api::{cursor, list::Page},
    http::{
        multipart::Parts,
        reply::{json, json_bytes, no_content},
        request::Request,
    },
    ids::{ChannelId, MessageId},
    model::instant,
    ops,
    problem::Problem,
    rate_limit::clients::Client,
    store::{self, messages::PageCursor},
};

const PARTS: Parts = Parts {
    json: "messageCreateRequest",
    files: "attachments",
    max_files: 10,
    pictures: false,
};

/// `POST /api/messages`
pub(super) async fn create(mut request: Request) -> Result<Response, Problem> {
    let caller = request.author().await?;
    let (body, files) = request.multipart(&PARTS, Client::User(caller.id)).await?;
    let message = ops::message::post_with_files(&request.app, caller.id, body, files).await?;
    Ok(json_bytes(StatusCode::CREATED, message))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct MessageUpdateRequest {
    new_content: Option<String>,
}

/// `PATCH /api/messages/{id}`
pub(super) async fn update(id: MessageId, mut request: Request) -> Result<Response, Problem> {
    let caller = request.caller().await?;
    let body: MessageUpdateRequest = request.json().await?;
    let text = body
        .new_content
        .ok_or_else(|| Problem::invalid("newContent", "is required"))?;
    json(
        StatusCode::OK,
        &ops::message::update(&request.app, id, &caller, &text).await?,
    )
}

/// `DELETE /api/messages/{id}`
pub(super) async fn delete(id: MessageId, request: Request) -> Result<Response, Problem> {
    let caller = request.caller().await?;
    ops::message::delete(&request.app, id, &caller).await?;
    Ok(no_content())
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct PageQuery {
    channel_id: ChannelId,
    cursor: Option<String>,
    size: Option<String>,
    sort: Option<String>,
}

/// Parses a cursor: the position in `nextCursor` of an earlier page, or an instant.
fn parse_cursor(text: &str) -> Option<PageCursor> {
    if text.bytes().all(|b| b.is_ascii_digit()) {
        text.parse().ok().map(PageCursor::Position)
    } else {
        instant::parse(text).map(PageCursor::Instant)
    }
}

/// `GET /api/messages?channelId=…&cursor=…&size=…&sort=createdAt,desc`
pub(super) async fn page(request: Request) -> Result<Response, Problem> {
    let caller = request.caller().await?;
    let query: PageQuery = request.query()?;
    let bad_cursor = || {
        Problem::invalid(
            "cursor",
            "must be a cursor of an earlier page, or an instant",
        )
    };
    // A form sends an empty parameter for a field without a value.
    let non_empty = |text: Option<String>| text.filter(|text| !text.is_empty());
    let cursor = non_empty(query.cursor)
        .map(|text| parse_cursor(&text).ok_or_else(bad_cursor))
        .transpose()?;
    let size = non_empty(query.size)
        .map_or(Some(50), |size| size.parse().ok())
        .filter(|size| (1..=100).contains(size));
    let size: usize = size.ok_or_else(|| Problem::invalid("size", "must be 1 to 100"))?;
    let newest_first = match non_empty(query.sort)
        .map(|sort| sort.to_ascii_lowercase())
        .as_deref()
    {
        None | Some("createdat,desc") => true,
        Some("createdat,asc" | "createdat") => false,
        Some(_) => {
            return Err(Problem::invalid(
                "sort",
                "must be createdAt,desc or createdAt,asc",
            ));
        }
    };
    let app = &request.app;
    store::channels::readable(&app.db, query.channel_id, caller.id).await?;
    let position = cursor::newest(app, caller.id).await;
    // One more message than the page holds shows whether there is a next page.
    let limit = i64::try_from(size + 1).unwrap_or(i64::MAX);
    let mut content =
        store::messages::page(&app.db, query.channel_id, cursor, newest_first, limit).await?;
    let has_next = content.len() > size;
    content.truncate(size);
    let next_cursor = content
        .last()
        .filter(|_| has_next)
        .map(|last| last.seq.to_string());
    let page = Page {
        content,
        next_cursor,
        size,
        has_next,
        total_elements: None,
    };
    Ok(cursor::with_cursor(json(StatusCode::OK, &page)?, position))
}
