//! What rdkafka's safe interface does not offer: reading a partition's queue in batches, topic ids,
//! offsets of many partitions in one request, commits that are answered, a mock cluster with its
//! knobs, and a bound on the pools that librdkafka's memory and ours come from.
//!
//! # Why
//! A batch read costs 100 ns a record where the safe ways cost 250. This folder is the one place of
//! the Kafka edge that may be unsafe; no pointer leaves it, and no native memory outlives a call.
#![allow(unsafe_code)] // calls librdkafka through rdkafka-sys, and the C library

mod admin;
mod commit;
mod memory;
mod mock;
mod queue;

use std::ffi::{CStr, c_char};

use rdkafka::types::{RDKafkaErrorCode, RDKafkaRespErr};

pub(super) use admin::{AdminError, EndOf, list_offsets, topic_id};
pub(super) use commit::commit;
pub use memory::share_pools;
pub use mock::MockCluster;
pub(super) use queue::{
    PartitionHandle, Polled, PolledRecord, ReadBuffer, cached_end, events_waiting,
};

/// # Safety
/// `text` is null or terminated.
unsafe fn text_of(text: *const c_char) -> String {
    if text.is_null() {
        return String::new();
    }
    // SAFETY: by the caller.
    unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned()
}

fn error_code(code: i32) -> RDKafkaErrorCode {
    RDKafkaRespErr::try_from(code).map_or(RDKafkaErrorCode::Unknown, Into::into)
}
