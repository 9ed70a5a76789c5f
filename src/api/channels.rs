//! `/api/channels`: public and private channels, participants.

use http::StatusCode;
use serde::Deserialize;
use warp::reply::Response;

use crate::{
    api::{cursor, list::List},
    http::{
        reply::{json, no_content},
        request::Request,
    },
    ids::{ChannelId, UserId},
    model::{Field, Role, Validate, channel},
    ops::{
        self,
        channel::{MAX_PARTICIPANTS, MIN_NAMED},
    },
    problem::Problem,
    rate_limit::clients::{Client, PARTICIPANT_COST},
    store::{self, channels::NewPrivate},
};

#[derive(Deserialize)]
struct PublicChannelCreateRequest {
    name: Option<String>,
    description: Option<String>,
}

/// `POST /api/channels/public`
pub(super) async fn create_public(mut request: Request) -> Result<Response, Problem> {
    request.caller_with(Role::ChannelManager).await?;
    let body: PublicChannelCreateRequest = request.json().await?;
    let description = body.description.unwrap_or_default();
    let (name, description) = (
        Field::required("name", body.name).parse(|text| channel::name(&text)),
        Field::new("description", channel::description(&description)),
    )
        .validate()?;
    json(
        StatusCode::CREATED,
        &ops::channel::create_public(&request.app, &name, &description).await?,
    )
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct PrivateChannelCreateRequest {
    participant_ids: Option<Vec<UserId>>,
    name: Option<String>,
    with_history: Option<bool>,
}

/// `POST /api/channels/private`
pub(super) async fn create_private(mut request: Request) -> Result<Response, Problem> {
    let caller = request.caller().await?;
    let body: PrivateChannelCreateRequest = request.json().await?;
    let mut participants = body
        .participant_ids
        .ok_or_else(|| Problem::invalid("participantIds", "is required"))?;
    let count = participants.len();
    participants.sort_unstable();
    participants.dedup();
    if participants.len() != count || !(2..=MAX_PARTICIPANTS).contains(&count) {
        return Err(Problem::invalid(
            "participantIds",
            "must be 2 to 100 distinct users",
        ));
    }
    if !participants.contains(&caller.id) {
        return Err(Problem::invalid(
            "participantIds",
            "must contain the caller",
        ));
    }
    let kind = NewPrivate {
        name: body
            .name
            .map(|text| channel::name(&text))
            .transpose()
            .map_err(|why| Problem::invalid("name", why))?,
        with_history: body.with_history.unwrap_or(false),
    };
    if kind.name.is_some() && count < MIN_NAMED {
        let why = "must not be given for a conversation of two";
        return Err(Problem::invalid("name", why));
    }
    let cost = PARTICIPANT_COST * f64::from(u32::try_from(count).unwrap_or(u32::MAX));
    request.app.limits.spend(Client::User(caller.id), cost)?;
    json(
        StatusCode::CREATED,
        &ops::channel::create_private(&request.app, caller.id, &participants, &kind).await?,
    )
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ChannelUpdateRequest {
    new_name: Option<String>,
    new_description: Option<String>,
}

/// `PATCH /api/channels/{id}`
pub(super) async fn update(id: ChannelId, mut request: Request) -> Result<Response, Problem> {
    let caller = request.caller().await?;
    let body: ChannelUpdateRequest = request.json().await?;
    let (name, description) = (
        Field::optional("newName", body.new_name, |text| channel::name(&text)),
        Field::optional("newDescription", body.new_description, |text| {
            channel::description(&text)
        }),
    )
        .validate()?;
    let (name, description) = (name.as_deref(), description.as_deref());
    json(
        StatusCode::OK,
        &ops::channel::update(&request.app, id, &caller, name, description).await?,
    )
}

/// `DELETE /api/channels/{id}`
pub(super) async fn delete(id: ChannelId, request: Request) -> Result<Response, Problem> {
    let caller = request.caller_with(Role::ChannelManager).await?;
    ops::channel::delete(&request.app, id, caller.id).await?;
    Ok(no_content())
}

/// `PUT /api/channels/{id}/participants/{userId}`
pub(super) async fn add(
    (id, user): (ChannelId, UserId),
    request: Request,
) -> Result<Response, Problem> {
    let caller = request.caller().await?;
    let client = Client::User(caller.id);
    request.app.limits.spend(client, PARTICIPANT_COST)?;
    ops::channel::add_participant(&request.app, id, user, caller.id).await?;
    Ok(no_content())
}

/// `DELETE /api/channels/{id}/participants/{userId}`
pub(super) async fn leave(
    (id, user): (ChannelId, UserId),
    request: Request,
) -> Result<Response, Problem> {
    let caller = request.caller().await?;
    ops::channel::leave(&request.app, id, user, &caller).await?;
    Ok(no_content())
}

/// Channels that a whole list reads at once, each with up to 100 participants.
const BATCH: usize = 100;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ListQuery {
    user_id: UserId,
}

/// `GET /api/channels?userId={id}`, with `limit` and `cursor` for a page
pub(super) async fn list(request: Request) -> Result<Response, Problem> {
    let caller = request.caller().await?;
    let query: ListQuery = request.query()?;
    if query.user_id != caller.id && caller.role < Role::Admin {
        return Err(Problem::Forbidden("These are another user's channels."));
    }
    let position = cursor::newest(&request.app, caller.id).await;
    let list = List::new(&request.app, BATCH, move |app, after, limit| async move {
        store::channels::visible_to(&app.db, query.user_id, after, limit).await
    });
    let response = list.respond(&request, caller.id).await?;
    Ok(cursor::with_cursor(response, position))
}
