//! The Kafka producer, the topics, and the format of a record. [`consumer`](super::consumer) reads the records.
//!
//! Kafka carries events to every node. It never holds the only copy of an event, so a lost record is repaired from a store.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    thread,
    time::Duration,
};

use bytes::Bytes;
use parking_lot::{Mutex, RwLock};
use rdkafka::{
    ClientConfig, Message as _, Offset, TopicPartitionList,
    admin::{AdminClient, AdminOptions, NewTopic, TopicReplication},
    client::DefaultClientContext,
    consumer::{BaseConsumer, Consumer as _},
    error::KafkaError,
    message::{BorrowedHeaders, BorrowedMessage, Header, Headers, OwnedHeaders},
    metadata::{MetadataPartition, MetadataTopic},
    topic_partition_list::TopicPartitionListElem,
    types::RDKafkaErrorCode,
};
use time::OffsetDateTime;
use tokio::{sync::Notify, task::spawn_blocking, time::Instant};
use tracing::{debug, info, warn};

use crate::{
    config::Config,
    events::{
        canary::Canary,
        position::Position,
        producer::{Delivery, Producer},
    },
    ids::EventId,
    metrics::Metrics,
    model::{Event, Topic, TraceParent, event, trace_parent::TRACEPARENT},
    problem::{Problem, chain},
};

/// Answers in a row, at one a second, after which the broker counts as stable: by then the consumer has reconnected too.
const STABLE_ANSWERS: u32 = 5;

/// Answers in a row, at one a second, until which an outage counts as recent: jobs that it lost have been sent again by then.
const ANSWERS_AFTER_OUTAGE: u32 = 20;

/// Age of the consumer of the jobs before it is replaced once more. Jobs may also be late because there are many.
const JOB_CONSUMER_MIN_AGE: Duration = Duration::from_mins(1);

/// A broker that does not answer a request for dead letters within this time is down.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// Retention of the fan-out topics, for a node that reconnects: 1 hour.
const FAN_OUT_RETENTION_MS: &str = "3600000";

/// Retention of the jobs, until a node does them: 7 days.
const JOBS_RETENTION_MS: &str = "604800000";

/// Retention of dead letters, for an operator to inspect: 30 days.
const DLQ_RETENTION_MS: &str = "2592000000";

/// A decoded Kafka record.
#[derive(Debug)]
pub struct Record {
    /// The event.
    pub event: Event,
    /// Position of an SSE event in its log.
    pub position: Option<Position>,
}

/// A job that no node could do.
#[derive(Debug)]
pub struct DeadLetter {
    /// Partition of the dead-letter topic.
    pub partition: i32,
    /// Offset in the partition.
    pub offset: i64,
    /// When it was written.
    pub time: Option<OffsetDateTime>,
    /// The job, unless this version cannot read it.
    pub event: Option<Event>,
    /// Place of the job in its topic.
    pub from: String,
    /// Why the job failed.
    pub reason: String,
}

impl DeadLetter {
    /// Partition and offset.
    pub fn place(&self) -> (i32, i64) {
        (self.partition, self.offset)
    }
}

/// The connection to Kafka.
pub struct Kafka {
    producer: RwLock<Producer>,
    pub(super) settings: ClientConfig,
    prefix: String,
    topics: [String; Topic::ALL.len()],
    partitions: i32,
    pub(super) up: AtomicBool,
    pub(super) answers_in_a_row: AtomicU32,
    pub(super) assigned: AtomicBool,
    /// Partitions of each fan-out topic when they were assigned; other counts mean that they must be assigned again.
    pub(super) assigned_counts: Mutex<Vec<usize>>,
    /// Notified when the consumer must start anew.
    pub(super) consumer_fault: Notify,
    /// Notified when the consumer of the jobs must start anew.
    job_consumer_fault: Notify,
    job_consumer_replaced: Mutex<Instant>,
    pub(super) canary: Mutex<Canary>,
    pub(super) metrics: Arc<Metrics>,
}

