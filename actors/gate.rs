//! The gate before user code: many batches pass it together, or one record alone. Alone means that
//! if the process dies now, it died over this record; see [`crate::caution`]. One gate for all
//! houses of a process.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

use tokio::sync::{OwnedRwLockReadGuard, OwnedRwLockWriteGuard, RwLock};

/// See the module. Cheap to clone; all clones are one gate.
#[derive(Clone, Debug, Default)]
pub struct Gate {
    lock: Arc<RwLock<()>>,
    culprits: Arc<AtomicU64>,
}

/// A pass through the gate. Who waits to be alone waits for all passes to be given back.
#[derive(Debug)]
pub enum Pass {
    /// Together with others.
    Shared(OwnedRwLockReadGuard<()>),
    /// With nobody else behind the gate.
    Alone(OwnedRwLockWriteGuard<()>),
}

impl Gate {
    /// Passes together with others, unless somebody is alone or waits to be.
    pub(crate) fn try_share(&self) -> Option<Pass> {
        self.lock.clone().try_read_owned().ok().map(Pass::Shared)
    }

    /// Waits until others may pass.
    pub(crate) async fn share(&self) -> Pass {
        Pass::Shared(self.lock.clone().read_owned().await)
    }

    /// Waits to be alone.
    pub(crate) async fn alone(&self) -> Pass {
        Pass::Alone(self.lock.clone().write_owned().await)
    }

    /// A record that killed the process was found: whoever is careful for its sake need not be.
    pub(crate) fn found_culprit(&self) {
        self.culprits.fetch_add(1, SeqCst);
    }

    /// How many such records this process has found.
    pub(crate) fn culprits(&self) -> u64 {
        self.culprits.load(SeqCst)
    }
}
