//! What a real PostgreSQL took: medians in milliseconds, by records of a transaction and by
//! transactions under way.
//!
//! Recorded with PostgreSQL 15 on two cores that had other work too, which is why it has bumps:
//! `pgbench -c CLIENTS -T 2 -l` with `insert into rows select .. from generate_series(1, RECORDS)`,
//! rows as ads saves them; for [`SLOW`] with `pgbench -c 12 -S` beside it.

use std::time::Duration;

/// One phase of a server: a row for each of [`RECORDS`], with a time for each of [`UNDER_WAY`].
pub(crate) type Curve = [[f64; 4]; 4];

const RECORDS: [f64; 4] = [200.0, 1000.0, 5000.0, 20_000.0];
const UNDER_WAY: [f64; 4] = [1.0, 2.0, 4.0, 8.0];

pub(crate) const FAST: Curve = [
    [1.6, 1.8, 4.0, 9.4],
    [8.0, 12.0, 22.1, 37.8],
    [31.6, 54.0, 100.0, 218.6],
    [136.0, 233.2, 427.7, 1016.4],
];

pub(crate) const SLOW: Curve = [
    [8.8, 13.4, 11.8, 23.5],
    [57.4, 29.5, 35.7, 70.0],
    [94.6, 128.7, 175.2, 458.1],
    [1913.5, 516.9, 684.2, 1806.5],
];

/// How long `records` take while `under_way` transactions are under way, on the lines between what
/// was recorded and beyond.
pub(crate) fn took(curve: &Curve, under_way: usize, records: usize) -> Duration {
    let of = |times: &[f64; 4]| on_line(&UNDER_WAY, times, under_way as f64);
    let by_records = [0, 1, 2, 3].map(|row| of(&curve[row]));
    let records = records as f64;
    // Below what was recorded, as long as the smallest.
    let millis = on_line(&RECORDS, &by_records, records.max(RECORDS[0]));
    Duration::from_secs_f64(millis / 1000.0)
}

fn on_line(at: &[f64; 4], times: &[f64; 4], wanted: f64) -> f64 {
    let next = at.iter().position(|at| *at >= wanted).unwrap_or(3).max(1);
    let share = (wanted - at[next - 1]) / (at[next] - at[next - 1]);
    times[next - 1] + (times[next] - times[next - 1]) * share
}
