//! From the outbox to Kafka: at once for what this node has committed, and by sweeping for what a node left behind.

use std::{sync::Arc, time::Duration};

use futures_util::{StreamExt, future::join_all, stream::FuturesUnordered};
use rdkafka::producer::DeliveryFuture;
use sqlx::PgPool;
use tokio::sync::mpsc;
use tracing::{debug, info, warn};

use crate::{
    bus::Bus,
    history::{Append, History, Position, Stream},
    model::{Event, Topic},
    problem::{Problem, chain},
    store::outbox::{self, Stored},
};

/// A row this old was left by a node that died, or while Kafka was away. Above it is what a node itself takes to publish.
const LEFT_BEHIND: Duration = Duration::from_millis(2_500);
/// A job that Kafka has had for this long is sent again, in case Kafka has lost it. Longer than what waits before it takes.
const OVERDUE: Duration = Duration::from_secs(15);
/// Together with the age this keeps a dead node's events below five seconds.
const SWEEP_EVERY: Duration = Duration::from_secs(1);
/// Rows of one sweep: one transaction that must end well before its locks look abandoned.
const SWEEP_AT_ONCE: i64 = 500;
/// Events that wait for their history or acknowledgement. Beyond it they are left to the sweeper.
const WAITING: usize = 8_192;
/// Rows are deleted in one statement for all acknowledged within this time.
const DELETE_EVERY: Duration = Duration::from_millis(20);
/// Events appended to their histories in one round trip.
const APPEND_AT_ONCE: usize = 128;

/// Hands committed events on.
pub struct Outbox {
    bus: Arc<Bus>,
    to_history: mpsc::Sender<Stored>,
    to_confirm: mpsc::Sender<(i64, DeliveryFuture)>,
}

/// The receiving ends, for the tasks that run them.
pub struct Ends {
    history: mpsc::Receiver<Stored>,
    confirm: mpsc::Receiver<(i64, DeliveryFuture)>,
}

impl Outbox {
    /// An outbox and the ends of its queues.
    pub fn new(bus: Arc<Bus>) -> (Self, Ends) {
        let (to_history, history) = mpsc::channel(WAITING);
        let (to_confirm, confirm) = mpsc::channel(WAITING);
        (
            Self {
                bus,
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
                    if let Ok(delivery) = self.bus.send(&stored.event, None) {
                        drop(self.to_confirm.try_send((stored.row, delivery)));
                    }
                }
            }
        }
    }

    /// Tells the nodes at once of something that no transaction of PostgreSQL caused. What Kafka does not carry now, each
    /// node finds out by comparing with Redis: its sockets' sessions, and the histories it follows.
    pub fn announce(&self, event: &Event, position: Option<Position>) {
        if let Err(error) = self.bus.send(event, position) {
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
        let events: Vec<&Event> = batch.iter().map(|stored| &stored.event).collect();
        match positions(history, &events).await {
            Ok(positions) => {
                for (stored, position) in batch.drain(..).zip(positions) {
                    if let Ok(delivery) = outbox.bus.send(&stored.event, position) {
                        drop(outbox.to_confirm.try_send((stored.row, delivery)));
                    }
                }
            }
            Err(error) => {
                debug!(error = %chain(&error), "SSE events are left in the outbox");
                batch.clear();
            }
        }
    }
}

/// Appends those events that have a history, and returns their positions there.
async fn positions(history: &History, events: &[&Event]) -> Result<Vec<Option<Position>>, Problem> {
    let stream = |event: &Event| {
        if event.topic == Topic::Sse {
            Stream::of_key(&event.key)
        } else {
            None
        }
    };
    let appends: Vec<_> = events
        .iter()
        .filter_map(|event| {
            let data = std::str::from_utf8(&event.body).unwrap_or_default();
            Some(Append {
                stream: stream(event)?,
                event: event.id,
                name: event.kind,
                data,
            })
        })
        .collect();
    let mut appended = if appends.is_empty() {
        Vec::new()
    } else {
        history.append(&appends).await?
    }
    .into_iter();
    Ok(events
        .iter()
        .map(|event| stream(event).and_then(|_| appended.next()))
        .collect())
}

async fn confirm(queue: &mut mpsc::Receiver<(i64, DeliveryFuture)>, db: &PgPool) {
    let mut under_way = FuturesUnordered::new();
    let mut arrived = Vec::new();
    let mut tick = tokio::time::interval(DELETE_EVERY);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            received = queue.recv() => match received {
                Some((row, delivery)) => under_way.push(async move { (row, delivery.await) }),
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
pub async fn sweep(bus: Arc<Bus>, db: PgPool, history: History) {
    loop {
        // Nodes that start together do not sweep together.
        let jitter = rand::random_range(0.8..1.2);
        tokio::time::sleep(SWEEP_EVERY.mul_f64(jitter)).await;
        while bus.is_up() {
            match sweep_once(&bus, &db, &history).await {
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
                    warn!(error = %chain(&error), "the outbox cannot be swept");
                    break;
                }
            }
        }
    }
}

/// Takes rows that were left behind, publishes them and deletes those that arrived. Returns how many of each.
async fn sweep_once(bus: &Bus, db: &PgPool, history: &History) -> Result<(usize, usize), Problem> {
    let (mut transaction, taken) = outbox::take(db, LEFT_BEHIND, OVERDUE, SWEEP_AT_ONCE).await?;
    if taken.is_empty() {
        transaction.commit().await?;
        return Ok((0, 0));
    }
    let events: Vec<&Event> = taken.iter().map(|stored| &stored.event).collect();
    // Without Redis the messages go out all the same; the SSE events wait for it.
    let positions = positions(history, &events).await.unwrap_or_else(|error| {
        debug!(error = %chain(&error), "SSE events stay in the outbox");
        vec![None; taken.len()]
    });
    let mut under_way = Vec::new();
    for (stored, position) in taken.iter().zip(positions) {
        if (stored.event.topic != Topic::Sse || position.is_some())
            && let Ok(delivery) = bus.send(&stored.event, position)
        {
            under_way.push(async { matches!(delivery.await, Ok(Ok(_))).then_some(stored.row) });
        }
    }
    let arrived: Vec<i64> = join_all(under_way).await.into_iter().flatten().collect();
    outbox::arrived(&mut *transaction, &arrived).await?;
    transaction.commit().await?;
    Ok((taken.len(), arrived.len()))
}
