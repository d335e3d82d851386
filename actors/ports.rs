//! What the house needs from outside: a [`Store`] for offsets and rows, [`Lookups`] for context,
//! a [`Source`] that records come from, and the [`CommitBoard`] that lag tools are served from.

use std::sync::{Arc, Mutex, PoisonError};

use futures_util::future::BoxFuture;
use hashbrown::HashMap;

use crate::batch::{Batch, WorkedBatch};
use crate::caution::Caution;
use crate::conservation::Settled;
use crate::error::{Reject, SaveError, StoreError};
use crate::fence::Fence;
use crate::parked::DueBatch;
use crate::pipeline::{KeysOf, Pipeline};
use crate::record::{NextOffset, Offset, PartitionId};
use crate::rows::RowBuffer;

/// One of the store's saving sessions: a connection of its own with at most one transaction.
/// Each PersisterActor has one; partitions are pinned to those in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SessionId(pub usize);

/// Where offsets and rows live, and where they change together or not at all.
///
/// Every transaction of an implementation locks in one order: first the offset rows by group,
/// topic and partition, then the tables in declared order, each as one stream sorted by key.
pub trait Store: Send + Sync + 'static {
    /// Takes partitions over: adds one to each epoch and reads the stored offset. What an older
    /// owner has under way ends first; what it begins later is refused. A partition without a row
    /// gets one, with a concrete start. One answer for each fence, in their order.
    ///
    /// Checks under the row's lock that each fence still stands.
    fn acquire<'a>(
        &'a self,
        fences: &'a [Arc<Fence>],
    ) -> BoxFuture<'a, Result<Vec<Acquired>, StoreError>>;

    /// Takes one partition over from ourselves, or from an operator who moved its offset, by
    /// compare-and-set: waits for a transaction whose outcome is unknown, and cannot steal from a
    /// newer owner.
    fn reacquire<'a>(&'a self, fence: &'a Fence) -> BoxFuture<'a, Result<Acquired, StoreError>>;

    /// Looks whether the rows of these partitions are as this owner left them, and whether parked
    /// records of theirs are due. One answer for each fence, in their order.
    fn look<'a>(&'a self, fences: &'a [Arc<Fence>])
    -> BoxFuture<'a, Result<Vec<Seen>, StoreError>>;

    /// Reads parked records of a partition whose turn has come: the heads of its lanes that are
    /// due, and what waits behind them; `records` of them and about `bytes` at most, but at least
    /// one.
    fn due<'a>(
        &'a self,
        fence: &'a Fence,
        records: usize,
        bytes: usize,
    ) -> BoxFuture<'a, Result<Option<DueBatch>, StoreError>>;

    /// Notes in the partition's row that work is in hand, and `named`, the one record that is about
    /// to be tried by itself. `false`: the partition is not ours any more.
    fn begin_work<'a>(
        &'a self,
        fence: &'a Fence,
        named: Option<Offset>,
    ) -> BoxFuture<'a, Result<bool, StoreError>>;

    /// Notes in the rows of these partitions that no work of ours is in hand: what ends now does
    /// not die.
    fn rest<'a>(&'a self, fences: &'a [Arc<Fence>]) -> BoxFuture<'a, Result<(), StoreError>>;

    /// Saves a group in one transaction: fence, rows, parked records, offsets. Batches of one
    /// partition follow each other in the group and their ranges chain. One answer for each batch,
    /// in their order; a batch that is fenced or stale is left out and does not spoil the others.
    fn save<'a>(
        &'a self,
        session: SessionId,
        group: &'a [WorkedBatch],
    ) -> BoxFuture<'a, Result<Vec<BatchReport>, SaveError>>;

    /// Saves a group in the transaction that [`OwnWrites::open`] began on `session`: rows,
    /// `changes` of what was looked up, parked records, offsets; all of it or nothing. One answer
    /// for each batch, in their order. The transaction is over in any case.
    fn save_open<'a>(
        &'a self,
        session: SessionId,
        group: &'a [WorkedBatch],
        changes: &'a RowBuffer,
    ) -> BoxFuture<'a, Result<Vec<BatchReport>, SaveError>>;

    /// Ends the session's transaction by closing its connection, from any thread.
    fn abort(&self, session: SessionId);
}

