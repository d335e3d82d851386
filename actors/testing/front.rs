//! A front without a house behind it: takes batches as a PartitionActor would, checks that each
//! chains to the one before, and keeps the records on a [`Shelf`] that stands for the store.

use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread;

use actix::{Actor, ActorContext, Addr, Arbiter, ArbiterHandle, Context, Handler, Message, System};
use hashbrown::HashMap;

use crate::batch::{HandedInBatch, PolledBatch};
use crate::conservation::Settled;
use crate::door::{Door, Front};
use crate::fence::Fence;
use crate::pace::{Pace, PaceRules};
use crate::ports::{CommitBoard, Source};
use crate::record::{NextOffset, PartitionId, Record};
use crate::supervise::Ender;
use crate::ticket::{Budget, BudgetLimits};

/// The stored offsets and the saved records of one group, shared by all of its members.
#[derive(Clone, Debug, Default)]
pub struct Shelf {
    rows: Arc<Mutex<HashMap<PartitionId, ShelfRow>>>,
}

/// One partition on the shelf.
#[derive(Clone, Debug, Default)]
pub struct ShelfRow {
    /// Added to by each acquire: an older owner saves nothing.
    pub epoch: i64,
    /// The first offset that is not settled.
    pub next_offset: Option<NextOffset>,
    /// The saved records, in the order in which they were saved.
    pub records: Vec<SavedRecord>,
    /// The saved ranges, with the number of their records.
    pub ranges: Vec<(NextOffset, NextOffset, usize)>,
    /// Batches that were fenced, stale, or of an earlier seek.
    pub refused: u64,
    /// Batches that did not begin where the one before ended; always a mistake of the source.
    pub unchained: Vec<(NextOffset, NextOffset)>,
}

/// A record by value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SavedRecord {
    /// Its place.
    pub offset: i64,
    /// Its time.
    pub timestamp_ms: Option<i64>,
    /// Its key.
    pub key: Option<Vec<u8>>,
    /// Its value.
    pub value: Option<Vec<u8>>,
    /// Its headers.
    pub headers: Vec<(Vec<u8>, Option<Vec<u8>>)>,
}

impl Shelf {
    /// One partition, as it is now.
    pub fn row(&self, partition: &PartitionId) -> ShelfRow {
        self.lock().get(partition).cloned().unwrap_or_default()
    }

    /// The number of saved records in all partitions.
    pub fn num_records(&self) -> usize {
        self.lock().values().map(|row| row.records.len()).sum()
    }

    /// Moves a stored offset, as an operator would.
    pub fn set(&self, partition: &PartitionId, next_offset: NextOffset) {
        let mut rows = self.lock();
        let row = rows.entry(partition.clone()).or_default();
        (row.epoch, row.next_offset) = (row.epoch + 1, Some(next_offset));
    }

    fn acquire(&self, fence: &Fence) -> NextOffset {
        let mut rows = self.lock();
        let row = rows.entry(fence.partition().clone()).or_default();
        row.epoch += 1;
        let next_offset = *row.next_offset.get_or_insert(NextOffset(0));
        fence.hold(row.epoch, next_offset);
        next_offset
    }

