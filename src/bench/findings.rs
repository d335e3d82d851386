//! What was found: every run as it was, and the medians. `--json` prints this, the table and the
//! report show it.

use std::collections::BTreeMap;

use serde::Serialize;

use super::meter::Cpu;
use super::plan::{Case, Scale};

/// All of it.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Findings {
    /// The mode.
    pub(crate) bench: &'static str,
    /// The program's version.
    pub(crate) version: &'static str,
    /// When it began, RFC 3339.
    pub(crate) begun_at: String,
    /// What it ran on.
    pub(crate) machine: Machine,
    /// What must be known to read the figures.
    pub(crate) notes: Vec<String>,
    /// Settings that were given beside the defaults.
    pub(crate) set: BTreeMap<String, String>,
    /// What the points vary, if it is a scaling run.
    pub(crate) scale: Option<Scale>,
    /// One for each case.
    pub(crate) points: Vec<Point>,
    /// From append to commit, if it was measured.
    pub(crate) latency: Option<Latency>,
}

/// What it ran on.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Machine {
    /// The processor's name, where the system tells.
    pub(crate) processor: Option<String>,
    /// How many cores there are for us.
    pub(crate) cores: usize,
    /// PostgreSQL's version.
    pub(crate) postgres: String,
    /// Where PostgreSQL and Kafka are.
    pub(crate) servers: String,
}

/// One case.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Point {
    /// The value that makes it differ from the others of a scaling run.
    pub(crate) value: Option<u64>,
    /// Its conditions.
    pub(crate) case: Case,
    /// The mean size of a record's value.
    pub(crate) value_bytes: f64,
    /// All runs in the order in which they ran.
    pub(crate) runs: Vec<Run>,
    /// The medians of each way.
    pub(crate) medians: BTreeMap<Who, Median>,
    /// The service's rate over that of the limit: the median of the rounds' own ratios.
    pub(crate) ratio_to_limit: Option<f64>,
    /// Seconds that the records of the hottest key take one after the other, and no less.
    pub(crate) serial_floor_seconds: Option<f64>,
}

/// Who ran.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Who {
    /// The service.
    Service,
    /// Sorted binary COPY: the limit.
    Copy,
    /// `insert .. unnest .. on conflict do nothing`.
    Unnest,
    /// A bare loop of sleeps: the limit where nothing is saved.
    Sleep,
}

/// One run.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Run {
    /// Who ran.
    pub(crate) who: Who,
    /// In which round, from 1.
    pub(crate) round: u32,
    /// Records of the service that are committed, or rows of a bare way.
    pub(crate) records: u64,
    /// How long it took: the service from having its partitions to the last commit, a bare way from
    /// its first transaction's beginning to the last one's end.
    pub(crate) seconds: f64,
    /// Records (or rows) a second.
    pub(crate) records_per_second: f64,
    /// The same between the first commit that was seen and the last, without what the first one
    /// had; of the service, and only if there was more than one. It flatters by the work that was
    /// done by then on what is committed later.
    pub(crate) steady_records_per_second: Option<f64>,
    /// From the start of the process until it had its partitions, of the service.
    pub(crate) startup_seconds: Option<f64>,
    /// From having its partitions until the first commit was seen, of the service.
    pub(crate) first_commit_seconds: Option<f64>,
    /// CPU seconds per million records.
    pub(crate) cpu_seconds_per_million: Cpu,
    /// The service's peak resident memory.
    pub(crate) peak_memory_bytes: Option<u64>,
    /// Seconds that stages took, waiting included, as the service's own metrics say, per million
    /// records.
    pub(crate) stage_seconds_per_million: BTreeMap<String, f64>,
    /// How long a bare way's transactions took, the median in seconds.
    pub(crate) transaction_seconds: Option<f64>,
    /// Seconds since the partitions were had, and records committed by then.
    pub(crate) committed: Vec<(f64, u64)>,
}

