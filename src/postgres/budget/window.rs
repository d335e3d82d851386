//! The arithmetic of the budget: how many of the last records are dead, from a few samples of two
//! numbers that only ever grow. No database, no clock.

use std::collections::VecDeque;
use std::fmt;

use super::DeadLetterBudget;

/// The stretch that [`DeadLetterBudget::per_minute`] speaks of, in milliseconds.
const MINUTE_MS: i64 = 60_000;

/// Samples closer to each other than this, in milliseconds, and than a step of the window, are one.
const PACE_MS: i64 = 1000;

/// The window is known to one part in so many.
const STEPS: u64 = 64;

/// Samples at most, before those of more than a minute ago are thinned out.
const SAMPLES_MAX: usize = 512;

/// How many records were settled, and how many of them (or of earlier ones, after their last
/// attempt) are dead.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) settled: u64,
    pub(crate) dead: u64,
}

impl Tally {
    pub(crate) fn plus(self, other: Self) -> Self {
        Self { settled: self.settled + other.settled, dead: self.dead + other.dead }
    }

    pub(crate) fn minus(self, other: Self) -> Self {
        let settled = self.settled.saturating_sub(other.settled);
        Self { settled, dead: self.dead.saturating_sub(other.dead) }
    }

    /// The larger of both numbers.
    pub(crate) fn max(self, other: Self) -> Self {
        Self { settled: self.settled.max(other.settled), dead: self.dead.max(other.dead) }
    }

    fn is_within(self, other: Self) -> bool {
        self.settled <= other.settled && self.dead <= other.dead
    }
}

/// What all had come to at some moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sample {
    /// When, in milliseconds of the process's own clock; what was before its start is negative.
    pub(crate) at_ms: i64,
    pub(crate) tally: Tally,
}

/// What is too much.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Exceeded {
    /// Of the last `of` records so many are dead.
    Ratio { dead: u64, of: u64, budget: DeadLetterBudget },
    /// So many records died in the last minute.
    PerMinute { dead: u64, budget: DeadLetterBudget },
}

impl Exceeded {
    /// How many are dead.
    pub(crate) fn dead(&self) -> u64 {
        let (Self::Ratio { dead, .. } | Self::PerMinute { dead, .. }) = self;
        *dead
    }
}

impl fmt::Display for Exceeded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ratio { dead, of, budget: DeadLetterBudget { ratio, window, .. } } => write!(
                f,
                "{dead} of the last {of} records are dead, more than dead_letter_budget has \
                 (ratio = {ratio} of window = {window})"
            ),
            Self::PerMinute { dead, budget } => write!(
                f,
                "{dead} records died within a minute, more than dead_letter_budget has \
                 (per_minute = {})",
                budget.per_minute
            ),
        }
    }
}

/// The samples since the budget was new, as far back as they are needed.
#[derive(Clone, Debug)]
pub(crate) struct Window {
    budget: DeadLetterBudget,
    samples: VecDeque<Sample>,
}

impl Window {
    /// A window that begins with `samples`, in the order of their time, and stands at `now`. Those
    /// that say more than `now` are of a row that somebody took away.
    pub(crate) fn new(budget: DeadLetterBudget, samples: Vec<Sample>, now: Sample) -> Self {
        let mut window = Self { budget, samples: VecDeque::new() };
        for sample in samples.into_iter().filter(|sample| sample.tally.is_within(now.tally)) {
            if window.samples.back().is_none_or(|last| last.tally.is_within(sample.tally)) {
                window.samples.push_back(sample);
            }
        }
        window.note(now);
        window
    }

    /// Records that make one step of the window.
    pub(crate) fn step(budget: &DeadLetterBudget) -> u64 {
        (budget.window / STEPS).max(1)
    }

