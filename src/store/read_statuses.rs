//! Read statuses.

use time::OffsetDateTime;
use uuid::Uuid;

use crate::{
    ids::{ChannelId, EventId, ReadStatusId, UserId},
    model::{NotificationLevel, ReadStatus, Topic, event::READ_STATUSES_UPDATED},
    problem::{Problem, Resource},
    store::{Db, OnConstraint, Transaction, visibility::visible},
};

/// The position of the last message of a channel at an instant, or 0.
macro_rules! position_at {
    ($channel:literal, $at:literal) => {
        concat!(
            "coalesce((select p.seq from messages p where p.channel_id = ",
            $channel,
            " and p.created_at <= ",
            $at,
            " order by p.created_at desc, p.seq desc limit 1), 0)"
        )
    };
}

/// The select of a [`ReadStatus`] from the rows `r`, which have the columns of the table.
///
/// It reads at most 1,000 mentions and 100 messages from their indexes, and none when nothing is unread.
macro_rules! select {
    ($rows:expr) => {
        concat!(
            "select s.*, (select count(*) from (select from mentions n where n.user_id = s.user_id and n.channel_id = s.channel_id \
               and n.seq > s.last_read_seq limit 1000) as counted) as mentions, \
             coalesce((select case when l.count < 100 then c.last_seq - s.last_read_seq - l.count else 0 end \
               from channels c cross join lateral (select count(*) from (select from messages m where m.channel_id = c.id \
                 and m.seq > s.last_read_seq limit 100) as counted) l \
               where c.id = s.channel_id and c.last_seq > s.last_read_seq), 0) as unread_deleted \
             from (select r.id, r.user_id, r.channel_id, r.last_read_at, r.notification_enabled, coalesce(r.last_read_seq, ",
            position_at!("r.channel_id", "r.last_read_at"),
            ") as last_read_seq, case when r.notification_enabled then 'ALL' when r.mentions_only then 'MENTIONS' else 'NONE' end \
             as notification_level from ",
            $rows,
            ") s"
        )
    };
}

/// A common table expression that inserts the outbox rows of the rows `r` that have `moved`, in the same statement: a transaction of
/// several statements would take four round trips in place of one. Who publishes such a row reads the read status.
macro_rules! published {
    ($event:literal, $topic:literal, $kind:literal) => {
        concat!(
            "e as (insert into outbox (event_id, topic, key, kind, body) select ",
            $event,
            ", ",
            $topic,
            ", r.user_id::text, ",
            $kind,
            ", json_build_object('id', r.id)::text from r where r.moved returning id) "
        )
    };
}

/// The select of a [`Written`] from the rows `r`.
macro_rules! written {
    () => {
        concat!(
            "select w.*, (select id from e) as event_row from (",
            select!("r"),
            ") w"
        )
    };
}

/// A read status that was created or changed.
#[derive(Debug, sqlx::FromRow)]
pub struct Written {
    /// The read status.
    #[sqlx(flatten)]
    pub status: ReadStatus,
    /// The outbox row of its event; none when the position has not moved forward.
    pub event_row: Option<i64>,
}

/// Creates a read status, with its event unless the user has read nothing.
///
/// Without a level, notifications start on for a private channel and off for a public one.
///
/// # Errors
/// [`Problem::ReadStatusExists`]; not found when the channel is invisible to the user; PostgreSQL fails.
pub async fn insert(
    db: &Db,
    user: UserId,
    channel: ChannelId,
    last_read_at: OffsetDateTime,
    level: Option<NotificationLevel>,
    event: EventId,
) -> Result<Written, Problem> {
    const SQL: &str = concat!(
        "with r as (insert into read_statuses (id, user_id, channel_id, last_read_at, last_read_seq, notification_enabled, mentions_only) \
         select $1, u.id, c.id, $4, ",
        position_at!("$3", "$4"),
        ", coalesce($5 = 'ALL', c.type = 'PRIVATE'), coalesce($5 = 'MENTIONS', false) from channels c, users u \
         where u.id = $2 and c.id = $3 and ",
        visible!("c", "u.id"),
        " for key share of c returning *, last_read_seq > 0 as moved), ",
        published!("$6", "$7", "$8"),
        written!()
    );
    sqlx::query_as(SQL)
        .bind(ReadStatusId::new())
        .bind(user)
        .bind(channel)
        .bind(last_read_at)
        .bind(level)
        .bind(event)
        .bind(Topic::Sse.name())
        .bind(READ_STATUSES_UPDATED)
        .fetch_optional(db)
        .await
        .on_constraint(&[("read_statuses_once", || Problem::ReadStatusExists)])?
        .ok_or(Problem::NotFound(Resource::Channel(channel)))
}

