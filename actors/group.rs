//! A group: batches of several partitions whose records change what they look up. It is read,
//! worked and saved in one transaction, and goes or stays as a whole; see [`crate::own_writes`].

use std::sync::{Arc, Mutex, PoisonError};

use actix::Message;
use tokio::sync::Notify;

use crate::batch::{Batch, GivenUp, WorkedBatch};
use crate::decoded::Decoded;
use crate::pace::{Busy, Pace};
use crate::pipeline::Pipeline;
use crate::ports::{BatchReport, CommitBoard, SessionId, Store};
use crate::rows::RowBuffer;

/// The saving sessions of a house, for groups to have one each. Cheap to clone; outlives whoever
/// takes from it.
#[derive(Clone)]
pub(crate) struct Sessions {
    store: Arc<dyn Store>,
    pace: Pace,
    free: Arc<(Mutex<Vec<SessionId>>, Notify)>,
}

impl Sessions {
    pub(crate) fn new(store: Arc<dyn Store>, sessions: usize, pace: Pace) -> Self {
        let free = (0..sessions).rev().map(SessionId).collect();
        Self { store, pace, free: Arc::new((Mutex::new(free), Notify::new())) }
    }

    /// A session that nobody has.
    pub(crate) fn take(&self) -> Option<OpenSession> {
        let (free, _) = &*self.free;
        let session = free.lock().unwrap_or_else(PoisonError::into_inner).pop()?;
        let busy = self.pace.busy(session);
        Some(OpenSession { session, is_over: false, busy, sessions: self.clone() })
    }

    /// Records of one group at most, just now.
    pub(crate) fn records(&self) -> usize {
        self.pace.now().records
    }

    /// Waits until a session has become free.
    pub(crate) async fn freed(&self) {
        self.free.1.notified().await;
    }
}

/// A session while a group has it. Dropped before its transaction is over, it ends it.
pub(crate) struct OpenSession {
    session: SessionId,
    is_over: bool,
    busy: Busy,
    sessions: Sessions,
}

impl OpenSession {
    pub(crate) fn id(&self) -> SessionId {
        self.session
    }

    /// Its group of `records` was saved.
    pub(crate) fn saved(&self, records: usize) {
        self.sessions.pace.group_saved(records, self.busy.elapsed());
    }

    /// Its transaction was committed or rolled back, or never begun.
    pub(crate) fn is_over(&mut self) {
        self.is_over = true;
    }
}

impl Drop for OpenSession {
    fn drop(&mut self) {
        if !self.is_over {
            self.sessions.store.abort(self.session);
        }
        let (free, freed) = &*self.sessions.free;
        free.lock().unwrap_or_else(PoisonError::into_inner).push(self.session);
        freed.notify_one();
    }
}

/// A group whose transaction stands, with what was read in it.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct LoadedGroup<P: Pipeline> {
    /// Its batches, one of a partition at most.
    pub(crate) batches: Vec<(Arc<Batch>, Decoded<P>)>,
    /// What was read, and what its records change.
    pub(crate) context: P::Context,
    pub(crate) session: OpenSession,
}

/// A group as its worker leaves it.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct WorkedGroup {
    pub(crate) batches: Vec<WorkedBatch>,
    /// The rows that its records have changed.
    pub(crate) changes: RowBuffer,
    pub(crate) session: OpenSession,
}

/// Tells the partition of `batch` what became of it.
pub(crate) fn tell(board: &CommitBoard, batch: &Batch, report: BatchReport) {
    let cause = match report {
        BatchReport::Saved(settled) => {
            board.leave(batch.fence.partition(), batch.to);
            return batch.settle(settled);
        }
        BatchReport::Stale => GivenUp::Lost { outcome_unknown: false },
        BatchReport::Halted(halt) => GivenUp::Halted(halt),
        BatchReport::LaneFull { reason } => GivenUp::LaneFull { reason },
        BatchReport::Fenced { owner } => GivenUp::Fenced { owner },
        BatchReport::RolledBack => GivenUp::RolledBack,
        BatchReport::Refused(refused) => {
            let offset = |index: u32| batch.parcel.arena.get(index as usize).offset;
            let refused = refused.into_iter().map(|(index, reject)| (offset(index), reject));
            GivenUp::Refused(refused.collect())
        }
    };
    batch.give_up(cause);
}

/// Gives the batches of a group back whose transaction was rolled back: those that may still go
/// are sent again at once.
pub(crate) fn give_back<'a>(batches: impl Iterator<Item = &'a Arc<Batch>>) {
    batches.for_each(|batch| batch.give_up(GivenUp::RolledBack));
}
