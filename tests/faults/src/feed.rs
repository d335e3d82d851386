//! The live feed: records of all subjects, sent to the brokers directly by an idempotent producer
//! until the last fault is over, and the model: what the broker says it has taken, and where.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rdkafka::ClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{DeliveryResult, Message};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer, ProducerContext};

use crate::wait;
use crate::{Becomes, Delivered, Draft, Subject};

/// How long the brokers may be away before a record is given up, and the run with it.
const DELIVER_WITHIN: Duration = Duration::from_secs(300);
/// How long deliveries are served while the producer's queue is full.
const SERVE_FOR: Duration = Duration::from_millis(5);
/// What a delivery report carries: the subject in the lowest bits, the record's number above.
const SUBJECT_BITS: u32 = 4;

/// How much is sent, and how fast.
#[derive(Clone, Copy, Debug)]
pub struct FeedPlan {
    /// Draws whose record is next.
    pub seed: u64,
    /// At least so many records.
    pub records: u64,
    /// As long as this at an even pace, and at that pace for as long as faults go on.
    pub over: Duration,
}

/// The feed on a thread of its own.
pub struct Feed {
    thread: JoinHandle<Result<Fed>>,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    acknowledged: AtomicU64,
    may_end: AtomicBool,
    must_end: AtomicBool,
}

/// What was fed: a subject and its records, in the order in which they were drawn.
pub type Fed = Vec<(Box<dyn Subject>, Vec<Delivered>)>;

impl Feed {
    /// Starts to feed all subjects, each its own topic.
    ///
    /// # Errors
    /// A producer cannot be made.
    pub fn start(brokers: &str, subjects: Vec<Box<dyn Subject>>, plan: FeedPlan) -> Result<Self> {
        ensure!(subjects.len() < 1 << SUBJECT_BITS, "too many subjects");
        let shared = Arc::new(Shared::default());
        let producer = producer(brokers)?;
        let mut feeding = Feeding {
            producer,
            rng: ChaCha8Rng::seed_from_u64(plan.seed ^ 0x6665_6564),
            weights: subjects.iter().map(|subject| subject.weight()).collect(),
            fed: subjects.into_iter().map(|subject| (subject, Vec::new())).collect(),
            shared: Arc::clone(&shared),
        };
        let thread = std::thread::Builder::new().name("feed".to_owned());
        let thread = thread.spawn(move || feeding.run(plan).map(|()| feeding.fed))?;
        Ok(Self { thread, shared })
    }

    /// How many records the brokers have taken.
    pub fn acknowledged(&self) -> u64 {
        self.shared.acknowledged.load(Ordering::Relaxed)
    }

    /// Whether it has ended by itself, which only an error does.
    pub fn has_failed(&self) -> bool {
        self.thread.is_finished()
    }

    /// Lets it send what is left of its plan, waits for the last acknowledgement, and gives the
    /// model.
    ///
    /// # Errors
    /// A record that was not delivered: the model would not know what became of it.
    pub fn finish(self) -> Result<Fed> {
        self.shared.may_end.store(true, Ordering::Relaxed);
        match self.thread.join() {
            Ok(fed) => fed.context("the feed failed, which says nothing about the pipeline"),
            Err(_) => bail!("the feed panicked"),
        }
    }

    /// Ends it without waiting for anything.
    pub fn abandon(&self) {
        self.shared.must_end.store(true, Ordering::Relaxed);
    }
}

struct Feeding {
    producer: BaseProducer<Reports>,
    rng: ChaCha8Rng,
    weights: Vec<u32>,
    fed: Fed,
    shared: Arc<Shared>,
}