/// The answer to an acquire or a reacquire.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Acquired {
    /// The partition is ours.
    Held(Holding),
    /// It is ours, and an operator moved its offset meanwhile: nothing in hand counts any more
    /// (reacquire only).
    Moved(Holding),
    /// The assignment ended meanwhile; nothing was changed.
    Fallen,
    /// It cannot be taken just now (another transaction holds its row, say); the others were not
    /// held up by it. Ask for this one again.
    Busy {
        /// What the store says.
        reason: String,
    },
    /// Another owner has it (reacquire only).
    Fenced {
        /// Who; `None` after an operator moved the offset.
        owner: Option<String>,
    },
    /// The partition must not be read, and what to do about it: the topic was made anew, say.
    Refused {
        /// What is wrong and what to do.
        reason: String,
    },
}

/// A partition that is ours, as its row has it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Holding {
    /// The new epoch.
    pub epoch: i64,
    /// The first offset not yet settled: where to go on.
    pub next_offset: NextOffset,
    /// Owners died over it: go on with caution (acquire only).
    pub caution: Option<Caution>,
    /// The lanes in which parked records come back, and how many in each.
    pub lanes: Vec<(Vec<u8>, u32)>,
    /// Nothing is to be read just now.
    pub halt: Option<Halt>,
}

/// A pipeline that is not to read, as the store has it for all its instances.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Halt {
    /// Why, and what lets it go on.
    pub reason: String,
    /// Whether a person paused it: it goes on some time. If not, somebody has to see to it.
    pub is_paused: bool,
}

/// What a look at a partition found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Its row.
    pub row: Stored,
    /// Whether parked records of it are due.
    pub is_due: bool,
    /// Nothing is to be read just now.
    pub halt: Option<Halt>,
}

/// A partition's row, against what its owner knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stored {
    /// As it was left.
    AsLeft,
    /// An operator moved the offset: the row has no owner.
    Moved,
    /// The topic is not the one that the row is for, and what to do about it.
    Unfit {
        /// What is wrong and what to do.
        reason: String,
    },
    /// Another owner has it.
    Taken {
        /// Who.
        owner: String,
    },
}

/// What became of one batch of a saved group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BatchReport {
    /// It is committed.
    Saved(Settled),
    /// Its fence fell or a later attempt began before the transaction did: it was left out.
    Stale,
    /// Its pipeline is stopped, or about to be: it was left out.
    Halted(Halt),
    /// A lane of it has more parked records than it may have: it was left out.
    LaneFull {
        /// Which, and what to do.
        reason: String,
    },
    /// Rolled back for certain, for the sake of another batch or of another writer: to be sent
    /// again (own writes only).
    RolledBack,
    /// Rolled back: the database refuses these records, by their index (own writes only).
    Refused(Vec<(u32, Reject)>),
    /// The database has another epoch or offset: it was left out.
    Fenced {
        /// The owner that stands in the row; `None` after an operator moved the offset.
        owner: Option<String>,
    },
}

/// The bulk lookups of one pipeline.
pub trait Lookups<P: Pipeline>: Send + Sync + 'static {
    /// Looks up all keys in one go.
    fn load(&self, keys: Arc<KeysOf<P>>) -> BoxFuture<'_, Result<P::Context, StoreError>>;
}

/// The bulk lookups of a pipeline whose records change what they look up.
pub trait OwnWrites<P: Pipeline>: Send + Sync + 'static {
    /// Begins the transaction of a group on `session`: locks the partitions' rows and checks their
    /// fences, then reads and locks what `keys` name, in the order of the keys. If a batch may not
    /// go, nothing is begun.
    fn open<'a>(
        &'a self,
        session: SessionId,
        group: &'a [Arc<Batch>],
        keys: &'a KeysOf<P>,
    ) -> BoxFuture<'a, Result<Opened<P::Context>, SaveError>>;
}

