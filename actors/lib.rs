//! The house: actors that move batches of records from a source into a store, in order, bounded by
//! tickets, each batch saved together with its offset. No Kafka and no SQL in here.
#![doc = ""]

pub mod arena;
pub mod batch;
pub mod conservation;
pub mod decoded;
pub mod door;
pub mod error;
pub mod fence;
pub mod format;
pub mod pipeline;
pub mod ports;
pub mod record;
pub mod rows;
#[cfg(feature = "testing")]
pub mod testing;
pub mod ticket;
