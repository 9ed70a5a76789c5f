//! Notifications.

use std::{collections::HashSet, time::Duration};

use uuid::Uuid;

use crate::{
    ids::{ChannelId, MessageId, NotificationId, UserId},
    model::{Event, Notification, NotificationKind, NotificationReason},
    problem::{Problem, Resource},
    store::{
        Db, Transaction,
        outbox::{self, OutboxRow},
        visibility::visible,
    },
};

/// A notification to insert.
#[derive(Clone, Debug)]
pub struct NewNotification {
    /// The receiver.
    pub receiver: UserId,
    /// The reason.
    pub kind: NotificationKind,
    /// The message, the file or the role change.
    ///
    /// A cause has one notification for each receiver; later inserts do nothing.
    pub cause: Uuid,
    /// The title, one line.
    pub title: String,
    /// The text.
    pub content: String,
    /// The channel or user that a client opens.
    pub target: Option<Uuid>,
    /// Why a message notifies the receiver.
    pub reason: Option<NotificationReason>,
}

/// Inserts notifications and their events.
///
/// Skips existing notifications and deleted receivers.
///
/// # Errors
/// PostgreSQL fails.
pub async fn insert(
    db: &mut Transaction,
    new: &[NewNotification],
) -> Result<Vec<OutboxRow>, Problem> {
    const SQL: &str = "insert into notifications (id, receiver_id, type, cause_id, title, content, target_id, created_at, reason) \
                       select n.id, u.id, n.type, n.cause_id, n.title, n.content, n.target_id, clock_timestamp(), n.reason \
                       from unnest($1::uuid[], $2::uuid[], $3::text[], $4::uuid[], $5::text[], $6::text[], $7::uuid[], $8::text[]) \
                         as n (id, receiver_id, type, cause_id, title, content, target_id, reason) \
                       join (select id from users where id = any($2) order by id for key share) u on u.id = n.receiver_id \
                       order by n.id on conflict on constraint notifications_once do nothing \
                       returning id, created_at, receiver_id, title, content, type, target_id, reason";
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
        .bind(new.iter().map(|n| n.reason).collect::<Vec<_>>())
        .fetch_all(&mut *db)
        .await?;
    let events = written
        .iter()
        .map(|written| Event::notification(written.receiver_id, written));
    outbox::insert(db, events.collect()).await
}

/// A message with the texts of its notifications.
#[derive(Clone, Debug, sqlx::FromRow)]
pub struct NotifiedMessage {
    /// Message.
    pub message: MessageId,
    /// Channel.
    pub channel: ChannelId,
    /// Position of the message.
    seq: i64,
    /// The channel's name; none for most private channels.
    pub channel_name: Option<String>,
    /// The author, who gets no notification.
    author_id: Option<UserId>,
    /// The author's name, unless the account is deleted.
    pub author: Option<String>,
    /// The users whom the message mentions.
    mentions: Option<Vec<UserId>>,
    /// The author of the message to which it replies.
    replied_to: Option<UserId>,
    /// The message's text; the names of its files when it has no text.
    pub content: String,
}

/// Locks a message against deletion until the transaction ends.
///
/// So no deleted message gets notifications.
///
/// `None` when the message or its channel is deleted.
///
/// # Errors
/// PostgreSQL fails.
pub async fn message_for_notification(
    db: &mut Transaction,
    message: MessageId,
) -> Result<Option<NotifiedMessage>, Problem> {
    const SQL: &str = "select m.id as message, m.seq, c.id as channel, c.name as channel_name, m.author_id, a.username as author, m.mentions, \
                       (select r.author_id from messages r where r.id = m.reply_to_id) as replied_to, \
                       coalesce(nullif(btrim(m.content), ''), (select string_agg(f.file_name, ', ' order by f.position) \
                       from binary_contents f where f.message_id = m.id), '') as content \
                       from messages m join channels c on c.id = m.channel_id left join users a on a.id = m.author_id \
                       where m.id = $1 for key share of m";
    Ok(sqlx::query_as(SQL).bind(message).fetch_optional(db).await?)
}

impl NotifiedMessage {
    /// Why the message notifies a user.
    pub fn reason(&self, receiver: UserId) -> NotificationReason {
        if self.mentions.iter().flatten().any(|user| *user == receiver) {
            NotificationReason::Mention
        } else if self.replied_to == Some(receiver) {
            NotificationReason::Reply
        } else {
            NotificationReason::Message
        }
    }

    /// The users whom it mentions, and the author of the message to which it replies.
    fn addressed(&self) -> Vec<UserId> {
        let mentions = self.mentions.iter().flatten();
        mentions.chain(&self.replied_to).copied().collect()
    }
}

