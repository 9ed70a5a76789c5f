//! Messages.

use std::collections::HashMap;

use serde::Deserialize;
use sqlx::{Row, postgres::PgRow, types::Json};
use time::OffsetDateTime;
use uuid::Uuid;

use crate::{
    ids::{ChannelId, MessageId, UserId},
    model::{BinaryContent, Message, Reaction, Reply, User, message::excerpt},
    problem::Problem,
    store::{Db, Transaction, mentions},
};

/// The author and the text of a message that another one replies to, as JSON; `r` is its row.
///
/// The text is one character longer than an excerpt, which shows whether it goes on.
macro_rules! original {
    () => {
        concat!(
            "json_build_object('author', (select json_build_object('id', ru.id, 'username', ru.username, 'email', ru.email, \
               'role', ru.role, 'profile', (select ",
            $crate::store::files::json!("rp"),
            " from binary_contents rp where rp.picture_of = ru.id)) from users ru where ru.id = r.author_id), \
             'text', left(coalesce(nullif(btrim(r.content), ''), (select string_agg(rf.file_name, ', ' order by rf.position) \
               from binary_contents rf where rf.message_id = r.id), ''), 201))"
        )
    };
}

pub(super) use original;

/// The value of [`original`].
#[derive(Debug, Deserialize)]
pub(super) struct Original {
    author: Option<User>,
    text: String,
}

impl Original {
    /// The reply to this message, or to a deleted one.
    pub(super) fn reply(original: Option<Self>, id: MessageId, seq: i64) -> Reply {
        let deleted = original.is_none();
        let (author, excerpt) = match original {
            Some(Self { author, text }) => (author, Some(excerpt(&text))),
            None => (None, None),
        };
        Reply {
            id,
            seq,
            author,
            excerpt,
            deleted,
        }
    }
}

/// The select of a [`Message`] with its author and its attachments.
///
/// The author is null when the account is deleted.
///
/// Messages of a deleted channel exist until the purge deletes them (see [`super::purge`]). So a query that shows messages also
/// checks that the channel exists.
macro_rules! select {
    ($($rest:expr),+) => {
        concat!(
            "select m.id, m.channel_id, m.seq, m.content, m.client_message_id, m.created_at, m.updated_at, \
             m.mentions, m.reply_to_id, m.reply_to_seq, (select ",
            $crate::store::messages::original!(),
            " from messages r where r.id = m.reply_to_id) as original, \
             (select json_agg(json_build_object('emoji', e.emoji, 'count', e.count, 'userIds', e.users[1:50]) order by e.first, e.emoji) \
               from (select emoji, count(*), min(created_at) as first, array_agg(user_id order by created_at, user_id) as users \
               from reactions where message_id = m.id group by emoji) e) as reactions, ",
            $crate::store::users::columns!(),
            ", (select json_agg(",
            $crate::store::files::json!("a"),
            " order by a.position) from binary_contents a where a.message_id = m.id) as attachments ",
            "from messages m left join users u on u.id = m.author_id",
            $crate::store::users::picture!(),
            $($rest),+
        )
    };
}

pub(super) use select;

impl sqlx::FromRow<'_, PgRow> for Message {
    fn from_row(row: &PgRow) -> Result<Self, sqlx::Error> {
        let author = match row.try_get::<Option<UserId>, _>("user_id")? {
            Some(_) => Some(User::from_row(row)?),
            None => None,
        };
        let attachments: Option<Json<Vec<BinaryContent>>> = row.try_get("attachments")?;
        let reactions: Option<Json<Vec<Reaction>>> = row.try_get("reactions")?;
        let original: Option<Json<Original>> = row.try_get("original")?;
        let reply_to = match (row.try_get("reply_to_id")?, row.try_get("reply_to_seq")?) {
            (Some(id), Some(seq)) => Some(Original::reply(original.map(|json| json.0), id, seq)),
            _ => None,
        };
        Ok(Self {
            id: row.try_get("id")?,
            created_at: row.try_get("created_at")?,
            updated_at: row.try_get("updated_at")?,
            content: row.try_get("content")?,
            channel_id: row.try_get("channel_id")?,
            author,
            attachments: attachments.map(|Json(files)| files).unwrap_or_default(),
            seq: row.try_get("seq")?,
            reply_to,
            mentions: row
                .try_get::<Option<Vec<UserId>>, _>("mentions")?
                .unwrap_or_default(),
            reactions: reactions
                .map(|Json(reactions)| reactions)
                .unwrap_or_default(),
            client_message_id: row.try_get("client_message_id")?,
        })
    }
}

