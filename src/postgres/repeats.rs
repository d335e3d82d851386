//! Whether it pays to probe for keys that are saved already. A probe costs the server half as much
//! as the saving of a row; repeats that nobody caught cost a transaction a second round. So probes
//! are made for a while after a transaction ran into a repeat, and as long as they find some.

use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

/// Loads for which probing goes on without finding anything.
const PATIENCE: u32 = 32;

/// Shared by the store and the lookups of a pipeline.
#[derive(Debug, Default)]
pub struct Repeats {
    patience: AtomicU32,
}

impl Repeats {
    /// Whether the next load is to probe.
    pub fn probing_pays(&self) -> bool {
        self.patience.load(Relaxed) > 0
    }

    /// A transaction met a saved key that nobody had noticed.
    pub fn met(&self) {
        self.patience.store(PATIENCE, Relaxed);
    }

    /// A load has probed, and found some or none.
    pub fn probed(&self, found: bool) {
        if found {
            self.met();
        } else {
            // Two loads may end at once: never below zero.
            let _ = self.patience.fetch_update(Relaxed, Relaxed, |left| left.checked_sub(1));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn probing_starts_with_a_repeat_and_ends_when_none_is_found_for_a_while() {
        let repeats = Repeats::default();
        assert!(!repeats.probing_pays());
        repeats.met();
        for _ in 0..PATIENCE {
            assert!(repeats.probing_pays());
            repeats.probed(false);
        }
        assert!(!repeats.probing_pays());
        repeats.probed(false);
        assert!(!repeats.probing_pays());
    }
}
