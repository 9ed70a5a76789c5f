//! Reactions to messages.

use crate::{
    ids::{ChannelId, MessageId, UserId},
    model::{Emoji, reaction::MAX_KINDS},
    problem::Problem,
    store::{Transaction, visibility::visible},
};

/// Locks a message for a change of its reactions, and returns its channel and its position.
///
/// `None` when the message or its channel is deleted, or the channel is invisible to the user.
///
/// # Errors
/// PostgreSQL fails.
pub async fn lock_message(
    db: &mut Transaction,
    message: MessageId,
    user: UserId,
) -> Result<Option<(ChannelId, i64)>, Problem> {
    // The channel's lock keeps participants in the channel until the transaction ends.
    const SQL: &str = concat!(
        "select m.channel_id, m.seq from messages m join channels c on c.id = m.channel_id where m.id = $1 and ",
        visible!("c", "$2", seq: "m.seq"),
        " for no key update of m for key share of c"
    );
    Ok(sqlx::query_as(SQL)
        .bind(message)
        .bind(user)
        .fetch_optional(db)
        .await?)
}

/// Adds a reaction to a locked message. False if it is there already, or the user is deleted.
///
/// # Errors
/// [`Problem::TooManyReactions`], or PostgreSQL fails.
pub async fn insert(
    db: &mut Transaction,
    message: MessageId,
    user: UserId,
    emoji: &Emoji,
) -> Result<bool, Problem> {
    const OTHERS: &str =
        "select count(distinct emoji) from reactions where message_id = $1 and emoji <> $2";
    const SQL: &str = "insert into reactions (message_id, user_id, emoji) \
                       select $1, u.id, $3 from users u where u.id = $2 for key share of u on conflict do nothing";
    let others: i64 = sqlx::query_scalar(OTHERS)
        .bind(message)
        .bind(emoji.as_str())
        .fetch_one(&mut *db)
        .await?;
    if others >= MAX_KINDS {
        return Err(Problem::TooManyReactions);
    }
    let inserted = sqlx::query(SQL)
        .bind(message)
        .bind(user)
        .bind(emoji.as_str())
        .execute(db)
        .await?;
    Ok(inserted.rows_affected() > 0)
}

/// Removes a reaction from a locked message. False if it is not there.
///
/// # Errors
/// PostgreSQL fails.
pub async fn delete(
    db: &mut Transaction,
    message: MessageId,
    user: UserId,
    emoji: &Emoji,
) -> Result<bool, Problem> {
    const SQL: &str = "delete from reactions where message_id = $1 and emoji = $2 and user_id = $3";
    let deleted = sqlx::query(SQL)
        .bind(message)
        .bind(emoji.as_str())
        .bind(user)
        .execute(db)
        .await?;
    Ok(deleted.rows_affected() > 0)
}

/// Deletes reactions to a deleted message, at most `limit`. Returns whether none are left.
///
/// # Errors
/// PostgreSQL fails.
pub async fn delete_of(
    db: &mut Transaction,
    message: MessageId,
    limit: i64,
) -> Result<bool, Problem> {
    const SQL: &str = "delete from reactions where ctid = any(array(select ctid from reactions where message_id = $1 limit $2))";
    let deleted = sqlx::query(SQL)
        .bind(message)
        .bind(limit)
        .execute(db)
        .await?;
    Ok(deleted.rows_affected() < limit.unsigned_abs())
}