    fn save(&self, fence: &Fence, batch: &PolledBatch) -> bool {
        let mut rows = self.lock();
        let row = rows.entry(fence.partition().clone()).or_default();
        let epoch = fence.position().map_or(0, |position| position.epoch);
        if !fence.stands() || epoch != row.epoch || batch.seek != fence.last_seek() {
            row.refused += 1;
            return false;
        }
        if row.next_offset != Some(batch.from) {
            row.unchained.push((batch.from, batch.to));
            return false;
        }
        row.records.extend(batch.parcel.arena.iter().map(|record| own(&record)));
        row.ranges.push((batch.from, batch.to, batch.parcel.arena.len()));
        row.next_offset = Some(batch.to);
        true
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<PartitionId, ShelfRow>> {
        self.rows.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn own(record: &Record<'_>) -> SavedRecord {
    SavedRecord {
        offset: record.offset.0,
        timestamp_ms: record.timestamp_ms,
        key: record.key.map(<[u8]>::to_vec),
        value: record.value.map(<[u8]>::to_vec),
        headers: record.headers.map(|(n, v)| (n.to_vec(), v.map(<[u8]>::to_vec))).collect(),
    }
}

/// A front whose actors save to a shelf.
pub struct CollectingFront {
    shelf: Shelf,
    budget: Budget,
    pace: Pace,
    board: CommitBoard,
    source: Arc<dyn Source>,
    held: Arc<AtomicBool>,
    collectors: Mutex<Vec<(Arc<Fence>, Addr<Collector>)>>,
    arbiter: ArbiterHandle,
    system: System,
    thread: Option<thread::JoinHandle<()>>,
}

impl CollectingFront {
    /// A front with a thread of its own for its actors.
    ///
    /// # Panics
    /// If there is no thread to be had.
    pub fn start(shelf: Shelf, limits: BudgetLimits, source: Arc<dyn Source>) -> Arc<Self> {
        let (send, receive) = mpsc::channel();
        let thread = thread::spawn(move || {
            let runner = System::new();
            send.send((System::current(), Arbiter::current())).expect("the starter waits");
            runner.run().expect("the system runs");
        });
        let (system, arbiter) = receive.recv().expect("the system starts");
        Arc::new(Self {
            shelf,
            pace: Pace::new(PaceRules::fixed(1), Budget::new(limits)),
            budget: Budget::new(limits),
            board: CommitBoard::default(),
            source,
            held: Arc::default(),
            collectors: Mutex::default(),
            arbiter,
            system,
            thread: Some(thread),
        })
    }

    /// Saves nothing from here on, and keeps what comes.
    pub fn hold(&self) {
        self.held.store(true, SeqCst);
    }

    /// Saves what was kept, and what comes.
    pub fn release(&self) {
        self.held.store(false, SeqCst);
        for (_, collector) in self.collectors().iter() {
            let _ = collector.try_send(Release);
        }
    }

    /// The fences of all assignments so far, ended ones too.
    pub fn fences(&self) -> Vec<Arc<Fence>> {
        self.collectors().iter().map(|(fence, _)| fence.clone()).collect()
    }

    /// Takes a standing assignment over again and reads on from the stored offset, as an actor does
    /// that was fenced by an operator.
    pub fn reacquire(&self, partition: &PartitionId) {
        let fences = self.fences();
        let standing = fences.iter().find(|f| f.partition() == partition && f.stands());
        if let Some(fence) = standing {
            let next_offset = self.shelf.acquire(fence);
            self.source.seek(fence, next_offset);
        }
    }

    fn collectors(&self) -> MutexGuard<'_, Vec<(Arc<Fence>, Addr<Collector>)>> {
        self.collectors.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Front for CollectingFront {
    fn assign(&self, partitions: Vec<PartitionId>) -> Vec<Door> {
        let open = |partition| {
            let fence = Arc::new(Fence::new(partition));
            let collector = Collector {
                fence: fence.clone(),
                shelf: self.shelf.clone(),
                board: self.board.clone(),
                held: self.held.clone(),
                waiting: Vec::new(),
                mailbox: self.budget.limits().batches as usize,
            };
            let address = Collector::start_in_arbiter(&self.arbiter, move |_| collector);
            self.collectors().push((fence.clone(), address.clone()));
            let next_offset = self.shelf.acquire(&fence);
            self.source.seek(&fence, next_offset);
            Door::new(fence, address.recipient(), Ender::default())
        };
        partitions.into_iter().map(open).collect()
    }

    fn budget(&self) -> &Budget {
        &self.budget
    }

    fn pace(&self) -> &Pace {
        &self.pace
    }

    fn board(&self) -> &CommitBoard {
        &self.board
    }
}

impl Drop for CollectingFront {
    fn drop(&mut self) {
        self.system.stop();
        if let Some(thread) = self.thread.take() {
            // A panic of the thread was printed there.
            let _ = thread.join();
        }
    }
}

/// Stands for one partition's actor.
struct Collector {
    fence: Arc<Fence>,
    shelf: Shelf,
    board: CommitBoard,
    held: Arc<AtomicBool>,
    waiting: Vec<HandedInBatch>,
    mailbox: usize,
}

/// Saves what was kept.
#[derive(Message)]
#[rtype(result = "()")]
struct Release;

impl Collector {
    fn settle(&mut self) {
        if self.held.load(SeqCst) {
            return;
        }
        for batch in self.waiting.drain(..) {
            let HandedInBatch { polled, custody } = batch;
            if self.shelf.save(&self.fence, &polled) {
                let saved = polled.parcel.arena.len() as u64;
                self.board.leave(self.fence.partition(), polled.to);
                custody.settle(Settled { saved, ..Settled::default() });
            }
        }
    }
}

impl Actor for Collector {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.set_mailbox_capacity(self.mailbox);
    }
}

impl Handler<HandedInBatch> for Collector {
    type Result = ();

    fn handle(&mut self, batch: HandedInBatch, _ctx: &mut Self::Context) {
        self.waiting.push(batch);
        self.settle();
    }
}

impl Handler<Release> for Collector {
    type Result = ();

    fn handle(&mut self, _: Release, ctx: &mut Self::Context) {
        self.settle();
        if !self.fence.stands() {
            ctx.stop();
        }
    }
}
