//! The producer of events, and the thread that receives Kafka's answers to it.
//!
//! The producers of rdkafka that have a thread wait 100 ms at a time, and ask without waiting during the last millisecond. That
//! took 1 % of a core in a node without traffic.

use std::{sync::Arc, thread, time::Duration};

use rdkafka::{
    ClientConfig, ClientContext,
    client::Client,
    error::KafkaError,
    message::OwnedHeaders,
    producer::{BaseProducer, BaseRecord, DeliveryResult, Producer as _, ProducerContext},
};
use tokio::sync::oneshot;

/// The thread waits this long for an answer before it looks whether the producer is still used.
const WAIT: Duration = Duration::from_secs(1);

/// Resolves when Kafka has acknowledged a record, or will not. An error of the receiver means that the producer was dropped.
/// Cancel safe; dropping it does not take the record back.
pub type Delivery = oneshot::Receiver<Result<(), KafkaError>>;

/// Hands Kafka's answer to the receiver of a [`Delivery`].
pub(super) struct Answers;

impl ClientContext for Answers {}

impl ProducerContext for Answers {
    type DeliveryOpaque = Box<oneshot::Sender<Result<(), KafkaError>>>;

    fn delivery(&self, result: &DeliveryResult<'_>, receiver: Self::DeliveryOpaque) {
        let result = match result {
            Ok(_) => Ok(()),
            Err((error, _)) => Err(error.clone()),
        };
        // Most senders do not wait.
        drop(receiver.send(result));
    }
}

/// A handle of a producer; clones share it.
#[derive(Clone)]
pub(super) struct Producer(Arc<BaseProducer<Answers>>);

impl Producer {
    /// Starts the thread, which ends at most a second after the last handle was dropped. It closes the producer, too.
    ///
    /// # Errors
    /// The settings are refused, or there are too many threads.
    pub(super) fn new(settings: &ClientConfig) -> Result<Self, KafkaError> {
        let producer = Arc::new(settings.create_with_context(Answers)?);
        let handle = Self(Arc::clone(&producer));
        thread::Builder::new()
            .name("kafka.answers".to_owned())
            .spawn(move || {
                while Arc::strong_count(&producer) > 1 {
                    producer.poll(WAIT);
                }
            })
            .map_err(|error| KafkaError::ClientCreation(error.to_string()))?;
        Ok(handle)
    }

    /// Queues a record and returns at once.
    ///
    /// # Errors
    /// The queue is full, or the topic is not known.
    pub(super) fn send(
        &self,
        topic: &str,
        key: &[u8],
        payload: &[u8],
        headers: OwnedHeaders,
    ) -> Result<Delivery, KafkaError> {
        let (sender, receiver) = oneshot::channel();
        let record = BaseRecord::with_opaque_to(topic, Box::new(sender))
            .key(key)
            .payload(payload)
            .headers(headers);
        match self.0.send(record) {
            Ok(()) => Ok(receiver),
            Err((error, _)) => Err(error),
        }
    }

    /// Blocks until Kafka has answered for every record, at most `within`.
    ///
    /// # Errors
    /// It did not answer in time.
    pub(super) fn flush(&self, within: Duration) -> Result<(), KafkaError> {
        self.0.flush(within)
    }

    /// The client, which reads metadata.
    pub(super) fn client(&self) -> &Client<Answers> {
        self.0.client()
    }
}
