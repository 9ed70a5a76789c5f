//! Publishes events from the outbox to Kafka: after each commit, and by a sweep for rows that a node left.

use std::{sync::Arc, time::Duration};

use futures_util::{StreamExt, future::join_all, stream::FuturesUnordered};
use tokio::sync::mpsc;
use tracing::{debug, info, trace};

use crate::{
    crash::Point,
    events::{
        history::{Append, History},
        kafka::Kafka,
        position::{EventLog, Position},
        producer::Delivery,
    },
    model::{Event, Topic},
    problem::{Problem, chain},
    store::{
        Db,
        outbox::{self, OutboxRow},
    },
    tasks::jittered,
    traces::{Span, Traces},
};

/// A row of this age was left by a node that died, or during an outage of Kafka. A running node publishes sooner.
const STALE_AFTER: Duration = Duration::from_millis(2_500);
/// A job that was sent this long ago and is not done is sent again, in case Kafka has lost it. Longer than the jobs before it
/// take.
const JOB_OVERDUE_AFTER: Duration = Duration::from_secs(15);
/// The same after an outage of Kafka, which may have lost the jobs of the last seconds.
const JOB_OVERDUE_AFTER_OUTAGE: Duration = Duration::from_secs(3);
/// With [`STALE_AFTER`] it bounds the delay of a dead node's events to 5 s.
const SWEEP_INTERVAL: Duration = Duration::from_secs(1);
/// Rows claimed in one transaction. The transaction must end long before its idle timeout.
const SWEEP_BATCH: i64 = 500;
/// Capacity of the queues. The sweep publishes events that do not fit.
const QUEUE_CAPACITY: usize = 8_192;
/// Published rows are deleted at this interval, in one statement.
const DELETE_INTERVAL: Duration = Duration::from_millis(20);
/// Events appended to their SSE logs in one round trip.
const APPEND_BATCH: usize = 128;

/// Publishes committed events.
pub struct Outbox {
    /// The traces of this node.
    pub traces: Traces,
    kafka: Arc<Kafka>,
    to_history: mpsc::Sender<OutboxRow>,
    to_confirm: mpsc::Sender<Published>,
}

/// A row and the Kafka acknowledgement to await before deleting it; none for an event in the SSE history, which replays it. The span
/// of the publication, if it is recorded, ends with the acknowledgement.
type Published = (i64, Option<Delivery>, Option<Span>);

/// The task that appends events to the SSE history and deletes published rows.
pub struct OutboxTask {
    history: mpsc::Receiver<OutboxRow>,
    confirm: mpsc::Receiver<Published>,
}

impl Outbox {
    /// An outbox, and the task that it needs.
    pub fn new(kafka: Arc<Kafka>, traces: Traces) -> (Self, OutboxTask) {
        let (to_history, history) = mpsc::channel(QUEUE_CAPACITY);
        let (to_confirm, confirm) = mpsc::channel(QUEUE_CAPACITY);
        (
            Self {
                traces,
                kafka,
                to_history,
                to_confirm,
            },
            OutboxTask { history, confirm },
        )
    }

    /// Publishes committed events. Never waits and cannot fail: the sweep publishes events that cannot be sent now.
    pub fn publish(&self, rows: Vec<OutboxRow>) {
        for mut row in rows {
            match row.event.topic {
                Topic::Sse => drop(self.to_history.try_send(row)),
                Topic::Messages | Topic::Control | Topic::Jobs => {
                    let span = self.traces.publish(&mut row.event);
                    match self.kafka.send(&row.event, None) {
                        Ok(delivery) => {
                            drop(self.to_confirm.try_send((row.id, Some(delivery), span)));
                        }
                        Err(error) => {
                            if let Some(span) = span {
                                span.fail(error);
                            }
                        }
                    }
                }
            }
        }
    }