impl Feeding {
    fn run(&mut self, plan: FeedPlan) -> Result<()> {
        let (begun, mut sent) = (Instant::now(), 0_u64);
        let rate = plan.records as f64 / plan.over.as_secs_f64().max(1.0);
        let mut draft = Draft::default();
        while !self.may_end() || sent < plan.records {
            // What is late after all faults is sent at once.
            let due = (begun.elapsed().as_secs_f64() * rate) as u64;
            let due = if self.may_end() { plan.records } else { due };
            while sent < due {
                self.send(&mut draft)?;
                sent += 1;
            }
            self.producer.poll(Duration::ZERO);
            self.take_reports()?;
            wait::tick();
            if self.shared.must_end.load(Ordering::Relaxed) {
                bail!("abandoned");
            }
        }
        self.producer.flush(DELIVER_WITHIN)?;
        self.take_reports()
    }

    fn may_end(&self) -> bool {
        self.shared.may_end.load(Ordering::Relaxed)
    }

    fn send(&mut self, draft: &mut Draft) -> Result<()> {
        let at = self.draw_subject();
        let (subject, delivered) = &mut self.fed[at];
        *draft = Draft::default();
        subject.draw(draft);
        let opaque = delivered.len() << SUBJECT_BITS | at;
        let (partition, becomes) = (draft.partition, draft.becomes);
        delivered.push(Delivered { partition, offset: -1, becomes });
        let mut record = BaseRecord::with_opaque_to(subject.name(), opaque)
            .partition(draft.partition)
            .key(draft.key.as_slice());
        record.payload = (!draft.is_tombstone).then_some(draft.value.as_slice());
        loop {
            match self.producer.send(record) {
                Ok(()) => return Ok(()),
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), back)) => {
                    self.producer.poll(SERVE_FOR);
                    record = back;
                    ensure!(!self.shared.must_end.load(Ordering::Relaxed), "abandoned");
                }
                Err((error, _)) => return Err(error.into()),
            }
        }
    }

    fn draw_subject(&mut self) -> usize {
        let mut drawn = self.rng.random_range(0..self.weights.iter().sum::<u32>().max(1));
        for (at, weight) in self.weights.iter().enumerate() {
            if drawn < *weight {
                return at;
            }
            drawn -= weight;
        }
        0
    }

    fn take_reports(&mut self) -> Result<()> {
        for report in self.producer.context().take() {
            let (subject, number) =
                (report.opaque & ((1 << SUBJECT_BITS) - 1), report.opaque >> SUBJECT_BITS);
            let offset = report.offset.map_err(|error| {
                anyhow::anyhow!(
                    "a record of {} was not delivered: {error}",
                    self.fed[subject].0.name()
                )
            })?;
            self.fed[subject].1[number].offset = offset;
            self.shared.acknowledged.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    }
}

fn producer(brokers: &str) -> Result<BaseProducer<Reports>> {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", brokers)
        .set("enable.idempotence", "true")
        .set("acks", "all")
        .set("linger.ms", "20")
        .set("message.timeout.ms", DELIVER_WITHIN.as_millis().to_string())
        .set("queue.buffering.max.messages", "100000");
    Ok(config.create_with_context(Reports::default())?)
}

struct Report {
    opaque: usize,
    offset: Result<i64, KafkaError>,
}

/// The delivery reports since they were last taken.
#[derive(Default)]
struct Reports {
    reports: Mutex<Vec<Report>>,
}

impl Reports {
    fn take(&self) -> Vec<Report> {
        std::mem::take(&mut self.reports.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl ClientContext for Reports {}

impl ProducerContext for Reports {
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, opaque: usize) {
        let offset = result.as_ref().map(Message::offset).map_err(|(error, _)| error.clone());
        let report = Report { opaque, offset };
        self.reports.lock().unwrap_or_else(PoisonError::into_inner).push(report);
    }
}

/// How many records of `delivered` are in each partition: where it ends, since nobody else writes.
pub fn ends(delivered: &[Delivered], partitions: i32) -> Vec<i64> {
    let mut ends = vec![0; partitions as usize];
    for record in delivered {
        ends[record.partition as usize] += 1;
    }
    ends
}

/// How many records of `delivered` are to be parked, in each partition.
pub fn parked(delivered: &[Delivered], partitions: i32) -> Vec<i64> {
    let parked = delivered.iter().filter(|record| record.becomes == Becomes::Parked);
    ends(&parked.copied().collect::<Vec<_>>(), partitions)
}
