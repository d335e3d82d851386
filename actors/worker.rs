//! WorkerActor: runs the user's code on a part of a batch. Takes work chunks, gives worked ones
//! with their rows encoded; a panic in user code becomes that record's rejection.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use actix::prelude::*;
use tokio::time::Instant;

use crate::batch::{ChunkRecords, Parcel, Rejection, WorkChunk, WorkedChunk};
use crate::decode::rejected_by_panic;
use crate::decoded::Entry;
use crate::error::Reject;
use crate::faults;
use crate::health::Signs;
use crate::persister::Persisters;
use crate::pipeline::{Order, Out, Outcome, Pipeline};
use crate::rows::{RowBuffer, RowSet};
use crate::stages;
use crate::supervise::{Post, Watched};

/// See the module.
pub struct WorkerActor<P: Pipeline> {
    pipeline: Arc<P>,
    order: Order,
    persisters: Persisters,
    post: Post,
}

impl<P: Pipeline> WorkerActor<P> {
    pub(crate) fn new(pipeline: Arc<P>, order: Order, persisters: Persisters, post: Post) -> Self {
        Self { pipeline, order, persisters, post }
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
        self.post.pulse().take_up(parcel.arena.get(record as usize).offset.0);
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
        self.post.take_up(self, ctx);
    }
}

impl<P: Pipeline> Watched for WorkerActor<P> {
    fn post(&self) -> &Post {
        &self.post
    }

    fn signs(&self) -> Signs {
        // Between two messages there is nothing; what happens within one, the pulse tells.
        Signs::default()
    }
}

impl<P: Pipeline> Handler<WorkChunk<P>> for WorkerActor<P> {
    type Result = ();

    fn handle(&mut self, chunk: WorkChunk<P>, _: &mut Context<Self>) {
        faults::point("WorkerActor", "WorkChunk");
        if chunk.loaded.batch.is_current() {
            self.post.pulse().turn_to(Some(chunk.loaded.batch.fence.partition()));
            let began = Instant::now();
            let worked = self.work_chunk(&chunk);
            stages::WORK.took(began.elapsed());
            self.post.pulse().turn_to(None);
            self.persisters.forward(worked);
        }
        chunk.done();
    }
}
