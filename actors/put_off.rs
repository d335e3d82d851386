//! Lanes of which a record was put off just now: what lies behind it is not worked, in whichever
//! batch. Batches that are decoded after it was parked know it themselves; see
//! [`crate::lanes::HeldLanes`].

use std::cell::RefCell;
use std::sync::Arc;

use hashbrown::HashMap;

use crate::batch::Batch;
use crate::fence::Fence;

/// Notes that are kept before those of no use are looked for.
const NOTES: usize = 4096;

/// The notes of one worker: lanes meet the same one.
#[derive(Debug, Default)]
pub(crate) struct PutOff(RefCell<HashMap<(u64, u64), Note>>);

/// Who put a record of the lane off last.
#[derive(Debug)]
struct Note {
    fence: Arc<Fence>,
    attempt: u32,
    turn: u32,
}

impl PutOff {
    /// A record of `batch` in the lane with this hash was put off.
    pub(crate) fn note(&self, batch: &Batch, lane: u64) {
        let mut notes = self.0.borrow_mut();
        if notes.len() >= NOTES {
            notes.retain(|_, note| note.is_current());
        }
        let (fence, attempt, turn) = (batch.fence.clone(), batch.attempt, batch.turn);
        notes.insert((fence.incarnation(), lane), Note { fence, attempt, turn });
    }

    /// Whether a record of `batch` in that lane waits. Parked records that come back wait for each
    /// other alone.
    pub(crate) fn holds(&self, batch: &Batch, lane: u64) -> bool {
        let notes = self.0.borrow();
        notes.get(&(batch.fence.incarnation(), lane)).is_some_and(|note| {
            let is_before = note.turn < batch.turn && batch.parked.is_none();
            note.attempt == batch.attempt && (note.turn == batch.turn || is_before)
        })
    }

    /// A record of `batch` in that lane was worked to its end. If it is one that came back, what is
    /// read from here on need not wait.
    pub(crate) fn settled(&self, batch: &Batch, lane: u64) {
        if batch.parked.is_some() {
            self.0.borrow_mut().remove(&(batch.fence.incarnation(), lane));
        }
    }
}

impl Note {
    fn is_current(&self) -> bool {
        let position = self.fence.position().filter(|_| self.fence.stands());
        position.is_some_and(|position| position.attempt == self.attempt)
    }
}
