//! From append to commit, at fixed rates below the top one. The feed is open-loop: each record is
//! sent when it is due, however slow the service is, so that none of its slowness is hidden
//! (coordinated omission). A record's time ends when its offset is seen committed. It begins when
//! the broker appended it, as its own stamp says; and, told apart from that, when it was due: that
//! counts a feed and a broker that are late, too.

mod appended;
mod latencies;
mod open_loop;
mod schedule;
mod seen;
mod stock;

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use tokio::task::spawn_blocking;

use self::latencies::Latencies;
use self::open_loop::{Fed, OpenLoop, Places, Stop};
use self::schedule::Schedule;
use self::seen::{Commit, Seen};
use super::error::BenchError;
use super::fill::Target;
use super::findings::{Latency, LatencyAt, Percentiles, median};
use super::limit::{Rows, Way, Writing};
use super::service::Running;
use super::stage::Stage;

/// The rates, as shares of the top one.
const SHARES: [f64; 3] = [0.25, 0.5, 0.8];

/// How often the stored offsets are looked at: a latency is seen this much too long at most.
const LOOK_INTERVAL: Duration = Duration::from_millis(5);

/// How long each rate is fed before it is measured: the pace finds its way meanwhile.
const WARM_UP: Duration = Duration::from_secs(5);

/// Transactions of which the bare one is the median.
const BARE_TRANSACTIONS: usize = 20;

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
    let topic = bench.site.stamping_topic(case.partitions).await?;
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
        let fed = at_rate(&mut running, feed, schedule, |done| step.done(done)).await?;
        let stamped = bench.site.brokers.as_ref().map(|_| target.clone());
        rates.push(LatencyAt {
            share_of_top: share,
            // Not of when the second one is due: that is whole nanoseconds.
            records_per_second: schedule.rate,
            records: fed.latencies.count(),
            from_due: fed.latencies.percentiles(),
            from_append: from_append(stamped, fed.commits).await?,
            feed_late_max: fed.late_max.as_secs_f64(),
        });
        feed = fed.feed;
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

/// A schedule that was fed to its end.
struct FedAt {
    feed: OpenLoop,
    late_max: Duration,
    /// From when each record was due.
    latencies: Latencies,
    commits: Vec<Commit>,
}

async fn at_rate(
    running: &mut Running<'_>,
    mut feed: OpenLoop,
    schedule: Schedule,
    mut done: impl FnMut(u64),
) -> Result<FedAt, BenchError> {
    let preparing = spawn_blocking(move || {
        feed.prepare(&schedule);
        feed
    });
    let mut feed = preparing.await?;
    let before = running.look().await?;
    let places = Arc::new(Places::new(i32::try_from(before.len()).unwrap_or(0)));
    let (stop, begun) = (StopOnDrop(Stop::default()), Instant::now());
    let (noted, stopped) = (places.clone(), stop.0.clone());
    let feeding = spawn_blocking(move || {
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
    let (Fed { late_max }, feed) = feeding.await??;
    if seen.records < schedule.records {
        let what = format!("has committed {} of {} records", seen.records, schedule.records);
        return Err(running.child.failed(what));
    }
    let Seen { latencies, commits, .. } = seen;
    Ok(FedAt { feed, late_max, latencies, commits })
}

/// From append, as the broker stamped it; a broker of our own does not.
async fn from_append(
    stamped: Option<Target>,
    commits: Vec<Commit>,
) -> Result<Option<Percentiles>, BenchError> {
    let Some(target) = stamped else { return Ok(None) };
    let reading = spawn_blocking(move || appended::measure(&target, &commits));
    Ok(Some(reading.await??.percentiles()))
}
