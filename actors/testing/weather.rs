//! How a [`super::MemoryStore`] answers: how late, and whether at all.

use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
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

/// How long a save takes: by how many are under way, this one included, and by its records.
pub type SaveTime = Arc<dyn Fn(usize, usize) -> Duration + Send + Sync>;

/// Cheap to clone; all clones are one weather.
#[derive(Clone, Default)]
pub(super) struct Weather {
    latency: Duration,
    rng: Arc<Mutex<Option<fastrand::Rng>>>,
    save_time: Arc<Mutex<Option<SaveTime>>>,
    saving: Arc<AtomicUsize>,
}

/// A save that is under way.
struct UnderWay<'a>(&'a AtomicUsize);

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, SeqCst);
    }
}

impl Weather {
    /// Fair: answers take `latency`.
    pub(super) fn new(latency: Duration) -> Self {
        Self { latency, ..Self::default() }
    }

    /// As `seed` has it; `None`: fair again.
    pub(super) fn set(&self, seed: Option<u64>) {
        *self.lock() = seed.map(fastrand::Rng::with_seed);
    }

    /// Saves take this long from here on.
    pub(super) fn set_save_time(&self, save_time: SaveTime) {
        *self.save_time.lock().unwrap_or_else(PoisonError::into_inner) = Some(save_time);
    }

    /// Waits for as long as the store takes to save `records`.
    pub(super) async fn save_time(&self, records: usize) {
        let save_time = self.save_time.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let Some(save_time) = save_time else { return self.answer_time().await };
        let saving = self.saving.fetch_add(1, SeqCst) + 1;
        let _under_way = UnderWay(&self.saving);
        tokio::time::sleep(save_time(saving, records)).await;
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
