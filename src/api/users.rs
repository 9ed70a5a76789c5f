//! `/api/users`: accounts and their profile pictures.

use std::sync::Arc;

use http::StatusCode;
use serde::Deserialize;
use warp::reply::Response;

use crate::{
    api::{cursor, list::List},
    auth::tokens::Caller,
    http::{
        multipart::Parts,
        reply::{json, no_content},
        request::Request,
    },
    ids::UserId,
    model::{Email, Field, NewPassword, Role, Username, Validate, text},
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

#[derive(Deserialize)]
struct UserCreateRequest {
    username: Option<String>,
    email: Option<String>,
    password: Option<String>,
}

fn parts(json: &'static str) -> Parts {
    Parts {
        json,
        files: "profile",
        max_files: 1,
        pictures: true,
    }
}

/// `POST /api/users`
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

#[derive(Deserialize)]
struct UsersQuery {
    ids: Option<String>,
    query: Option<String>,
    limit: Option<String>,
}

/// `GET /api/users`, with `limit` and `cursor` for a page, `ids` for some users, or `query` for those whose name begins with it
pub(super) async fn list(request: Request) -> Result<Response, Problem> {
    let caller = request.caller().await?;
    let UsersQuery { ids, query, limit } = request.query()?;
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
        let online = request.app.presence.online().await.ok();
        for user in &mut users {
            user.online = online.as_ref().map(|online| online.contains(&user.id));
        }
        return json(StatusCode::OK, &users);
    }
    let position = cursor::newest(&request.app, caller.id).await;
    // Unknown without Redis; the list can still be read.
    let online = request.app.presence.online().await.ok().map(Arc::new);
    let list = List::new(&request.app, BATCH, move |app, after, limit| {
        let online = online.clone();
        async move {
            let mut users = store::users::list(&app.db, after, limit).await?;
            for (_, user) in &mut users {
                user.online = online.as_ref().map(|online| online.contains(&user.id));
            }
            Ok(users)
        }
    });
    let response = list.respond(&request, caller.id).await?;
    Ok(cursor::with_cursor(response, position))
}

/// Parses 1 to 100 ids, separated by commas.
fn parse_ids(text: &str) -> Result<Vec<UserId>, Problem> {
    let ids: Result<Vec<UserId>, _> = text.split(',').map(|id| id.trim().parse()).collect();
    match ids {
        Ok(ids) if ids.len() <= MAX_IDS => Ok(ids),
        _ => Err(Problem::invalid("ids", "must be 1 to 100 ids of users")),
    }
}

/// `GET /api/users/{id}`
pub(super) async fn find(id: UserId, request: Request) -> Result<Response, Problem> {
    request.caller().await?;
    let found = store::users::find(&request.app.db, id).await?;
    let mut user = found.ok_or(Problem::NotFound(Resource::User(id)))?;
    let online = request.app.presence.online().await.ok();
    user.online = online.map(|online| online.contains(&id));
    json(StatusCode::OK, &user)
}

/// `DELETE /api/users/{id}/profile`
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

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct UserUpdateRequest {
    new_username: Option<String>,
    new_email: Option<String>,
    new_password: Option<String>,
    current_password: Option<String>,
}

/// `PATCH /api/users/{id}`
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

/// `DELETE /api/users/{id}`
pub(super) async fn delete(id: UserId, request: Request) -> Result<Response, Problem> {
    let caller = self_or_admin(id, &request).await?;
    account::delete(&request.app, &caller, id).await?;
    Ok(no_content())
}
