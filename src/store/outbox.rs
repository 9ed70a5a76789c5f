//! The outbox: committed events that Kafka has not acknowledged yet.

use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

use bytes::Bytes;
use serde::Deserialize;
use sqlx::PgExecutor;

use crate::{
    ids::{ChannelId, EventId, ReadStatusId},
    model::{Control, Event, ReadStatus, Topic, event},
    problem::Problem,
    store::{Db, Transaction, messages, read_statuses},
    traces,
};

/// The kind of the row of a new message, which has no body: whoever publishes it reads the message. Nodes of an earlier version, which
/// would publish an empty body, do not know it.
const MESSAGE_STORED: &str = "message.stored";

/// A row of the outbox.
#[derive(Clone, Debug)]
pub struct OutboxRow {
    /// The row's id.
    pub id: i64,
    /// The event.
    pub event: Event,
    /// Whether Kafka has acknowledged the event before. Only jobs stay in the outbox to be sent again.
    pub was_sent: bool,
}

impl OutboxRow {
    /// The row of an event that was just inserted.
    pub fn new(id: i64, event: Event) -> Self {
        Self {
            id,
            event,
            was_sent: false,
        }
    }
}

/// Inserts events in the transaction of the change that causes them. They belong to the trace of the current task.
///
/// # Errors
/// PostgreSQL fails.
pub async fn insert(
    db: impl PgExecutor<'_>,
    mut events: Vec<Event>,
) -> Result<Vec<OutboxRow>, Problem> {
    const SQL: &str = "insert into outbox (event_id, topic, key, kind, seq, body) \
                       select * from unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::bigint[], $6::text[]) returning id";
    if events.is_empty() {
        return Ok(Vec::new());
    }
    let trace = traces::current();
    for event in &mut events {
        event.trace = trace;
    }
    let bodies = events.iter().map(|event| &event.body);
    let bodies = bodies.map(|body| std::str::from_utf8(body).unwrap_or_default());
    let ids: Vec<i64> = sqlx::query_scalar(SQL)
        .bind(events.iter().map(|event| event.id).collect::<Vec<_>>())
        .bind(
            events
                .iter()
                .map(|event| event.topic.name())
                .collect::<Vec<_>>(),
        )
        .bind(
            events
                .iter()
                .map(|event| event.key.as_str())
                .collect::<Vec<_>>(),
        )
        .bind(events.iter().map(|event| event.kind).collect::<Vec<_>>())
        .bind(events.iter().map(|event| event.seq).collect::<Vec<_>>())
        .bind(bodies.collect::<Vec<_>>())
        .fetch_all(db)
        .await?;
    // The rows were inserted in the order of the events.
    let rows = ids.into_iter().zip(events);
    Ok(rows.map(|(id, event)| OutboxRow::new(id, event)).collect())
}

/// Deletes the rows of events that Kafka has acknowledged. Rows of jobs, and of events without a position, are marked as sent.
///
/// # Errors
/// PostgreSQL fails.
pub async fn mark_published(db: impl PgExecutor<'_>, rows: &[i64]) -> Result<(), Problem> {
    const SQL: &str = "with sent as (update outbox set sent_at = clock_timestamp() where id = any($1) and (topic = 'jobs' or seq is null and topic in ('control', 'messages'))) \
                       delete from outbox where id = any($1) and not (topic = 'jobs' or seq is null and topic in ('control', 'messages'))";
    if rows.is_empty() {
        return Ok(());
    }
    sqlx::query(SQL).bind(rows).execute(db).await?;
    Ok(())
}

/// Whether the row `o` is not an edit or a reaction, or the text or the reaction has not changed since.
macro_rules! is_latest {
    () => {
        "case o.kind when 'message.updated' then \
           exists (select from messages m where m.id = (o.body::jsonb #>> '{message,id}')::uuid \
           and m.updated_at = (o.body::jsonb #>> '{message,updatedAt}')::timestamptz) \
         when 'reaction' then \
           exists (select from reactions r where r.message_id = (o.body::jsonb ->> 'messageId')::uuid \
           and r.emoji = o.body::jsonb ->> 'emoji' and r.user_id = (o.body::jsonb ->> 'userId')::uuid) \
           = (o.body::jsonb ->> 'added')::boolean \
         else true end"
    };
}

/// Reads the messages and read statuses of claimed rows, and returns the rows that need not be published, because a later change has an
/// event of its own: those of new messages that are deleted since, of edits whose message was edited again or deleted, of reactions that
/// were changed again, and of read statuses in channels that the user has lost.
///
/// # Errors
/// PostgreSQL fails.
pub async fn complete(
    db: &mut Transaction,
    claimed: &mut [OutboxRow],
) -> Result<Vec<i64>, Problem> {
    let mut needless = read_messages(db, claimed).await?;
    needless.extend(read_read_statuses(db, claimed).await?);
    needless.extend(superseded(db, claimed).await?);
    Ok(needless)
}

