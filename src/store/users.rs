//! Users.

use sqlx::{PgConnection, Row, postgres::PgRow};
use time::OffsetDateTime;
use tracing::warn;
use uuid::Uuid;

use crate::{
    ids::{FileId, UserId},
    model::{BinaryContent, Email, Role, User, Username, text},
    problem::{Problem, Resource},
    secret::Secret,
    store::{Constraints, CreationKey, Db, OnConstraint, Transaction, purge},
};

/// The columns of a [`User`], from the table with the alias `u` joined with [`picture`].
macro_rules! columns {
    () => {
        concat!(
            "u.id as user_id, u.username, u.email, u.role, ",
            crate::store::files::columns!()
        )
    };
}

pub(super) use columns;

/// The join with the profile picture of `u`.
macro_rules! picture {
    () => {
        " left join binary_contents f on f.picture_of = u.id "
    };
}

pub(super) use picture;

impl sqlx::FromRow<'_, PgRow> for User {
    fn from_row(row: &PgRow) -> Result<Self, sqlx::Error> {
        let profile = match row.try_get::<Option<FileId>, _>("file_id")? {
            Some(_) => Some(BinaryContent::from_row(row)?),
            None => None,
        };
        Ok(Self {
            id: row.try_get("user_id")?,
            username: row.try_get("username")?,
            email: row.try_get("email")?,
            profile,
            online: None,
            role: row.try_get("role")?,
        })
    }
}

/// A user with the password's hash, for login.
#[derive(sqlx::FromRow)]
pub struct Credentials {
    /// The user.
    #[sqlx(flatten)]
    pub user: User,
    /// The password's hash, a PHC string.
    pub password_hash: String,
}

/// Changes of a user; `None` leaves a field unchanged.
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
    ("users_username_look_unique", || Problem::UsernameTaken),
    ("users_email_unique", || Problem::EmailTaken),
];

