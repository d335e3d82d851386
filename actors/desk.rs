//! What a worker works with: the user's code, the order and the limits of its work, and whose turn
//! it is. Shared with the parts of batches that it works.

use std::cell::RefCell;
use std::sync::Arc;

use tokio::sync::Semaphore;

use crate::health::Pulse;
use crate::in_flight::InFlightLimits;
use crate::persister::Persisters;
use crate::pipeline::{Order, Pipeline};
use crate::put_off::PutOff;
use crate::rows::Rooms;
use crate::turns::Turns;

/// What all workers of a pipeline have in common.
pub(crate) struct WorkParams<P> {
    pub(crate) pipeline: Arc<P>,
    pub(crate) order: Order,
    pub(crate) limits: InFlightLimits,
    /// One permit a record in flight.
    pub(crate) in_flight: Semaphore,
    /// Downstream.
    pub(crate) persisters: Persisters,
}

impl<P: Pipeline> WorkParams<P> {
    pub(crate) fn new(
        pipeline: Arc<P>,
        order: Order,
        limits: InFlightLimits,
        persisters: Persisters,
    ) -> Self {
        let in_flight = Semaphore::new(limits.records.clamp(1, Semaphore::MAX_PERMITS));
        Self { pipeline, order, limits, in_flight, persisters }
    }
}

/// What one worker works with.
pub(crate) struct Desk<P> {
    pub(crate) params: Arc<WorkParams<P>>,
    pub(crate) turns: Turns,
    pub(crate) put_off: PutOff,
    pub(crate) pulse: Pulse,
    /// What the last part's rows took.
    pub(crate) rooms: RefCell<Rooms>,
}

impl<P> Desk<P> {
    /// A desk that nobody has worked at.
    pub(crate) fn new(params: Arc<WorkParams<P>>, pulse: Pulse) -> Self {
        let (turns, put_off, rooms) = (Turns::default(), PutOff::default(), RefCell::default());
        Self { params, turns, put_off, pulse, rooms }
    }
}
