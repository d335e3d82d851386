//! What a partition asks the store, for as long as the store makes it wait.

use std::sync::Arc;

use tracing::warn;

use crate::error::{Fate, StoreError};
use crate::fence::Fence;
use crate::gate::{Gate, Pass};
use crate::health::Pulse;
use crate::ports::{Acquired, Store};
use crate::record::Offset;
use crate::supervise::Backoff;

/// Takes the partition over again after something of it was lost, until there is an answer or the
/// assignment has ended. Gives the backoff back: attempts that follow each other wait longer.
pub(crate) async fn reacquire(
    store: Arc<dyn Store>,
    fence: Arc<Fence>,
    mut backoff: Backoff,
    pulse: Pulse,
) -> (Acquired, Backoff) {
    loop {
        backoff.wait().await;
        let reason = match store.reacquire(&fence).await {
            Ok(Acquired::Busy { reason }) => reason,
            Ok(answer) => {
                pulse.goes_on();
                return (answer, backoff);
            }
            Err(error) if error.fate() == Fate::Stop => {
                pulse.goes_on();
                return (Acquired::Refused { reason: error.to_string() }, backoff);
            }
            Err(error) => error.to_string(),
        };
        if !fence.stands() {
            return (Acquired::Fallen, backoff);
        }
        warn!(partition = %fence.partition(), reason, "cannot reacquire yet");
        pulse.waits(reason);
    }
}

/// Marks the partition's row: work is in hand. With `named`, that record is about to be tried by
/// itself: first waits to be alone, and gives the pass.
pub(crate) async fn begin_work(
    store: Arc<dyn Store>,
    fence: Arc<Fence>,
    named: Option<(Option<Offset>, Gate)>,
    pulse: Pulse,
) -> (Result<bool, StoreError>, Option<Pass>) {
    let (named, pass) = match named {
        Some((record, gate)) => (record, Some(gate.alone().await)),
        None => (None, None),
    };
    let mut backoff = Backoff::for_outage();
    loop {
        match store.begin_work(&fence, named).await {
            Err(error) if error.fate() == Fate::Retry && fence.stands() => {
                warn!(partition = %fence.partition(), %error, "cannot begin yet");
                pulse.waits(error.to_string());
                backoff.wait().await;
            }
            answer => {
                pulse.goes_on();
                return (answer, pass);
            }
        }
    }
}
