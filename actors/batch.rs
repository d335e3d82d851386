//! The messages of the way, named by the stage that a batch has passed:
//! [`HandedInBatch`], [`DecodedBatch`], [`LoadedBatch`], [`WorkChunk`], [`WorkedChunk`],
//! [`WorkedBatch`]; and the two that go back up to the partition: [`BatchSaved`], [`BatchGivenUp`].

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};

use actix::{Message, Recipient};
use tokio::time::Instant;

use crate::conservation::Settled;
use crate::custody::Custody;
use crate::decoded::Decoded;
use crate::error::Reject;
use crate::fence::Fence;
use crate::lanes::LaneKeys;
pub use crate::notices::{BatchGivenUp, BatchSaved, GivenUp};
pub use crate::parcel::{Parcel, PolledBatch};
use crate::parked::{ParkAs, ParkedRef};
use crate::pipeline::{KeysOf, Pipeline};
use crate::ports::SessionId;
use crate::record::NextOffset;
use crate::rows::RowBuffer;
use crate::trip::Trip;

/// A polled batch as the door hands it in.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct HandedInBatch {
    /// What was read.
    pub polled: PolledBatch,
    /// The custody of its records.
    pub custody: Arc<Custody>,
}

/// Tells batches apart, those of the same range too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct BatchNumber(u64);

impl BatchNumber {
    /// One that no other batch of the process has; later ones are larger.
    pub fn next() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Self(NEXT.fetch_add(1, SeqCst))
    }
}

/// A batch as its partition holds it until it is settled.
#[derive(Clone, Debug)]
pub struct Held {
    /// Its number, the same each time it is sent.
    pub number: BatchNumber,
    /// The batch that it is a part of, which has its ticket; its own number if it is whole.
    pub whole: BatchNumber,
    /// Its records.
    pub parcel: Arc<Parcel>,
    /// The custody of its records.
    pub custody: Arc<Custody>,
    /// The end of the batch before it.
    pub from: NextOffset,
    /// Its own end.
    pub to: NextOffset,
    /// When it was handed in.
    pub since: Instant,
    /// The rows that its records come from, if they were parked before: then its range is empty.
    pub parked: Option<Arc<[ParkedRef]>>,
    /// Its last sending.
    pub trip: Trip,
}

/// What a batch is on its whole way: the offsets it covers, under which assignment and attempt.
/// Dropped unsettled (a stage died, a mailbox was closed), it tells its partition so.
#[derive(Debug)]
pub struct Batch {
    /// Its number, the same each time it is sent.
    pub number: BatchNumber,
    /// The assignment it belongs to.
    pub fence: Arc<Fence>,
    /// The end of the batch before it.
    pub from: NextOffset,
    /// Its own end; every offset in `[from, to)` is settled with it.
    pub to: NextOffset,
    /// The attempt it was sent under.
    pub attempt: u32,
    /// Its place among the batches of this attempt, from 0: they are saved in this order. The
    /// range alone does not tell, since that of parked records is empty.
    pub turn: u32,
    /// The session that saves it.
    pub session: SessionId,
    /// Its records.
    pub parcel: Arc<Parcel>,
    /// When it came into the house.
    pub since: Instant,
    /// The lane keys of its records.
    pub lanes: LaneKeys,
    /// The rows that its records come from, if they were parked before.
    pub parked: Option<Arc<[ParkedRef]>>,
    custody: Arc<Custody>,
    home: Home,
    trip: Trip,
    begun: AtomicBool,
}

/// The way back up to a batch's partition.
#[derive(Clone, Debug)]
pub struct Home {
    /// Hears that the batch is committed.
    pub saved: Recipient<BatchSaved>,
    /// Hears that it is not.
    pub given_up: Recipient<BatchGivenUp>,
}

impl Batch {
    /// The batch of `held`, in its turn of one of the fence's attempts, for the session that the
    /// fence names; `home` hears what becomes of it.
    pub fn new(
        fence: Arc<Fence>,
        held: Held,
        lanes: LaneKeys,
        (attempt, turn): (u32, u32),
        home: Home,
    ) -> Self {
        let (session, begun) = (fence.session(), AtomicBool::new(false));
        let Held { number, whole: _, parcel, custody, from, to, since, parked, trip } = held;
        Self {
            number,
            fence,
            from,
            to,
            attempt,
            turn,
            session,
            parcel,
            since,
            lanes,
            parked,
            custody,
            home,
            trip,
            begun,
        }
    }

    /// Whether it was settled or given up.
    pub fn is_over(&self) -> bool {
        self.trip.over_since().is_some()
    }

    /// Whether the assignment stands and no later attempt was begun.
    pub fn is_current(&self) -> bool {
        self.fence.stands() && self.fence.position().is_some_and(|p| p.attempt == self.attempt)
    }

    /// Notes that a transaction with this batch may have begun: from here on, losing the batch
    /// leaves its outcome unknown.
    pub fn begin(&self) {
        self.begun.store(true, SeqCst);
    }

    /// Notes that a transaction with this batch was rolled back for certain.
    pub fn rolled_back(&self) {
        self.begun.store(false, SeqCst);
    }

    /// Settles the batch after a confirmed COMMIT: counts it, moves the fence and tells the
    /// partition.
    pub fn settle(&self, settled: Settled) {
        if self.trip.end() {
            self.custody.settle(settled);
            self.fence.advance(self.attempt, self.to);
            let notice = BatchSaved { to: self.to, attempt: self.attempt };
            // A closed mailbox is a partition that ended meanwhile; the database has the truth.
            let _ = self.home.saved.try_send(notice);
        }
    }