    /// Takes in how it stands now.
    pub(crate) fn note(&mut self, now: Sample) {
        let len = self.samples.len();
        if self.samples.back().is_some_and(|last| last.tally == now.tally) {
            return;
        }
        if len >= 2 && self.is_close(&self.samples[len - 2], &now) {
            // Between two that are kept, only the last one counts.
            self.samples[len - 1] = now;
        } else {
            self.samples.push_back(now);
        }
        let start = now.tally.settled.saturating_sub(self.budget.window);
        while let Some(second) = self.samples.get(1) {
            if second.at_ms > now.at_ms - MINUTE_MS || second.tally.settled > start {
                break;
            }
            self.samples.pop_front();
        }
        if self.samples.len() > SAMPLES_MAX {
            self.thin(now.at_ms - MINUTE_MS);
        }
    }

    fn is_close(&self, one: &Sample, other: &Sample) -> bool {
        other.at_ms - one.at_ms < PACE_MS
            && other.tally.minus(one.tally).settled < Self::step(&self.budget)
    }

    /// Of what was before `before_ms`, one sample a step is enough.
    fn thin(&mut self, before_ms: i64) {
        let step = Self::step(&self.budget);
        let mut kept: Option<u64> = None;
        self.samples.retain(|sample| {
            let is_step = kept.is_none_or(|kept| sample.tally.settled >= kept + step);
            if is_step {
                kept = Some(sample.tally.settled);
            }
            is_step || sample.at_ms >= before_ms
        });
    }

    /// What is too much as it stands `now`, if anything is.
    pub(crate) fn exceeded(&self, now: Sample) -> Option<Exceeded> {
        let budget = self.budget;
        let (dead, of) = self.dead_of_window(now.tally);
        if dead as f64 > budget.ratio * budget.window as f64 {
            return Some(Exceeded::Ratio { dead, of, budget });
        }
        let dead = self.dead_of_minute(now);
        (dead > budget.per_minute).then_some(Exceeded::PerMinute { dead, budget })
    }

    /// The dead of the last `window` records, and how many records these are: fewer while the
    /// window is not full. Between two samples the dead are taken to be spread evenly.
    fn dead_of_window(&self, now: Tally) -> (u64, u64) {
        let Some(first) = self.samples.front() else { return (0, 0) };
        let start = now.settled.saturating_sub(self.budget.window);
        let before = self.samples.partition_point(|sample| sample.tally.settled <= start);
        let Some(left) = before.checked_sub(1).map(|at| self.samples[at].tally) else {
            let since = now.minus(first.tally);
            return (since.dead, since.settled);
        };
        let right = self.samples.get(before).map_or(now, |sample| sample.tally);
        let stretch = right.minus(left);
        let share = match stretch.settled {
            0 => 1.0,
            settled => (start - left.settled) as f64 / settled as f64,
        };
        let out = left.dead + (stretch.dead as f64 * share).round() as u64;
        (now.dead.saturating_sub(out), now.settled - start)
    }

