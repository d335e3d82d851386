//! The open-loop feed: sends each record when it is due, whether those before it have arrived or
//! not, and notes which record lies at which offset.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::ClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::message::DeliveryResult;
use rdkafka::producer::{BaseProducer, Producer, ProducerContext};

use super::schedule::Schedule;
use super::stock::Stock;
use crate::bench::error::BenchError;
use crate::bench::fill::Target;
use crate::bench::modes::BoxedFeed;
use crate::feed::{self, FeedRecord};

/// How long the producer waits for company of a record: it counts as latency. Requests of a few
/// records each would take half a core for the broker, from the service that is measured.
const LINGER_MS: &str = "20";

/// What is due is sent this often. Whoever looks all the time takes a whole core away.
const TICK: Duration = Duration::from_millis(2);

/// Not by polling for so long: that ends with each delivery.
#[expect(
    clippy::disallowed_methods,
    reason = "what is waited for is time: when the next one is due"
)]
fn rest() {
    std::thread::sleep(TICK);
}

/// How long the last records may take to be acknowledged.
const FLUSH_LIMIT: Duration = Duration::from_secs(30);

/// Which records lie in which partition: by partition, their numbers in the order of their offsets.
pub(super) struct Places(Vec<Mutex<Vec<u64>>>);

/// A feed and its producer.
pub(super) struct OpenLoop {
    producer: BaseProducer<Failures>,
    topic: String,
    stock: Stock<BoxedFeed>,
    record: FeedRecord,
}

/// What a feed did.
pub(super) struct Fed {
    /// How late it ever was against its schedule.
    pub(super) late_max: Duration,
}

/// Set to stop a feed under way.
pub(super) type Stop = Arc<AtomicBool>;

#[derive(Default)]
struct Failures(AtomicU64);

impl ClientContext for Failures {}

impl ProducerContext for Failures {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        if result.is_err() {
            self.0.fetch_add(1, Relaxed);
        }
    }
}

impl Places {
    pub(super) fn new(partitions: i32) -> Self {
        Self((0..partitions).map(|_| Mutex::default()).collect())
    }

    pub(super) fn push(&self, partition: i32, number: u64) {
        if let Some(place) = self.of(partition) {
            place.lock().unwrap_or_else(PoisonError::into_inner).push(number);
        }
    }

    /// The numbers of the records from the `from`th to before the `to`th of a partition.
    pub(super) fn between(&self, partition: i32, from: usize, to: usize) -> Vec<u64> {
        let Some(place) = self.of(partition) else { return Vec::new() };
        let place = place.lock().unwrap_or_else(PoisonError::into_inner);
        place.get(from..to).map(<[u64]>::to_vec).unwrap_or_default()
    }

    fn of(&self, partition: i32) -> Option<&Mutex<Vec<u64>>> {
        self.0.get(usize::try_from(partition).ok()?)
    }
}

impl OpenLoop {
    /// A feed of `target`'s topic.
    pub(super) fn new(target: &Target, feed: BoxedFeed) -> Result<Self, BenchError> {
        let mut config = ClientConfig::new();
        config.set("enable.idempotence", "true").set("linger.ms", LINGER_MS);
        // To be told of each record costs as much as to make it.
        config.set("delivery.report.only.error", "true");
        target.set(&mut config);
        let producer = config.create_with_context(Failures::default());
        let producer = producer.map_err(BenchError::kafka("preparing to send"))?;
        let (topic, record) = (target.topic.clone(), FeedRecord::default());
        Ok(Self { producer, topic, stock: Stock::new(feed), record })
    }

    /// Makes the schedule's records. Blocks its thread.
    pub(super) fn prepare(&mut self, schedule: &Schedule) {
        self.stock.make(schedule.records);
    }

    /// Sends the schedule's records, of which the first one is due at `begun`. Blocks its thread.
    pub(super) fn run(
        &mut self,
        schedule: &Schedule,
        begun: Instant,
        places: &Places,
        stop: &Stop,
    ) -> Result<Fed, BenchError> {
        let (mut sent, mut late_max) = (0, Duration::ZERO);
        while sent < schedule.records && !stop.load(Relaxed) {
            let elapsed = begun.elapsed();
            if sent >= schedule.warm_up {
                late_max = late_max.max(elapsed.saturating_sub(schedule.due(sent)));
            }
            let due = schedule.due_by(elapsed);
            while sent < due {
                self.stock.take(&mut self.record);
                places.push(self.record.partition, sent);
                self.send()?;
                sent += 1;
            }
            self.producer.poll(Duration::ZERO);
            rest();
        }
        self.producer.flush(FLUSH_LIMIT).map_err(BenchError::kafka("taking the last records"))?;
        match self.producer.context().0.load(Relaxed) {
            0 => Ok(Fed { late_max }),
            failed => {
                let problem = format!("{failed} records were not delivered");
                Err(BenchError::Kafka { doing: "taking records", problem })
            }
        }
    }

    fn send(&self) -> Result<(), BenchError> {
        feed::send(&self.producer, &self.topic, &self.record, TICK)
            .map_err(BenchError::kafka("taking a record"))
    }
}
