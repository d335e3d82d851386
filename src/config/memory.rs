//! One memory budget for all pipelines, and what follows from it.
//!
//! # The rule
//! Each pipeline has an equal share of `memory`. A quarter of the share is for fetch queues, less
//! where all of `memory` is more than 44 MiB: librdkafka keeps about 350 bytes beside each message
//! that waits, and counts none of them. With records of some 200 bytes, queues take two and a half
//! times what they are given. A process may have 60 MiB beyond `memory`; 30 are there before the
//! first record, the rest is for this, and for what the C library keeps of what was given back.
//!
//! A quarter bounds the bytes of keys, values and headers in the house, the tickets' bytes. The
//! other half is for what is made of the records (events, keys, rows), counted as 512 bytes a
//! record: it bounds the tickets' records. A batch takes at most half of the tickets, so that one
//! can be read while another is saved.

use longshore_actors::ticket::BudgetLimits;

/// What the events, keys and rows of one record are counted as.
const BYTES_PER_RECORD: u64 = 512;

/// Batches of one pipeline in the house, empty ones included. Small ones cost little else, so this
/// bounds mailboxes rather than memory.
const BATCHES: u32 = 1024;

/// All fetch queues together have a 24th of this and of `memory`, so that what librdkafka adds fits
/// into the process. With 64 MiB that is 12 MiB; with 16 the process took 10 MiB more at its peak,
/// for as much CPU. Measured with 64, 256 and 512 MiB.
const FETCH_QUEUES_FREE: u64 = 7 * 32 * 1024 * 1024;

/// The smallest batch that is worth a transaction: below, `memory` is too small to run with.
const BATCH_RECORDS_MIN: u64 = 100;
const BATCH_BYTES_MIN: u64 = 64 * 1024;

/// What a batch takes at most of the tickets.
const BATCHES_PER_BUDGET: u64 = 2;

/// The memory of one pipeline, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Share {
    bytes: u64,
    num_pipelines: u64,
}

impl Share {
    /// The share of each of `num_pipelines` in `memory_bytes`.
    pub(super) fn new(memory_bytes: u64, num_pipelines: usize) -> Self {
        let num_pipelines = (num_pipelines as u64).max(1);
        Self { bytes: memory_bytes / num_pipelines, num_pipelines }
    }

    /// The smallest share that a pipeline can run with.
    pub(super) fn min() -> u64 {
        let by_bytes = BATCH_BYTES_MIN * BATCHES_PER_BUDGET * 4;
        let by_records = BATCH_RECORDS_MIN * BATCHES_PER_BUDGET * BYTES_PER_RECORD * 2;
        by_bytes.max(by_records)
    }

    pub(super) fn is_enough(self) -> bool {
        self.bytes >= Self::min()
    }

    pub(super) fn fetch_queue_bytes(self) -> u64 {
        let bearable = (self.bytes + FETCH_QUEUES_FREE / self.num_pipelines) / 24;
        bearable.min(self.bytes / 4)
    }

    pub(super) fn tickets(self) -> BudgetLimits {
        let records = self.bytes / 2 / BYTES_PER_RECORD;
        BudgetLimits { records, bytes: self.bytes / 4, batches: BATCHES }
    }

    pub(super) fn batch_records_max(self) -> u64 {
        self.tickets().records / BATCHES_PER_BUDGET
    }

    pub(super) fn batch_bytes_max(self) -> u64 {
        self.tickets().bytes / BATCHES_PER_BUDGET
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_smallest_share_gives_the_smallest_batch() {
        let share = Share::new(Share::min(), 1);
        assert!(share.is_enough() && !Share::new(Share::min() - 1, 1).is_enough());
        assert_eq!(share.batch_bytes_max(), BATCH_BYTES_MIN);
        assert!(share.batch_records_max() >= BATCH_RECORDS_MIN);
    }

    #[test]
    fn the_parts_of_a_share_add_up_to_no_more_than_it() {
        let share = Share::new(64 << 20, 2);
        let tickets = share.tickets();
        let parts = tickets.bytes + tickets.records * BYTES_PER_RECORD + share.fetch_queue_bytes();
        assert_eq!(parts, 30 << 20);
        assert_eq!((tickets.bytes, tickets.records), (8 << 20, 32_768));
    }

    #[test]
    fn what_librdkafka_adds_to_its_queues_fits_into_the_process_too() {
        for (memory, pipelines) in [(64, 1), (64, 3), (256, 1), (256, 4), (4096, 2)] {
            let share = Share::new(memory << 20, pipelines);
            let tickets = share.tickets();
            let made = tickets.bytes + tickets.records * BYTES_PER_RECORD;
            let all = (made + share.fetch_queue_bytes() * 5 / 2) * pipelines as u64;
            assert!(all <= (memory + 20) << 20, "{memory} MiB, {pipelines}: {} MiB", all >> 20);
        }
    }
}