    /// Gives the batch up because the answer to its COMMIT never came; `settled` is what its
    /// records come to if it did commit.
    pub fn lose_answer(&self, settled: Settled) {
        self.custody.unconfirmed(settled);
        self.give_up(GivenUp::Lost { outcome_unknown: true });
    }

    /// Gives the batch up for `cause` and tells its partition.
    pub fn give_up(&self, cause: GivenUp) {
        if self.trip.end() {
            let notice = BatchGivenUp { to: self.to, attempt: self.attempt, cause };
            // A closed mailbox is a partition that ended: its fence refuses the batch anyway.
            let _ = self.home.given_up.try_send(notice);
        }
    }

    /// Gives the batch up because a part of it was lost.
    pub fn lose(&self) {
        let outcome_unknown = self.begun.load(SeqCst);
        self.give_up(GivenUp::Lost { outcome_unknown });
    }
}

impl Drop for Batch {
    fn drop(&mut self) {
        self.lose();
    }
}

/// A batch whose records were read as events, and whose keys are known.
#[derive(Message)]
#[rtype(result = "()")]
pub struct DecodedBatch<P: Pipeline> {
    /// What it is.
    pub batch: Arc<Batch>,
    /// Its events.
    pub events: Decoded<P>,
    /// What to look up for it.
    pub keys: KeysOf<P>,
}

/// A batch together with what the database knows about its records.
#[derive(Message)]
#[rtype(result = "()")]
pub struct LoadedBatch<P: Pipeline> {
    /// What it is.
    pub batch: Arc<Batch>,
    /// Its events.
    pub events: Decoded<P>,
    /// What was looked up, shared with the batches that were looked up in the same query.
    pub context: Arc<P::Context>,
}

/// The part of a batch that one worker works. Dropped before it was worked (its worker died), it
/// loses the batch: the other parts wait for it.
#[derive(Message)]
#[rtype(result = "()")]
pub struct WorkChunk<P: Pipeline> {
    /// The batch.
    pub loaded: Arc<LoadedBatch<P>>,
    /// The records of this part, by index.
    pub records: ChunkRecords,
    /// The part's number, from 0.
    pub piece: u32,
    /// The number of parts of the batch.
    pub pieces: u32,
    /// The number in its group of the batch's first record (own writes only).
    pub first: u32,
    worked: bool,
}

impl<P: Pipeline> WorkChunk<P> {
    /// Part `piece.0` of `piece.1` of a batch.
    pub fn new(
        loaded: Arc<LoadedBatch<P>>,
        records: ChunkRecords,
        piece: (u32, u32),
        first: u32,
    ) -> Self {
        Self { loaded, records, piece: piece.0, pieces: piece.1, first, worked: false }
    }

    /// It was worked, and what came of it was sent on.
    pub fn done(mut self) {
        self.worked = true;
    }
}

impl<P: Pipeline> Drop for WorkChunk<P> {
    fn drop(&mut self) {
        if !self.worked {
            self.loaded.batch.lose();
        }
    }
}

/// Which records of a batch belong to a part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ChunkRecords {
    /// A run of them.
    Range(Range<u32>),
    /// Those of some lanes, in offset order.
    Listed(Vec<u32>),
}

impl ChunkRecords {
    /// The number of records.
    pub fn len(&self) -> usize {
        match self {
            Self::Range(range) => range.len(),
            Self::Listed(records) => records.len(),
        }
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// A part of a batch as its worker leaves it: rows encoded, the rest counted. Dropped before the
/// batch is settled, it loses the batch: the other parts wait for it.
#[derive(Message)]
#[rtype(result = "()")]
pub struct WorkedChunk {
    /// The batch.
    pub batch: Arc<Batch>,
    /// The part's number, from 0.
    pub piece: u32,
    /// The number of parts of the batch.
    pub pieces: u32,
    /// The rows to save.
    pub rows: RowBuffer,
    /// Records with rows in `rows`.
    pub to_save: u32,
    /// Records with nothing to do, by index.
    pub skipped: Vec<u32>,
    /// Records that the context knew to be repeats, by index.
    pub duplicate: Vec<u32>,
    /// Records to park.
    pub rejections: Vec<Rejection>,
}

impl WorkedChunk {
    /// Part `piece.0` of `piece.1` of a batch, with nothing counted yet.
    pub fn new(batch: Arc<Batch>, piece: (u32, u32), rows: RowBuffer) -> Self {
        Self {
            batch,
            piece: piece.0,
            pieces: piece.1,
            rows,
            to_save: 0,
            skipped: Vec::new(),
            duplicate: Vec::new(),
            rejections: Vec::new(),
        }
    }
}

impl Drop for WorkedChunk {
    fn drop(&mut self) {
        // Does nothing once the batch is settled or given up.
        self.batch.lose();
    }
}

/// A record of a batch that is to be parked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejection {
    /// Its index in the batch.
    pub record: u32,
    /// Why.
    pub reject: Reject,
    /// How.
    pub park: ParkAs,
}

/// A batch whose parts are all back: ready to be saved.
pub struct WorkedBatch {
    /// The batch.
    pub batch: Arc<Batch>,
    /// Its parts, in the order in which they came back.
    pub chunks: Vec<WorkedChunk>,
}

impl WorkedBatch {
    /// Whether all parts are there.
    pub fn is_complete(&self) -> bool {
        self.chunks.first().is_some_and(|chunk| self.chunks.len() == chunk.pieces as usize)
    }
}
