//! The door of the house, as the consumer thread sees it: [`Front`] opens a [`Door`] for each
//! assigned partition, a door takes polled batches and is closed when the partition is let go.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use actix::Recipient;
use actix::prelude::SendError;

use crate::batch::PolledBatch;
use crate::fence::Fence;
use crate::ports::CommitBoard;
use crate::record::PartitionId;
use crate::ticket::Budget;

/// The front of a house, for the one thread that reads. No call waits.
pub trait Front: Send + Sync + 'static {
    /// Starts a PartitionActor for each partition and has them acquired, off this thread. For each
    /// acquired one the source is told where to seek ([`crate::ports::Source::seek`]).
    fn assign(&self, partitions: Vec<PartitionId>) -> Vec<Door>;

    /// The tickets of this house.
    fn budget(&self) -> &Budget;

    /// Where saved positions are left for Kafka's own committed offsets.
    fn board(&self) -> &CommitBoard;
}

/// One assigned partition's way into the house.
#[derive(Debug)]
pub struct Door {
    fence: Arc<Fence>,
    actor: Recipient<PolledBatch>,
    in_hand: InHand,
}

impl Door {
    /// A door to `actor`, which counts what it holds in `in_hand`.
    pub(crate) fn new(fence: Arc<Fence>, actor: Recipient<PolledBatch>, in_hand: InHand) -> Self {
        Self { fence, actor, in_hand }
    }

    /// The assignment behind this door.
    pub fn fence(&self) -> &Arc<Fence> {
        &self.fence
    }

    /// Batches handed in and not yet settled. None of them: this partition is drained.
    pub fn batches_in_hand(&self) -> usize {
        self.in_hand.0.load(SeqCst)
    }

    /// Hands a batch in. `false`: the actor is gone, the batch is given up and is to be read again
    /// by the partition's next assignment.
    pub fn submit(&self, batch: PolledBatch) -> bool {
        let records = batch.parcel.arena.len() as u64;
        self.fence.counts().add_read(records);
        self.in_hand.0.fetch_add(1, SeqCst);
        match self.actor.try_send(batch) {
            Ok(()) => true,
            Err(SendError::Closed(_)) => {
                self.give_up(records);
                false
            }
            Err(SendError::Full(_)) => {
                // Tickets bound the mailbox; see the capacity in `partition.rs`.
                let partition = self.fence.partition();
                tracing::error!(%partition, "a partition's mailbox is full");
                self.give_up(records);
                false
            }
        }
    }

    fn give_up(&self, records: u64) {
        self.fence.counts().add_given_up(records);
        self.in_hand.0.fetch_sub(1, SeqCst);
    }
}

impl Drop for Door {
    /// Lets the partition go: nothing of it begins a transaction from here on, and its actor ends.
    fn drop(&mut self) {
        self.fence.fall();
    }
}

/// The number of batches a partition holds, shared by its door and its actor.
#[derive(Clone, Debug, Default)]
pub(crate) struct InHand(Arc<AtomicUsize>);

impl InHand {
    pub(crate) fn settle(&self, batches: usize) {
        self.0.fetch_sub(batches, SeqCst);
    }
}
