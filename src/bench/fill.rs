//! Fills a topic with a mode's records, on a thread of its own: all of them beforehand, or held
//! back by what is committed where the broker keeps little.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering::Relaxed};

use rdkafka::config::ClientConfig;

use super::error::BenchError;
use super::modes::BoxedFeed;
use crate::feed::{
    Delivered, Feed, FeedError, FeedPlan, FeedRecord, Feeder, Throttle, UnreadLimit,
};

/// What is committed of each partition, for those who feed.
#[derive(Clone)]
pub(super) struct Committed(Arc<[AtomicI64]>);

impl Committed {
    /// Nothing yet of any of so many partitions.
    pub(super) fn new(partitions: i32) -> Self {
        Self((0..partitions).map(|_| AtomicI64::new(0)).collect())
    }

    /// Notes the first offset that is not committed.
    pub(super) fn note(&self, partition: i32, next_offset: i64) {
        if let Some(place) = usize::try_from(partition).ok().and_then(|at| self.0.get(at)) {
            place.store(next_offset, Relaxed);
        }
    }

    fn of(&self, partition: i32) -> u64 {
        let place = usize::try_from(partition).ok().and_then(|at| self.0.get(at));
        place.map_or(0, |place| place.load(Relaxed).unsigned_abs())
    }
}

/// A feed under way. Dropped, it stops.
pub(super) struct Filling {
    sent: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    thread: tokio::task::JoinHandle<Result<Delivered, FeedError>>,
}

/// Where to send, and how many.
#[derive(Clone)]
pub(super) struct Target {
    pub(super) brokers: String,
    pub(super) topic: String,
    pub(super) properties: Vec<(String, String)>,
    pub(super) records: u64,
}

impl Target {
    /// Sets where the brokers are, and, over what is set, the user's own properties.
    pub(super) fn set(&self, config: &mut ClientConfig) {
        config.set("bootstrap.servers", &self.brokers);
        for (name, value) in &self.properties {
            config.set(name, value);
        }
    }
}

impl Filling {
    /// Begins to send; with `committed`, no more than the embedded Kafka keeps.
    pub(super) fn start(
        target: Target,
        feed: BoxedFeed,
        committed: Option<(Committed, i32)>,
    ) -> Self {
        let (sent, stop) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let throttle = committed.map_or_else(Throttle::off, |(committed, partitions)| {
            let settled = move |partition| committed.of(partition);
            Throttle::by_partition(UnreadLimit::EMBEDDED, partitions, settled)
        });
        let mut plan = FeedPlan::new(Some(target.records), throttle);
        plan.stop = stop.clone();
        let counted = sent.clone();
        let thread = tokio::task::spawn_blocking(move || {
            let mut feed = Counted { feed, sent: counted };
            Feeder::try_new(&target.brokers, &target.topic, &target.properties)?
                .run(&mut feed, plan)
        });
        Self { sent, stop, thread }
    }

    /// Records that were sent so far.
    pub(super) fn sent(&self) -> u64 {
        self.sent.load(Relaxed)
    }

    /// Whether it is over, by its end or by an error.
    pub(super) fn is_over(&self) -> bool {
        self.thread.is_finished()
    }

    /// Waits for its end.
    pub(super) async fn end(mut self) -> Result<Delivered, BenchError> {
        Ok((&mut self.thread).await??)
    }
}

impl Drop for Filling {
    fn drop(&mut self) {
        self.stop.store(true, Relaxed);
    }
}

/// A feed whose records are counted as they are made.
struct Counted {
    feed: BoxedFeed,
    sent: Arc<AtomicU64>,
}

impl Feed for Counted {
    fn fill(&mut self, record: &mut FeedRecord) {
        self.feed.fill(record);
        self.sent.fetch_add(1, Relaxed);
    }
}
