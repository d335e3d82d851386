//! A house in memory, without servers: a store with faults to order, a source that reads from
//! vectors, and a small pipeline. For tests of the house, and of pipelines.

pub mod front;
mod source;
mod store;
mod tally;

pub use source::MemorySource;
pub use store::{Fault, MemoryStore, SavedRow};
pub use tally::{Tally, TallyContext, TallyRow, tally_value};
