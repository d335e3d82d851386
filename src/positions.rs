//! Where a topic's partitions begin and end, as the broker says: the port between the stored
//! offsets, which need a concrete start, and Kafka.

use futures_util::future::BoxFuture;
use longshore_actors::error::StoreError;
use longshore_actors::record::NextOffset;
use serde::Deserialize;
use uuid::Uuid;

/// Asks the broker about topics. One implementation: `kafka::positions`.
pub trait Positions: Send + Sync + 'static {
    /// Describes `topic` as it is now, from the point of view of one consumer group.
    fn describe<'a>(&'a self, topic: &'a str) -> BoxFuture<'a, Result<TopicPositions, StoreError>>;

    /// The id that `topic` has now; `None` if the broker has none.
    fn topic_id<'a>(&'a self, topic: &'a str) -> BoxFuture<'a, Result<Option<Uuid>, StoreError>> {
        Box::pin(async move { Ok(self.describe(topic).await?.topic_id) })
    }
}

/// A topic at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicPositions {
    /// The cluster that the topic lies in.
    pub cluster_id: String,
    /// The topic's own id, which a topic made anew does not share; `None` if the broker has none.
    pub topic_id: Option<Uuid>,
    /// Its partitions by number, all of them.
    pub partitions: Vec<PartitionPositions>,
}

/// A partition at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartitionPositions {
    /// The partition's number.
    pub index: i32,
    /// The first offset that the broker still has.
    pub earliest: NextOffset,
    /// The end: the last stable offset, or the high watermark with `read_uncommitted`.
    pub end: NextOffset,
    /// The group's committed offset in Kafka, if there is one.
    pub committed: Option<NextOffset>,
}

/// Where a group begins that has no stored offset for a topic yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StartPosition {
    /// The group's committed offset in Kafka if there is one, else the earliest.
    #[default]
    Committed,
    /// The first offset that the broker still has.
    Earliest,
    /// The end at that moment.
    Latest,
}
