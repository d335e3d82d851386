//! The status as JSON: everything that the service knows of itself. `docs/http.md` describes it.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use longshore_actors::conservation::Conservation;
use longshore_actors::health::{ActorHealth, ActorState};
use longshore_actors::record::{NextOffset, PartitionId};
use serde::Serialize;

use super::health::{self, Answer};
use crate::kafka::{PartitionState, StatusSnapshot};
use crate::service::{Phase, PipelineSnapshot};

/// The whole answer.
#[derive(Serialize)]
pub(super) struct Status {
    version: &'static str,
    live: Answer,
    ready: Answer,
    pipelines: Vec<Pipeline>,
    partitions: Vec<Partition>,
    actors: Vec<Actor>,
    restarts: BTreeMap<&'static str, u64>,
    rebalances: Rebalances,
    counters: Counters,
}

#[derive(Serialize)]
struct Pipeline {
    name: String,
    kind: &'static str,
    topics: Vec<String>,
    group: String,
    state: &'static str,
    reason: Option<String>,
    hung_threads: usize,
    fenced: u64,
    rebalances: Rebalances,
    lag: Option<u64>,
    counters: Counters,
    parked: BTreeMap<&'static str, u64>,
}

#[derive(Serialize)]
struct Partition {
    pipeline: String,
    topic: String,
    partition: i32,
    state: &'static str,
    reason: Option<String>,
    position: Option<i64>,
    stored: Option<i64>,
    end: Option<i64>,
    lag: Option<u64>,
    counters: Counters,
}

#[derive(Serialize)]
struct Actor {
    pipeline: String,
    actor: &'static str,
    name: String,
    state: &'static str,
    reason: Option<String>,
    in_hand: usize,
    oldest_ms: Option<u64>,
    last_progress_ms: u64,
    place: Option<String>,
}

#[derive(Clone, Copy, Default, Serialize)]
struct Rebalances {
    assigned: u64,
    revoked: u64,
    lost: u64,
}

#[derive(Clone, Copy, Default, Serialize)]
struct Counters {
    read: u64,
    saved: u64,
    skipped: u64,
    duplicate: u64,
    parked: u64,
    given_up: u64,
    in_flight: u64,
}

impl Status {
    /// The status of `pipelines` at `now`.
    pub(super) fn of(pipelines: &[PipelineSnapshot], now: Instant) -> Self {
        let mut restarts = BTreeMap::new();
        for (actor, times) in pipelines.iter().flat_map(|pipeline| &pipeline.health.restarts) {
            *restarts.entry(*actor).or_default() += times;
        }
        let consumers = pipelines.iter().map(|pipeline| pipeline.consumer.restarts).sum();
        restarts.insert("ConsumerThread", consumers);
        let mut rebalances = Rebalances::default();
        pipelines.iter().for_each(|pipeline| rebalances.add(Rebalances::of(&pipeline.consumer)));
        let all = pipelines.iter().flat_map(|pipeline| &pipeline.counters);
        Self {
            version: env!("CARGO_PKG_VERSION"),
            live: health::live(pipelines, now),
            ready: health::ready(pipelines, now),
            pipelines: pipelines.iter().map(Pipeline::of).collect(),
            partitions: pipelines.iter().flat_map(Partition::all_of).collect(),
            actors: pipelines.iter().flat_map(Actor::all_of).collect(),
            restarts,
            rebalances,
            counters: Counters::sum(all.map(|(_, counts)| counts)),
        }
    }
}

impl Pipeline {
    fn of(pipeline: &PipelineSnapshot) -> Self {
        let (state, reason) = match &pipeline.phase {
            Phase::Starting(reason) => ("starting", Some(reason.clone())),
            Phase::Running if pipeline.stopped.is_some() => ("stopped", pipeline.stopped.clone()),
            Phase::Running => ("running", None),
            Phase::Draining => ("draining", None),
            Phase::Failed(reason) => ("failed", Some(reason.clone())),
        };
        let lags = pipeline.consumer.partitions.keys().filter_map(|id| pipeline.lag(id));
        Self {
            name: pipeline.name.clone(),
            kind: pipeline.kind,
            topics: pipeline.topics.clone(),
            group: pipeline.group.clone(),
            state,
            // What the brokers say is the pipeline's reason as long as it has none of its own.
            reason: reason.or_else(|| pipeline.consumer.problem.clone()),
            hung_threads: pipeline.health.hung_threads,
            fenced: pipeline.fenced,
            rebalances: Rebalances::of(&pipeline.consumer),
            lag: lags.reduce(|sum, lag| sum + lag),
            counters: Counters::sum(pipeline.counters.iter().map(|(_, counts)| counts)),
            parked: pipeline.parked.by_state().into_iter().collect(),
        }
    }
}

