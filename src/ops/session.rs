//! Sessions: login, refresh and logout.

use tracing::{info, warn};

use crate::{
    app::App,
    auth::{
        sessions::{Device, EndReason, Rotation},
        tokens::Caller,
    },
    ids::{SessionId, UserId},
    model::{Control, Event, Username},
    problem::{Problem, Resource, chain},
    rate_limit::client_network::ClientNetwork,
    secret::Secret,
    store::{self, users::Credentials},
    telemetry::AUDIT,
};

/// Characters of an unverified username in the log.
const MAX_LOGGED_CHARS: usize = 64;

/// Revoked sessions announced in one statement.
const ANNOUNCED_AT_ONCE: usize = 1_000;

/// The two tokens of a session.
pub struct SessionTokens {
    /// The access token, a JWT.
    pub access: String,
    /// The refresh token, for the cookie.
    pub refresh: Secret,
}

/// Opens a session.
///
/// # Errors
/// [`Problem::WrongCredentials`], [`Problem::TooMany`] after many failures, or a store fails.
pub async fn login(
    app: &App,
    username: &str,
    password: Secret,
    device: Device<'_>,
) -> Result<SessionTokens, Problem> {
    let client = device.address;
    let keys = Username::login_keys(username);
    let [_, key] = &keys;
    let network = ClientNetwork::of(client);
    let attempt = app.attempts.login(key, network).await?;
    let found = match verify(app, &keys, password, network).await {
        Ok(Some(found)) => found,
        Ok(None) => {
            // People type passwords into the wrong field, so a name that may be one is cut.
            let account: String = key.chars().take(MAX_LOGGED_CHARS).collect();
            info!(target: AUDIT, { account, %client }, "login failed");
            return Err(Problem::WrongCredentials);
        }
        Err(problem) => {
            // Without Redis the attempt counts until it is forgotten.
            drop(attempt.take_back().await);
            return Err(problem);
        }
    };
    attempt.succeeded().await?;
    let user = found.user;
    let (session, refresh) = app.sessions.open(user.id, user.role, device).await?;
    // A change of an account revokes the sessions after its commit. So either the change is visible here, or the change revokes this
    // session.
    let now = store::users::credentials(&app.db, &keys).await;
    match now {
        Ok(Some(now))
            if now.user.is_same_account(&user) && now.password_hash == found.password_hash =>
        {
            let access = app.tokens.issue(&user, session)?;
            let keep = app.config.sessions_per_user;
            let oldest = app.sessions.end_oldest(user.id, keep).await?;
            announce_revoked(app, user.id, &oldest).await;
            info!(target: AUDIT, { user.id = %user.id, session.id = %session, %client }, "login succeeded");
            Ok(SessionTokens { access, refresh })
        }
        changed => {
            app.sessions
                .revoke(user.id, session, EndReason::PasswordChanged)
                .await?;
            changed?;
            Err(Problem::WrongCredentials)
        }
    }
}

/// The account with this name, if the password is the account's. Takes as long for a name that does not exist.
async fn verify(
    app: &App,
    keys: &[String; 2],
    password: Secret,
    network: ClientNetwork,
) -> Result<Option<Credentials>, Problem> {
    // PostgreSQL refuses text with this character, so no user has such a name.
    let found = if keys.iter().any(|key| key.contains('\0')) {
        None
    } else {
        store::users::credentials(&app.db, keys).await?
    };
    let hash = found
        .as_ref()
        .map(|found| Secret::new(found.password_hash.clone()));
    let matches = app.passwords.verify(network, password, hash).await?;
    Ok(found.filter(|_| matches))
}

