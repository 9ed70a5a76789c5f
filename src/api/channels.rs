//! `/api/channels`: public and private channels, participants.

use http::StatusCode;
use serde::Deserialize;
use utoipa::ToSchema;
use warp::reply::Response;

use crate::{
    api::{
        cursor,
        list::{List, ListBody, PageQuery},
    },
    http::{
        reply::{json, no_content},
        request::Request,
    },
    ids::{ChannelId, UserId},
    model::{Channel, Field, Role, Validate, channel},
    ops::{
        self,
        channel::{MAX_PARTICIPANTS, MIN_NAMED},
    },
    problem::Problem,
    rate_limit::clients::{Client, PARTICIPANT_COST},
    store::{self, channels::NewPrivate},
};

#[derive(Deserialize, ToSchema)]
struct PublicChannelCreateRequest {
    #[schema(value_type = String, min_length = 1, max_length = 100)]
    name: Option<String>,
    #[schema(max_length = 500)]
    description: Option<String>,
}

/// Creates a public channel. Needs the role `CHANNEL_MANAGER`.
#[utoipa::path(
    post,
    path = "/api/channels/public",
    request_body = PublicChannelCreateRequest,
    responses((status = 201, body = Channel)),
)]
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

#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct PrivateChannelCreateRequest {
    /// The participants, among them the caller.
    #[schema(value_type = Vec<UserId>, min_items = 2, max_items = 100)]
    participant_ids: Option<Vec<UserId>>,
    /// Only for three or more.
    #[schema(min_length = 1, max_length = 100)]
    name: Option<String>,
    /// Whether participants who are added later see the messages from before.
    with_history: Option<bool>,
}

/// Creates a private channel of the caller and others.
#[utoipa::path(
    post,
    path = "/api/channels/private",
    request_body = PrivateChannelCreateRequest,
    responses((status = 201, body = Channel)),
)]
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

#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct ChannelUpdateRequest {
    #[schema(min_length = 1, max_length = 100)]
    new_name: Option<String>,
    #[schema(max_length = 500)]
    new_description: Option<String>,
}

/// Changes a public channel (needs the role `CHANNEL_MANAGER`), or the name of a private one of three or more (as a participant).
#[utoipa::path(
    patch,
    path = "/api/channels/{id}",
    params(("id" = ChannelId, Path)),
    request_body = ChannelUpdateRequest,
    responses((status = 200, body = Channel)),
)]
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

/// Deletes a channel with its messages and files. Needs the role `CHANNEL_MANAGER`.
#[utoipa::path(
    delete,
    path = "/api/channels/{id}",
    params(("id" = ChannelId, Path)),
    responses((status = 204)),
)]
pub(super) async fn delete(id: ChannelId, request: Request) -> Result<Response, Problem> {
    let caller = request.caller_with(Role::ChannelManager).await?;
    ops::channel::delete(&request.app, id, caller.id).await?;
    Ok(no_content())
}

/// Adds a user to a private channel of three or more. Any participant may.
#[utoipa::path(
    put,
    path = "/api/channels/{id}/participants/{userId}",
    params(("id" = ChannelId, Path), ("userId" = UserId, Path)),
    responses((status = 204)),
)]
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

/// Leaves a private channel, or removes somebody from it (needs the role `CHANNEL_MANAGER`).
#[utoipa::path(
    delete,
    path = "/api/channels/{id}/participants/{userId}",
    params(("id" = ChannelId, Path), ("userId" = UserId, Path)),
    responses((status = 204)),
)]
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

#[derive(Deserialize, utoipa::IntoParams)]
#[serde(rename_all = "camelCase")]
#[into_params(parameter_in = Query)]
struct ListQuery {
    /// The caller; an administrator may ask for others.
    user_id: UserId,
}

/// Lists every public channel, and the private channels that the user is in, by creation time.
#[utoipa::path(
    get,
    path = "/api/channels",
    params(ListQuery, PageQuery),
    responses((status = 200, body = ListBody<Channel>)),
)]
pub(super) async fn list(request: Request) -> Result<Response, Problem> {
    let (caller, position) = cursor::caller(&request).await?;
    let query: ListQuery = request.query()?;
    if query.user_id != caller.id && caller.role < Role::Admin {
        return Err(Problem::Forbidden("These are another user's channels."));
    }
    let list = List::new(&request.app, BATCH, move |app, after, limit| async move {
        store::channels::visible_to(&app.db, query.user_id, after, limit).await
    });
    let response = list.respond(&request, caller.id).await?;
    Ok(cursor::with_cursor(response, position))
}