/// Changes of a read status; `None` leaves a field unchanged.
#[derive(Clone, Copy, Debug, Default)]
pub struct Changes {
    /// The user has read messages up to this instant.
    pub last_read_at: Option<OffsetDateTime>,
    /// The user has read messages up to this position. Without `last_read_at`, that is now.
    pub last_read_seq: Option<i64>,
    /// Whether the position may move back.
    pub force: bool,
    /// The messages that notify the user.
    pub level: Option<NotificationLevel>,
}

/// Changes a read status, with its event if the position moves forward.
///
/// Without a position, the instant gives it. The position is at most that of the channel's newest message.
///
/// # Errors
/// Not found, also when another user owns it or its channel is deleted or invisible; PostgreSQL fails.
pub async fn update(
    db: &Db,
    id: ReadStatusId,
    owner: UserId,
    changes: Changes,
    event: EventId,
) -> Result<Written, Problem> {
    // The row is locked before its position is compared, so that a client that is late moves nothing back.
    const SQL: &str = concat!(
        "with old as (select o.id, coalesce(o.last_read_seq, ",
        position_at!("o.channel_id", "o.last_read_at"),
        ") as seq, c.last_seq as newest, c.id as channel_id from read_statuses o join channels c on c.id = o.channel_id \
         where o.id = $1 and o.user_id = $2 and ",
        visible!("c", "o.user_id"),
        " for no key update of o), new as (select old.*, case when $4::bigint is not null \
           then case when $5 then least($4, newest) else greatest(least($4, newest), seq) end \
           when $3::timestamptz is not null then ",
        position_at!("old.channel_id", "$3"),
        " else seq end as next from old), r as (update read_statuses r set \
           last_read_at = case when $3 is not null then $3 when $4 is not null and next <> seq then clock_timestamp() else r.last_read_at end, \
           last_read_seq = next, \
           notification_enabled = coalesce($6 = 'ALL', r.notification_enabled), \
           mentions_only = coalesce($6 = 'MENTIONS', r.mentions_only) \
         from new where r.id = new.id returning r.*, next > seq as moved), ",
        published!("$7", "$8", "$9"),
        written!()
    );
    sqlx::query_as(SQL)
        .bind(id)
        .bind(owner)
        .bind(changes.last_read_at)
        .bind(changes.last_read_seq)
        .bind(changes.force)
        .bind(changes.level)
        .bind(event)
        .bind(Topic::Sse.name())
        .bind(READ_STATUSES_UPDATED)
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
        select!(concat!(
            "(select l.* from read_statuses l join channels c on c.id = l.channel_id where l.user_id = $1 and l.id > $2 and ",
            visible!("c", "l.user_id"),
            " order by l.id limit $3) r"
        )),
        " order by s.id"
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

/// The read statuses with these ids whose channels are visible to their users.
///
/// # Errors
/// PostgreSQL fails.
pub async fn with_ids(
    db: &mut Transaction,
    ids: &[ReadStatusId],
) -> Result<Vec<ReadStatus>, Problem> {
    const SQL: &str = select!(concat!(
        "(select l.* from read_statuses l join channels c on c.id = l.channel_id where l.id = any($1) and ",
        visible!("c", "l.user_id"),
        ") r"
    ));
    Ok(sqlx::query_as(SQL).bind(ids).fetch_all(db).await?)
}