/// The users to notify of a message because it mentions them or replies to them, and who do not want all notifications.
///
/// They are few, see [`MAX_MENTIONS`](crate::model::mention::MAX_MENTIONS).
///
/// # Errors
/// PostgreSQL fails.
pub async fn addressed_receivers(
    db: &mut Transaction,
    message: &NotifiedMessage,
) -> Result<Vec<UserId>, Problem> {
    const SQL: &str = concat!(
        "select r.user_id from read_statuses r join channels c on c.id = r.channel_id where r.channel_id = $1 \
         and r.user_id = any($2) and r.mentions_only and not r.notification_enabled and r.user_id is distinct from $3 and ",
        visible!("c", "r.user_id", seq: "$4"),
        " order by r.user_id"
    );
    let addressed = message.addressed();
    if addressed.is_empty() {
        return Ok(Vec::new());
    }
    Ok(sqlx::query_scalar(SQL)
        .bind(message.channel)
        .bind(addressed)
        .bind(message.author_id)
        .bind(message.seq)
        .fetch_all(db)
        .await?)
}

/// A page of the users to notify of each message, in the order of their ids.
///
/// Starts after the user `after` and has at most `limit` users.
///
/// PostgreSQL reads them from an index, so the cost of a page does not depend on the number of users with notifications on.
///
/// # Errors
/// PostgreSQL fails.
pub async fn receivers(
    db: &mut Transaction,
    message: &NotifiedMessage,
    after: Option<UserId>,
    limit: i64,
) -> Result<Vec<UserId>, Problem> {
    const SQL: &str = concat!(
        "select r.user_id from read_statuses r where r.channel_id = $1 and r.notification_enabled \
         and r.user_id > $2 and r.user_id is distinct from $3 and ",
        // Not a join: PostgreSQL would sort all receivers for each page.
        visible!(
            kind: "(select c.type from channels c where c.id = $1)",
            id: "$1",
            user: "r.user_id",
            seq: "$5"
        ),
        " order by r.user_id limit $4"
    );
    Ok(sqlx::query_scalar(SQL)
        .bind(message.channel)
        .bind(after.unwrap_or(UserId(Uuid::nil())))
        .bind(message.author_id)
        .bind(limit)
        .bind(message.seq)
        .fetch_all(db)
        .await?)
}

/// The SQL condition for notifications to show.
///
/// They are not dismissed, and their message exists in a channel that is visible to the receiver.
macro_rules! present {
    () => {
        concat!(
            "n.dismissed_at is null and (n.type <> 'NEW_MESSAGE' or exists ( \
             select from messages m join channels c on c.id = m.channel_id where m.id = n.cause_id and ",
            visible!("c", "n.receiver_id", seq: "m.seq"),
            "))"
        )
    };
}

/// The notifications among `ids` to show to their receiver.
///
/// # Errors
/// PostgreSQL fails.
pub async fn present(
    db: &Db,
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

/// A user's notifications, newest first, after the notification `after` and at most `limit`.
///
/// # Errors
/// PostgreSQL fails.
pub async fn list(
    db: &Db,
    receiver: UserId,
    after: Option<NotificationId>,
    limit: i64,
) -> Result<Vec<(NotificationId, Notification)>, Problem> {
    const SQL: &str = concat!(
        "select id, created_at, receiver_id, title, content, type, target_id, reason from notifications n \
         where receiver_id = $1 and id < $2 and ",
        present!(),
        " order by id desc limit $3"
    );
    let notifications: Vec<Notification> = sqlx::query_as(SQL)
        .bind(receiver)
        .bind(after.unwrap_or(NotificationId(Uuid::max())))
        .bind(limit)
        .fetch_all(db)
        .await?;
    Ok(notifications
        .into_iter()
        .map(|notification| (notification.id, notification))
        .collect())
}

/// Dismisses a notification and clears its texts.
///
/// # Errors
/// Not found, also when another user is the receiver or it is dismissed already; PostgreSQL fails.
pub async fn dismiss(
    db: &mut Transaction,
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

/// Deletes notifications of a deleted message, at most `limit`.
///
/// Returns the receiver, the id, and whether it was not dismissed.
///
/// No job inserts them again, because a job finds no message.
///
/// # Errors
/// PostgreSQL fails.
pub async fn delete_of(
    db: &mut Transaction,
    message: MessageId,
    limit: i64,
) -> Result<Vec<(UserId, NotificationId, bool)>, Problem> {
    const SQL: &str = "delete from notifications where id in (select id from notifications where cause_id = $1 limit $2) \
                       returning receiver_id, id, dismissed_at is null";
    Ok(sqlx::query_as(SQL)
        .bind(message)
        .bind(limit)
        .fetch_all(db)
        .await?)
}

/// Deletes notifications dismissed longer than `age` ago, at most `limit`.
///
/// Returns their number.
///
/// # Errors
/// PostgreSQL fails.
pub async fn sweep(db: &Db, age: Duration, limit: i64) -> Result<u64, Problem> {
    const SQL: &str = "delete from notifications where id in (select id from notifications \
                       where dismissed_at < clock_timestamp() - make_interval(secs => $1) limit $2 for update skip locked)";
    let swept = sqlx::query(SQL)
        .bind(age.as_secs_f64())
        .bind(limit)
        .execute(db)
        .await?;
    Ok(swept.rows_affected())
}
