//! One part of a batch on its way through the user's code: record after record, those that wait in
//! flight beside each other, in the order that binds. It is one future, which its worker polls; at
//! its first poll it comes to its end unless a record waits.

use std::future::poll_fn;
use std::ops::ControlFlow;
use std::rc::Rc;
use std::task::Context;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::future::LocalBoxFuture;
use futures_util::stream::FuturesUnordered;
use tokio::sync::{AcquireError, SemaphorePermit};
use tokio::time::{Interval, MissedTickBehavior, interval};

use crate::batch::{ChunkRecords, GivenUp, Rejection, WorkChunk, WorkedChunk};
use crate::decoded::Entry;
use crate::desk::Desk;
use crate::error::{Reject, RetryLater, Unworked};
use crate::in_flight::{Flight, Landed, Place, Worked};
use crate::nearby;
use crate::parcel::Parcel;
use crate::parked::{ParkAs, WAITS};
use crate::pipeline::{Context as PipelineContext, Order, Outcome, Pipeline, SharedRows};
use crate::record::Offset;
use crate::record_work::work_record;
use crate::rows::{RowBuffer, RowSet};
use crate::turns::{Called, Lane, Turn};

/// How often a part that waits looks whether anybody still wants it.
const LOOK_INTERVAL: Duration = Duration::from_millis(50);

/// Works `chunk`. `None`: it was broken off, and what was worked of it goes nowhere.
pub(crate) async fn work_chunk<P: Pipeline>(
    desk: &Desk<P>,
    chunk: &WorkChunk<P>,
) -> Option<WorkedChunk> {
    let (pipeline, known) = (&*desk.params.pipeline, &*chunk.loaded.context);
    let work = chunk.loaded.events.view(|parcel, entries| -> LocalBoxFuture<'_, _> {
        nearby::bring(pipeline, known, &chunk.records, entries.all);
        let begin = |event, record, rows| {
            work_record(pipeline, event, known, (record, chunk.first + record), rows)
        };
        Box::pin(ChunkWork::new((desk, chunk), parcel, entries.all, begin).run())
    });
    work.await
}

/// See the module. `B` begins to work an event, `F` is the work of one.
struct ChunkWork<'c, P: Pipeline, E, B, F> {
    desk: &'c Desk<P>,
    chunk: &'c WorkChunk<P>,
    parcel: &'c Parcel,
    entries: &'c [Entry<E>],
    begin: B,
    /// Records that were taken up, or put into a line.
    taken: usize,
    worked: WorkedChunk,
    /// Places that nobody has.
    places: Vec<Place<F>>,
    flights: FuturesUnordered<Flight<'c, F>>,
    /// Records whose turn has come.
    called: Rc<Called>,
    /// Records in lines.
    in_line: usize,
    /// Whether it may begin with its records.
    is_admitted: bool,
    /// Keeps later batches of the partition from beginning before all of these records did.
    door: Option<Turn>,
    /// For the next record. Who waits for nothing leaves it to the one behind.
    permit: Option<SemaphorePermit<'c>>,
    acquiring: Option<LocalBoxFuture<'c, Result<SemaphorePermit<'c>, AcquireError>>>,
    look: Option<Interval>,
}

