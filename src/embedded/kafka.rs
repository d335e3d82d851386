//! A Kafka of our own: librdkafka's mock cluster, inside this process, on loopback ports.
//!
//! Clients see a cluster with topics, groups and offsets. A partition keeps its last 5 MiB only,
//! read or not: hold a feed back with `feed::Throttle`. It is gone when the value is dropped.

use crate::kafka::ffi::MockCluster;

use super::error::EmbeddedError;

/// A Kafka that lives as long as this value.
pub struct EmbeddedKafka {
    _cluster: MockCluster,
    brokers: String,
}

impl EmbeddedKafka {
    /// Starts one broker and creates the topics, each with its number of partitions.
    ///
    /// # Errors
    /// [`EmbeddedError::Kafka`] if no port can be bound, or a topic is named twice.
    pub fn start(topics: &[(&str, i32)]) -> Result<Self, EmbeddedError> {
        let cluster = MockCluster::new(1).map_err(EmbeddedError::Kafka)?;
        for (name, partitions) in topics {
            cluster.create_topic(name, *partitions, 1).map_err(EmbeddedError::Kafka)?;
        }
        let brokers = cluster.bootstrap_servers();
        Ok(Self { _cluster: cluster, brokers })
    }

    /// The address for `bootstrap.servers`.
    pub fn brokers(&self) -> &str {
        &self.brokers
    }
}

impl std::fmt::Debug for EmbeddedKafka {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EmbeddedKafka").field("brokers", &self.brokers).finish_non_exhaustive()
    }
}
