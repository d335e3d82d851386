//! A store in memory: offset rows with epochs, rows, parked records, all behind one lock, with a
//! latency and with faults to order.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use hashbrown::{HashMap, HashSet};

use super::offset_row::OffsetRow;
use super::outbox::MemoryOutbox;
use super::own_writes::Accounts;
use super::shelf::{Shelf, ShelvedRecord};
use super::tally::{Tally, TallyContext, TallyKeys};
use super::weather::{Fault, SaveTime, Weather};
use crate::batch::{Batch, WorkedBatch};
use crate::conservation::Settled;
use crate::error::{SaveError, StoreError};
use crate::fence::Fence;
use crate::parked::{DueBatch, RetryPolicy};
use crate::ports::{Acquired, BatchReport, Halt, Holding, Lookups, Seen, SessionId, Store, Stored};
use crate::record::{NextOffset, Offset, PartitionId};
use crate::rows::RowBuffer;

/// A saved row, and the record that wrote it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SavedRow {
    /// The record's partition.
    pub partition: PartitionId,
    /// The record's place.
    pub offset: Offset,
    /// The row as the pipeline encoded it.
    pub bytes: Vec<u8>,
}

#[derive(Default)]
pub(super) struct Content {
    offsets: HashMap<PartitionId, OffsetRow>,
    rows: Vec<SavedRow>,
    pub(super) shelf: Shelf,
    pub(super) accounts: Accounts,
    pub(super) outbox: MemoryOutbox,
    halt: Option<Halt>,
    /// Dead records that stop the pipeline.
    budget: Option<usize>,
    faults: VecDeque<Fault>,
}

/// See the module. Cheap to clone; all clones are one store.
#[derive(Clone, Default)]
pub struct MemoryStore {
    content: Arc<Mutex<Content>>,
    pub(super) weather: Weather,
}

impl MemoryStore {
    /// A store that takes `latency` for each answer.
    pub fn new(latency: Duration) -> Self {
        Self { content: Arc::default(), weather: Weather::new(latency) }
    }

    /// From here on, answers take anything from nothing to a second, and some are refused or lost,
    /// as `seed` has it; `None`: no longer.
    pub fn set_weather(&self, seed: Option<u64>) {
        self.weather.set(seed);
    }

    /// Saves take this long from here on, instead of the latency.
    pub fn set_save_time(&self, save_time: SaveTime) {
        self.weather.set_save_time(save_time);
    }

    /// A query that changes rows: refused before it is carried out, answered, or carried out with
    /// its answer lost.
    pub(super) async fn change<T>(
        &self,
        work: impl FnOnce(&mut Content) -> T,
    ) -> Result<T, StoreError> {
        self.weather.answer_time().await;
        let fault = self.weather.query_fault();
        if fault == Some(Fault::Retry) {
            return Err(StoreError::Retry("refused".to_owned()));
        }
        let answer = work(&mut self.lock());
        match fault {
            None => Ok(answer),
            Some(_) => Err(StoreError::Retry("the answer is lost".to_owned())),
        }
    }

    /// Orders faults for the next saves.
    pub fn order_faults(&self, faults: impl IntoIterator<Item = Fault>) {
        self.lock().faults.extend(faults);
    }

    /// All rows in the order of their saving.
    pub fn rows(&self) -> Vec<SavedRow> {
        self.lock().rows.clone()
    }

    /// All dead records with their reason.
    pub fn parked(&self) -> Vec<(PartitionId, Offset, String)> {
        let dead = self.shelved().into_iter().filter(|record| record.due.is_none());
        dead.map(|record| (record.partition, record.offset, record.reason)).collect()
    }

    /// All parked records.
    pub fn shelved(&self) -> Vec<ShelvedRecord> {
        self.lock().shelf.records.clone()
    }

    /// When parked records come back.
    pub fn set_retry(&self, policy: RetryPolicy) {
        self.lock().shelf.policy = policy;
    }

    /// The stored offset of a partition.
    pub fn next_offset(&self, partition: &PartitionId) -> Option<NextOffset> {
        self.lock().offsets.get(partition).map(|row| row.next_offset)
    }

    /// Has the pipeline read nothing more, or go on, as an operator would.
    pub fn set_halt(&self, halt: Option<Halt>) {
        self.lock().halt = halt;
    }

    /// Stops the pipeline by itself once more than `dead` records are; `None`: never.
    pub fn set_budget(&self, dead: Option<usize>) {
        self.lock().budget = dead;
    }

