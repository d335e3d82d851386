//! The two messages that go back up to a partition: what became of its batches.

use actix::Message;

use crate::error::{Reject, RetryLater};
use crate::ports::Halt;
use crate::record::{NextOffset, Offset};

/// To the partition: everything before `to` is committed.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub struct BatchSaved {
    /// The end of the batch.
    pub to: NextOffset,
    /// The attempt that it was saved under.
    pub attempt: u32,
}

/// To the partition: the batch that ends at `to` was not saved, as far as its sender knows.
#[derive(Clone, Debug, Message)]
#[rtype(result = "()")]
pub struct BatchGivenUp {
    /// The end of the batch.
    pub to: NextOffset,
    /// The attempt that it was sent under.
    pub attempt: u32,
    /// Why.
    pub cause: GivenUp,
}

/// Why a batch comes back unsettled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GivenUp {
    /// It was dropped on its way; perhaps while a transaction with it was under way.
    Lost {
        /// Whether its transaction may have committed.
        outcome_unknown: bool,
    },
    /// The database has another epoch or offset for the partition.
    Fenced {
        /// The owner that stands there, `None` after an operator moved the offset.
        owner: Option<String>,
    },
    /// Its group was rolled back for certain, and it can go again at once.
    RolledBack,
    /// Its group was rolled back: the database refuses these records.
    Refused(Vec<(Offset, Reject)>),
    /// Its transaction took too long.
    TooSlow {
        /// What the store says.
        reason: String,
    },
    /// Ordered by partition, a record is to be tried again later, and everything behind it waits.
    Later {
        /// Its place.
        offset: Offset,
        /// Why.
        later: RetryLater,
    },
    /// Its pipeline is stopped, or about to be.
    Halted(Halt),
    /// A lane has more parked records than it may have.
    LaneFull {
        /// Which, and what to do.
        reason: String,
    },
    /// It cannot be saved and trying again cannot help.
    Stopped {
        /// What is wrong and what to do.
        reason: String,
    },
}
