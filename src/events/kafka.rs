//! Kafka carries events to every node. It never holds the only copy of an event, so a lost record is repaired.

use std::{
    collections::HashMap,
    ops::Deref,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use bytes::Bytes;
use parking_lot::Mutex;
use rdkafka::{
    ClientConfig, Message as _, Offset, TopicPartitionList,
    admin::{AdminClient, AdminOptions, NewTopic, TopicReplication},
    client::DefaultClientContext,
    consumer::{Consumer, StreamConsumer},
    error::KafkaError,
    message::{BorrowedHeaders, BorrowedMessage, Header, Headers, OwnedHeaders},
    producer::{DeliveryFuture, FutureProducer, FutureRecord},
    types::RDKafkaErrorCode,
};
use tokio::{sync::Notify, task::spawn_blocking, time::Instant};
use tracing::{debug, info, warn};

use crate::{
    config::Config,
    events::position::Position,
    ids::EventId,
    limits::TURN_BYTES,
    model::{Event, Topic, event},
    problem::{Problem, chain},
};

/// A broker that does not answer within this time counts as away.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);

/// Kafka that cannot be followed for this long is worth a warning.
const FOLLOW_TIMEOUT: Duration = Duration::from_secs(5);

/// A broker that was there this often in a row, asked once a second, is there for the consumer too.
const STEADY: u32 = 5;

/// Records that a node could not read in its time stay for those that come back: an hour.
const FAN_OUT_RETENTION_MS: &str = "3600000";

/// Work waits for a node that does it: a week.
const JOBS_RETENTION_MS: &str = "604800000";

/// What could not be done is there for people to look at: thirty days.
const DLQ_RETENTION_MS: &str = "2592000000";

/// An event as a record brought it.
#[derive(Debug)]
pub struct Record {
    /// The event.
    pub event: Event,
    /// Of an SSE event: where its history has it.
    pub position: Option<Position>,
}

/// The connection to Kafka.
pub struct Kafka {
    producer: FutureProducer,
    settings: ClientConfig,
    prefix: String,
    topics: [String; Topic::ALL.len()],
    partitions: i32,
    up: AtomicBool,
    /// How often in a row the broker was there when it was asked.
    steady: AtomicU32,
    assigned: AtomicBool,
    /// What the topics look like that are being followed; another look means other places to read.
    followed: Mutex<Vec<usize>>,
    changed: Notify,
    undecodable: AtomicU64,
    dead_letter: AtomicU64,
}

/// A consumer that nobody waits for when it is dropped: closing one waits for its broker, which may be away for ever, and
/// would keep the node from ending.
pub struct DetachedConsumer(Option<StreamConsumer>);

impl Deref for DetachedConsumer {
    type Target = StreamConsumer;

    fn deref(&self) -> &StreamConsumer {
        self.0.as_ref().expect("it is there until it is dropped")
    }
}

impl Drop for DetachedConsumer {
    fn drop(&mut self) {
        let consumer = self.0.take();
        let closing = thread::Builder::new().name("kafka.close".to_owned());
        // Where no thread can be had, this one waits.
        drop(closing.spawn(move || drop(consumer)));
    }
}

impl Kafka {
    /// Connects in the background.
    ///
    /// # Errors
    /// Only when the settings are refused.
    pub fn new(config: &Config) -> Result<Self, KafkaError> {
        let mut settings = ClientConfig::new();
        settings
            .set("bootstrap.servers", &config.kafka_brokers)
            .set("client.id", format!("discodeit-{}", config.node_name))
            .set("allow.auto.create.topics", "false")
            .set("socket.nagle.disable", "true")
            .set("reconnect.backoff.ms", "50")
            .set("reconnect.backoff.max.ms", "500")
            // Each client would log every lost connection on its own; `Kafka::watch` does it once.
            .set("log.connection.close", "false");
        let producer = settings
            .clone()
            // Keeps the order of one key over retries.
            .set("enable.idempotence", "true")
            // Longer than a short pause of the broker; after that the outbox has it.
            .set("message.timeout.ms", "5000")
            // Nobody waits for a fuller batch: while one is on its way the next one gathers by itself.
            .set("queue.buffering.max.ms", "0")
            .set("queue.buffering.max.messages", "20000")
            .create()?;
        Ok(Self {
            producer,
            settings,
            prefix: config.kafka_topic_prefix.clone(),
            topics: Topic::ALL
                .map(|topic| format!("{}{}", config.kafka_topic_prefix, topic.name())),
            partitions: config.kafka_partitions,
            up: AtomicBool::new(false),
            steady: AtomicU32::new(0),
            assigned: AtomicBool::new(false),
            followed: Mutex::default(),
            changed: Notify::new(),
            undecodable: AtomicU64::new(0),
            dead_letter: AtomicU64::new(0),
        })
    }

    /// Whether the broker answered lately.
    pub fn is_up(&self) -> bool {
        self.up.load(Ordering::Relaxed)
    }

    /// Whether this node's places in all partitions are fixed: everything published from now on arrives.
    pub fn is_assigned(&self) -> bool {
        self.assigned.load(Ordering::Relaxed)
    }

    /// Whether this node hears of events by Kafka.
    pub fn is_healthy(&self) -> bool {
        self.is_up() && self.is_assigned()
    }

    /// Whether it has for a while. Until then the stores have to be asked more often: of a broker that has just come back
    /// nobody knows yet whether the consumer has found it too.
    pub fn is_stable(&self) -> bool {
        self.is_assigned() && self.steady.load(Ordering::Relaxed) >= STEADY
    }

    /// Records that were passed over since the start, because this version cannot read them.
    pub fn undecodable(&self) -> u64 {
        self.undecodable.load(Ordering::Relaxed)
    }

    /// Jobs that were set aside since the start, because they cannot be done.
    pub fn dead_letter_count(&self) -> u64 {
        self.dead_letter.load(Ordering::Relaxed)
    }

    fn topic(&self, topic: Topic) -> &str {
        &self.topics[topic as usize]
    }

    /// Publishes an event. Does not wait: the future resolves when the broker has it. Events of one key that are sent one
    /// after the other by one task stay in that order.
    ///
    /// # Errors
    /// When the local queue is full, or Kafka is away: then the event stays in the outbox.
    pub fn send(
        &self,
        event: &Event,
        position: Option<Position>,
    ) -> Result<DeliveryFuture, KafkaError> {
        if !self.is_up() {
            return Err(KafkaError::MessageProduction(
                RDKafkaErrorCode::BrokerTransportFailure,
            ));
        }
        let id = event.id.to_string();
        let mut headers = OwnedHeaders::new_with_capacity(4)
            .insert(Header {
                key: "id",
                value: Some(&id),
            })
            .insert(Header {
                key: "kind",
                value: Some(event.kind),
            });
        if let Some(seq) = event.seq {
            headers = headers.insert(Header {
                key: "seq",
                value: Some(&seq.to_string()),
            });
        }
        if let Some(position) = position {
            headers = headers.insert(Header {
                key: "at",
                value: Some(&position.to_string()),
            });
        }
        let record = FutureRecord::to(self.topic(event.topic))
            .key(&event.key)
            .payload(event.body.as_ref())
            .headers(headers);
        self.producer
            .send_result(record)
            .map_err(|(error, _)| error)
    }

    /// Waits until everything sent is with the broker, at most `within`.
    pub async fn flush(self: &Arc<Self>, within: Duration) {
        let kafka = self.clone();
        let flush =
            spawn_blocking(move || rdkafka::producer::Producer::flush(&kafka.producer, within))
                .await;
        if let Ok(Err(error)) = flush {
            debug!(error = %chain(&error), "not everything reached Kafka; the outbox has it");
        }
    }

    /// Reads every record of every partition, from now on, and hands each to `arrived`. Ends only when something is wrong.
    ///
    /// Partitions are assigned, not subscribed to: every node must see every record, and there is nothing to rebalance. The
    /// places are asked for explicitly, because with `Offset::End` what is published in the next moment would be lost.
    ///
    /// # Errors
    /// When Kafka cannot be reached at the start.
    pub async fn run(self: &Arc<Self>, mut arrived: impl FnMut(Record)) -> Result<(), Problem> {
        // A topic that was made a moment ago has no leader yet, and a broker that is just starting does not answer.
        let started = Instant::now();
        let consumer = loop {
            match self.clone().assign().await {
                Ok(consumer) => break consumer,
                Err(problem) if started.elapsed() < FOLLOW_TIMEOUT => {
                    debug!(error = %chain(&problem), "Kafka cannot be followed yet");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
                Err(problem) => return Err(problem),
            }
        };
        // It has just answered.
        self.up.store(true, Ordering::Relaxed);
        self.assigned.store(true, Ordering::Relaxed);
        let mut unwritten = 0;
        loop {
            // A burst of records must not fill the send queues before those who empty them had a turn.
            if unwritten > TURN_BYTES {
                tokio::task::yield_now().await;
                unwritten = 0;
            }
            let received = tokio::select! {
                received = consumer.recv() => received,
                () = self.changed.notified() => {
                    info!("Kafka's topics are not what they were; they are followed anew");
                    return Ok(());
                }
            };
            match received {
                Ok(record) => {
                    if let Some(event) = self.parse(&record) {
                        unwritten += event.event.body.len();
                        arrived(event);
                    } else {
                        self.undecodable.fetch_add(1, Ordering::Relaxed);
                        warn!(
                            topic = record.topic(),
                            partition = record.partition(),
                            offset = record.offset(),
                            "a Kafka record that this version cannot read was passed over"
                        );
                    }
                }
                // Lost brokers and the like: the client goes on by itself where it was.
                Err(error) => debug!(error = %chain(&error), "Kafka cannot be read"),
            }
        }
    }

    async fn assign(self: Arc<Self>) -> Result<DetachedConsumer, Problem> {
        self.create_topics().await?;
        spawn_blocking(move || {
            let consumer: StreamConsumer = self
                .settings
                .clone()
                // The library asks for one; nothing is committed under it.
                .set("group.id", "discodeit-unused")
                .set("enable.auto.commit", "false")
                // Where a broker has lost what we were to read next, everything it has is read: duplicates are dropped.
                .set("auto.offset.reset", "earliest")
                .set("fetch.wait.max.ms", "100")
                .set("fetch.error.backoff.ms", "100")
                .create()
                .map_err(Problem::internal)?;
            let mut places = TopicPartitionList::new();
            let mut followed = Vec::new();
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
                followed.push(partitions.len());
                for partition in partitions {
                    let (_, end) = consumer
                        .fetch_watermarks(topic, partition.id(), ANSWER_TIMEOUT)
                        .map_err(Problem::internal)?;
                    places
                        .add_partition_offset(topic, partition.id(), Offset::Offset(end))
                        .map_err(Problem::internal)?;
                }
            }
            consumer.assign(&places).map_err(Problem::internal)?;
            *self.followed.lock() = followed;
            info!(partitions = places.count(), "following Kafka");
            Ok(DetachedConsumer(Some(consumer)))
        })
        .await
        .map_err(Problem::internal)?
    }

    async fn create_topics(&self) -> Result<(), Problem> {
        let admin: AdminClient<DefaultClientContext> =
            self.settings.create().map_err(Problem::internal)?;
        let dead_letter = self.dlq_topic();
        let known = Topic::ALL.map(|topic| {
            let retention = match topic {
                Topic::Messages | Topic::Sse | Topic::Control => FAN_OUT_RETENTION_MS,
                Topic::Jobs => JOBS_RETENTION_MS,
            };
            (self.topic(topic), self.partitions, retention)
        });
        let new = known
            .into_iter()
            .chain([(dead_letter.as_str(), 1, DLQ_RETENTION_MS)])
            .map(|(topic, partitions, retention)| {
                // -1: the broker's own default, so that a cluster decides how many copies it keeps.
                NewTopic::new(topic, partitions, TopicReplication::Fixed(-1))
                    .set("retention.ms", retention)
            });
        let new: Vec<_> = new.collect();
        let options = AdminOptions::new()
            .operation_timeout(Some(Duration::from_secs(10)))
            .request_timeout(Some(Duration::from_secs(10)));
        for result in admin
            .create_topics(&new, &options)
            .await
            .map_err(Problem::internal)?
        {
            match result {
                Ok(topic) => info!(topic, "created the Kafka topic"),
                Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {}
                Err((topic, code)) => {
                    return Err(Problem::internal(format!(
                        "the Kafka topic {topic} cannot be created: {code}"
                    )));
                }
            }
        }
        Ok(())
    }

    /// Joins the nodes that share the jobs. What is received was done if [`StreamConsumer::store_offset_from_message`] was
    /// told so; else it comes again, here or at another node.
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
            // Committed once a second and at the end; only what was done.
            .set("enable.auto.offset.store", "false")
            .set("auto.commit.interval.ms", "1000")
            // A killed node's share goes to the others after this time, the shortest that brokers take by default.
            .set("session.timeout.ms", "6000")
            .set("heartbeat.interval.ms", "2000")
            // A node that comes or goes does not stop the others' work.
            .set("partition.assignment.strategy", "cooperative-sticky")
            .set("fetch.wait.max.ms", "100")
            .set("queued.max.messages.kbytes", "1024")
            .create()?;
        consumer.subscribe(&[topic])?;
        Ok(DetachedConsumer(Some(consumer)))
    }

    /// Keeps a job that cannot be done, with the reason, for people to look at.
    ///
    /// # Errors
    /// When Kafka does not take it; then it must be tried again.
    pub async fn dead_letter(
        &self,
        record: &BorrowedMessage<'_>,
        reason: &str,
    ) -> Result<(), KafkaError> {
        let place = format!(
            "{}[{}]@{}",
            record.topic(),
            record.partition(),
            record.offset()
        );
        let mut headers = record
            .headers()
            .map_or_else(OwnedHeaders::new, BorrowedHeaders::detach);
        for (key, value) in [("reason", reason), ("from", &place)] {
            headers = headers.insert(Header {
                key,
                value: Some(value),
            });
        }
        let topic = self.dlq_topic();
        let copy = FutureRecord::to(&topic)
            .key(record.key().unwrap_or_default())
            .payload(record.payload().unwrap_or_default())
            .headers(headers);
        self.producer
            .send_result(copy)
            .map_err(|(error, _)| error)?
            .await
            .map_err(|_| KafkaError::Canceled)?
            .map_err(|(error, _)| error)?;
        self.dead_letter.fetch_add(1, Ordering::Relaxed);
        warn!(
            from = place,
            reason, "a job that cannot be done was set aside"
        );
        Ok(())
    }

    fn dlq_topic(&self) -> String {
        format!("{}.dlq", self.topic(Topic::Jobs))
    }

    /// Reads a record; `None` when this version cannot.
    pub fn parse(&self, record: &BorrowedMessage<'_>) -> Option<Record> {
        let topic = Topic::named(record.topic().strip_prefix(self.prefix.as_str())?)?;
        let headers: HashMap<&str, &str> = record
            .headers()?
            .iter()
            .filter_map(|header| Some((header.key, std::str::from_utf8(header.value?).ok()?)))
            .collect();
        let id: EventId = headers.get("id")?.parse().ok()?;
        let kind = event::kind(headers.get("kind")?)?;
        let seq = headers
            .get("seq")
            .map(|seq| seq.parse::<i64>())
            .transpose()
            .ok()?;
        let position = headers.get("at").and_then(|at| Position::parse(at));
        let key = std::str::from_utf8(record.key()?).ok()?.to_owned();
        let body = Bytes::copy_from_slice(record.payload()?);
        std::str::from_utf8(&body).ok()?;
        Some(Record {
            event: Event {
                id,
                topic,
                key,
                kind,
                seq,
                body,
            },
            position,
        })
    }

    /// Asks the broker once a second whether it is there, and whether the topics are those that are followed: a broker that
    /// lost its data has none of them, and an operator may give them more partitions. Runs until it is dropped.
    pub async fn watch(self: Arc<Self>) {
        loop {
            let kafka = self.clone();
            let seen = spawn_blocking(move || kafka.look()).await.ok().flatten();
            let followed = self.followed.lock().clone();
            if seen.as_ref().is_some_and(|seen| *seen != followed) && !followed.is_empty() {
                // Until they are followed again, the stores are asked.
                self.assigned.store(false, Ordering::Relaxed);
                self.followed.lock().clear();
                self.changed.notify_one();
            }
            let up = seen.is_some_and(|seen| !seen.contains(&0));
            let steady = self.steady.load(Ordering::Relaxed);
            self.steady.store(
                if up { steady.saturating_add(1) } else { 0 },
                Ordering::Relaxed,
            );
            if self.up.swap(up, Ordering::Relaxed) != up {
                if up {
                    info!("Kafka answers");
                } else {
                    warn!("Kafka does not answer; events are read from the stores until it does");
                }
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }

    /// How many partitions each followed topic has; `None` when the broker does not answer.
    fn look(&self) -> Option<Vec<usize>> {
        let client = rdkafka::producer::Producer::client(&self.producer);
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
