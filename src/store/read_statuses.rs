//! Read statuses.

use sqlx::PgPool;
use time::OffsetDateTime;

use crate::{
    ids::{ChannelId, ReadStatusId, UserId},
    model::ReadStatus,
    problem::{Problem, Resource},
    store::OnConstraint,
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
    const SQL: &str = "insert into read_statuses (id, user_id, channel_id, last_read_at, notification_enabled) \
                       select $1, u.id, c.id, $4, c.type = 'PRIVATE' from channels c, users u \
                       where u.id = $2 and c.id = $3 and (c.type = 'PUBLIC' \
                       or exists (select from channel_participants p where p.channel_id = c.id and p.user_id = $2)) \
                       for key share of c returning id, user_id, channel_id, last_read_at, notification_enabled";
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
    const SQL: &str = "update read_statuses set last_read_at = coalesce($3, last_read_at), \
                       notification_enabled = coalesce($4, notification_enabled) where id = $1 and user_id = $2 \
                       and exists (select from channels c where c.id = channel_id) \
                       returning id, user_id, channel_id, last_read_at, notification_enabled";
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
    const SQL: &str = "select id, user_id, channel_id, last_read_at, notification_enabled from read_statuses where user_id = $1 \
                       and exists (select from channels c where c.id = channel_id) order by id";
    Ok(sqlx::query_as(SQL).bind(user).fetch_all(db).await?)
}
