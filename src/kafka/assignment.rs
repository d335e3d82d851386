//! Where librdkafka fetches: adds each partition at the offset that the house named, and puts the
//! kept ones back to our own position after a rebalance.

use std::time::{Duration, Instant};

use longshore_actors::record::PartitionId;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaResult;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use super::partition_reader::{PartitionReader, ReaderState};
use super::properties::Protocol;
use super::rebalance::Rebalancer;

/// How long librdkafka may take to confirm a seek; it asks nobody.
const SEEK_TIMEOUT: Duration = Duration::from_millis(500);
/// A partition that cannot be sought for so long is not fetched any more: it is added anew.
const RESEEK_LIMIT: Duration = Duration::from_secs(2);

/// Brings librdkafka to where the readers are. Whether it did anything: then events that came
/// meanwhile must be served before the next read, because a rebalance among them has paused and
/// moved the partitions once more.
pub(super) fn place(
    consumer: &BaseConsumer<Rebalancer>,
    readers: &mut [PartitionReader<'_>],
    now: Instant,
) -> bool {
    let placed = place_new(consumer, readers);
    let sought = reseek_kept(consumer, readers, now);
    placed || sought
}

fn place_new(consumer: &BaseConsumer<Rebalancer>, readers: &mut [PartitionReader<'_>]) -> bool {
    if !readers.iter().any(|reader| *reader.state() == ReaderState::Placing) {
        return false;
    }
    let context = consumer.context();
    let is_placed = |reader: &PartitionReader<'_>| match context.protocol {
        Protocol::Cooperative => *reader.state() == ReaderState::Placing,
        // An eager assignment is told whole. Those in the middle of reading go on where they are.
        Protocol::Eager => !reader.is_at_rest(),
    };
    let list = list_of(readers.iter().filter(|reader| is_placed(reader)));
    let answer = match context.protocol {
        Protocol::Cooperative => replace(consumer, readers, &list),
        Protocol::Eager => consumer.assign(&list),
    };
    if let Err(error) = answer {
        // The consumer is closing, say. What is still ours is tried again.
        tracing::debug!(%error, "partitions are not fetched yet");
        return true;
    }
    let mut assigned = context.assigned();
    if context.protocol == Protocol::Eager {
        assigned.fetched.clear();
    }
    for reader in readers.iter_mut().filter(|reader| is_placed(reader)) {
        assigned.fetched.insert(reader.partition().clone());
        tracing::debug!(partition = %reader.partition(), position = %reader.position(), "reading");
        reader.placed();
    }
    true
}

/// Adds the partitions of `list`, which are the placing ones; those that are fetched from
/// elsewhere are taken out before.
fn replace(
    consumer: &BaseConsumer<Rebalancer>,
    readers: &[PartitionReader<'_>],
    list: &TopicPartitionList,
) -> KafkaResult<()> {
    let elsewhere = {
        let mut assigned = consumer.context().assigned();
        let placing = readers.iter().filter(|r| *r.state() == ReaderState::Placing);
        list_of(placing.filter(|reader| assigned.fetched.remove(reader.partition())))
    };
    if elsewhere.count() > 0 {
        consumer.incremental_unassign(&elsewhere)?;
    }
    consumer.incremental_assign(list)
}

fn reseek_kept(
    consumer: &BaseConsumer<Rebalancer>,
    readers: &mut [PartitionReader<'_>],
    now: Instant,
) -> bool {
    let reseeking = |reader: &&PartitionReader<'_>| is_reseeking(reader);
    let list = list_of(readers.iter().filter(reseeking));
    if list.count() == 0 {
        return false;
    }
    let answer = match consumer.seek_partitions(list, SEEK_TIMEOUT) {
        Ok(list) => list,
        Err(error) => {
            tracing::debug!(%error, "a seek is not confirmed yet");
            return true;
        }
    };
    for reader in readers.iter_mut().filter(|reader| is_reseeking(reader)) {
        let PartitionId { topic, index } = reader.partition();
        let error = answer.find_partition(topic, *index).map(|element| element.error());
        match (error, reader.state()) {
            (Some(Ok(())), _) => reader.placed(),
            (_, ReaderState::Reseeking { since }) if now.duration_since(*since) > RESEEK_LIMIT => {
                reader.place_again();
            }
            // It is just being started or stopped: again at the next sweep.
            _ => {}
        }
    }
    true
}

fn is_reseeking(reader: &PartitionReader<'_>) -> bool {
    matches!(reader.state(), ReaderState::Reseeking { .. })
}

fn list_of<'r, 'c: 'r>(
    readers: impl Iterator<Item = &'r PartitionReader<'c>>,
) -> TopicPartitionList {
    let mut list = TopicPartitionList::new();
    for reader in readers {
        let (partition, position) = (reader.partition(), reader.position());
        // Fails only for an offset below 0, which is none of ours.
        let offset = Offset::Offset(position.0);
        let _ = list.add_partition_offset(&partition.topic, partition.index, offset);
    }
    list
}