/// Sets the bodies of the rows of new messages. Returns the rows whose messages are deleted.
async fn read_messages(
    db: &mut Transaction,
    claimed: &mut [OutboxRow],
) -> Result<Vec<i64>, Problem> {
    let mut bodiless: Vec<(ChannelId, i64, &mut OutboxRow)> = claimed
        .iter_mut()
        .filter(|row| row.event.kind == event::MESSAGE_CREATED && row.event.body.is_empty())
        .filter_map(|row| Some((row.event.key.parse().ok()?, row.event.seq?, row)))
        .collect();
    if bodiless.is_empty() {
        return Ok(Vec::new());
    }
    let (channels, seqs): (Vec<_>, Vec<_>) = bodiless
        .iter()
        .map(|(channel, seq, _)| (*channel, *seq))
        .unzip();
    let messages = messages::at_positions(db, &channels, &seqs).await?;
    let mut deleted = Vec::new();
    for (channel, seq, row) in &mut bodiless {
        match messages.get(&(*channel, *seq)) {
            Some(message) => row.event.body = message.to_json()?,
            None => deleted.push(row.id),
        }
    }
    Ok(deleted)
}

/// Sets the bodies of the rows of read statuses, which have the id only. Returns the rows whose read statuses are deleted or invisible.
async fn read_read_statuses(
    db: &mut Transaction,
    claimed: &mut [OutboxRow],
) -> Result<Vec<i64>, Problem> {
    #[derive(Deserialize)]
    struct Moved {
        id: ReadStatusId,
    }
    let moved = claimed
        .iter_mut()
        .filter(|row| row.event.kind == event::READ_STATUSES_UPDATED)
        .filter_map(|row| {
            Some((
                serde_json::from_slice::<Moved>(&row.event.body).ok()?.id,
                row,
            ))
        });
    let moved: Vec<(ReadStatusId, &mut OutboxRow)> = moved.collect();
    if moved.is_empty() {
        return Ok(Vec::new());
    }
    let ids: Vec<ReadStatusId> = moved.iter().map(|(id, _)| *id).collect();
    let found = read_statuses::with_ids(db, &ids).await?;
    let found: HashMap<ReadStatusId, ReadStatus> = found
        .into_iter()
        .map(|status| (status.id, status))
        .collect();
    let mut gone = Vec::new();
    for (id, row) in moved {
        match found.get(&id) {
            Some(status) => row.event = Event::read_status_updated(row.event.id, status),
            None => gone.push(row.id),
        }
    }
    Ok(gone)
}

async fn superseded(db: &mut Transaction, claimed: &[OutboxRow]) -> Result<Vec<i64>, Problem> {
    const SQL: &str = concat!(
        "select o.id from outbox o where o.id = any($1) and not ",
        is_latest!()
    );
    let changes: Vec<i64> = claimed
        .iter()
        .filter(|row| [event::MESSAGE_UPDATED, event::REACTION].contains(&row.event.kind))
        .map(|row| row.id)
        .collect();
    if changes.is_empty() {
        return Ok(Vec::new());
    }
    Ok(sqlx::query_scalar(SQL).bind(changes).fetch_all(db).await?)
}

/// The jobs of `jobs` that are not done.
///
/// # Errors
/// PostgreSQL fails.
pub async fn jobs_left(db: &Db, jobs: &[EventId]) -> Result<HashSet<EventId>, Problem> {
    const SQL: &str = "select event_id from outbox where topic = 'jobs' and event_id = any($1)";
    let left: Vec<EventId> = sqlx::query_scalar(SQL).bind(jobs).fetch_all(db).await?;
    Ok(left.into_iter().collect())
}

/// Deletes the rows of jobs that are done or dead-lettered.
///
/// # Errors
/// PostgreSQL fails.
pub async fn jobs_done(db: impl PgExecutor<'_>, jobs: &[EventId]) -> Result<(), Problem> {
    sqlx::query("delete from outbox where topic = 'jobs' and event_id = any($1)")
        .bind(jobs)
        .execute(db)
        .await?;
    Ok(())
}

/// The revocations of the last 10 s. A revocation can be read once its transaction has committed, which takes at most 5 s.
///
/// # Errors
/// PostgreSQL fails.
pub async fn recent_controls(db: &Db) -> Result<Vec<Control>, Problem> {
    const SQL: &str = "select body from outbox \
                       where seq is null and topic = 'control' and created_at > clock_timestamp() - interval '10 s'";
    let bodies: Vec<String> = sqlx::query_scalar(SQL).fetch_all(db).await?;
    // A newer version may know other revocations.
    let controls = bodies
        .iter()
        .filter_map(|body| serde_json::from_str(body).ok());
    Ok(controls.collect())
}

