//! Channels and their participants.

use std::collections::HashMap;

use time::OffsetDateTime;

use crate::{
    ids::{ChannelId, MessageId, UserId},
    model::{Channel, ChannelActivity, ChannelKind, User},
    problem::{Problem, Resource},
    store::{CreationKey, Db, Transaction, purge, users, visibility::visible},
};

/// A row of `channels`, without participants.
#[derive(Clone, Debug, sqlx::FromRow)]
pub struct ChannelRow {
    id: ChannelId,
    name: Option<String>,
    description: Option<String>,
    /// Public or private.
    #[sqlx(rename = "type")]
    pub kind: ChannelKind,
    last_message_at: OffsetDateTime,
    last_seq: i64,
    with_history: bool,
}

impl ChannelRow {
    fn with(self, participants: Vec<User>) -> Channel {
        let Self {
            id,
            name,
            description,
            kind,
            last_message_at,
            last_seq,
            with_history,
        } = self;
        Channel {
            id,
            name,
            description,
            kind,
            participants,
            last_message_at,
            last_seq,
            with_history,
        }
    }
}

/// Creates a public channel.
///
/// # Errors
/// PostgreSQL fails.
pub async fn insert_public(
    db: &mut Transaction,
    name: &str,
    description: &str,
) -> Result<Channel, Problem> {
    const SQL: &str = "insert into channels (id, type, name, description) values ($1, 'PUBLIC', $2, $3) \
                       returning id, name, description, type, created_at as last_message_at, last_seq, with_history";
    let channel: ChannelRow = sqlx::query_as(SQL)
        .bind(ChannelId::new())
        .bind(name)
        .bind(description)
        .fetch_one(db)
        .await?;
    Ok(channel.with(Vec::new()))
}

/// Limits of private channels.
#[derive(Clone, Copy, Debug)]
pub struct Quotas {
    /// Channels that one user has created.
    pub created: u32,
    /// Channels that others have created and that one user is in.
    pub invitations: u32,
    /// Of these, channels that the same other user has created.
    pub invitations_by_one: u32,
}

/// The properties of a new private channel.
#[derive(Clone, Debug, Default)]
pub struct NewPrivate {
    /// Name, in a channel of three or more.
    pub name: Option<String>,
    /// Whether participants who are added later see the messages from before.
    pub with_history: bool,
}

/// Creates a private channel.
///
/// Each participant gets a read status with notifications on.
///
/// # Errors
/// [`Problem::NotFound`] with the first user who does not exist, [`Problem::QuotaExceeded`], or PostgreSQL fails.
pub async fn insert_private(
    db: &mut Transaction,
    creator: UserId,
    participants: &[UserId],
    kind: &NewPrivate,
    quotas: Quotas,
) -> Result<Channel, Problem> {
    const MEMBERS: &str = concat!(
        "select ",
        users::columns!(),
        " from users u",
        users::picture!(),
        "where u.id = any($1) order by u.created_at, u.id for key share of u"
    );
    const SQL: &str = "insert into channels (id, type, created_by, name, with_history) values ($1, 'PRIVATE', $2, $3, $4) \
                       returning id, name, description, type, created_at as last_message_at, last_seq, with_history";
    const JOIN: &str = "with joined as (insert into channel_participants (channel_id, user_id, invited_by) \
                          select $1, p.id, nullif($4, p.id) from unnest($2) as p (id)) \
                        insert into read_statuses (id, user_id, channel_id, last_read_at, notification_enabled) \
                        select gen_random_uuid(), unnest($2), $1, $3, true";
    check_quotas(db, creator, quotas).await?;
    check_invitations(db, creator, participants, quotas).await?;
    // Locked until the commit: deleting one of these users at the same time would violate the foreign key.
    let members: Vec<User> = sqlx::query_as(MEMBERS)
        .bind(participants)
        .fetch_all(&mut *db)
        .await?;
    if let Some(unknown) = participants
        .iter()
        .find(|id| !members.iter().any(|member| member.id == **id))
    {
        return Err(Problem::NotFound(Resource::User(*unknown)));
    }
    let channel: ChannelRow = sqlx::query_as(SQL)
        .bind(ChannelId::new())
        .bind(creator)
        .bind(&kind.name)
        .bind(kind.with_history)
        .fetch_one(&mut *db)
        .await?;
    sqlx::query(JOIN)
        .bind(channel.id)
        .bind(participants)
        .bind(channel.last_message_at)
        .bind(creator)
        .execute(db)
        .await?;
    Ok(channel.with(members))
}

