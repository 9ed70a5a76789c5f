//! Accounts and sessions.

use std::{net::IpAddr, time::Duration};

use redis::aio::ConnectionManager;
use sqlx::{PgConnection, Postgres, Transaction};
use tracing::{info, warn};
use uuid::Uuid;

use super::commit;
use crate::{
    app::App,
    config::{Admin, Secret},
    files::Staged,
    ids::{SessionId, UserId},
    model::{
        Control, Email, Event, Fields, NewPassword, NotificationKind, Role, UserDto, Username,
        user::fold,
    },
    problem::{Missing, Problem, chain},
    sessions::Rotation,
    store::{self, remains, users::Changes},
    token::{Caller, Refused},
};

/// Wrong passwords are counted over this time.
const FAILURES_WITHIN: Duration = Duration::from_mins(1);

/// A session's two tokens.
pub struct SignedIn {
    /// The access token, a JWT.
    pub access: String,
    /// The refresh token, for the cookie.
    pub refresh: Secret,
}

/// Creates an account with the role USER.
///
/// # Errors
/// [`Problem::UsernameTaken`], [`Problem::EmailTaken`], or a store's.
pub async fn sign_up(
    app: &App,
    username: &Username,
    email: &Email,
    password: &NewPassword,
    picture: Staged,
) -> Result<UserDto, Problem> {
    let hash = app.passwords.hash(password.secret().clone()).await?;
    let mut transaction = app.db.begin().await?;
    let mut user =
        store::users::insert(&mut transaction, username, email, &hash, Role::User).await?;
    let uploader = user.id;
    set_picture(&mut transaction, &mut user, uploader, &picture).await?;
    commit_with_picture(app, transaction, user.id, picture).await?;
    Ok(user)
}

/// Writes the picture beside its user, if there is one.
async fn set_picture(
    transaction: &mut PgConnection,
    user: &mut UserDto,
    uploader: UserId,
    picture: &Staged,
) -> Result<(), Problem> {
    if let [file] = picture.list() {
        store::files::set_picture(transaction, user.id, uploader, file).await?;
        user.profile = Some(file.clone());
    }
    Ok(())
}

