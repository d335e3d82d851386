//! The demo's feed, on a thread of its own: held back by what is settled, because the embedded
//! Kafka keeps little.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::thread::{Builder, JoinHandle};

use longshore_actors::conservation::{Ledger, Settled};
use longshore_actors::record::PartitionId;

use super::example::{Example, ExampleFeed, PARTITIONS};
use crate::config::Config;
use crate::feed::{Feed, FeedError, FeedRecord, Feeder, Throttle, Totals, UnreadLimit};

/// What to feed to one pipeline.
#[derive(Debug)]
pub struct FeedPlan {
    /// Which.
    pub example: Example,
    /// The feed; its reference data is in the database already.
    pub feed: ExampleFeed,
    /// How many records; until a signal if `None`.
    pub records: Option<u64>,
    /// Records a second; as many as the service takes if `None`.
    pub rate: Option<u32>,
}

/// What was fed to one pipeline, and what must have come of it.
#[derive(Clone, Debug)]
pub struct Fed {
    /// Which.
    pub example: Example,
    /// The records by what must become of them.
    pub expected: Totals,
    /// What the saved rows must add to each of the example's sums.
    pub sums: Vec<i64>,
}

/// A feed under way.
pub(super) struct Feeding {
    ledger: Ledger,
    sent: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Result<Fed, FeedError>>,
}

impl Feeding {
    /// Begins to feed the example's topic.
    pub(super) fn start(config: &Config, plan: FeedPlan, ledger: Ledger) -> std::io::Result<Self> {
        let (brokers, example) = (config.kafka.brokers.clone(), plan.example);
        let properties: Vec<_> = config.kafka.properties.to_map().into_iter().collect();
        let (sent, stop) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let (counted, stopped) = (sent.clone(), stop.clone());
        let of = ledger.clone();
        let settled = move |index| {
            let settled = of.of(&PartitionId::new(example.topic, index)).snapshot();
            settled.settled.total()
        };
        let throttle = Throttle::by_partition(UnreadLimit::EMBEDDED, PARTITIONS, settled);
        let mut plan_of_feed = crate::feed::FeedPlan::new(plan.records, throttle);
        (plan_of_feed.rate, plan_of_feed.stop) = (plan.rate, stopped);
        let thread = Builder::new().name("longshore-feed".to_owned()).spawn(move || {
            let mut feed = Counted { feed: plan.feed, sent: counted };
            let feeder = Feeder::try_new(&brokers, example.topic, &properties)?;
            let delivered = feeder.run(&mut feed, plan_of_feed)?;
            Ok(Fed { example, expected: delivered.expected, sums: feed.feed.sums() })
        })?;
        Ok(Self { ledger, sent, stop, thread })
    }

    /// Records sent so far.
    pub(super) fn sent(&self) -> u64 {
        self.sent.load(SeqCst)
    }

    /// What became of them so far.
    pub(super) fn settled(&self) -> Settled {
        self.ledger.total().settled
    }

    /// Whether everything was sent and is settled.
    pub(super) fn is_done(&self) -> bool {
        self.thread.is_finished() && self.settled().total() >= self.sent()
    }

    /// Stops feeding and says what was fed.
    pub(super) fn end(self) -> Result<Fed, FeedError> {
        self.stop.store(true, SeqCst);
        self.thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }
}

/// A feed whose records are counted as they are made.
struct Counted {
    feed: ExampleFeed,
    sent: Arc<AtomicU64>,
}

impl Feed for Counted {
    fn fill(&mut self, record: &mut FeedRecord) {
        self.feed.fill(record);
        self.sent.fetch_add(1, SeqCst);
    }
}
