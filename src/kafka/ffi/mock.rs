//! A Kafka cluster inside this process.

use std::ffi::{CString, c_int};
use std::ptr::NonNull;

use rdkafka::config::ClientConfig;
use rdkafka::producer::{BaseProducer, Producer};
use rdkafka_sys as sys;

use super::{error_code, text_of};

/// A Kafka cluster inside this process, for the demo and for tests. Each partition keeps its last
/// 5 MiB; transactions are hollow; groups and offsets work.
pub struct MockCluster {
    cluster: NonNull<sys::rd_kafka_mock_cluster_t>,
    // Owns the threads that the cluster runs on: dropped after it.
    _client: BaseProducer,
}

// SAFETY: librdkafka guards the cluster by its own lock; the pointer is freed only in `drop`.
unsafe impl Send for MockCluster {}
// SAFETY: as above.
unsafe impl Sync for MockCluster {}

impl MockCluster {
    /// Starts `brokers` brokers on ports of their own. A group's first member waits 100 ms for
    /// others instead of 3 s.
    ///
    /// # Errors
    /// If librdkafka cannot make a client or bind a port.
    pub fn new(brokers: u16) -> Result<Self, String> {
        let client: BaseProducer = ClientConfig::new().create().map_err(|e| e.to_string())?;
        // SAFETY: the client is alive, and kept as long as the cluster.
        let cluster = unsafe {
            sys::rd_kafka_mock_cluster_new(client.client().native_ptr(), c_int::from(brokers))
        };
        let cluster = NonNull::new(cluster).ok_or("librdkafka made no mock cluster")?;
        // SAFETY: the cluster was just made.
        unsafe { sys::rd_kafka_mock_group_initial_rebalance_delay_ms(cluster.as_ptr(), 100) };
        Ok(Self { cluster, _client: client })
    }

    /// The addresses of its brokers, for `bootstrap.servers`.
    pub fn bootstrap_servers(&self) -> String {
        // SAFETY: the cluster is alive and owns the text.
        unsafe { text_of(sys::rd_kafka_mock_cluster_bootstraps(self.cluster.as_ptr())) }
    }

    /// Creates a topic.
    ///
    /// # Errors
    /// If it is there already, or the name has a NUL.
    pub fn create_topic(&self, name: &str, partitions: i32, rf: i32) -> Result<(), String> {
        let topic = CString::new(name).map_err(|e| e.to_string())?;
        // SAFETY: the cluster is alive and the name terminated.
        let code = unsafe {
            sys::rd_kafka_mock_topic_create(self.cluster.as_ptr(), topic.as_ptr(), partitions, rf)
        };
        if code == sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR {
            return Ok(());
        }
        Err(format!("the mock cluster did not create {name}: {}", error_code(code as i32)))
    }

    /// Has `broker`, by its number from 1, lead a partition from here on, in a new epoch.
    ///
    /// # Errors
    /// If there is no such partition or broker, or the name has a NUL.
    #[cfg(test)]
    pub(in crate::kafka) fn set_leader(
        &self,
        topic: &str,
        partition: i32,
        broker: i32,
    ) -> Result<(), String> {
        let name = CString::new(topic).map_err(|e| e.to_string())?;
        // SAFETY: the cluster is alive and the name terminated.
        let code = unsafe {
            let cluster = self.cluster.as_ptr();
            sys::rd_kafka_mock_partition_set_leader(cluster, name.as_ptr(), partition, broker)
        };
        if code == sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR {
            return Ok(());
        }
        Err(format!("{topic}[{partition}] is not led by {broker}: {}", error_code(code as i32)))
    }
}

impl Drop for MockCluster {
    fn drop(&mut self) {
        // SAFETY: made in `new` and destroyed once, before its client.
        unsafe { sys::rd_kafka_mock_cluster_destroy(self.cluster.as_ptr()) };
    }
}