/// Creates a user.
///
/// # Errors
/// [`Problem::UsernameTaken`], [`Problem::EmailTaken`], or PostgreSQL fails.
pub async fn insert(
    db: &mut Transaction,
    username: &Username,
    email: &Email,
    hash: &Secret,
    role: Role,
) -> Result<User, Problem> {
    const SQL: &str = concat!(
        "with u as (insert into users (id, username, username_key, username_look, email, email_key, password_hash, role) \
         values ($1, $2, $3, $4, $5, $6, $7, $8) returning id, username, email, role) select ",
        columns!(),
        " from u",
        picture!()
    );
    sqlx::query_as(SQL)
        .bind(UserId::new())
        .bind(username.as_str())
        .bind(username.key())
        .bind(username.look())
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
/// Not found, a taken name or address, or PostgreSQL fails.
pub async fn update(db: &mut Transaction, id: UserId, changes: &Changes) -> Result<User, Problem> {
    const SQL: &str = concat!(
        "with u as (update users set username = coalesce($2, username), username_key = coalesce($3, username_key), \
         username_look = case when $3 is null then username_look else $4 end, \
         email = coalesce($5, email), email_key = coalesce($6, email_key), \
         password_hash = coalesce($7, password_hash) where id = $1 returning id, username, email, role) select ",
        columns!(),
        " from u",
        picture!()
    );
    sqlx::query_as(SQL)
        .bind(id)
        .bind(changes.username.as_ref().map(Username::as_str))
        .bind(changes.username.as_ref().map(Username::key))
        .bind(changes.username.as_ref().map(Username::look))
        .bind(changes.email.as_ref().map(Email::as_str))
        .bind(changes.email.as_ref().map(Email::key))
        .bind(changes.password_hash.as_ref().map(Secret::expose))
        .fetch_optional(db)
        .await
        .on_constraint(UNIQUE)?
        .ok_or(Problem::NotFound(Resource::User(id)))
}

/// A user's role, locked with the rows of all administrators until the transaction ends.
pub struct LockedRole {
    /// The user's role.
    pub role: Role,
    /// Whether the user is the only administrator.
    pub is_last_admin: bool,
}

/// Locks a user's row and those of all administrators until the transaction ends, and returns the role.
///
/// So of two administrators who demote each other at the same time, one comes second and is refused.
///
/// # Errors
/// Not found, or PostgreSQL fails.
pub async fn lock_role(db: &mut Transaction, id: UserId) -> Result<LockedRole, Problem> {
    // In one order for all transactions: otherwise they could wait for each other.
    let locked: Vec<(UserId, Role)> = sqlx::query_as(
        "select id, role from users where id = $1 or role = 'ADMIN' order by id for no key update",
    )
    .bind(id)
    .fetch_all(db)
    .await?;
    let (_, role) = locked
        .iter()
        .find(|(user, _)| *user == id)
        .ok_or(Problem::NotFound(Resource::User(id)))?;
    Ok(LockedRole {
        role: *role,
        is_last_admin: *role == Role::Admin && locked.len() == 1,
    })
}

/// Whether the first administrator is recorded as created.
///
/// # Errors
/// PostgreSQL fails.
pub async fn is_admin_bootstrapped(db: &Db) -> Result<bool, Problem> {
    Ok(
        sqlx::query_scalar("select exists (select from admin_bootstrap)")
            .fetch_one(db)
            .await?,
    )
}

/// Records the first administrator as created. False if that is recorded already.
///
/// Waits for a concurrent transaction that records it.
///
/// # Errors
/// PostgreSQL fails.
pub async fn record_admin_bootstrap(db: &mut Transaction) -> Result<bool, Problem> {
    let inserted = sqlx::query("insert into admin_bootstrap default values on conflict do nothing")
        .execute(db)
        .await?;
    Ok(inserted.rows_affected() > 0)
}

/// Whether there is an administrator.
///
/// # Errors
/// PostgreSQL fails.
pub async fn has_admin(db: &mut Transaction) -> Result<bool, Problem> {
    Ok(
        sqlx::query_scalar("select exists (select from users where role = 'ADMIN')")
            .fetch_one(db)
            .await?,
    )
}

/// Changes a user's role.
///
/// # Errors
/// Not found, or PostgreSQL fails.
pub async fn set_role(db: &mut Transaction, id: UserId, role: Role) -> Result<User, Problem> {
    const SQL: &str = concat!(
        "with u as (update users set role = $2 where id = $1 returning id, username, email, role) select ",
        columns!(),
        " from u",
        picture!()
    );
    sqlx::query_as(SQL)
        .bind(id)
        .bind(role)
        .fetch_optional(db)
        .await?
        .ok_or(Problem::NotFound(Resource::User(id)))
}

/// Locks a user's row until the transaction ends.
///
/// Until then, no transaction inserts a row that refers to it.
///
/// # Errors
/// PostgreSQL fails.
pub async fn lock(db: &mut Transaction, id: UserId) -> Result<(), Problem> {
    sqlx::query("select 1 from users where id = $1 for update")
        .bind(id)
        .execute(db)
        .await?;
    Ok(())
}

/// Deletes a user's row; queries then show the user's messages without an author.
///
/// [`super::purge`] cleans up later.
///
/// # Errors
/// PostgreSQL fails.
pub async fn delete(db: &mut Transaction, id: UserId) -> Result<(), Problem> {
    sqlx::query("delete from users where id = $1")
        .bind(id)
        .execute(&mut *db)
        .await?;
    purge::add(db, purge::Kind::User, &[id.0]).await
}

/// The users by creation time, after the user at `after` and at most `limit`.
///
/// # Errors
/// PostgreSQL fails.
pub async fn list(
    db: &Db,
    after: Option<CreationKey>,
    limit: i64,
) -> Result<Vec<(CreationKey, User)>, Problem> {
    const SQL: &str = concat!(
        "select u.created_at, ",
        columns!(),
        " from users u",
        picture!(),
        "where (u.created_at, u.id) > ($1, $2) order by u.created_at, u.id limit $3"
    );
    #[derive(sqlx::FromRow)]
    struct Created {
        created_at: OffsetDateTime,
        #[sqlx(flatten)]
        user: User,
    }
    let CreationKey { at, id } = after.unwrap_or(CreationKey::FIRST);
    let users: Vec<Created> = sqlx::query_as(SQL)
        .bind(at)
        .bind(id)
        .bind(limit)
        .fetch_all(db)
        .await?;
    let row = |Created {
                   created_at: at,
                   user,
               }| (CreationKey { at, id: user.id.0 }, user);
    Ok(users.into_iter().map(row).collect())
}

/// One user.
///
/// # Errors
/// PostgreSQL fails.
pub async fn find(db: &Db, id: UserId) -> Result<Option<User>, Problem> {
    const SQL: &str = concat!(
        "select ",
        columns!(),
        " from users u",
        picture!(),
        "where u.id = $1"
    );
    Ok(sqlx::query_as(SQL).bind(id).fetch_optional(db).await?)
}

/// The users with these ids.
///
/// # Errors
/// PostgreSQL fails.
pub async fn with_ids(db: &Db, ids: &[UserId]) -> Result<Vec<User>, Problem> {
    const SQL: &str = concat!(
        "select ",
        columns!(),
        " from users u",
        picture!(),
        "where u.id = any($1)"
    );
    Ok(sqlx::query_as(SQL).bind(ids).fetch_all(db).await?)
}

/// The users whose name begins with the text, by name, at most `limit`.
///
/// # Errors
/// PostgreSQL fails.
pub async fn with_prefix(db: &Db, text: &str, limit: i64) -> Result<Vec<User>, Problem> {
    const SQL: &str = concat!(
        "select ",
        columns!(),
        " from users u",
        picture!(),
        "where u.username_key like $1 order by u.username_key limit $2"
    );
    let mut pattern = String::new();
    for c in text::name_key(text).chars() {
        if matches!(c, '%' | '_' | '\\') {
            pattern.push('\\');
        }
        pattern.push(c);
    }
    pattern.push('%');
    Ok(sqlx::query_as(SQL)
        .bind(pattern)
        .bind(limit)
        .fetch_all(db)
        .await?)
}

/// The user with the first of these keys that a user has, and the password's hash.
///
/// # Errors
/// PostgreSQL fails.
pub async fn credentials(db: &Db, keys: &[String]) -> Result<Option<Credentials>, Problem> {
    const SQL: &str = concat!(
        "select ",
        columns!(),
        ", u.password_hash from users u",
        picture!(),
        "where u.username_key = any($1) order by array_position($1, u.username_key) limit 1"
    );
    Ok(sqlx::query_as(SQL).bind(keys).fetch_optional(db).await?)
}

/// The key of a user's name and the password's hash.
///
/// # Errors
/// PostgreSQL fails.
pub async fn own_credentials(db: &Db, id: UserId) -> Result<Option<(String, String)>, Problem> {
    const SQL: &str = "select username_key, password_hash from users where id = $1";
    Ok(sqlx::query_as(SQL).bind(id).fetch_optional(db).await?)
}

/// Users read at once by [`update_keys`].
const KEYS_BATCH: i64 = 1_000;

/// Brings the keys of existing names up to date.
///
/// Nodes of an earlier version store other keys, and a later version of Unicode may change them. Of two names with the same key,
/// which an earlier version accepted, the later one keeps the key that it has, or has none, until the key is free.
///
/// # Errors
/// PostgreSQL fails.
pub(super) async fn update_keys(db: &mut PgConnection) -> Result<(), sqlx::Error> {
    // Both keys of an ASCII name are equal, so that most rows need not be read.
    const SQL: &str = "select id, username, username_key, username_look from users where id > $1 \
        and (username_look is distinct from username_key or octet_length(username) <> char_length(username)) \
        order by id limit $2";
    type Row = (Uuid, String, String, Option<String>);
    let (mut last, mut shared) = (Uuid::nil(), 0);
    loop {
        let rows: Vec<Row> = sqlx::query_as(SQL)
            .bind(last)
            .bind(KEYS_BATCH)
            .fetch_all(&mut *db)
            .await?;
        for (id, name, key, look) in &rows {
            last = *id;
            let (new_key, new_look) = (text::name_key(name), text::name_look(name));
            if *key == new_key && look.as_ref() == Some(&new_look) {
                continue;
            }
            let choices = [(&new_key, Some(&new_look)), (&new_key, None), (key, None)];
            for choice in choices {
                if set_keys(db, *id, name, choice).await? {
                    shared += i32::from(choice.1.is_none());
                    break;
                }
            }
        }
        if rows.is_empty() {
            break;
        }
    }
    if shared > 0 {
        warn!(users = shared, "some names look like other names");
    }
    Ok(())
}

/// Sets the keys of a name. False if another user has one of them.
async fn set_keys(
    db: &mut PgConnection,
    id: Uuid,
    name: &str,
    (key, look): (&String, Option<&String>),
) -> Result<bool, sqlx::Error> {
    const SQL: &str = "update users set username_key = $3, username_look = $4 where id = $1 and username = $2 \
        and not exists (select from users other where other.id <> $1 and (other.username_key = $3 or other.username_look = $4))";
    // The user may be gone or have another name since; then its keys are new.
    let result = sqlx::query(SQL)
        .bind(id)
        .bind(name)
        .bind(key)
        .bind(look)
        .execute(db)
        .await;
    match result {
        Ok(done) => Ok(done.rows_affected() > 0),
        // Another transaction has committed the key meanwhile.
        Err(sqlx::Error::Database(error)) if error.is_unique_violation() => Ok(false),
        Err(error) => Err(error),
    }
}
