//! One run of the real service: a child process works off the topic; what counts is what is
//! committed, as the database shows it.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use uuid::Uuid;

use super::child::{self, Child, Launch};
use super::error::BenchError;
use super::fill::{Committed, Filling};
use super::findings::{Run, Who};
use super::meter::{BrokerMeter, Cpu, ProcessMeter, ServerMeter, own_cpu_seconds};
use super::stage::Stage;
use super::watch::OffsetWatch;
use crate::embedded::EmbeddedKafka;

/// How often the stored offsets are looked at: often enough for a percent of a second, and next to
/// nothing for the server.
const LOOK_INTERVAL: Duration = Duration::from_millis(10);

/// How often the server's processes are looked at.
const SAMPLE_INTERVAL: Duration = Duration::from_millis(250);

/// How often a point of the curve is kept.
const POINT_INTERVAL: Duration = Duration::from_millis(100);

/// How long nothing may be committed until it counts as stuck.
pub(super) const STALL_LIMIT: Duration = Duration::from_secs(120);

/// The service at work on a topic of its own group.
pub(super) struct Running<'s> {
    pub(super) child: Child,
    pub(super) watch: OffsetWatch<'s>,
    committed: Committed,
    filling: Option<Filling>,
    /// Dropped last: the child reads from it.
    _kafka: Option<EmbeddedKafka>,
    brokers: String,
    begun: Instant,
}

/// How the commits went, in seconds since the service had its partitions.
struct Followed {
    curve: Vec<(f64, u64)>,
    /// The first look that saw any.
    first: Option<(f64, u64)>,
}

/// Records a second from the first commit to the last.
fn steady(followed: &Followed) -> Option<f64> {
    let ((from, had), (to, all)) = (followed.first?, *followed.curve.last()?);
    (all > had).then(|| (all - had) as f64 / (to - from))
}

/// What is measured from the moment on when the service has its partitions.
struct Meters {
    begun: Instant,
    process: ProcessMeter,
    server: ServerMeter,
    broker: BrokerMeter,
    bench_before: Option<f64>,
}

impl<'s> Running<'s> {
    /// Starts the service on `topic` of the given brokers, or on an embedded Kafka of its own, to
    /// which `feed` records are sent while it runs.
    pub(super) async fn start(
        stage: &'s Stage<'_>,
        topic: &str,
        feed: bool,
    ) -> Result<Self, BenchError> {
        let (bench, case) = (stage.bench, &stage.case);
        let kafka = match bench.site.brokers {
            Some(_) => None,
            None => Some(EmbeddedKafka::start(&[(topic, case.partitions)])?),
        };
        let mut target = bench.target(topic, case, case.records);
        if let Some(kafka) = &kafka {
            kafka.brokers().clone_into(&mut target.brokers);
        }
        let (mode, group) = (bench.plan.mode, format!("{topic}.{}", Uuid::new_v4().simple()));
        let key = |key: &str| format!("pipelines.{}.{key}", mode.pipeline());
        let mut settings = bench
            .plan
            .settings(case)
            .text("database.url", &stage.database.url)
            .text("kafka.brokers", &target.brokers)
            .toml(&key("topics"), &format!("[{topic:?}]"))
            .text(&key("group"), &group);
        if let Some(file) = bench.password_file() {
            settings = settings.text("database.password_file", file);
        }
        let (committed, brokers) = (Committed::new(case.partitions), target.brokers.clone());
        let filling = (feed && kafka.is_some()).then(|| {
            let throttle = Some((committed.clone(), case.partitions));
            Filling::start(target, mode.feed(&case.shape, case.partitions), throttle)
        });
        let watch = OffsetWatch::new(&stage.client, &group).await?;
        let launch =
            Launch { pipeline: mode.pipeline(), settings: &settings, without: bench.without };
        let child = Child::start(&launch)?;
        let begun = Instant::now();
        Ok(Self { child, watch, committed, filling, _kafka: kafka, brokers, begun })
    }

    /// The brokers that it reads from.
    pub(super) fn brokers(&self) -> &str {
        &self.brokers
    }

    /// Waits until it has all partitions.
    pub(super) async fn has_partitions(&mut self, partitions: i32) -> Result<(), BenchError> {
        loop {
            let stored = self.look().await?;
            if stored.len() == partitions as usize {
                return Ok(());
            }
            if self.begun.elapsed() > STALL_LIMIT {
                let what = format!("has {} partitions of {partitions}", stored.len());
                return Err(self.child.failed(what));
            }
            tokio::time::sleep(LOOK_INTERVAL).await;
        }
    }

