//! New messages: the rows that the group commit reads and writes.

use std::collections::HashMap;

use bytes::Bytes;
use sqlx::types::Json;
use time::OffsetDateTime;
use uuid::Uuid;

use crate::{
    ids::{ChannelId, MessageId, UserId},
    model::{Event, Message, Reply, TraceParent, User},
    problem::Problem,
    store::{
        Transaction, files, mentions,
        messages::{Original, original, select},
        outbox::{Columns, OutboxRow},
        users,
        visibility::visible,
    },
};

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
    /// The `clientMessageId`s of the new messages with which the author stored messages that are deleted, in order.
    pub deleted_client_ids: Vec<Uuid>,
    /// These messages, in the same order.
    pub deleted_messages: Vec<MessageId>,
}

impl Author {
    /// The deleted message that the author stored with this `clientMessageId`.
    pub fn deleted_message(&self, client_id: Uuid) -> Option<MessageId> {
        let index = self.deleted_client_ids.binary_search(&client_id).ok()?;
        self.deleted_messages.get(index).copied()
    }
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
    client_ids: &[Uuid],
) -> Result<HashMap<UserId, Author>, Problem> {
    const SQL: &str = concat!(
        "select ",
        users::columns!(),
        ", array(select c.id from unnest($1::uuid[], $2::uuid[]) as post (author_id, channel_id) \
         join channels c on c.id = post.channel_id where post.author_id = u.id and ",
        visible!("c", "u.id"),
        ") as visible_channels, \
         array(select d.client_message_id from deleted_client_ids d where d.author_id = u.id and d.client_message_id = any($3) order by 1) as deleted_client_ids, \
         array(select d.message_id from deleted_client_ids d where d.author_id = u.id and d.client_message_id = any($3) order by d.client_message_id) as deleted_messages \
         from users u",
        users::picture!(),
        "where u.id = any($1) order by u.id for key share of u"
    );
    let (users, channels): (Vec<_>, Vec<_>) = posts.iter().copied().unzip();
    let authors: Vec<Author> = sqlx::query_as(SQL)
        .bind(users)
        .bind(channels)
        .bind(client_ids)
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

/// The messages with these ids, as originals of replies, each with its channel.
///
/// # Errors
/// PostgreSQL fails.
pub async fn originals(
    db: &mut Transaction,
    ids: &[MessageId],
) -> Result<HashMap<MessageId, (ChannelId, Reply)>, Problem> {
    const SQL: &str = concat!(
        "select r.id, r.channel_id, r.seq, ",
        original!(),
        " from messages r where r.id = any($1)"
    );
    type Row = (MessageId, ChannelId, i64, Json<Original>);
    let rows: Vec<Row> = sqlx::query_as(SQL).bind(ids).fetch_all(db).await?;
    let replies = rows.into_iter().map(|(id, channel, seq, Json(original))| {
        (id, (channel, Original::reply(Some(original), id, seq)))
    });
    Ok(replies.collect())
}

/// A message to insert.
pub struct NewMessage {
    /// The row.
    pub message: Message,
    /// The row as JSON, for the author and every subscriber.
    pub body: Bytes,
    /// Whether it may cause notifications.
    pub notifies: bool,
    /// The recorded span that posts it.
    pub trace: Option<TraceParent>,
}

/// Inserts new messages, their attachments and their events.
///
/// Also updates the channels' positions. Attachments and mentions need a statement each, which messages without them save.
///
/// # Errors
/// PostgreSQL fails.
pub async fn insert(db: &mut Transaction, new: &[NewMessage]) -> Result<Vec<OutboxRow>, Problem> {
    const SQL: &str = "with positions as ( \
            select channel_id, max(seq) as seq, max(at) as at from unnest($2::uuid[], $3::bigint[], $7::timestamptz[]) as n (channel_id, seq, at) group by 1 \
        ), moved as ( \
            update channels c set last_seq = p.seq, last_message_at = p.at from positions p where c.id = p.channel_id \
        ), written as ( \
            insert into messages (id, channel_id, seq, author_id, content, client_message_id, created_at, updated_at, reply_to_id, reply_to_seq, mentions) \
            select id, channel_id, seq, author_id, content, client_message_id, at, at, reply_to_id, reply_to_seq, mentions::uuid[] \
            from unnest($1::uuid[], $2::uuid[], $3::bigint[], $4::uuid[], $5::text[], $6::uuid[], $7::timestamptz[], $14::uuid[], $15::bigint[], $16::text[]) \
              as n (id, channel_id, seq, author_id, content, client_message_id, at, reply_to_id, reply_to_seq, mentions) \
        ) \
        insert into outbox (event_id, topic, key, kind, seq, body) \
        select * from unnest($8::uuid[], $9::text[], $10::text[], $11::text[], $12::bigint[], $13::text[]) returning id";
    let created = new.iter().map(|n| Event {
        trace: n.trace,
        ..Event::message_created(n.message.channel_id, n.message.seq, n.body.clone())
    });
    let jobs = new
        .iter()
        .filter(|n| n.notifies)
        .map(|n| Event::notification_job(n.message.channel_id, n.message.id));
    let events: Vec<Event> = created.chain(jobs).collect();
    let columns = Columns::of(&events);
    let replies = new.iter().map(|n| n.message.reply_to.as_ref());
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
        .bind(
            replies
                .clone()
                .map(|reply| reply.map(|reply| reply.id))
                .collect::<Vec<_>>(),
        )
        .bind(
            replies
                .map(|reply| reply.map(|reply| reply.seq))
                .collect::<Vec<_>>(),
        )
        .bind(
            new.iter()
                .map(|n| uuid_array(&n.message.mentions))
                .collect::<Vec<_>>(),
        )
        .fetch_all(&mut *db)
        .await?;
    mentions::insert(&mut *db, new.iter().map(|n| &n.message)).await?;
    files::attach(db, new.iter().map(|n| &n.message)).await?;
    Ok(OutboxRow::inserted(rows, events))
}

/// An array of ids as PostgreSQL writes it, or none when there are none. `unnest` would flatten an array of arrays.
fn uuid_array(users: &[UserId]) -> Option<String> {
    let ids: Vec<String> = users.iter().map(ToString::to_string).collect();
    (!ids.is_empty()).then(|| format!("{{{}}}", ids.join(",")))
}
