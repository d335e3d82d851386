//! The callbacks of the consumer, on its thread: partitions come and go, commits are answered.
//! A partition that comes gets its door at once and is fetched later, when the house says from
//! where; one that goes loses its door before Kafka hears that we let go.
//!
//! # Why the answer to an assignment is empty
//! librdkafka keeps all partitions paused until the callback answers, so it cannot wait for the
//! database. Answering with a place to begin (the end, say) and seeking later loses records: the
//! answer to the question where the end lies may come after the seek, is found outdated, asked
//! anew, and then moves the partition to its end. So nothing is fetched until the stored offset is
//! known: the callback assigns no partition, and [`super::assignment`] adds each at its offset.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use hashbrown::{HashMap, HashSet};
use longshore_actors::door::{Door, Front};
use longshore_actors::fence::Fence;
use longshore_actors::record::PartitionId;
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::topic_partition_list::TopicPartitionList;
use rdkafka::types::{RDKafkaErrorCode, RDKafkaRespErr};

use super::commit::Commits;
use super::errors::{advice, is_of_one_broker};
use super::properties::Protocol;
use super::status::ConsumerStatus;

/// How often a revoke looks whether its batches are settled.
const SETTLED_CHECK: Duration = Duration::from_millis(1);

/// The consumer's context: everything that its callbacks touch.
pub(super) struct Rebalancer {
    pub(super) front: Arc<dyn Front>,
    pub(super) protocol: Protocol,
    pub(super) revoke_wait: Duration,
    pub(super) status: ConsumerStatus,
    pub(super) commits: Mutex<Commits>,
    pub(super) state: Mutex<Assigned>,
}

/// What is assigned, and what the thread has not heard of yet.
#[derive(Default)]
pub(super) struct Assigned {
    /// The door of each partition that is ours.
    pub(super) doors: HashMap<PartitionId, Arc<Door>>,
    /// The partitions that librdkafka fetches, or is about to.
    pub(super) fetched: HashSet<PartitionId>,
    /// What came and went since the thread looked.
    pub(super) changes: Vec<Change>,
    /// Whether a callback ran since the thread looked: librdkafka went back to its own position.
    pub(super) rebalanced: bool,
    /// Whether the group has given us our share, which may be nothing.
    pub(super) joined: bool,
    /// No revoke waits any more: the thread is closing.
    pub(super) closing: bool,
    /// The last words of a broker, for an error that comes without any.
    pub(super) last_error: String,
}

/// A partition that came or went.
pub(super) enum Change {
    Came(Arc<Door>),
    Went(PartitionId),
}

