//! Producers: idempotent ones, and transactional ones that commit or abort.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rdkafka::config::ClientConfig;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{
    BaseRecord, DeliveryResult, NoCustomPartitioner, Producer, ProducerContext, ThreadedProducer,
};
use rdkafka::{ClientContext, Message};

use super::records::{Draft, Sent};
use super::topics::Topic;
use super::wait;

/// How long the broker may take to take all of a call's records.
const TIMEOUT: Duration = Duration::from_secs(120);

/// A producer of one topic that tells the offset of each record.
pub(crate) struct Sender {
    topic: String,
    producer: ThreadedProducer<Deliveries>,
}

impl Sender {
    /// A producer as most services have it.
    pub(crate) fn idempotent(topic: &Topic) -> Self {
        Self::new(topic, |config| config)
    }

    /// A producer whose records count only between `begin` and `commit`.
    pub(crate) fn transactional(topic: &Topic, id: &str) -> Self {
        let id = format!("{}.{id}", topic.name);
        let sender = Self::new(topic, |config| config.set("transactional.id", &id));
        sender.producer.init_transactions(TIMEOUT).expect("transactions");
        sender
    }

    fn new(topic: &Topic, settings: impl FnOnce(&mut ClientConfig) -> &mut ClientConfig) -> Self {
        let mut config = ClientConfig::new();
        config
            .set("bootstrap.servers", &topic.brokers)
            .set("enable.idempotence", "true")
            .set("linger.ms", "5")
            .set("message.max.bytes", "1048000")
            .set("queue.buffering.max.messages", "200000");
        let producer =
            settings(&mut config).create_with_context(Deliveries::default()).expect("a producer");
        Self { topic: topic.name.clone(), producer }
    }

    /// Sends records, waits until the broker has them, and gives them with their offsets.
    pub(crate) fn send(&self, drafts: Vec<Draft>) -> Vec<Sent> {
        for (index, draft) in drafts.iter().enumerate() {
            self.enqueue(index, draft);
        }
        self.producer.flush(TIMEOUT).expect("all records delivered");
        let mut offsets = vec![None; drafts.len()];
        for (index, offset) in self.producer.context().take() {
            offsets[index] = Some(offset.unwrap_or_else(|error| panic!("delivering: {error}")));
        }
        let pairs = drafts.into_iter().zip(offsets);
        pairs.map(|(draft, offset)| Sent { draft, offset: offset.expect("an offset") }).collect()
    }

    /// Begins a transaction.
    pub(crate) fn begin(&self) {
        self.producer.begin_transaction().expect("a transaction");
    }

    /// Commits it.
    pub(crate) fn commit(&self) {
        self.producer.commit_transaction(TIMEOUT).expect("a committed transaction");
    }

    /// Aborts it.
    pub(crate) fn abort(&self) {
        self.producer.abort_transaction(TIMEOUT).expect("an aborted transaction");
    }

    fn enqueue(&self, index: usize, draft: &Draft) {
        let headers = draft.headers.iter().fold(OwnedHeaders::new(), |headers, (key, value)| {
            headers.insert(Header { key, value: value.as_deref() })
        });
        let mut record = BaseRecord::with_opaque_to(&self.topic, index)
            .partition(draft.partition)
            .timestamp(draft.timestamp_ms)
            .headers(headers);
        record.key = draft.key.as_deref();
        record.payload = draft.value.as_deref();
        let mut waiting = Some(record);
        wait::until("the producer's queue has room", || {
            match self.producer.send(waiting.take().expect("the record")) {
                Ok(()) => true,
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), record)) => {
                    waiting = Some(record);
                    false
                }
                Err((error, _)) => panic!("sending: {error}"),
            }
        });
    }
}

/// A record's index, and its offset unless it was refused.
type Report = (usize, Result<i64, KafkaError>);

/// The delivery reports since they were last taken.
#[derive(Default)]
struct Deliveries {
    reports: Mutex<Vec<Report>>,
}

impl Deliveries {
    fn take(&self) -> Vec<Report> {
        std::mem::take(&mut self.reports.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl ClientContext for Deliveries {}

impl ProducerContext<NoCustomPartitioner> for Deliveries {
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, index: usize) {
        let offset = result.as_ref().map(Message::offset).map_err(|(error, _)| error.clone());
        // Kept, so that `send` panics about it on its own thread.
        self.reports.lock().unwrap_or_else(PoisonError::into_inner).push((index, offset));
    }
}
