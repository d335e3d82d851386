//! A trip: one sending of a batch, as its partition sees it from afar. That it is over is told by a
//! notice, and can be seen here: a notice that does not come is lost.

use std::sync::{Arc, OnceLock};

use tokio::time::Instant;

/// See the module. Cheap to clone; all clones are one trip.
#[derive(Clone, Debug)]
pub struct Trip(Arc<Times>);

#[derive(Debug)]
struct Times {
    began: Instant,
    over: OnceLock<Instant>,
}

impl Trip {
    /// One that begins now.
    pub fn begin() -> Self {
        Self(Arc::new(Times { began: Instant::now(), over: OnceLock::new() }))
    }

    /// When it began.
    pub fn began(&self) -> Instant {
        self.0.began
    }

    /// Ends it. Whether this was its end, and no earlier one.
    pub(crate) fn end(&self) -> bool {
        self.0.over.set(Instant::now()).is_ok()
    }

    /// Since when the batch has been settled or given up.
    pub fn over_since(&self) -> Option<Instant> {
        self.0.over.get().copied()
    }
}