    /// Publishes an event that has no outbox row, because no transaction caused it. When Kafka loses it, the audits of each node
    /// find the change in Redis: in the sessions, or in the SSE history.
    pub fn publish_untracked(&self, event: &Event, position: Option<Position>) {
        if let Err(error) = self.kafka.send(event, position) {
            debug!(error = %chain(&error), kind = event.kind, "publishing an event without a row failed");
        }
    }
}

impl OutboxTask {
    /// Appends SSE events to the history, publishes them, and deletes published rows. Runs until it is dropped.
    pub async fn run(mut self, outbox: Arc<Outbox>, db: Db, history: History) {
        tokio::join!(
            append(&mut self.history, &outbox, &history),
            confirm(&mut self.confirm, &db)
        );
    }
}

async fn append(queue: &mut mpsc::Receiver<OutboxRow>, outbox: &Outbox, history: &History) {
    let mut batch = Vec::new();
    while queue.recv_many(&mut batch, APPEND_BATCH).await > 0 {
        let events = batch.iter_mut().map(|row: &mut OutboxRow| &mut row.event);
        let spans: Vec<Span> = events
            .filter_map(|event| outbox.traces.publish(event))
            .collect();
        let appended = append_and_send(&outbox.kafka, history, &batch).await;
        drop(spans);
        match appended {
            Ok(()) => {
                for row in batch.drain(..) {
                    drop(outbox.to_confirm.try_send((row.id, None, None)));
                }
            }
            Err(error) => {
                debug!(error = %chain(&error), "appending SSE events failed; they stay in the outbox");
                batch.clear();
            }
        }
    }
}

/// Appends SSE events to the history and sends them to Kafka.
async fn append_and_send(
    kafka: &Kafka,
    history: &History,
    batch: &[OutboxRow],
) -> Result<(), Problem> {
    let appends: Vec<Append<'_>> = batch
        .iter()
        .filter_map(|OutboxRow { event, .. }| {
            Some(Append {
                log: EventLog::of_key(&event.key)?,
                event: event.id,
                name: event.kind,
                data: std::str::from_utf8(&event.body).unwrap_or_default(),
            })
        })
        .collect();
    Point::HistoryPending.pass();
    let positions = history.append(&appends).await?;
    Point::HistoryAppended.pass();
    let events = batch.iter().map(|row| &row.event);
    let events = events.filter(|event| EventLog::of_key(&event.key).is_some());
    for (event, position) in events.zip(positions) {
        if let Err(error) = kafka.send(event, Some(position)) {
            trace!(error = %chain(&error), "sending an SSE event failed; the audit finds it in the history");
        }
    }
    Ok(())
}

async fn confirm(queue: &mut mpsc::Receiver<Published>, db: &Db) {
    let mut in_flight = FuturesUnordered::new();
    let mut published = Vec::new();
    let mut tick = tokio::time::interval(DELETE_INTERVAL);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            received = queue.recv() => match received {
                Some((id, Some(delivery), span)) => in_flight.push(async move { (id, delivery.await, span) }),
                Some((id, None, _)) => published.push(id),
                None => return,
            },
            Some((id, delivered, span)) = in_flight.next() => if matches!(delivered, Ok(Ok(()))) {
                Point::EventAcknowledged.pass();
                published.push(id);
            } else if let Some(span) = span {
                span.fail("not acknowledged");
            },
            _ = tick.tick(), if !published.is_empty() => {
                // A row that stays is published again, and each node drops the duplicate.
                if let Err(error) = outbox::mark_published(db, &published).await {
                    debug!(error = %chain(&error), rows = published.len(), "deleting published rows failed; they stay in the outbox");
                }
                Point::EventDeleted.pass();
                published.clear();
            }
        }
    }
}

