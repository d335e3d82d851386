//! The register of the partitions in the house: who is told when the stored offset moved, or when
//! everything on the way has to be sent again.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use actix::{Message, Recipient};

use crate::fence::{Fence, Position};
use crate::ports::Seen;
use crate::record::PartitionId;

/// To the partition: send everything in hand again, under a new attempt.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct BeginAgain;

/// To the partition: its row in the store is not as it was left, parked records are due, or its
/// pipeline is not to read.
#[derive(Clone, Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct RowSeen(pub(crate) Seen);

/// One partition.
#[derive(Clone)]
pub(crate) struct Registered {
    pub(crate) fence: Arc<Fence>,
    pub(crate) again: Recipient<BeginAgain>,
    pub(crate) seen: Recipient<RowSeen>,
}

/// Cheap to clone; all clones are one register.
#[derive(Clone, Default)]
pub struct Register {
    partitions: Arc<Mutex<Vec<Registered>>>,
    /// Partitions that were let go, and in whose rows work of ours is still noted as in hand.
    to_rest: Arc<Mutex<Vec<Arc<Fence>>>>,
}

impl Register {
    /// Where each partition that is acquired stands in the store.
    pub fn positions(&self) -> Vec<(PartitionId, Position)> {
        let entries = self.lock();
        let position =
            |entry: &Registered| Some((entry.fence.partition().clone(), entry.fence.position()?));
        entries.iter().filter_map(position).collect()
    }

    pub(crate) fn enter(&self, partition: Registered) {
        self.lock().push(partition);
    }

    pub(crate) fn strike(&self, fence: &Fence) {
        self.lock().retain(|entry| entry.fence.incarnation() != fence.incarnation());
    }

    /// Everybody now.
    pub(crate) fn partitions(&self) -> Vec<Registered> {
        self.lock().clone()
    }

    /// Strikes everybody.
    pub(crate) fn take_all(&self) -> Vec<Registered> {
        std::mem::take(&mut *self.lock())
    }

    /// Has every partition send again what it has in hand.
    pub(crate) fn begin_again(&self) {
        for entry in self.lock().iter() {
            // One that ended meanwhile has nothing in hand.
            let _ = entry.again.try_send(BeginAgain);
        }
    }

    /// Notes that a partition was let go with work in hand.
    pub(crate) fn leave_to_rest(&self, fence: Arc<Fence>) {
        self.to_rest.lock().unwrap_or_else(PoisonError::into_inner).push(fence);
    }

    /// Takes those that were let go with work in hand.
    pub(crate) fn take_to_rest(&self) -> Vec<Arc<Fence>> {
        std::mem::take(&mut *self.to_rest.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Registered>> {
        self.partitions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