/// Fails if a new private channel would exceed a quota of its creator.
///
/// The creator's row is locked, so requests of one creator take turns. Requests of several creators do not see each other: a
/// user may be in as many channels more as requests run at the same time.
async fn check_quotas(
    db: &mut Transaction,
    creator: UserId,
    quotas: Quotas,
) -> Result<(), Problem> {
    const LOCK: &str = "select 1 from users where id = $1 for no key update";
    const CREATED: &str = "select count(*) from channels where created_by = $1";
    sqlx::query(LOCK).bind(creator).execute(&mut *db).await?;
    let created: i64 = sqlx::query_scalar(CREATED)
        .bind(creator)
        .fetch_one(db)
        .await?;
    if created >= i64::from(quotas.created) {
        return Err(Problem::QuotaExceeded {
            quota: "privateChannels",
            limit: quotas.created.into(),
            user: None,
        });
    }
    Ok(())
}

/// Fails if a quota of one of the users whom `inviter` puts into a private channel is used up.
async fn check_invitations(
    db: &mut Transaction,
    inviter: UserId,
    users: &[UserId],
    quotas: Quotas,
) -> Result<(), Problem> {
    const INVITED: &str = "select user_id, count(*) >= $3 from channel_participants \
                           where user_id = any($2) and user_id <> $1 and invited_by is not null group by user_id \
                           having count(*) >= $3 or count(*) filter (where invited_by = $1) >= $4 limit 1";
    let full: Option<(UserId, bool)> = sqlx::query_as(INVITED)
        .bind(inviter)
        .bind(users)
        .bind(i64::from(quotas.invitations))
        .bind(i64::from(quotas.invitations_by_one))
        .fetch_optional(db)
        .await?;
    let Some((user, by_all)) = full else {
        return Ok(());
    };
    let (quota, limit) = if by_all {
        ("invitations", quotas.invitations)
    } else {
        ("invitationsByOne", quotas.invitations_by_one)
    };
    Err(Problem::QuotaExceeded {
        quota,
        limit: limit.into(),
        user: Some(user),
    })
}

/// Locks a channel until the transaction ends.
///
/// # Errors
/// Not found, or PostgreSQL fails.
pub async fn lock(db: &mut Transaction, id: ChannelId) -> Result<ChannelRow, Problem> {
    const SQL: &str = "select id, name, description, type, coalesce(last_message_at, created_at) as last_message_at, last_seq, with_history \
                       from channels where id = $1 for update";
    sqlx::query_as(SQL)
        .bind(id)
        .fetch_optional(db)
        .await?
        .ok_or(Problem::NotFound(Resource::Channel(id)))
}

/// Changes a channel; `None` leaves a field unchanged.
///
/// # Errors
/// Not found, or PostgreSQL fails.
pub async fn update(
    db: &mut Transaction,
    id: ChannelId,
    name: Option<&str>,
    description: Option<&str>,
) -> Result<Channel, Problem> {
    const SQL: &str = "update channels set name = coalesce($2, name), description = coalesce($3, description) where id = $1 \
                       returning id, name, description, type, coalesce(last_message_at, created_at) as last_message_at, last_seq, with_history";
    let channel: Option<ChannelRow> = sqlx::query_as(SQL)
        .bind(id)
        .bind(name)
        .bind(description)
        .fetch_optional(db)
        .await?;
    channel
        .map(|channel| channel.with(Vec::new()))
        .ok_or(Problem::NotFound(Resource::Channel(id)))
}

/// Deletes a channel's row, which hides its messages, files and read statuses.
///
/// [`super::purge`] deletes those later.
///
/// # Errors
/// PostgreSQL fails.
pub async fn delete(db: &mut Transaction, id: ChannelId) -> Result<(), Problem> {
    sqlx::query("delete from channels where id = $1")
        .bind(id)
        .execute(&mut *db)
        .await?;
    purge::add(db, purge::Kind::Channel, &[id.0]).await
}

