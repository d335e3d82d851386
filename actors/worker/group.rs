//! How a worker works a group: record after record, so that each sees what the ones before it have
//! changed.

use std::sync::Arc;

use actix::prelude::*;
use futures_util::future::LocalBoxFuture;
use tokio::task::unconstrained;
use tokio::time::Instant;

use super::WorkerActor;
use crate::batch::{Batch, ChunkRecords, LoadedBatch, WorkChunk, WorkedBatch};
use crate::chunk_work::work_chunk;
use crate::desk::Desk;
use crate::faults;
use crate::group::{self, LoadedGroup, WorkedGroup};
use crate::pipeline::{Context as _, Pipeline};

/// The batches of a group; and the group, unless it was broken off.
type Worked = (Vec<Arc<Batch>>, Option<WorkedGroup>);

impl<P: Pipeline> Handler<LoadedGroup<P>> for WorkerActor<P> {
    type Result = ();

    fn handle(&mut self, group: LoadedGroup<P>, ctx: &mut Context<Self>) {
        faults::point("WorkerActor", "LoadedGroup");
        if group.batches.iter().all(|(batch, _)| batch.is_current()) {
            return self.begin(self.work_group(group), Self::hand_group_on, ctx);
        }
        // Its transaction ends with it; those that still stand go again.
        group::give_back(group.batches.iter().map(|(batch, _)| batch));
    }
}

impl<P: Pipeline> WorkerActor<P> {
    fn work_group(&self, group: LoadedGroup<P>) -> LocalBoxFuture<'static, Worked> {
        let desk = self.desk.clone();
        Box::pin(unconstrained(async move {
            let batches = group.batches.iter().map(|(batch, _)| batch.clone()).collect();
            (batches, work_all(&desk, group).await)
        }))
    }

    fn hand_group_on(&self, (batches, worked): Worked, began: Instant) {
        self.note_worked(began);
        match worked.filter(|_| !batches.iter().any(|batch| batch.is_over())) {
            Some(worked) => self.desk.params.persisters.forward_group(worked),
            None => group::give_back(batches.iter()),
        }
    }
}

/// Works all batches of a group, one after the other. `None`: one of them was broken off.
async fn work_all<P: Pipeline>(desk: &Desk<P>, group: LoadedGroup<P>) -> Option<WorkedGroup> {
    let LoadedGroup { batches, context, session } = group;
    let (mut worked, context, mut first) = (Vec::new(), Arc::new(context), 0);
    for (batch, events) in batches {
        desk.pulse.turn_to(Some(batch.fence.partition()));
        let records = u32::try_from(batch.parcel.arena.len()).expect("under 4 G records");
        let loaded = LoadedBatch { batch: batch.clone(), events, context: context.clone() };
        let whole = ChunkRecords::Range(0..records);
        let chunk = WorkChunk::new(Arc::new(loaded), whole, (0, 1), first);
        let made = work_chunk(desk, &chunk).await;
        chunk.done();
        worked.push(WorkedBatch { batch, chunks: vec![made?] });
        first += records;
    }
    context.take_back();
    Some(WorkedGroup { batches: worked, changes: context.changes(), session })
}
