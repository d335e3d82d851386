//! From append to commit, at fixed rates below the top one. The feed is open-loop: a record's time
//! begins when it is due, not when it was sent, so that a service which holds the feed up does not
//! hide its own slowness (coordinated omission). It ends when its offset is seen committed.

mod open_loop;
mod schedule;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use self::open_loop::{Fed, OpenLoop, Places, Stop};
use self::schedule::Schedule;
use super::error::BenchError;
use super::findings::{Latency, LatencyAt, median};
use super::limit::{Rows, Way, Writing};
use super::service::Running;
use super::stage::Stage;

/// The rates, as shares of the top one.
const SHARES: [f64; 3] = [0.25, 0.5, 0.8];

/// How often the stored offsets are looked at: a latency is seen this much too long at most.
const LOOK_INTERVAL: Duration = Duration::from_millis(5);

/// How long each rate is fed before it is measured: the pace finds its way meanwhile.
const WARM_UP: Duration = Duration::from_secs(5);

/// The longest latency that is told from a longer one.
const LATENCY_MAX: Duration = Duration::from_secs(3600);

/// Transactions of which the bare one is the median.
const BARE_TRANSACTIONS: usize = 20;

/// The percentiles of a curve.
const CURVE: [f64; 16] = [
    0.0, 10.0, 25.0, 50.0, 75.0, 90.0, 95.0, 98.0, 99.0, 99.5, 99.8, 99.9, 99.95, 99.98, 99.99,
    100.0,
];

/// Measures `seconds` at each rate.
pub(super) async fn measure(
    stage: &Stage<'_>,
    top_rate: f64,
    rows: Option<&Rows>,
    seconds: u32,
) -> Result<Latency, BenchError> {
    let bare_transaction_seconds = match rows {
        Some(rows) => bare_transaction(stage, rows).await?,
        None => None,
    };
    stage.reset().await?;
    let (bench, case) = (stage.bench, &stage.case);
    let topic = bench.site.topic(case.partitions).await?;
    let mut running = Running::start(stage, &topic, false).await?;
    running.has_partitions(case.partitions).await?;
    let mut target = bench.target(&topic, case, 0);
    running.brokers().clone_into(&mut target.brokers);
    let feed = bench.plan.mode.feed(&case.shape, case.partitions);
    let mut feed = OpenLoop::new(&target, feed)?;
    let mut rates = Vec::new();
    for share in SHARES {
        stage.empty_table().await?;
        let measured = Duration::from_secs(seconds.into());
        let schedule = Schedule::new(top_rate * share, WARM_UP, measured);
        let what = format!("latency at {:.0} records/s", top_rate * share);
        let step = bench.progress.step(&what, schedule.records);
        let (at, back) = at_rate(&mut running, feed, schedule, |done| step.done(done)).await?;
        feed = back;
        rates.push(LatencyAt { share_of_top: share, ..at });
    }
    running.child.stop().await?;
    let config = bench.config(case);
    let linger = config.pipelines.first().map(|pipeline| config.batch(pipeline).linger);
    Ok(Latency {
        resolution_seconds: LOOK_INTERVAL.as_secs_f64(),
        linger_seconds: linger.unwrap_or_default().as_secs_f64(),
        bare_transaction_seconds,
        rates,
    })
}

/// How long one bare transaction of a full batch takes on one connection while nothing else runs.
async fn bare_transaction(stage: &Stage<'_>, rows: &Rows) -> Result<Option<f64>, BenchError> {
    stage.reset().await?;
    let size = stage.bench.batch_records(&stage.case);
    let writing = Writing::prepare(&stage.database.options, Way::Copy, 1, rows, size).await?;
    let written = writing.at_most(BARE_TRANSACTIONS).run().await?;
    Ok(median(written.transactions.iter().map(Duration::as_secs_f64).collect()))
}

/// Stops the feed when whoever measures is gone.
struct StopOnDrop(Stop);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.store(true, Relaxed);
    }
}