/// Adds a user to a private channel, whose row is locked. Without the history, the user sees later messages only.
///
/// The user gets a read status with notifications on. False if the user is a participant.
///
/// # Errors
/// [`Problem::NotFound`] when the user does not exist, [`Problem::QuotaExceeded`], or PostgreSQL fails.
pub async fn add_participant(
    db: &mut Transaction,
    channel: &ChannelRow,
    user: UserId,
    inviter: UserId,
    quotas: Quotas,
) -> Result<bool, Problem> {
    // The locks keep both accounts from being deleted, which would leave the channel without the inviter.
    const LOCK: &str = "select id from users where id = any($1) order by id for key share";
    const ADD: &str = "insert into channel_participants (channel_id, user_id, invited_by, visible_after) \
                       values ($1, $2, $3, $4) on conflict do nothing";
    const READ: &str = "insert into read_statuses (id, user_id, channel_id, last_read_at, last_read_seq, notification_enabled) \
                        values (gen_random_uuid(), $1, $2, clock_timestamp(), $3, true) on conflict do nothing";
    let found: Vec<UserId> = sqlx::query_scalar(LOCK)
        .bind([user, inviter])
        .fetch_all(&mut *db)
        .await?;
    if let Some(unknown) = [user, inviter].iter().find(|id| !found.contains(id)) {
        return Err(Problem::NotFound(Resource::User(*unknown)));
    }
    check_invitations(&mut *db, inviter, &[user], quotas).await?;
    let visible_after = if channel.with_history {
        0
    } else {
        channel.last_seq
    };
    let added = sqlx::query(ADD)
        .bind(channel.id)
        .bind(user)
        .bind(inviter)
        .bind(visible_after)
        .execute(&mut *db)
        .await?;
    if added.rows_affected() == 0 {
        return Ok(false);
    }
    sqlx::query(READ)
        .bind(user)
        .bind(channel.id)
        .bind(channel.last_seq)
        .execute(db)
        .await?;
    Ok(true)
}

/// Removes a user and the user's read status from a private channel.
///
/// False if the user is no participant.
///
/// # Errors
/// PostgreSQL fails.
pub async fn remove_participant(
    db: &mut Transaction,
    id: ChannelId,
    user: UserId,
) -> Result<bool, Problem> {
    const SQL: &str = "with removed as (delete from channel_participants where channel_id = $1 and user_id = $2 returning 1), \
                       status as (delete from read_statuses where channel_id = $1 and user_id = $2 and exists (select from removed)) \
                       select exists (select from removed)";
    Ok(sqlx::query_scalar(SQL)
        .bind(id)
        .bind(user)
        .fetch_one(db)
        .await?)
}

/// The memberships among `members` that have ended.
///
/// The user has left the private channel, or the channel is deleted.
///
/// # Errors
/// PostgreSQL fails.
pub async fn lost_memberships(
    db: &Db,
    members: &[(ChannelId, UserId)],
) -> Result<Vec<(ChannelId, UserId)>, Problem> {
    const SQL: &str = "select channel_id, user_id from unnest($1::uuid[], $2::uuid[]) as m (channel_id, user_id) \
                       where not exists (select from channel_participants p where p.channel_id = m.channel_id and p.user_id = m.user_id)";
    let (channels, users): (Vec<_>, Vec<_>) = members.iter().copied().unzip();
    Ok(sqlx::query_as(SQL)
        .bind(channels)
        .bind(users)
        .fetch_all(db)
        .await?)
}

/// The participants of a private channel; empty for a public channel.
///
/// # Errors
/// PostgreSQL fails.
pub async fn participants(db: &mut Transaction, id: ChannelId) -> Result<Vec<UserId>, Problem> {
    Ok(
        sqlx::query_scalar("select user_id from channel_participants where channel_id = $1")
            .bind(id)
            .fetch_all(db)
            .await?,
    )
}

