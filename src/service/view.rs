//! What a service shows of itself while it starts, runs and drains: the source of health, metrics
//! and status. Written by the service, read by anybody, and there before the service is.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use hashbrown::HashMap;
use longshore_actors::conservation::{Conservation, Ledger};
use longshore_actors::health::{HealthBoard, HouseHealth};
use longshore_actors::pace::{Pace, PaceNow};
use longshore_actors::publisher::{Kind, Published};
use longshore_actors::record::{NextOffset, PartitionId};
use longshore_actors::topology::Register;

use crate::config::{Config, PipelineConfig};
use crate::kafka::{ConsumerStatus, StatusSnapshot};
use crate::postgres::offsets::ParkedCount;

/// The view of a service. Cheap to clone; all clones are one view.
#[derive(Clone, Default)]
pub struct ServiceView(Arc<Mutex<Vec<Shown>>>);

/// One configured pipeline.
struct Shown {
    config: PipelineConfig,
    phase: Phase,
    since: Instant,
    /// Where all partitions of its topics ended when it was started, ours or not.
    ends: HashMap<PartitionId, NextOffset>,
    parts: Option<Parts>,
    parked: Parked,
    stopped: Option<String>,
}

/// Where the state of a running pipeline is read.
pub(super) struct Parts {
    pub(super) ledger: Ledger,
    pub(super) health: HealthBoard,
    pub(super) register: Register,
    pub(super) pace: Pace,
    pub(super) published: Published,
    pub(super) consumer: ConsumerStatus,
}

/// How far a pipeline is with its life.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Phase {
    /// It does not run yet, and this is what it waits for.
    Starting(String),
    /// It runs.
    Running,
    /// It saves what it has in hand and reads nothing more.
    Draining,
    /// It failed, and why.
    Failed(String),
}

/// Parked records by state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Parked {
    /// Records that come back by themselves.
    pub retrying: u64,
    /// Records that wait behind one of these.
    pub waiting: u64,
    /// Records that wait for a person.
    pub dead: u64,
}

/// One pipeline at one moment.
#[derive(Clone, Debug)]
pub struct PipelineSnapshot {
    /// Its name.
    pub name: String,
    /// Its kind.
    pub kind: &'static str,
    /// The topics that it reads.
    pub topics: Vec<String>,
    /// Its consumer group.
    pub group: String,
    /// How far it is.
    pub phase: Phase,
    /// Since when.
    pub since: Instant,
    /// What became of each partition's records, by topic and number; with a row of zeros for those
    /// that were never ours.
    pub counters: Vec<(PartitionId, Conservation)>,
    /// Where the partitions ended when the pipeline was started.
    pub ends: HashMap<PartitionId, NextOffset>,
    /// Where the partitions in the house stand in the database.
    pub stored: HashMap<PartitionId, NextOffset>,
    /// How often another owner took a partition while it was assigned to us.
    pub fenced: u64,
    /// Dead records and messages of the outbox that the brokers acknowledged, repeats included.
    pub published: [(Kind, u64); 2],
    /// How fast it goes, while it runs.
    pub pace: Option<PaceNow>,
    /// Its actors.
    pub health: HouseHealth,
    /// Its consumer thread.
    pub consumer: StatusSnapshot,
    /// Its parked records, as they were last asked for.
    pub parked: Parked,
    /// Why it is stopped for all instances, if it is.
    pub stopped: Option<String>,
}

impl ServiceView {
    /// A view of the pipelines of `config`, none of which runs yet.
    pub fn new(config: &Config) -> Self {
        let shown = config.pipelines.iter().map(|pipeline| Shown {
            config: pipeline.clone(),
            phase: Phase::Starting("is being started".to_owned()),
            since: Instant::now(),
            ends: HashMap::new(),
            parts: None,
            parked: Parked::default(),
            stopped: None,
        });
        Self(Arc::new(Mutex::new(shown.collect())))
    }

    /// All pipelines now.
    pub fn snapshot(&self) -> Vec<PipelineSnapshot> {
        self.lock().iter().map(Shown::snapshot).collect()
    }

    /// Every pipeline that does not run yet waits for this.
    pub(super) fn all_wait(&self, reason: &str) {
        let mut shown = self.lock();
        for one in shown.iter_mut().filter(|one| matches!(one.phase, Phase::Starting(_))) {
            one.phase = Phase::Starting(reason.to_owned());
        }
    }

    /// A pipeline waits for this before it can run.
    pub(super) fn waits(&self, pipeline: &str, reason: &str) {
        self.turn(pipeline, Phase::Starting(reason.to_owned()));
    }

    /// A pipeline runs; `ends` are those of all partitions of its topics.
    pub(super) fn runs(
        &self,
        pipeline: &str,
        ends: HashMap<PartitionId, NextOffset>,
        parts: Parts,
    ) {
        self.turn(pipeline, Phase::Running);
        let mut shown = self.lock();
        if let Some(one) = shown.iter_mut().find(|one| one.config.name == pipeline) {
            (one.ends, one.parts) = (ends, Some(parts));
        }
    }

