//! The outbox: events whose cause is committed and which are not known to be in Kafka yet.

use std::{collections::HashSet, time::Duration};

use bytes::Bytes;
use sqlx::{PgConnection, PgPool, Postgres, Transaction};

use crate::{
    ids::EventId,
    model::{Event, Topic, event},
    problem::Problem,
};

/// A row of the outbox.
#[derive(Clone, Debug)]
pub struct OutboxRow {
    /// Number of the row.
    pub id: i64,
    /// The event.
    pub event: Event,
}

/// Writes events beside their cause, in its transaction.
///
/// # Errors
/// The database's.
pub async fn insert(db: &mut PgConnection, events: Vec<Event>) -> Result<Vec<OutboxRow>, Problem> {
    const SQL: &str = "insert into outbox (event_id, topic, key, kind, seq, body) \
                       select * from unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::bigint[], $6::text[]) returning id";
    if events.is_empty() {
        return Ok(Vec::new());
    }
    let columns = Columns::of(&events);
    let rows: Vec<i64> = sqlx::query_scalar(SQL)
        .bind(columns.ids)
        .bind(columns.topics)
        .bind(columns.keys)
        .bind(columns.kinds)
        .bind(columns.seqs)
        .bind(columns.bodies)
        .fetch_all(db)
        .await?;
    Ok(rows
        .into_iter()
        .zip(events)
        .map(|(id, event)| OutboxRow { id, event })
        .collect())
}

/// The columns of several events, to insert them in one statement.
pub(super) struct Columns<'a> {
    pub(super) ids: Vec<EventId>,
    pub(super) topics: Vec<&'a str>,
    pub(super) keys: Vec<&'a str>,
    pub(super) kinds: Vec<&'a str>,
    pub(super) seqs: Vec<Option<i64>>,
    pub(super) bodies: Vec<&'a str>,
}

impl<'a> Columns<'a> {
    pub(super) fn of(events: &'a [Event]) -> Self {
        Self {
            ids: events.iter().map(|event| event.id).collect(),
            topics: events.iter().map(|event| event.topic.name()).collect(),
            keys: events.iter().map(|event| event.key.as_str()).collect(),
            kinds: events.iter().map(|event| event.kind).collect(),
            seqs: events.iter().map(|event| event.seq).collect(),
            bodies: events
                .iter()
                .map(|event| std::str::from_utf8(&event.body).unwrap_or_default())
                .collect(),
        }
    }
}

/// Deletes the rows of events that have arrived in Kafka; those of jobs are marked as sent.
///
/// # Errors
/// The database's.
pub async fn mark_published(db: impl sqlx::PgExecutor<'_>, rows: &[i64]) -> Result<(), Problem> {
    const SQL: &str = "with sent as (update outbox set sent_at = clock_timestamp() where id = any($1) and topic = 'jobs') \
                       delete from outbox where id = any($1) and topic <> 'jobs'";
    if rows.is_empty() {
        return Ok(());
    }
    sqlx::query(SQL).bind(rows).execute(db).await?;
    Ok(())
}

/// The rows of edits after which their message was edited again or deleted: that is told by an event of its own.
///
/// # Errors
/// The database's.
pub async fn superseded(db: &mut PgConnection, taken: &[OutboxRow]) -> Result<Vec<i64>, Problem> {
    const SQL: &str = "select o.id from outbox o where o.id = any($1) and not exists ( \
                           select from messages m where m.id = (o.body::jsonb #>> '{message,id}')::uuid \
                           and m.updated_at = (o.body::jsonb #>> '{message,updatedAt}')::timestamptz)";
    let edits: Vec<i64> = taken
        .iter()
        .filter(|row| row.event.kind == event::MESSAGE_UPDATED)
        .map(|row| row.id)
        .collect();
    if edits.is_empty() {
        return Ok(Vec::new());
    }
    Ok(sqlx::query_scalar(SQL).bind(edits).fetch_all(db).await?)
}

/// Which of these jobs are still to be done.
///
/// # Errors
/// The database's.
pub async fn jobs_left(db: &PgPool, jobs: &[EventId]) -> Result<HashSet<EventId>, Problem> {
    const SQL: &str = "select event_id from outbox where topic = 'jobs' and event_id = any($1)";
    let left: Vec<EventId> = sqlx::query_scalar(SQL).bind(jobs).fetch_all(db).await?;
    Ok(left.into_iter().collect())
}

/// Deletes the rows of jobs that are done with.
///
/// # Errors
/// The database's.
pub async fn jobs_done(db: impl sqlx::PgExecutor<'_>, jobs: &[EventId]) -> Result<(), Problem> {
    sqlx::query("delete from outbox where topic = 'jobs' and event_id = any($1)")
        .bind(jobs)
        .execute(db)
        .await?;
    Ok(())
}

/// Takes rows of these topics older than `age` that no other node has taken, oldest first, and jobs that Kafka has had for
/// longer than `overdue`. They are taken until the transaction ends. A newer version's rows, during a rolling upgrade, are
/// left for a node that knows them.
///
/// # Errors
/// The database's.
pub async fn claim(
    db: &PgPool,
    topics: &[Topic],
    age: Duration,
    overdue: Duration,
    most: i64,
) -> Result<(Transaction<'static, Postgres>, Vec<OutboxRow>), Problem> {
    const SQL: &str = "select id, event_id, topic, key, kind, seq, body from outbox \
                       where topic = any($4) and kind = any($5) \
                       and created_at < clock_timestamp() - make_interval(secs => $1) \
                       and (sent_at is null or sent_at < clock_timestamp() - make_interval(secs => $2)) \
                       order by id limit $3 for update skip locked";
    type Row = (i64, EventId, String, String, String, Option<i64>, String);
    let mut transaction = super::begin(db).await?;
    let rows: Vec<Row> = sqlx::query_as(SQL)
        .bind(age.as_secs_f64())
        .bind(overdue.as_secs_f64())
        .bind(most)
        .bind(topics.iter().map(|topic| topic.name()).collect::<Vec<_>>())
        .bind(event::KINDS)
        .fetch_all(&mut *transaction)
        .await?;
    let stored = rows
        .into_iter()
        .filter_map(|(id, event_id, topic, key, kind, seq, body)| {
            let (topic, kind) = (Topic::named(&topic)?, event::kind(&kind)?);
            Some(OutboxRow {
                id,
                event: Event {
                    id: event_id,
                    topic,
                    key,
                    kind,
                    seq,
                    body: Bytes::from(body),
                },
            })
        });
    let stored = stored.collect();
    Ok((transaction, stored))
}
