//! Measures which share of its processors the process uses, for the pace of its pipelines.
//!
//! Read from Linux's `/proc/self/stat`. Elsewhere nothing is measured, and the pace goes by the
//! database and the queue alone.

use std::fs;
use std::thread::available_parallelism;
use std::time::{Duration, Instant};

use tokio::time::{MissedTickBehavior, interval};

use super::view::ServiceView;

/// How often it is measured: a hundred times what the kernel counts in.
const INTERVAL: Duration = Duration::from_secs(1);

/// What the kernel counts processor time in for programs, on every platform of Linux.
const TICK: Duration = Duration::from_millis(10);

/// Measures for as long as its runtime lives.
pub(super) async fn watch(view: ServiceView) {
    let cores = available_parallelism().map_or(1, usize::from) as f64;
    let Some(mut used) = cpu_time() else { return };
    let (mut looked_at, mut look) = (Instant::now(), interval(INTERVAL));
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        look.tick().await;
        let (Some(now_used), elapsed) = (cpu_time(), looked_at.elapsed()) else { return };
        // The first tick comes at once, with nothing to measure.
        if elapsed < INTERVAL / 2 {
            continue;
        }
        view.cpu(now_used.saturating_sub(used).as_secs_f64() / elapsed.as_secs_f64() / cores);
        (used, looked_at) = (now_used, Instant::now());
    }
}

/// Processor time of all threads so far, in user code and for it in the kernel.
fn cpu_time() -> Option<Duration> {
    parse(&fs::read_to_string("/proc/self/stat").ok()?)
}

/// Fields 14 and 15 of `proc(5)`. The second one is the program's name, which may hold anything.
fn parse(stat: &str) -> Option<Duration> {
    let (_, fields) = stat.rsplit_once(')')?;
    let mut ticks = fields.split_whitespace().skip(11);
    let mut next = || ticks.next()?.parse::<u32>().ok();
    Some(TICK * next()? + TICK * next()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processor_time_is_read_behind_the_oddest_name() {
        let stat = "7 (a) b (c) S 1 2 3 4 5 6 7 8 9 10 250 50 11 12";
        assert_eq!(parse(stat), Some(Duration::from_secs(3)));
        assert_eq!(parse("7 (a"), None);
        assert_eq!(parse("7 (a) S 1"), None);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn the_kernel_writes_it_as_we_read_it() {
        let before = cpu_time().expect("it can be read");
        let began = Instant::now();
        let mut sum = 0_u64;
        while cpu_time().expect("it can be read") < before + TICK * 2 {
            sum = std::hint::black_box(sum + 1);
            assert!(began.elapsed() < Duration::from_secs(60), "{sum} rounds took no time");
        }
    }
}
