//! Messages.

use std::collections::HashMap;

use bytes::Bytes;
use sqlx::{Row, postgres::PgRow, types::Json};
use time::OffsetDateTime;
use uuid::Uuid;

use crate::{
    ids::{ChannelId, MessageId, UserId},
    model::{BinaryContent, Event, Message, User},
    problem::Problem,
    store::{
        Db, Transaction, files,
        outbox::{Columns, OutboxRow},
        users,
        visibility::visible,
    },
};

/// The select of a [`Message`] with its author and its attachments.
///
/// The author is null when the account is deleted.
///
/// Messages of a deleted channel exist until the purge deletes them (see [`super::purge`]). So a query that shows messages also
/// checks that the channel exists.
macro_rules! select {
    ($rest:literal) => {
        concat!(
            "select m.id, m.channel_id, m.seq, m.content, m.client_message_id, m.created_at, m.updated_at, ",
            users::columns!(),
            ", (select json_agg(json_build_object('id', a.id, 'fileName', a.file_name, 'size', a.size, \
               'contentType', a.content_type, 'uploadStatus', a.status) order by a.position) \
               from binary_contents a where a.message_id = m.id) as attachments ",
            "from messages m left join users u on u.id = m.author_id",
            users::picture!(),
            $rest
        )
    };
}

