//! The conservation of records: read = saved + skipped + duplicate + parked + given up + in flight,
//! for each partition, at any time.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};

use hashbrown::HashMap;

use crate::ports::StopReason;
use crate::record::PartitionId;

/// How the records of one batch were settled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Settled {
    /// Records whose rows were saved.
    pub saved: u64,
    /// Records with nothing to save.
    pub skipped: u64,
    /// Records that a saved one has made a repeat.
    pub duplicate: u64,
    /// Records put aside in the same transaction.
    pub parked: u64,
}

impl Settled {
    /// All settled records together.
    pub fn total(&self) -> u64 {
        self.saved + self.skipped + self.duplicate + self.parked
    }

    /// Adds `other` to each number.
    pub fn add(&mut self, other: Self) {
        self.saved += other.saved;
        self.skipped += other.skipped;
        self.duplicate += other.duplicate;
        self.parked += other.parked;
    }
}

/// The running counters of one partition.
#[derive(Debug, Default)]
pub struct PartitionCounts {
    read: AtomicU64,
    settled: SettledCounts,
    given_up: AtomicU64,
    fenced: AtomicU64,
    /// The later life of parked records.
    parked_settled: SettledCounts,
}

/// [`Settled`], running.
#[derive(Debug, Default)]
struct SettledCounts {
    saved: AtomicU64,
    skipped: AtomicU64,
    duplicate: AtomicU64,
    parked: AtomicU64,
}

impl SettledCounts {
    fn add(&self, settled: Settled) {
        self.saved.fetch_add(settled.saved, Relaxed);
        self.skipped.fetch_add(settled.skipped, Relaxed);
        self.duplicate.fetch_add(settled.duplicate, Relaxed);
        self.parked.fetch_add(settled.parked, Relaxed);
    }

    fn snapshot(&self) -> Settled {
        Settled {
            saved: self.saved.load(Relaxed),
            skipped: self.skipped.load(Relaxed),
            duplicate: self.duplicate.load(Relaxed),
            parked: self.parked.load(Relaxed),
        }
    }
}

/// The counters at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Conservation {
    /// Records that came through the door.
    pub read: u64,
    /// What was settled, and how.
    pub settled: Settled,
    /// Records that left the house unsettled, to be read again by whoever owns the partition next.
    pub given_up: u64,
    /// Parked records that came back, and how they were settled in the end; `parked` of them are
    /// dead. Not part of the sum: they were settled when they were parked.
    pub parked_settled: Settled,
}

impl Conservation {
    /// Records in the house.
    pub fn in_flight(&self) -> u64 {
        self.read.saturating_sub(self.settled.total() + self.given_up)
    }
}

impl PartitionCounts {
    /// Counts records that came through the door.
    pub fn add_read(&self, records: u64) {
        self.read.fetch_add(records, Relaxed);
    }

    /// Counts a settled batch.
    pub fn add_settled(&self, settled: Settled) {
        self.settled.add(settled);
    }

    /// Counts parked records that came back and are settled.
    pub fn add_parked_settled(&self, settled: Settled) {
        self.parked_settled.add(settled);
    }

    /// Counts records that are let go unsettled.
    pub fn add_given_up(&self, records: u64) {
        self.given_up.fetch_add(records, Relaxed);
    }

    /// Counts a stop, if it is for another owner who took the partition while it was ours.
    pub fn note_stop(&self, reason: &StopReason) {
        if matches!(reason, StopReason::Fenced { .. }) {
            self.fenced.fetch_add(1, Relaxed);
        }
    }

    /// The counters now. `read` is taken last, so that it is never behind the others.
    pub fn snapshot(&self) -> Conservation {
        let (settled, parked_settled) = (self.settled.snapshot(), self.parked_settled.snapshot());
        let given_up = self.given_up.load(Relaxed);
        Conservation { read: self.read.load(Relaxed), settled, given_up, parked_settled }
    }
}

/// The counters of all partitions that a house ever had, across assignments. Cheap to clone; all
/// clones are one ledger.
#[derive(Clone, Debug, Default)]
pub struct Ledger(Arc<Mutex<HashMap<PartitionId, Arc<PartitionCounts>>>>);

impl Ledger {
    /// The counters of `partition`.
    pub fn of(&self, partition: &PartitionId) -> Arc<PartitionCounts> {
        self.lock().entry(partition.clone()).or_default().clone()
    }

    /// The counters of every partition now.
    pub fn snapshot(&self) -> Vec<(PartitionId, Conservation)> {
        let counters = self.lock();
        counters.iter().map(|(id, counts)| (id.clone(), counts.snapshot())).collect()
    }

    /// How often another owner took a partition while it was assigned to us.
    pub fn fenced(&self) -> u64 {
        self.lock().values().map(|counts| counts.fenced.load(Relaxed)).sum()
    }

    /// The counters of all partitions together.
    pub fn total(&self) -> Conservation {
        self.snapshot().into_iter().fold(Conservation::default(), |mut all, (_, one)| {
            all.read += one.read;
            all.given_up += one.given_up;
            all.settled.add(one.settled);
            all.parked_settled.add(one.parked_settled);
            all
        })
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<PartitionId, Arc<PartitionCounts>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
