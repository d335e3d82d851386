//! The Kafka edge: one thread that owns the consumer and reads its partitions in batches, a small
//! client that asks the brokers where partitions begin and end, and a producer that publishes.
//!
//! [`ThreadSource::channel`] makes what the house talks to, [`ConsumerThread::spawn`] starts the
//! thread in front of the house, [`ConsumerHandle`] drains it and says how it ended;
//! [`ConsumerKeeper`] puts a new one in the place of one that failed.

#[doc(hidden)]
pub mod alone;
mod assignment;
mod commit;
mod consumer_loop;
mod errors;
pub mod ffi;
mod filling;
mod keeper;
mod obstacle;
mod partition_reader;
pub mod positions;
pub mod producer_properties;
pub mod properties;
pub mod publisher;
mod read_rules;
mod rebalance;
mod source;
mod status;
#[cfg(test)]
mod tests;
mod thread;

pub use keeper::ConsumerKeeper;
pub use positions::KafkaPositions;
pub use publisher::KafkaPublisher;
pub use source::{Commands, ThreadSource};
pub use status::{ConsumerStatus, PartitionState, PartitionStatus, StatusSnapshot};
pub use thread::{
    BatchLimits, CommitLimits, ConsumerError, ConsumerHandle, ConsumerParams, ConsumerThread,
    Drained,
};
