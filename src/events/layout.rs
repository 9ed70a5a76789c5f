//! The brokers and topics of Kafka, for an operator.

use std::{sync::Arc, time::Duration};

use parking_lot::Mutex;
use rdkafka::{
    ClientContext,
    config::RDKafkaLogLevel,
    consumer::{BaseConsumer, Consumer as _, ConsumerContext},
};
use tokio::task::spawn_blocking;

use crate::{events::kafka::Kafka, model::Topic, problem::chain};

/// The brokers and the topics of this system.
#[derive(Debug)]
pub struct Layout {
    /// Number of brokers.
    pub brokers: usize,
    /// The topics that exist.
    pub topics: Vec<TopicLayout>,
    /// Names of the topics that do not exist.
    pub missing: Vec<String>,
}

/// A topic.
#[derive(Debug)]
pub struct TopicLayout {
    /// Name, with the prefix.
    pub name: String,
    /// Number of partitions.
    pub partitions: usize,
    /// Of these, partitions that nobody can read or write.
    pub without_leader: usize,
    /// The smallest number of replicas of a partition.
    pub replicas: usize,
}

/// Waits for what the client logs, at the end of a failed request.
const LOG_TIMEOUT: Duration = Duration::from_millis(50);
/// Log lines and errors of the client that are read for the reason of a failure.
const MAX_EVENTS: usize = 20;

/// Keeps why the first connection failed, which the error of a request does not say.
#[derive(Default)]
struct Reason(Mutex<Option<String>>);

impl ClientContext for Reason {
    fn log(&self, _: RDKafkaLogLevel, kind: &str, message: &str) {
        if kind == "FAIL" {
            let (_, reason) = message.split_once("]: ").unwrap_or(("", message));
            self.0.lock().get_or_insert_with(|| reason.to_owned());
        }
    }
}

impl ConsumerContext for Reason {}

impl Kafka {
    /// Asks for the brokers and topics.
    ///
    /// # Errors
    /// Why Kafka does not answer within the time.
    pub async fn layout(self: Arc<Self>, within: Duration) -> Result<Layout, String> {
        let read = spawn_blocking(move || self.read_layout(within));
        read.await.map_err(|error| chain(&error))?
    }

    fn read_layout(&self, within: Duration) -> Result<Layout, String> {
        let consumer: BaseConsumer<Reason> = self
            .settings
            .create_with_context(Reason::default())
            .map_err(|error| chain(&error))?;
        let metadata = consumer.fetch_metadata(None, within).map_err(|error| {
            // The client passes on its log only when it is polled.
            for _ in 0..MAX_EVENTS {
                drop(consumer.poll(LOG_TIMEOUT));
            }
            let reason = consumer.context().0.lock().take();
            reason.unwrap_or_else(|| chain(&error))
        })?;
        let (mut topics, mut missing) = (Vec::new(), Vec::new());
        for name in Topic::ALL.map(|topic| self.topic(topic)) {
            let found = metadata.topics().iter().find(|topic| topic.name() == name);
            let Some(found) = found else {
                missing.push(name.to_owned());
                continue;
            };
            let partitions = found.partitions();
            topics.push(TopicLayout {
                name: name.to_owned(),
                partitions: partitions.len(),
                without_leader: partitions.iter().filter(|p| p.leader() < 0).count(),
                replicas: partitions
                    .iter()
                    .map(|p| p.replicas().len())
                    .min()
                    .unwrap_or(0),
            });
        }
        Ok(Layout {
            brokers: metadata.brokers().len(),
            topics,
            missing,
        })
    }
}
