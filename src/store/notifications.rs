//! Notifications.

use std::{collections::HashSet, time::Duration};

use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

use crate::{
    ids::{ChannelId, MessageId, NotificationId, UserId},
    model::{Event, Notification, NotificationKind},
    problem::{Problem, Resource},
    store::{
        outbox::{self, OutboxRow},
        visibility::visible,
    },
};

/// A notification to be written, unless it has been.
#[derive(Clone, Debug)]
pub struct New {
    /// Whom it is for.
    pub receiver: UserId,
    /// Why.
    pub kind: NotificationKind,
    /// What happened. One cause makes one notification for each receiver, however often it is written.
    pub cause: Uuid,
    /// One line.
    pub title: String,
    /// What happened, for people.
    pub content: String,
    /// What it is about.
    pub target: Option<Uuid>,
}

/// Writes those that have not been written before, each with the event that tells its receiver. A receiver who is gone gets none.
///
/// # Errors
/// The database's.
pub async fn insert(db: &mut PgConnection, new: &[New]) -> Result<Vec<OutboxRow>, Problem> {
    const SQL: &str = "insert into notifications (id, receiver_id, type, cause_id, title, content, target_id, created_at) \
                       select n.id, u.id, n.type, n.cause_id, n.title, n.content, n.target_id, clock_timestamp() \
                       from unnest($1::uuid[], $2::uuid[], $3::text[], $4::uuid[], $5::text[], $6::text[], $7::uuid[]) \
                         as n (id, receiver_id, type, cause_id, title, content, target_id) \
                       join (select id from users where id = any($2) order by id for key share) u on u.id = n.receiver_id \
                       order by n.id on conflict on constraint notifications_once do nothing \
                       returning id, created_at, receiver_id, title, content, type, target_id";
    if new.is_empty() {
        return Ok(Vec::new());
    }
    let written: Vec<Notification> = sqlx::query_as(SQL)
        .bind(
            new.iter()
                .map(|_| NotificationId::new())
                .collect::<Vec<_>>(),
        )
        .bind(new.iter().map(|n| n.receiver).collect::<Vec<_>>())
        .bind(new.iter().map(|n| n.kind).collect::<Vec<_>>())
        .bind(new.iter().map(|n| n.cause).collect::<Vec<_>>())
        .bind(new.iter().map(|n| n.title.as_str()).collect::<Vec<_>>())
        .bind(new.iter().map(|n| n.content.as_str()).collect::<Vec<_>>())
        .bind(new.iter().map(|n| n.target).collect::<Vec<_>>())
        .fetch_all(&mut *db)
        .await?;
    let events = written
        .iter()
        .map(|written| Event::notification(written.receiver_id, written));
    outbox::insert(db, events.collect()).await
}

/// A message that somebody may have to be told of.
#[derive(Clone, Debug, sqlx::FromRow)]
pub struct Told {
    /// Message.
    pub message: MessageId,
    /// Channel.
    pub channel: ChannelId,
    /// The channel's name; a private one has none.
    pub channel_name: Option<String>,
    /// Who wrote it, who need not be told.
    author_id: Option<UserId>,
    /// The author's name, unless the account is gone.
    pub author: Option<String>,
    /// The message's text; the names of its files when it has none.
    pub content: String,
}

/// The message, kept from being deleted until the transaction ends, so that nobody is told of one that is gone. `None` when it
/// or its channel is.
///
/// # Errors
/// The database's.
pub async fn told_of(db: &mut PgConnection, message: MessageId) -> Result<Option<Told>, Problem> {
    const SQL: &str = "select m.id as message, c.id as channel, c.name as channel_name, m.author_id, a.username as author, \
                       coalesce(nullif(btrim(m.content), ''), (select string_agg(f.file_name, ', ' order by f.position) \
                       from binary_contents f where f.message_id = m.id), '') as content \
                       from messages m join channels c on c.id = m.channel_id left join users a on a.id = m.author_id \
                       where m.id = $1 for key share of m";
    Ok(sqlx::query_as(SQL).bind(message).fetch_optional(db).await?)
}

