//! What is known of each number of sessions: one figure, found some time ago.

use std::time::Duration;

use tokio::time::Instant;

use super::Bounds;

/// See the module.
#[derive(Debug)]
pub(super) struct Known {
    bounds: Bounds<usize>,
    /// By the number of sessions, less one, and when it was found.
    figures: Vec<Option<(f64, Instant)>>,
    kept: Duration,
}

impl Known {
    /// Nothing yet; what is found is known for `kept`.
    pub(super) fn new(bounds: Bounds<usize>, kept: Duration) -> Self {
        Self { bounds, figures: vec![None; bounds.max], kept }
    }

    /// The figure of so many sessions.
    pub(super) fn of(&self, sessions: usize) -> Option<f64> {
        self.figures.get(sessions.checked_sub(1)?)?.map(|(figure, _)| figure)
    }

    /// The numbers of sessions whose figure is known, the fewest first.
    pub(super) fn all(&self) -> impl Iterator<Item = (usize, f64)> {
        (self.bounds.min..=self.bounds.max).filter_map(|n| Some((n, self.of(n)?)))
    }

    /// Whether so many sessions may be, and nothing is known of them.
    pub(super) fn is_unknown(&self, sessions: usize) -> bool {
        (self.bounds.min..=self.bounds.max).contains(&sessions) && self.of(sessions).is_none()
    }

    /// Takes in a figure: half of it counts, and half what was known.
    pub(super) fn take_in(&mut self, sessions: usize, figure: f64, now: Instant) {
        let before = self.of(sessions).unwrap_or(figure);
        self.set(sessions, (figure + before) / 2.0, now);
    }

    /// From here on this is known of so many.
    pub(super) fn set(&mut self, sessions: usize, figure: f64, now: Instant) {
        self.figures[sessions - 1] = Some((figure, now));
    }

    /// Forgets what was found too long ago.
    pub(super) fn forget_old(&mut self, now: Instant) {
        for known in &mut self.figures {
            known.take_if(|(_, at)| now.saturating_duration_since(*at) > self.kept);
        }
    }

    /// Forgets everything.
    pub(super) fn forget(&mut self) {
        self.figures.fill(None);
    }
}
