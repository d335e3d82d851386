//! Measures: the real service and the bare database, in one run, interleaved in rounds, on the same
//! records. [`run`] gives [`Findings`]; whatever it has made on the servers is gone then.
//!
//! # Why the limit is what it is
//! Rows are read back from what the service has saved, and written again by sorted binary COPY,
//! which knows no duplicates: no service that is safe from them can be faster. How far off it is
//! says what the service costs, whatever the machine.

mod child;
mod error;
mod fill;
mod findings;
mod growth;
mod latency;
mod limit;
mod meter;
pub(crate) mod modes;
mod plan;
mod progress;
mod report;
mod rounds;
mod service;
mod settings;
mod show;
mod site;
mod stage;
mod survey;
mod watch;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::sync::Arc;

pub(crate) use self::error::BenchError;
pub(crate) use self::findings::Findings;
use self::findings::{Machine, Point, Who};
pub(crate) use self::plan::{Case, Plan, Scale};
pub(crate) use self::progress::Progress;
pub(crate) use self::report::page;
pub(crate) use self::site::Names;
use self::site::Site;
use self::stage::Stage;
use crate::config::{Config, Kind};
use crate::postgres::migrate::MigrationSet;
use crate::service::{AnyPipeline, StopSignals};

/// What a bench is given from outside.
pub(crate) struct Surroundings<'a> {
    /// The configuration that the plan's settings make, servers included.
    pub(crate) config: &'a Config,
    /// Whether the brokers of the configuration are to be used; else each run has a Kafka of its
    /// own in this process.
    pub(crate) has_brokers: bool,
    /// `database.password_file`, as it was written.
    pub(crate) password_file: Option<String>,
    /// What it calls what it makes.
    pub(crate) names: Names,
    /// Where the servers are, in words.
    pub(crate) servers: String,
    /// The pipelines that this program has, the bench's own included.
    pub(crate) pipelines: &'a [Arc<dyn AnyPipeline>],
    /// Variables of the environment that the measured service must not see.
    pub(crate) without: &'a [OsString],
}

/// One measurement under way.
struct Bench<'a> {
    plan: &'a Plan,
    around: &'a Surroundings<'a>,
    without: &'a [OsString],
    progress: &'a Progress,
    site: Site,
}

/// Measures what `plan` says.
///
/// # Errors
/// A server, the service or the operating system fails; a run has a wrong outcome; a signal comes.
pub(crate) async fn run(
    plan: &Plan,
    around: &Surroundings<'_>,
    progress: &Progress,
) -> Result<Findings, BenchError> {
    let mut signals = StopSignals::listen()?;
    let (config, begun_at) = (around.config, chrono::Utc::now());
    let password = config.database.password.as_ref().map(|password| password.expose());
    let brokers = around.has_brokers.then_some(config.kafka.brokers.as_str());
    let (url, names) = (config.database.url.expose(), around.names.clone());
    let site = Site::open(url, password, brokers, &config.kafka.properties, names);
    let bench = Bench { plan, around, without: around.without, progress, site: site.await? };
    let measured = tokio::select! {
        measured = bench.measure() => measured,
        signal = signals.next() => Err(BenchError::Interrupted(signal)),
    };
    // What was under way is dropped here: its service is killed and its connections are closed.
    signals.or_exit(bench.site.clear()).await;
    measured.map(|findings| Findings {
        begun_at: begun_at.to_rfc3339_opts(chrono::SecondsFormat::Secs, true),
        ..findings
    })
}

