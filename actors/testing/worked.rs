//! Batches as they reach the store, made from records without any actor.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use actix::{Actor, Context, Handler};
use futures_util::FutureExt;
use tokio::time::Instant;

use crate::arena::{RecordArena, RecordParts};
use crate::batch::{
    Batch, BatchGivenUp, BatchNumber, BatchSaved, Held, Home, Parcel, Rejection, WorkedBatch,
    WorkedChunk,
};
use crate::custody::{Custody, InHand};
use crate::error::{Reject, RetryLater, Unworked};
use crate::fence::Fence;
use crate::format::Format;
use crate::lanes::LaneKeys;
use crate::parked::{DueBatch, ParkAs, ParkedRef};
use crate::pipeline::{Out, Outcome, Pipeline};
use crate::record::{NextOffset, Offset, Record, Unparsed};
use crate::rows::{RowBuffer, RowSet};
use crate::ticket::{Budget, BudgetLimits};
use crate::trip::Trip;

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
    /// Whether its records are in lanes.
    pub by_key: bool,
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
    let arena = RecordArena::with_capacity(given.values.len(), 0, Format::Json);
    let mut arena = arena.of(given.fence.partition());
    for (offset, value) in (given.from..).zip(&given.values) {
        let value = value.as_deref();
        let key = Some(&b"key"[..]);
        arena.push(RecordParts { offset: Offset(offset), timestamp_ms: Some(offset), key, value });
        arena.push_header(b"test", Some(b"1"));
    }
    let range = (NextOffset(given.from), NextOffset(given.to));
    let records = Records { arena, range, parked: None, by_key: given.by_key };
    work_records(pipeline, known, given.fence, records, given.pieces, home)
}

/// Works parked records that came back, as the stages of the house do.
///
/// # Panics
/// If the fence has no position.
pub fn work_due<P: Pipeline>(
    pipeline: &P,
    known: &P::Context,
    (fence, due): (&Arc<Fence>, DueBatch),
    by_key: bool,
    home: Home,
) -> WorkedBatch {
    let at = fence.position().expect("the fence is held").expected;
    let (arena, parked) = (due.arena, Some(due.rows.into()));
    let records = Records { arena, range: (at, at), parked, by_key };
    work_records(pipeline, known, fence, records, 1, home)
}

/// The records of a batch to be worked.
struct Records {
    arena: RecordArena,
    range: (NextOffset, NextOffset),
    parked: Option<Arc<[ParkedRef]>>,
    by_key: bool,
}

fn work_records<P: Pipeline>(
    pipeline: &P,
    known: &P::Context,
    fence: &Arc<Fence>,
    records: Records,
    pieces: u32,
    home: Home,
) -> WorkedBatch {
    let Records { arena, range, parked, by_key } = records;
    let mut lanes = LaneKeys::default();
    if by_key {
        arena.iter().for_each(|record| lanes.push(lane_of(pipeline, &record).as_deref()));
    }
    let batch = batch_of(fence, parcel_of(arena), (range, parked), lanes, home);
    let pieces = pieces.max(1);
    let chunks = (0..pieces).map(|piece| work_piece(pipeline, known, &batch, piece, pieces));
    WorkedBatch { chunks: chunks.collect(), batch }
}

/// Records under a ticket of their own.
pub(super) fn parcel_of(arena: RecordArena) -> Arc<Parcel> {
    let limits = BudgetLimits { records: u64::MAX, bytes: u64::MAX, batches: 1 };
    let ticket = Budget::new(limits).try_take(0, 0).expect("there is room");
    Arc::new(Parcel::new(arena, ticket))
}

/// The batch of `parcel`, which covers `range`, under the fence's current attempt.
pub(super) fn batch_of(
    fence: &Arc<Fence>,
    parcel: Arc<Parcel>,
    (range, parked): ((NextOffset, NextOffset), Option<Arc<[ParkedRef]>>),
    lanes: LaneKeys,
    home: Home,
) -> Arc<Batch> {
    let position = fence.position().expect("the fence is held");
    let records = parcel.arena.len() as u64;
    let custody = match parked {
        None => Custody::take(fence.clone(), InHand::default(), records),
        Some(_) => Custody::take_parked(fence.clone(), records),
    };
    let attempt_and_turn = (position.attempt, position.turn);
    let (number, since, (from, to)) = (BatchNumber::next(), Instant::now(), range);
    let (whole, trip) = (number, Trip::begin());
    let held = Held { number, whole, parcel, custody, from, to, since, parked, trip };
    Arc::new(Batch::new(fence.clone(), held, lanes, attempt_and_turn, home))
}

fn lane_of<P: Pipeline>(pipeline: &P, record: &Record<'_>) -> Option<Vec<u8>> {
    let event = pipeline.parse(record).ok()?;
    let mut lane = Vec::new();
    pipeline.lane_key(&event, record, &mut lane);
    Some(lane)
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
    let rows = Rc::new(RefCell::new(RowBuffer::new(P::Rows::TABLES.len())));
    let mut chunk = WorkedChunk::new(batch.clone(), (piece, pieces), RowBuffer::default());
    for record in start..end {
        let mut out = Out::new(rows.clone(), record);
        let parts = batch.parcel.arena.get(record as usize);
        let outcome = work_record(pipeline, known, &parts, &mut out);
        match out.close(outcome) {
            Ok(Outcome::Save) => chunk.to_save += 1,
            Ok(Outcome::Skip(_)) => chunk.skipped.push(record),
            Ok(Outcome::Duplicate) => chunk.duplicate.push(record),
            Err(unworked) => {
                let (reject, park) = match unworked {
                    Unworked::Reject(reject) => (reject, ParkAs::Dead),
                    Unworked::RetryLater(RetryLater { reason, error, after }) => {
                        (Reject { reason, error }, ParkAs::Retrying(after))
                    }
                    Unworked::Stop(stop) => panic!("{stop}"),
                };
                chunk.rejections.push(Rejection { record, reject, park });
            }
        }
    }
    chunk.rows = rows.take();
    chunk
}

fn work_record<'a, P: Pipeline>(
    pipeline: &P,
    known: &P::Context,
    record: &Record<'a>,
    out: &mut Out<'a, P::Rows>,
) -> Result<Outcome, Unworked> {
    match pipeline.parse(record) {
        Ok(event) => {
            let work = pipeline.work(&event, known, out);
            work.now_or_never().expect("a batch that is made by hand waits for nothing")
        }
        Err(Unparsed::Skip(reason)) => Ok(Outcome::Skip(reason)),
        Err(Unparsed::Reject(error)) => Err(Reject::new("unreadable record", error).into()),
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
