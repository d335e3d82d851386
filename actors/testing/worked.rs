//! Batches as they reach the store, made from records without any actor.

use std::sync::Arc;

use actix::{Actor, Context, Handler};
use tokio::time::Instant;

use crate::arena::{RecordArena, RecordParts};
use crate::batch::{
    Batch, BatchGivenUp, BatchSaved, Held, Home, Parcel, Rejection, WorkedBatch, WorkedChunk,
};
use crate::custody::{Custody, InHand};
use crate::error::Reject;
use crate::fence::Fence;
use crate::format::Format;
use crate::pipeline::{Out, Outcome, Pipeline};
use crate::record::{NextOffset, Offset, Record, Unparsed};
use crate::rows::{RowBuffer, RowSet};
use crate::ticket::{Budget, BudgetLimits};

/// A batch to be worked: records with these values at `from` and the offsets after it.
#[derive(Debug)]
pub struct Given<'a> {
    /// Its assignment.
    pub fence: &'a Arc<Fence>,
    /// Where it begins.
    pub from: i64,
    /// Where it ends; more than its records if offsets behind them hold none.
    pub to: i64,
    /// The values, `None` for a tombstone.
    pub values: Vec<Option<Vec<u8>>>,
    /// The number of chunks that it is worked in.
    pub pieces: u32,
}

/// Works a batch as the stages of the house do, under the fence's current attempt.
///
/// # Panics
/// If the fence has no position.
pub fn work<P: Pipeline>(
    pipeline: &P,
    known: &P::Context,
    given: &Given<'_>,
    home: Home,
) -> WorkedBatch {
    let mut arena = RecordArena::with_capacity(given.values.len(), 0, Format::Json);
    for (offset, value) in (given.from..).zip(&given.values) {
        let value = value.as_deref();
        let key = Some(&b"key"[..]);
        arena.push(RecordParts { offset: Offset(offset), timestamp_ms: Some(offset), key, value });
        arena.push_header(b"test", Some(b"1"));
    }
    let limits = BudgetLimits { records: u64::MAX, bytes: u64::MAX, batches: 1 };
    let ticket = Budget::new(limits).try_take(0, 0).expect("there is room");
    let parcel = Arc::new(Parcel::new(arena, ticket));
    let attempt = given.fence.position().expect("the fence is held").attempt;
    let records = parcel.arena.len() as u64;
    let custody = Custody::take(given.fence.clone(), InHand::default(), records);
    let (from, to) = (NextOffset(given.from), NextOffset(given.to));
    let held = Held { parcel, custody, from, to, since: Instant::now() };
    let batch = Arc::new(Batch::new(given.fence.clone(), held, attempt, home));
    let pieces = given.pieces.max(1);
    let chunks = (0..pieces).map(|piece| work_piece(pipeline, known, &batch, piece, pieces));
    WorkedBatch { chunks: chunks.collect(), batch }
}

fn work_piece<P: Pipeline>(
    pipeline: &P,
    known: &P::Context,
    batch: &Arc<Batch>,
    piece: u32,
    pieces: u32,
) -> WorkedChunk {
    let records = u32::try_from(batch.parcel.arena.len()).expect("a test's batch is small");
    let (start, end) = (records * piece / pieces, records * (piece + 1) / pieces);
    let rows = RowBuffer::new(P::Rows::TABLES.len());
    let mut chunk = WorkedChunk::new(batch.clone(), (piece, pieces), rows);
    for record in start..end {
        let mut out = Out::new(&mut chunk.rows, record);
        let parts = batch.parcel.arena.get(record as usize);
        let outcome = work_record(pipeline, known, &parts, &mut out);
        match out.close(outcome) {
            Ok(Outcome::Save) => chunk.to_save += 1,
            Ok(Outcome::Skip(_)) => chunk.skipped += 1,
            Ok(Outcome::Duplicate) => chunk.duplicate += 1,
            Err(reject) => chunk.rejections.push(Rejection { record, reject, lane_key: None }),
        }
    }
    chunk
}

fn work_record<P: Pipeline>(
    pipeline: &P,
    known: &P::Context,
    record: &Record<'_>,
    out: &mut Out<'_, P::Rows>,
) -> Result<Outcome, Reject> {
    match pipeline.parse(record) {
        Ok(event) => pipeline.work(&event, known, out),
        Err(Unparsed::Skip(reason)) => Ok(Outcome::Skip(reason)),
        Err(Unparsed::Reject(error)) => Err(Reject::new("unreadable record", error)),
    }
}

/// A home for batches that nobody gives up. To be called within an actix system.
pub fn home() -> Home {
    let deaf = Deaf.start();
    Home { saved: deaf.clone().recipient(), given_up: deaf.recipient() }
}

struct Deaf;

impl Actor for Deaf {
    type Context = Context<Self>;
}

impl Handler<BatchGivenUp> for Deaf {
    type Result = ();

    fn handle(&mut self, _: BatchGivenUp, _: &mut Context<Self>) {}
}

impl Handler<BatchSaved> for Deaf {
    type Result = ();

    fn handle(&mut self, _: BatchSaved, _: &mut Context<Self>) {}
}
