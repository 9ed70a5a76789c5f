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
    model::{Email, Field, NewPassword, Role, Username, Validate},
    ops::account,
    problem::Problem,
    rate_limit::clients::Client,
    store,
};

/// Users that a whole list reads at once.
const BATCH: usize = 500;

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

/// `GET /api/users`, with `limit` and `cursor` for a page
pub(super) async fn list(request: Request) -> Result<Response, Problem> {
    let caller = request.caller().await?;
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
#[expect(clippy::struct_field_names, reason = "the contract's names")]
struct UserUpdateRequest {
    new_username: Option<String>,
    new_email: Option<String>,
    new_password: Option<String>,
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
