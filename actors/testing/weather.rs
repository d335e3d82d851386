//! How a [`super::MemoryStore`] answers: how late, and whether at all.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// What happens to a save instead of its success.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It is rolled back for the environment's sake.
    Retry,
    /// It is rolled back and every further one would be.
    Stop,
    /// It commits, and the answer is lost.
    CommittedUnheard,
    /// It is rolled back, and the answer is lost.
    RolledBackUnheard,
}

/// Cheap to clone; all clones are one weather.
#[derive(Clone, Default)]
pub(super) struct Weather {
    latency: Duration,
    rng: Arc<Mutex<Option<fastrand::Rng>>>,
}

impl Weather {
    /// Fair: answers take `latency`.
    pub(super) fn new(latency: Duration) -> Self {
        Self { latency, rng: Arc::default() }
    }

    /// As `seed` has it; `None`: fair again.
    pub(super) fn set(&self, seed: Option<u64>) {
        *self.lock() = seed.map(fastrand::Rng::with_seed);
    }

    fn lock(&self) -> MutexGuard<'_, Option<fastrand::Rng>> {
        self.rng.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for as long as the store takes.
    pub(super) async fn answer_time(&self) {
        let stormy = self.lock().as_mut().map(|rng| match rng.u32(..100) {
            0..70 => rng.u64(..10),
            70..97 => rng.u64(..100),
            _ => rng.u64(..1000),
        });
        tokio::time::sleep(stormy.map_or(self.latency, Duration::from_millis)).await;
    }

    /// What goes wrong with a query: before it was carried out, or after.
    pub(super) fn query_fault(&self) -> Option<Fault> {
        let mut weather = self.lock();
        match weather.as_mut()?.u32(..100) {
            0..4 => Some(Fault::Retry),
            4..8 => Some(Fault::CommittedUnheard),
            _ => None,
        }
    }

    /// What goes wrong with a save.
    pub(super) fn save_fault(&self) -> Option<Fault> {
        let mut weather = self.lock();
        match weather.as_mut()?.u32(..100) {
            0..5 => Some(Fault::Retry),
            5..10 => Some(Fault::CommittedUnheard),
            10..15 => Some(Fault::RolledBackUnheard),
            _ => None,
        }
    }
}
