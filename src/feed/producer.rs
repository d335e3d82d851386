//! Sends a feed to Kafka, at a rate or as fast as the throttle allows. Runs on a thread of its
//! caller's until its plan is done, and gives what must come of it.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::ClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::DeliveryResult;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer, ProducerContext};
use thiserror::Error;

use super::throttle::Throttle;
use super::{Feed, FeedRecord, Totals};

/// How long to serve deliveries before asking again whether there is room.
const WAIT_INTERVAL: Duration = Duration::from_millis(2);

/// How many records go out before the clock, the stop flag and deliveries are looked at again.
const RECORDS_PER_LOOK: u64 = 256;

/// How long the last records may take to be acknowledged.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(30);

/// How much to send, how fast, and when to stop.
#[derive(Debug)]
pub struct FeedPlan {
    /// How many records; until stopped if `None`.
    pub records: Option<u64>,
    /// How many a second; as many as the throttle admits if `None`.
    pub rate: Option<u32>,
    /// What may be on its way.
    pub throttle: Throttle,
    /// Set from outside to end early.
    pub stop: Arc<AtomicBool>,
}

/// What was sent and acknowledged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivered {
    /// What must become of it.
    pub expected: Totals,
    /// Its size, keys and values.
    pub bytes: u64,
    /// How long it took.
    pub elapsed: Duration,
}

/// Why a feed ended before its plan was done.
#[derive(Debug, Error)]
pub enum FeedError {
    /// The producer could not be made, or refused a record.
    #[error("cannot send to Kafka: {0}")]
    Kafka(#[from] KafkaError),
    /// Some records were not acknowledged: what was expected of them will not come.
    #[error("{records} records were not delivered: {first}")]
    Undelivered {
        /// How many.
        records: u64,
        /// The first reason.
        first: String,
    },
}

/// Sends records to one topic.
pub struct Feeder {
    producer: BaseProducer<Deliveries>,
    topic: String,
}

impl Feeder {
    /// A feeder of `topic`, acknowledged by all replicas and without repeats of its own.
    /// `properties` are librdkafka's and win over its own.
    ///
    /// # Errors
    /// A property that librdkafka refuses.
    pub fn try_new(
        brokers: &str,
        topic: &str,
        properties: &[(String, String)],
    ) -> Result<Self, FeedError> {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", brokers);
        config.set("enable.idempotence", "true");
        config.set("linger.ms", "5");
        config.set("queue.buffering.max.kbytes", "16384");
        for (name, value) in properties {
            config.set(name, value);
        }
        let producer = config.create_with_context(Deliveries::default())?;
        Ok(Self { producer, topic: topic.to_owned() })
    }

    /// Sends until the plan is done or stopped, and waits for the acknowledgements.
    ///
    /// # Errors
    /// A record that was refused or not acknowledged.
    pub fn run(&self, feed: &mut impl Feed, mut plan: FeedPlan) -> Result<Delivered, FeedError> {
        let begun = Instant::now();
        let (mut expected, mut bytes, mut sent) = (Totals::default(), 0, 0_u64);
        let mut record = FeedRecord::default();
        while plan.wants_more(sent) && self.wait_for_rate(&plan, begun, sent) {
            feed.fill(&mut record);
            self.wait_for_room(&mut plan, &record);
            send(&self.producer, &self.topic, &record, WAIT_INTERVAL)?;
            plan.throttle.sent(record.partition, record.size());
            expected.count(record.expected);
            bytes += record.size() as u64;
            sent += 1;
        }
        self.producer.flush(FLUSH_TIMEOUT)?;
        self.producer.context().verdict()?;
        Ok(Delivered { expected, bytes, elapsed: begun.elapsed() })
    }

    fn wait_for_rate(&self, plan: &FeedPlan, begun: Instant, sent: u64) -> bool {
        if !sent.is_multiple_of(RECORDS_PER_LOOK) && plan.rate.is_none() {
            return true;
        }
        self.producer.poll(Duration::ZERO);
        let Some(rate) = plan.rate else { return true };
        let due = Duration::from_secs_f64(sent as f64 / f64::from(rate.max(1)));
        while begun.elapsed() < due {
            if plan.is_stopped() {
                return false;
            }
            self.producer.poll(WAIT_INTERVAL.min(due.saturating_sub(begun.elapsed())));
        }
        true
    }

    /// Ends early when stopped, and the record is sent all the same: the feed has it in its books,
    /// and one record does not fill a partition.
    fn wait_for_room(&self, plan: &mut FeedPlan, record: &FeedRecord) {
        while !plan.throttle.admits(record.partition, record.size()) && !plan.is_stopped() {
            self.producer.poll(WAIT_INTERVAL);
        }
    }
}

/// Hands `record` to `producer`, which is given time while its queue is full: `pause` at a time.
pub(crate) fn send<C: ProducerContext<DeliveryOpaque = ()>>(
    producer: &BaseProducer<C>,
    topic: &str,
    record: &FeedRecord,
    pause: Duration,
) -> Result<(), KafkaError> {
    let mut message =
        BaseRecord::<[u8], [u8]>::to(topic).partition(record.partition).key(record.key.as_slice());
    if let Some(value) = record.value() {
        message = message.payload(value);
    }
    loop {
        match producer.send(message) {
            Ok(()) => return Ok(()),
            Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), back)) => {
                producer.poll(pause);
                message = back;
            }
            Err((error, _)) => return Err(error),
        }
    }
}

impl FeedPlan {
    /// As many records as there are, as fast as the throttle admits.
    pub fn new(records: Option<u64>, throttle: Throttle) -> Self {
        Self { records, rate: None, throttle, stop: Arc::default() }
    }

    fn wants_more(&self, sent: u64) -> bool {
        self.records.is_none_or(|records| sent < records) && !self.is_stopped()
    }

    fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }
}

/// Counts what was not delivered; librdkafka has retried it by then.
#[derive(Default)]
struct Deliveries {
    failed: AtomicU64,
    first: Mutex<String>,
}

impl Deliveries {
    fn verdict(&self) -> Result<(), FeedError> {
        match self.failed.load(Ordering::Relaxed) {
            0 => Ok(()),
            records => {
                let first = self.first.lock().unwrap_or_else(PoisonError::into_inner).clone();
                Err(FeedError::Undelivered { records, first })
            }
        }
    }
}

impl ClientContext for Deliveries {}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        if let Err((error, _)) = result
            && self.failed.fetch_add(1, Ordering::Relaxed) == 0
        {
            *self.first.lock().unwrap_or_else(PoisonError::into_inner) = error.to_string();
        }
    }
}
