//! Accounts: sign-up, changes, roles and deletion.

use std::{
    net::{IpAddr, Ipv4Addr},
    time::Duration,
};

use time::OffsetDateTime;
use tracing::{error, info, warn};
use uuid::Uuid;

use crate::{
    app::App,
    auth::{sessions::EndReason, tokens::Caller},
    blobs::upload::Staged,
    config::Admin,
    crash::Point,
    ids::UserId,
    model::{
        Control, Email, Event, Field, FirstAdmin, NewPassword, NotificationKind, Role, User,
        Username, Validate, text,
    },
    ops::commit,
    problem::{Problem, Resource, chain},
    rate_limit::client_network::ClientNetwork,
    secret::Secret,
    store::{self, Transaction, purge, users::Changes},
    telemetry::AUDIT,
};

use super::session;

/// Creates an account with the role USER.
///
/// # Errors
/// [`Problem::UsernameTaken`], [`Problem::EmailTaken`], [`Problem::TooMany`] after many sign-ups from this address, or a store
/// fails.
pub async fn sign_up(
    app: &App,
    client: IpAddr,
    username: &Username,
    email: &Email,
    password: &NewPassword,
    picture: Staged,
) -> Result<User, Problem> {
    check_reserved(app, Some(username), Some(email))?;
    let network = ClientNetwork::of(client);
    app.attempts.sign_up(network).await?;
    let hash = app
        .passwords
        .hash(network, password.secret().clone())
        .await?;
    let mut transaction = app.db.begin().await?;
    let mut user =
        store::users::insert(&mut transaction, username, email, &hash, Role::User).await?;
    let uploader = user.id;
    set_picture(&mut transaction, &mut user, uploader, &picture).await?;
    commit_with_picture(app, transaction, user.id, picture).await?;
    info!(target: AUDIT, { user.id = %user.id, %client }, "account created");
    Ok(user)
}

/// Refuses the name and the address of the first administrator.
fn check_reserved(
    app: &App,
    username: Option<&Username>,
    email: Option<&Email>,
) -> Result<(), Problem> {
    let Some(admin) = &app.admin else {
        return Ok(());
    };
    let same_name = |username: &Username| {
        username.key() == admin.username.key() || username.look() == admin.username.look()
    };
    if username.is_some_and(same_name) {
        return Err(Problem::UsernameTaken);
    }
    if email.is_some_and(|email| email.key() == admin.email.key()) {
        return Err(Problem::EmailTaken);
    }
    Ok(())
}

/// Refuses the name and the address of the first administrator to a user who is no administrator and does not have them already.
async fn check_reserved_from(
    app: &App,
    id: UserId,
    username: Option<&Username>,
    email: Option<&Email>,
) -> Result<(), Problem> {
    if check_reserved(app, username, email).is_ok() {
        return Ok(());
    }
    let user = store::users::find(&app.db, id)
        .await?
        .ok_or(Problem::NotFound(Resource::User(id)))?;
    if user.role == Role::Admin {
        return Ok(());
    }
    check_reserved(
        app,
        username.filter(|username| username.key() != text::name_key(&user.username)),
        email.filter(|email| email.key() != text::fold_case(&user.email)),
    )
}

/// Inserts the user's picture, if the request has one.
async fn set_picture(
    transaction: &mut Transaction,
    user: &mut User,
    uploader: UserId,
    picture: &Staged,
) -> Result<(), Problem> {
    if let [file] = picture.list() {
        store::files::set_picture(transaction, user.id, uploader, file).await?;
        user.profile = Some(file.clone());
    }
    Ok(())
}

/// Removes a user's picture, if there is one.
///
/// # Errors
/// Not found, or a store fails.
pub async fn remove_picture(app: &App, caller: &Caller, id: UserId) -> Result<(), Problem> {
    let found = store::users::find(&app.db, id).await?;
    found.ok_or(Problem::NotFound(Resource::User(id)))?;
    let mut transaction = app.db.begin().await?;
    if store::files::remove_picture(&mut transaction, id).await? {
        commit(app, transaction, vec![Event::user(id)]).await?;
        info!(target: AUDIT, { user.id = %id, by.id = %caller.id }, "picture removed");
    }
    Ok(())
}

async fn commit_with_picture(
    app: &App,
    transaction: Transaction,
    user: UserId,
    picture: Staged,
) -> Result<(), Problem> {
    // Before the commit: when it fails or is cancelled, PostgreSQL may have committed, and then the file must stay.
    let ids = picture.release_to_commit();
    commit(app, transaction, vec![Event::user(user)]).await?;
    if !ids.is_empty() {
        app.blobs.notify_accepted();
    }
    Ok(())
}