/// The medians of one way over the rounds.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Median {
    /// Records (or rows) a second.
    pub(crate) records_per_second: f64,
    /// The slowest and the fastest round.
    pub(crate) range: (f64, f64),
    /// CPU seconds per million records.
    pub(crate) cpu_seconds_per_million: Cpu,
    /// Peak resident memory: the most of all rounds.
    pub(crate) peak_memory_bytes: Option<u64>,
    /// See [`Run::transaction_seconds`].
    pub(crate) transaction_seconds: Option<f64>,
}

/// From append to commit at fixed rates.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Latency {
    /// How fine the measure is: how often the stored offsets were looked at, in seconds.
    pub(crate) resolution_seconds: f64,
    /// `batch.linger`, in seconds.
    pub(crate) linger_seconds: f64,
    /// One bare transaction of a full batch on one connection, the median in seconds.
    pub(crate) bare_transaction_seconds: Option<f64>,
    /// One for each rate.
    pub(crate) rates: Vec<LatencyAt>,
}

/// Latency at one rate.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct LatencyAt {
    /// The share of the top rate.
    pub(crate) share_of_top: f64,
    /// Records a second that were to be appended.
    pub(crate) records_per_second: f64,
    /// How many were measured.
    pub(crate) records: u64,
    /// From when the broker appended a record, where it says so.
    pub(crate) from_append: Option<Percentiles>,
    /// From when a record was due to be sent: what a late feed or broker adds is in it.
    pub(crate) from_due: Percentiles,
    /// How late the feed itself ever was against its schedule, in seconds.
    pub(crate) feed_late_max: f64,
}

/// Seconds until records were seen committed, by percentile.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Percentiles {
    /// Half of the records took so long at most.
    pub(crate) p50: f64,
    /// See `p50`.
    pub(crate) p99: f64,
    /// See `p50`.
    pub(crate) p999: f64,
    /// See `p50`.
    pub(crate) max: f64,
    /// Percentile and seconds, for a plot.
    pub(crate) curve: Vec<(f64, f64)>,
}

impl LatencyAt {
    /// What was measured, with what it begins at.
    pub(super) fn measures(&self) -> impl Iterator<Item = (&'static str, &Percentiles)> {
        let append = self.from_append.iter().map(|percentiles| ("append", percentiles));
        append.chain(std::iter::once(("due", &self.from_due)))
    }
}

impl Who {
    /// What people call it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Service => "service",
            Self::Copy => "limit (sorted COPY)",
            Self::Unnest => "unnest, on conflict",
            Self::Sleep => "limit (bare sleeps)",
        }
    }
}

impl Point {
    /// Reckons the medians.
    pub(super) fn new(value: Option<u64>, case: Case, value_bytes: f64, runs: Vec<Run>) -> Self {
        let mut by_who: BTreeMap<Who, Vec<&Run>> = BTreeMap::new();
        runs.iter().for_each(|run| by_who.entry(run.who).or_default().push(run));
        let medians = by_who.iter().map(|(who, runs)| (*who, Median::of(runs))).collect();
        let run_of = |who: Who, round| runs.iter().find(|run| run.who == who && run.round == round);
        let limit = if by_who.contains_key(&Who::Copy) { Who::Copy } else { Who::Sleep };
        let rounds = 1..=runs.iter().map(|run| run.round).max().unwrap_or(0);
        let ratio = |round| {
            let limit = run_of(limit, round)?.records_per_second;
            Some(run_of(Who::Service, round)?.records_per_second / limit)
        };
        Self {
            value,
            value_bytes,
            medians,
            ratio_to_limit: median(rounds.filter_map(ratio).collect()),
            serial_floor_seconds: None,
            case,
            runs,
        }
    }

    /// The median of the seconds until the service's first commit was seen.
    pub(super) fn first_commit(&self) -> Option<f64> {
        median(self.runs.iter().filter_map(|run| run.first_commit_seconds).collect())
    }

    /// The median of the service's rates from the first commit to the last.
    pub(super) fn steady_rate(&self) -> Option<f64> {
        median(self.runs.iter().filter_map(|run| run.steady_records_per_second).collect())
    }

    /// The service's top rate.
    pub(super) fn top_rate(&self) -> Option<f64> {
        self.medians.get(&Who::Service).map(|median| median.records_per_second)
    }
}

