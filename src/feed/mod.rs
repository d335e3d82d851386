//! Records for a demo and for tests, each with what must become of it: the same seed gives the
//! same records, and the expectation is known without the service that is put to the proof.

mod accounts;
mod ads;
mod clock;
mod mix;
mod payments;
mod payments_mix;
mod producer;
mod reference;
mod remembered;
mod spoil;
mod throttle;
mod topics;

use std::collections::BTreeMap;

pub use accounts::{Account, PaymentsReference};
pub use ads::{AdsFeed, AdsOptions, AdsSums};
pub use mix::AdsShares;
pub use payments::{Applied, PaymentsFeed, PaymentsOptions};
pub use payments_mix::PaymentsShares;
pub(crate) use producer::send;
pub use producer::{Delivered, FeedError, FeedPlan, Feeder};
pub use reference::{AdsReference, Advertiser, Campaign};
pub use throttle::{Throttle, UnreadLimit};
pub use topics::TopicError;
pub(crate) use topics::Topics;

/// An endless source of records.
pub trait Feed {
    /// Puts the next record into `record`, whose buffers are used again.
    fn fill(&mut self, record: &mut FeedRecord);
}

/// One record, ready to be sent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FeedRecord {
    /// The partition it goes to: repeats must follow the record that they repeat.
    pub partition: i32,
    /// Its key.
    pub key: Vec<u8>,
    /// Its value; of no meaning if it is a tombstone.
    pub bytes: Vec<u8>,
    /// Whether its value is null.
    pub is_tombstone: bool,
    /// What must become of it.
    pub expected: Expected,
}

impl FeedRecord {
    /// The value to send; `None` for a tombstone.
    pub fn value(&self) -> Option<&[u8]> {
        (!self.is_tombstone).then_some(self.bytes.as_slice())
    }

    /// How much of a partition it takes up, about: key, value and what Kafka adds.
    pub fn size(&self) -> usize {
        const OVERHEAD_BYTES: usize = 16;
        self.key.len() + self.value().map_or(0, <[u8]>::len) + OVERHEAD_BYTES
    }
}

/// What must become of a record.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Expected {
    /// Its row is saved.
    #[default]
    Saved,
    /// It repeats a saved record: counted, nothing written.
    Duplicate,
    /// There is nothing to do for it.
    Skipped,
    /// It is parked before a row is made, for this reason.
    Rejected(&'static str),
    /// It is parked because the database refuses its row, for this reason.
    Refused(&'static str),
}

/// How many records of each expectation there were.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Records that must be saved.
    pub saved: u64,
    /// Records that must count as duplicates.
    pub duplicate: u64,
    /// Records that must be skipped.
    pub skipped: u64,
    /// Records that must be rejected, by reason.
    pub rejected: BTreeMap<&'static str, u64>,
    /// Records that the database must refuse, by reason.
    pub refused: BTreeMap<&'static str, u64>,
}

impl Totals {
    /// Counts one more record.
    pub fn count(&mut self, expected: Expected) {
        match expected {
            Expected::Saved => self.saved += 1,
            Expected::Duplicate => self.duplicate += 1,
            Expected::Skipped => self.skipped += 1,
            Expected::Rejected(reason) => *self.rejected.entry(reason).or_default() += 1,
            Expected::Refused(reason) => *self.refused.entry(reason).or_default() += 1,
        }
    }

    /// Records that must be parked, whoever finds out.
    pub fn parked(&self) -> u64 {
        self.rejected.values().chain(self.refused.values()).sum()
    }

    /// All records.
    pub fn records(&self) -> u64 {
        self.saved + self.duplicate + self.skipped + self.parked()
    }
}

#[cfg(test)]
mod payments_tests;
#[cfg(test)]
mod tests;
