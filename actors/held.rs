//! The batches that a partition has in hand: in order, each from the end of the one before it, with
//! their records until they are saved. The first ones are on their way, the others wait.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use tokio::time::Instant;

use crate::batch::{BatchNumber, HandedInBatch, Held, Parcel, PolledBatch};
use crate::custody::Custody;
use crate::parked::ParkedRef;
use crate::record::{NextOffset, Offset};
use crate::trip::Trip;

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

    /// Takes a batch in, in parts of `most` records. `false`: it does not follow the one before.
    pub(crate) fn take_in(&mut self, batch: HandedInBatch, most: usize) -> bool {
        let HandedInBatch { polled: PolledBatch { parcel, from, to, .. }, custody } = batch;
        if from != self.handed_in || to < from {
            return false;
        }
        self.handed_in = to;
        let since = Instant::now();
        let number = BatchNumber::next();
        let (whole, parked, trip) = (number, None, Trip::begin());
        self.queue.push_back(Held {
            number,
            whole,
            parcel,
            custody,
            from,
            to,
            since,
            parked,
            trip,
        });
        self.cut_to(self.queue.len() - 1, most);
        true
    }

    /// Takes in records that were parked: they go before everything that is not on its way yet.
    pub(crate) fn take_in_parked(
        &mut self,
        parcel: Arc<Parcel>,
        custody: Arc<Custody>,
        rows: Arc<[ParkedRef]>,
    ) {
        let at = self.queue.get(self.sent).map_or(self.handed_in, |next| next.from);
        let (number, from, to) = (BatchNumber::next(), at, at);
        let (whole, since, parked, trip) = (number, Instant::now(), Some(rows), Trip::begin());
        let held = Held { number, whole, parcel, custody, from, to, since, parked, trip };
        self.queue.insert(self.sent, held);
    }

    /// Nothing is on its way any more. Whoever waits for another pass must not keep one: somebody
    /// may wait to be alone.
    pub(crate) fn unsend(&mut self) {
        self.sent = 0;
        self.queue.iter().for_each(|held| held.custody.give_back_pass());
    }

    /// Cuts everything in hand into parts of `most` records; nothing of it is on its way any more.
    pub(crate) fn cut_all(&mut self, most: usize) {
        self.sent = 0;
        for index in (0..self.queue.len()).rev() {
            self.cut_to(index, most);
        }
    }

    /// Cuts the batch that has the record at `offset` in two: what is before it goes by itself.
    pub(crate) fn cut_before(&mut self, offset: Offset) {
        self.sent = 0;
        let has_it =
            |held: &Held| held.parked.is_none() && held.from.0 <= offset.0 && offset.0 < held.to.0;
        let Some(index) = self.queue.iter().position(has_it) else { return };
        let arena = &self.queue[index].parcel.arena;
        let before = arena.iter().take_while(|record| record.offset < offset).count();
        if before > 0 {
            self.cut(index, &[0..before, before..arena.len()]);
        }
    }

    fn cut_to(&mut self, index: usize, most: usize) {
        let records = self.queue[index].parcel.arena.len();
        if records > most {
            let starts = (0..records).step_by(most);
            let parts: Vec<_> = starts.map(|at| at..records.min(at + most)).collect();
            self.cut(index, &parts);
        }
    }

    /// Puts parts in the place of one batch. All of them share its ticket.
    fn cut(&mut self, index: usize, parts: &[Range<usize>]) {
        let Some(whole) = self.queue.remove(index) else { return };
        let custodies = whole.custody.divide(parts.iter().map(ExactSizeIterator::len));
        let mut from = whole.from;
        for (number, (records, custody)) in parts.iter().zip(custodies).enumerate() {
            let parcel = Arc::new(whole.parcel.part(records.clone()));
            let is_last = number + 1 == parts.len() || whole.parked.is_some();
            let to = parcel.arena.end().filter(|_| !is_last).unwrap_or(whole.to);
            let parked = whole.parked.as_ref().map(|rows| rows[records.clone()].into());
            let part = Held {
                number: BatchNumber::next(),
                whole: whole.whole,
                parcel,
                custody,
                from,
                to,
                since: whole.since,
                parked,
                trip: Trip::begin(),
            };
            self.queue.insert(index + number, part);
            from = to;
        }
    }

    /// The next batch that may go. Of the parts of one batch one is on its way at a time: mailboxes
    /// have room for as many as there are tickets.
    pub(crate) fn next(&self) -> Option<&Held> {
        let next = self.queue.get(self.sent)?;
        let is_alone = !self.queue.iter().take(self.sent).any(|sent| sent.whole == next.whole);
        is_alone.then_some(next)
    }

    /// The same; it is on its way from here on.
    pub(crate) fn send_next(&mut self) -> Option<Held> {
        let next = self.queue.get_mut(self.sent)?;
        next.trip = Trip::begin();
        self.sent += 1;
        Some(next.clone())
    }

    /// Whether any of them is on its way.
    pub(crate) fn is_any_sent(&self) -> bool {
        self.sent > 0
    }

    /// The trips of those that are on their way.
    pub(crate) fn trips(&self) -> impl Iterator<Item = &Trip> {
        self.queue.iter().take(self.sent).map(|held| &held.trip)
    }

    /// The place to which records were handed in.
    pub(crate) fn end(&self) -> NextOffset {
        self.handed_in
    }

    /// Whether records that were parked are in hand.
    pub(crate) fn has_parked(&self) -> bool {
        self.queue.iter().any(|held| held.parked.is_some())
    }

    /// The records of the largest batch that is on its way.
    pub(crate) fn largest_sent(&self) -> usize {
        self.queue.iter().take(self.sent).map(|held| held.parcel.arena.len()).max().unwrap_or(0)
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
            // What was parked is still there if it was not settled, and comes back when it is due.
            if held.parked.is_none() {
                held.custody.committed();
            }
        }
        self.unsend();
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
