//! `/api/messages`: messages with attachments, pages of a channel.

use http::StatusCode;
use percent_encoding::percent_decode_str;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use utoipa::ToSchema;
use uuid::Uuid;
use warp::reply::Response;

use crate::{
    api::{cursor, list::Page},
    http::{
        multipart::Parts,
        reply::{json, json_bytes, no_content},
        request::Request,
    },
    ids::{ChannelId, MessageId, UserId},
    model::{
        Emoji, Message, instant,
        search::{Query, Term},
    },
    ops::{self, message::MessageCreateRequest, search::Found},
    problem::{Problem, Resource},
    rate_limit::clients::{Client, SEARCH_COST},
    store::{self, Db, messages::PageCursor, search::Filter},
};

const PARTS: Parts = Parts {
    json: "messageCreateRequest",
    files: "attachments",
    max_files: 10,
    pictures: false,
};

#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
#[expect(dead_code, reason = "describes a body in the API's document")]
struct MessageForm {
    message_create_request: MessageCreateRequest,
    #[schema(value_type = Vec<String>, format = Binary, max_items = 10, required = false)]
    attachments: Vec<Vec<u8>>,
}

/// Posts a message, with files or without.
#[utoipa::path(
    post,
    path = "/api/messages",
    request_body(content = MessageForm, content_type = "multipart/form-data"),
    responses((status = 201, body = Message)),
)]
pub(super) async fn create(mut request: Request) -> Result<Response, Problem> {
    let caller = request.author().await?;
    let (body, files) = request.multipart(&PARTS, Client::User(caller.id)).await?;
    let message = ops::message::post_with_files(&request.app, caller.id, body, files).await?;
    Ok(json_bytes(StatusCode::CREATED, message))
}

#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct MessageUpdateRequest {
    #[schema(value_type = String, max_length = 2000)]
    new_content: Option<String>,
}

/// Changes the text of a message of the caller.
#[utoipa::path(
    patch,
    path = "/api/messages/{id}",
    params(("id" = MessageId, Path)),
    request_body = MessageUpdateRequest,
    responses((status = 200, body = Message)),
)]
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

/// Deletes a message of the caller; an administrator may delete those of others.
#[utoipa::path(
    delete,
    path = "/api/messages/{id}",
    params(("id" = MessageId, Path)),
    responses((status = 204)),
)]
pub(super) async fn delete(id: MessageId, request: Request) -> Result<Response, Problem> {
    let caller = request.caller().await?;
    ops::message::delete(&request.app, id, &caller).await?;
    Ok(no_content())
}

/// The emoji in a path, percent-encoded.
fn parse_emoji(segment: &str) -> Result<Emoji, Problem> {
    let decoded = percent_decode_str(segment).decode_utf8();
    let decoded = decoded.map_err(|_| "must be one emoji");
    let emoji = decoded.and_then(|text| Emoji::parse(&text));
    emoji.map_err(|why| Problem::invalid("emoji", why))
}

/// Adds a reaction of the caller.
#[utoipa::path(
    put,
    path = "/api/messages/{id}/reactions/{emoji}",
    params(("id" = MessageId, Path), ("emoji" = String, Path, description = "One emoji.")),
    responses((status = 204)),
)]
pub(super) async fn add_reaction(
    (id, emoji): (MessageId, String),
    request: Request,
) -> Result<Response, Problem> {
    let caller = request.caller().await?;
    ops::message::react(&request.app, id, &caller, &parse_emoji(&emoji)?, true).await?;
    Ok(no_content())
}

/// Removes a reaction of the caller.
#[utoipa::path(
    delete,
    path = "/api/messages/{id}/reactions/{emoji}",
    params(("id" = MessageId, Path), ("emoji" = String, Path, description = "One emoji.")),
    responses((status = 204)),
)]
pub(super) async fn remove_reaction(
    (id, emoji): (MessageId, String),
    request: Request,
) -> Result<Response, Problem> {
    let caller = request.caller().await?;
    ops::message::react(&request.app, id, &caller, &parse_emoji(&emoji)?, false).await?;
    Ok(no_content())
}

#[derive(Deserialize, utoipa::IntoParams)]
#[serde(rename_all = "camelCase")]
#[into_params(parameter_in = Query)]
struct PageQuery {
    channel_id: ChannelId,
    /// `nextCursor` of the page before, or an instant.
    cursor: Option<String>,
    /// A message or a position that shall be in the middle of the page.
    around: Option<String>,
    /// An instant that shall be in the middle of the page.
    #[param(format = DateTime)]
    at: Option<String>,
    /// Messages of the page; 50 by default.
    #[param(value_type = Option<u32>, minimum = 1, maximum = 100)]
    size: Option<String>,
    /// `createdAt,desc` (the default) or `createdAt,asc`.
    sort: Option<String>,
}

/// A page of messages.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct MiddlePage {
    /// Only with `around` and `at`: the cursor of the page before this one, which is read with the other `sort`.
    previous_cursor: Option<String>,
    #[serde(flatten)]
    page: Page<Message>,
}

