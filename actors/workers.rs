//! WorkerPool: cuts a loaded batch into parts and places each with a worker, so that records of
//! one lane meet the same worker in offset order. Takes loaded batches, gives work chunks; a batch
//! without records goes straight on to be saved.

use std::sync::Arc;

use actix::prelude::*;

use crate::batch::{ChunkRecords, LoadedBatch, WorkChunk, WorkedChunk};
use crate::decoded::Entry;
use crate::faults;
use crate::group::LoadedGroup;
use crate::health::Signs;
use crate::persister::Persisters;
use crate::pipeline::{Order, Pipeline};
use crate::rows::{RowBuffer, RowSet};
use crate::stage::Stage;
use crate::supervise::{Post, Watched};

/// Records of a part where the order is free: enough that a message costs nothing beside its work
/// (about 100 ns against hundreds of microseconds), few enough to spread a batch over all workers.
pub const CHUNK_RECORDS: u32 = 1000;

/// The places of one worker.
pub(crate) struct WorkerStages<P: Pipeline> {
    pub(crate) chunks: Stage<WorkChunk<P>>,
    pub(crate) groups: Stage<LoadedGroup<P>>,
}

impl<P: Pipeline> Clone for WorkerStages<P> {
    fn clone(&self) -> Self {
        Self { chunks: self.chunks.clone(), groups: self.groups.clone() }
    }
}

/// The places of the pool.
pub(crate) struct PoolStages<P: Pipeline> {
    pub(crate) batches: Stage<LoadedBatch<P>>,
    pub(crate) groups: Stage<LoadedGroup<P>>,
}

impl<P: Pipeline> Clone for PoolStages<P> {
    fn clone(&self) -> Self {
        Self { batches: self.batches.clone(), groups: self.groups.clone() }
    }
}

/// See the module.
pub struct WorkerPool<P: Pipeline> {
    order: Order,
    /// Downstream.
    workers: Vec<WorkerStages<P>>,
    persisters: Persisters,
    /// The worker that gets the next part, where the order is free.
    next: usize,
    post: Post,
}

impl<P: Pipeline> WorkerPool<P> {
    pub(crate) fn new(
        order: Order,
        workers: Vec<WorkerStages<P>>,
        persisters: Persisters,
        post: Post,
    ) -> Self {
        Self { order, workers, persisters, next: 0, post }
    }

    /// Which records go to which worker.
    fn cut(&mut self, loaded: &LoadedBatch<P>) -> Vec<(usize, ChunkRecords)> {
        let records = u32::try_from(loaded.batch.parcel.arena.len()).expect("under 4 G records");
        match self.order {
            Order::Unordered => (0..records)
                .step_by(CHUNK_RECORDS as usize)
                .map(|start| {
                    self.next = (self.next + 1) % self.workers.len();
                    (self.next, ChunkRecords::Range(start..records.min(start + CHUNK_RECORDS)))
                })
                .collect(),
            Order::ByPartition => {
                let partition = loaded.batch.fence.partition().index.unsigned_abs() as usize;
                vec![(partition % self.workers.len(), ChunkRecords::Range(0..records))]
            }
            Order::ByKey => self.cut_by_lane(loaded),
        }
    }

    fn cut_by_lane(&self, loaded: &LoadedBatch<P>) -> Vec<(usize, ChunkRecords)> {
        let workers = self.workers.len() as u64;
        let mut placed = vec![Vec::new(); self.workers.len()];
        loaded.events.view(|_, entries| {
            for (record, entry) in (0u32..).zip(entries.all) {
                // A record without an event has no lane: any worker may count it.
                let lane = if let Entry::Event { lane, .. } = entry { *lane } else { 0 };
                placed[usize::try_from(lane % workers).unwrap_or(0)].push(record);
            }
        });
        if faults::bug("resend-reversed") && loaded.batch.attempt > 0 {
            placed.iter_mut().for_each(|records| records.reverse());
        }
        let placed = placed.into_iter().enumerate().filter(|(_, records)| !records.is_empty());
        placed.map(|(worker, records)| (worker, ChunkRecords::Listed(records))).collect()
    }
}

impl<P: Pipeline> Actor for WorkerPool<P> {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        self.post.take_up(self, ctx);
    }
}

impl<P: Pipeline> Watched for WorkerPool<P> {
    fn post(&self) -> &Post {
        &self.post
    }

    fn signs(&self) -> Signs {
        Signs::default()
    }
}

impl<P: Pipeline> Handler<LoadedBatch<P>> for WorkerPool<P> {
    type Result = ();

    fn handle(&mut self, loaded: LoadedBatch<P>, _: &mut Context<Self>) {
        faults::point("WorkerPool", "LoadedBatch");
        self.post.pulse().step();
        if !loaded.batch.is_current() {
            return;
        }
        if loaded.batch.parcel.arena.is_empty() {
            let (batch, rows) = (loaded.batch, RowBuffer::new(P::Rows::TABLES.len()));
            let nothing = WorkedChunk::new(batch, (0, 1), rows);
            return self.persisters.forward(nothing);
        }
        let placed = self.cut(&loaded);
        let pieces = u32::try_from(placed.len()).expect("fewer pieces than records");
        let loaded = Arc::new(loaded);
        for (piece, (worker, records)) in (0u32..).zip(placed) {
            let chunk = WorkChunk::new(loaded.clone(), records, (piece, pieces), 0);
            self.workers[worker].chunks.forward(chunk);
        }
    }
}

impl<P: Pipeline> Handler<LoadedGroup<P>> for WorkerPool<P> {
    type Result = ();

    /// A group is one worker's: what a record changes, the next one of any partition must see.
    fn handle(&mut self, group: LoadedGroup<P>, _: &mut Context<Self>) {
        faults::point("WorkerPool", "LoadedGroup");
        self.post.pulse().step();
        self.next = (self.next + 1) % self.workers.len();
        self.workers[self.next].groups.forward(group);
    }
}
