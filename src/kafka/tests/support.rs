//! What the tests share: clusters, a producer, members of a group, waiting with a deadline.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use longshore_actors::format::Format;
use longshore_actors::record::PartitionId;
use longshore_actors::testing::front::{CollectingFront, SavedRecord, Shelf};
use longshore_actors::ticket::BudgetLimits;
use rdkafka::ClientConfig;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};

use crate::kafka::{
    BatchLimits, CommitLimits, ConsumerError, ConsumerHandle, ConsumerParams, ConsumerStatus,
    ConsumerThread, Drained, StatusSnapshot, ThreadSource, ffi::MockCluster,
};

/// A cluster with one topic, and a group of which each test has its own.
pub(super) struct Bench {
    pub(super) brokers: String,
    pub(super) topic: String,
    pub(super) group: String,
    pub(super) shelf: Shelf,
    pub(super) properties: Vec<(&'static str, String)>,
    mock: Option<MockCluster>,
}

impl Bench {
    /// On a mock cluster of its own.
    pub(super) fn mock(partitions: i32) -> Self {
        Self::mock_of(1, partitions)
    }

    /// The same, with so many brokers that all have each partition.
    pub(super) fn mock_of(brokers: u16, partitions: i32) -> Self {
        let mock = MockCluster::new(brokers).expect("a mock cluster");
        mock.create_topic("records", partitions, i32::from(brokers)).expect("a topic");
        Self {
            brokers: mock.bootstrap_servers(),
            topic: "records".into(),
            group: "readers".into(),
            shelf: Shelf::default(),
            // A join or leave takes the mock this long, less a second.
            properties: vec![
                ("session.timeout.ms", "2500".into()),
                ("heartbeat.interval.ms", "200".into()),
            ],
            mock: Some(mock),
        }
    }

    /// Has a broker of the mock cluster lead all partitions from here on, in a new epoch.
    pub(super) fn set_leader(&self, partitions: i32, broker: i32) {
        let mock = self.mock.as_ref().expect("real leaders are not ours to set");
        for partition in 0..partitions {
            mock.set_leader(&self.topic, partition, broker).expect("a leader");
        }
    }

    /// On brokers that are there already, with a topic that is there already.
    pub(super) fn real(brokers: &str, topic: &str) -> Self {
        Self {
            brokers: brokers.into(),
            topic: topic.into(),
            group: format!("{topic}-readers"),
            shelf: Shelf::default(),
            properties: vec![("session.timeout.ms", "6000".into())],
            mock: None,
        }
    }

    pub(super) fn with(mut self, key: &'static str, value: &str) -> Self {
        self.properties.retain(|(name, _)| *name != key);
        self.properties.push((key, value.into()));
        self
    }

    pub(super) fn without(mut self, key: &str) -> Self {
        self.properties.retain(|(name, _)| *name != key);
        self
    }

    pub(super) fn partition(&self, index: i32) -> PartitionId {
        PartitionId::new(self.topic.as_str(), index)
    }

    pub(super) fn properties(&self) -> BTreeMap<String, String> {
        self.properties.iter().map(|(k, v)| ((*k).to_owned(), v.clone())).collect()
    }

    pub(super) fn params(&self) -> ConsumerParams {
        ConsumerParams {
            pipeline: "test".into(),
            topics: vec![self.topic.clone()],
            group: self.group.clone(),
            brokers: self.brokers.clone(),
            properties: self.properties(),
            format: Format::Json,
            batch: BatchLimits { records: 500, bytes: 1 << 20, linger: Duration::from_millis(20) },
            batches_ahead: 4,
            commit: CommitLimits { interval: Duration::from_millis(100), records: 10_000 },
            fetch_budget_bytes: 8 << 20,
            partitions: 4,
            revoke_wait: Duration::from_secs(1),
        }
    }

    pub(super) fn join(&self) -> Member {
        self.join_with(BUDGET, &self.params())
    }

    pub(super) fn join_with(&self, budget: BudgetLimits, params: &ConsumerParams) -> Member {
        let (source, commands) = ThreadSource::channel();
        let front = CollectingFront::start(self.shelf.clone(), budget, source);
        let handle =
            ConsumerThread::spawn(params, front.clone(), commands, ConsumerStatus::default())
                .expect("a consumer");
        Member { front, handle }
    }