/// Exchanges a refresh token for new tokens.
///
/// A token that was exchanged before revokes its session. A token that was never issued has no effect.
///
/// # Errors
/// [`Problem::SessionEnded`], or a store fails.
pub async fn refresh(app: &App, token: &str) -> Result<SessionTokens, Problem> {
    let (session, rotation) = app.sessions.rotate(token).await?;
    match rotation {
        Rotation::Rotated(user, refresh) => {
            let user = store::users::find(&app.db, user)
                .await?
                .ok_or_else(deleted)?;
            Ok(SessionTokens {
                access: app.tokens.issue(&user, session)?,
                refresh,
            })
        }
        Rotation::Reused(user) => {
            warn!(target: AUDIT, { user.id = %user, session.id = %session }, "refresh token reused; session revoked");
            let reason = EndReason::TokenReused;
            app.sessions.revoke(user, session, reason).await?;
            announce_revoked(app, user, &[session]).await;
            Err(Problem::SessionEnded(reason.details()))
        }
        Rotation::Unknown => Err(ended(app, token).await),
    }
}

/// Issues an access token for a refresh token's session.
///
/// The refresh token stays valid.
///
/// # Errors
/// [`Problem::SessionEnded`], or a store fails.
pub async fn me(app: &App, token: &str) -> Result<String, Problem> {
    let Some((user, session)) = app.sessions.find_by_token(token).await? else {
        return Err(ended(app, token).await);
    };
    let user = store::users::find(&app.db, user)
        .await?
        .ok_or_else(deleted)?;
    app.tokens.issue(&user, session)
}

fn deleted() -> Problem {
    Problem::SessionEnded(EndReason::AccountDeleted.details())
}

async fn ended(app: &App, token: &str) -> Problem {
    let reason = app.sessions.end_reason(token).await;
    reason.map_or_else(|problem| problem, Problem::SessionEnded)
}

/// Revokes the session of a refresh token, if the token is current.
///
/// # Errors
/// A store fails.
pub async fn logout(app: &App, token: &str) -> Result<(), Problem> {
    if let Some((user, session)) = app.sessions.find_by_token(token).await? {
        app.sessions
            .revoke(user, session, EndReason::SignedOut)
            .await?;
        announce_revoked(app, user, &[session]).await;
        info!(target: AUDIT, { user.id = %user, session.id = %session }, "logout");
    }
    Ok(())
}

/// Ends a session of the caller.
///
/// # Errors
/// Not found, also when it is another user's, or a store fails.
pub async fn end(app: &App, caller: &Caller, session: SessionId) -> Result<(), Problem> {
    if app.sessions.user(session).await? != Some(caller.id) {
        return Err(Problem::NotFound(Resource::Session(session)));
    }
    app.sessions
        .revoke(caller.id, session, EndReason::SignedOutElsewhere)
        .await?;
    announce_revoked(app, caller.id, &[session]).await;
    info!(target: AUDIT, { user.id = %caller.id, session.id = %session, by.session.id = %caller.session }, "session revoked");
    Ok(())
}

/// Ends all sessions of the caller but the present one.
///
/// # Errors
/// A store fails.
pub async fn end_others(app: &App, caller: &Caller) -> Result<(), Problem> {
    let kept = Some(caller.session);
    let revoked = app
        .sessions
        .revoke_all(caller.id, kept, EndReason::SignedOutElsewhere)
        .await?;
    announce_revoked(app, caller.id, &revoked).await;
    info!(target: AUDIT, { user.id = %caller.id, sessions = revoked.len() }, "sessions revoked");
    Ok(())
}

/// Closes the connections of revoked sessions on every node.
pub(super) async fn announce_revoked(app: &App, user_id: UserId, revoked: &[SessionId]) {
    for sessions in revoked.chunks(ANNOUNCED_AT_ONCE) {
        let controls = sessions.iter().map(|session_id| Control::SessionRevoked {
            user_id,
            session_id: *session_id,
        });
        let mut events = Vec::with_capacity(sessions.len());
        for control in controls {
            // Closes this node's connections even while Kafka is down.
            app.delivery.apply(&control);
            events.push(Event::control(&control));
        }
        match store::outbox::insert(&app.db, events.clone()).await {
            Ok(rows) => app.outbox.publish(rows),
            // The sessions have ended. Without rows, nodes that Kafka does not reach find that out by their audits.
            Err(error) => {
                warn!(user.id = %user_id, error = %chain(&error), "revoked sessions are not in the outbox");
                for event in &events {
                    app.outbox.publish_untracked(event, None);
                }
            }
        }
    }
}
