//! Records in flight: those whose `work` waits, for a service say, while others go on. Each has a
//! place of its own for its future and its rows; a panic is caught at each step, and who takes too
//! long is put off. A record that waits for nothing leaves its place at once to the next one.

use std::cell::RefCell;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::sync::SemaphorePermit;
use tokio::time::{Instant, Sleep, sleep};

use crate::decode::rejected_by_panic;
use crate::error::{RetryLater, Unworked};
use crate::health::Pulse;
use crate::pipeline::{Outcome, SharedRows};
use crate::rows::RowBuffer;
use crate::turns::Turn;

/// What `work` may have in flight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InFlightLimits {
    /// Records that wait at a time, over all workers of the pipeline.
    pub records: usize,
    /// How long one record may take, from the moment it is taken up; then it is tried again later.
    pub timeout: Duration,
}

impl Default for InFlightLimits {
    fn default() -> Self {
        Self { records: 256, timeout: Duration::from_secs(30) }
    }
}

/// What came of one record.
pub(crate) type Worked = Result<Outcome, Unworked>;

/// Where one record at a time is worked.
pub(crate) struct Place<F> {
    future: Pin<Box<Option<F>>>,
    /// Whatever was worked here before stays in front.
    rows: SharedRows,
    limit: Option<Pin<Box<Sleep>>>,
}

impl<F: Future<Output = Worked>> Place<F> {
    pub(crate) fn new(rows: RowBuffer) -> Self {
        Self { future: Box::pin(None), rows: Rc::new(RefCell::new(rows)), limit: None }
    }

    /// The rows, for the next future.
    pub(crate) fn rows(&self) -> SharedRows {
        self.rows.clone()
    }

    /// Takes the rows out, at the end.
    pub(crate) fn into_rows(self) -> RowBuffer {
        self.rows.take()
    }

    /// Begins to work a record.
    pub(crate) fn begin(&mut self, work: F) {
        self.future.set(Some(work));
    }

    /// Goes on with `record`, which was begun.
    pub(crate) fn poll(&mut self, record: u32, context: &mut Context<'_>) -> Poll<Worked> {
        let future = self.future.as_mut().as_pin_mut().expect("it was begun");
        match catch_unwind(AssertUnwindSafe(|| future.poll(context))) {
            Ok(Poll::Pending) => Poll::Pending,
            Ok(Poll::Ready(worked)) => {
                self.future.set(None);
                Poll::Ready(worked)
            }
            Err(panic) => {
                let reject = rejected_by_panic("work", &*panic);
                Poll::Ready(self.break_off(record, reject.into()))
            }
        }
    }

    /// From here on, it takes too long after `timeout`.
    fn limit(&mut self, timeout: Duration) {
        match &mut self.limit {
            Some(limit) => limit.as_mut().reset(Instant::now() + timeout),
            None => self.limit = Some(Box::pin(sleep(timeout))),
        }
    }

    fn poll_limit(&mut self, context: &mut Context<'_>) -> Poll<()> {
        self.limit.as_mut().map_or(Poll::Pending, |limit| limit.as_mut().poll(context))
    }

    /// Ends `record` unfinished, and takes back its rows.
    fn break_off(&mut self, record: u32, why: Unworked) -> Worked {
        self.clear();
        self.rows.borrow_mut().take_back(record);
        Err(why)
    }
}

impl<F> Place<F> {
    /// Drops what is unfinished. It is the user's code, and may panic there too.
    fn clear(&mut self) {
        if catch_unwind(AssertUnwindSafe(|| self.future.set(None))).is_err() {
            tracing::warn!("`work` panicked while it was cancelled");
        }
    }
}

impl<F> Drop for Place<F> {
    fn drop(&mut self) {
        self.clear();
    }
}

/// A record whose `work` waits. Dropped, it is cancelled.
pub(crate) struct Flight<'c, F> {
    record: u32,
    offset: i64,
    place: Option<Place<F>>,
    timeout: Duration,
    pulse: &'c Pulse,
    permit: Option<SemaphorePermit<'c>>,
    turn: Option<Turn>,
}

/// A record that was in flight.
pub(crate) struct Landed<F> {
    pub(crate) record: u32,
    pub(crate) worked: Worked,
    /// For the next one.
    pub(crate) place: Place<F>,
    /// To be kept until the record is settled.
    pub(crate) turn: Option<Turn>,
}

impl<'c, F: Future<Output = Worked>> Flight<'c, F> {
    /// `record`, at `offset`, which waits at `place`.
    pub(crate) fn new(
        (record, offset): (u32, i64),
        mut place: Place<F>,
        (timeout, pulse): (Duration, &'c Pulse),
        (permit, turn): (SemaphorePermit<'c>, Option<Turn>),
    ) -> Self {
        place.limit(timeout);
        Self { record, offset, place: Some(place), timeout, pulse, permit: Some(permit), turn }
    }
}

impl<F: Future<Output = Worked>> Future for Flight<'_, F> {
    type Output = Landed<F>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Landed<F>> {
        let this = &mut *self;
        this.pulse.take_up(this.offset);
        let mut place = this.place.take().expect("it is not polled after its end");
        let worked = match place.poll(this.record, context) {
            Poll::Ready(worked) => worked,
            Poll::Pending if place.poll_limit(context).is_pending() => {
                this.place = Some(place);
                return Poll::Pending;
            }
            Poll::Pending => {
                let story = format!("`work` took longer than {:?}", this.timeout);
                place.break_off(this.record, RetryLater::new("timeout", story).into())
            }
        };
        this.permit = None;
        let (record, turn) = (this.record, this.turn.take());
        Poll::Ready(Landed { record, worked, place, turn })
    }
}
