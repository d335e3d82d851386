//! Caution: what to do about records that kill the process, which no `catch_unwind` catches (an
//! abort, a stack that overflows, memory that runs out).
//!
//! A mark in the partition's row says that work is in hand. An owner that finds the mark of another
//! one knows that it died with records in hand. After [`DEATHS_MAX`] such deaths without a save in
//! between, the partition goes on record by record; each is named in the row before it is tried,
//! and nothing else is tried in the process meanwhile ([`crate::gate`]). One that is found named at
//! [`STARTS_MAX`] starts in a row is parked: a process that is killed from outside is never killed
//! at the same record each time.

use std::time::Duration;

use crate::decode::Verdict;
use crate::error::Reject;
use crate::gate::Gate;
use crate::record::Offset;

/// Deaths with work in hand, without a save in between, before a partition goes on with caution.
pub const DEATHS_MAX: i32 = 3;

/// Starts in a row that find the same record named before it is parked.
pub const STARTS_MAX: i32 = 3;

/// Records that are tried one by one before the partition goes on as usual: about as many as were
/// in hand when it died. Should the record lie further on, the next deaths lead to it.
const CAREFUL_RECORDS: u64 = 20_000;

/// The reason that a record which kills the process is parked with.
pub const KILLS_THE_PROCESS: &str = "kills the process";

/// Whether the partition's row says that work is in hand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mark {
    Clear,
    /// It is being written, one way or the other.
    Changing,
    Set,
}

/// The mark stays for so long after the last save, so that a steady trickle of batches does not
/// write it each time.
pub(crate) const MARK_STAYS: Duration = Duration::from_secs(1);

/// What an acquire found about earlier deaths.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Caution {
    /// The record that was found named too often.
    pub condemned: Option<Offset>,
}

/// A partition that goes on record by record.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Careful {
    pub(crate) condemned: Option<Offset>,
    left: u64,
    /// Records that had been found to kill the process when it began.
    culprits: u64,
}

impl Careful {
    pub(crate) fn new(caution: Caution, gate: &Gate) -> Self {
        let Caution { condemned } = caution;
        Self { condemned, left: CAREFUL_RECORDS, culprits: gate.culprits() }
    }

    /// One more record was settled. Whether caution is still called for.
    pub(crate) fn passed(&mut self, offset: Option<Offset>, gate: &Gate) -> bool {
        self.left -= 1;
        if offset.is_some() && offset == self.condemned {
            gate.found_culprit();
        }
        // All partitions of a process die with it: the others had nothing to do with it.
        self.left > 0 && gate.culprits() == self.culprits
    }

    /// What is to become of the record that was found named too often.
    pub(crate) fn verdict(&self) -> Option<Verdict> {
        let offset = self.condemned?;
        let error = format!(
            "the process died {STARTS_MAX} times in a row while offset {offset} was tried by \
             itself; mend `parse` or `work` before it is sent again"
        );
        Some(Verdict { offset, reject: Reject::new(KILLS_THE_PROCESS, error) })
    }
}
