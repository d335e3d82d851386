//! Over how many sessions partitions are spread: over all of them with a backlog; without one, over
//! so few as records are saved soonest with. A few partitions each would make many small
//! transactions, which cost the server more than one large one, and so all of them more time.

use std::time::Duration;

use tokio::time::Instant;

use super::known::Known;
use super::{Bounds, Saved};

/// The shortest time that an age is taken of.
const WINDOW: Duration = Duration::from_secs(1);

/// Transactions of each session in a window, at least: one slow one must not decide.
const TRANSACTIONS_EACH: usize = 4;

/// How much older than those of the best number records may be saved by fewer sessions.
const NEARLY: f64 = 1.25;

/// What comes in, or its age, has changed by this factor: then nothing is known of it. A second
/// that the machine spent on something else is not enough.
const CHANGED: f64 = 2.0;

/// How long an age is known: to ask again may make a second's records late.
const KNOWN: Duration = Duration::from_secs(600);

/// See the module.
#[derive(Debug)]
pub(super) struct Spread {
    bounds: Bounds<usize>,
    sessions: usize,
    /// The mean age of records when they are saved, in seconds.
    ages: Known,
    /// Records a second when they were found.
    rate: f64,
    /// Transactions that began under another number of sessions, and are not counted.
    strays: usize,
    backlog_since: Option<Instant>,
    window: Window,
}

#[derive(Debug)]
struct Window {
    began: Instant,
    transactions: usize,
    records: usize,
    /// Summed up over the records, in seconds.
    age: f64,
}

impl Window {
    fn new(began: Instant) -> Self {
        Self { began, transactions: 0, records: 0, age: 0.0 }
    }
}

impl Spread {
    pub(super) fn new(bounds: Bounds<usize>, now: Instant) -> Self {
        let (ages, window) = (Known::new(bounds, KNOWN), Window::new(now));
        let (rate, strays, backlog_since) = (0.0, 0, None);
        Self { bounds, sessions: bounds.max, ages, rate, strays, backlog_since, window }
    }

    pub(super) fn sessions(&self) -> usize {
        self.sessions
    }

    /// Takes in what a transaction has saved. With a backlog that lasts, all sessions are used.
    pub(super) fn saved(&mut self, now: Instant, saved: Saved, has_backlog: bool) {
        if has_backlog {
            let since = *self.backlog_since.get_or_insert(now);
            if now.saturating_duration_since(since) >= WINDOW && self.sessions < self.bounds.max {
                // They could not keep up.
                tracing::debug!(sessions = self.sessions, "could not keep up");
                self.ages.set(self.sessions, f64::INFINITY, now);
                self.spread_over(self.bounds.max, now);
            }
        } else {
            self.backlog_since = None;
            self.take_in(now, saved);
        }
    }

    fn take_in(&mut self, now: Instant, saved: Saved) {
        if self.strays > 0 {
            self.strays -= 1;
            self.window = Window::new(now);
            return;
        }
        self.window.transactions += 1;
        self.window.records += saved.records;
        self.window.age += saved.age.as_secs_f64() * saved.records as f64;
        let elapsed = now.saturating_duration_since(self.window.began);
        let enough = self.window.transactions >= TRANSACTIONS_EACH * self.sessions;
        if elapsed >= WINDOW && enough && self.window.records > 0 {
            let records = self.window.records as f64;
            self.judge(self.window.age / records, records / elapsed.as_secs_f64(), now);
        }
    }

    /// Decides upon the age at which records were saved, so many a second.
    fn judge(&mut self, age: f64, rate: f64, now: Instant) {
        let has_changed = |from: f64, to: f64| to > from * CHANGED || to * CHANGED < from;
        let before = self.ages.of(self.sessions);
        if has_changed(self.rate, rate) || before.is_some_and(|before| has_changed(before, age)) {
            self.ages.forget();
            self.rate = rate;
        }
        self.ages.forget_old(now);
        self.ages.take_in(self.sessions, age, now);
        let wanted = self.wanted();
        tracing::debug!(sessions = self.sessions, age, rate, wanted, "records were saved so old");
        self.spread_over(wanted, now);
    }

    /// The fewest sessions with nearly the best age; if it is not known, first one fewer, and one
    /// more than those with the best.
    fn wanted(&self) -> usize {
        let least = self.ages.all().min_by(|(_, one), (_, other)| one.total_cmp(other));
        let Some((best, least)) = least else { return self.sessions };
        let fewest = self.ages.all().find(|(_, age)| *age <= least * NEARLY);
        let fewest = fewest.map_or(best, |(sessions, _)| sessions);
        let mut next = [fewest - 1, best + 1].into_iter();
        next.find(|sessions| self.ages.is_unknown(*sessions)).unwrap_or(fewest)
    }

    fn spread_over(&mut self, sessions: usize, now: Instant) {
        if sessions != self.sessions {
            self.strays = self.sessions;
        }
        self.sessions = sessions;
        self.window = Window::new(now);
    }
}