impl sqlx::FromRow<'_, PgRow> for Message {
    fn from_row(row: &PgRow) -> Result<Self, sqlx::Error> {
        let author = match row.try_get::<Option<UserId>, _>("user_id")? {
            Some(_) => Some(User::from_row(row)?),
            None => None,
        };
        let attachments: Option<Json<Vec<BinaryContent>>> = row.try_get("attachments")?;
        Ok(Self {
            id: row.try_get("id")?,
            created_at: row.try_get("created_at")?,
            updated_at: row.try_get("updated_at")?,
            content: row.try_get("content")?,
            channel_id: row.try_get("channel_id")?,
            author,
            attachments: attachments.map(|Json(files)| files).unwrap_or_default(),
            seq: row.try_get("seq")?,
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

/// A page of a channel's messages after the cursor, at most `limit`.
///
/// Positions increase with `created_at`, so the order by position is the order by time.
///
/// # Errors
/// PostgreSQL fails.
pub async fn page(
    db: &Db,
    channel: ChannelId,
    cursor: Option<PageCursor>,
    newest_first: bool,
    limit: i64,
) -> Result<Vec<Message>, Problem> {
    const DESC: &str = select!(
        "where m.channel_id = $1 and exists (select from channels where id = $1) \
         and m.seq < $2 and m.created_at < $3 order by m.seq desc limit $4"
    );
    const ASC: &str = select!(
        "where m.channel_id = $1 and exists (select from channels where id = $1) \
         and m.seq > $2 and m.created_at > $3 order by m.seq limit $4"
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
        .fetch_all(db)
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

/// Changes a message's text. `None` when the message or its channel is deleted.
///
/// # Errors
/// PostgreSQL fails.
pub async fn update(
    db: &mut Transaction,
    id: MessageId,
    content: &str,
) -> Result<Option<Message>, Problem> {
    const FIND: &str = select!("where m.id = $1");
    const UPDATE: &str = "update messages set content = $2, updated_at = clock_timestamp() where id = $1 \
                          and exists (select from channels c where c.id = channel_id)";
    let updated = sqlx::query(UPDATE)
        .bind(id)
        .bind(content)
        .execute(&mut *db)
        .await?;
    if updated.rows_affected() == 0 {
        return Ok(None);
    }
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
    let deleted: Option<(Option<UserId>, Option<Uuid>)> =
        sqlx::query_as("delete from messages where id = $1 returning author_id, client_message_id")
            .bind(id)
            .fetch_optional(&mut *db)
            .await?;
    let Some((author, client_id)) = deleted else {
        return Ok(false);
    };
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

/// The deleted messages of these authors with these `clientMessageId`s, pair by pair.
///
/// # Errors
/// PostgreSQL fails.
pub async fn deleted_with_client_ids(
    db: &mut Transaction,
    authors: &[UserId],
    client_ids: &[Uuid],
) -> Result<Vec<(UserId, Uuid, MessageId)>, Problem> {
    const SQL: &str = "select author_id, client_message_id, message_id from deleted_client_ids \
                       where (author_id, client_message_id) in (select * from unnest($1::uuid[], $2::uuid[]))";
    Ok(sqlx::query_as(SQL)
        .bind(authors)
        .bind(client_ids)
        .fetch_all(db)
        .await?)
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

/// A channel whose row is locked for new messages.
#[derive(Clone, Debug, sqlx::FromRow)]
pub struct Target {
    /// Channel.
    pub id: ChannelId,
    /// Position of its newest message.
    pub last_seq: i64,
    /// Now, but not before the instant of its newest message.
    pub now: OffsetDateTime,
    /// Whether a user, possibly only the author, has notifications on for the channel.
    pub notifies: bool,
}

/// Locks the channels until the transaction ends.
///
/// Locks in the order of the ids, so that two groups cannot deadlock.
///
/// # Errors
/// PostgreSQL fails.
pub async fn lock_targets(
    db: &mut Transaction,
    channels: &[ChannelId],
) -> Result<Vec<Target>, Problem> {
    const SQL: &str = "select id, last_seq, greatest(clock_timestamp(), last_message_at) as now, \
                       exists (select from read_statuses r where r.channel_id = c.id and r.notification_enabled) as notifies \
                       from channels c where id = any($1) order by id for no key update";
    Ok(sqlx::query_as(SQL).bind(channels).fetch_all(db).await?)
}

/// An author whose row is locked for new messages.
#[derive(Clone, Debug, sqlx::FromRow)]
pub struct Author {
    /// The user.
    #[sqlx(flatten)]
    pub user: User,
    /// The channels of the author's new messages that are visible to the author.
    pub visible_channels: Vec<ChannelId>,
}

/// Locks the authors of new messages.
///
/// No transaction deletes their accounts before this one ends.
///
/// Must run after [`lock_targets`]: a participant leaves a private channel only with the channel's lock, so the visible channels
/// stay visible until the transaction ends. An author who does not exist is missing from the result.
///
/// # Errors
/// PostgreSQL fails.
pub async fn lock_authors(
    db: &mut Transaction,
    posts: &[(UserId, ChannelId)],
) -> Result<HashMap<UserId, Author>, Problem> {
    const SQL: &str = concat!(
        "select ",
        users::columns!(),
        ", array(select c.id from unnest($1::uuid[], $2::uuid[]) as post (author_id, channel_id) \
         join channels c on c.id = post.channel_id where post.author_id = u.id and ",
        visible!("c", "u.id"),
        ") as visible_channels from users u",
        users::picture!(),
        "where u.id = any($1) order by u.id for key share of u"
    );
    let (users, channels): (Vec<_>, Vec<_>) = posts.iter().copied().unzip();
    let authors: Vec<Author> = sqlx::query_as(SQL)
        .bind(users)
        .bind(channels)
        .fetch_all(db)
        .await?;
    let authors = authors.into_iter().map(|author| (author.user.id, author));
    Ok(authors.collect())
}

/// The stored messages of these authors with these `clientMessageId`s, pair by pair.
///
/// # Errors
/// PostgreSQL fails.
pub async fn with_client_ids(
    db: &mut Transaction,
    authors: &[UserId],
    client_ids: &[Uuid],
) -> Result<Vec<Message>, Problem> {
    const SQL: &str = select!(
        "where (m.author_id, m.client_message_id) in (select * from unnest($1::uuid[], $2::uuid[]))"
    );
    Ok(sqlx::query_as(SQL)
        .bind(authors)
        .bind(client_ids)
        .fetch_all(db)
        .await?)
}

/// A message to insert.
pub struct NewMessage {
    /// The row.
    pub message: Message,
    /// The row as JSON, for the author and every subscriber.
    pub body: Bytes,
    /// Whether it may cause notifications.
    pub notifies: bool,
}

/// Inserts new messages, their attachments and their events.
///
/// Also updates the channels' positions. Attachments need a second statement, which messages without files save.
///
/// # Errors
/// PostgreSQL fails.
pub async fn insert(db: &mut Transaction, new: &[NewMessage]) -> Result<Vec<OutboxRow>, Problem> {
    const SQL: &str = "with positions as ( \
            select channel_id, max(seq) as seq, max(at) as at from unnest($2::uuid[], $3::bigint[], $7::timestamptz[]) as n (channel_id, seq, at) group by 1 \
        ), moved as ( \
            update channels c set last_seq = p.seq, last_message_at = p.at from positions p where c.id = p.channel_id \
        ), written as ( \
            insert into messages (id, channel_id, seq, author_id, content, client_message_id, created_at, updated_at) \
            select id, channel_id, seq, author_id, content, client_message_id, at, at \
            from unnest($1::uuid[], $2::uuid[], $3::bigint[], $4::uuid[], $5::text[], $6::uuid[], $7::timestamptz[]) \
              as n (id, channel_id, seq, author_id, content, client_message_id, at) \
        ) \
        insert into outbox (event_id, topic, key, kind, seq, body) \
        select * from unnest($8::uuid[], $9::text[], $10::text[], $11::text[], $12::bigint[], $13::text[]) returning id";
    let created = new
        .iter()
        .map(|n| Event::message_created(n.message.channel_id, n.message.seq, n.body.clone()));
    let jobs = new
        .iter()
        .filter(|n| n.notifies)
        .map(|n| Event::notification_job(n.message.channel_id, n.message.id));
    let events: Vec<Event> = created.chain(jobs).collect();
    let columns = Columns::of(&events);
    let of = |message: &Message| message.author.as_ref().map(|author| author.id);
    let rows: Vec<i64> = sqlx::query_scalar(SQL)
        .bind(new.iter().map(|n| n.message.id).collect::<Vec<_>>())
        .bind(new.iter().map(|n| n.message.channel_id).collect::<Vec<_>>())
        .bind(new.iter().map(|n| n.message.seq).collect::<Vec<_>>())
        .bind(new.iter().map(|n| of(&n.message)).collect::<Vec<_>>())
        .bind(
            new.iter()
                .map(|n| n.message.content.as_str())
                .collect::<Vec<_>>(),
        )
        .bind(
            new.iter()
                .map(|n| n.message.client_message_id)
                .collect::<Vec<_>>(),
        )
        .bind(new.iter().map(|n| n.message.created_at).collect::<Vec<_>>())
        .bind(columns.ids)
        .bind(columns.topics)
        .bind(columns.keys)
        .bind(columns.kinds)
        .bind(columns.seqs)
        .bind(columns.bodies)
        .fetch_all(&mut *db)
        .await?;
    files::attach(db, new.iter().map(|n| &n.message)).await?;
    Ok(rows
        .into_iter()
        .zip(events)
        .map(|(id, event)| OutboxRow {
            id,
            event,
            was_sent: false,
        })
        .collect())
}