async fn at_rate(
    running: &mut Running<'_>,
    mut feed: OpenLoop,
    schedule: Schedule,
    mut done: impl FnMut(u64),
) -> Result<(LatencyAt, OpenLoop), BenchError> {
    let before = running.look().await?;
    let places = Arc::new(Places::new(i32::try_from(before.len()).unwrap_or(0)));
    let (stop, begun) = (StopOnDrop(Stop::default()), Instant::now());
    let (noted, stopped) = (places.clone(), stop.0.clone());
    let feeding = tokio::task::spawn_blocking(move || {
        let fed = feed.run(&schedule, begun, &noted, &stopped);
        fed.map(|fed| (fed, feed))
    });
    let mut seen = Seen::new(before, schedule, begun);
    let mut ticks = tokio::time::interval(LOOK_INTERVAL);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    while seen.records < schedule.records {
        ticks.tick().await;
        let stored = running.look().await?;
        seen.note(&stored, &places)?;
        done(seen.records);
        if feeding.is_finished() && seen.stands_still() {
            break;
        }
    }
    let fed = feeding.await.map_err(|error| BenchError::System(std::io::Error::other(error)))?;
    let (Fed { late_max }, feed) = fed?;
    if seen.records < schedule.records {
        let what = format!("has committed {} of {} records", seen.records, schedule.records);
        return Err(running.child.failed(what));
    }
    Ok((seen.found(schedule, late_max), feed))
}

/// What was seen committed so far.
struct Seen {
    base: BTreeMap<i32, i64>,
    next: BTreeMap<i32, i64>,
    schedule: Schedule,
    begun: Instant,
    moved: Instant,
    records: u64,
    histogram: Histogram<u64>,
}

impl Seen {
    fn new(base: BTreeMap<i32, i64>, schedule: Schedule, begun: Instant) -> Self {
        let max = u64::try_from(LATENCY_MAX.as_micros()).unwrap_or(u64::MAX);
        let histogram = Histogram::new_with_bounds(1, max, 3).expect("the bounds are constant");
        let next = base.clone();
        Self { base, next, schedule, begun, moved: Instant::now(), records: 0, histogram }
    }

    /// Takes the time of each record that is committed since the last look.
    fn note(&mut self, stored: &BTreeMap<i32, i64>, places: &Places) -> Result<(), BenchError> {
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
            for number in numbers.into_iter().filter(|number| *number >= self.schedule.warm_up) {
                let took = now.saturating_sub(self.schedule.due(number));
                self.histogram.saturating_record(u64::try_from(took.as_micros()).unwrap_or(0));
            }
        }
        Ok(())
    }

    /// Whether nothing has been committed for so long that nothing will be.
    fn stands_still(&self) -> bool {
        self.moved.elapsed() > super::service::STALL_LIMIT
    }

    fn found(&self, schedule: Schedule, late_max: Duration) -> LatencyAt {
        let at = |percentile: f64| self.histogram.value_at_percentile(percentile) as f64 / 1e6;
        LatencyAt {
            share_of_top: 0.0,
            // Not of when the second one is due: that is whole nanoseconds.
            records_per_second: schedule.rate,
            records: self.histogram.len(),
            p50: at(50.0),
            p99: at(99.0),
            p999: at(99.9),
            max: self.histogram.max() as f64 / 1e6,
            feed_late_max: late_max.as_secs_f64(),
            curve: CURVE.map(|percentile| (percentile, at(percentile))).to_vec(),
        }
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
        let found = seen.found(schedule, Duration::ZERO);
        // Due over the first second, all of them seen after the second one.
        assert_eq!(found.records, 1_000);
        assert!((1.45..1.6).contains(&found.p50), "{}", found.p50);
        assert!(found.max >= 1.99 && found.p999 <= found.max, "{}", found.max);
    }

    #[test]
    fn an_offset_that_nobody_has_sent_is_an_error() {
        let schedule = Schedule::new(1_000.0, Duration::ZERO, Duration::from_secs(1));
        let mut seen = Seen::new([(0, 0)].into(), schedule, Instant::now());
        assert!(seen.note(&[(0, 1)].into(), &Places::new(1)).is_err());
    }
}
