//! Authentication: access tokens, sessions, passwords, limits on logins and sign-ups.

pub mod attempts;
mod fair_queue;
pub mod passwords;
pub mod sessions;
pub mod tokens;

use crate::{
    auth::{
        sessions::Sessions,
        tokens::{Caller, TokenError, Tokens},
    },
    problem::Problem,
};

/// The caller with this access token, if its session is alive.
///
/// # Errors
/// [`Problem::Unauthenticated`], or [`Problem::Unavailable`] without Redis.
pub async fn authenticate(
    tokens: &Tokens,
    sessions: &Sessions,
    token: &str,
) -> Result<Caller, Problem> {
    let caller = tokens
        .check(token)
        .map_err(|_: TokenError| Problem::Unauthenticated)?;
    if sessions.user(caller.session).await? == Some(caller.id) {
        Ok(caller)
    } else {
        Err(Problem::Unauthenticated)
    }
}