/// Sets TLS and credentials.
fn secure(settings: &mut ClientConfig, config: &Config) {
    let protocol = match (&config.kafka_login, config.kafka_tls) {
        (None, false) => return,
        (None, true) => "ssl",
        (Some(_), false) => "sasl_plaintext",
        (Some(_), true) => "sasl_ssl",
    };
    settings.set("security.protocol", protocol);
    if config.kafka_tls {
        // The broker's name is verified by default. "probe" looks for the system's file of authorities.
        let ca_file = config.kafka_ca_file.as_deref().unwrap_or("probe");
        settings.set("ssl.ca.location", ca_file);
    }
    if let Some(login) = &config.kafka_login {
        settings
            .set("sasl.mechanism", login.mechanism)
            .set("sasl.username", &login.username)
            .set("sasl.password", login.password.expose());
    }
}

fn create_producer(settings: &ClientConfig) -> Result<Producer, KafkaError> {
    let mut settings = settings.clone();
    settings
        // Keeps the order of a key across retries.
        .set("enable.idempotence", "true")
        // Longer than a short pause of the broker. The outbox keeps an event that times out.
        .set("message.timeout.ms", "5000")
        // No delay to fill a batch: the next batch fills while one is in flight.
        .set("queue.buffering.max.ms", "0")
        .set("queue.buffering.max.messages", "20000");
    Producer::new(&settings)
}

/// Drops a client on a thread of its own. Closing one waits for its broker, which may never answer.
pub(super) fn drop_on_thread(client: impl Send + 'static) {
    let closing = thread::Builder::new().name("kafka.close".to_owned());
    // If no thread can be spawned, the closure is dropped here, with the client.
    drop(closing.spawn(move || drop(client)));
}

impl Kafka {
    /// Connects in the background.
    ///
    /// # Errors
    /// Only when the settings are refused.
    pub fn new(config: &Config, metrics: Arc<Metrics>) -> Result<Self, KafkaError> {
        let mut settings = ClientConfig::new();
        settings
            .set("bootstrap.servers", &config.kafka_brokers)
            .set("client.id", format!("discodeit-{}", config.node_name))
            .set("allow.auto.create.topics", "false")
            .set("socket.nagle.disable", "true")
            .set("reconnect.backoff.ms", "50")
            .set("reconnect.backoff.max.ms", "500")
            // A connection that carries nothing is given up after this time.
            .set("socket.timeout.ms", "5000")
            // By default, a client without brokers forgets them and begins with those of the settings. Its threads can wait for each
            // other for ever then (librdkafka issue 5476). `Kafka::watch` replaces the client instead.
            .set("metadata.recovery.strategy", "none")
            // Each client would log each lost connection; `Kafka::watch` logs an outage once.
            .set("log.connection.close", "false");
        secure(&mut settings, config);
        let producer = create_producer(&settings)?;
        Ok(Self {
            producer: RwLock::new(producer),
            settings,
            prefix: config.kafka_topic_prefix.clone(),
            topics: Topic::ALL
                .map(|topic| format!("{}{}", config.kafka_topic_prefix, topic.name())),
            partitions: config.kafka_partitions,
            up: AtomicBool::new(false),
            answers_in_a_row: AtomicU32::new(0),
            assigned: AtomicBool::new(false),
            assigned_counts: Mutex::default(),
            consumer_fault: Notify::new(),
            job_consumer_fault: Notify::new(),
            job_consumer_replaced: Mutex::new(Instant::now()),
            canary: Mutex::new(Canary::new(format!(
                "{}-{}",
                config.node_name,
                EventId::new()
            ))),
            metrics,
        })
    }

    /// Whether the broker answered when it was last asked.
    pub fn is_up(&self) -> bool {
        self.up.load(Ordering::Relaxed)
    }

    /// Whether the consumer has an offset in each partition: it reads every record published from now on.
    pub fn is_assigned(&self) -> bool {
        self.assigned.load(Ordering::Relaxed)
    }

    /// Whether events that this node sent to itself are lost. The node replaces the Kafka client that lost them.
    pub fn is_late(&self) -> bool {
        self.canary.lock().is_late()
    }

    /// Time since this node sent itself the oldest event that has not come back.
    pub fn canary_age(&self) -> Duration {
        self.canary.lock().age(Instant::now())
    }

    /// Whether Kafka carries events to this node.
    pub fn is_healthy(&self) -> bool {
        self.is_up() && self.is_assigned() && !self.canary.lock().is_suspect(Instant::now())
    }

    /// Whether Kafka has carried events for some seconds. After an outage the broker may answer before the consumer has
    /// reconnected; until then the audits run more often.
    pub fn is_stable(&self) -> bool {
        self.is_healthy() && self.answers_in_a_row.load(Ordering::Relaxed) >= STABLE_ANSWERS
    }