/// Changes a user's role and notifies the user.
///
/// Revokes the user's sessions, because their tokens carry the old role.
///
/// # Errors
/// Not found, [`Problem::LastAdmin`], or a store fails.
pub async fn set_role(app: &App, by: &Caller, id: UserId, role: Role) -> Result<User, Problem> {
    let mut transaction = app.db.begin().await?;
    let locked = store::users::lock_role(&mut transaction, id).await?;
    if locked.is_last_admin && role != Role::Admin {
        return Err(Problem::LastAdmin);
    }
    let before = locked.role;
    let user = store::users::set_role(&mut transaction, id, role).await?;
    // The same role again notifies nobody, so an administrator can repeat a request that got no answer.
    let notifications = if before == role {
        Vec::new()
    } else {
        let notification = store::notifications::NewNotification {
            receiver: id,
            kind: NotificationKind::RoleChanged,
            cause: Uuid::now_v7(),
            title: "Your role has changed".to_owned(),
            content: format!("{} → {}", before.name(), role.name()),
            target: Some(id.0),
            reason: None,
        };
        store::notifications::insert(&mut transaction, &[notification]).await?
    };
    let reason = EndReason::RoleChanged { role };
    revoke_all_and_commit(app, transaction, id, vec![Event::user(id)], reason).await?;
    app.outbox.publish(notifications);
    info!(
        target: AUDIT,
        { user.id = %id, by.id = %by.id, from = before.name(), to = role.name() },
        "role changed"
    );
    Ok(user)
}

/// Deletes an account.
///
/// Its messages stay, without an author. A private channel without other participants is deleted, because it is visible to no user.
///
/// # Errors
/// Not found, [`Problem::LastAdmin`], or a store fails.
pub async fn delete(app: &App, by: &Caller, id: UserId) -> Result<(), Problem> {
    let mut transaction = app.db.begin().await?;
    if store::users::lock_role(&mut transaction, id)
        .await?
        .is_last_admin
    {
        return Err(Problem::LastAdmin);
    }
    // Before the rest, so that no other transaction adds the user to a channel meanwhile.
    store::users::lock(&mut transaction, id).await?;
    let channels = store::channels::private_of(&mut transaction, id).await?;
    let mut events = vec![Event::user(id)];
    for (channel, participants) in &channels {
        let others = participants.iter().filter(|other| **other != id);
        events.extend(others.map(|other| Event::private_channel(*channel, *other)));
    }
    store::users::delete(&mut transaction, id).await?;
    // The purge checks for remaining participants after the commit: they may be deleting their accounts at the same moment.
    let channels: Vec<Uuid> = channels.into_iter().map(|(channel, _)| channel.0).collect();
    purge::add(&mut transaction, purge::Kind::Channel, &channels).await?;
    revoke_all_and_commit(app, transaction, id, events, EndReason::AccountDeleted).await?;
    info!(target: AUDIT, { user.id = %id, by.id = %by.id }, "account deleted");
    Ok(())
}

/// Commits a change of a user and revokes all sessions of the user.
async fn revoke_all_and_commit(
    app: &App,
    transaction: Transaction,
    user_id: UserId,
    mut events: Vec<Event>,
    reason: EndReason,
) -> Result<(), Problem> {
    // Before the commit: without Redis, the change fails as a whole.
    let mut revoked = app.sessions.revoke_all(user_id, None, reason).await?.len();
    Point::SessionsRevoked.pass();
    let control = Control::UserRevoked { user_id };
    events.push(Event::control(&control));
    commit(app, transaction, events).await?;
    // And after it: a login in between used the row before the change.
    match app.sessions.revoke_all(user_id, None, reason).await {
        Ok(late) => {
            revoked += late.len();
            session::announce_revoked(app, user_id, &late).await;
        }
        Err(error) => {
            warn!(user.id = %user_id, error = %chain(&error), "sessions opened during an account change are not revoked");
        }
    }
    app.delivery.apply(&control);
    info!(target: AUDIT, { user.id = %user_id, sessions = revoked }, "sessions revoked");
    Ok(())
}

/// Changes of an account; `None` leaves a field unchanged.
pub struct AccountChanges {
    /// New name.
    pub username: Option<Username>,
    /// New address.
    pub email: Option<Email>,
    /// New password.
    pub password: Option<NewPassword>,
    /// The present password, which the owner needs for a new one.
    pub current_password: Option<Secret>,
    /// New profile picture: one file, or none.
    pub picture: Staged,
}

/// Time after a login in which its session needs no password to set a new one. Clients of version 3.0 never send it.
const FRESH_LOGIN: Duration = Duration::from_mins(5);

/// Checks that the caller is the owner of the account, who knows the present password or has just typed it, and not somebody who has
/// found an open session.
async fn check_owner(
    app: &App,
    caller: &Caller,
    client: IpAddr,
    password: Option<Secret>,
) -> Result<(), Problem> {
    let Some(password) = password else {
        let opened_at = app.sessions.opened_at(caller.session).await?;
        let is_fresh = opened_at.is_some_and(|at| OffsetDateTime::now_utc() - at < FRESH_LOGIN);
        return if is_fresh {
            Ok(())
        } else {
            Err(Problem::ReauthenticationRequired)
        };
    };
    let found = store::users::own_credentials(&app.db, caller.id).await?;
    let (name_key, hash) = found.ok_or(Problem::NotFound(Resource::User(caller.id)))?;
    let network = ClientNetwork::of(client);
    // Guesses count as failed logins.
    let attempt = app.attempts.login(&name_key, network).await?;
    let hash = Some(Secret::new(hash));
    match app.passwords.verify(network, password, hash).await {
        Ok(true) => attempt.succeeded().await,
        Ok(false) => {
            info!(target: AUDIT, { user.id = %caller.id, %client }, "password change refused");
            Err(Problem::invalid("currentPassword", "is wrong"))
        }
        Err(problem) => {
            // Without Redis the attempt counts until it is forgotten.
            drop(attempt.take_back().await);
            Err(problem)
        }
    }
}