/// The participants of a private channel as users, by creation time.
///
/// # Errors
/// PostgreSQL fails.
pub async fn members(db: &mut Transaction, id: ChannelId) -> Result<Vec<User>, Problem> {
    const SQL: &str = concat!(
        "select ",
        users::columns!(),
        " from channel_participants p join users u on u.id = p.user_id",
        users::picture!(),
        "where p.channel_id = $1 order by u.created_at, u.id"
    );
    Ok(sqlx::query_as(SQL).bind(id).fetch_all(db).await?)
}

/// The users to whom a channel is visible.
pub enum Audience {
    /// Every user: the channel is public.
    Everyone,
    /// The participants of a private channel.
    ///
    /// Empty when the message or its channel is deleted.
    Participants(Vec<UserId>),
}

/// The users to whom a message's channel is visible.
///
/// # Errors
/// PostgreSQL fails.
pub async fn audience(db: &mut Transaction, message: MessageId) -> Result<Audience, Problem> {
    const SQL: &str = "select c.type, array(select p.user_id from channel_participants p where p.channel_id = c.id and p.visible_after < m.seq) \
                       from messages m join channels c on c.id = m.channel_id where m.id = $1";
    let found: Option<(ChannelKind, Vec<UserId>)> =
        sqlx::query_as(SQL).bind(message).fetch_optional(db).await?;
    Ok(match found {
        Some((ChannelKind::Public, _)) => Audience::Everyone,
        Some((ChannelKind::Private, participants)) => Audience::Participants(participants),
        None => Audience::Participants(Vec::new()),
    })
}

/// The private channels of a user, each with all its participants.
///
/// # Errors
/// PostgreSQL fails.
pub async fn private_of(
    db: &mut Transaction,
    user: UserId,
) -> Result<Vec<(ChannelId, Vec<UserId>)>, Problem> {
    const SQL: &str = "select channel_id, array_agg(user_id) from channel_participants \
                       where channel_id in (select channel_id from channel_participants where user_id = $1) group by 1";
    Ok(sqlx::query_as(SQL).bind(user).fetch_all(db).await?)
}

/// The channels visible to a user, by creation time, after the channel at `after` and at most `limit`.
///
/// # Errors
/// PostgreSQL fails.
pub async fn visible_to(
    db: &Db,
    user: UserId,
    after: Option<CreationKey>,
    limit: i64,
) -> Result<Vec<(CreationKey, Channel)>, Problem> {
    const CHANNELS: &str = concat!(
        "select id, name, description, type, coalesce(last_message_at, created_at) as last_message_at, last_seq, with_history, created_at \
         from channels c where (created_at, id) > ($2, $3) and ",
        visible!("c", "$1"),
        " order by created_at, id limit $4"
    );
    const MEMBERS: &str = concat!(
        "select p.channel_id, ",
        users::columns!(),
        " from channel_participants p join users u on u.id = p.user_id",
        users::picture!(),
        "where p.channel_id = any($1) order by u.created_at, u.id"
    );
    #[derive(sqlx::FromRow)]
    struct Created {
        created_at: OffsetDateTime,
        #[sqlx(flatten)]
        channel: ChannelRow,
    }
    #[derive(sqlx::FromRow)]
    struct Member {
        channel_id: ChannelId,
        #[sqlx(flatten)]
        user: User,
    }
    let CreationKey { at, id } = after.unwrap_or(CreationKey::FIRST);
    let channels: Vec<Created> = sqlx::query_as(CHANNELS)
        .bind(user)
        .bind(at)
        .bind(id)
        .bind(limit)
        .fetch_all(db)
        .await?;
    let private: Vec<ChannelId> = channels
        .iter()
        .filter(|created| created.channel.kind == ChannelKind::Private)
        .map(|created| created.channel.id)
        .collect();
    let mut members: HashMap<ChannelId, Vec<User>> = HashMap::new();
    if !private.is_empty() {
        let rows = sqlx::query_as(MEMBERS).bind(private).fetch_all(db).await?;
        for Member { channel_id, user } in rows {
            members.entry(channel_id).or_default().push(user);
        }
    }
    let row = |Created {
                   created_at: at,
                   channel,
               }| {
        let key = CreationKey {
            at,
            id: channel.id.0,
        };
        let participants = members.remove(&channel.id).unwrap_or_default();
        (key, channel.with(participants))
    };
    Ok(channels.into_iter().map(row).collect())
}

