//! Read statuses.

use sqlx::PgPool;
use time::OffsetDateTime;

use crate::{
    ids::{ChannelId, ReadStatusId, UserId},
    model::ReadStatus,
    problem::{Problem, Resource},
    store::{OnConstraint, visibility::visible},
};

/// Creates one; notifications start on for a private channel and off for a public one.
///
/// # Errors
/// [`Problem::ReadStatusExists`]; not found when the user may not read the channel; the database's.
pub async fn insert(
    db: &PgPool,
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

/// Changes one; `None` leaves unchanged.
///
/// # Errors
/// Not found, also when it is another user's or of a channel that is gone; the database's.
pub async fn update(
    db: &PgPool,
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

/// Those of a user, of channels that are there.
///
/// # Errors
/// The database's.
pub async fn of(db: &PgPool, user: UserId) -> Result<Vec<ReadStatus>, Problem> {
    const SQL: &str = concat!(
        "select r.id, r.user_id, r.channel_id, r.last_read_at, r.notification_enabled \
         from read_statuses r join channels c on c.id = r.channel_id where r.user_id = $1 and ",
        visible!("c", "r.user_id"),
        " order by r.id"
    );
    Ok(sqlx::query_as(SQL).bind(user).fetch_all(db).await?)
}
