//! The demo's feed, on a thread of its own: held back by what is settled, because the embedded
//! Kafka keeps little.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::thread::{Builder, JoinHandle};

use longshore_actors::conservation::Ledger;
use longshore_actors::record::PartitionId;

use crate::config::Config;
use crate::feed::{
    AdsFeed, AdsSums, Feed, FeedError, FeedRecord, Feeder, Throttle, Totals, UnreadLimit,
};

/// What to feed.
#[derive(Debug)]
pub struct FeedPlan {
    /// The feed; its reference data is in the database already.
    pub feed: AdsFeed,
    /// How many partitions it feeds.
    pub partitions: i32,
    /// How many records; until a signal if `None`.
    pub records: Option<u64>,
    /// Records a second; as many as the service takes if `None`.
    pub rate: Option<u32>,
}

/// What was fed, and what must have come of it.
#[derive(Clone, Debug)]
pub struct Fed {
    /// The records by what must become of them.
    pub expected: Totals,
    /// What the saved rows must add up to.
    pub sums: AdsSums,
}

/// A feed under way.
pub(super) struct Feeding {
    sent: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Result<Fed, FeedError>>,
}

impl Feeding {
    /// Begins to feed the first topic of the first pipeline.
    pub(super) fn start(config: &Config, plan: FeedPlan, ledger: Ledger) -> std::io::Result<Self> {
        let (brokers, topic) =
            (config.kafka.brokers.clone(), config.pipelines[0].topics[0].clone());
        let properties: Vec<_> = config.kafka.properties.to_map().into_iter().collect();
        let (sent, stop) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let (counted, stopped) = (sent.clone(), stop.clone());
        let settled_topic = topic.clone();
        let settled = move |index| {
            let settled = ledger.of(&PartitionId::new(settled_topic.as_str(), index)).snapshot();
            settled.settled.total()
        };
        let throttle = Throttle::by_partition(UnreadLimit::EMBEDDED, plan.partitions, settled);
        let mut plan_of_feed = crate::feed::FeedPlan::new(plan.records, throttle);
        (plan_of_feed.rate, plan_of_feed.stop) = (plan.rate, stopped);
        let thread = Builder::new().name("longshore-feed".to_owned()).spawn(move || {
            let mut feed = Counted { feed: plan.feed, sent: counted };
            let feeder = Feeder::try_new(&brokers, &topic, &properties)?;
            let delivered = feeder.run(&mut feed, plan_of_feed)?;
            Ok(Fed { expected: delivered.expected, sums: feed.feed.sums() })
        })?;
        Ok(Self { sent, stop, thread })
    }

    /// Records sent so far.
    pub(super) fn sent(&self) -> u64 {
        self.sent.load(SeqCst)
    }

    /// Whether everything was sent.
    pub(super) fn is_done(&self) -> bool {
        self.thread.is_finished()
    }

    /// Stops feeding and says what was fed.
    pub(super) fn end(self) -> Result<Fed, FeedError> {
        self.stop.store(true, SeqCst);
        self.thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }
}

/// A feed whose records are counted as they are made.
struct Counted {
    feed: AdsFeed,
    sent: Arc<AtomicU64>,
}

impl Feed for Counted {
    fn fill(&mut self, record: &mut FeedRecord) {
        self.feed.fill(record);
        self.sent.fetch_add(1, SeqCst);
    }
}
