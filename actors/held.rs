//! The batches that a partition has in hand: in order, each from the end of the one before it, with
//! their records until they are saved. The first ones are on their way, the others wait.

use std::collections::VecDeque;
use std::sync::Arc;

use tokio::time::Instant;

use crate::batch::{HandedInBatch, Held, Parcel, PolledBatch};
use crate::caution;
use crate::custody::Custody;
use crate::record::{NextOffset, Offset};

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct HeldBatches {
    queue: VecDeque<Held>,
    /// How many of them are on their way.
    sent: usize,
    /// The place to which records were handed in.
    handed_in: NextOffset,
}

impl HeldBatches {
    /// Nothing in hand, and the next batch begins at `position`.
    pub(crate) fn begin_at(&mut self, position: NextOffset) {
        *self = Self { handed_in: position, ..Self::default() };
    }

    /// Takes a batch in, record by record if `singly`. `false`: it does not follow the one before.
    pub(crate) fn take_in(&mut self, batch: HandedInBatch, singly: bool) -> bool {
        let HandedInBatch { polled: PolledBatch { parcel, from, to, .. }, custody } = batch;
        if from != self.handed_in || to < from {
            return false;
        }
        if singly && parcel.arena.len() > 1 {
            let parcels = caution::one_by_one(&parcel);
            let custodies = custody.divide(parcels.len());
            let last = parcels.len() - 1;
            for (index, (parcel, custody)) in parcels.into_iter().zip(custodies).enumerate() {
                let end = if index == last { Some(to) } else { parcel.arena.end() };
                self.push(parcel, custody, end.unwrap_or(to));
            }
        } else {
            self.push(parcel, custody, to);
        }
        true
    }

    fn push(&mut self, parcel: Arc<Parcel>, custody: Arc<Custody>, to: NextOffset) {
        let from = std::mem::replace(&mut self.handed_in, to);
        self.queue.push_back(Held { parcel, custody, from, to, since: Instant::now() });
    }

    /// The next batch that may go.
    pub(crate) fn next(&self) -> Option<&Held> {
        self.queue.get(self.sent)
    }

    /// The same; it is on its way from here on.
    pub(crate) fn send_next(&mut self) -> Option<Held> {
        let next = self.queue.get(self.sent).cloned()?;
        self.sent += 1;
        Some(next)
    }

    /// Whether any of them is on its way.
    pub(crate) fn is_any_sent(&self) -> bool {
        self.sent > 0
    }

    /// The first record of the first batch.
    pub(crate) fn first_record(&self) -> Option<Offset> {
        let arena = &self.queue.front()?.parcel.arena;
        (!arena.is_empty()).then(|| arena.get(0).offset)
    }

    /// Whether the first batch ends at `to`: then it is saved, and out of hand.
    pub(crate) fn saved(&mut self, to: NextOffset) -> Option<Held> {
        let saved = self.queue.pop_front_if(|held| held.to == to)?;
        self.sent = self.sent.saturating_sub(1);
        Some(saved)
    }

    /// Everything before `saved_to` is committed; the rest has to be sent again.
    ///
    /// # Errors
    /// The end of the batches before, if `saved_to` is not the end of one.
    pub(crate) fn settle_up_to(&mut self, saved_to: NextOffset) -> Result<(), NextOffset> {
        while let Some(held) = self.queue.pop_front_if(|held| held.to <= saved_to) {
            held.custody.committed();
        }
        self.sent = 0;
        let next = self.queue.front().map_or(self.handed_in, |held| held.from);
        if next == saved_to { Ok(()) } else { Err(next) }
    }

    /// Lets all of them go: whoever owns the partition next reads them again.
    pub(crate) fn let_go(&mut self) {
        self.queue.clear();
        self.sent = 0;
    }

    pub(crate) fn len(&self) -> usize {
        self.queue.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Since when the oldest one is in hand.
    pub(crate) fn oldest(&self) -> Option<Instant> {
        self.queue.front().map(|held| held.since)
    }
}
