//! Read statuses.

use time::OffsetDateTime;
use uuid::Uuid;

use crate::{
    ids::{ChannelId, ReadStatusId, UserId},
    model::ReadStatus,
    problem::{Problem, Resource},
    store::{Db, OnConstraint, visibility::visible},
};

/// Creates a read status.
///
/// Notifications start on for a private channel and off for a public one.
///
/// # Errors
/// [`Problem::ReadStatusExists`]; not found when the channel is invisible to the user; PostgreSQL fails.
pub async fn insert(
    db: &Db,
    user: UserId,
    channel: ChannelId,
    last_read_at: OffsetDateTime,
) -> Result<ReadStatus, Problem> {
    const SQL: &str = concat!(
        "insert into read_statuses (id, user_id, channel_id, last_read_at, notification_enabled) \
         select $1, u.id, c.id, $4, c.type = 'PRIVATE' from channels c, users u where u.id = $2 and c.id = $3 and ",
        visible!("c", "u.id"),
        " for key share of c returning id, user_id, channel_id, last_read_at, notification_enabled"
    );
    sqlx::query_as(SQL)
        .bind(ReadStatusId::new())
        .bind(user)
        .bind(channel)
        .bind(last_read_at)
        .fetch_optional(db)
        .await
        .on_constraint(&[("read_statuses_once", || Problem::ReadStatusExists)])?
        .ok_or(Problem::NotFound(Resource::Channel(channel)))
}

/// Changes a read status; `None` leaves a field unchanged.
///
/// # Errors
/// Not found, also when another user owns it or its channel is deleted or invisible; PostgreSQL fails.
pub async fn update(
    db: &Db,
    id: ReadStatusId,
    owner: UserId,
    last_read_at: Option<OffsetDateTime>,
    notification_enabled: Option<bool>,
) -> Result<ReadStatus, Problem> {
    const SQL: &str = concat!(
        "update read_statuses r set last_read_at = coalesce($3, r.last_read_at), \
         notification_enabled = coalesce($4, r.notification_enabled) from channels c \
         where r.id = $1 and r.user_id = $2 and c.id = r.channel_id and ",
        visible!("c", "r.user_id"),
        " returning r.id, r.user_id, r.channel_id, r.last_read_at, r.notification_enabled"
    );
    sqlx::query_as(SQL)
        .bind(id)
        .bind(owner)
        .bind(last_read_at)
        .bind(notification_enabled)
        .fetch_optional(db)
        .await?
        .ok_or(Problem::NotFound(Resource::ReadStatus(id)))
}

/// A user's read statuses, for the channels that are visible to the user, in the order of their ids.
///
/// Starts after `after` and has at most `limit`.
///
/// # Errors
/// PostgreSQL fails.
pub async fn list(
    db: &Db,
    user: UserId,
    after: Option<ReadStatusId>,
    limit: i64,
) -> Result<Vec<(ReadStatusId, ReadStatus)>, Problem> {
    const SQL: &str = concat!(
        "select r.id, r.user_id, r.channel_id, r.last_read_at, r.notification_enabled \
         from read_statuses r join channels c on c.id = r.channel_id where r.user_id = $1 and r.id > $2 and ",
        visible!("c", "r.user_id"),
        " order by r.id limit $3"
    );
    let statuses: Vec<ReadStatus> = sqlx::query_as(SQL)
        .bind(user)
        .bind(after.unwrap_or(ReadStatusId(Uuid::nil())))
        .bind(limit)
        .fetch_all(db)
        .await?;
    Ok(statuses
        .into_iter()
        .map(|status| (status.id, status))
        .collect())
}
