//! What deleted channels, accounts and messages have left behind. Their own row goes in the transaction of the deletion, and
//! with it everything of theirs is out of sight; the rest, however much it is, goes in batches afterwards.

use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

use crate::{
    ids::{ChannelId, MessageId, UserId},
    problem::Problem,
};

/// Whose remains they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, sqlx::Type)]
#[sqlx(rename_all = "SCREAMING_SNAKE_CASE", type_name = "text")]
pub enum Kind {
    /// A channel that is gone, or a private one that its last participant may have left by deleting their account.
    Channel,
    /// An account that is gone.
    User,
    /// A message that is gone and had been notified to many.
    Message,
}

/// Notes, in the transaction of a deletion, what is to be cleared after it.
///
/// # Errors
/// The database's.
pub async fn add(db: &mut PgConnection, kind: Kind, ids: &[Uuid]) -> Result<(), Problem> {
    if ids.is_empty() {
        return Ok(());
    }
    sqlx::query("insert into pending_deletions (kind, id) select $1, unnest($2::uuid[])")
        .bind(kind)
        .bind(ids)
        .execute(db)
        .await?;
    Ok(())
}

/// The numbers of what is to be cleared, oldest first, `most` at most.
///
/// # Errors
/// The database's.
pub async fn list(db: &PgPool, most: i64) -> Result<Vec<i64>, Problem> {
    let sql = "select number from pending_deletions order by number limit $1";
    Ok(sqlx::query_scalar(sql).bind(most).fetch_all(db).await?)
}

/// Takes one until the transaction ends. `None` when another node has it, or it is done with.
///
/// # Errors
/// The database's.
pub async fn take(db: &mut PgConnection, number: i64) -> Result<Option<(Kind, Uuid)>, Problem> {
    let sql = "select kind, id from pending_deletions where number = $1 for update skip locked";
    Ok(sqlx::query_as(sql).bind(number).fetch_optional(db).await?)
}

/// Forgets one that is done with.
///
/// # Errors
/// The database's.
pub async fn done(db: &mut PgConnection, number: i64) -> Result<(), Problem> {
    sqlx::query("delete from pending_deletions where number = $1")
        .bind(number)
        .execute(db)
        .await?;
    Ok(())
}

/// Runs a statement with an identifier and a number, and tells how many rows it has touched.
async fn touched(
    db: &mut PgConnection,
    sql: &'static str,
    id: Uuid,
    most: i64,
) -> Result<u64, Problem> {
    let done = sqlx::query(sql).bind(id).bind(most).execute(db).await?;
    Ok(done.rows_affected())
}

/// Clears some of a channel's messages, their notifications, and its read statuses, `most` of each at most. True when nothing
/// is left, also when the channel is in use.
///
/// # Errors
/// The database's.
pub async fn clear_channel(
    db: &mut PgConnection,
    id: ChannelId,
    most: i64,
) -> Result<bool, Problem> {
    // Nobody can be added to a private channel, so one without participants stays so.
    const DELETE_EMPTY: &str = "delete from channels c where id = $1 and type = 'PRIVATE' \
                                and not exists (select from channel_participants p where p.channel_id = c.id)";
    const LOCK_MESSAGES: &str = "select id from messages where channel_id = $1 order by seq limit $2 for update skip locked";
    const NOTIFICATIONS: &str = "delete from notifications where id in (select id from notifications where cause_id = any($1) limit $2)";
    const STATUSES: &str = "delete from read_statuses where id in (select id from read_statuses where channel_id = $1 limit $2)";
    sqlx::query(DELETE_EMPTY).bind(id).execute(&mut *db).await?;
    let in_use: bool = sqlx::query_scalar("select exists (select from channels where id = $1)")
        .bind(id)
        .fetch_one(&mut *db)
        .await?;
    if in_use {
        return Ok(true);
    }
    // Locked first: who writes notifications holds the message, so none of one that is to go comes behind the next statement.
    // What is held now has its turn later.
    let messages: Vec<MessageId> = sqlx::query_scalar(LOCK_MESSAGES)
        .bind(id)
        .bind(most)
        .fetch_all(&mut *db)
        .await?;
    let notifications = sqlx::query(NOTIFICATIONS)
        .bind(&messages)
        .bind(most)
        .execute(&mut *db)
        .await?;
    if notifications.rows_affected() == most.unsigned_abs() {
        return Ok(false);
    }
    // Their attachments are nobody's then, and the sweeper of files takes them.
    sqlx::query("delete from messages where id = any($1)")
        .bind(&messages)
        .execute(&mut *db)
        .await?;
    let statuses = touched(db, STATUSES, id.0, most).await?;
    if !messages.is_empty() || statuses > 0 {
        return Ok(false);
    }
    Ok(
        sqlx::query_scalar("select not exists (select from messages where channel_id = $1)")
            .bind(id)
            .fetch_one(db)
            .await?,
    )
}

/// Takes the author from some of a user's messages and the uploader from their files, and deletes their notifications, `most`
/// of each at most. True when nothing is left. What they have dismissed is empty already and forgotten in its time.
///
/// # Errors
/// The database's.
pub async fn clear_user(db: &mut PgConnection, id: UserId, most: i64) -> Result<bool, Problem> {
    const MESSAGES: &str = "update messages set author_id = null where id in \
                            (select id from messages where author_id = $1 limit $2 for no key update skip locked)";
    const FILES: &str = "update binary_contents set uploader_id = null where id in \
                         (select id from binary_contents where uploader_id = $1 limit $2 for no key update skip locked)";
    const NOTIFICATIONS: &str = "delete from notifications where id in \
                                 (select id from notifications where receiver_id = $1 and dismissed_at is null limit $2)";
    const LEFT: &str = "select exists (select from messages where author_id = $1) or exists (select from binary_contents where uploader_id = $1)";
    let mut more = false;
    for sql in [MESSAGES, FILES, NOTIFICATIONS] {
        more |= touched(db, sql, id.0, most).await? > 0;
    }
    if more {
        return Ok(false);
    }
    let left: bool = sqlx::query_scalar(LEFT).bind(id).fetch_one(db).await?;
    Ok(!left)
}
