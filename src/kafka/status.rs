//! What the consumer thread is doing, for health, the page and the metrics. Written by the thread,
//! read by anybody.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed, Ordering::SeqCst};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use hashbrown::HashMap;
use longshore_actors::record::{NextOffset, PartitionId};

/// The thread's state, shared. Cheap to clone; all clones are one status, which only the last
/// thread in a row writes: one that hung and comes back tells nothing any more.
#[derive(Clone, Debug, Default)]
pub struct ConsumerStatus {
    inner: Arc<Mutex<StatusSnapshot>>,
    rounds: Arc<AtomicU64>,
    /// The thread that writes, by number.
    writer: Arc<AtomicU64>,
    own: u64,
}

/// The thread's state at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StatusSnapshot {
    /// The partitions that are assigned to us now.
    pub partitions: HashMap<PartitionId, PartitionStatus>,
    /// Rebalance callbacks that brought partitions or confirmed ours.
    pub rebalances_assigned: u64,
    /// Rebalance callbacks that took partitions in good order.
    pub rebalances_revoked: u64,
    /// Rebalance callbacks that took partitions which were already lost to others.
    pub rebalances_lost: u64,
    /// What the brokers refuse or why none of them answers; `None` while all is well.
    pub problem: Option<String>,
    /// Whether the group has given us our share of its partitions, which may be none.
    pub joined: bool,
    /// When the thread last came round; `None` before its first time.
    pub last_round: Option<Instant>,
    /// Consumers that took the place of another one.
    pub restarts: u64,
    /// Why there is no consumer just now; a new one is about to be started.
    pub ended: Option<String>,
}

/// One assigned partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionStatus {
    /// What the thread does with it.
    pub state: PartitionState,
    /// The next offset to read, once it is known.
    pub position: Option<NextOffset>,
    /// The end of the partition as the last fetch saw it: its high watermark.
    pub end: Option<NextOffset>,
    /// Records read under this assignment, with those that wait for their batch to fill.
    pub records_read: u64,
    /// Records that came from before the position and were left out; they were read already.
    pub records_left_out: u64,
}

/// What the thread does with a partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PartitionState {
    /// It is assigned; the house has not said yet where to read.
    Assigned,
    /// It is about to be read from a new position.
    Seeking,
    /// It is read, as far as there are tickets.
    Reading,
    /// It is not read for now, and why; it goes on by itself.
    Waiting(String),
    /// It is not read any more, and why.
    Stopped(String),
}

impl PartitionStatus {
    /// Records between the position and the end, once both are known.
    pub fn lag(&self) -> Option<u64> {
        Some(self.position?.distance_to(self.end?))
    }
}

impl ConsumerStatus {
    /// The state now.
    pub fn snapshot(&self) -> StatusSnapshot {
        self.lock().clone()
    }

    /// How often the thread has come round: as long as this number changes, it does not hang.
    pub fn rounds(&self) -> u64 {
        self.rounds.load(Relaxed)
    }

    /// The same status for the next thread, which alone writes it from here on.
    pub(super) fn for_next(&self) -> Self {
        Self { own: self.writer.fetch_add(1, SeqCst) + 1, ..self.clone() }
    }

    /// A consumer is of no use any more.
    pub(super) fn ended(&self, reason: String) {
        let mut status = self.lock();
        (status.joined, status.last_round) = (false, None);
        status.partitions.clear();
        status.ended = Some(reason);
    }

    /// Another one took its place.
    pub(super) fn restarted(&self) {
        let mut status = self.lock();
        (status.joined, status.last_round) = (false, Some(Instant::now()));
        (status.ended, status.problem) = (None, None);
        status.restarts += 1;
    }

    pub(super) fn come_round(&self) {
        if self.own == self.writer.load(SeqCst) {
            self.rounds.fetch_add(1, Relaxed);
        }
    }

    pub(super) fn update(&self, change: impl FnOnce(&mut StatusSnapshot)) {
        if self.own == self.writer.load(SeqCst) {
            change(&mut self.lock());
        }
    }

    fn lock(&self) -> MutexGuard<'_, StatusSnapshot> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