/// The answer to [`OwnWrites::open`].
#[derive(Debug)]
pub enum Opened<C> {
    /// The transaction stands, and this is what was read in it.
    Open(C),
    /// Some batches may not go; `None` for those that may.
    LeftOut(Vec<Option<BatchReport>>),
}

/// Where a house gets its context from.
pub enum ContextSource<P: Pipeline> {
    /// Reference data, which may be read ahead of earlier saves.
    Lookups(Arc<dyn Lookups<P>>),
    /// What the records themselves change.
    OwnWrites(Arc<dyn OwnWrites<P>>),
}

impl<P: Pipeline> Clone for ContextSource<P> {
    fn clone(&self) -> Self {
        match self {
            Self::Lookups(lookups) => Self::Lookups(lookups.clone()),
            Self::OwnWrites(own_writes) => Self::OwnWrites(own_writes.clone()),
        }
    }
}

/// The thread that records come from, as the house talks to it. No call waits.
pub trait Source: Send + Sync + 'static {
    /// Read this assignment from `position` on, stopped or not; give it tickets once that is
    /// confirmed. Numbers the seek ([`Fence::begin_seek`]) before it returns, so that batches which
    /// were under way can be told from those read after it.
    fn seek(&self, fence: &Arc<Fence>, position: NextOffset);

    /// The actor behind this assignment is gone for good: open a new door, which is acquired anew.
    fn reopen(&self, fence: &Arc<Fence>);

    /// Read this assignment no more; its offset stays where it is.
    fn stop(&self, fence: &Arc<Fence>, reason: StopReason);
}

/// Why a partition stopped while it was assigned to us.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StopReason {
    /// Another owner took it, or an operator moved its offset.
    Fenced {
        /// Who; `None` for an operator.
        owner: Option<String>,
    },
    /// A lane has as many parked records as it may have; it is read again when they are fewer.
    LaneFull {
        /// Which lane, and what to do.
        reason: String,
    },
    /// Its pipeline is paused or stopped; it is read again when it is let go on.
    Halted(Halt),
    /// It cannot go on, with what is wrong and what to do.
    Failed {
        /// What is wrong and what to do.
        reason: String,
    },
}

impl StopReason {
    /// Whether the assignment stands and is read again some time.
    pub fn is_for_now(&self) -> bool {
        matches!(self, Self::LaneFull { .. } | Self::Halted(_))
    }
}

impl std::fmt::Display for StopReason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Fenced { owner: Some(owner) } => write!(f, "fenced: {owner} owns it now"),
            Self::Fenced { owner: None } => write!(f, "fenced: its offset was moved"),
            Self::LaneFull { reason }
            | Self::Failed { reason }
            | Self::Halted(Halt { reason, .. }) => f.write_str(reason),
        }
    }
}

/// The last saved position of each partition, a last-value board: the persisters write, the
/// consumer thread takes and commits to Kafka, for lag tools only.
#[derive(Clone, Debug, Default)]
pub struct CommitBoard {
    news: Arc<Mutex<HashMap<PartitionId, NextOffset>>>,
}

impl CommitBoard {
    /// Leaves a saved position.
    pub fn leave(&self, partition: &PartitionId, saved: NextOffset) {
        let mut news = self.news.lock().unwrap_or_else(PoisonError::into_inner);
        match news.get_mut(partition) {
            Some(place) => *place = saved,
            None => {
                news.insert(partition.clone(), saved);
            }
        }
    }

    /// Takes all positions that are new since the last call.
    pub fn take(&self) -> Vec<(PartitionId, NextOffset)> {
        self.news.lock().unwrap_or_else(PoisonError::into_inner).drain().collect()
    }
}