/// The start of a page of messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PageCursor {
    /// After the message at this position.
    Position(i64),
    /// After this instant.
    Instant(OffsetDateTime),
}

/// A page of a channel's messages after the cursor, at most `limit`, of those after the position `visible_after`.
///
/// Positions increase with `created_at`, so the order by position is the order by time.
///
/// # Errors
/// PostgreSQL fails.
pub async fn page(
    db: &Db,
    channel: ChannelId,
    visible_after: i64,
    cursor: Option<PageCursor>,
    newest_first: bool,
    limit: i64,
) -> Result<Vec<Message>, Problem> {
    const DESC: &str = select!(
        "where m.channel_id = $1 and exists (select from channels where id = $1) \
         and m.seq < $2 and m.seq > $5 and m.created_at < $3 order by m.seq desc limit $4"
    );
    const ASC: &str = select!(
        "where m.channel_id = $1 and exists (select from channels where id = $1) \
         and m.seq > $2 and m.seq > $5 and m.created_at > $3 order by m.seq limit $4"
    );
    let (sql, mut seq, mut instant) = if newest_first {
        (
            DESC,
            i64::MAX,
            time::macros::datetime!(9999-12-31 23:59:59 UTC),
        )
    } else {
        (ASC, 0, OffsetDateTime::UNIX_EPOCH)
    };
    match cursor {
        Some(PageCursor::Position(position)) => seq = position,
        Some(PageCursor::Instant(at)) => instant = at,
        None => {}
    }
    Ok(sqlx::query_as(sql)
        .bind(channel)
        .bind(seq)
        .bind(instant)
        .bind(limit)
        .bind(visible_after)
        .fetch_all(db)
        .await?)
}

/// The position of a message in a channel.
///
/// # Errors
/// PostgreSQL fails.
pub async fn position(db: &Db, channel: ChannelId, id: MessageId) -> Result<Option<i64>, Problem> {
    const SQL: &str = "select seq from messages where id = $2 and channel_id = $1";
    Ok(sqlx::query_scalar(SQL)
        .bind(channel)
        .bind(id)
        .fetch_optional(db)
        .await?)
}

/// The position of the first message of a channel that was created at an instant or later.
///
/// # Errors
/// PostgreSQL fails.
pub async fn position_at(
    db: &Db,
    channel: ChannelId,
    at: OffsetDateTime,
) -> Result<Option<i64>, Problem> {
    const SQL: &str = "select seq from messages where channel_id = $1 and created_at >= $2 order by created_at, seq limit 1";
    Ok(sqlx::query_scalar(SQL)
        .bind(channel)
        .bind(at)
        .fetch_optional(db)
        .await?)
}

/// At most `limit` messages with `after < seq <= through`, in order.
///
/// Deleted messages are missing.
///
/// # Errors
/// PostgreSQL fails.
pub async fn between(
    db: &Db,
    channel: ChannelId,
    after: i64,
    through: i64,
    limit: i64,
) -> Result<Vec<Message>, Problem> {
    const SQL: &str = select!(
        "where m.channel_id = $1 and exists (select from channels where id = $1) \
         and m.seq > $2 and m.seq <= $3 order by m.seq limit $4"
    );
    Ok(sqlx::query_as(SQL)
        .bind(channel)
        .bind(after)
        .bind(through)
        .bind(limit)
        .fetch_all(db)
        .await?)
}

/// Whether more than `limit` messages have `after < seq <= through`.
///
/// # Errors
/// PostgreSQL fails.
pub async fn more_than(
    db: &Db,
    channel: ChannelId,
    after: i64,
    through: i64,
    limit: i64,
) -> Result<bool, Problem> {
    const SQL: &str = "select exists (select from messages where channel_id = $1 and seq > $2 and seq <= $3 \
                       order by seq offset $4 limit 1)";
    Ok(sqlx::query_scalar(SQL)
        .bind(channel)
        .bind(after)
        .bind(through)
        .bind(limit)
        .fetch_one(db)
        .await?)
}

/// One message.
///
/// # Errors
/// PostgreSQL fails.
pub async fn find(db: &Db, id: MessageId) -> Result<Option<Message>, Problem> {
    const SQL: &str = select!("where m.id = $1");
    Ok(sqlx::query_as(SQL).bind(id).fetch_optional(db).await?)
}

/// The messages with these ids.
///
/// # Errors
/// PostgreSQL fails.
pub async fn with_ids(db: &Db, ids: &[MessageId]) -> Result<HashMap<MessageId, Message>, Problem> {
    const SQL: &str = select!("where m.id = any($1)");
    let messages: Vec<Message> = sqlx::query_as(SQL).bind(ids).fetch_all(db).await?;
    let by_id = messages.into_iter().map(|message| (message.id, message));
    Ok(by_id.collect())
}

