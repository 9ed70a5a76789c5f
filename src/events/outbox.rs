//! From the outbox to Kafka: at once for what this node has committed, and by sweeping for what a node left behind.

use std::{sync::Arc, time::Duration};

use futures_util::{StreamExt, future::join_all, stream::FuturesUnordered};
use rdkafka::producer::DeliveryFuture;
use sqlx::PgPool;
use tokio::sync::mpsc;
use tracing::{debug, info, trace};

use crate::{
    events::{
        history::{Append, History},
        kafka::Kafka,
        position::{EventLog, Position},
    },
    model::{Event, Topic},
    problem::{Problem, chain},
    store::outbox::{self, Stored},
};

/// A row this old was left by a node that died, or while Kafka was away. Above it is what a node itself takes to publish.
const STALE_AFTER: Duration = Duration::from_millis(2_500);
/// A job that Kafka has had for this long is sent again, in case Kafka has lost it. Longer than what waits before it takes.
const OVERDUE: Duration = Duration::from_secs(15);
/// Together with the age this keeps a dead node's events below five seconds.
const SWEEP_INTERVAL: Duration = Duration::from_secs(1);
/// Rows of one sweep: one transaction that must end well before its locks look abandoned.
const SWEEP_AT_ONCE: i64 = 500;
/// Events that wait for their history or acknowledgement. Beyond it they are left to the sweeper.
const WAITING: usize = 8_192;
/// Rows are deleted in one statement for all acknowledged within this time.
const DELETE_INTERVAL: Duration = Duration::from_millis(20);
/// Events appended to their histories in one round trip.
const APPEND_AT_ONCE: usize = 128;

/// Hands committed events on.
pub struct Outbox {
    kafka: Arc<Kafka>,
    to_history: mpsc::Sender<Stored>,
    to_confirm: mpsc::Sender<Published>,
}

/// A row, and what must come true before it may go. Nothing more for an event that its history has: what Kafka does not
/// bring of it is found there.
type Published = (i64, Option<DeliveryFuture>);

/// The receiving ends, for the tasks that run them.
pub struct Ends {
    history: mpsc::Receiver<Stored>,
    confirm: mpsc::Receiver<Published>,
}

impl Outbox {
    /// An outbox and the ends of its queues.
    pub fn new(kafka: Arc<Kafka>) -> (Self, Ends) {
        let (to_history, history) = mpsc::channel(WAITING);
        let (to_confirm, confirm) = mpsc::channel(WAITING);
        (
            Self {
                kafka,
                to_history,
                to_confirm,
            },
            Ends { history, confirm },
        )
    }

    /// Publishes events that have just been committed. Does not wait and cannot fail: what cannot go out now stays in the
    /// table for the sweeper.
    pub fn publish(&self, events: Vec<Stored>) {
        for stored in events {
            match stored.event.topic {
                Topic::Sse => drop(self.to_history.try_send(stored)),
                Topic::Messages | Topic::Control | Topic::Jobs => {
                    if let Ok(delivery) = self.kafka.send(&stored.event, None) {
                        drop(self.to_confirm.try_send((stored.row, Some(delivery))));
                    }
                }
            }
        }
    }

    /// Tells the nodes at once of something that no transaction of PostgreSQL caused. What Kafka does not carry now, each
    /// node finds out by comparing with Redis: its sockets' sessions, and the histories it follows.
    pub fn announce(&self, event: &Event, position: Option<Position>) {
        if let Err(error) = self.kafka.send(event, position) {
            debug!(error = %chain(&error), kind = event.kind, "an event was not published");
        }
    }
}

impl Ends {
    /// Appends SSE events to their histories, then publishes them, and deletes what has arrived. Runs until it is dropped.
    pub async fn run(mut self, outbox: Arc<Outbox>, db: PgPool, history: History) {
        tokio::join!(
            append(&mut self.history, &outbox, &history),
            confirm(&mut self.confirm, &db)
        );
    }
}

async fn append(queue: &mut mpsc::Receiver<Stored>, outbox: &Outbox, history: &History) {
    let mut batch = Vec::new();
    while queue.recv_many(&mut batch, APPEND_AT_ONCE).await > 0 {
        match append_and_send(&outbox.kafka, history, &batch).await {
            Ok(()) => {
                for stored in batch.drain(..) {
                    drop(outbox.to_confirm.try_send((stored.row, None)));
                }
            }
            Err(error) => {
                debug!(error = %chain(&error), "SSE events are left in the outbox");
                batch.clear();
            }
        }
    }
}

