//! The Kafka consumers of a node: every record of the fan-out topics, and this node's share of the jobs.

use std::{
    ops::Deref,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use futures_util::{StreamExt, stream::FuturesUnordered};
use rdkafka::{
    Message as _, Offset, TopicPartitionList,
    consumer::{Consumer, StreamConsumer},
    error::KafkaError,
};
use tokio::{
    task::spawn_blocking,
    time::{Instant, MissedTickBehavior, interval, sleep, timeout},
};
use tracing::{debug, info, warn};

use crate::{
    events::{
        canary::{self, Fault},
        kafka::{Kafka, Record, drop_on_thread},
        producer::Delivery,
    },
    limits::TURN_BYTES,
    model::Topic,
    problem::{Problem, chain},
    tasks::Backoff,
};

/// A broker that does not answer within this time counts as down.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);

/// The consumer is retried for this long after a failed start, before the failure is logged as a warning.
const START_TIMEOUT: Duration = Duration::from_secs(5);

/// Interval at which the broker is asked for its topics.
const WATCH_INTERVAL: Duration = Duration::from_secs(1);

/// A client whose question for the topics does not end within this time never answers: each of the three has [`ANSWER_TIMEOUT`].
const STUCK_TIMEOUT: Duration = Duration::from_secs(10);

/// A client that finds no broker for this long is replaced: the brokers may have other addresses now.
const LOST_TIMEOUT: Duration = Duration::from_secs(30);

/// A consumer that is closed on a thread of its own, so that its broker cannot keep the node from ending.
pub struct DetachedConsumer(Option<StreamConsumer>);

impl Deref for DetachedConsumer {
    type Target = StreamConsumer;

    fn deref(&self) -> &StreamConsumer {
        self.0.as_ref().expect("only drop takes the consumer")
    }
}

impl Drop for DetachedConsumer {
    fn drop(&mut self) {
        drop_on_thread(self.0.take());
    }
}

impl Kafka {
    /// Reads every record of every partition from now on, and calls `on_record` with each. Returns when the consumer must
    /// start anew: the topics have changed, or records do not arrive.
    ///
    /// Partitions are assigned, not subscribed: each node reads every record, so there is nothing to rebalance. The end offsets
    /// are read explicitly; with `Offset::End` a record that is published before the consumer asks would be lost.
    ///
    /// # Errors
    /// When no consumer can be started within 5 s.
    pub async fn consume(
        self: &Arc<Self>,
        mut on_record: impl FnMut(Record),
    ) -> Result<(), Problem> {
        let consumer = self.start_consumer().await?;
        self.canary.lock().forget();
        // The broker has just answered.
        self.up.store(true, Ordering::Relaxed);
        self.assigned.store(true, Ordering::Relaxed);
        let mut bytes_in_turn = 0;
        loop {
            // A burst of records must not fill the send queues before the connections have had a turn to empty them.
            if bytes_in_turn > TURN_BYTES {
                tokio::task::yield_now().await;
                bytes_in_turn = 0;
            }
            let received = tokio::select! {
                received = consumer.recv() => received,
                () = self.consumer_fault.notified() => {
                    self.assigned.store(false, Ordering::Relaxed);
                    return Ok(());
                }
            };
            match received {
                Ok(message) => {
                    if let Some(record) = self.parse(&message) {
                        if record.event.key.starts_with(canary::PREFIX) {
                            let mut canary = self.canary.lock();
                            canary.arrive(&record.event.key, Instant::now());
                        } else {
                            bytes_in_turn += record.event.body.len();
                            on_record(record);
                        }
                    } else {
                        self.metrics.kafka_undecodable.inc();
                        warn!(
                            topic = message.topic(),
                            partition = message.partition(),
                            offset = message.offset(),
                            "skipped a Kafka record that this version cannot read"
                        );
                    }
                }
                // A lost broker, for example: the client reconnects and continues at its offsets.
                Err(error) => debug!(error = %chain(&error), "reading from Kafka failed"),
            }
        }
    }

    /// Creates the topics and assigns their partitions. Retries for 5 s: a new topic has no leader yet, and a starting broker does
    /// not answer.
    async fn start_consumer(self: &Arc<Self>) -> Result<DetachedConsumer, Problem> {
        let started = Instant::now();
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_millis(200));
        loop {
            match self.clone().assign().await {
                Ok(consumer) => return Ok(consumer),
                Err(problem) if started.elapsed() < START_TIMEOUT => {
                    debug!(error = %chain(&problem), "Kafka consumer cannot start; retrying");
                    backoff.wait().await;
                }
                Err(problem) => return Err(problem),
            }
        }
    }

    async fn assign(self: Arc<Self>) -> Result<DetachedConsumer, Problem> {
        self.create_topics().await?;
        spawn_blocking(move || {
            let consumer: StreamConsumer = self
                .settings
                .clone()
                // The library requires a group; nothing is committed in it.
                .set("group.id", "discodeit-unused")
                .set("enable.auto.commit", "false")
                // When a broker has lost the next record, all of its records are read: duplicates are dropped.
                .set("auto.offset.reset", "earliest")
                .set("fetch.error.backoff.ms", "100")
                .create()
                .map_err(Problem::internal)?;
            let mut offsets = TopicPartitionList::new();
            let mut counts = Vec::new();
            for topic in Topic::FAN_OUT.map(|topic| self.topic(topic)) {
                let metadata = consumer
                    .fetch_metadata(Some(topic), ANSWER_TIMEOUT)
                    .map_err(Problem::internal)?;
                let partitions = metadata
                    .topics()
                    .first()
                    .map(rdkafka::metadata::MetadataTopic::partitions)
                    .unwrap_or_default();
                if partitions.is_empty() {
                    return Err(Problem::internal(format!(
                        "the Kafka topic {topic} has no partitions yet"
                    )));
                }
                counts.push(partitions.len());
                for partition in partitions {
                    let (_, end) = consumer
                        .fetch_watermarks(topic, partition.id(), ANSWER_TIMEOUT)
                        .map_err(Problem::internal)?;
                    offsets
                        .add_partition_offset(topic, partition.id(), Offset::Offset(end))
                        .map_err(Problem::internal)?;
                }
            }
            consumer.assign(&offsets).map_err(Problem::internal)?;
            *self.assigned_counts.lock() = counts;
            info!(partitions = offsets.count(), "Kafka partitions assigned");
            Ok(DetachedConsumer(Some(consumer)))
        })
        .await
        .map_err(Problem::internal)?
    }

    /// Joins the consumer group that shares the jobs. A job whose offset is not stored with
    /// [`StreamConsumer::store_offset_from_message`] is received again, here or on another node.
    ///
    /// # Errors
    /// Only when the settings are refused.
    pub fn job_consumer(&self) -> Result<DetachedConsumer, KafkaError> {
        let topic = self.topic(Topic::Jobs);
        let consumer: StreamConsumer = self
            .settings
            .clone()
            .set("group.id", topic)
            .set("auto.offset.reset", "earliest")
            // Stored offsets are committed once a second and at the end.
            .set("enable.auto.offset.store", "false")
            .set("auto.commit.interval.ms", "1000")
            // The partitions of a killed node move after this time, the shortest that brokers accept by default.
            .set("session.timeout.ms", "6000")
            .set("heartbeat.interval.ms", "2000")
            // A node that joins or leaves does not interrupt the others.
            .set("partition.assignment.strategy", "cooperative-sticky")
            .set("queued.max.messages.kbytes", "1024")
            .create()?;
        consumer.subscribe(&[topic])?;
        Ok(DetachedConsumer(Some(consumer)))
    }

    /// Asks the broker once a second for its topics, to learn whether it answers and whether their partitions have changed: a
    /// broker that lost its data has none, and an operator may add some. Replaces a client that does not work. Runs until it is
    /// dropped.
    pub async fn watch(self: Arc<Self>) {
        let mut last_answer = Instant::now();
        loop {
            let kafka = self.clone();
            let question = spawn_blocking(move || kafka.partition_counts());
            let answer = timeout(STUCK_TIMEOUT, question).await;
            let is_stuck = answer.is_err();
            let counts = answer.ok().and_then(Result::ok).flatten();
            if counts.is_some() {
                last_answer = Instant::now();
            } else if is_stuck || last_answer.elapsed() > LOST_TIMEOUT {
                warn!(is_stuck, "the Kafka client finds no broker; replacing it");
                self.replace_producer();
                last_answer = Instant::now();
            }
            let assigned = self.assigned_counts.lock().clone();
            if counts.as_ref().is_some_and(|counts| *counts != assigned) && !assigned.is_empty() {
                // Until the new partitions are assigned, the audits ask the stores more often.
                self.assigned.store(false, Ordering::Relaxed);
                self.assigned_counts.lock().clear();
                info!("Kafka partitions changed; resubscribing");
                self.consumer_fault.notify_one();
                self.replace_job_consumer();
            }
            let up = counts.is_some_and(|counts| !counts.contains(&0));
            let answers = self.answers_in_a_row.load(Ordering::Relaxed);
            let answers = if up { answers.saturating_add(1) } else { 0 };
            self.answers_in_a_row.store(answers, Ordering::Relaxed);
            if self.up.swap(up, Ordering::Relaxed) != up {
                if up {
                    info!("Kafka is up");
                } else {
                    warn!("Kafka is down; reading events from the stores");
                }
            }
            sleep(WATCH_INTERVAL).await;
        }
    }

    /// Sends canaries, and replaces the producer or the consumer when it does not work. Runs until it is dropped.
    pub async fn watch_canary(self: Arc<Self>) {
        let mut acknowledged = FuturesUnordered::new();
        let mut tick = interval(canary::INTERVAL);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                Some(delivered) = acknowledged.next() => if matches!(delivered, Ok(Ok(()))) {
                    self.canary.lock().acknowledge();
                },
                _ = tick.tick() => acknowledged.extend(self.send_canary()),
            }
        }
    }

    fn send_canary(&self) -> Option<Delivery> {
        if let Some((code, reason)) = self.producer().client().fatal_error() {
            warn!(%code, reason, "the Kafka producer failed; replacing it");
            self.replace_producer();
        }
        let mut canary = self.canary.lock();
        if !self.is_up() || !self.is_assigned() {
            canary.forget();
            return None;
        }
        match canary.fault(Instant::now()) {
            Some(Fault::Producer) => {
                warn!("Kafka acknowledges no events of this node; replacing the producer");
                self.replace_producer();
            }
            Some(Fault::Consumer) => {
                warn!("events of this node do not arrive from Kafka; replacing the consumer");
                self.consumer_fault.notify_one();
            }
            None => {}
        }
        let event = canary.next(Instant::now());
        drop(canary);
        self.send(&event, None).ok()
    }

    /// Partitions of each fan-out topic; `None` when the broker does not answer.
    fn partition_counts(&self) -> Option<Vec<usize>> {
        let producer = self.producer();
        let client = producer.client();
        Topic::FAN_OUT
            .iter()
            .map(|topic| {
                let metadata = client
                    .fetch_metadata(Some(self.topic(*topic)), ANSWER_TIMEOUT)
                    .ok()?;
                let topic = metadata.topics().first();
                Some(topic.map_or(0, |topic| topic.partitions().len()))
            })
            .collect()
    }
}
