//! A fixed rate as a schedule: when each record is due, whatever became of those before it.

use std::time::Duration;

/// Records at even distances.
#[derive(Clone, Copy, Debug)]
pub(super) struct Schedule {
    /// Records a second.
    pub(super) rate: f64,
    /// Records in all.
    pub(super) records: u64,
    /// The first ones, which are sent and not measured.
    pub(super) warm_up: u64,
}

impl Schedule {
    /// `rate` records a second for `warm_up` and then `measured` seconds.
    pub(super) fn new(rate: f64, warm_up: Duration, measured: Duration) -> Self {
        let of = |time: Duration| (rate * time.as_secs_f64()).round() as u64;
        let warm_up_records = of(warm_up);
        Self { rate, records: warm_up_records + of(measured).max(1), warm_up: warm_up_records }
    }

    /// When record `index` is due, after the beginning.
    pub(super) fn due(&self, index: u64) -> Duration {
        Duration::from_secs_f64(index as f64 / self.rate)
    }

    /// How many records are due by then.
    pub(super) fn due_by(&self, elapsed: Duration) -> u64 {
        let due = (elapsed.as_secs_f64() * self.rate).floor() as u64 + 1;
        due.min(self.records)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn records_are_due_at_even_distances_after_the_warm_up_too() {
        let schedule = Schedule::new(1_000.0, SECOND, 2 * SECOND);
        assert_eq!((schedule.warm_up, schedule.records), (1_000, 3_000));
        assert_eq!(schedule.due(0), Duration::ZERO);
        assert_eq!(schedule.due(1_500), Duration::from_millis(1_500));
    }

    #[test]
    fn what_is_due_does_not_depend_on_what_was_sent() {
        let schedule = Schedule::new(1_000.0, Duration::ZERO, SECOND);
        assert_eq!(schedule.due_by(Duration::ZERO), 1);
        assert_eq!(schedule.due_by(Duration::from_micros(999)), 1);
        assert_eq!(schedule.due_by(Duration::from_millis(100)), 101);
        // A feed that stood still for a second has all of it to send, each late.
        assert_eq!(schedule.due_by(3 * SECOND), 1_000);
    }
}
