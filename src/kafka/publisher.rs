//! [`KafkaPublisher`]: sends messages by an idempotent producer, and tells by their delivery
//! reports what became of them. The producer is made when the first message is sent, and made anew
//! after an error that an idempotent one does not survive.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, ready};
use longshore_actors::publisher::{Outgoing, PublishError, Publisher};
use rdkafka::ClientContext;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::error::KafkaError;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{FutureProducer, FutureRecord, Producer};
use rdkafka::types::RDKafkaErrorCode as Code;

use super::errors::is_of_one_broker;
use super::producer_properties;
use super::properties::PropertyError;
use super::rebalance;

/// See the module.
pub struct KafkaPublisher {
    config: ClientConfig,
    line: Arc<Line>,
}

/// The producer, if there is one, and what was last complained of.
#[derive(Default)]
struct Line {
    producer: Mutex<Option<FutureProducer<Complaints>>>,
    complaints: Complaints,
}

impl KafkaPublisher {
    /// A publisher with the properties of the consumers, as far as a producer has them. Does not
    /// connect.
    ///
    /// # Errors
    /// A property that would break a promise.
    pub fn try_new(
        brokers: &str,
        properties: &BTreeMap<String, String>,
    ) -> Result<Self, PropertyError> {
        let config = producer_properties::producer(brokers, properties)?;
        Ok(Self { config, line: Arc::default() })
    }

    fn producer(&self) -> Result<FutureProducer<Complaints>, PublishError> {
        let mut producer = self.line.lock();
        if let Some(producer) = &*producer {
            return Ok(producer.clone());
        }
        let made: Result<FutureProducer<Complaints>, _> =
            self.config.create_with_context(self.line.complaints.clone());
        let made = made.map_err(|error| {
            PublishError::Retry(format!("the kafka producer cannot be made: {error}"))
        })?;
        Ok(producer.insert(made).clone())
    }
}

impl Line {
    fn lock(&self) -> MutexGuard<'_, Option<FutureProducer<Complaints>>> {
        self.producer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What becomes of a message that was not delivered. A producer that cannot go on is let go;
    /// what else it had on its way fails like this message.
    fn fate(&self, error: &KafkaError) -> PublishError {
        let code = error.rdkafka_error_code().unwrap_or(Code::Unknown);
        let mut producer = self.lock();
        let fatal = producer.as_ref().and_then(|producer| producer.client().fatal_error());
        if let Some((code, text)) = fatal {
            tracing::warn!(%code, text, "the kafka producer is made anew");
            let gone = producer.take();
            drop(producer);
            drop(gone);
            return PublishError::Retry(format!("the producer could not go on: {text} ({code})"));
        }
        sort(code, error.to_string())
    }
}

/// Which errors pass, and which will be there for this message whenever it is sent.
fn sort(code: Code, message: String) -> PublishError {
    match code {
        Code::MessageSizeTooLarge | Code::MessageBatchTooLarge => PublishError::TooLarge(message),
        Code::InvalidTopic
        | Code::InvalidRecord
        | Code::InvalidTimestamp
        | Code::InvalidMessage
        | Code::InvalidArgument
        | Code::BadMessage
        | Code::PolicyViolation
        | Code::TopicAuthorizationFailed
        | Code::ClusterAuthorizationFailed
        | Code::UnknownTopic
        | Code::UnknownPartition
        | Code::UnknownTopicOrPartition
        | Code::UnsupportedForMessageFormat => PublishError::Refused(message),
        _ => PublishError::Retry(message),
    }
}

impl Publisher for KafkaPublisher {
    fn send(&self, message: &Outgoing) -> BoxFuture<'static, Result<(), PublishError>> {
        let headers = headers_of(message);
        let sent = headers.and_then(|headers| Ok((headers, self.producer()?)));
        let (headers, producer) = match sent {
            Ok(sent) => sent,
            Err(error) => return ready(Err(error)).boxed(),
        };
        let mut record = FutureRecord::<[u8], [u8]>::to(&message.topic).headers(headers);
        (record.key, record.payload) = (message.key.as_deref(), message.value.as_deref());
        let report = match producer.send_result(record) {
            Ok(report) => report,
            Err((error, _)) => {
                // Judged when it is waited for: a new producer in the midst of a pass would send
                // what comes behind this message before it.
                let line = self.line.clone();
                return async move { Err(line.fate(&error)) }.boxed();
            }
        };
        let line = self.line.clone();
        async move {
            match report.await {
                Ok(Ok(_)) => Ok(()),
                Ok(Err((error, _))) => Err(line.fate(&error)),
                Err(_) => Err(PublishError::Retry("the producer ended".to_owned())),
            }
        }
        .boxed()
    }

    fn trouble(&self) -> Option<String> {
        self.line.complaints.last()
    }
}

/// The headers as they came, a null as a null. A name that is no text is no name to Kafka, whoever
/// wrote it.
fn headers_of(message: &Outgoing) -> Result<OwnedHeaders, PublishError> {
    let mut headers = OwnedHeaders::new_with_capacity(message.headers.len());
    for (name, value) in &message.headers {
        let key = std::str::from_utf8(name).map_err(|_| {
            let name = String::from_utf8_lossy(name);
            PublishError::Refused(format!("the name of its header {name:?} is no text"))
        })?;
        headers = headers.insert(Header { key, value: value.as_deref() });
    }
    Ok(headers)
}

/// What librdkafka complained of last. Cheap to clone; all clones are one.
#[derive(Clone, Default)]
struct Complaints(Arc<Mutex<Option<String>>>);

impl Complaints {
    fn last(&self) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl ClientContext for Complaints {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        rebalance::log(level, facility, message);
    }

    fn stats_raw(&self, _statistics: &[u8]) {}

    fn error(&self, error: KafkaError, reason: &str) {
        let code = error.rdkafka_error_code().unwrap_or(Code::Unknown);
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(reason.to_owned());
        if is_of_one_broker(code) {
            tracing::debug!(%code, reason, "kafka producer");
        } else {
            tracing::warn!(%code, reason, "kafka producer");
        }
    }
}
