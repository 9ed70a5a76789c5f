//! `/api/auth/sessions`: the devices on which the caller is signed in.

use http::StatusCode;
use serde::{Deserialize, Serialize};
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

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct SessionDto {
    id: SessionId,
    device: Option<String>,
    address: Option<String>,
    created_at: Option<String>,
    last_used_at: Option<String>,
    current: bool,
}

/// `GET /api/auth/sessions`: the session used last comes first.
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

/// `DELETE /api/auth/sessions/{id}`: signs that device out.
pub(super) async fn end(id: SessionId, request: Request) -> Result<Response, Problem> {
    let caller = request.caller().await?;
    session::end(&request.app, &caller, id).await?;
    Ok(no_content())
}

#[derive(Deserialize)]
struct Which {
    others: Option<String>,
}

/// `DELETE /api/auth/sessions?others=true`: signs every other device out.
pub(super) async fn end_others(request: Request) -> Result<Response, Problem> {
    let caller = request.caller().await?;
    let which: Which = request.query()?;
    if which.others.as_deref() != Some("true") {
        return Err(Problem::invalid("others", "must be true"));
    }
    session::end_others(&request.app, &caller).await?;
    Ok(no_content())
}