    /// A pipeline failed.
    pub(super) fn failed(&self, pipeline: &str, reason: String) {
        self.turn(pipeline, Phase::Failed(reason));
    }

    /// What still runs drains from now on.
    pub(super) fn drain(&self) {
        for one in self.lock().iter_mut().filter(|one| one.phase == Phase::Running) {
            (one.phase, one.since) = (Phase::Draining, Instant::now());
        }
    }

    /// Takes in how many records are parked.
    pub(super) fn parked(&self, counts: &[ParkedCount]) {
        for one in self.lock().iter_mut() {
            let config = &one.config;
            let is_its = |count: &&ParkedCount| {
                count.group == config.group && config.topics.contains(&count.topic)
            };
            one.parked = Parked::sum(counts.iter().filter(is_its));
        }
    }

    /// Takes in which pipelines are stopped, and why.
    pub(super) fn stopped(&self, stopped: &[(String, String)]) {
        for one in self.lock().iter_mut() {
            let its = stopped.iter().find(|(name, _)| *name == one.config.name);
            one.stopped = its.map(|(_, reason)| reason.clone());
        }
    }

    /// Takes in which share of its processors the process uses, from 0 to 1.
    pub(super) fn cpu(&self, share: f64) {
        for parts in self.lock().iter().filter_map(|one| one.parts.as_ref()) {
            parts.pace.set_cpu(share);
        }
    }

    fn turn(&self, pipeline: &str, phase: Phase) {
        let mut shown = self.lock();
        if let Some(one) = shown.iter_mut().find(|one| one.config.name == pipeline) {
            (one.phase, one.since) = (phase, Instant::now());
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Shown>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl PipelineSnapshot {
    /// The end of a partition that is ours: as the last fetch saw it, as it was at the start before
    /// that.
    pub fn end(&self, partition: &PartitionId) -> Option<NextOffset> {
        let seen = self.consumer.partitions.get(partition)?.end;
        seen.max(self.ends.get(partition).copied())
    }

    /// Offsets between the stored one and the end of a partition that is ours, once it is acquired.
    pub fn lag(&self, partition: &PartitionId) -> Option<u64> {
        let (end, stored) = (self.end(partition)?, self.stored.get(partition)?);
        Some(stored.distance_to(end))
    }
}

impl Parked {
    fn sum<'a>(counts: impl Iterator<Item = &'a ParkedCount>) -> Self {
        let mut sum = Self::default();
        for count in counts {
            let records = u64::try_from(count.records).unwrap_or(0);
            match count.state.as_str() {
                "retrying" => sum.retrying += records,
                "waiting" => sum.waiting += records,
                _ => sum.dead += records,
            }
        }
        sum
    }

    /// The numbers with the names of their states.
    pub fn by_state(&self) -> [(&'static str, u64); 3] {
        [("retrying", self.retrying), ("waiting", self.waiting), ("dead", self.dead)]
    }
}

impl Shown {
    fn snapshot(&self) -> PipelineSnapshot {
        let (config, parts) = (&self.config, self.parts.as_ref());
        let stored = parts.map(|parts| parts.register.positions()).unwrap_or_default();
        PipelineSnapshot {
            name: config.name.clone(),
            kind: config.kind,
            topics: config.topics.clone(),
            group: config.group.clone(),
            phase: self.phase.clone(),
            since: self.since,
            counters: self.counters(),
            ends: self.ends.clone(),
            stored: stored.into_iter().map(|(id, position)| (id, position.expected)).collect(),
            fenced: parts.map_or(0, |parts| parts.ledger.fenced()),
            published: self.published(),
            pace: parts.map(|parts| parts.pace.now()),
            health: parts.map(|parts| parts.health.snapshot()).unwrap_or_default(),
            consumer: parts.map(|parts| parts.consumer.snapshot()).unwrap_or_default(),
            parked: self.parked,
            stopped: self.stopped.clone(),
        }
    }

    fn published(&self) -> [(Kind, u64); 2] {
        let of = |kind| self.parts.as_ref().map_or(0, |parts| parts.published.of(kind));
        [Kind::DeadLetter, Kind::Outbox].map(|kind| (kind, of(kind)))
    }

    fn counters(&self) -> Vec<(PartitionId, Conservation)> {
        let ledger = self.parts.as_ref().map(|parts| parts.ledger.snapshot());
        let mut counters = ledger.unwrap_or_default();
        let known: HashMap<_, _> = counters.iter().cloned().collect();
        let never_ours = self.ends.keys().filter(|id| !known.contains_key(*id));
        counters.extend(never_ours.map(|id| (id.clone(), Conservation::default())));
        counters.sort_by(|(a, _), (b, _)| a.cmp(b));
        counters
    }
}