    /// The dead since a minute ago, or since the first sample.
    fn dead_of_minute(&self, now: Sample) -> u64 {
        let ago = now.at_ms - MINUTE_MS;
        let before = self.samples.partition_point(|sample| sample.at_ms <= ago);
        let base = self.samples.get(before.saturating_sub(1)).map_or(0, |sample| sample.tally.dead);
        now.tally.dead.saturating_sub(base)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BUDGET: DeadLetterBudget =
        DeadLetterBudget { ratio: 0.5, window: 1000, per_minute: 2000 };

    fn sample(at_ms: i64, settled: u64, dead: u64) -> Sample {
        Sample { at_ms, tally: Tally { settled, dead } }
    }

    fn window(samples: &[Sample]) -> Window {
        let mut window = Window::new(BUDGET, Vec::new(), samples[0]);
        samples[1..].iter().for_each(|sample| window.note(*sample));
        window
    }

    #[test]
    fn a_pipeline_that_rejects_everything_stops_before_its_window_is_full() {
        let window = window(&[sample(0, 0, 0), sample(10, 400, 400)]);
        assert_eq!(window.exceeded(sample(20, 500, 500)), None, "as many as it has");
        let over = Exceeded::Ratio { dead: 501, of: 501, budget: BUDGET };
        assert_eq!(window.exceeded(sample(20, 501, 501)), Some(over));
    }

    #[test]
    fn one_in_ten_never_stops_it_however_long_it_runs() {
        let mut window = window(&[sample(0, 0, 0)]);
        for n in 1..5000_u64 {
            let now = sample(n as i64 * 1000, n * 300, n * 30);
            window.note(now);
            assert_eq!(window.exceeded(now), None, "{n}");
            assert!(window.samples.len() < SAMPLES_MAX + 2);
        }
    }

    #[test]
    fn what_slid_out_of_the_window_counts_no_more() {
        let mut window = window(&[sample(0, 0, 0), sample(10_000, 450, 450)]);
        for n in 1..=10_u64 {
            window.note(sample(10_000 + n as i64 * 10_000, 450 + n * 100, 450));
        }
        // The last 1000 records begin at number 450: all of them are well.
        assert_eq!(window.dead_of_window(Tally { settled: 1450, dead: 450 }), (0, 1000));
        assert_eq!(window.exceeded(sample(120_000, 1950, 950)), None);
        assert!(window.exceeded(sample(120_000, 1951, 951)).is_some());
    }

    #[test]
    fn a_batch_larger_than_the_window_counts_with_its_average() {
        let window = window(&[sample(0, 0, 0)]);
        assert_eq!(window.dead_of_window(Tally { settled: 4000, dead: 1200 }), (300, 1000));
        assert_eq!(window.exceeded(sample(10, 4000, 1200)), None);
        assert!(window.exceeded(sample(10, 4000, 2004)).is_some());
    }

    #[test]
    fn the_dead_of_a_minute_are_those_since_a_minute_ago() {
        let mut window = window(&[sample(0, 0, 0)]);
        for second in 1..=200_u64 {
            window.note(sample(second as i64 * 1000, second * 1000, second * 20));
        }
        let now = sample(200_000, 200_000, 4000);
        assert_eq!(window.dead_of_minute(now), 1200);
        // Nothing for an hour, then many at once.
        let later = sample(3_800_000, 202_001, 6001);
        assert_eq!(window.dead_of_minute(later), 2001);
        assert!(window.exceeded(later).is_some());
    }

    #[test]
    fn retried_records_that_die_count_without_settling_anything() {
        let window = window(&[sample(0, 0, 0), sample(10, 1000, 0)]);
        assert_eq!(window.exceeded(sample(90_000, 1000, 500)), None);
        assert!(window.exceeded(sample(90_000, 1000, 501)).is_some());
    }

    #[test]
    fn a_restart_goes_on_with_the_samples_that_are_kept() {
        let kept = vec![sample(-90_000, 0, 0), sample(-50_000, 300, 300)];
        let window = Window::new(BUDGET, kept, sample(0, 400, 400));
        assert!(window.exceeded(sample(10, 501, 501)).is_some());
        // A row that was taken away: what says more than it stands now is of another time.
        let other = vec![sample(-90_000, 5000, 10), sample(-80_000, 0, 0)];
        let window = Window::new(BUDGET, other, sample(0, 400, 400));
        assert_eq!(window.samples, [sample(-80_000, 0, 0), sample(0, 400, 400)]);
    }

    #[test]
    fn many_samples_of_a_slow_pipeline_are_thinned_out_and_say_the_same() {
        let mut window = window(&[sample(0, 0, 0)]);
        for n in 1..1000_u64 {
            window.note(sample(n as i64 * 5000, n, n / 4));
        }
        assert!(window.samples.len() <= SAMPLES_MAX + 1, "{}", window.samples.len());
        let (dead, of) = window.dead_of_window(Tally { settled: 1500, dead: 375 });
        assert!((245..=255).contains(&dead) && of == 1000, "{dead} of {of}");
    }
}
