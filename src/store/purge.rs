//! The purge of deleted channels, accounts and messages, in batches.
//!
//! The transaction of a deletion deletes only the object's own row, which makes all rows that depend on it invisible, and adds a row
//! to `pending_deletions`. Workers then delete the dependent rows, however many.

use uuid::Uuid;

use crate::{
    ids::{ChannelId, MessageId, UserId},
    problem::Problem,
    store::{Db, Transaction},
};

/// The kind of a deleted object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, sqlx::Type)]
#[sqlx(rename_all = "SCREAMING_SNAKE_CASE", type_name = "text")]
pub enum Kind {
    /// A deleted channel, or a private channel that may have no participants.
    ///
    /// A private channel can lose its last participant by the deletion of an account.
    Channel,
    /// A deleted account.
    User,
    /// A deleted message with more notifications or reactions than its deletion removed.
    Message,
}

/// Queues deleted objects for the purge, in the transaction of the deletion.
///
/// # Errors
/// PostgreSQL fails.
pub async fn add(db: &mut Transaction, kind: Kind, ids: &[Uuid]) -> Result<(), Problem> {
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

/// Numbers of the pending deletions, oldest first, at most `limit`.
///
/// # Errors
/// PostgreSQL fails.
pub async fn list(db: &Db, limit: i64) -> Result<Vec<i64>, Problem> {
    let sql = "select number from pending_deletions order by number limit $1";
    Ok(sqlx::query_scalar(sql).bind(limit).fetch_all(db).await?)
}

/// Locks a pending deletion until the transaction ends.
///
/// `None` when another node has locked or finished it.
///
/// # Errors
/// PostgreSQL fails.
pub async fn claim(db: &mut Transaction, number: i64) -> Result<Option<(Kind, Uuid)>, Problem> {
    let sql = "select kind, id from pending_deletions where number = $1 for update skip locked";
    Ok(sqlx::query_as(sql).bind(number).fetch_optional(db).await?)
}

/// Removes a finished pending deletion.
///
/// # Errors
/// PostgreSQL fails.
pub async fn finish(db: &mut Transaction, number: i64) -> Result<(), Problem> {
    sqlx::query("delete from pending_deletions where number = $1")
        .bind(number)
        .execute(db)
        .await?;
    Ok(())
}

/// Runs a statement with the parameters `id` and `limit`.
///
/// Returns the number of affected rows.
async fn affected(
    db: &mut Transaction,
    sql: &'static str,
    id: Uuid,
    limit: i64,
) -> Result<u64, Problem> {
    let result = sqlx::query(sql).bind(id).bind(limit).execute(db).await?;
    Ok(result.rows_affected())
}

/// Deletes a batch of a channel's messages, reactions, notifications and read statuses.
///
/// Deletes at most `limit` rows of each.
///
/// True when no rows are left, and when the channel still exists.
///
/// # Errors
/// PostgreSQL fails.
pub async fn purge_channel(
    db: &mut Transaction,
    id: ChannelId,
    limit: i64,
) -> Result<bool, Problem> {
    // Only a participant adds others to a private channel, so an empty one stays empty.
    const DELETE_EMPTY: &str = "delete from channels c where id = $1 and type = 'PRIVATE' \
                                and not exists (select from channel_participants p where p.channel_id = c.id)";
    const LOCK_MESSAGES: &str = "select id from messages where channel_id = $1 order by seq limit $2 for update skip locked";
    const NOTIFICATIONS: &str = "delete from notifications where id in (select id from notifications where cause_id = any($1) limit $2)";
    const REACTIONS: &str = "delete from reactions where ctid = any(array(select ctid from reactions where message_id = any($1) limit $2))";
    const MENTIONS: &str = "delete from mentions where (user_id, channel_id, seq) in \
                            (select unnest(mentions), channel_id, seq from messages where id = any($1))";
    const STATUSES: &str = "delete from read_statuses where id in (select id from read_statuses where channel_id = $1 limit $2)";
    sqlx::query(DELETE_EMPTY).bind(id).execute(&mut *db).await?;
    let in_use: bool = sqlx::query_scalar("select exists (select from channels where id = $1)")
        .bind(id)
        .fetch_one(&mut *db)
        .await?;
    if in_use {
        return Ok(true);
    }
    // Locked first: the writers of notifications and reactions lock their message, so none for these messages appears after the next
    // statements. A later batch deletes the messages that are locked now.
    let messages: Vec<MessageId> = sqlx::query_scalar(LOCK_MESSAGES)
        .bind(id)
        .bind(limit)
        .fetch_all(&mut *db)
        .await?;
    let notifications = sqlx::query(NOTIFICATIONS)
        .bind(&messages)
        .bind(limit)
        .execute(&mut *db)
        .await?;
    let reactions = sqlx::query(REACTIONS)
        .bind(&messages)
        .bind(limit)
        .execute(&mut *db)
        .await?;
    let full = limit.unsigned_abs();
    if notifications.rows_affected() == full || reactions.rows_affected() == full {
        return Ok(false);
    }
    sqlx::query(MENTIONS)
        .bind(&messages)
        .execute(&mut *db)
        .await?;
    // The file sweep deletes their attachments, which belong to no message then.
    sqlx::query("delete from messages where id = any($1)")
        .bind(&messages)
        .execute(&mut *db)
        .await?;
    let statuses = affected(db, STATUSES, id.0, limit).await?;
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

/// Removes a batch of references to a deleted user, at most `limit` of each kind.
///
/// Clears the author of messages and the uploader of files, and deletes the user's notifications, reactions and mentions.
///
/// True when no rows are left. Dismissed notifications have no text, and their own sweep deletes them.
///
/// # Errors
/// PostgreSQL fails.
pub async fn purge_user(db: &mut Transaction, id: UserId, limit: i64) -> Result<bool, Problem> {
    const MESSAGES: &str = "update messages set author_id = null where id in \
                            (select id from messages where author_id = $1 limit $2 for no key update skip locked)";
    const FILES: &str = "update binary_contents set uploader_id = null where id in \
                         (select id from binary_contents where uploader_id = $1 limit $2 for no key update skip locked)";
    const NOTIFICATIONS: &str = "delete from notifications where id in \
                                 (select id from notifications where receiver_id = $1 and dismissed_at is null limit $2)";
    const REACTIONS: &str = "delete from reactions where ctid = any(array(select ctid from reactions where user_id = $1 limit $2))";
    const MENTIONS: &str = "delete from mentions where ctid = any(array(select ctid from mentions where user_id = $1 limit $2))";
    const LEFT: &str = "select exists (select from messages where author_id = $1) or exists (select from binary_contents where uploader_id = $1)";
    let mut more = false;
    for sql in [MESSAGES, FILES, NOTIFICATIONS, REACTIONS, MENTIONS] {
        more |= affected(db, sql, id.0, limit).await? > 0;
    }
    if more {
        return Ok(false);
    }
    let left: bool = sqlx::query_scalar(LEFT).bind(id).fetch_one(db).await?;
    Ok(!left)
}