    /// Whether Kafka has been up for some seconds only.
    pub fn was_down_lately(&self) -> bool {
        self.answers_in_a_row.load(Ordering::Relaxed) < ANSWERS_AFTER_OUTAGE
    }

    /// Waits until the consumer of the jobs must start anew: the topics have changed, or jobs do not arrive. Cancel safe.
    pub async fn job_consumer_fault(&self) {
        self.job_consumer_fault.notified().await;
    }

    /// Starts the consumer of the jobs anew.
    pub(super) fn replace_job_consumer(&self) {
        *self.job_consumer_replaced.lock() = Instant::now();
        self.job_consumer_fault.notify_one();
    }

    /// Starts the consumer of the jobs anew if it is older than a minute, because sent jobs are not done. Perhaps it waits on a
    /// connection that carries nothing.
    pub(super) fn suspect_job_consumer(&self) {
        if self.job_consumer_replaced.lock().elapsed() > JOB_CONSUMER_MIN_AGE {
            warn!("sent jobs are not done; replacing the consumer of the jobs");
            self.replace_job_consumer();
        }
    }

    /// Number of records that this version could not read since the start.
    pub fn undecodable(&self) -> u64 {
        self.metrics.kafka_undecodable.get()
    }

    /// Number of dead letters since the start.
    pub fn dead_letter_count(&self) -> u64 {
        self.metrics.kafka_dead_letters.get()
    }

    pub(super) fn topic(&self, topic: Topic) -> &str {
        &self.topics[topic as usize]
    }

    /// Publishes an event without waiting; the future resolves when the broker has it. Events of one key that one task sends stay
    /// in order.
    ///
    /// # Errors
    /// When the local queue is full, or Kafka is down; the outbox keeps the event.
    pub fn send(&self, event: &Event, position: Option<Position>) -> Result<Delivery, KafkaError> {
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
        if let Some(trace) = event.trace {
            headers = headers.insert(Header {
                key: TRACEPARENT,
                value: Some(&trace.to_string()),
            });
        }
        let topic = self.topic(event.topic);
        self.producer()
            .send(topic, event.key.as_bytes(), &event.body, headers)
    }

    /// Waits until the broker has every sent event, at most `within`.
    pub async fn flush(&self, within: Duration) {
        let producer = self.producer();
        let flush = spawn_blocking(move || producer.flush(within)).await;
        if let Ok(Err(error)) = flush {
            debug!(error = %chain(&error), "flushing to Kafka failed; the outbox keeps the events");
        }
    }

    /// A handle of the producer, because a call of a client that does not answer must not keep the lock.
    pub(super) fn producer(&self) -> Producer {
        self.producer.read().clone()
    }

    /// Replaces the producer. Its events stay in the outbox.
    pub(super) fn replace_producer(&self) {
        match create_producer(&self.settings) {
            Ok(new) => {
                let old = std::mem::replace(&mut *self.producer.write(), new);
                // Without the lock.
                drop(old);
            }
            Err(error) => warn!(error = %chain(&error), "cannot replace the Kafka producer"),
        }
    }