/// The changes of messages in these channels in the last 10 s, the oldest first, except edits and reactions that have changed since.
///
/// Changes of the last second are left to Kafka: read here, one could overtake an earlier one that Kafka carries.
///
/// # Errors
/// PostgreSQL fails.
pub async fn recent_changes(db: &Db, channels: &[ChannelId]) -> Result<Vec<Event>, Problem> {
    const SQL: &str = concat!(
        "select event_id, topic, key, kind, seq, body from outbox o \
                       where seq is null and topic = 'messages' and key = any($1) and kind = any($2) \
                       and created_at > clock_timestamp() - interval '10 s' \
                       and created_at < clock_timestamp() - interval '1 s' \
                       and ",
        is_latest!(),
        " order by id limit 1000"
    );
    let keys: Vec<String> = channels.iter().map(ToString::to_string).collect();
    let rows: Vec<EventColumns> = sqlx::query_as(SQL)
        .bind(keys)
        .bind(event::KINDS)
        .fetch_all(db)
        .await?;
    Ok(rows.into_iter().filter_map(event).collect())
}

/// Number of events that Kafka has not acknowledged, at most 10,001, and the age of the oldest in seconds.
///
/// # Errors
/// PostgreSQL fails.
pub async fn unsent(db: &Db) -> Result<(i64, f64), Problem> {
    const SQL: &str = "select count(*), coalesce(extract(epoch from clock_timestamp() - min(created_at)), 0)::float8 \
                       from (select created_at from outbox where sent_at is null order by id limit 10001) o";
    Ok(sqlx::query_as(SQL).fetch_one(db).await?)
}

/// Deletes published events without a position that every node has read.
///
/// # Errors
/// PostgreSQL fails.
pub async fn delete_old(db: &Db) -> Result<(), Problem> {
    const SQL: &str = "delete from outbox where seq is null and topic in ('control', 'messages') and sent_at is not null \
                       and created_at < clock_timestamp() - interval '15 s'";
    sqlx::query(SQL).execute(db).await?;
    Ok(())
}

/// The kinds of rows that this version knows.
fn kinds() -> Vec<&'static str> {
    [MESSAGE_STORED].into_iter().chain(event::KINDS).collect()
}

/// The condition of a row to claim.
macro_rules! is_claimable {
    () => {
        "topic = any($1) and kind = any($2) and created_at < clock_timestamp() - make_interval(secs => $3) \
         and (sent_at is null or topic = 'jobs' and sent_at < clock_timestamp() - make_interval(secs => $4))"
    };
}

/// Whether [`claim`] finds rows, or finds only rows that another node has claimed.
///
/// # Errors
/// PostgreSQL fails.
pub async fn is_claimable(
    db: &Db,
    topics: &[Topic],
    age: Duration,
    overdue: Duration,
) -> Result<bool, Problem> {
    const SQL: &str = concat!(
        "select exists (select from outbox where ",
        is_claimable!(),
        ")"
    );
    Ok(sqlx::query_scalar(SQL)
        .bind(topics.iter().map(|topic| topic.name()).collect::<Vec<_>>())
        .bind(kinds())
        .bind(age.as_secs_f64())
        .bind(overdue.as_secs_f64())
        .fetch_one(db)
        .await?)
}

/// Claims rows of `topics` until the transaction ends, oldest first, at most `limit`.
///
/// The rows need [`complete`]. A row must be older than `age`, and not be claimed by another node. The row of a job that
/// was sent must have been sent longer than `overdue` ago; a revocation is sent once. During a rolling upgrade, rows of a kind that only
/// the newer version knows are left to its nodes.
///
/// # Errors
/// PostgreSQL fails.
pub async fn claim(
    db: &Db,
    topics: &[Topic],
    age: Duration,
    overdue: Duration,
    limit: i64,
) -> Result<(Transaction, Vec<OutboxRow>), Problem> {
    const SQL: &str = concat!(
        "select id, sent_at is not null, event_id, topic, key, kind, seq, body from outbox where ",
        is_claimable!(),
        " order by id limit $5 for update skip locked"
    );
    type Row = (
        i64,
        bool,
        EventId,
        String,
        String,
        String,
        Option<i64>,
        String,
    );
    let mut transaction = db.begin().await?;
    let rows: Vec<Row> = sqlx::query_as(SQL)
        .bind(topics.iter().map(|topic| topic.name()).collect::<Vec<_>>())
        .bind(kinds())
        .bind(age.as_secs_f64())
        .bind(overdue.as_secs_f64())
        .bind(limit)
        .fetch_all(&mut transaction)
        .await?;
    let claimed =
        rows.into_iter()
            .filter_map(|(id, was_sent, event_id, topic, key, kind, seq, body)| {
                let event = event((event_id, topic, key, kind, seq, body))?;
                Some(OutboxRow {
                    id,
                    event,
                    was_sent,
                })
            });
    let claimed = claimed.collect();
    Ok((transaction, claimed))
}

/// Id, topic, key, kind, `seq` and body.
type EventColumns = (EventId, String, String, String, Option<i64>, String);

/// The event of a row; `None` if this version does not know its kind. Needs [`complete`].
fn event((id, topic, key, kind, seq, body): EventColumns) -> Option<Event> {
    let (kind, body) = if kind == MESSAGE_STORED {
        (event::MESSAGE_CREATED, Bytes::new())
    } else {
        (event::kind(&kind)?, Bytes::from(body))
    };
    Some(Event {
        id,
        topic: Topic::named(&topic)?,
        key,
        kind,
        seq,
        body,
        trace: None,
    })
}