    /// What is committed, if it still runs.
    pub(super) async fn look(&mut self) -> Result<BTreeMap<i32, i64>, BenchError> {
        self.child.check()?;
        let stored = self.watch.look().await?;
        for (partition, next) in &stored {
            self.committed.note(*partition, *next);
        }
        if self.filling.as_ref().is_some_and(Filling::is_over)
            && let Some(filling) = self.filling.take()
        {
            filling.end().await?;
        }
        Ok(stored)
    }

    /// Follows it until so many records are committed. From now on.
    async fn follow(
        &mut self,
        records: u64,
        meters: &mut Meters,
        mut done: impl FnMut(u64),
    ) -> Result<Followed, BenchError> {
        let (mut curve, mut first) = (vec![(0.0, 0)], None);
        let (mut moved, mut sampled) = (Instant::now(), Instant::now());
        let mut last = 0;
        loop {
            let stored = self.look().await?;
            let committed = stored.values().sum::<i64>().unsigned_abs();
            let now = meters.begun.elapsed();
            done(committed);
            if committed > last {
                (moved, last) = (Instant::now(), committed);
                first.get_or_insert((now.as_secs_f64(), committed));
            }
            let is_due = curve
                .last()
                .is_none_or(|(at, _)| now.as_secs_f64() - at >= POINT_INTERVAL.as_secs_f64());
            if is_due || committed >= records {
                curve.push((now.as_secs_f64(), committed));
            }
            if committed >= records {
                return Ok(Followed { curve, first });
            }
            if moved.elapsed() > STALL_LIMIT {
                let seconds = STALL_LIMIT.as_secs();
                let what = format!(
                    "has committed {committed} of {records} records, and nothing for {seconds} s"
                );
                return Err(self.child.failed(what));
            }
            if sampled.elapsed() > SAMPLE_INTERVAL {
                sampled = Instant::now();
                meters.server.sample();
            }
            tokio::time::sleep(LOOK_INTERVAL).await;
        }
    }

    /// Meters of it and of its servers, from now on.
    fn meters(&self, stage: &Stage<'_>) -> Meters {
        let mut server = stage.server_meter();
        server.start();
        let brokers = stage.bench.site.brokers.as_ref();
        Meters {
            process: ProcessMeter::start(self.child.id()),
            server,
            broker: BrokerMeter::start(brokers.map_or("", |given| &given.addresses)),
            bench_before: own_cpu_seconds(),
            begun: Instant::now(),
        }
    }
}

impl Meters {
    fn cpu(&mut self) -> Cpu {
        self.server.sample();
        Cpu {
            own: self.process.cpu(),
            stages: self.process.stages(),
            server: self.server.cpu(),
            broker: self.broker.cpu(),
            bench: own_cpu_seconds().zip(self.bench_before).map(|(now, before)| now - before),
        }
    }
}

/// Runs the service over the whole topic once, and proves that it did what it should.
pub(super) async fn run(stage: &Stage<'_>, round: u32) -> Result<Run, BenchError> {
    stage.reset().await?;
    let (records, partitions) = (stage.case.records, stage.case.partitions);
    let topic = match &stage.topic {
        Some(topic) => topic.clone(),
        None => stage.bench.site.topic(partitions).await?,
    };
    let step = stage.bench.progress.step("the service", records);
    let mut running = Running::start(stage, &topic, true).await?;
    running.has_partitions(partitions).await?;
    let startup = running.begun.elapsed();
    let mut meters = running.meters(stage);
    let followed = running.follow(records, &mut meters, |committed| step.done(committed)).await?;
    let seconds = followed.curve.last().map_or(f64::NAN, |(at, _)| *at);
    let cpu = meters.cpu();
    let peak_memory_bytes = meters.process.peak_bytes();
    let metrics = running.child.metrics().await.unwrap_or_default();
    running.child.stop().await?;
    stage.prove("the service", &stage.survey.expected).await?;
    let per_million = |seconds: f64| seconds * 1e6 / records as f64;
    let stages = child::stage_sums(&metrics).into_iter();
    Ok(Run {
        who: Who::Service,
        round,
        records,
        seconds,
        records_per_second: records as f64 / seconds,
        steady_records_per_second: steady(&followed),
        first_commit_seconds: followed.first.map(|(at, _)| at),
        startup_seconds: Some(startup.as_secs_f64()),
        cpu_seconds_per_million: cpu.per_million(records),
        peak_memory_bytes,
        stage_seconds_per_million: stages.map(|(name, sum)| (name, per_million(sum))).collect(),
        transaction_seconds: None,
        committed: followed.curve,
    })
}