    pub(super) async fn create_topics(&self) -> Result<(), Problem> {
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
                // -1 is the broker's default: the cluster decides on the number of replicas.
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

    /// Writes a job that cannot be done, with the reason, to the dead-letter topic.
    ///
    /// # Errors
    /// When Kafka does not acknowledge it; the caller retries.
    pub async fn dead_letter(
        &self,
        record: &BorrowedMessage<'_>,
        reason: &str,
    ) -> Result<(), KafkaError> {
        let origin = format!(
            "{}[{}]@{}",
            record.topic(),
            record.partition(),
            record.offset()
        );
        let mut headers = record
            .headers()
            .map_or_else(OwnedHeaders::new, BorrowedHeaders::detach);
        for (key, value) in [("reason", reason), ("from", &origin)] {
            headers = headers.insert(Header {
                key,
                value: Some(value),
            });
        }
        let topic = self.dlq_topic();
        let key = record.key().unwrap_or_default();
        let payload = record.payload().unwrap_or_default();
        let sent = self.producer().send(&topic, key, payload, headers)?;
        sent.await.map_err(|_| KafkaError::Canceled)??;
        self.metrics.kafka_dead_letters.inc();
        warn!(
            from = origin,
            reason, "wrote a job to the dead-letter topic"
        );
        Ok(())
    }

    fn dlq_topic(&self) -> String {
        format!("{}.dlq", self.topic(Topic::Jobs))
    }

    /// Reads the dead letters, in the order of their partitions and offsets, at most `limit`.
    ///
    /// # Errors
    /// Kafka does not answer within some seconds.
    pub async fn dead_letters(
        self: Arc<Self>,
        limit: usize,
    ) -> Result<Vec<DeadLetter>, KafkaError> {
        let read = spawn_blocking(move || self.read_dead_letters(limit));
        read.await.map_err(|_| KafkaError::Canceled)?
    }

    fn read_dead_letters(&self, limit: usize) -> Result<Vec<DeadLetter>, KafkaError> {
        let topic = self.dlq_topic();
        let consumer: BaseConsumer = self
            .settings
            .clone()
            // Needed by the client; no offset is committed.
            .set("group.id", format!("{topic}.read"))
            .set("enable.auto.commit", "false")
            .create()?;
        let metadata = consumer.fetch_metadata(Some(&topic), ANSWER_TIMEOUT)?;
        let partitions = metadata.topics().iter().flat_map(MetadataTopic::partitions);
        let mut letters = Vec::new();
        for partition in partitions.map(MetadataPartition::id) {
            let (low, high) = consumer.fetch_watermarks(&topic, partition, ANSWER_TIMEOUT)?;
            let mut next = low;
            let mut place = TopicPartitionList::new();
            place.add_partition_offset(&topic, partition, Offset::Offset(low))?;
            consumer.assign(&place)?;
            while next < high && letters.len() < limit {
                let record =
                    consumer
                        .poll(ANSWER_TIMEOUT)
                        .ok_or(KafkaError::MessageConsumption(
                            RDKafkaErrorCode::RequestTimedOut,
                        ))??;
                next = record.offset() + 1;
                letters.push(dead_letter(&record));
            }
        }
        Ok(letters)
    }

    /// Deletes the dead letters up to these places, each a partition and an offset, and with them all before it in its partition.
    ///
    /// # Errors
    /// Kafka does not answer, or refuses.
    pub async fn delete_dead_letters(&self, places: &[(i32, i64)]) -> Result<(), KafkaError> {
        let topic = self.dlq_topic();
        let mut last: BTreeMap<i32, i64> = BTreeMap::new();
        for (partition, offset) in places {
            let kept = last.entry(*partition).or_insert(0);
            *kept = (offset + 1).max(*kept);
        }
        if last.is_empty() {
            return Ok(());
        }
        let mut before = TopicPartitionList::new();
        for (partition, offset) in last {
            before.add_partition_offset(&topic, partition, Offset::Offset(offset))?;
        }
        let admin: AdminClient<DefaultClientContext> = self.settings.create()?;
        let deleted = admin.delete_records(&before, &AdminOptions::new()).await?;
        deleted
            .elements()
            .iter()
            .try_for_each(TopicPartitionListElem::error)
    }

    /// Decodes a record; `None` when this version cannot.
    pub fn parse(&self, record: &BorrowedMessage<'_>) -> Option<Record> {
        let topic = Topic::named(record.topic().strip_prefix(self.prefix.as_str())?)?;
        decode(topic, record)
    }
}

fn dead_letter(record: &BorrowedMessage<'_>) -> DeadLetter {
    let header = |name: &str| {
        let value = record
            .headers()?
            .iter()
            .find(|header| header.key == name)?
            .value?;
        Some(String::from_utf8_lossy(value).into_owned())
    };
    let time = record.timestamp().to_millis();
    DeadLetter {
        partition: record.partition(),
        offset: record.offset(),
        time: time.and_then(|ms| {
            OffsetDateTime::from_unix_timestamp_nanos(i128::from(ms) * 1_000_000).ok()
        }),
        event: decode(Topic::Jobs, record).map(|record| record.event),
        from: header("from").unwrap_or_default(),
        reason: header("reason").unwrap_or_default(),
    }
}

/// Decodes a record as one of a topic; `None` when this version cannot.
fn decode(topic: Topic, record: &BorrowedMessage<'_>) -> Option<Record> {
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
    let trace = headers.get(TRACEPARENT);
    let trace = trace.and_then(|trace| TraceParent::parse(trace));
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
            trace,
        },
        position,
    })
}
