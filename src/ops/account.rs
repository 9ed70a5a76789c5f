//! Accounts: sign-up, changes, roles and deletion.

use sqlx::{PgConnection, Postgres, Transaction};
use tracing::{info, warn};
use uuid::Uuid;

use crate::{
    app::App,
    auth::tokens::Caller,
    blobs::upload::Staged,
    config::Admin,
    ids::UserId,
    model::{
        Control, Email, Event, Field, NewPassword, NotificationKind, Role, User, Username, Validate,
    },
    ops::commit,
    problem::{Problem, Resource, chain},
    store::{self, purge, users::Changes},
};

use super::session;

/// Creates an account with the role USER.
///
/// # Errors
/// [`Problem::UsernameTaken`], [`Problem::EmailTaken`], or a store fails.
pub async fn sign_up(
    app: &App,
    username: &Username,
    email: &Email,
    password: &NewPassword,
    picture: Staged,
) -> Result<User, Problem> {
    let hash = app.passwords.hash(password.secret().clone()).await?;
    let mut transaction = store::begin(&app.db).await?;
    let mut user =
        store::users::insert(&mut transaction, username, email, &hash, Role::User).await?;
    let uploader = user.id;
    set_picture(&mut transaction, &mut user, uploader, &picture).await?;
    commit_with_picture(app, transaction, user.id, picture).await?;
    Ok(user)
}

/// Inserts the user's picture, if the request has one.
async fn set_picture(
    transaction: &mut PgConnection,
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

async fn commit_with_picture(
    app: &App,
    transaction: Transaction<'static, Postgres>,
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
/// Not found, or a store fails.
pub async fn set_role(app: &App, id: UserId, role: Role) -> Result<User, Problem> {
    let mut transaction = store::begin(&app.db).await?;
    let before = store::users::lock_role(&mut transaction, id).await?;
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
        };
        store::notifications::insert(&mut transaction, &[notification]).await?
    };
    revoke_all_and_commit(app, transaction, id, vec![Event::user(id)]).await?;
    app.outbox.publish(notifications);
    Ok(user)
}

/// Deletes an account.
///
/// Its messages stay, without an author. A private channel without other participants is deleted, because it is visible to no user.
///
/// # Errors
/// Not found, or a store fails.
pub async fn delete(app: &App, id: UserId) -> Result<(), Problem> {
    let mut transaction = store::begin(&app.db).await?;
    // First, so that no other transaction adds the user to a channel meanwhile.
    if !store::users::lock(&mut transaction, id).await? {
        return Err(Problem::NotFound(Resource::User(id)));
    }
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
    revoke_all_and_commit(app, transaction, id, events).await
}

/// Commits a change of a user and revokes all sessions of the user.
async fn revoke_all_and_commit(
    app: &App,
    transaction: Transaction<'static, Postgres>,
    user_id: UserId,
    mut events: Vec<Event>,
) -> Result<(), Problem> {
    // Before the commit: without Redis, the change fails as a whole.
    app.sessions.revoke_all(user_id, None).await?;
    let control = Control::UserRevoked { user_id };
    events.push(Event::control(&control));
    commit(app, transaction, events).await?;
    // And after it: a login in between used the row before the change.
    match app.sessions.revoke_all(user_id, None).await {
        Ok(late) => {
            for session in late {
                session::announce_revoked(app, user_id, session);
            }
        }
        Err(error) => {
            warn!(user.id = %user_id, error = %chain(&error), "sessions opened during an account change are not revoked");
        }
    }
    app.delivery.apply(&control);
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
    /// New profile picture: one file, or none.
    pub picture: Staged,
}

/// Changes an account. A new password revokes the user's other sessions.
///
/// # Errors
/// Not found, a taken name or address, or a store fails.
pub async fn update(
    app: &App,
    id: UserId,
    caller: &Caller,
    changes: AccountChanges,
) -> Result<User, Problem> {
    let AccountChanges {
        username,
        email,
        password,
        picture,
    } = changes;
    let password_hash = match &password {
        Some(password) => Some(app.passwords.hash(password.secret().clone()).await?),
        None => None,
    };
    let mut transaction = store::begin(&app.db).await?;
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
    let mut revoked = match &password {
        Some(_) => app.sessions.revoke_all(id, Some(caller.session)).await?,
        None => Vec::new(),
    };
    commit_with_picture(app, transaction, id, picture).await?;
    if password.is_some() {
        // And after the commit: a login in between used the old password.
        match app.sessions.revoke_all(id, Some(caller.session)).await {
            Ok(late) => revoked.extend(late),
            Err(error) => {
                warn!(user.id = %id, error = %chain(&error), "sessions opened during a password change are not revoked");
            }
        }
    }
    for session in revoked {
        session::announce_revoked(app, id, session);
    }
    Ok(user)
}

/// Creates the configured admin account unless its name exists.
///
/// # Errors
/// An invalid name, address or password in the settings, or a store fails.
pub async fn ensure_admin(app: &App, admin: &Admin) -> Result<(), Problem> {
    let (username, email, password) = (
        Field::new("ADMIN_USERNAME", Username::parse(&admin.username)),
        Field::new("ADMIN_EMAIL", Email::parse(&admin.email)),
        Field::new(
            "ADMIN_PASSWORD",
            NewPassword::parse(admin.password.expose()),
        ),
    )
        .validate()?;
    if store::users::credentials(&app.db, &[username.key()])
        .await?
        .is_some()
    {
        return Ok(());
    }
    let hash = app.passwords.hash(password.secret().clone()).await?;
    let mut transaction = store::begin(&app.db).await?;
    match store::users::insert(&mut transaction, &username, &email, &hash, Role::Admin).await {
        Ok(user) => {
            commit(app, transaction, vec![Event::user(user.id)]).await?;
            info!(user.id = %user.id, "created the admin account");
            Ok(())
        }
        // Another node that starts at the same time has created it.
        Err(Problem::UsernameTaken) => Ok(()),
        Err(problem) => Err(problem),
    }
}