    /// Moves a stored offset, as an operator would. What was saved from there on is taken along.
    pub fn set(&self, partition: &PartitionId, next_offset: NextOffset) {
        let mut content = self.lock();
        let stays = |of: &PartitionId, at: Offset| of != partition || at.0 < next_offset.0;
        content.rows.retain(|row| stays(&row.partition, row.offset));
        content.shelf.records.retain(|record| stays(&record.partition, record.offset));
        if let Some(row) = content.offsets.get_mut(partition) {
            *row = OffsetRow { epoch: row.epoch + 1, next_offset, ..OffsetRow::default() };
        }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Content> {
        self.content.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Content {
    /// The row of a partition, if it is still as its owner left it.
    pub(super) fn row_of(&mut self, fence: &Fence) -> Option<&mut OffsetRow> {
        let held = fence.position().map(|position| position.epoch);
        self.offsets.get_mut(fence.partition()).filter(|row| Some(row.epoch) == held)
    }

    /// Why a batch may not go; `None` if it may.
    pub(super) fn left_out(&self, batch: &Batch) -> Option<BatchReport> {
        let position = batch.fence.position().filter(|_| batch.is_current());
        let Some(position) = position else { return Some(BatchReport::Stale) };
        let row = &self.offsets[batch.fence.partition()];
        let fits = row.epoch == position.epoch && row.next_offset == batch.from;
        let owner = row.owner.map(|_| "another owner".to_owned());
        (!fits).then_some(BatchReport::Fenced { owner })
    }

    /// Saves a group, or says what each batch would come to without changing anything.
    pub(super) fn save(&mut self, group: &[WorkedBatch], commit: bool) -> Vec<BatchReport> {
        let mut expected: HashMap<PartitionId, NextOffset> = HashMap::new();
        let mut full = HashSet::new();
        let report = |worked: &WorkedBatch, content: &mut Self| {
            let partition = worked.batch.fence.partition().clone();
            let Some(position) =
                worked.batch.fence.position().filter(|_| worked.batch.is_current())
            else {
                return BatchReport::Stale;
            };
            if full.contains(&partition) {
                return BatchReport::Stale;
            }
            let row = content.offsets[&partition].clone();
            let at = *expected.get(&partition).unwrap_or(&row.next_offset);
            if row.epoch != position.epoch || at != worked.batch.from {
                let owner = row.owner.map(|_| "another owner".to_owned());
                return BatchReport::Fenced { owner };
            }
            if let Some(halt) = content.halt.clone().filter(|halt| !halt.is_paused) {
                return BatchReport::Halted(halt);
            }
            if content.shelf.is_overfull(worked) {
                full.insert(partition);
                return BatchReport::LaneFull { reason: "a lane is full".to_owned() };
            }
            expected.insert(partition.clone(), worked.batch.to);
            BatchReport::Saved(content.write(worked, &partition, commit))
        };
        let reports = group.iter().scan(report, |report, worked| Some(report(worked, self)));
        reports.collect()
    }

    fn write(&mut self, worked: &WorkedBatch, partition: &PartitionId, commit: bool) -> Settled {
        let arena = &worked.batch.parcel.arena;
        let (goes, settled) = self.shelf.settle(worked, commit);
        if !commit {
            return settled;
        }
        for chunk in worked.chunks.iter().filter(|_| !arena.is_empty()) {
            let rows = chunk.rows.table(0);
            let rows = (0..rows.len()).map(|row| rows.get(row));
            for row in rows.filter(|row| goes[row.record as usize]) {
                let offset = arena.get(row.record as usize).offset;
                let bytes = row.bytes.to_vec();
                self.rows.push(SavedRow { partition: partition.clone(), offset, bytes });
            }
        }
        let dead = self.shelf.records.iter().filter(|record| record.due.is_none()).count();
        if self.budget.is_some_and(|budget| dead > budget) {
            self.halt = Some(Halt { reason: format!("{dead} are dead"), is_paused: false });
        }
        self.outbox.write(worked, &goes);
        for (lane, records) in self.shelf.changed_lanes(worked) {
            worked.batch.fence.lanes().set(lane, records);
        }
        if let Some(row) = self.offsets.get_mut(partition) {
            row.next_offset = worked.batch.to;
            if !worked.batch.fence.is_careful() {
                (row.deaths, row.named, row.starts) = (0, None, 0);
            }
        }
        settled
    }
}

impl Store for MemoryStore {
    fn acquire<'a>(
        &'a self,
        fences: &'a [Arc<Fence>],
    ) -> BoxFuture<'a, Result<Vec<Acquired>, StoreError>> {
        self.change(move |content| {
            let acquire = |fence: &Arc<Fence>| {
                if !fence.stands() {
                    return Acquired::Fallen;
                }
                let start = OffsetRow::default();
                let row = content.offsets.entry(fence.partition().clone()).or_insert(start);
                let caution = row.caution(fence, &content.shelf);
                let (epoch, next_offset) = row.take(fence);
                let lanes = content.shelf.lanes(fence.partition());
                let halt = content.halt.clone();
                Acquired::Held(Holding { epoch, next_offset, caution, lanes, halt })
            };
            fences.iter().map(acquire).collect()
        })
        .boxed()
    }

    fn reacquire<'a>(&'a self, fence: &'a Fence) -> BoxFuture<'a, Result<Acquired, StoreError>> {
        self.change(move |content| {
            let held = fence.position().map(|position| position.epoch);
            let lanes = content.shelf.lanes(fence.partition());
            let Some(row) = content.offsets.get_mut(fence.partition()) else {
                return Acquired::Refused { reason: "no such row".to_owned() };
            };
            match row.owner {
                Some(owner) if owner == fence.incarnation() && held == Some(row.epoch) => {
                    let (epoch, next_offset) = row.take(fence);
                    Acquired::Held(Holding { epoch, next_offset, lanes, ..Holding::default() })
                }
                Some(owner) if owner != fence.incarnation() => {
                    Acquired::Fenced { owner: Some("another owner".to_owned()) }
                }
                _ => {
                    let (epoch, next_offset) = row.take(fence);
                    Acquired::Moved(Holding { epoch, next_offset, lanes, ..Holding::default() })
                }
            }
        })
        .boxed()
    }

    fn begin_work<'a>(
        &'a self,
        fence: &'a Fence,
        named: Option<Offset>,
    ) -> BoxFuture<'a, Result<bool, StoreError>> {
        self.change(move |content| {
            let Some(row) = content.row_of(fence) else { return false };
            row.starts = if row.named == named { row.starts } else { 0 };
            (row.at_work, row.named) = (true, named);
            true
        })
        .boxed()
    }

    fn rest<'a>(&'a self, fences: &'a [Arc<Fence>]) -> BoxFuture<'a, Result<(), StoreError>> {
        async move {
            self.weather.answer_time().await;
            let mut content = self.lock();
            for fence in fences {
                if let Some(row) = content.row_of(fence) {
                    row.at_work = false;
                }
            }
            Ok(())
        }
        .boxed()
    }

    fn look<'a>(
        &'a self,
        fences: &'a [Arc<Fence>],
    ) -> BoxFuture<'a, Result<Vec<Seen>, StoreError>> {
        async move {
            self.weather.answer_time().await;
            let content = self.lock();
            let look = |fence: &Arc<Fence>| {
                let held = fence.position().map(|position| position.epoch);
                let row = match content.offsets.get(fence.partition()) {
                    Some(row) if row.owner.is_none() => Stored::Moved,
                    Some(row) if row.owner != Some(fence.incarnation()) && held.is_some() => {
                        Stored::Taken { owner: "another owner".to_owned() }
                    }
                    _ => Stored::AsLeft,
                };
                let is_due = content.shelf.due(fence.partition(), 1).is_some();
                Seen { row, is_due, halt: content.halt.clone() }
            };
            Ok(fences.iter().map(look).collect())
        }
        .boxed()
    }

    fn due<'a>(
        &'a self,
        fence: &'a Fence,
        records: usize,
        _bytes: usize,
    ) -> BoxFuture<'a, Result<Option<DueBatch>, StoreError>> {
        async move {
            self.weather.answer_time().await;
            Ok(self.lock().shelf.due(fence.partition(), records))
        }
        .boxed()
    }

    fn save<'a>(
        &'a self,
        _session: SessionId,
        group: &'a [WorkedBatch],
    ) -> BoxFuture<'a, Result<Vec<BatchReport>, SaveError>> {
        async move {
            let records = group.iter().map(|worked| worked.batch.parcel.arena.len()).sum();
            self.weather.save_time(records).await;
            let mut content = self.lock();
            let fault = content.faults.pop_front().or_else(|| self.weather.save_fault());
            let settled = |reports: Vec<BatchReport>| {
                let settled = reports.iter().map(|report| match report {
                    BatchReport::Saved(settled) => Some(*settled),
                    _ => None,
                });
                SaveError::Unknown { message: "ordered".to_owned(), settled: settled.collect() }
            };
            match fault {
                None => Ok(content.save(group, true)),
                Some(Fault::Retry) => Err(SaveError::Retry("ordered".to_owned())),
                Some(Fault::Stop) => Err(SaveError::Stop("ordered".to_owned())),
                Some(Fault::CommittedUnheard) => Err(settled(content.save(group, true))),
                Some(Fault::RolledBackUnheard) => Err(settled(content.save(group, false))),
            }
        }
        .boxed()
    }

    fn save_open<'a>(
        &'a self,
        session: SessionId,
        group: &'a [WorkedBatch],
        changes: &'a RowBuffer,
    ) -> BoxFuture<'a, Result<Vec<BatchReport>, SaveError>> {
        self.save_group(session, group, changes).boxed()
    }

    fn abort(&self, session: SessionId) {
        self.lock().accounts.end(session);
    }
}

impl Lookups<Tally> for MemoryStore {
    fn load(&self, keys: Arc<TallyKeys>) -> BoxFuture<'_, Result<TallyContext, StoreError>> {
        async move {
            self.weather.answer_time().await;
            Ok(TallyContext { keys: keys.0.len() })
        }
        .boxed()
    }
}
