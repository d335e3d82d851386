//! Asks the brokers where a topic's partitions begin and end, and what the group committed, with a
//! client of its own that joins no group. Every question has a deadline.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;
use longshore_actors::error::StoreError;
use longshore_actors::record::NextOffset;
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::KafkaError;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use rdkafka::types::RDKafkaErrorCode as Code;
use uuid::Uuid;

use super::errors::store_error;
use super::ffi::{self, AdminError, EndOf};
use super::properties::{self, Settings};
use super::rebalance;
use super::thread::ConsumerError;
use crate::positions::{PartitionPositions, Positions, TopicPositions};

/// How long a whole answer may take.
const ANSWER_LIMIT: Duration = Duration::from_secs(15);
/// A topic that is not there may only not have been heard of by the broker that answered.
const UNKNOWN_TOPIC_PAUSE: Duration = Duration::from_millis(500);

/// The brokers, as one group sees them.
#[derive(Clone)]
pub struct KafkaPositions {
    inquirer: Arc<Inquirer>,
}

struct Inquirer {
    client: BaseConsumer<Quiet>,
    brokers: String,
    read_committed: bool,
}

impl KafkaPositions {
    /// A client for `group`. Does not connect yet.
    ///
    /// # Errors
    /// If a property is refused or librdkafka makes no client of them.
    pub fn try_new(
        brokers: &str,
        group: &str,
        properties: &BTreeMap<String, String>,
    ) -> Result<Self, ConsumerError> {
        let settings = Settings {
            brokers,
            group,
            user: properties,
            fetch_budget_bytes: 0,
            partitions: 1,
            linger: Duration::ZERO,
        };
        let config = properties::inquirer(&settings)?;
        let client = config.create_with_context(Quiet).map_err(|error: KafkaError| {
            match properties::translate(&error) {
                Some(property) => ConsumerError::Property(property),
                None => ConsumerError::Create(error.to_string()),
            }
        })?;
        let read_committed = properties::is_read_committed(properties);
        let inquirer = Inquirer { client, brokers: brokers.to_owned(), read_committed };
        Ok(Self { inquirer: Arc::new(inquirer) })
    }
}

impl KafkaPositions {
    /// For each of `partitions` of `topic`, the first offset whose record is not older than
    /// `time_ms` (milliseconds since 1970 UTC); none where all records are older.
    ///
    /// # Errors
    /// The brokers do not answer, or refuse.
    pub async fn at_time(
        &self,
        topic: &str,
        partitions: Vec<i32>,
        time_ms: i64,
    ) -> Result<BTreeMap<i32, NextOffset>, StoreError> {
        let (inquirer, topic) = (self.inquirer.clone(), topic.to_owned());
        let asked = move || inquirer.at_time(&topic, &partitions, time_ms);
        let answer = tokio::task::spawn_blocking(asked).await;
        answer.unwrap_or_else(|error| Err(StoreError::Retry(error.to_string())))
    }
}

impl Positions for KafkaPositions {
    fn describe<'a>(&'a self, topic: &'a str) -> BoxFuture<'a, Result<TopicPositions, StoreError>> {
        let (inquirer, topic) = (self.inquirer.clone(), topic.to_owned());
        Box::pin(async move {
            let answer = tokio::task::spawn_blocking(move || inquirer.describe(&topic)).await;
            answer.unwrap_or_else(|error| Err(StoreError::Retry(error.to_string())))
        })
    }

    fn topic_id<'a>(&'a self, topic: &'a str) -> BoxFuture<'a, Result<Option<Uuid>, StoreError>> {
        let (inquirer, topic) = (self.inquirer.clone(), topic.to_owned());
        Box::pin(async move {
            let asked = move || {
                let deadline = Instant::now() + ANSWER_LIMIT;
                let (_, broker) = inquirer.partitions_once(&topic, deadline)?;
                inquirer.topic_id(&topic, broker, deadline)
            };
            let answer = tokio::task::spawn_blocking(asked).await;
            answer.unwrap_or_else(|error| Err(StoreError::Retry(error.to_string())))
        })
    }
}

impl Inquirer {
    fn describe(&self, topic: &str) -> Result<TopicPositions, StoreError> {
        let deadline = Instant::now() + ANSWER_LIMIT;
        // Nobody else takes this client's log lines and errors from it.
        while self.client.poll(Duration::ZERO).is_some() {}
        let (indexes, broker) = self.partitions(topic, deadline)?;
        let cluster_id =
            self.client.client().fetch_cluster_id(left(deadline)).ok_or_else(|| {
                StoreError::Retry(format!(
                    "the brokers {} did not say their cluster id",
                    self.brokers
                ))
            })?;
        let topic_id = self.topic_id(topic, broker, deadline)?;
        let earliest = self.ends(topic, &indexes, EndOf::Earliest, deadline)?;
        let latest = EndOf::Latest { read_committed: self.read_committed };
        let latest = self.ends(topic, &indexes, latest, deadline)?;
        let committed = self.committed(topic, &indexes, deadline)?;
        let partitions = indexes.iter().map(|index| PartitionPositions {
            index: *index,
            earliest: earliest[index],
            end: latest[index],
            committed: committed.get(index).copied(),
        });
        Ok(TopicPositions { cluster_id, topic_id, partitions: partitions.collect() })
    }

