//! `/api/auth/sessions`: the devices on which the caller is signed in.

use http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use warp::reply::Response;

use crate::{
    http::{
        reply::{json, no_content},
        request::Request,
    },
    ids::SessionId,
    ops::session,
    problem::Problem,
};

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct SessionDto {
    id: SessionId,
    /// From the user agent.
    #[schema(required)]
    device: Option<String>,
    /// The address of the last login.
    #[schema(required)]
    address: Option<String>,
    #[schema(required, format = DateTime)]
    created_at: Option<String>,
    #[schema(required, format = DateTime)]
    last_used_at: Option<String>,
    /// Whether the request belongs to this session.
    current: bool,
}

/// Lists the sessions of the caller. The session used last comes first.
#[utoipa::path(
    get,
    path = "/api/auth/sessions",
    responses((status = 200, body = [SessionDto])),
)]
pub(super) async fn list(request: Request) -> Result<Response, Problem> {
    let caller = request.caller().await?;
    let mut sessions = request.app.sessions.list(caller.id).await?;
    // Instants in this form sort as text.
    sessions.sort_unstable_by(|a, b| (&b.used, b.id).cmp(&(&a.used, a.id)));
    let sessions: Vec<SessionDto> = sessions
        .into_iter()
        .map(|session| SessionDto {
            id: session.id,
            device: session.device,
            address: session.address,
            created_at: session.issued,
            last_used_at: session.used,
            current: session.id == caller.session,
        })
        .collect();
    json(StatusCode::OK, &sessions)
}

/// Ends a session of the caller: signs that device out.
#[utoipa::path(
    delete,
    path = "/api/auth/sessions/{id}",
    params(("id" = SessionId, Path)),
    responses((status = 204)),
)]
pub(super) async fn end(id: SessionId, request: Request) -> Result<Response, Problem> {
    let caller = request.caller().await?;
    session::end(&request.app, &caller, id).await?;
    Ok(no_content())
}

#[derive(Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
struct Which {
    /// Must be `true`.
    #[param(value_type = bool)]
    others: Option<String>,
}

/// Ends every other session of the caller.
#[utoipa::path(
    delete,
    path = "/api/auth/sessions",
    params(Which),
    responses((status = 204)),
)]
pub(super) async fn end_others(request: Request) -> Result<Response, Problem> {
    let caller = request.caller().await?;
    let which: Which = request.query()?;
    if which.others.as_deref() != Some("true") {
        return Err(Problem::invalid("others", "must be true"));
    }
    session::end_others(&request.app, &caller).await?;
    Ok(no_content())
}
