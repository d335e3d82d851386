//! A broker made up, with one cluster, whose topics can be changed.

use std::sync::atomic::{AtomicI64, Ordering::SeqCst};
use std::sync::{Arc, Mutex};

use futures_util::future::BoxFuture;
use longshore::positions::{PartitionPositions, Positions, TopicPositions};
use longshore_actors::error::StoreError;
use longshore_actors::record::NextOffset;
use uuid::Uuid;

/// See the module.
pub(crate) struct Broker {
    pub(crate) topic: Mutex<TopicPositions>,
    pub(crate) asked: AtomicI64,
}

impl Broker {
    /// Topics of `partitions` partitions, empty, from offset 0.
    pub(crate) fn new(partitions: i32) -> Arc<Self> {
        let partition = |index| PartitionPositions {
            index,
            earliest: NextOffset(0),
            end: NextOffset(0),
            committed: None,
        };
        let topic = TopicPositions {
            cluster_id: "cluster-1".to_owned(),
            topic_id: Some(Uuid::from_u128(1)),
            partitions: (0..partitions).map(partition).collect(),
        };
        Arc::new(Self { topic: Mutex::new(topic), asked: AtomicI64::new(0) })
    }

    pub(crate) fn change(&self, change: impl FnOnce(&mut TopicPositions)) {
        change(&mut self.topic.lock().unwrap());
    }
}

impl Positions for Broker {
    fn describe<'a>(&'a self, _: &'a str) -> BoxFuture<'a, Result<TopicPositions, StoreError>> {
        self.asked.fetch_add(1, SeqCst);
        let topic = self.topic.lock().unwrap().clone();
        Box::pin(async move { Ok(topic) })
    }
}
