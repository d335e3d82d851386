//! WorkerActor: runs the user's code on a part of a batch. Takes work chunks, gives worked ones
//! with their rows encoded; a panic in user code becomes that record's rejection.

use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use actix::prelude::*;
use hashbrown::HashSet;
use tokio::time::Instant;

use crate::batch::{ChunkRecords, GivenUp, Parcel, Rejection, WorkChunk, WorkedChunk};
use crate::decode::rejected_by_panic;
use crate::decoded::Entry;
use crate::error::{Reject, RetryLater, Unworked};
use crate::faults;
use crate::health::Signs;
use crate::parked::{ParkAs, WAITS};
use crate::persister::Persisters;
use crate::pipeline::{Order, Out, Outcome, Pipeline};
use crate::record::Offset;
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
        let mut work = ChunkWork {
            worked: WorkedChunk::new(batch, (chunk.piece, chunk.pieces), rows),
            held: HashSet::new(),
        };
        // Broken off, the batch was given up, and what was worked of it goes nowhere.
        let _ = chunk.loaded.events.view(|parcel, entries| {
            let mut settle = |record: u32| self.settle(record, parcel, entries, chunk, &mut work);
            match &chunk.records {
                ChunkRecords::Range(range) => range.clone().try_for_each(&mut settle),
                ChunkRecords::Listed(records) => records.iter().copied().try_for_each(&mut settle),
            }
        });
        work.worked
    }

    /// Works one record and notes what came of it. Breaks off if the batch cannot go on.
    fn settle(
        &self,
        record: u32,
        parcel: &Parcel,
        entries: &[Entry<P::Event<'_>>],
        chunk: &WorkChunk<P>,
        work: &mut ChunkWork,
    ) -> ControlFlow<()> {
        let offset = parcel.arena.get(record as usize).offset;
        self.post.pulse().take_up(offset.0);
        let (entry, worked) = (&entries[record as usize], &mut work.worked);
        let outcome = match entry {
            Entry::Event { lane, .. } if work.held.contains(lane) => Err(Unsettled::Waits),
            Entry::Event { event, .. } => self
                .work_one(event, &chunk.loaded.context, record, &mut worked.rows)
                .map_err(Unsettled::Unworked),
            Entry::Skip(reason) => Ok(Outcome::Skip(reason)),
            Entry::Reject(reject) => Err(Unsettled::Unworked((**reject).clone().into())),
            Entry::Wait => Err(Unsettled::Waits),
        };
        match outcome {
            Ok(Outcome::Save) => worked.to_save += 1,
            Ok(Outcome::Skip(_)) => worked.skipped.push(record),
            Ok(Outcome::Duplicate) => worked.duplicate.push(record),
            Err(unsettled) => {
                if let (Unsettled::Unworked(Unworked::RetryLater(_)), Entry::Event { lane, .. }) =
                    (&unsettled, entry)
                    && self.order == Order::ByKey
                {
                    work.held.insert(*lane);
                }
                return self.put_aside(record, offset, unsettled, worked);
            }
        }
        ControlFlow::Continue(())
    }

    /// What becomes of a record that was not settled.
    fn put_aside(
        &self,
        record: u32,
        offset: Offset,
        unsettled: Unsettled,
        worked: &mut WorkedChunk,
    ) -> ControlFlow<()> {
        let (reject, park) = match unsettled {
            Unsettled::Waits => (Reject::new(WAITS, String::new()), ParkAs::Waiting),
            Unsettled::Unworked(Unworked::Reject(reject)) => (reject, ParkAs::Dead),
            Unsettled::Unworked(Unworked::RetryLater(later)) => {
                if self.order == Order::ByPartition {
                    worked.batch.give_up(GivenUp::Later { offset, later });
                    return ControlFlow::Break(());
                }
                let RetryLater { reason, error, after } = later;
                (Reject { reason, error }, ParkAs::Retrying(after))
            }
            Unsettled::Unworked(Unworked::Stop(stop)) => {
                let reason = format!("offset {offset}: {stop}");
                worked.batch.give_up(GivenUp::Stopped { reason });
                return ControlFlow::Break(());
            }
        };
        worked.rejections.push(Rejection { record, reject, park });
        ControlFlow::Continue(())
    }

    fn work_one(
        &self,
        event: &P::Event<'_>,
        known: &P::Context,
        record: u32,
        rows: &mut RowBuffer,
    ) -> Result<Outcome, Unworked> {
        let worked = catch_unwind(AssertUnwindSafe(|| {
            let mut out = Out::<P::Rows>::new(rows, record);
            let outcome = self.pipeline.work(event, known, &mut out);
            out.close(outcome)
        }));
        worked.unwrap_or_else(|panic| {
            rows.take_back(record);
            Err(rejected_by_panic("work", &*panic).into())
        })
    }
}

/// A part of a batch that is being worked.
struct ChunkWork {
    worked: WorkedChunk,
    /// Lanes of which a record is to be tried again: what comes behind it is not worked. By their
    /// hash: a record of another lane that has the same one waits for nothing, and comes at once.
    held: HashSet<u64>,
}

/// A record with nothing to show for it.
enum Unsettled {
    /// It comes behind one of its lane that is to be tried again.
    Waits,
    /// By the user's word.
    Unworked(Unworked),
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
            // Broken off, it must not be taken for all of its part.
            if !worked.batch.is_over() {
                self.persisters.forward(worked);
            }
        }
        chunk.done();
    }
}