    /// Produces values to one partition, in their order.
    pub(super) fn produce(&self, partition: i32, values: impl IntoIterator<Item = String>) {
        let records = values.into_iter().map(|value| Sent {
            key: None,
            value: Some(value.into_bytes()),
            headers: Vec::new(),
        });
        self.send(partition, records);
    }

    pub(super) fn send(&self, partition: i32, records: impl IntoIterator<Item = Sent>) {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.brokers).set("linger.ms", "1");
        let producer: BaseProducer = config.create().expect("a producer");
        for record in records {
            send(&producer, &self.topic, partition, &record);
        }
        producer.flush(Duration::from_secs(20)).expect("flushed");
    }

    /// Waits until as many records as `count` were saved in all partitions.
    pub(super) fn await_records(&self, count: usize) {
        eventually(&format!("{count} records"), || self.shelf.num_records() >= count);
    }

    /// Fails unless exactly these values were saved of a partition, in their order.
    pub(super) fn assert_values(&self, partition: i32, expected: &[String]) {
        let row = self.shelf.row(&self.partition(partition));
        let values: Vec<_> = row.records.iter().map(text).collect();
        let first_wrong = values.iter().zip(expected).position(|(is, should)| is != should);
        assert_eq!(values.len(), expected.len(), "partition {partition}");
        assert_eq!(first_wrong, None, "partition {partition}");
        assert!(row.unchained.is_empty(), "{:?}", row.unchained);
    }
}

/// A record to produce.
#[derive(Clone, Debug)]
pub(super) struct Sent {
    pub(super) key: Option<Vec<u8>>,
    pub(super) value: Option<Vec<u8>>,
    pub(super) headers: Vec<(String, Option<Vec<u8>>)>,
}

pub(super) fn send(producer: &BaseProducer, topic: &str, partition: i32, sent: &Sent) {
    loop {
        let mut record = BaseRecord::<[u8], [u8]>::to(topic).partition(partition);
        record.key = sent.key.as_deref();
        record.payload = sent.value.as_deref();
        if !sent.headers.is_empty() {
            let mut headers = OwnedHeaders::new();
            for (key, value) in &sent.headers {
                headers = headers.insert(Header { key, value: value.as_deref() });
            }
            record = record.headers(headers);
        }
        match producer.send(record) {
            Ok(()) => break,
            // The local queue is full.
            Err(_) => producer.poll(Duration::from_millis(10)),
        };
    }
}

/// Room for everything the tests have.
pub(super) const BUDGET: BudgetLimits =
    BudgetLimits { records: 1_000_000, bytes: 1 << 30, batches: 1000 };

/// One member of the group.
pub(super) struct Member {
    pub(super) front: Arc<CollectingFront>,
    pub(super) handle: ConsumerHandle,
}

impl Member {
    pub(super) fn status(&self) -> StatusSnapshot {
        self.handle.status().snapshot()
    }

    pub(super) fn num_partitions(&self) -> usize {
        self.status().partitions.len()
    }

    pub(super) fn drain(&self, limit: Duration) -> Result<Drained, ConsumerError> {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = runtime.enable_all().build().expect("a runtime");
        runtime.block_on(self.handle.drain(limit))
    }
}

pub(super) fn text(record: &SavedRecord) -> String {
    String::from_utf8(record.value.clone().unwrap_or_default()).expect("the tests send text")
}

pub(super) fn numbered(range: std::ops::Range<usize>) -> Vec<String> {
    range.map(|n| format!("value {n}")).collect()
}

/// Waits until `is_so`, for at most half a minute.
pub(super) fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !is_so() {
        assert!(Instant::now() < deadline, "never came: {what}");
        thread::park_timeout(Duration::from_millis(5));
    }
}

/// Watches for `time` that nothing changes.
pub(super) fn meanwhile(time: Duration, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + time;
    while Instant::now() < deadline {
        assert!(holds());
        thread::park_timeout(Duration::from_millis(5));
    }
}
