//! One partition read by itself, on the caller's thread and when the caller says so: no consumer
//! loop around it and no rebalance. For counting what a record costs there.

use std::time::{Duration, Instant};

use longshore_actors::door::Door;
use longshore_actors::format::Format;
use longshore_actors::record::NextOffset;
use longshore_actors::ticket::{Budget, BudgetLimits};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use super::ffi::{PartitionHandle, ReadBuffer};
use super::partition_reader::PartitionReader;
use super::read_rules::ReadRules;
use super::thread::BatchLimits;

/// How long one look for events of the consumer takes.
const LOOK: Duration = Duration::from_millis(20);

/// A partition that is fetched from its beginning.
pub struct LonePartition<'c> {
    consumer: &'c BaseConsumer,
    reader: PartitionReader<'c>,
    rules: ReadRules,
    budget: Budget,
    buffer: ReadBuffer,
}

impl<'c> LonePartition<'c> {
    /// Fetches the partition of `door` for `consumer`, to be read in batches of `limits`.
    ///
    /// # Errors
    /// If librdkafka has no such partition.
    pub fn open(
        consumer: &'c BaseConsumer,
        door: Door,
        limits: BatchLimits,
    ) -> Result<Self, String> {
        let partition = door.fence().partition().clone();
        let handle = PartitionHandle::open(consumer, &partition);
        let handle = handle.ok_or_else(|| format!("librdkafka has no partition {partition}"))?;
        let mut list = TopicPartitionList::new();
        let added = list.add_partition_offset(&partition.topic, partition.index, Offset::Offset(0));
        added.and_then(|()| consumer.assign(&list)).map_err(|error| error.to_string())?;
        let seek = door.fence().last_seek();
        let mut reader = PartitionReader::new(door.into(), handle);
        reader.seek(NextOffset(0), seek);
        reader.placed();
        let rules =
            ReadRules { limits, batches_ahead: usize::MAX, format: Format::Json, together: false };
        let most = BudgetLimits { records: u64::MAX, bytes: u64::MAX, batches: u32::MAX };
        let (budget, buffer) = (Budget::new(most), ReadBuffer::new());
        Ok(Self { consumer, reader, rules, budget, buffer })
    }

    /// Waits at most `limit` until as many records as `records` are fetched. Whether they are.
    pub fn fetch(&self, records: usize, limit: Duration) -> bool {
        let deadline = Instant::now() + limit;
        while self.reader.waiting() < records && Instant::now() < deadline {
            // What comes through the main queue is said by the log.
            let _ = self.consumer.poll(LOOK);
        }
        self.reader.waiting() >= records
    }

    /// Reads a batch of what is fetched, as the consumer thread does, and hands it in if it is
    /// full. The number of its records.
    ///
    /// # Errors
    /// What cannot be read.
    pub fn read(&mut self) -> Result<u64, String> {
        let before = self.reader.records_read();
        let visit = self.reader.visit(&self.rules, &self.budget, &mut self.buffer, Instant::now());
        visit.map_err(|obstacle| format!("{obstacle:?}"))?;
        Ok(self.reader.records_read() - before)
    }
}
