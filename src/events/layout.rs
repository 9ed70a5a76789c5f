//! The brokers and topics of Kafka, for an operator.

use std::{sync::Arc, time::Duration};

use rdkafka::{
    consumer::{BaseConsumer, Consumer as _},
    error::KafkaError,
};
use tokio::task::spawn_blocking;

use crate::{events::kafka::Kafka, model::Topic};

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

impl Kafka {
    /// Asks for the brokers and topics.
    ///
    /// # Errors
    /// Kafka does not answer within the time.
    pub async fn layout(self: Arc<Self>, within: Duration) -> Result<Layout, KafkaError> {
        let read = spawn_blocking(move || self.read_layout(within));
        read.await.map_err(|_| KafkaError::Canceled)?
    }

    fn read_layout(&self, within: Duration) -> Result<Layout, KafkaError> {
        let consumer: BaseConsumer = self.settings.create()?;
        let metadata = consumer.fetch_metadata(None, within)?;
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