/// The messages at these positions, pair by pair.
///
/// # Errors
/// PostgreSQL fails.
pub(super) async fn at_positions(
    db: &mut Transaction,
    channels: &[ChannelId],
    seqs: &[i64],
) -> Result<HashMap<(ChannelId, i64), Message>, Problem> {
    const SQL: &str =
        select!("where (m.channel_id, m.seq) in (select * from unnest($1::uuid[], $2::bigint[]))");
    let messages: Vec<Message> = sqlx::query_as(SQL)
        .bind(channels)
        .bind(seqs)
        .fetch_all(db)
        .await?;
    let by_position = messages
        .into_iter()
        .map(|message| ((message.channel_id, message.seq), message));
    Ok(by_position.collect())
}

/// Changes a message's text and the users whom it mentions. `None` when the message or its channel is deleted.
///
/// # Errors
/// PostgreSQL fails.
pub async fn update(
    db: &mut Transaction,
    id: MessageId,
    content: &str,
    mentions: &[UserId],
) -> Result<Option<Message>, Problem> {
    const FIND: &str = select!("where m.id = $1");
    // The old row is locked first, so that each edit deletes the mentions of the one before.
    const OLD: &str = "select channel_id, seq, mentions from messages m where id = $1 \
         and exists (select from channels c where c.id = m.channel_id) for no key update of m";
    const UPDATE: &str = "update messages set content = $2, updated_at = clock_timestamp(), mentions = $3 where id = $1";
    type Old = (ChannelId, i64, Option<Vec<UserId>>);
    let old: Option<Old> = sqlx::query_as(OLD)
        .bind(id)
        .fetch_optional(&mut *db)
        .await?;
    let Some((channel, seq, old)) = old else {
        return Ok(None);
    };
    sqlx::query(UPDATE)
        .bind(id)
        .bind(content)
        .bind(Some(mentions).filter(|mentions| !mentions.is_empty()))
        .execute(&mut *db)
        .await?;
    mentions::delete_of(&mut *db, channel, seq, &old.unwrap_or_default()).await?;
    mentions::insert(&mut *db, channel, seq, mentions).await?;
    Ok(sqlx::query_as(FIND).bind(id).fetch_optional(db).await?)
}

/// Deletes a message, and updates `last_message_at` of its channel.
///
/// False if the message or its channel is deleted already.
///
/// # Errors
/// PostgreSQL fails.
pub async fn delete(
    db: &mut Transaction,
    channel: ChannelId,
    id: MessageId,
) -> Result<bool, Problem> {
    type Deleted = (Option<UserId>, Option<Uuid>, i64, Option<Vec<UserId>>);
    const DELETE: &str =
        "delete from messages where id = $1 returning author_id, client_message_id, seq, mentions";
    const REMEMBER: &str = "insert into deleted_client_ids (author_id, client_message_id, message_id) \
                            values ($1, $2, $3) on conflict do nothing";
    const NEWEST: &str = "update channels set last_message_at = \
                          (select created_at from messages where channel_id = $1 order by seq desc limit 1) where id = $1";
    // The channel first, in the same order as writers of new messages lock, against deadlocks.
    let channel_row = sqlx::query("select 1 from channels where id = $1 for no key update")
        .bind(channel)
        .execute(&mut *db)
        .await?;
    if channel_row.rows_affected() == 0 {
        return Ok(false);
    }
    let deleted: Option<Deleted> = sqlx::query_as(DELETE)
        .bind(id)
        .fetch_optional(&mut *db)
        .await?;
    let Some((author, client_id, seq, mentioned)) = deleted else {
        return Ok(false);
    };
    mentions::delete_of(&mut *db, channel, seq, &mentioned.unwrap_or_default()).await?;
    if let (Some(author), Some(client_id)) = (author, client_id) {
        sqlx::query(REMEMBER)
            .bind(author)
            .bind(client_id)
            .bind(id)
            .execute(&mut *db)
            .await?;
    }
    sqlx::query(NEWEST).bind(channel).execute(db).await?;
    Ok(true)
}

/// Forgets the `clientMessageId`s of messages that were deleted more than a day ago. No try of a client takes that long.
///
/// # Errors
/// PostgreSQL fails.
pub async fn forget_deleted(db: &Db) -> Result<(), Problem> {
    const SQL: &str =
        "delete from deleted_client_ids where deleted_at < clock_timestamp() - interval '1 day'";
    sqlx::query(SQL).execute(db).await?;
    Ok(())
}
