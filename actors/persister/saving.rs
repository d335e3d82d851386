//! How a persister saves a group of batches: again and again while the environment makes it wait.

use std::sync::Arc;
use std::time::Duration;

use tracing::warn;

use crate::batch::WorkedBatch;
use crate::error::SaveError;
use crate::health::Pulse;
use crate::pace::{Pace, Permit, Saved};
use crate::ports::{BatchReport, SessionId, Store};
use crate::supervise::Backoff;

/// What it takes to save a group.
pub(super) struct Saving {
    pub(super) store: Arc<dyn Store>,
    pub(super) session: SessionId,
    pub(super) pace: Pace,
    pub(super) pulse: Pulse,
}

impl Saving {
    /// Saves a group, for as long as the environment makes it wait and anybody wants it saved.
    pub(super) async fn run(
        self,
        group: Vec<WorkedBatch>,
        mut permit: Permit,
    ) -> (Vec<WorkedBatch>, Result<Vec<BatchReport>, SaveError>) {
        let (session, mut backoff) = (self.session.0, Backoff::for_outage());
        loop {
            let answer = self.attempt(&group).await;
            match &answer {
                Err(SaveError::RetryNow(reason)) => {
                    warn!(session, reason, "transaction is done again");
                }
                // A single record cannot be halved.
                Err(SaveError::TooSlow(reason)) if records_of(&group) > group.len() => {
                    warn!(session, reason, "goes on with smaller transactions");
                    self.pulse.goes_on();
                    return (group, answer);
                }
                Err(SaveError::Retry(reason) | SaveError::TooSlow(reason)) => {
                    warn!(session, reason, "cannot save yet");
                    self.pulse.waits(reason);
                    // Somebody else may be luckier meanwhile.
                    drop(permit);
                    backoff.wait().await;
                    permit = self.pace.clone().permit().await;
                }
                _ => {
                    self.pulse.goes_on();
                    return (group, answer);
                }
            }
        }
    }

    /// One transaction. Its pace is noted, whatever comes of it.
    async fn attempt(&self, group: &[WorkedBatch]) -> Result<Vec<BatchReport>, SaveError> {
        let (busy, records) = (self.pace.busy(self.session), records_of(group));
        let answer = self.store.save(self.session, group).await;
        match &answer {
            Ok(_) => {
                let (took, age) = (busy.elapsed(), age_of(group));
                self.pace.saved(Saved { records, took, age });
            }
            Err(SaveError::TooSlow(_)) => self.pace.too_slow(records),
            Err(SaveError::Retry(_)) => self.pace.outage(),
            Err(_) => {}
        }
        answer
    }
}

/// The records of a group.
pub(super) fn records_of(group: &[WorkedBatch]) -> usize {
    group.iter().map(|worked| worked.batch.parcel.arena.len()).sum()
}

/// How long ago the records of a group came into the house, on average.
fn age_of(group: &[WorkedBatch]) -> Duration {
    let age = |worked: &WorkedBatch| {
        worked.batch.since.elapsed().as_secs_f64() * worked.batch.parcel.arena.len() as f64
    };
    let records = records_of(group).max(1) as f64;
    Duration::from_secs_f64(group.iter().map(age).sum::<f64>() / records)
}
