//! Over how many sessions partitions are spread: over all of them, unless fewer are enough for what
//! comes in. A few partitions each would make many small transactions, which cost the server more
//! than one large one.

use std::time::Duration;

use tokio::time::Instant;

use super::Bounds;

/// How long what was saved is looked at before anything is changed.
const WINDOW: Duration = Duration::from_secs(1);

/// The share of the time that each session is to be busy: the rest is room for what comes in a
/// moment. Measured: one session that is busy for most of the time is sooner done with a record
/// than two.
const EASY: f64 = 2.0 / 3.0;

/// See the module.
#[derive(Debug)]
pub(super) struct Spread {
    bounds: Bounds<usize>,
    sessions: usize,
    /// Since when session-seconds are added up.
    since: Instant,
    session_seconds: f64,
}

impl Spread {
    pub(super) fn new(bounds: Bounds<usize>, now: Instant) -> Self {
        Self { bounds, sessions: bounds.max, since: now, session_seconds: 0.0 }
    }

    pub(super) fn sessions(&self) -> usize {
        self.sessions
    }

    /// Takes in that a session had a transaction under way for `took`. With a backlog, all of them
    /// are used at once.
    pub(super) fn saved(&mut self, now: Instant, took: Duration, has_backlog: bool) {
        if has_backlog {
            *self = Self::new(self.bounds, now);
            return;
        }
        self.session_seconds += took.as_secs_f64();
        let elapsed = now.saturating_duration_since(self.since);
        if elapsed >= WINDOW {
            let needed = self.session_seconds / elapsed.as_secs_f64() / EASY;
            self.sessions = (needed.ceil() as usize).clamp(self.bounds.min, self.bounds.max);
            (self.since, self.session_seconds) = (now, 0.0);
        }
    }
}
