//! Brings what is known about a part of a batch near, before its records ask for it one by one.
//!
//! # Why
//! Rows that are kept from batch to batch are more than the processor's cache holds, and records
//! ask for them in no order: each question is a way to memory, which the record's work waits for.
//! Asked for in one go, many are on their way at a time. A part of a batch is so small that its
//! rows stay in the cache until it is worked.

use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::batch::ChunkRecords;
use crate::decoded::Entry;
use crate::pipeline::{Context, KeysOf, Pipeline};

/// Brings what is known under the keys of `records` near, if that pays.
pub(crate) fn bring<P: Pipeline>(
    pipeline: &P,
    known: &P::Context,
    records: &ChunkRecords,
    entries: &[Entry<P::Event<'_>>],
) {
    if !known.is_far() {
        return;
    }
    let mut keys = KeysOf::<P>::default();
    let mut want = |entry: &Entry<P::Event<'_>>| {
        if let Entry::Event { event, .. } = entry {
            pipeline.keys(event, &mut keys);
        }
    };
    // It is the user's code, and went well before: whatever it does now, nothing depends on it.
    let asked = catch_unwind(AssertUnwindSafe(|| match records {
        ChunkRecords::Range(range) => {
            entries[range.start as usize..range.end as usize].iter().for_each(want);
        }
        ChunkRecords::Listed(listed) => {
            listed.iter().for_each(|record| want(&entries[*record as usize]));
        }
    }));
    if asked.is_ok() {
        known.bring_near(&keys);
    }
}
