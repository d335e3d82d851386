//! A house in memory, without servers: a store with faults to order, a source that reads from
//! vectors, and a small pipeline; a front without a house, and batches made by hand. For tests of
//! the house, of sources, of stores and of pipelines. [`Alone`] is for counting what a stage does.

mod alone;
pub mod front;
mod ledger;
mod offset_row;
mod outbox;
mod own_writes;
mod publisher;
mod shelf;
mod source;
mod store;
mod tally;
mod waits;
mod weather;
mod worked;

pub use alone::Alone;
pub use ledger::{Ledger, LedgerRow, ledger_value};
pub use outbox::MemoryMessage;
pub use publisher::MemoryPublisher;
pub use shelf::ShelvedRecord;
pub use source::MemorySource;
pub use store::{MemoryStore, SavedRow};
pub use tally::{Tally, TallyContext, TallyRow, tally_value};
pub use waits::{Waiting, Waits};
pub use weather::{Fault, SaveTime};
pub use worked::{Given, home, work, work_due};
