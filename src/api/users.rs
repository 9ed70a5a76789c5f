//! `/api/users`

use http::StatusCode;
use serde::Deserialize;
use warp::reply::Response;

use crate::{
    api::cursor,
    auth::tokens::Caller,
    blobs::UploadPool,
    http::{
        multipart::Parts,
        reply::{json, no_content},
        request::Request,
    },
    ids::UserId,
    model::{Email, Fields, NewPassword, Role, Username},
    ops::account,
    problem::Problem,
    store,
};

#[derive(Deserialize)]
struct UserCreateRequest {
    username: Option<String>,
    email: Option<String>,
    password: Option<String>,
}

fn parts(json: &'static str, senders: UploadPool) -> Parts {
    Parts {
        json,
        files: "profile",
        most: 1,
        pictures: true,
        senders,
    }
}

/// `POST /api/users`
pub(super) async fn sign_up(request: Request) -> Result<Response, Problem> {
    let app = request.app.clone();
    let parts = parts("userCreateRequest", UploadPool::Anybody);
    let (body, picture): (UserCreateRequest, _) = request.multipart(&parts).await?;
    let mut fields = Fields::new();
    let username = fields
        .require("username", body.username)
        .and_then(|text| fields.take("username", Username::parse(&text)));
    let email = fields
        .require("email", body.email)
        .and_then(|text| fields.take("email", Email::parse(&text)));
    let password = fields
        .require("password", body.password)
        .and_then(|text| fields.take("password", NewPassword::parse(&text)));
    fields.done()?;
    let (Some(username), Some(email), Some(password)) = (username, email, password) else {
        return Err(Problem::Malformed("incomplete".into()));
    };
    json(
        StatusCode::CREATED,
        &account::sign_up(&app, &username, &email, &password, picture).await?,
    )
}

/// `GET /api/users`
pub(super) async fn list(request: Request) -> Result<Response, Problem> {
    let caller = request.caller().await?;
    let cursor = cursor::cursor(&request.app, caller.id).await;
    let mut users = store::users::all(&request.app.db).await?;
    // Not known while Redis is away, which must not keep the list from being read.
    let online = request.app.presence.online().await.ok();
    for user in &mut users {
        user.online = online.as_ref().map(|online| online.contains(&user.id));
    }
    Ok(cursor::with_cursor(json(StatusCode::OK, &users)?, cursor))
}

/// Oneself, or an administrator.
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
pub(super) async fn update(id: UserId, request: Request) -> Result<Response, Problem> {
    let caller = self_or_admin(id, &request).await?;
    let app = request.app.clone();
    let parts = parts("userUpdateRequest", UploadPool::Members);
    let (body, picture): (UserUpdateRequest, _) = request.multipart(&parts).await?;
    let mut fields = Fields::new();
    let username = body
        .new_username
        .and_then(|text| fields.take("newUsername", Username::parse(&text)));
    let email = body
        .new_email
        .and_then(|text| fields.take("newEmail", Email::parse(&text)));
    let password = body
        .new_password
        .and_then(|text| fields.take("newPassword", NewPassword::parse(&text)));
    fields.done()?;
    let changes = account::Changed {
        username,
        email,
        password,
        picture,
    };
    json(
        StatusCode::OK,
        &account::update(&app, id, &caller, changes).await?,
    )
}

/// `DELETE /api/users/{id}`
pub(super) async fn delete(id: UserId, request: Request) -> Result<Response, Problem> {
    self_or_admin(id, &request).await?;
    account::delete(&request.app, id).await?;
    Ok(no_content())
}
