//! The fence of one assignment of one partition: a value shared by everybody who touches the
//! partition's batches. It outlives the actors, so that whoever comes late sees at the last door
//! that the partition was let go, given up or taken by another owner.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};

use crate::conservation::PartitionCounts;
use crate::lanes::HeldLanes;
use crate::ports::SessionId;
use crate::record::{NextOffset, PartitionId};

/// Where a partition stands in the database, as this owner knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// The owner's number: each acquire adds one, a smaller one writes nothing.
    pub epoch: i64,
    /// The stored offset: the `from` of the only batch that may be saved next.
    pub expected: NextOffset,
    /// How often the batches in hand were begun anew; what an older attempt sends is thrown away.
    pub attempt: u32,
    /// How many batches were saved under this attempt: the turn of the one that is next.
    pub turn: u32,
}

/// One assignment of one partition to this process.
#[derive(Debug)]
pub struct Fence {
    partition: PartitionId,
    incarnation: u64,
    standing: AtomicBool,
    careful: AtomicBool,
    halted: AtomicBool,
    drains: AtomicBool,
    position: Mutex<Option<Position>>,
    seeks: AtomicU64,
    session: AtomicUsize,
    counts: Arc<PartitionCounts>,
    lanes: HeldLanes,
}

impl Fence {
    /// A fence for a partition that was just assigned; it has no position until it is acquired.
    pub fn new(partition: PartitionId) -> Self {
        Self::counted(partition, Arc::default())
    }

    /// The same, counting in `counts`, which outlive the assignment.
    pub fn counted(partition: PartitionId, counts: Arc<PartitionCounts>) -> Self {
        static NEXT_INCARNATION: AtomicU64 = AtomicU64::new(1);
        Self {
            partition,
            incarnation: NEXT_INCARNATION.fetch_add(1, SeqCst),
            standing: AtomicBool::new(true),
            careful: AtomicBool::new(false),
            halted: AtomicBool::new(false),
            drains: AtomicBool::new(false),
            position: Mutex::new(None),
            seeks: AtomicU64::new(0),
            session: AtomicUsize::new(0),
            counts,
            lanes: HeldLanes::default(),
        }
    }

    /// The partition that is fenced.
    pub fn partition(&self) -> &PartitionId {
        &self.partition
    }

    /// The assignment's number, unique in this process.
    pub fn incarnation(&self) -> u64 {
        self.incarnation
    }

    /// What became of the partition's records.
    pub fn counts(&self) -> &PartitionCounts {
        &self.counts
    }

    /// The lanes in which parked records come back.
    pub fn lanes(&self) -> &HeldLanes {
        &self.lanes
    }

    /// Whether the assignment still stands.
    pub fn stands(&self) -> bool {
        self.standing.load(SeqCst)
    }

    /// Ends the assignment: nothing of it may begin a transaction from here on.
    pub fn fall(&self) {
        self.standing.store(false, SeqCst);
    }

    /// Whether the partition goes on record by record; see [`crate::caution`].
    pub fn is_careful(&self) -> bool {
        self.careful.load(SeqCst)
    }

    /// Goes on record by record from here on, or as usual again.
    pub fn set_careful(&self, careful: bool) {
        self.careful.store(careful, SeqCst);
    }

    /// Whether nothing is read because the pipeline is paused or stopped.
    pub fn is_halted(&self) -> bool {
        self.halted.load(SeqCst)
    }

    /// Reads nothing from here on, or goes on.
    pub fn set_halted(&self, halted: bool) {
        self.halted.store(halted, SeqCst);
    }

    /// Whether what is in hand is the last: parked records come back to the next owner.
    pub fn drains(&self) -> bool {
        self.drains.load(SeqCst)
    }

    /// Takes nothing more in hand from here on.
    pub fn drain(&self) {
        self.drains.store(true, SeqCst);
    }

    /// The position, `None` before the first acquire.
    pub fn position(&self) -> Option<Position> {
        *self.lock()
    }

    /// Takes over what an acquire or a reacquire read, and begins a new attempt: pieces of earlier
    /// ones are refused from here on.
    pub fn hold(&self, epoch: i64, expected: NextOffset) -> Position {
        let mut position = self.lock();
        let attempt = position.map_or(0, |held| held.attempt + 1);
        *position.insert(Position { epoch, expected, attempt, turn: 0 })
    }

    /// Begins a new attempt at the batches in hand, at the same position.
    pub fn begin_attempt(&self) -> Option<Position> {
        let mut position = self.lock();
        if let Some(held) = position.as_mut() {
            held.attempt += 1;
            held.turn = 0;
        }
        *position
    }

    /// Moves the expected offset and the turn after a confirmed COMMIT, if the attempt is still the
    /// same.
    pub fn advance(&self, attempt: u32, to: NextOffset) {
        if let Some(held) = self.lock().as_mut().filter(|held| held.attempt == attempt) {
            held.expected = to;
            held.turn += 1;
        }
    }

    /// The session that the last batch was sent to.
    pub fn session(&self) -> SessionId {
        SessionId(self.session.load(SeqCst))
    }

    /// From here on, batches are sent to `session`.
    pub fn send_to(&self, session: SessionId) {
        self.session.store(session.0, SeqCst);
    }

    /// Numbers a new seek, from 1. A [`crate::ports::Source`] calls it when it is told to seek,
    /// before anything it reads there comes through the door.
    pub fn begin_seek(&self) -> u64 {
        self.seeks.fetch_add(1, SeqCst) + 1
    }

    /// The number of the last seek, 0 before the first. Batches that were read after an earlier one
    /// are stale.
    pub fn last_seek(&self) -> u64 {
        self.seeks.load(SeqCst)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Position>> {
        self.position.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}