impl Median {
    fn of(runs: &[&Run]) -> Self {
        let rates = || runs.iter().map(|run| run.records_per_second);
        let cpu = |of: fn(&Cpu) -> Option<f64>| {
            median(runs.iter().filter_map(|run| of(&run.cpu_seconds_per_million)).collect())
        };
        let names = runs.iter().flat_map(|run| run.cpu_seconds_per_million.stages.keys());
        let names: std::collections::BTreeSet<_> = names.collect();
        let stage = |name: &String| {
            let of_run =
                |run: &&Run| run.cpu_seconds_per_million.stages.get(name).copied().unwrap_or(0.0);
            Some((name.clone(), median(runs.iter().map(of_run).collect())?))
        };
        Self {
            records_per_second: median(rates().collect()).unwrap_or(f64::NAN),
            range: (rates().fold(f64::INFINITY, f64::min), rates().fold(0.0, f64::max)),
            cpu_seconds_per_million: Cpu {
                own: cpu(|cpu| cpu.own),
                stages: names.into_iter().filter_map(stage).collect(),
                server: cpu(|cpu| cpu.server),
                broker: cpu(|cpu| cpu.broker),
                bench: cpu(|cpu| cpu.bench),
            },
            peak_memory_bytes: runs.iter().filter_map(|run| run.peak_memory_bytes).max(),
            transaction_seconds: median(
                runs.iter().filter_map(|run| run.transaction_seconds).collect(),
            ),
        }
    }
}

/// The middle of `values`, of an even number the mean of the two in the middle; `None` of none.
pub(super) fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let upper = values.get(values.len() / 2)?;
    match values.len() % 2 {
        0 => Some((values[values.len() / 2 - 1] + upper) / 2.0),
        _ => Some(*upper),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::bench::modes::Shape;

    pub(in crate::bench) fn case() -> Case {
        let shape = Shape {
            seed: 1,
            repeats: 0.0,
            malformed: 0.0,
            refused: 0.0,
            context: 10,
            record_bytes: 0,
            zipf: false,
        };
        let (records, partitions, connections, batch, table_rows) = (100, 2, 1, None, 0);
        Case { records, partitions, connections, batch, table_rows, shape }
    }

    pub(in crate::bench) fn run(who: Who, round: u32, rate: f64) -> Run {
        Run {
            who,
            round,
            records: 100,
            seconds: 100.0 / rate,
            records_per_second: rate,
            steady_records_per_second: None,
            first_commit_seconds: None,
            startup_seconds: None,
            cpu_seconds_per_million: Cpu { own: Some(1.0 / rate), ..Cpu::default() },
            peak_memory_bytes: None,
            stage_seconds_per_million: BTreeMap::new(),
            transaction_seconds: None,
            committed: vec![(0.0, 0), (100.0 / rate, 100)],
        }
    }

    #[test]
    fn the_median_is_the_middle() {
        assert_eq!(median(vec![3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(vec![4.0, 1.0, 2.0, 3.0]), Some(2.5));
        assert_eq!(median(vec![]), None);
    }

    #[test]
    fn the_ratio_is_that_of_the_rounds_not_of_the_best() {
        let runs = vec![
            run(Who::Service, 1, 50.0),
            run(Who::Copy, 1, 100.0),
            run(Who::Service, 2, 10.0),
            run(Who::Copy, 2, 100.0),
            run(Who::Service, 3, 60.0),
            run(Who::Copy, 3, 100.0),
        ];
        let point = Point::new(None, case(), 0.0, runs);
        assert_eq!(point.ratio_to_limit, Some(0.5));
        assert_eq!(point.medians[&Who::Service].range, (10.0, 60.0));
        assert_eq!(point.top_rate(), Some(50.0));
    }

    #[test]
    fn a_bare_wait_is_the_limit_where_nothing_is_saved() {
        let runs = vec![run(Who::Service, 1, 30.0), run(Who::Sleep, 1, 100.0)];
        assert_eq!(Point::new(None, case(), 0.0, runs).ratio_to_limit, Some(0.3));
    }
}
