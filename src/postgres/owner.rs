//! Who owns partitions, as the offset rows say it: where to look for the process, and never the
//! same twice, as each incarnation of a consumer is an owner of its own.

use std::sync::{Arc, PoisonError, RwLock};

/// The owner of now. Cheap to clone; all clones are one.
#[derive(Clone, Debug)]
pub struct Owner(Arc<RwLock<Arc<str>>>);

impl Owner {
    /// An owner of this process that nobody was before.
    pub fn new() -> Self {
        Self::named(&unique())
    }

    /// An owner by this name, for tests.
    pub fn named(name: &str) -> Self {
        Self(Arc::new(RwLock::new(name.into())))
    }

    /// Its name.
    pub fn name(&self) -> Arc<str> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Another incarnation: what the one before had is not its own.
    pub fn renew(&self) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = unique().into();
    }
}

impl Default for Owner {
    fn default() -> Self {
        Self::new()
    }
}

fn unique() -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let (host, incarnation) = (host.trim(), uuid::Uuid::new_v4().simple());
    format!("{host}/{}/{incarnation}", std::process::id())
}
