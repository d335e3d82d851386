//! The door of the house, as the consumer thread sees it: [`Front`] opens a [`Door`] for each
//! assigned partition, a door takes polled batches and is closed when the partition is let go.

use std::sync::Arc;

use actix::Recipient;
use actix::prelude::SendError;

use crate::batch::{HandedInBatch, PolledBatch};
use crate::custody::{Custody, InHand};
use crate::fence::Fence;
use crate::pace::Pace;
use crate::ports::CommitBoard;
use crate::record::PartitionId;
use crate::supervise::Ender;
use crate::ticket::Budget;

/// The front of a house, for the one thread that reads. No call waits.
pub trait Front: Send + Sync + 'static {
    /// Starts a PartitionActor for each partition and has them acquired, off this thread. For each
    /// acquired one the source is told where to seek ([`crate::ports::Source::seek`]).
    fn assign(&self, partitions: Vec<PartitionId>) -> Vec<Door>;

    /// The tickets of this house.
    fn budget(&self) -> &Budget;

    /// How fast this house goes just now.
    fn pace(&self) -> &Pace;

    /// Where saved positions are left for Kafka's own committed offsets.
    fn board(&self) -> &CommitBoard;
}

/// One assigned partition's way into the house.
#[derive(Debug)]
pub struct Door {
    fence: Arc<Fence>,
    actor: Recipient<HandedInBatch>,
    end: Ender,
    in_hand: InHand,
}

impl Door {
    /// A door to `actor`, which `end` ends.
    pub fn new(fence: Arc<Fence>, actor: Recipient<HandedInBatch>, end: Ender) -> Self {
        Self { fence, actor, end, in_hand: InHand::default() }
    }

    /// The assignment behind this door.
    pub fn fence(&self) -> &Arc<Fence> {
        &self.fence
    }

    /// Lets the partition go: nothing of it begins a transaction from here on, and its actor ends.
    pub fn close(&self) {
        self.fence.fall();
        self.end.end();
    }

    /// Batches handed in and not yet settled. None of them: this partition is drained.
    pub fn batches_in_hand(&self) -> usize {
        self.in_hand.get()
    }

    /// Hands a batch in. `false`: the actor is gone, the batch is given up and is to be read again
    /// by whoever takes its place.
    pub fn submit(&self, polled: PolledBatch) -> bool {
        let records = polled.parcel.arena.len() as u64;
        let custody = Custody::take(self.fence.clone(), self.in_hand.clone(), records);
        match self.actor.try_send(HandedInBatch { polled, custody }) {
            Ok(()) => true,
            Err(SendError::Closed(_)) => false,
            Err(SendError::Full(_)) => {
                // Tickets bound the mailbox; see the capacity in `topology.rs`.
                let partition = self.fence.partition();
                tracing::error!(%partition, "a partition's mailbox is full: this is a bug");
                false
            }
        }
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        self.close();
    }
}