impl<'c, P, E, B, F> ChunkWork<'c, P, E, B, F>
where
    P: Pipeline,
    B: Fn(&'c E, u32, SharedRows) -> F,
    F: Future<Output = Worked>,
{
    fn new(
        (desk, chunk): (&'c Desk<P>, &'c WorkChunk<P>),
        parcel: &'c Parcel,
        entries: &'c [Entry<E>],
        begin: B,
    ) -> Self {
        let (batch, piece) = (chunk.loaded.batch.clone(), (chunk.piece, chunk.pieces));
        Self {
            desk,
            chunk,
            parcel,
            entries,
            begin,
            taken: 0,
            worked: WorkedChunk::new(batch, piece, RowBuffer::default()),
            places: Vec::new(),
            flights: FuturesUnordered::new(),
            called: Rc::default(),
            in_line: 0,
            is_admitted: false,
            door: None,
            permit: None,
            acquiring: None,
            look: None,
        }
    }

    async fn run(mut self) -> Option<WorkedChunk> {
        self.knock();
        loop {
            if poll_fn(|context| self.advance(context).into()).await.is_break() {
                return None;
            }
            if self.flights.is_empty() && self.in_line == 0 && self.is_at_its_end() {
                return self.close();
            }
            self.wait().await?;
        }
    }

    /// Begins, or waits until those who came before have begun with all of theirs.
    fn knock(&mut self) {
        let door = self.door_lane();
        self.is_admitted = !door.is_some_and(|door| self.desk.turns.is_taken(door));
        if let Some(door) = door.filter(|_| !self.is_admitted) {
            self.desk.turns.wait(door, &self.called, 0);
        }
    }

    fn door_lane(&self) -> Option<Lane> {
        let incarnation = self.chunk.loaded.batch.fence.incarnation();
        (self.desk.params.order != Order::Unordered).then_some(Lane::Door(incarnation))
    }

    fn lane(&self, hash: u64) -> Option<Lane> {
        let incarnation = self.chunk.loaded.batch.fence.incarnation();
        if P::Context::OWN_WRITES {
            // Each must see what became of the one before it.
            return Some(Lane::Records(incarnation, 0));
        }
        // Ordered by partition, all have the same hash.
        (self.desk.params.order != Order::Unordered).then_some(Lane::Records(incarnation, hash))
    }

    fn is_at_its_end(&self) -> bool {
        self.is_admitted && self.record(self.taken).is_none()
    }

    fn record(&self, index: usize) -> Option<u32> {
        match &self.chunk.records {
            ChunkRecords::Range(range) => range.clone().nth(index),
            ChunkRecords::Listed(records) => records.get(index).copied(),
        }
    }

    /// Works all records that may be worked now. Breaks off if the batch cannot go on.
    fn advance(&mut self, context: &mut Context<'_>) -> ControlFlow<()> {
        while let Some((record, turn)) = self.next() {
            self.take_up(record, turn, context)?;
        }
        ControlFlow::Continue(())
    }

    /// The next record, if it may be in flight: first those whose turn has come.
    fn next(&mut self) -> Option<(u32, Option<Turn>)> {
        if self.permit.is_none() && self.acquiring.is_none() {
            self.permit = self.desk.params.in_flight.try_acquire().ok();
        }
        self.permit.as_ref()?;
        while let Some((record, turn)) = self.called.next() {
            if let Lane::Records(..) = turn.lane() {
                self.in_line -= 1;
                return Some((record, Some(turn)));
            }
            (self.door, self.is_admitted) = (Some(turn), true);
        }
        let record = self.record(self.taken).filter(|_| self.is_admitted);
        match record {
            Some(_) => self.taken += 1,
            None if self.is_admitted => self.door = None,
            None => {}
        }
        record.map(|record| (record, None))
    }

    fn take_up(
        &mut self,
        record: u32,
        turn: Option<Turn>,
        context: &mut Context<'_>,
    ) -> ControlFlow<()> {
        let offset = self.offset(record);
        self.desk.pulse.take_up(offset.0);
        let (event, hash) = match &self.entries[record as usize] {
            Entry::Event { lane, .. } if self.is_behind(*lane) => {
                return self.settle(record, Err(Unsettled::Waits));
            }
            Entry::Event { event, lane } => (event, *lane),
            Entry::Skip(reason) => return self.settle(record, Ok(Outcome::Skip(reason))),
            Entry::Reject(reject) => {
                let reject = Unworked::from((**reject).clone());
                return self.settle(record, Err(reject.into()));
            }
            Entry::Wait => return self.settle(record, Err(Unsettled::Waits)),
        };
        let lane = self.lane(hash).filter(|_| turn.is_none());
        if let Some(lane) = lane.filter(|lane| self.desk.turns.is_taken(*lane)) {
            self.desk.turns.wait(lane, &self.called, record);
            self.in_line += 1;
            return ControlFlow::Continue(());
        }
        let mut place = self.places.pop().unwrap_or_else(|| self.new_place());
        place.begin((self.begin)(event, record, place.rows()));
        let polled = place.poll(record, context);
        if let std::task::Poll::Ready(worked) = polled {
            self.places.push(place);
            return self.ended(record, worked);
        }
        let turn = turn.or_else(|| lane.map(|lane| self.desk.turns.take(lane)));
        let permit = self.permit.take().expect("there is one for the next record");
        let limits = (self.desk.params.limits.timeout, &self.desk.pulse);
        self.flights.push(Flight::new((record, offset.0), place, limits, (permit, turn)));
        ControlFlow::Continue(())
    }

    /// A place of its own for one more record: the first one has room for all of them.
    fn new_place(&self) -> Place<F> {
        let num_tables = P::Rows::TABLES.len();
        let records = if self.flights.is_empty() { self.chunk.records.len() } else { 0 };
        Place::new(self.desk.rooms.borrow().buffer(num_tables, records))
    }

    /// Whether an earlier record of this lane was put off. Lanes go by their hash: a record of
    /// another one that has the same waits for nothing, and comes at once.
    fn is_behind(&self, lane: u64) -> bool {
        self.desk.params.order == Order::ByKey && self.desk.put_off.holds(&self.worked.batch, lane)
    }

    /// Notes whether what lies behind a record of this lane has to wait for it.
    fn note(&self, lane: u64, worked: &Worked) {
        let put_off = &self.desk.put_off;
        match worked {
            _ if self.desk.params.order != Order::ByKey => {}
            Err(Unworked::RetryLater(_)) => put_off.note(&self.worked.batch, lane),
            _ => put_off.settled(&self.worked.batch, lane),
        }
    }

    /// Settles a record that was worked.
    fn ended(&mut self, record: u32, worked: Worked) -> ControlFlow<()> {
        if let Entry::Event { lane, .. } = &self.entries[record as usize] {
            self.note(*lane, &worked);
        }
        self.settle(record, worked.map_err(Unsettled::from))
    }

    fn offset(&self, record: u32) -> Offset {
        self.parcel.arena.get(record as usize).offset
    }

    /// Waits until something may go on. `None`: it is broken off.
    async fn wait(&mut self) -> Option<()> {
        self.prepare_to_wait();
        let look = self.look.get_or_insert_with(|| {
            let mut look = interval(LOOK_INTERVAL);
            look.set_missed_tick_behavior(MissedTickBehavior::Delay);
            look
        });
        tokio::select! {
            biased;
            Some(landed) = self.flights.next(), if !self.flights.is_empty() => {
                return self.land(landed).continue_value();
            }
            permit = poll_fn(|context| match &mut self.acquiring {
                Some(acquiring) => acquiring.as_mut().poll(context),
                None => std::task::Poll::Pending,
            }) => {
                (self.permit, self.acquiring) = (permit.ok(), None);
            }
            () = self.called.news() => {}
            _ = look.tick() => {
                let batch = &self.worked.batch;
                return (batch.is_current() && !batch.is_over()).then_some(());
            }
        }
        Some(())
    }

    /// Keeps nothing from others that it has no use for, and asks for what it misses.
    fn prepare_to_wait(&mut self) {
        let has_begun = self.record(self.taken).is_none();
        if self.called.is_empty() && (has_begun || !self.is_admitted) {
            (self.permit, self.acquiring) = (None, None);
        } else if self.permit.is_none() {
            let in_flight = &self.desk.params.in_flight;
            self.acquiring.get_or_insert_with(|| Box::pin(in_flight.acquire()));
        }
        if self.is_admitted && !has_begun && self.door.is_none() {
            self.door = self.door_lane().map(|door| self.desk.turns.take(door));
        }
    }

    /// Settles a record that was in flight.
    fn land(&mut self, landed: Landed<F>) -> ControlFlow<()> {
        let Landed { record, worked, place, turn } = landed;
        self.places.push(place);
        let settled = self.ended(record, worked);
        // The next one in the lane has to see what became of it.
        drop(turn);
        settled
    }

    /// Notes what came of a record. Breaks off if the batch cannot go on.
    fn settle(&mut self, record: u32, outcome: Result<Outcome, Unsettled>) -> ControlFlow<()> {
        match outcome {
            Ok(Outcome::Save) => self.worked.to_save += 1,
            Ok(Outcome::Skip(_)) => self.worked.skipped.push(record),
            Ok(Outcome::Duplicate) => self.worked.duplicate.push(record),
            Err(unsettled) => return self.put_aside(record, unsettled),
        }
        ControlFlow::Continue(())
    }

    /// What becomes of a record that was not settled.
    fn put_aside(&mut self, record: u32, unsettled: Unsettled) -> ControlFlow<()> {
        let offset = self.offset(record);
        let (reject, park) = match unsettled {
            Unsettled::Waits => (Reject::new(WAITS, String::new()), ParkAs::Waiting),
            Unsettled::Unworked(Unworked::Reject(reject)) => (reject, ParkAs::Dead),
            Unsettled::Unworked(Unworked::RetryLater(later)) => {
                if self.desk.params.order == Order::ByPartition {
                    self.worked.batch.give_up(GivenUp::Later { offset, later });
                    return ControlFlow::Break(());
                }
                let RetryLater { reason, error, after } = later;
                (Reject { reason, error }, ParkAs::Retrying(after))
            }
            Unsettled::Unworked(Unworked::Stop(stop)) => {
                let reason = format!("offset {offset}: {stop}");
                self.worked.batch.give_up(GivenUp::Stopped { reason });
                return ControlFlow::Break(());
            }
        };
        self.worked.rejections.push(Rejection { record, reject, park });
        ControlFlow::Continue(())
    }

    /// Everything is settled: hands on what came of it in the order of the records, as if none of
    /// them had waited.
    fn close(mut self) -> Option<WorkedChunk> {
        let mut worked = self.worked;
        let mut rows: Vec<_> = self.places.drain(..).map(Place::into_rows).collect();
        let num_tables = P::Rows::TABLES.len();
        if self.look.is_none() {
            worked.rows = rows.pop().unwrap_or_else(|| RowBuffer::new(num_tables));
            self.desk.rooms.borrow_mut().note(&worked.rows, self.taken);
            return Some(worked);
        }
        match RowBuffer::unite(num_tables, &rows) {
            Ok(rows) => worked.rows = rows,
            Err(error) => {
                worked.batch.give_up(GivenUp::Stopped { reason: error.to_string() });
                return None;
            }
        }
        worked.skipped.sort_unstable();
        worked.duplicate.sort_unstable();
        worked.rejections.sort_unstable_by_key(|rejection| rejection.record);
        Some(worked)
    }
}

/// A record with nothing to show for it.
enum Unsettled {
    /// It comes behind one of its lane that is to be tried again.
    Waits,
    /// By the user's word.
    Unworked(Unworked),
}

impl From<Unworked> for Unsettled {
    fn from(unworked: Unworked) -> Self {
        Self::Unworked(unworked)
    }
}