/// Parses a cursor: the position in `nextCursor` of an earlier page, or an instant.
fn parse_cursor(text: &str) -> Option<PageCursor> {
    if text.bytes().all(|b| b.is_ascii_digit()) {
        text.parse().ok().map(PageCursor::Position)
    } else {
        instant::parse(text).map(PageCursor::Instant)
    }
}

/// The place that a page shows.
enum Place {
    /// The messages after a cursor.
    After(Option<PageCursor>),
    /// The messages before and after the one with this id.
    AroundMessage(MessageId),
    /// The messages before and after this position.
    Around(i64),
    /// The messages before and after this instant.
    At(OffsetDateTime),
}

/// Parses the place of a page.
fn parse_place(
    cursor: Option<String>,
    around: Option<String>,
    at: Option<String>,
) -> Result<Place, Problem> {
    let invalid = |field, why| move || Problem::invalid(field, why);
    match (cursor, around, at) {
        (None, None, None) => Ok(Place::After(None)),
        (Some(text), None, None) => parse_cursor(&text)
            .map(|cursor| Place::After(Some(cursor)))
            .ok_or_else(invalid(
                "cursor",
                "must be a cursor of an earlier page, or an instant",
            )),
        (None, Some(text), None) => {
            let seq = text.parse().ok().filter(|seq| *seq >= 0).map(Place::Around);
            seq.or_else(|| text.parse().ok().map(Place::AroundMessage))
                .ok_or_else(invalid("around", "must be a message or a position"))
        }
        (None, None, Some(text)) => instant::parse(&text).map(Place::At).ok_or_else(invalid(
            "at",
            "must be an instant like 2026-01-31T09:15:02.123456Z",
        )),
        _ => Err(Problem::invalid(
            "cursor",
            "must not come with around or at, nor these with each other",
        )),
    }
}

/// Returns a page of the messages of a channel: the newest, those after `cursor`, or those around a place.
#[utoipa::path(
    get,
    path = "/api/messages",
    params(PageQuery),
    responses((status = 200, body = MiddlePage)),
)]
pub(super) async fn page(request: Request) -> Result<Response, Problem> {
    let (caller, position) = cursor::caller(&request).await?;
    let query: PageQuery = request.query()?;
    // A form sends an empty parameter for a field without a value.
    let non_empty = |text: Option<String>| text.filter(|text| !text.is_empty());
    let place = parse_place(
        non_empty(query.cursor),
        non_empty(query.around),
        non_empty(query.at),
    )?;
    let size = parse_size(non_empty(query.size))?;
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
    let db = &request.app.db;
    let readable = store::channels::readable(db, query.channel_id, caller.id).await?;
    let channel = (query.channel_id, readable.visible_after);
    let end = readable.last_seq + 1;
    let middle = match place {
        Place::After(cursor) => {
            let page = page_after(db, &channel, cursor, newest_first, size).await?;
            return Ok(cursor::with_cursor(json(StatusCode::OK, &page)?, position));
        }
        Place::AroundMessage(id) => store::messages::position(db, channel.0, id)
            .await?
            .filter(|seq| *seq > channel.1)
            .ok_or(Problem::NotFound(Resource::Message(id)))?,
        Place::Around(seq) => seq.min(end),
        Place::At(at) => store::messages::position_at(db, channel.0, at)
            .await?
            .unwrap_or(end),
    };
    let page = page_around(db, &channel, middle, newest_first, size).await?;
    Ok(cursor::with_cursor(json(StatusCode::OK, &page)?, position))
}

/// Parses the size of a page.
fn parse_size(size: Option<String>) -> Result<usize, Problem> {
    size.map_or(Some(50), |size| size.parse().ok())
        .filter(|size| (1..=100).contains(size))
        .ok_or_else(|| Problem::invalid("size", "must be 1 to 100"))
}

/// One more message than a page holds shows whether there is a next page.
fn limit(size: usize) -> i64 {
    i64::try_from(size + 1).unwrap_or(i64::MAX)
}

/// A channel, and the position after which its messages are visible to the caller.
type VisibleChannel = (ChannelId, i64);

async fn page_after(
    db: &Db,
    (channel, visible_after): &VisibleChannel,
    cursor: Option<PageCursor>,
    newest_first: bool,
    size: usize,
) -> Result<Page<Message>, Problem> {
    let mut content = store::messages::page(
        db,
        *channel,
        *visible_after,
        cursor,
        newest_first,
        limit(size),
    )
    .await?;
    let has_next = content.len() > size;
    content.truncate(size);
    let next_cursor = content
        .last()
        .filter(|_| has_next)
        .map(|last| last.seq.to_string());
    Ok(Page {
        content,
        next_cursor,
        size,
        has_next,
        total_elements: None,
    })
}

