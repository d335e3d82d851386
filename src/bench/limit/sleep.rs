//! The bare limit of waiting: a loop that sleeps as long for each record, with as many in flight,
//! and nothing else.

use std::time::{Duration, Instant};

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::runtime::Builder;

use crate::bench::error::BenchError;

/// Sleeps `records` times for `wait`, `in_flight` at a time on `threads` threads. Gives how long
/// it took.
pub(in crate::bench) fn sleep_loop(
    records: u64,
    wait: Duration,
    in_flight: usize,
    threads: usize,
) -> Result<Duration, BenchError> {
    let threads = threads.max(1);
    let share = |all: u64, thread: usize| {
        let (threads, thread) = (threads as u64, thread as u64);
        all / threads + u64::from(thread < all % threads)
    };
    let begun = Instant::now();
    std::thread::scope(|scope| {
        let loops: Vec<_> = (0..threads)
            .map(|thread| {
                let (records, in_flight) =
                    (share(records, thread), share(in_flight as u64, thread).max(1));
                scope.spawn(move || {
                    let runtime = Builder::new_current_thread().enable_all().build()?;
                    runtime.block_on(sleeps(records, wait, in_flight));
                    Ok::<_, std::io::Error>(())
                })
            })
            .collect();
        for one in loops {
            one.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        }
        Ok(())
    })
    .map(|()| begun.elapsed())
    .map_err(BenchError::System)
}

async fn sleeps(records: u64, wait: Duration, in_flight: u64) {
    let mut sleeping = FuturesUnordered::new();
    for _ in 0..records {
        if sleeping.len() as u64 == in_flight {
            sleeping.next().await;
        }
        sleeping.push(tokio::time::sleep(wait));
    }
    while sleeping.next().await.is_some() {}
}
