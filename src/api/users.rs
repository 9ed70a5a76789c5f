//! `/api/users`: accounts and their profile pictures.

use http::StatusCode;
use serde::Deserialize;
use utoipa::ToSchema;
use warp::reply::Response;

use crate::{
    api::{
        cursor,
        list::{List, ListBody, PageQuery},
    },
    app::App,
    auth::tokens::Caller,
    http::{
        multipart::Parts,
        reply::{json, no_content},
        request::Request,
    },
    ids::UserId,
    model::{Email, Field, NewPassword, Role, User, Username, Validate, text},
    ops::account,
    problem::{Problem, Resource},
    rate_limit::clients::Client,
    secret::Secret,
    store,
};

/// Users that a whole list reads at once.
const BATCH: usize = 500;
/// Ids in `ids`.
const MAX_IDS: usize = 100;
/// Users that `query` finds.
const MAX_FOUND: i64 = 100;
/// Characters of `query`, as many as a name has.
const MAX_QUERY_CHARS: usize = 50;

#[derive(Deserialize, ToSchema)]
struct UserCreateRequest {
    #[schema(value_type = String, min_length = 1, max_length = 50)]
    username: Option<String>,
    #[schema(value_type = String, format = Email, max_length = 100)]
    email: Option<String>,
    #[schema(value_type = String, format = Password, min_length = 5, max_length = 128)]
    password: Option<String>,
}

#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
#[expect(dead_code, reason = "describes a body in the API's document")]
struct SignUpForm {
    user_create_request: UserCreateRequest,
    /// A picture: PNG, JPEG, GIF or WebP.
    #[schema(value_type = Option<String>, format = Binary)]
    profile: Option<Vec<u8>>,
}

fn parts(json: &'static str) -> Parts {
    Parts {
        json,
        files: "profile",
        max_files: 1,
        pictures: true,
    }
}

/// Creates an account.
#[utoipa::path(
    post,
    path = "/api/users",
    request_body(content = SignUpForm, content_type = "multipart/form-data"),
    responses((status = 201, body = User)),
    security(()),
)]
pub(super) async fn sign_up(mut request: Request) -> Result<Response, Problem> {
    let parts = parts("userCreateRequest");
    let client = Client::at(request.head.client);
    let (body, picture): (UserCreateRequest, _) = request.multipart(&parts, client).await?;
    let (username, email, password) = (
        Field::required("username", body.username).parse(|text| Username::parse(&text)),
        Field::required("email", body.email).parse(|text| Email::parse(&text)),
        Field::required("password", body.password).parse(|text| NewPassword::parse(&text)),
    )
        .validate()?;
    json(
        StatusCode::CREATED,
        &account::sign_up(
            &request.app,
            request.head.client,
            &username,
            &email,
            &password,
            picture,
        )
        .await?,
    )
}

#[derive(Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
struct UsersQuery {
    /// Only these users: 1 to 100 ids, separated by commas.
    ids: Option<String>,
    /// Only users whose name begins with this, at most `limit`.
    #[param(max_length = 50)]
    query: Option<String>,
    #[param(ignore)]
    limit: Option<String>,
}

/// Lists the users by creation time.
#[utoipa::path(
    get,
    path = "/api/users",
    params(UsersQuery, PageQuery),
    responses((status = 200, body = ListBody<User>)),
)]
pub(super) async fn list(request: Request) -> Result<Response, Problem> {
    let parameters = request.query::<UsersQuery>();
    let is_search = |asked: &UsersQuery| asked.ids.is_some() || asked.query.is_some();
    let (caller, position) = if parameters.as_ref().is_ok_and(is_search) {
        (request.caller().await?, None)
    } else {
        cursor::caller(&request).await?
    };
    let UsersQuery { ids, query, limit } = parameters?;
    if ids.is_some() || query.is_some() {
        let db = &request.app.db;
        let mut users = match (ids, query) {
            (Some(ids), None) => store::users::with_ids(db, &parse_ids(&ids)?).await?,
            (None, Some(text)) => {
                let limit = match limit.map(|limit| limit.parse()) {
                    None => MAX_FOUND,
                    Some(Ok(limit @ 1..=MAX_FOUND)) => limit,
                    Some(_) => return Err(Problem::invalid("limit", "must be 1 to 100")),
                };
                if !text::fits(&text, MAX_QUERY_CHARS) {
                    return Err(Problem::invalid("query", "must be at most 50 characters"));
                }
                store::users::with_prefix(db, &text, limit).await?
            }
            _ => return Err(Problem::invalid("query", "must not come with ids")),
        };
        set_online(&request.app, users.iter_mut()).await;
        return json(StatusCode::OK, &users);
    }
    let list = List::new(&request.app, BATCH, async move |app, after, limit| {
        let mut users = store::users::list(&app.db, after, limit).await?;
        set_online(&app, users.iter_mut().map(|(_, user)| user)).await;
        Ok(users)
    });
    let response = list.respond(&request, caller.id).await?;
    Ok(cursor::with_cursor(response, position))
}