/// The page with the message at the position `middle` in its middle. Near an end of the channel, the other side is longer.
async fn page_around(
    db: &Db,
    (channel, visible_after): &VisibleChannel,
    middle: i64,
    newest_first: bool,
    size: usize,
) -> Result<MiddlePage, Problem> {
    let before = Some(PageCursor::Position(middle));
    let mut older =
        store::messages::page(db, *channel, *visible_after, before, true, limit(size)).await?;
    let through = Some(PageCursor::Position(middle - 1));
    let mut newer =
        store::messages::page(db, *channel, *visible_after, through, false, limit(size)).await?;
    let on_older_side = (size / 2)
        .max(size.saturating_sub(newer.len()))
        .min(older.len());
    let has_older = older.len() > on_older_side;
    older.truncate(on_older_side);
    let has_newer = newer.len() > size - on_older_side;
    newer.truncate(size - on_older_side);
    let mut content: Vec<Message> = older.into_iter().rev().chain(newer).collect();
    let (mut has_previous, mut has_next) = (has_older, has_newer);
    if newest_first {
        content.reverse();
        std::mem::swap(&mut has_previous, &mut has_next);
    }
    let cursor = |of: Option<&Message>, exists| of.filter(|_| exists).map(|m| m.seq.to_string());
    Ok(MiddlePage {
        previous_cursor: cursor(content.first(), has_previous),
        page: Page {
            next_cursor: cursor(content.last(), has_next),
            content,
            size,
            has_next,
            total_elements: None,
        },
    })
}

#[derive(Deserialize, utoipa::IntoParams)]
#[serde(rename_all = "camelCase")]
#[into_params(parameter_in = Query)]
struct SearchQuery {
    /// Words and parts of words; `"…"` is a phrase. Required without `authorId` and `has`.
    q: Option<String>,
    #[param(format = Uuid)]
    channel_id: Option<String>,
    #[param(format = Uuid)]
    author_id: Option<String>,
    #[param(format = DateTime)]
    before: Option<String>,
    #[param(format = DateTime)]
    after: Option<String>,
    /// `file` or `link`.
    has: Option<String>,
    /// Messages of the page; 50 by default.
    #[param(value_type = Option<u32>, minimum = 1, maximum = 100)]
    size: Option<String>,
    /// `nextCursor` of the page before.
    cursor: Option<String>,
}

/// Found messages.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct SearchPage {
    content: Vec<Found>,
    #[schema(required)]
    next_cursor: Option<String>,
    has_next: bool,
}

/// Searches the messages that the caller may read, newest first.
#[utoipa::path(
    get,
    path = "/api/messages/search",
    params(SearchQuery),
    responses((status = 200, body = SearchPage)),
)]
pub(super) async fn search(request: Request) -> Result<Response, Problem> {
    let caller = request.caller().await?;
    let sent: SearchQuery = request.query()?;
    let non_empty = |text: Option<String>| text.filter(|text| !text.is_empty());
    let instant = |name, text| {
        let parsed = non_empty(text).map(|text| instant::parse(&text).ok_or(()));
        let why = "must be an instant like 2026-01-31T09:15:02.123456Z";
        parsed.transpose().map_err(|()| Problem::invalid(name, why))
    };
    let id = |name, text| {
        let parsed = non_empty(text).map(|text| text.parse::<Uuid>());
        parsed
            .transpose()
            .map_err(|_| Problem::invalid(name, "must be an id"))
    };
    let (before, after) = (
        instant("before", sent.before)?,
        instant("after", sent.after)?,
    );
    let channel = id("channelId", sent.channel_id)?.map(ChannelId);
    let author = id("authorId", sent.author_id)?.map(UserId);
    let has = match non_empty(sent.has).as_deref() {
        None => None,
        Some("file") => Some(Term::file()),
        Some("link") => Some(Term::link()),
        Some(_) => return Err(Problem::invalid("has", "must be file or link")),
    };
    let size = parse_size(non_empty(sent.size))?;
    let cursor = non_empty(sent.cursor).map(|text| text.parse().ok().filter(|at: &i64| *at >= 0));
    let bad_cursor = || Problem::invalid("cursor", "must be a cursor of an earlier page");
    let cursor = cursor.map(|at| at.ok_or_else(bad_cursor)).transpose()?;
    let query = match non_empty(sent.q) {
        Some(text) => Some(Query::parse(&text).map_err(|why| Problem::invalid("q", why))?),
        None if author.is_some() || has.is_some() => None,
        None => {
            let why = "is required without authorId and has";
            return Err(Problem::invalid("q", why));
        }
    };
    let app = &request.app;
    app.limits.spend(Client::User(caller.id), SEARCH_COST)?;
    let mut terms = query.as_ref().map(Query::terms).unwrap_or_default();
    if let Some(channel) = channel {
        store::channels::readable(&app.db, channel, caller.id).await?;
        terms.push(Term::channel(channel));
    }
    terms.extend(author.map(Term::author));
    terms.extend(has);
    let filter = Filter {
        reader: caller.id,
        terms,
        author,
        before,
        after,
    };
    let (content, next) = ops::search::search(app, query.as_ref(), &filter, cursor, size).await?;
    json(
        StatusCode::OK,
        &SearchPage {
            content,
            has_next: next.is_some(),
            next_cursor: next.map(|next| next.to_string()),
        },
    )
}
