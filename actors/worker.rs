//! WorkerActor: runs the user's code on a part of a batch. Takes work chunks, gives worked ones
//! with their rows encoded; a panic in user code becomes that record's rejection.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use actix::prelude::*;

use crate::batch::{ChunkRecords, Parcel, Rejection, WorkChunk, WorkedChunk};
use crate::decode::rejected_by_panic;
use crate::decoded::Entry;
use crate::error::Reject;
use crate::persister::Persisters;
use crate::pipeline::{Order, Out, Outcome, Pipeline};
use crate::rows::{RowBuffer, RowSet};
use crate::supervise::DownGuard;

/// See the module.
pub struct WorkerActor<P: Pipeline> {
    pipeline: Arc<P>,
    order: Order,
    persisters: Persisters,
    mailbox_chunks: usize,
    _down: DownGuard,
}

impl<P: Pipeline> WorkerActor<P> {
    pub(crate) fn new(
        pipeline: Arc<P>,
        order: Order,
        persisters: Persisters,
        mailbox_chunks: usize,
        down: DownGuard,
    ) -> Self {
        Self { pipeline, order, persisters, mailbox_chunks, _down: down }
    }

    fn work_chunk(&self, chunk: &WorkChunk<P>) -> WorkedChunk {
        let rows = RowBuffer::new(P::Rows::TABLES.len());
        let batch = chunk.loaded.batch.clone();
        let mut worked = WorkedChunk::new(batch, (chunk.piece, chunk.pieces), rows);
        chunk.loaded.events.view(|parcel, entries| match &chunk.records {
            ChunkRecords::Range(range) => {
                range
                    .clone()
                    .for_each(|record| self.settle(record, parcel, entries, chunk, &mut worked));
            }
            ChunkRecords::Listed(records) => {
                records.iter().for_each(|record| {
                    self.settle(*record, parcel, entries, chunk, &mut worked);
                });
            }
        });
        worked
    }

    /// Works one record and counts what came of it.
    fn settle(
        &self,
        record: u32,
        parcel: &Parcel,
        entries: &[Entry<P::Event<'_>>],
        chunk: &WorkChunk<P>,
        worked: &mut WorkedChunk,
    ) {
        let outcome = match &entries[record as usize] {
            Entry::Event { event, .. } => {
                self.work_one(event, &chunk.loaded.context, record, &mut worked.rows)
            }
            Entry::Skip(reason) => Ok(Outcome::Skip(reason)),
            Entry::Reject(reject) => Err((**reject).clone()),
        };
        match outcome {
            Ok(Outcome::Save) => worked.to_save += 1,
            Ok(Outcome::Skip(_)) => worked.skipped += 1,
            Ok(Outcome::Duplicate) => worked.duplicate += 1,
            Err(reject) => {
                let lane_key = self.lane_key(record, parcel, entries);
                worked.rejections.push(Rejection { record, reject, lane_key });
            }
        }
    }

    fn work_one(
        &self,
        event: &P::Event<'_>,
        known: &P::Context,
        record: u32,
        rows: &mut RowBuffer,
    ) -> Result<Outcome, Reject> {
        let worked = catch_unwind(AssertUnwindSafe(|| {
            let mut out = Out::<P::Rows>::new(rows, record);
            let outcome = self.pipeline.work(event, known, &mut out);
            out.close(outcome)
        }));
        worked.unwrap_or_else(|panic| {
            rows.take_back(record);
            Err(rejected_by_panic("work", &*panic))
        })
    }

    /// The lane of a rejected record, for those who come behind it.
    fn lane_key(
        &self,
        record: u32,
        parcel: &Parcel,
        entries: &[Entry<P::Event<'_>>],
    ) -> Option<Vec<u8>> {
        if self.order != Order::ByKey {
            return None;
        }
        let record_view = parcel.arena.get(record as usize);
        let Entry::Event { event, .. } = &entries[record as usize] else {
            return record_view.key.map(<[u8]>::to_vec);
        };
        let mut lane = Vec::new();
        self.pipeline.lane_key(event, &record_view, &mut lane);
        Some(lane)
    }
}

impl<P: Pipeline> Actor for WorkerActor<P> {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        // At most one part of each batch where order binds, else the budget's records in parts.
        ctx.set_mailbox_capacity(self.mailbox_chunks);
    }
}

impl<P: Pipeline> Handler<WorkChunk<P>> for WorkerActor<P> {
    type Result = ();

    fn handle(&mut self, chunk: WorkChunk<P>, _: &mut Context<Self>) {
        if chunk.loaded.batch.is_current() {
            let worked = self.work_chunk(&chunk);
            self.persisters.forward(worked);
        }
    }
}
