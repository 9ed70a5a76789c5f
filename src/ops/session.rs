//! Sessions: login, refresh, logout.

use std::net::IpAddr;

use tracing::warn;

use crate::{
    app::App,
    auth::{login_attempts::LoginAttempt, sessions::Rotation},
    ids::{SessionId, UserId},
    model::{Control, Event, user::fold},
    problem::Problem,
    secret::Secret,
    store,
};

/// A session's two tokens.
pub struct SignedIn {
    /// The access token, a JWT.
    pub access: String,
    /// The refresh token, for the cookie.
    pub refresh: Secret,
}

/// Opens a session.
///
/// # Errors
/// [`Problem::WrongCredentials`], [`Problem::TooMany`] after many of them, or a store's.
pub async fn login(
    app: &App,
    username: &str,
    password: Secret,
    peer: IpAddr,
) -> Result<SignedIn, Problem> {
    let key = fold(username);
    let attempt =
        LoginAttempt::begin(app.redis.clone(), app.config.login_failures, &key, peer).await?;
    // PostgreSQL takes no text with this character, so nobody has such a name.
    let found = if key.contains('\0') {
        None
    } else {
        store::users::credentials(&app.db, &key).await?
    };
    let (user, hash) = found
        .map(|found| (found.user, Secret::new(found.password_hash)))
        .unzip();
    // Takes as long for a name that does not exist.
    let matches = app.passwords.verify(password, hash.clone()).await?;
    let Some(user) = user.filter(|_| matches) else {
        return Err(Problem::WrongCredentials);
    };
    attempt.succeeded().await?;
    let (session, refresh) = app.sessions.open(user.id, user.role).await?;
    // Whoever changes an account ends its sessions after the commit. So an account that changed while the password was
    // being checked shows here, or this session is among those ended.
    let now = store::users::credentials(&app.db, &key).await;
    match now {
        Ok(Some(now))
            if now.user.is_same_account(&user)
                && hash.is_some_and(|hash| hash.expose() == now.password_hash) =>
        {
            let access = app.tokens.issue(&user, session)?;
            Ok(SignedIn { access, refresh })
        }
        changed => {
            app.sessions.revoke(user.id, session).await?;
            changed?;
            Err(Problem::WrongCredentials)
        }
    }
}

/// Exchanges a refresh token for new tokens. One that was exchanged before ends its session everywhere.
///
/// # Errors
/// [`Problem::SessionEnded`], or a store's.
pub async fn refresh(app: &App, token: &str) -> Result<SignedIn, Problem> {
    let (session, rotation) = app.sessions.rotate(token).await?;
    match rotation {
        Rotation::Rotated(user, refresh) => {
            let user = store::users::find(&app.db, user)
                .await?
                .ok_or(Problem::SessionEnded)?;
            Ok(SignedIn {
                access: app.tokens.issue(&user, session)?,
                refresh,
            })
        }
        Rotation::Reused(user) => {
            warn!(user.id = %user, session.id = %session, "a refresh token was used twice; its session is revoked");
            app.sessions.revoke(user, session).await?;
            announce_revoked(app, user, session);
            Err(Problem::SessionEnded)
        }
        Rotation::Unknown => Err(Problem::SessionEnded),
    }
}

/// A new access token for the session of that refresh token, which stays as it is.
///
/// # Errors
/// [`Problem::SessionEnded`], or a store's.
pub async fn me(app: &App, token: &str) -> Result<String, Problem> {
    let (user, session) = app
        .sessions
        .find_by_token(token)
        .await?
        .ok_or(Problem::SessionEnded)?;
    let user = store::users::find(&app.db, user)
        .await?
        .ok_or(Problem::SessionEnded)?;
    app.tokens.issue(&user, session)
}

/// Ends the session of that refresh token, if it is a current one.
///
/// # Errors
/// A store's.
pub async fn logout(app: &App, token: &str) -> Result<(), Problem> {
    if let Some((user, session)) = app.sessions.find_by_token(token).await? {
        app.sessions.revoke(user, session).await?;
        announce_revoked(app, user, session);
    }
    Ok(())
}

pub(super) fn announce_revoked(app: &App, user_id: UserId, session_id: SessionId) {
    let control = Control::SessionRevoked {
        user_id,
        session_id,
    };
    // This node's sockets are cut even while Kafka is away.
    app.delivery.apply(&control);
    app.outbox
        .publish_untracked(&Event::control(&control), None);
}