/// Changes an account. A new password revokes the user's other sessions.
///
/// # Errors
/// [`Problem::ReauthenticationRequired`], a wrong present password, not found, a taken name or address, or a store fails.
pub async fn update(
    app: &App,
    caller: &Caller,
    client: IpAddr,
    id: UserId,
    changes: AccountChanges,
) -> Result<User, Problem> {
    let AccountChanges {
        username,
        email,
        password,
        current_password,
        picture,
    } = changes;
    check_reserved_from(app, id, username.as_ref(), email.as_ref()).await?;
    if password.is_some() && id == caller.id {
        check_owner(app, caller, client, current_password).await?;
    }
    let password_hash = match &password {
        Some(password) => {
            let network = ClientNetwork::of(client);
            let hash = app.passwords.hash(network, password.secret().clone());
            Some(hash.await?)
        }
        None => None,
    };
    let (new_username, new_email) = (username.is_some(), email.is_some());
    let new_picture = !picture.list().is_empty();
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
    let revoke = || {
        let kept = Some(caller.session);
        app.sessions
            .revoke_all(id, kept, EndReason::PasswordChanged)
    };
    let mut revoked = match &password {
        Some(_) => revoke().await?,
        None => Vec::new(),
    };
    commit_with_picture(app, transaction, id, picture).await?;
    let new_password = password.is_some();
    info!(
        target: AUDIT,
        { user.id = %id, by.id = %caller.id, %client, new_username, new_email, new_password, new_picture },
        "account changed"
    );
    if password.is_some() {
        // And after the commit: a login in between used the old password.
        match revoke().await {
            Ok(late) => revoked.extend(late),
            Err(error) => {
                warn!(user.id = %id, error = %chain(&error), "sessions opened during a password change are not revoked");
            }
        }
        info!(target: AUDIT, { user.id = %id, sessions = revoked.len() }, "sessions revoked");
    }
    session::announce_revoked(app, id, &revoked).await;
    Ok(user)
}

/// Validates the first administrator of the settings.
///
/// # Errors
/// A line for each invalid setting, without its value.
pub fn parse_first_admin(admin: &Admin) -> Result<FirstAdmin, String> {
    let (username, email, password) = (
        Field::new("ADMIN_USERNAME", Username::parse(&admin.username)),
        Field::new("ADMIN_EMAIL", Email::parse(&admin.email)),
        Field::new(
            "ADMIN_PASSWORD",
            NewPassword::parse(admin.password.expose()),
        ),
    )
        .validate()
        .map_err(|problem| match problem {
            Problem::Invalid(settings) => settings
                .iter()
                .map(|(name, why)| format!("{name} {}", why.as_str().unwrap_or_default()))
                .collect::<Vec<_>>()
                .join("\n"),
            other => other.to_string(),
        })?;
    Ok(FirstAdmin {
        username,
        email,
        password,
    })
}

/// Creates the first administrator, once for a database.
///
/// A renamed administrator is not created again. If another account has the name or the address, there is no administrator, and
/// the next start tries again: that is no reason to serve nobody.
///
/// # Errors
/// A store fails.
pub async fn bootstrap_admin(app: &App, admin: &FirstAdmin) -> Result<(), Problem> {
    if store::users::is_admin_bootstrapped(&app.db).await? {
        return Ok(());
    }
    let this_host = ClientNetwork::of(Ipv4Addr::LOCALHOST.into());
    let hash = app
        .passwords
        .hash(this_host, admin.password.secret().clone())
        .await?;
    let mut transaction = app.db.begin().await?;
    // Nodes that start together take turns here. The transaction rolls back when it is dropped.
    if !store::users::record_admin_bootstrap(&mut transaction).await? {
        return Ok(());
    }
    // Without the record: an administrator of an earlier version, or from the database.
    if store::users::has_admin(&mut transaction).await? {
        return Ok(transaction.commit().await?);
    }
    let (username, email) = (&admin.username, &admin.email);
    let setting =
        match store::users::insert(&mut transaction, username, email, &hash, Role::Admin).await {
            Ok(user) => {
                commit(app, transaction, vec![Event::user(user.id)]).await?;
                info!(target: AUDIT, { user.id = %user.id }, "administrator created");
                return Ok(());
            }
            Err(Problem::UsernameTaken) => "ADMIN_USERNAME",
            Err(Problem::EmailTaken) => "ADMIN_EMAIL",
            Err(problem) => return Err(problem),
        };
    error!(
        setting,
        "there is no administrator, because another account has the value of this setting; set another value and restart the \
         node, or run in PostgreSQL: update users set role = 'ADMIN' where username = '...'"
    );
    Ok(())
}