/// Publishes rows that dead nodes have left, and rows from an outage of Kafka or Redis. Runs until it is dropped.
pub async fn sweep(kafka: Arc<Kafka>, db: Db, history: History) {
    let records = || {
        let (kafka, db) = (kafka.clone(), db.clone());
        async move {
            if kafka.is_up() {
                sweep_records(&kafka, &db).await
            } else {
                Ok((0, 0))
            }
        }
    };
    let old_rows = || {
        let db = db.clone();
        async move { outbox::delete_old(&db).await.map(|()| (0, 0)) }
    };
    let histories = || {
        let (kafka, db, history) = (kafka.clone(), db.clone(), history.clone());
        async move { sweep_histories(&kafka, &db, &history).await }
    };
    // Separately: one waits for Kafka, the other for Redis.
    tokio::join!(
        sweep_all(records),
        sweep_all(histories),
        sweep_all(old_rows)
    );
}

async fn sweep_all<Fut>(once: impl Fn() -> Fut)
where
    Fut: Future<Output = Result<(usize, usize), Problem>>,
{
    loop {
        tokio::time::sleep(jittered(SWEEP_INTERVAL)).await;
        loop {
            match once().await {
                Ok((claimed, published)) => {
                    if published > 0 {
                        info!(published, "published stale outbox rows");
                    }
                    if claimed < usize::try_from(SWEEP_BATCH).unwrap_or(usize::MAX)
                        || published == 0
                    {
                        break;
                    }
                }
                Err(error) => {
                    debug!(error = %chain(&error), "outbox sweep failed");
                    break;
                }
            }
        }
    }
}

/// Publishes stale rows for Kafka and deletes the acknowledged ones. Returns the numbers of claimed and of deleted rows.
async fn sweep_records(kafka: &Kafka, db: &Db) -> Result<(usize, usize), Problem> {
    let topics = [Topic::Messages, Topic::Control, Topic::Jobs];
    let overdue_after = if kafka.was_down_lately() {
        JOB_OVERDUE_AFTER_OUTAGE
    } else {
        JOB_OVERDUE_AFTER
    };
    // The usual case needs no transaction.
    if !outbox::is_claimable(db, &topics, STALE_AFTER, overdue_after).await? {
        return Ok((0, 0));
    }
    let (mut transaction, mut claimed) =
        outbox::claim(db, &topics, STALE_AFTER, overdue_after, SWEEP_BATCH).await?;
    if !claimed.is_empty() {
        Point::SweepClaimed.pass();
    }
    if claimed.iter().any(|row| row.was_sent) {
        kafka.suspect_job_consumer();
    }
    // Published late, an edit would replace a newer one at the clients.
    let mut published = outbox::complete(&mut transaction, &mut claimed).await?;
    let mut in_flight = Vec::new();
    for row in claimed.iter().filter(|row| !published.contains(&row.id)) {
        if let Ok(delivery) = kafka.send(&row.event, None) {
            in_flight.push(async { matches!(delivery.await, Ok(Ok(()))).then_some(row.id) });
        }
    }
    published.extend(join_all(in_flight).await.into_iter().flatten());
    if !published.is_empty() {
        Point::SweepPublished.pass();
    }
    outbox::mark_published(&mut transaction, &published).await?;
    transaction.commit().await?;
    Ok((claimed.len(), published.len()))
}

/// Appends stale SSE events to the history and publishes them, also while Kafka is down.
async fn sweep_histories(
    kafka: &Kafka,
    db: &Db,
    history: &History,
) -> Result<(usize, usize), Problem> {
    let topics = [Topic::Sse];
    if !outbox::is_claimable(db, &topics, STALE_AFTER, JOB_OVERDUE_AFTER).await? {
        return Ok((0, 0));
    }
    let (mut transaction, mut claimed) =
        outbox::claim(db, &topics, STALE_AFTER, JOB_OVERDUE_AFTER, SWEEP_BATCH).await?;
    let rows: Vec<i64> = claimed.iter().map(|row| row.id).collect();
    let needless = outbox::complete(&mut transaction, &mut claimed).await?;
    claimed.retain(|row| !needless.contains(&row.id));
    if !claimed.is_empty() {
        append_and_send(kafka, history, &claimed).await?;
    }
    outbox::mark_published(&mut transaction, &rows).await?;
    transaction.commit().await?;
    Ok((rows.len(), rows.len()))
}
