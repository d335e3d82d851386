//! What is seen committed while a schedule is fed, and how long after each record was due.

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::{Duration, Instant, SystemTime};

use super::latencies::Latencies;
use super::open_loop::Places;
use super::schedule::Schedule;
use crate::bench::error::BenchError;
use crate::bench::service::STALL_LIMIT;

/// What was seen committed so far.
pub(super) struct Seen {
    /// Records that were seen committed.
    pub(super) records: u64,
    /// From when each of those was due that are to be measured.
    pub(super) latencies: Latencies,
    /// The commits of these.
    pub(super) commits: Vec<Commit>,
    base: BTreeMap<i32, i64>,
    next: BTreeMap<i32, i64>,
    schedule: Schedule,
    begun: Instant,
    begun_at: SystemTime,
    moved: Instant,
}

/// Offsets of one partition that were seen committed at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Commit {
    /// The partition.
    pub(super) partition: i32,
    /// Its offsets.
    pub(super) offsets: Range<i64>,
    /// When.
    pub(super) at: SystemTime,
}

impl Seen {
    /// Nothing yet of what begins now at `base`.
    pub(super) fn new(base: BTreeMap<i32, i64>, schedule: Schedule, begun: Instant) -> Self {
        Self {
            records: 0,
            latencies: Latencies::new(),
            commits: Vec::new(),
            next: base.clone(),
            base,
            schedule,
            begun,
            begun_at: SystemTime::now() - begun.elapsed(),
            moved: Instant::now(),
        }
    }

    /// Takes the time of each record that is committed since the last look.
    pub(super) fn note(
        &mut self,
        stored: &BTreeMap<i32, i64>,
        places: &Places,
    ) -> Result<(), BenchError> {
        let now = self.begun.elapsed();
        for (partition, to) in stored {
            let base = self.base.get(partition).copied().unwrap_or(0);
            let from = self.next.insert(*partition, *to).unwrap_or(base);
            let place = |offset: i64| usize::try_from(offset - base).unwrap_or(0);
            let numbers = places.between(*partition, place(from), place(*to));
            if numbers.len() as i64 != to - from {
                let problem = format!(
                    "partition {partition} moved to {to}, and only {} records were sent there",
                    place(from) + numbers.len()
                );
                let doing = "matching offsets with records";
                return Err(BenchError::Kafka { doing, problem });
            }
            if to > &from {
                self.moved = Instant::now();
            }
            self.records += numbers.len() as u64;
            self.take(*partition, from..*to, &numbers, now);
        }
        Ok(())
    }

    /// Takes those of `numbers` that are to be measured; they grow with their offsets.
    fn take(&mut self, partition: i32, offsets: Range<i64>, numbers: &[u64], now: Duration) {
        let warm_up = numbers.partition_point(|number| *number < self.schedule.warm_up);
        let measured = &numbers[warm_up..];
        if !measured.is_empty() {
            let offsets = offsets.end - measured.len() as i64..offsets.end;
            self.commits.push(Commit { partition, offsets, at: self.begun_at + now });
        }
        for number in measured {
            self.latencies.add(now.saturating_sub(self.schedule.due(*number)));
        }
    }

    /// Whether nothing has been committed for so long that nothing will be.
    pub(super) fn stands_still(&self) -> bool {
        self.moved.elapsed() > STALL_LIMIT
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_latency_begins_when_the_record_was_due() {
        let schedule = Schedule::new(1_000.0, Duration::ZERO, Duration::from_secs(1));
        let begun = Instant::now().checked_sub(Duration::from_secs(2)).expect("an earlier time");
        let places = Places::new(1);
        (0..1_000).for_each(|number| places.push(0, number));
        let mut seen = Seen::new([(0, 5)].into(), schedule, begun);
        seen.note(&[(0, 1_005)].into(), &places).unwrap();
        let found = seen.latencies.percentiles();
        assert_eq!(seen.latencies.count(), 1_000);
        // Due over the first second, all of them seen after the second one.
        assert!((1.45..1.6).contains(&found.p50), "{}", found.p50);
        assert!(found.max >= 1.99 && found.p999 <= found.max, "{}", found.max);
    }

    #[test]
    fn what_belongs_to_the_warm_up_is_not_measured() {
        let second = Duration::from_secs(1);
        let mut seen =
            Seen::new([(0, 0)].into(), Schedule::new(2.0, second, second), Instant::now());
        let places = Places::new(1);
        (0..4).for_each(|number| places.push(0, number));
        seen.note(&[(0, 3)].into(), &places).unwrap();
        seen.note(&[(0, 4)].into(), &places).unwrap();
        assert_eq!(seen.records, 4);
        let offsets: Vec<_> = seen.commits.into_iter().map(|commit| commit.offsets).collect();
        assert_eq!(offsets, [2..3, 3..4]);
    }

    #[test]
    fn an_offset_that_nobody_has_sent_is_an_error() {
        let schedule = Schedule::new(1_000.0, Duration::ZERO, Duration::from_secs(1));
        let mut seen = Seen::new([(0, 0)].into(), schedule, Instant::now());
        assert!(seen.note(&[(0, 1)].into(), &Places::new(1)).is_err());
    }
}
