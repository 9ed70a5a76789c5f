//! Notifications.

use std::time::Duration;

use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

use super::outbox::{self, Stored};
use crate::{
    ids::{NotificationId, UserId},
    model::{Event, NotificationDto, NotificationKind},
    problem::{Missing, Problem},
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
pub async fn insert(db: &mut PgConnection, new: &[New]) -> Result<Vec<Stored>, Problem> {
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
    let written: Vec<NotificationDto> = sqlx::query_as(SQL)
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

/// Those of a user that are not dismissed, newest first, `most` at most.
///
/// # Errors
/// The database's.
pub async fn of(db: &PgPool, receiver: UserId, most: i64) -> Result<Vec<NotificationDto>, Problem> {
    const SQL: &str = "select id, created_at, receiver_id, title, content, type, target_id from notifications \
                       where receiver_id = $1 and dismissed_at is null order by id desc limit $2";
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
        return Err(Problem::NotFound(Missing::Notification(id)));
    }
    Ok(())
}

/// Forgets what was dismissed longer than `age` ago. Returns how many.
///
/// # Errors
/// The database's.
pub async fn sweep(db: &PgPool, age: Duration) -> Result<u64, Problem> {
    const SQL: &str = "delete from notifications where dismissed_at < clock_timestamp() - make_interval(secs => $1)";
    let swept = sqlx::query(SQL).bind(age.as_secs_f64()).execute(db).await?;
    Ok(swept.rows_affected())
}