    fn topic_id(
        &self,
        topic: &str,
        broker: i32,
        deadline: Instant,
    ) -> Result<Option<Uuid>, StoreError> {
        match ffi::topic_id(self.client.client(), topic, broker, left(deadline)) {
            Ok(id) => Ok(id),
            // Brokers before 3.1 do not speak of topic ids.
            Err(error) if is_unsupported(error.code) => Ok(None),
            Err(error) => Err(refused(&format!("topic {topic}: its id"), &error)),
        }
    }

    /// The numbers of the topic's partitions, and of a broker that leads one.
    fn partitions(&self, topic: &str, deadline: Instant) -> Result<(Vec<i32>, i32), StoreError> {
        match self.partitions_once(topic, deadline) {
            Err(StoreError::Stop(_)) => {
                let until = Instant::now() + UNKNOWN_TOPIC_PAUSE;
                while Instant::now() < until {
                    thread::park_timeout(UNKNOWN_TOPIC_PAUSE);
                }
                self.partitions_once(topic, deadline)
            }
            answer => answer,
        }
    }

    fn partitions_once(
        &self,
        topic: &str,
        deadline: Instant,
    ) -> Result<(Vec<i32>, i32), StoreError> {
        let what = format!("topic {topic}");
        let answer = self.client.fetch_metadata(Some(topic), left(deadline));
        let answer = answer.map_err(|error| {
            let code = error.rdkafka_error_code().unwrap_or(Code::Unknown);
            store_error(&format!("brokers {}", self.brokers), code, "no answer")
        })?;
        let described = answer.topics().iter().find(|described| described.name() == topic);
        let described =
            described.ok_or_else(|| store_error(&what, Code::UnknownTopicOrPartition, ""))?;
        if let Some(error) = described.error() {
            return Err(store_error(&what, error.into(), ""));
        }
        let mut indexes: Vec<_> = described.partitions().iter().map(|p| p.id()).collect();
        indexes.sort_unstable();
        match described.partitions().iter().map(|p| p.leader()).find(|leader| *leader >= 0) {
            Some(leader) => Ok((indexes, leader)),
            None => Err(StoreError::Retry(format!("{what} has no partition with a leader yet"))),
        }
    }

    fn ends(
        &self,
        topic: &str,
        indexes: &[i32],
        end: EndOf,
        deadline: Instant,
    ) -> Result<BTreeMap<i32, NextOffset>, StoreError> {
        let what = format!("topic {topic}: the ends of its partitions");
        let answers = ffi::list_offsets(self.client.client(), topic, indexes, end, left(deadline))
            .map_err(|error| refused(&what, &error))?;
        let mut ends = BTreeMap::new();
        for (index, offset) in answers {
            let offset = offset.map_err(|code| {
                store_error(&format!("topic {topic}, partition {index}"), code, "")
            })?;
            ends.insert(index, NextOffset(offset));
        }
        match indexes.iter().find(|index| !ends.contains_key(*index)) {
            Some(index) => Err(StoreError::Retry(format!("{what}: none for partition {index}"))),
            None => Ok(ends),
        }
    }

    fn at_time(
        &self,
        topic: &str,
        indexes: &[i32],
        time_ms: i64,
    ) -> Result<BTreeMap<i32, NextOffset>, StoreError> {
        let what = format!("topic {topic}: the offsets of a time");
        let mut list = TopicPartitionList::with_capacity(indexes.len());
        let failed = |error: &KafkaError| {
            store_error(&what, error.rdkafka_error_code().unwrap_or(Code::Unknown), "")
        };
        for &index in indexes {
            let time = Offset::Offset(time_ms);
            list.add_partition_offset(topic, index, time).map_err(|error| failed(&error))?;
        }
        let list = self.client.offsets_for_times(list, ANSWER_LIMIT).map_err(|e| failed(&e))?;
        let mut offsets = BTreeMap::new();
        for element in list.elements() {
            element.error().map_err(|e| failed(&e))?;
            if let Offset::Offset(offset) = element.offset() {
                offsets.insert(element.partition(), NextOffset(offset));
            }
        }
        Ok(offsets)
    }

    fn committed(
        &self,
        topic: &str,
        indexes: &[i32],
        deadline: Instant,
    ) -> Result<BTreeMap<i32, NextOffset>, StoreError> {
        let what = format!("topic {topic}: the group's committed offsets");
        let mut list = TopicPartitionList::with_capacity(indexes.len());
        for &index in indexes {
            list.add_partition(topic, index);
        }
        let failed = |error: &KafkaError| {
            store_error(&what, error.rdkafka_error_code().unwrap_or(Code::Unknown), "")
        };
        let list = self.client.committed_offsets(list, left(deadline)).map_err(|e| failed(&e))?;
        let mut committed = BTreeMap::new();
        for element in list.elements() {
            element.error().map_err(|e| failed(&e))?;
            if let Offset::Offset(offset) = element.offset() {
                committed.insert(element.partition(), NextOffset(offset));
            }
        }
        Ok(committed)
    }
}

/// What is left of a deadline; never nothing, which would mean for ever to some calls.
fn left(deadline: Instant) -> Duration {
    deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(100))
}

fn is_unsupported(code: Code) -> bool {
    matches!(code, Code::UnsupportedVersion | Code::UnsupportedFeature)
}

fn refused(what: &str, error: &AdminError) -> StoreError {
    store_error(what, error.code, &error.text)
}

/// The context of a client that only asks.
struct Quiet;

impl ClientContext for Quiet {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        rebalance::log(level, facility, message);
    }

    fn stats_raw(&self, _statistics: &[u8]) {}

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!(%error, reason, "kafka");
    }
}

impl ConsumerContext for Quiet {}