/// Sets which users are online. That is unknown without Redis; the users can still be read.
async fn set_online(app: &App, users: impl Iterator<Item = &mut User>) {
    let users: Vec<&mut User> = users.collect();
    let ids: Vec<UserId> = users.iter().map(|user| user.id).collect();
    let online = app.presence.online(&ids).await.ok();
    for user in users {
        user.online = online.as_ref().map(|online| online.contains(&user.id));
    }
}

/// Parses 1 to 100 ids, separated by commas.
fn parse_ids(text: &str) -> Result<Vec<UserId>, Problem> {
    let ids: Result<Vec<UserId>, _> = text.split(',').map(|id| id.trim().parse()).collect();
    match ids {
        Ok(ids) if ids.len() <= MAX_IDS => Ok(ids),
        _ => Err(Problem::invalid("ids", "must be 1 to 100 ids of users")),
    }
}

/// Returns a user.
#[utoipa::path(
    get,
    path = "/api/users/{id}",
    params(("id" = UserId, Path)),
    responses((status = 200, body = User)),
)]
pub(super) async fn find(id: UserId, request: Request) -> Result<Response, Problem> {
    request.caller().await?;
    let found = store::users::find(&request.app.db, id).await?;
    let mut user = found.ok_or(Problem::NotFound(Resource::User(id)))?;
    set_online(&request.app, std::iter::once(&mut user)).await;
    json(StatusCode::OK, &user)
}

/// Removes the picture of the caller; an administrator may remove those of others.
#[utoipa::path(
    delete,
    path = "/api/users/{id}/profile",
    params(("id" = UserId, Path)),
    responses((status = 204)),
)]
pub(super) async fn remove_picture(id: UserId, request: Request) -> Result<Response, Problem> {
    let caller = self_or_admin(id, &request).await?;
    account::remove_picture(&request.app, &caller, id).await?;
    Ok(no_content())
}

/// The caller, if the account is the caller's own or the caller is an administrator.
async fn self_or_admin(id: UserId, request: &Request) -> Result<Caller, Problem> {
    let caller = request.caller().await?;
    if caller.id == id || caller.role >= Role::Admin {
        Ok(caller)
    } else {
        Err(Problem::Forbidden("This is another user's account."))
    }
}

#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct UserUpdateRequest {
    #[schema(min_length = 1, max_length = 50)]
    new_username: Option<String>,
    #[schema(format = Email, max_length = 100)]
    new_email: Option<String>,
    #[schema(format = Password, min_length = 5, max_length = 128)]
    new_password: Option<String>,
    /// With a new password of one's own, unless the last login was within five minutes.
    #[schema(format = Password)]
    current_password: Option<String>,
}

#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
#[expect(dead_code, reason = "describes a body in the API's document")]
struct UpdateForm {
    user_update_request: Option<UserUpdateRequest>,
    /// A picture: PNG, JPEG, GIF or WebP.
    #[schema(value_type = Option<String>, format = Binary)]
    profile: Option<Vec<u8>>,
}

/// Changes the account of the caller; an administrator may change others.
#[utoipa::path(
    patch,
    path = "/api/users/{id}",
    params(("id" = UserId, Path)),
    request_body(content = UpdateForm, content_type = "multipart/form-data"),
    responses((status = 200, body = User)),
)]
pub(super) async fn update(id: UserId, mut request: Request) -> Result<Response, Problem> {
    let caller = self_or_admin(id, &request).await?;
    let parts = parts("userUpdateRequest");
    let client = Client::User(caller.id);
    let (body, picture): (UserUpdateRequest, _) = request.multipart(&parts, client).await?;
    let (username, email, password) = (
        Field::optional("newUsername", body.new_username, |text| {
            Username::parse(&text)
        }),
        Field::optional("newEmail", body.new_email, |text| Email::parse(&text)),
        Field::optional("newPassword", body.new_password, |text| {
            NewPassword::parse(&text)
        }),
    )
        .validate()?;
    let changes = account::AccountChanges {
        username,
        email,
        password,
        current_password: body.current_password.map(Secret::new),
        picture,
    };
    json(
        StatusCode::OK,
        &account::update(&request.app, &caller, request.head.client, id, changes).await?,
    )
}

/// Deletes the account of the caller; an administrator may delete others. Messages stay, without author.
#[utoipa::path(
    delete,
    path = "/api/users/{id}",
    params(("id" = UserId, Path)),
    responses((status = 204)),
)]
pub(super) async fn delete(id: UserId, request: Request) -> Result<Response, Problem> {
    let caller = self_or_admin(id, &request).await?;
    account::delete(&request.app, &caller, id).await?;
    Ok(no_content())
}
