//! What stages of the house do with one batch, by themselves: no mailbox, no thread and no other
//! stage beside them. For counting what a record costs there.

use std::sync::Arc;

use futures_util::FutureExt;
use hashbrown::{DefaultHashBuilder, HashMap};

use super::worked::{batch_of, parcel_of};
use crate::arena::RecordArena;
use crate::batch::{ChunkRecords, Home, LoadedBatch, Parcel, WorkChunk, WorkedChunk};
use crate::chunk_work::work_chunk;
use crate::decode::{Decoder, Read, Reading};
use crate::decoded::Decoded;
use crate::desk::{Desk, WorkParams};
use crate::error::Reject;
use crate::fence::Fence;
use crate::health::Pulse;
use crate::in_flight::InFlightLimits;
use crate::persister::Persisters;
use crate::pipeline::{KeysOf, Pipeline};
use crate::record::{NextOffset, Offset, PartitionId};
use crate::workers::CHUNK_RECORDS;

/// The stages of pipeline `P` that user code runs in, for one partition, in the pipeline's order.
pub struct Alone<P: Pipeline> {
    fence: Arc<Fence>,
    decoder: Decoder<P>,
    refused: HashMap<Offset, Reject>,
    desk: Desk<P>,
}

impl<P: Pipeline> Alone<P> {
    /// The stages of `pipeline`, for `partition`.
    pub fn new(pipeline: P, partition: PartitionId) -> Self {
        let (pipeline, order, pulse) = (Arc::new(pipeline), P::ORDER, Pulse::default());
        let fence = Arc::new(Fence::new(partition));
        fence.hold(1, NextOffset(0));
        let decoder = Decoder::new(pipeline.clone(), order, DefaultHashBuilder::default());
        let (limits, nobody) = (InFlightLimits::default(), Persisters::new(Vec::new()));
        let params = Arc::new(WorkParams::new(pipeline, order, limits, nobody));
        let desk = Desk::new(params, pulse);
        Self { fence, decoder, refused: HashMap::new(), desk }
    }

    /// The partition's records, under a ticket.
    pub fn parcel(arena: RecordArena) -> Arc<Parcel> {
        parcel_of(arena)
    }

    /// Reads records as events and gathers what to look up, as a partition does when nothing of it
    /// is parked or refused.
    pub fn decode(&mut self, parcel: Arc<Parcel>) -> (Decoded<P>, KeysOf<P>) {
        let (events, keys, _) = self.read(parcel);
        (events, keys)
    }

    fn read(&mut self, parcel: Arc<Parcel>) -> Read<P> {
        let reading = Reading {
            verdict: None,
            refused: &self.refused,
            held: Some(self.fence.lanes()),
            pulse: &self.desk.pulse,
        };
        self.decoder.decode(parcel, &reading)
    }

    /// A batch of the whole `parcel`, ready to be worked as often as one likes.
    pub fn load(
        &mut self,
        parcel: &Arc<Parcel>,
        context: P::Context,
        home: Home,
    ) -> Arc<LoadedBatch<P>> {
        let (events, _, lanes) = self.read(parcel.clone());
        let to = parcel.arena.end().unwrap_or_default();
        let range = ((NextOffset(0), to), None);
        let batch = batch_of(&self.fence, parcel.clone(), range, lanes, home);
        Arc::new(LoadedBatch { batch, events, context: Arc::new(context) })
    }

    /// Works a batch in parts of [`CHUNK_RECORDS`], one after the other, as one worker does.
    ///
    /// # Panics
    /// If a record waits for something, or stops its partition.
    pub fn work(&self, loaded: &Arc<LoadedBatch<P>>) -> Vec<WorkedChunk> {
        let records = u32::try_from(loaded.batch.parcel.arena.len()).expect("under 4 G records");
        let pieces = records.div_ceil(CHUNK_RECORDS);
        let work = |piece| {
            let start = piece * CHUNK_RECORDS;
            let part = ChunkRecords::Range(start..records.min(start + CHUNK_RECORDS));
            let chunk = WorkChunk::new(loaded.clone(), part, (piece, pieces), 0);
            let worked = work_chunk(&self.desk, &chunk).now_or_never();
            chunk.done();
            worked.flatten().expect("the work waits for nothing")
        };
        (0..pieces).map(work).collect()
    }
}