async fn commit_with_picture(
    app: &App,
    transaction: Transaction<'static, Postgres>,
    user: UserId,
    picture: Staged,
) -> Result<(), Problem> {
    // Whether or not this comes back: a commit of which nobody hears may have happened.
    let ids = picture.hand_over();
    commit(app, transaction, vec![Event::user(user)]).await?;
    if !ids.is_empty() {
        app.files.tell_accepted();
    }
    Ok(())
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
    let attempt = Attempt::begin(app, &key, peer).await?;
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

/// A login that counts as a failure until it has succeeded: counted before the password is looked at, so that guesses made
/// at once count like guesses made in turn.
struct Attempt {
    redis: ConnectionManager,
    counter: String,
}

impl Attempt {
    async fn begin(app: &App, username_key: &str, peer: IpAddr) -> Result<Self, Problem> {
        let name: String = username_key.chars().take(50).collect();
        let counter = format!("ratelimit:login:{name}@{peer}");
        let mut redis = app.redis.clone();
        let within = FAILURES_WITHIN.as_secs();
        let (attempts, seconds): (u32, i64) = redis::pipe()
            .incr(&counter, 1)
            .cmd("EXPIRE")
            .arg(&counter)
            .arg(within)
            .arg("NX")
            .ignore()
            .ttl(&counter)
            .query_async(&mut redis)
            .await?;
        if attempts > app.config.login_failures {
            let retry_after = Duration::from_secs(u64::try_from(seconds).unwrap_or(within));
            return Err(Problem::TooMany { retry_after });
        }
        Ok(Self { redis, counter })
    }

    async fn succeeded(mut self) -> Result<(), Problem> {
        let within = FAILURES_WITHIN.as_secs();
        // The counter may have gone meanwhile: what is made then goes too.
        Ok(redis::pipe()
            .decr(&self.counter, 1)
            .ignore()
            .cmd("EXPIRE")
            .arg(&self.counter)
            .arg(within)
            .arg("NX")
            .ignore()
            .query_async(&mut self.redis)
            .await?)
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
        .holder(token)
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
    if let Some((user, session)) = app.sessions.holder(token).await? {
        app.sessions.revoke(user, session).await?;
        announce_revoked(app, user, session);
    }
    Ok(())
}

fn announce_revoked(app: &App, user_id: UserId, session_id: SessionId) {
    let control = Control::SessionRevoked {
        user_id,
        session_id,
    };
    // This node's sockets are cut even while Kafka is away.
    app.obey(&control);
    app.outbox.announce(&Event::control(&control), None);
}

/// Who calls with that access token, its session alive.
///
/// # Errors
/// [`Problem::Unauthenticated`], or [`Problem::Unavailable`] without Redis.
pub async fn caller(app: &App, token: &str) -> Result<Caller, Problem> {
    let caller = app
        .tokens
        .check(token)
        .map_err(|_: Refused| Problem::Unauthenticated)?;
    if app.sessions.user(caller.session).await? == Some(caller.id) {
        Ok(caller)
    } else {
        Err(Problem::Unauthenticated)
    }
}

/// Gives a user another role, tells them, and ends their sessions, since their tokens say the old one.
///
/// # Errors
/// Not found, or a store's.
pub async fn set_role(app: &App, id: UserId, role: Role) -> Result<UserDto, Problem> {
    let mut transaction = app.db.begin().await?;
    let before = store::users::lock_role(&mut transaction, id).await?;
    let user = store::users::set_role(&mut transaction, id, role).await?;
    // Given the role they have, they hear nothing: so an administrator may repeat a request that got no answer.
    let told = if before == role {
        Vec::new()
    } else {
        let notification = store::notifications::New {
            receiver: id,
            kind: NotificationKind::RoleChanged,
            cause: Uuid::now_v7(),
            title: "Your role has changed".to_owned(),
            content: format!("{} → {}", before.name(), role.name()),
            target: Some(id.0),
        };
        store::notifications::insert(&mut transaction, &[notification]).await?
    };
    revoke_all_and_commit(app, transaction, id, vec![Event::user(id)]).await?;
    app.outbox.publish(told);
    Ok(user)
}

/// Deletes an account. Its messages stay, without an author; a private channel that nobody else is in goes with it, since
/// nobody could see it any more.
///
/// # Errors
/// Not found, or a store's.
pub async fn delete(app: &App, id: UserId) -> Result<(), Problem> {
    let mut transaction = app.db.begin().await?;
    // First, so that nobody takes them into another channel meanwhile.
    if !store::users::lock(&mut transaction, id).await? {
        return Err(Problem::NotFound(Missing::User(id)));
    }
    let channels = store::channels::private_of(&mut transaction, id).await?;
    let mut events = vec![Event::user(id)];
    for (channel, participants) in &channels {
        let others = participants.iter().filter(|other| **other != id);
        events.extend(others.map(|other| Event::private_channel(*channel, *other)));
    }
    store::users::delete(&mut transaction, id).await?;
    // Whether anybody is left in them is seen after the commit: the others may be deleting their accounts just now.
    let channels: Vec<Uuid> = channels.into_iter().map(|(channel, _)| channel.0).collect();
    remains::add(&mut transaction, remains::Kind::Channel, &channels).await?;
    revoke_all_and_commit(app, transaction, id, events).await
}

/// Ends every session of a user whose row this transaction has changed.
async fn revoke_all_and_commit(
    app: &App,
    transaction: Transaction<'static, Postgres>,
    user_id: UserId,
    mut events: Vec<Event>,
) -> Result<(), Problem> {
    // Before the commit: without Redis nothing happens at all, rather than half of it.
    app.sessions.revoke_all(user_id, None).await?;
    let control = Control::UserRevoked { user_id };
    events.push(Event::control(&control));
    commit(app, transaction, events).await?;
    // And again: somebody may have signed in between, with what the row said before.
    match app.sessions.revoke_all(user_id, None).await {
        Ok(late) => {
            for session in late {
                announce_revoked(app, user_id, session);
            }
        }
        Err(error) => {
            warn!(user.id = %user_id, error = %chain(&error), "sessions opened while the account changed may live on");
        }
    }
    app.obey(&control);
    Ok(())
}

/// What is to change of an account; `None` leaves unchanged.
pub struct Changed {
    /// New name.
    pub username: Option<Username>,
    /// New address.
    pub email: Option<Email>,
    /// New password.
    pub password: Option<NewPassword>,
    /// New profile picture: one file, or none.
    pub picture: Staged,
}

/// Changes an account. A new password ends the user's other sessions.
///
/// # Errors
/// Not found, a taken name or address, or a store's.
pub async fn update(
    app: &App,
    id: UserId,
    caller: &Caller,
    changed: Changed,
) -> Result<UserDto, Problem> {
    let Changed {
        username,
        email,
        password,
        picture,
    } = changed;
    let password_hash = match &password {
        Some(password) => Some(app.passwords.hash(password.secret().clone()).await?),
        None => None,
    };
    let mut transaction = app.db.begin().await?;
    let mut user = store::users::update(
        &mut transaction,
        id,
        &Changes {
            username,
            email,
            password_hash,
        },
    )
    .await?;
    set_picture(&mut transaction, &mut user, caller.id, &picture).await?;
    let mut ended = match &password {
        Some(_) => app.sessions.revoke_all(id, Some(caller.session)).await?,
        None => Vec::new(),
    };
    commit_with_picture(app, transaction, id, picture).await?;
    if password.is_some() {
        // And again: somebody may have signed in between, with the old password.
        match app.sessions.revoke_all(id, Some(caller.session)).await {
            Ok(late) => ended.extend(late),
            Err(error) => {
                warn!(user.id = %id, error = %chain(&error), "sessions opened while the password changed may live on");
            }
        }
    }
    for session in ended {
        announce_revoked(app, id, session);
    }
    Ok(user)
}

/// Creates the configured admin account if its name does not exist.
///
/// # Errors
/// An invalid name, address or password in the settings, or a store's.
pub async fn ensure_admin(app: &App, admin: &Admin) -> Result<(), Problem> {
    let mut fields = Fields::new();
    let username = fields.take("ADMIN_USERNAME", Username::parse(&admin.username));
    let email = fields.take("ADMIN_EMAIL", Email::parse(&admin.email));
    let password = fields.take(
        "ADMIN_PASSWORD",
        NewPassword::parse(admin.password.expose()),
    );
    fields.done()?;
    let (Some(username), Some(email), Some(password)) = (username, email, password) else {
        return Ok(());
    };
    if store::users::credentials(&app.db, &username.key())
        .await?
        .is_some()
    {
        return Ok(());
    }
    let hash = app.passwords.hash(password.secret().clone()).await?;
    let mut transaction = app.db.begin().await?;
    match store::users::insert(&mut transaction, &username, &email, &hash, Role::Admin).await {
        Ok(user) => {
            commit(app, transaction, vec![Event::user(user.id)]).await?;
            info!(user.id = %user.id, "created the admin account");
            Ok(())
        }
        // Another node that starts at the same time was first.
        Err(Problem::UsernameTaken) => Ok(()),
        Err(problem) => Err(problem),
    }
}
