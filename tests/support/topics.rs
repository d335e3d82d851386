//! Topics of their own for each promise.

use std::collections::BTreeMap;
use std::time::Duration;

use rdkafka::admin::{AdminClient, AdminOptions, NewPartitions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::{BorrowedHeaders, BorrowedMessage, Headers};
use rdkafka::{Message, Offset, TopicPartitionList};
use uuid::Uuid;

use super::producers::Sender;
use super::records::{Draft, Sent};
use super::wait;

/// How long one answer of the broker may take.
const TIMEOUT: Duration = Duration::from_secs(60);

/// A topic that is deleted when it is dropped.
pub(crate) struct Topic {
    pub(crate) name: String,
    pub(crate) brokers: String,
    admin: AdminClient<DefaultClientContext>,
    /// Asks for metadata and watermarks; it is never subscribed.
    consumer: BaseConsumer,
}

impl Topic {
    /// Creates a topic under a name of its own.
    pub(crate) fn fresh(brokers: &str, partitions: i32, settings: &[(&str, &str)]) -> Self {
        let name = format!("ads.promise.{}", Uuid::new_v4().simple());
        let topic = Self::named(brokers, name);
        topic.create(partitions, settings);
        topic
    }

    /// A topic that may or may not be there.
    pub(crate) fn named(brokers: &str, name: String) -> Self {
        let admin = client(brokers).create().expect("an admin client");
        let consumer = client(brokers).create().expect("a consumer");
        Self { name, brokers: brokers.to_owned(), admin, consumer }
    }

    /// Creates the topic under its name, and waits until every partition has a leader.
    pub(crate) fn create(&self, partitions: i32, settings: &[(&str, &str)]) {
        // A topic of this name that was just deleted may linger for a moment.
        wait::until("the topic is created", || {
            let mut topic = NewTopic::new(&self.name, partitions, TopicReplication::Fixed(1));
            for (key, value) in settings {
                topic = topic.set(key, value);
            }
            let answer = block_on(self.admin.create_topics(&[topic], &AdminOptions::new()));
            answer.expect("an answer").remove(0).is_ok()
        });
        self.await_leaders(partitions);
    }

    /// Deletes the topic, and waits until the broker knows it no more.
    pub(crate) fn delete(&self) {
        let answer = block_on(self.admin.delete_topics(&[&self.name], &AdminOptions::new()));
        answer.expect("an answer").remove(0).expect("the topic is deleted");
        wait::until("the topic is gone", || self.partitions() == 0);
    }

    /// Adds partitions up to `count`.
    pub(crate) fn grow(&self, count: i32) {
        let more = NewPartitions::new(&self.name, count as usize);
        let answer = block_on(self.admin.create_partitions(&[more], &AdminOptions::new()));
        answer.expect("an answer").remove(0).expect("more partitions");
        self.await_leaders(count);
    }

    /// Deletes the records of a partition before an offset, as retention does.
    pub(crate) fn delete_before(&self, partition: i32, offset: i64) {
        let list = self.list(&[(partition, Offset::Offset(offset))]);
        block_on(self.admin.delete_records(&list, &AdminOptions::new())).expect("records deleted");
    }

    /// The end of each partition, the last stable offset.
    pub(crate) fn ends(&self) -> BTreeMap<i32, i64> {
        let end = |one| self.consumer.fetch_watermarks(&self.name, one, TIMEOUT).expect("marks").1;
        (0..self.partitions()).map(|partition| (partition, end(partition))).collect()
    }

    /// Every record that a reader of committed data finds: its offset, key and value.
    pub(crate) fn read_all(&self) -> BTreeMap<i32, Vec<Found>> {
        let mut config = client(&self.brokers);
        config.set("enable.partition.eof", "true");
        let reader: BaseConsumer = config.create().expect("a reader");
        let partitions = 0..self.partitions();
        let starts = partitions.clone().map(|one| (one, Offset::Beginning)).collect::<Vec<_>>();
        reader.assign(&self.list(&starts)).expect("an assignment");
        let mut found = partitions.map(|one| (one, Vec::new())).collect::<BTreeMap<_, _>>();
        let mut open = starts.len();
        while open > 0 {
            match reader.poll(TIMEOUT).expect("a record or the end in time") {
                Ok(record) => found.entry(record.partition()).or_default().push(Found {
                    offset: record.offset(),
                    key: record.key().map(<[u8]>::to_vec),
                    value: record.payload().map(<[u8]>::to_vec),
                    headers: headers_of(&record),
                }),
                Err(KafkaError::PartitionEOF(_)) => open -= 1,
                Err(error) => panic!("reading: {error}"),
            }
        }
        found
    }

    /// Commits offsets of `group` to Kafka, as another consumer would have done.
    pub(crate) fn commit_as(&self, group: &str, offsets: &[(i32, i64)]) {
        let mut config = client(&self.brokers);
        let consumer: BaseConsumer = config.set("group.id", group).create().expect("a consumer");
        let offsets = offsets.iter().map(|(one, at)| (*one, Offset::Offset(*at)));
        let list = self.list(&offsets.collect::<Vec<_>>());
        consumer.commit(&list, CommitMode::Sync).expect("a commit");
    }

    /// Sends records by an idempotent producer, and gives them with their offsets.
    pub(crate) fn send(&self, drafts: Vec<Draft>) -> Vec<Sent> {
        Sender::idempotent(self).send(drafts)
    }

    /// How many partitions the broker shows; none if there is no such topic.
    pub(crate) fn partitions(&self) -> i32 {
        let metadata = self.consumer.fetch_metadata(Some(&self.name), TIMEOUT).expect("metadata");
        let topic = metadata.topics().first().filter(|topic| topic.error().is_none());
        topic.map_or(0, |topic| topic.partitions().len() as i32)
    }

    fn await_leaders(&self, count: i32) {
        let leads = |one| self.consumer.fetch_watermarks(&self.name, one, TIMEOUT).is_ok();
        wait::until("all partitions have a leader", || {
            self.partitions() == count && (0..count).all(leads)
        });
    }

    fn list(&self, offsets: &[(i32, Offset)]) -> TopicPartitionList {
        let mut list = TopicPartitionList::new();
        for (partition, offset) in offsets {
            list.add_partition_offset(&self.name, *partition, *offset).expect("a partition");
        }
        list
    }
}

impl Drop for Topic {
    fn drop(&mut self) {
        // Best effort: a failed deletion must not hide the test's own failure.
        drop(block_on(self.admin.delete_topics(&[&self.name], &AdminOptions::new())));
    }
}

/// A record as a plain consumer finds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) offset: i64,
    pub(crate) key: Option<Vec<u8>>,
    pub(crate) value: Option<Vec<u8>>,
    /// In the order in which they lie there.
    pub(crate) headers: Vec<(String, Option<Vec<u8>>)>,
}

fn headers_of(record: &BorrowedMessage<'_>) -> Vec<(String, Option<Vec<u8>>)> {
    let headers = record.headers().into_iter().flat_map(BorrowedHeaders::iter);
    headers.map(|one| (one.key.to_owned(), one.value.map(<[u8]>::to_vec))).collect()
}

/// A client's configuration. Every one names a group, because consumers must.
pub(crate) fn client(brokers: &str) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", brokers).set("group.id", "longshore.tests");
    config.set("enable.auto.commit", "false");
    config
}

fn block_on<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime").block_on(work)
}