impl Bench<'_> {
    async fn measure(&self) -> Result<Findings, BenchError> {
        let (mut points, mut latency) = (Vec::new(), None);
        for (value, case) in self.plan.cases() {
            if let (Some(value), Some((scale, _))) = (value, &self.plan.scale) {
                self.progress.say(&format!("{value} {}", scale.unit()));
            }
            let stage = Stage::set(self, case).await?;
            let (point, rows) = rounds::run(&stage, value).await?;
            if let Some((seconds, top)) = self.plan.latency_seconds.zip(point.top_rate()) {
                latency = Some(latency::measure(&stage, top, rows.as_ref(), seconds).await?);
            }
            points.push(point);
            stage.clear().await;
        }
        Ok(Findings {
            bench: self.plan.mode.name(),
            version: env!("CARGO_PKG_VERSION"),
            begun_at: String::new(),
            machine: self.machine().await?,
            notes: self.notes(&points),
            set: self.plan.set.iter().cloned().collect::<BTreeMap<_, _>>(),
            scale: self.plan.scale.as_ref().map(|(scale, _)| *scale),
            points,
            latency,
        })
    }

    fn migrations(&self) -> Vec<MigrationSet> {
        let wanted = self.around.pipelines.iter().filter(|code| {
            code.kind().name == self.plan.mode.pipeline() && self.plan.mode.table().is_some()
        });
        std::iter::once(MigrationSet::LONGSHORE)
            .chain(wanted.map(|code| code.migrations()))
            .collect()
    }

    /// The configuration of a case, as the measured service understands it.
    fn config(&self, case: &Case) -> Config {
        let kinds: Vec<Kind> = self.around.pipelines.iter().map(|code| code.kind()).collect();
        self.plan.config(case, &kinds).expect("the plan was checked before anything was started")
    }

    /// Records of a partition's batch, and rows of a bare transaction.
    fn batch_records(&self, case: &Case) -> usize {
        let config = self.config(case);
        let Some(batch) = config.pipelines.first().map(|pipeline| config.batch(pipeline)) else {
            return 1;
        };
        // Large records fill a batch by their bytes.
        let fit = batch.bytes / (case.shape.record_bytes as u64).max(1);
        usize::try_from(batch.records.min(fit.max(1))).unwrap_or(usize::MAX)
    }

    fn password_file(&self) -> Option<&str> {
        self.around.password_file.as_deref()
    }

    async fn machine(&self) -> Result<Machine, BenchError> {
        let processor = std::fs::read_to_string("/proc/cpuinfo").ok().and_then(|text| {
            let line = text.lines().find(|line| line.starts_with("model name"))?;
            Some(line.split_once(':')?.1.trim().to_owned())
        });
        Ok(Machine {
            processor,
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            postgres: self.site.server_version().await?,
            servers: self.around.servers.clone(),
        })
    }

    /// What must be known to read the figures.
    fn notes(&self, points: &[Point]) -> Vec<String> {
        let mut notes = Vec::new();
        let service = points.first().and_then(|point| point.medians.get(&Who::Service));
        let cpu = service.map(|median| &median.cpu_seconds_per_million);
        if cpu.is_some_and(|cpu| cpu.server.is_none()) {
            notes.push("PostgreSQL is not local: its CPU is not measured".to_owned());
        }
        if cfg!(debug_assertions) {
            notes.push(
                "this program was built without optimisation (no --release): its figures say \
                 little"
                    .to_owned(),
            );
        }
        if self.site.brokers.is_some() && cpu.is_some_and(|cpu| cpu.broker.is_none()) {
            let text = "the broker is no process of this machine that may be looked at: its CPU is \
                        not measured";
            notes.push(text.to_owned());
        }
        if self.site.brokers.is_none() {
            notes.push(
                "Kafka is a mock in the bench's process, which is fed while the service runs and \
                 shares the CPU with it (in --json as the bench's, not the broker's): give \
                 --brokers for figures to quote"
                    .to_owned(),
            );
        }
        if let Some(left_out) = self.plan.mode.table().and_then(|table| table.left_out) {
            notes.push(format!("the bare ways write the rows alone, without {left_out}"));
        }
        notes.push(
            "allocations per record are not measured here: cargo bench --bench allocations"
                .to_owned(),
        );
        notes
    }
}