/// A channel that is visible to a user.
#[derive(Clone, Copy, Debug, sqlx::FromRow)]
pub struct Readable {
    /// Public or private.
    #[sqlx(rename = "type")]
    pub kind: ChannelKind,
    /// The position of its newest message.
    pub last_seq: i64,
    /// The user sees messages after this position.
    pub visible_after: i64,
}

/// The channel, if it is visible to the user.
///
/// # Errors
/// [`Problem::NotFound`] when the channel does not exist or is invisible to the user, or PostgreSQL fails.
pub async fn readable(db: &Db, id: ChannelId, user: UserId) -> Result<Readable, Problem> {
    const SQL: &str = concat!(
        "select type, last_seq, coalesce((select p.visible_after from channel_participants p \
         where p.channel_id = c.id and p.user_id = $2), 0) as visible_after from channels c where c.id = $1 and ",
        visible!("c", "$2")
    );
    sqlx::query_as(SQL)
        .bind(id)
        .bind(user)
        .fetch_optional(db)
        .await?
        .ok_or(Problem::NotFound(Resource::Channel(id)))
}

/// The positions of the newest messages of these channels.
///
/// Deleted channels are missing.
///
/// # Errors
/// PostgreSQL fails.
pub async fn positions(db: &Db, ids: &[ChannelId]) -> Result<Vec<(ChannelId, i64)>, Problem> {
    Ok(
        sqlx::query_as("select id, last_seq from channels where id = any($1)")
            .bind(ids)
            .fetch_all(db)
            .await?,
    )
}

/// Channels in the first event of the activity.
pub const MAX_ACTIVE: i64 = 1_000;

/// The activity of the channels that are visible to a user, the latest [`MAX_ACTIVE`].
///
/// # Errors
/// PostgreSQL fails.
pub async fn activity_of(db: &Db, user: UserId) -> Result<Vec<ChannelActivity>, Problem> {
    const SQL: &str = concat!(
        "select id as channel_id, last_seq, coalesce(last_message_at, created_at) as last_message_at from channels c where ",
        visible!("c", "$1"),
        " order by 3 desc, 1 limit $2"
    );
    Ok(sqlx::query_as(SQL)
        .bind(user)
        .bind(MAX_ACTIVE)
        .fetch_all(db)
        .await?)
}

/// The activity of these channels, each with those of the users to whom it is visible; `None` stands for all.
///
/// # Errors
/// PostgreSQL fails.
pub async fn activity(
    db: &Db,
    channels: &[ChannelId],
    users: &[UserId],
) -> Result<Vec<(ChannelActivity, Option<Vec<UserId>>)>, Problem> {
    const SQL: &str = "select c.id as channel_id, c.last_seq, coalesce(c.last_message_at, c.created_at) as last_message_at, c.type, \
                       array(select p.user_id from channel_participants p where p.channel_id = c.id and p.user_id = any($2)) as users \
                       from channels c where c.id = any($1)";
    #[derive(sqlx::FromRow)]
    struct Row {
        #[sqlx(flatten)]
        activity: ChannelActivity,
        #[sqlx(rename = "type")]
        kind: ChannelKind,
        users: Vec<UserId>,
    }
    let rows: Vec<Row> = sqlx::query_as(SQL)
        .bind(channels)
        .bind(users)
        .fetch_all(db)
        .await?;
    let with_audience = |row: Row| match row.kind {
        ChannelKind::Public => (row.activity, None),
        ChannelKind::Private => (row.activity, Some(row.users)),
    };
    Ok(rows.into_iter().map(with_audience).collect())
}

/// The channels with messages of the last 5 s.
///
/// # Errors
/// PostgreSQL fails.
pub async fn recently_active(db: &Db) -> Result<Vec<ChannelId>, Problem> {
    const SQL: &str = "select id from channels where last_message_at > clock_timestamp() - interval '5 s' limit 1000";
    Ok(sqlx::query_scalar(SQL).fetch_all(db).await?)
}
