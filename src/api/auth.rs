//! `/api/auth`: login, tokens, roles.

use cookie::{Cookie, CookieBuilder, SameSite};
use http::{
    HeaderValue, StatusCode,
    header::{SET_COOKIE, USER_AGENT},
};
use rand::RngCore;
use serde::Deserialize;
use serde_json::Value;
use utoipa::ToSchema;
use warp::reply::Response;

use crate::{
    app::App,
    auth::sessions::Device,
    http::{
        reply::{json, no_content, problem},
        request::{Request, refresh_cookie_name},
    },
    ids::UserId,
    model::{Field, Role, User, Validate, text, user::MAX_PASSWORD_LEN},
    ops::{account, session},
    problem::Problem,
    secret::Secret,
};

const CSRF_COOKIE: &str = "XSRF-TOKEN";
const CSRF_HEADER: &str = "x-xsrf-token";

/// Adds a `Set-Cookie` header with the attributes that all cookies of the node share.
fn set_cookie(
    app: &App,
    response: &mut Response,
    cookie: CookieBuilder<'_>,
) -> Result<(), Problem> {
    let cookie = cookie
        .path("/")
        .same_site(SameSite::Lax)
        .secure(app.config.cookie_secure);
    let mut value = HeaderValue::try_from(cookie.to_string()).map_err(Problem::internal)?;
    value.set_sensitive(true);
    response.headers_mut().append(SET_COOKIE, value);
    Ok(())
}

fn with_refresh_cookie(
    app: &App,
    mut response: Response,
    refresh: &Secret,
) -> Result<Response, Problem> {
    let ttl = app
        .config
        .session_ttl
        .try_into()
        .map_err(Problem::internal)?;
    let name = refresh_cookie_name(app.config.cookie_secure);
    let cookie = Cookie::build((name, refresh.expose()))
        .http_only(true)
        .max_age(ttl);
    set_cookie(app, &mut response, cookie)?;
    Ok(response)
}

fn without_refresh_cookie(app: &App, mut response: Response) -> Result<Response, Problem> {
    let name = refresh_cookie_name(app.config.cookie_secure);
    let cookie = Cookie::build((name, ""))
        .http_only(true)
        .max_age(time::Duration::ZERO);
    set_cookie(app, &mut response, cookie)?;
    Ok(response)
}

/// Checks that the CSRF header repeats the CSRF cookie.
///
/// A page of another site can make a browser send the cookie, but cannot read it.
fn check_csrf(request: &Request) -> Result<(), Problem> {
    let (cookie, header) = (request.cookie(CSRF_COOKIE), request.header(CSRF_HEADER));
    if cookie.is_some() && cookie == header {
        Ok(())
    } else {
        Err(Problem::CsrfMismatch)
    }
}

/// Sets the cookie `XSRF-TOKEN`, whose value `X-XSRF-TOKEN` must repeat.
#[utoipa::path(
    get,
    path = "/api/auth/csrf-token",
    responses((status = 204)),
    security(()),
)]
pub(super) async fn csrf_token(request: Request) -> Result<Response, Problem> {
    let mut bytes = [0; 16];
    rand::rng().fill_bytes(&mut bytes);
    let mut response = no_content();
    let token = uuid::Uuid::from_bytes(bytes).simple().to_string();
    // Without HttpOnly: a script must repeat the token in a header.
    let cookie = Cookie::build((CSRF_COOKIE, token));
    set_cookie(&request.app, &mut response, cookie)?;
    Ok(response)
}

#[derive(Deserialize, ToSchema)]
struct LoginRequest {
    #[schema(value_type = String)]
    username: Option<String>,
    #[schema(value_type = String, format = Password, max_length = 128)]
    password: Option<Secret>,
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(Self::new)
    }
}