/// Who is to be told of that message, in the order of their ids, from behind `after` on, `most` at most. They are read from an
/// index, so a page costs what is on it, however many want to hear of the channel.
///
/// # Errors
/// The database's.
pub async fn receivers(
    db: &mut PgConnection,
    told: &Told,
    after: Option<UserId>,
    most: i64,
) -> Result<Vec<UserId>, Problem> {
    const SQL: &str = concat!(
        "select r.user_id from read_statuses r where r.channel_id = $1 and r.notification_enabled \
         and r.user_id > $2 and r.user_id is distinct from $3 and ",
        // Not a join: PostgreSQL would sort all receivers for each page.
        visible!(
            kind: "(select c.type from channels c where c.id = $1)",
            id: "$1",
            user: "r.user_id"
        ),
        " order by r.user_id limit $4"
    );
    Ok(sqlx::query_scalar(SQL)
        .bind(told.channel)
        .bind(after.unwrap_or(UserId(Uuid::nil())))
        .bind(told.author_id)
        .bind(most)
        .fetch_all(db)
        .await?)
}

/// Not dismissed, and not of a message that is gone or that the receiver may not read any more.
macro_rules! present {
    () => {
        concat!(
            "n.dismissed_at is null and (n.type <> 'NEW_MESSAGE' or exists ( \
             select from messages m join channels c on c.id = m.channel_id where m.id = n.cause_id and ",
            visible!("c", "n.receiver_id"),
            "))"
        )
    };
}

/// Which of these notifications their receiver still has and may see.
///
/// # Errors
/// The database's.
pub async fn present(
    db: &PgPool,
    receiver: UserId,
    ids: &[NotificationId],
) -> Result<HashSet<NotificationId>, Problem> {
    const SQL: &str = concat!(
        "select id from notifications n where id = any($2) and receiver_id = $1 and ",
        present!()
    );
    let ids: Vec<NotificationId> = sqlx::query_scalar(SQL)
        .bind(receiver)
        .bind(ids)
        .fetch_all(db)
        .await?;
    Ok(ids.into_iter().collect())
}

/// Those of a user that they have not deleted, newest first, `most` at most.
///
/// # Errors
/// The database's.
pub async fn of(db: &PgPool, receiver: UserId, most: i64) -> Result<Vec<Notification>, Problem> {
    const SQL: &str = concat!(
        "select id, created_at, receiver_id, title, content, type, target_id from notifications n where receiver_id = $1 and ",
        present!(),
        " order by id desc limit $2"
    );
    Ok(sqlx::query_as(SQL)
        .bind(receiver)
        .bind(most)
        .fetch_all(db)
        .await?)
}

/// Takes one out of its receiver's list.
///
/// # Errors
/// Not found, also when it is another user's or was dismissed before; the database's.
pub async fn dismiss(
    db: &mut PgConnection,
    id: NotificationId,
    receiver: UserId,
) -> Result<(), Problem> {
    const SQL: &str = "update notifications set dismissed_at = clock_timestamp(), title = '', content = '' \
                       where id = $1 and receiver_id = $2 and dismissed_at is null";
    let dismissed = sqlx::query(SQL).bind(id).bind(receiver).execute(db).await?;
    if dismissed.rows_affected() == 0 {
        return Err(Problem::NotFound(Resource::Notification(id)));
    }
    Ok(())
}

/// Deletes those that a message has caused, which is gone, so that nobody writes them again; `most` at most. Returns whose
/// they were, and whether their receiver still had them.
///
/// # Errors
/// The database's.
pub async fn delete_of(
    db: &mut PgConnection,
    message: MessageId,
    most: i64,
) -> Result<Vec<(UserId, NotificationId, bool)>, Problem> {
    const SQL: &str = "delete from notifications where id in (select id from notifications where cause_id = $1 limit $2) \
                       returning receiver_id, id, dismissed_at is null";
    Ok(sqlx::query_as(SQL)
        .bind(message)
        .bind(most)
        .fetch_all(db)
        .await?)
}

/// Forgets what was dismissed longer than `age` ago, `most` at most. Returns how many.
///
/// # Errors
/// The database's.
pub async fn sweep(db: &PgPool, age: Duration, most: i64) -> Result<u64, Problem> {
    const SQL: &str = "delete from notifications where id in (select id from notifications \
                       where dismissed_at < clock_timestamp() - make_interval(secs => $1) limit $2 for update skip locked)";
    let swept = sqlx::query(SQL)
        .bind(age.as_secs_f64())
        .bind(most)
        .execute(db)
        .await?;
    Ok(swept.rows_affected())
}
