//! How many sessions may have a transaction under way: the fewest that bring nearly the best rate.

use std::time::Duration;

use tokio::time::Instant;

use super::Bounds;
use super::known::Known;

/// The shortest window that a rate is taken of: long enough for many transactions of the usual
/// target.
const WINDOW: Duration = Duration::from_secs(1);
/// Transactions of each session in a window, at least: one slow one must not decide.
const TRANSACTIONS_EACH: usize = 4;
/// The busy share of the permitted sessions from which on there is enough work for them.
const ENOUGH_WORK: f64 = 0.8;
/// How long a rate is known: a database changes by the hour, and to ask again costs little.
const KNOWN: Duration = Duration::from_secs(30);
/// The share of the best rate that fewer sessions have to bring.
const NEARLY: f64 = 0.95;
/// A change of the same sessions' rate by this factor is the database's doing, not noise.
const CHANGED: f64 = 1.5;

/// See the module.
#[derive(Debug)]
pub(super) struct Crew {
    bounds: Bounds<usize>,
    permitted: usize,
    /// Records per second.
    rates: Known,
    /// Transactions that began under another number of sessions, and are not counted.
    strays: usize,
    window: Window,
}

#[derive(Clone, Copy, Debug)]
struct Window {
    began: Instant,
    transactions: usize,
    records: usize,
    session_seconds: f64,
}

impl Window {
    fn new(began: Instant) -> Self {
        Self { began, transactions: 0, records: 0, session_seconds: 0.0 }
    }
}

impl Crew {
    pub(super) fn new(bounds: Bounds<usize>, now: Instant) -> Self {
        let (rates, window) = (Known::new(bounds, KNOWN), Window::new(now));
        Self { bounds, permitted: bounds.max, rates, strays: 0, window }
    }

    pub(super) fn permitted(&self) -> usize {
        self.permitted
    }

    /// Takes in that a session saved `records`, which took `took`.
    pub(super) fn saved(&mut self, now: Instant, records: usize, took: Duration) {
        if self.strays > 0 {
            self.strays -= 1;
            self.window = Window::new(now);
            return;
        }
        self.window.transactions += 1;
        self.window.records += records;
        self.window.session_seconds += took.as_secs_f64();
        let elapsed = now.saturating_duration_since(self.window.began);
        let is_over = elapsed >= WINDOW;
        let window = self.window;
        let busy = window.session_seconds / elapsed.as_secs_f64() / self.permitted as f64;
        if is_over && busy < ENOUGH_WORK {
            self.permit(self.permitted + 1, now);
        } else if is_over && window.transactions >= TRANSACTIONS_EACH * self.permitted {
            let rate = window.records as f64 / window.session_seconds * self.permitted as f64;
            self.judge(rate, now);
        }
    }

    /// Takes in that the store is away.
    pub(super) fn outage(&mut self, now: Instant) {
        self.rates.forget();
        self.permit(self.permitted / 2, now);
    }

    /// Decides upon the rate that the permitted sessions brought.
    fn judge(&mut self, rate: f64, now: Instant) {
        self.rates.forget_old(now);
        match self.rates.of(self.permitted) {
            Some(before) if rate * CHANGED < before => return self.outage(now),
            Some(before) if rate > before * CHANGED => self.rates.forget(),
            _ => {}
        }
        self.rates.take_in(self.permitted, rate, now);
        let wanted = self.wanted();
        self.permit(wanted, now);
    }

    /// The fewest sessions with nearly the best rate; from there the next ones whose rate is not
    /// known.
    fn wanted(&self) -> usize {
        let best = self.rates.all().map(|(_, rate)| rate).fold(0.0, f64::max);
        let fewest = self.rates.all().find(|(_, rate)| *rate >= best * NEARLY);
        let fewest = fewest.map_or(self.permitted, |(sessions, _)| sessions);
        let mut next = [fewest + 1, fewest - 1].into_iter();
        next.find(|sessions| self.rates.is_unknown(*sessions)).unwrap_or(fewest)
    }

    fn permit(&mut self, sessions: usize, now: Instant) {
        let sessions = sessions.clamp(self.bounds.min, self.bounds.max);
        if sessions != self.permitted {
            self.strays = self.permitted;
        }
        self.permitted = sessions;
        self.window = Window::new(now);
    }
}