/// Starts a session: sets the cookie `REFRESH-TOKEN` and returns an access token for 15 minutes.
#[utoipa::path(
    post,
    path = "/api/auth/login",
    request_body = LoginRequest,
    responses((status = 200, body = String, content_type = "application/json")),
    security(()),
)]
pub(super) async fn login(mut request: Request) -> Result<Response, Problem> {
    let body: LoginRequest = request.json().await?;
    // No account has a longer password, so the node need not hash it.
    let parse_password = |password: Secret| {
        if text::fits(password.expose(), MAX_PASSWORD_LEN) {
            Ok(password)
        } else {
            Err("must be at most 128 characters")
        }
    };
    let (username, password) = (
        Field::required("username", body.username),
        Field::required("password", body.password).parse(parse_password),
    )
        .validate()?;
    let app = &request.app;
    let device = Device {
        agent: request.header(USER_AGENT).unwrap_or_default(),
        address: request.head.client,
    };
    let tokens = session::login(app, &username, password, device).await?;
    with_refresh_cookie(app, json(StatusCode::OK, &tokens.access)?, &tokens.refresh)
}

/// Replaces the refresh token in its cookie and returns a new access token.
///
/// A refresh token that was used before ends its session.
#[utoipa::path(
    post,
    path = "/api/auth/refresh",
    params(("X-XSRF-TOKEN" = String, Header, description = "The value of the cookie `XSRF-TOKEN`.")),
    responses((status = 200, body = String, content_type = "application/json")),
    security(("session" = [])),
)]
pub(super) async fn refresh(request: Request) -> Result<Response, Problem> {
    check_csrf(&request)?;
    let app = &request.app;
    let token = request
        .refresh_cookie()?
        .ok_or(Problem::SessionEnded(Value::Null))?;
    match session::refresh(app, token).await {
        Ok(tokens) => {
            with_refresh_cookie(app, json(StatusCode::OK, &tokens.access)?, &tokens.refresh)
        }
        Err(ended @ Problem::SessionEnded(_)) => without_refresh_cookie(app, problem(&ended)),
        Err(problem) => Err(problem),
    }
}

/// Returns an access token of the session in the cookie.
///
/// When the session has ended, `details.reason` says why: `SIGNED_OUT`, `SIGNED_OUT_ELSEWHERE`, `ROLE_CHANGED` (with the new
/// `role`), `PASSWORD_CHANGED`, `ACCOUNT_DELETED`, `TOO_MANY_SESSIONS`, `TOKEN_REUSED` or `EXPIRED`.
#[utoipa::path(
    get,
    path = "/api/auth/me",
    responses((status = 200, body = String, content_type = "application/json")),
    security(("session" = [])),
)]
pub(super) async fn me(request: Request) -> Result<Response, Problem> {
    let token = request
        .refresh_cookie()?
        .ok_or(Problem::SessionEnded(Value::Null))?;
    json(StatusCode::OK, &session::me(&request.app, token).await?)
}

/// Ends the session in the cookie, if there is one.
#[utoipa::path(
    post,
    path = "/api/auth/logout",
    params(("X-XSRF-TOKEN" = Option<String>, Header, description = "The value of the cookie `XSRF-TOKEN`; required with a session.")),
    responses((status = 204)),
    security((), ("session" = [])),
)]
pub(super) async fn logout(request: Request) -> Result<Response, Problem> {
    if let Some(token) = request.refresh_cookie()? {
        check_csrf(&request)?;
        session::logout(&request.app, token).await?;
    }
    without_refresh_cookie(&request.app, no_content())
}

#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct RoleUpdateRequest {
    #[schema(value_type = UserId)]
    user_id: Option<UserId>,
    #[schema(value_type = Role)]
    new_role: Option<Role>,
}

/// Changes the role of a user and ends the sessions of the user. Needs the role `ADMIN`.
#[utoipa::path(
    put,
    path = "/api/auth/role",
    request_body = RoleUpdateRequest,
    responses((status = 200, body = User)),
)]
pub(super) async fn set_role(mut request: Request) -> Result<Response, Problem> {
    let caller = request.caller_with(Role::Admin).await?;
    let body: RoleUpdateRequest = request.json().await?;
    let (user, role) = (
        Field::required("userId", body.user_id),
        Field::required("newRole", body.new_role),
    )
        .validate()?;
    json(
        StatusCode::OK,
        &account::set_role(&request.app, &caller, user, role).await?,
    )
}