/// Appends SSE events to their histories and sends them to Kafka.
async fn append_and_send(
    kafka: &Kafka,
    history: &History,
    batch: &[Stored],
) -> Result<(), Problem> {
    let appends: Vec<Append<'_>> = batch
        .iter()
        .filter_map(|Stored { event, .. }| {
            Some(Append {
                stream: EventLog::of_key(&event.key)?,
                event: event.id,
                name: event.kind,
                data: std::str::from_utf8(&event.body).unwrap_or_default(),
            })
        })
        .collect();
    let positions = history.append(&appends).await?;
    let events = batch.iter().map(|stored| &stored.event);
    let events = events.filter(|event| EventLog::of_key(&event.key).is_some());
    for (event, position) in events.zip(positions) {
        if let Err(error) = kafka.send(event, Some(position)) {
            trace!(error = %chain(&error), "an SSE event is left to be found in its history");
        }
    }
    Ok(())
}

async fn confirm(queue: &mut mpsc::Receiver<Published>, db: &PgPool) {
    let mut under_way = FuturesUnordered::new();
    let mut arrived = Vec::new();
    let mut tick = tokio::time::interval(DELETE_INTERVAL);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            received = queue.recv() => match received {
                Some((row, Some(delivery))) => under_way.push(async move { (row, delivery.await) }),
                Some((row, None)) => arrived.push(row),
                None => return,
            },
            Some((row, delivered)) = under_way.next() => if matches!(delivered, Ok(Ok(_))) {
                arrived.push(row);
            },
            _ = tick.tick(), if !arrived.is_empty() => {
                // A row that stays is published again and dropped as a duplicate everywhere.
                if let Err(error) = outbox::arrived(db, &arrived).await {
                    debug!(error = %chain(&error), rows = arrived.len(), "published rows stay in the outbox for the sweeper");
                }
                arrived.clear();
            }
        }
    }
}

/// Publishes what nodes that died have left, and what could not go out while Kafka or Redis was away. Runs until it is dropped.
pub async fn sweep(kafka: Arc<Kafka>, db: PgPool, history: History) {
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
    let histories = || {
        let (kafka, db, history) = (kafka.clone(), db.clone(), history.clone());
        async move { sweep_histories(&kafka, &db, &history).await }
    };
    // Neither waits for the other's store.
    tokio::join!(sweep_all(records), sweep_all(histories));
}

async fn sweep_all<Fut>(once: impl Fn() -> Fut)
where
    Fut: Future<Output = Result<(usize, usize), Problem>>,
{
    loop {
        // Nodes that start together do not sweep together.
        let jitter = rand::random_range(0.8..1.2);
        tokio::time::sleep(SWEEP_INTERVAL.mul_f64(jitter)).await;
        loop {
            match once().await {
                Ok((taken, published)) => {
                    if published > 0 {
                        info!(published, "published events that were left in the outbox");
                    }
                    if taken < usize::try_from(SWEEP_AT_ONCE).unwrap_or(usize::MAX)
                        || published == 0
                    {
                        break;
                    }
                }
                Err(error) => {
                    debug!(error = %chain(&error), "the outbox cannot be swept");
                    break;
                }
            }
        }
    }
}

/// Takes rows for Kafka that were left behind, publishes them and deletes those that arrived. Returns how many of each.
async fn sweep_records(kafka: &Kafka, db: &PgPool) -> Result<(usize, usize), Problem> {
    let topics = [Topic::Messages, Topic::Control, Topic::Jobs];
    let (mut transaction, taken) =
        outbox::take(db, &topics, STALE_AFTER, OVERDUE, SWEEP_AT_ONCE).await?;
    // Told late, an edit would take the place of the one after it.
    let mut arrived = outbox::overtaken(&mut transaction, &taken).await?;
    let mut under_way = Vec::new();
    for stored in taken.iter().filter(|stored| !arrived.contains(&stored.row)) {
        if let Ok(delivery) = kafka.send(&stored.event, None) {
            under_way.push(async { matches!(delivery.await, Ok(Ok(_))).then_some(stored.row) });
        }
    }
    arrived.extend(join_all(under_way).await.into_iter().flatten());
    outbox::arrived(&mut *transaction, &arrived).await?;
    transaction.commit().await?;
    Ok((taken.len(), arrived.len()))
}

/// Takes SSE events that were left behind, also while Kafka is away, and brings them into their histories.
async fn sweep_histories(
    kafka: &Kafka,
    db: &PgPool,
    history: &History,
) -> Result<(usize, usize), Problem> {
    let (mut transaction, taken) =
        outbox::take(db, &[Topic::Sse], STALE_AFTER, OVERDUE, SWEEP_AT_ONCE).await?;
    if !taken.is_empty() {
        append_and_send(kafka, history, &taken).await?;
    }
    let rows: Vec<i64> = taken.iter().map(|stored| stored.row).collect();
    outbox::arrived(&mut *transaction, &rows).await?;
    transaction.commit().await?;
    Ok((taken.len(), taken.len()))
}