impl Partition {
    /// The partitions that are ours, or were and brought records.
    fn all_of(pipeline: &PipelineSnapshot) -> impl Iterator<Item = Self> {
        let is_ours = |id: &PartitionId| pipeline.consumer.partitions.contains_key(id);
        let shown = move |(id, counts): &&(PartitionId, Conservation)| {
            is_ours(id) || *counts != Conservation::default()
        };
        let all = pipeline.counters.iter().filter(shown);
        all.map(|(id, counts)| Self::of(pipeline, id, counts))
    }

    fn of(pipeline: &PipelineSnapshot, id: &PartitionId, counts: &Conservation) -> Self {
        let status = pipeline.consumer.partitions.get(id);
        let (state, reason) = match status.map(|status| &status.state) {
            None => ("released", None),
            Some(PartitionState::Assigned) => ("assigned", None),
            Some(PartitionState::Seeking) => ("seeking", None),
            Some(PartitionState::Reading) => ("reading", None),
            Some(PartitionState::Waiting(reason)) => ("waiting", Some(reason.clone())),
            Some(PartitionState::Stopped(reason)) => ("stopped", Some(reason.clone())),
        };
        let stored = pipeline.stored.get(id).filter(|_| status.is_some()).copied();
        // The thread writes its part now and then: what is saved was read, and lies before the end.
        let at_least = |place: Option<NextOffset>| place.max(stored.filter(|_| place.is_some()));
        let position = at_least(status.and_then(|status| status.position));
        Self {
            pipeline: pipeline.name.clone(),
            topic: id.topic.to_string(),
            partition: id.index,
            state,
            reason,
            position: position.map(|at| at.0),
            stored: stored.map(|at| at.0),
            end: at_least(pipeline.end(id)).map(|at| at.0),
            lag: pipeline.lag(id),
            counters: Counters::of(counts),
        }
    }
}

impl Actor {
    fn all_of(pipeline: &PipelineSnapshot) -> impl Iterator<Item = Self> {
        let name = pipeline.name.clone();
        pipeline.health.actors.iter().map(move |actor| Self::of(name.clone(), actor))
    }

    fn of(pipeline: String, actor: &ActorHealth) -> Self {
        let (state, reason) = match &actor.state {
            ActorState::Idle => ("idle", None),
            ActorState::Working => ("working", None),
            ActorState::Waiting(reason) => ("waiting", Some(reason.clone())),
            ActorState::Stuck => ("stuck", None),
        };
        Self {
            pipeline,
            actor: actor.actor,
            name: actor.name.clone(),
            state,
            reason,
            in_hand: actor.in_hand,
            oldest_ms: actor.oldest.map(millis),
            last_progress_ms: millis(actor.last_progress),
            place: actor.place.clone(),
        }
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

impl Rebalances {
    fn of(consumer: &StatusSnapshot) -> Self {
        Self {
            assigned: consumer.rebalances_assigned,
            revoked: consumer.rebalances_revoked,
            lost: consumer.rebalances_lost,
        }
    }

    fn add(&mut self, other: Self) {
        self.assigned += other.assigned;
        self.revoked += other.revoked;
        self.lost += other.lost;
    }
}

impl Counters {
    /// In one moment's numbers read is never less than the rest, see [`Conservation::in_flight`].
    fn of(counts: &Conservation) -> Self {
        let (settled, in_flight) = (counts.settled, counts.in_flight());
        Self {
            read: settled.total() + counts.given_up + in_flight,
            saved: settled.saved,
            skipped: settled.skipped,
            duplicate: settled.duplicate,
            parked: settled.parked,
            given_up: counts.given_up,
            in_flight,
        }
    }

    fn sum<'a>(all: impl Iterator<Item = &'a Conservation>) -> Self {
        all.map(Self::of).fold(Self::default(), |sum, one| Self {
            read: sum.read + one.read,
            saved: sum.saved + one.saved,
            skipped: sum.skipped + one.skipped,
            duplicate: sum.duplicate + one.duplicate,
            parked: sum.parked + one.parked,
            given_up: sum.given_up + one.given_up,
            in_flight: sum.in_flight + one.in_flight,
        })
    }
}
