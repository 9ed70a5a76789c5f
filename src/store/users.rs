//! Users.

use sqlx::{PgConnection, PgPool};

use super::{Constraints, OnConstraint};
use crate::{
    config::Secret,
    ids::UserId,
    model::{Email, Role, UserDto, Username},
    problem::{Missing, Problem},
};

/// What login needs.
#[derive(sqlx::FromRow)]
pub struct Credentials {
    /// The user.
    #[sqlx(flatten)]
    pub user: UserDto,
    /// The password's hash, a PHC string.
    pub password_hash: String,
}

/// Changes of a user; `None` leaves unchanged.
#[derive(Default)]
pub struct Changes {
    /// New name.
    pub username: Option<Username>,
    /// New address.
    pub email: Option<Email>,
    /// The new password's hash.
    pub password_hash: Option<Secret>,
}

const UNIQUE: &Constraints<'_> = &[
    ("users_username_unique", || Problem::UsernameTaken),
    ("users_email_unique", || Problem::EmailTaken),
];

/// Creates a user.
///
/// # Errors
/// [`Problem::UsernameTaken`], [`Problem::EmailTaken`], or the database's.
pub async fn insert(
    db: &mut PgConnection,
    username: &Username,
    email: &Email,
    hash: &Secret,
    role: Role,
) -> Result<UserDto, Problem> {
    const SQL: &str = "insert into users (id, username, username_key, email, email_key, password_hash, role) \
                       values ($1, $2, $3, $4, $5, $6, $7) returning id, username, email, role";
    sqlx::query_as(SQL)
        .bind(UserId::new())
        .bind(username.as_str())
        .bind(username.key())
        .bind(email.as_str())
        .bind(email.key())
        .bind(hash.expose())
        .bind(role)
        .fetch_one(db)
        .await
        .on_constraint(UNIQUE)
}

/// Changes a user.
///
/// # Errors
/// Not found, a taken name or address, or the database's.
pub async fn update(
    db: &mut PgConnection,
    id: UserId,
    changes: &Changes,
) -> Result<UserDto, Problem> {
    const SQL: &str = "update users set username = coalesce($2, username), username_key = coalesce($3, username_key), \
                       email = coalesce($4, email), email_key = coalesce($5, email_key), \
                       password_hash = coalesce($6, password_hash) where id = $1 returning id, username, email, role";
    sqlx::query_as(SQL)
        .bind(id)
        .bind(changes.username.as_ref().map(Username::as_str))
        .bind(changes.username.as_ref().map(Username::key))
        .bind(changes.email.as_ref().map(Email::as_str))
        .bind(changes.email.as_ref().map(Email::key))
        .bind(changes.password_hash.as_ref().map(Secret::expose))
        .fetch_optional(db)
        .await
        .on_constraint(UNIQUE)?
        .ok_or(Problem::NotFound(Missing::User(id)))
}

/// A user's role, locked until the transaction ends.
///
/// # Errors
/// Not found, or the database's.
pub async fn lock_role(db: &mut PgConnection, id: UserId) -> Result<Role, Problem> {
    sqlx::query_scalar("select role from users where id = $1 for no key update")
        .bind(id)
        .fetch_optional(db)
        .await?
        .ok_or(Problem::NotFound(Missing::User(id)))
}

/// Gives a user another role.
///
/// # Errors
/// Not found, or the database's.
pub async fn set_role(db: &mut PgConnection, id: UserId, role: Role) -> Result<UserDto, Problem> {
    sqlx::query_as("update users set role = $2 where id = $1 returning id, username, email, role")
        .bind(id)
        .bind(role)
        .fetch_optional(db)
        .await?
        .ok_or(Problem::NotFound(Missing::User(id)))
}

/// Deletes a user; their messages stay without an author. False if there is none.
///
/// # Errors
/// The database's.
pub async fn delete(db: &mut PgConnection, id: UserId) -> Result<bool, Problem> {
    Ok(sqlx::query("delete from users where id = $1")
        .bind(id)
        .execute(db)
        .await?
        .rows_affected()
        > 0)
}

/// Every user, by creation time.
///
/// # Errors
/// The database's.
pub async fn all(db: &PgPool) -> Result<Vec<UserDto>, Problem> {
    Ok(
        sqlx::query_as("select id, username, email, role from users order by created_at, id")
            .fetch_all(db)
            .await?,
    )
}

/// One user.
///
/// # Errors
/// The database's.
pub async fn find(db: &PgPool, id: UserId) -> Result<Option<UserDto>, Problem> {
    Ok(
        sqlx::query_as("select id, username, email, role from users where id = $1")
            .bind(id)
            .fetch_optional(db)
            .await?,
    )
}

/// The user of that name, in any case, with the password's hash.
///
/// # Errors
/// The database's.
pub async fn credentials(db: &PgPool, username_key: &str) -> Result<Option<Credentials>, Problem> {
    let sql = "select id, username, email, role, password_hash from users where username_key = $1";
    Ok(sqlx::query_as(sql)
        .bind(username_key)
        .fetch_optional(db)
        .await?)
}