impl Rebalancer {
    pub(super) fn assigned(&self) -> MutexGuard<'_, Assigned> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn commits(&self) -> MutexGuard<'_, Commits> {
        self.commits.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn assign(&self, consumer: &BaseConsumer<Self>, partitions: Vec<PartitionId>) {
        tracing::info!(?partitions, "partitions assigned");
        self.status.update(|status| status.rebalances_assigned += 1);
        let new: Vec<_> = {
            let assigned = self.assigned();
            partitions.into_iter().filter(|p| !assigned.doors.contains_key(p)).collect()
        };
        let doors = if new.is_empty() { Vec::new() } else { self.front.assign(new) };
        {
            let mut assigned = self.assigned();
            (assigned.rebalanced, assigned.joined) = (true, true);
            for door in doors.into_iter().map(Arc::new) {
                self.commits().own(door.fence().partition());
                assigned.doors.insert(door.fence().partition().clone(), door.clone());
                assigned.changes.push(Change::Came(door));
            }
        }
        let nothing = TopicPartitionList::new();
        let answer = match self.protocol {
            Protocol::Cooperative => consumer.incremental_assign(&nothing),
            Protocol::Eager => consumer.assign(&nothing),
        };
        log_refused("assign", answer);
    }

    /// Opens a new door for an assignment whose actor is gone.
    pub(super) fn reopen(&self, fence: &Fence) {
        let partition = fence.partition();
        let is_ours = |door: &Arc<Door>| door.fence().incarnation() == fence.incarnation();
        if !self.assigned().doors.get(partition).is_some_and(is_ours) {
            return;
        }
        tracing::info!(%partition, "is taken over anew");
        let doors = self.front.assign(vec![partition.clone()]);
        let mut assigned = self.assigned();
        for door in doors.into_iter().map(Arc::new) {
            assigned.doors.insert(partition.clone(), door.clone());
            assigned.changes.push(Change::Went(partition.clone()));
            assigned.changes.push(Change::Came(door));
        }
    }

    fn revoke(&self, consumer: &BaseConsumer<Self>, mut partitions: Vec<PartitionId>) {
        // Read before (un)assign, which forgets it.
        let lost = consumer.assignment_lost();
        let mut assigned = self.assigned();
        if self.protocol == Protocol::Eager {
            partitions = assigned.doors.keys().cloned().collect();
        }
        let joined = !lost && self.protocol == Protocol::Cooperative;
        assigned.joined = joined;
        tracing::info!(?partitions, lost, "partitions revoked");
        self.status.update(|status| {
            *(if lost { &mut status.rebalances_lost } else { &mut status.rebalances_revoked }) += 1;
            status.joined = joined;
        });
        let doors: Vec<_> = partitions.iter().filter_map(|p| assigned.doors.remove(p)).collect();
        let wait = if lost || assigned.closing { Duration::ZERO } else { self.revoke_wait };
        drop(assigned);

        wait_until_settled(&doors, wait);
        if !lost {
            self.commits().commit_now(consumer, self.front.board(), &partitions);
        }
        doors.iter().for_each(|door| door.close());
        self.let_go(consumer, &partitions);
        self.status.update(|status| {
            status.partitions.retain(|partition, _| !partitions.contains(partition));
        });
        self.commits().forget(&partitions);
    }

    /// Answers a revoke. Only partitions that are fetched can be taken back from librdkafka.
    fn let_go(&self, consumer: &BaseConsumer<Self>, partitions: &[PartitionId]) {
        let mut list = TopicPartitionList::with_capacity(partitions.len());
        let mut assigned = self.assigned();
        assigned.rebalanced = true;
        for partition in partitions {
            if assigned.fetched.remove(partition) {
                list.add_partition(&partition.topic, partition.index);
            }
            assigned.changes.push(Change::Went(partition.clone()));
        }
        drop(assigned);
        let answer = match self.protocol {
            Protocol::Cooperative => consumer.incremental_unassign(&list),
            Protocol::Eager => consumer.unassign(),
        };
        log_refused("unassign", answer);
    }
}

fn wait_until_settled(doors: &[Arc<Door>], limit: Duration) {
    let deadline = Instant::now() + limit;
    while doors.iter().any(|door| door.batches_in_hand() > 0) && Instant::now() < deadline {
        thread::park_timeout(SETTLED_CHECK);
    }
}

fn log_refused(call: &str, answer: KafkaResult<()>) {
    if let Err(error) = answer {
        tracing::warn!(%error, call, "librdkafka refused the answer to a rebalance");
    }
}

fn partitions_of(list: &TopicPartitionList) -> Vec<PartitionId> {
    let elements = list.elements();
    elements.iter().map(|e| PartitionId::new(e.topic(), e.partition())).collect()
}

impl ConsumerContext for Rebalancer {
    fn rebalance(
        &self,
        consumer: &BaseConsumer<Self>,
        event: RDKafkaRespErr,
        list: &mut TopicPartitionList,
    ) {
        let partitions = partitions_of(list);
        if event == RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS {
            self.assign(consumer, partitions);
        } else {
            self.revoke(consumer, partitions);
        }
    }

    fn commit_callback(&self, result: KafkaResult<()>, _offsets: &TopicPartitionList) {
        self.commits().answered();
        if let Err(error) = result {
            // For lag tools only: the next one makes it good.
            tracing::debug!(%error, "the group's offsets were not committed to kafka");
        }
    }
}

impl ClientContext for Rebalancer {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        log(level, facility, message);
    }

    fn stats_raw(&self, _statistics: &[u8]) {}

    fn error(&self, error: KafkaError, reason: &str) {
        let code = error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Unknown);
        if code == RDKafkaErrorCode::PartitionEOF {
            return;
        }
        if is_of_one_broker(code) {
            // Others may lead on; if none does, that is an error of its own, without its cause.
            tracing::debug!(%code, reason, "kafka");
            self.assigned().last_error = reason.to_owned();
            return;
        }
        let cause = match code {
            RDKafkaErrorCode::AllBrokersDown => format!(", last: {}", self.assigned().last_error),
            _ => String::new(),
        };
        let problem = format!("{reason} ({code}{cause}); {}", advice(code));
        self.status.update(|status| {
            // Said once, and again when it is another one.
            if status.problem.as_ref() != Some(&problem) {
                tracing::warn!(problem, "kafka");
                status.problem = Some(problem);
            }
        });
    }
}

/// Brings librdkafka's log lines into ours. Failed connections come as errors of the client too,
/// which are said once; the lines are for looking closer.
pub(super) fn log(level: RDKafkaLogLevel, facility: &str, message: &str) {
    match level {
        _ if facility == "FAIL" => tracing::debug!(facility, "{message}"),
        RDKafkaLogLevel::Emerg | RDKafkaLogLevel::Alert | RDKafkaLogLevel::Critical => {
            tracing::error!(facility, "{message}");
        }
        RDKafkaLogLevel::Error | RDKafkaLogLevel::Warning => {
            tracing::warn!(facility, "{message}");
        }
        _ => tracing::debug!(facility, "{message}"),
    }
}
