//! Live and ready, with what is wrong in words.
//!
//! Live: starting again would not help. Every actor goes on, has nothing to do, or waits for
//! somebody outside and says for whom; the threads come round. Ready: everything is there that the
//! service needs to save records, and no partition stands still.

use std::time::{Duration, Instant};

use longshore_actors::health::ActorState;
use longshore_actors::supervise::HUNG_THREADS_MAX;
use serde::Serialize;

use crate::kafka::PartitionState;
use crate::service::{Phase, PipelineSnapshot};

/// Silence of a HealthActor, which looks twice a second and may be started again within a second.
pub(super) const LOOK_LIMIT: Duration = Duration::from_secs(10);

/// Silence of a consumer thread. It comes round many times a second; a new one takes the place of
/// one that was silent for 30 s.
pub(super) const ROUND_LIMIT: Duration = Duration::from_secs(45);

/// An answer to a probe.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Answer {
    status: &'static str,
    /// What is wrong; nothing if all is well.
    pub(super) reasons: Vec<String>,
}

impl Answer {
    fn of(
        pipelines: &[PipelineSnapshot],
        reasons: impl Fn(&PipelineSnapshot) -> Vec<String>,
    ) -> Self {
        let all = pipelines.iter().flat_map(|pipeline| {
            let name = pipeline.name.clone();
            reasons(pipeline).into_iter().map(move |reason| format!("pipeline {name}: {reason}"))
        });
        let reasons: Vec<_> = all.collect();
        Self { status: if reasons.is_empty() { "ok" } else { "failing" }, reasons }
    }

    /// Whether nothing is wrong.
    pub(super) fn is_ok(&self) -> bool {
        self.reasons.is_empty()
    }
}

/// Whether every pipeline gets on, or waits for somebody outside.
pub(super) fn live(pipelines: &[PipelineSnapshot], now: Instant) -> Answer {
    Answer::of(pipelines, |pipeline| not_live(pipeline, now))
}

/// Whether every pipeline has all it needs.
pub(super) fn ready(pipelines: &[PipelineSnapshot], now: Instant) -> Answer {
    Answer::of(pipelines, |pipeline| not_ready(pipeline, now))
}

/// Why a pipeline is not live.
fn not_live(pipeline: &PipelineSnapshot, now: Instant) -> Vec<String> {
    match &pipeline.phase {
        Phase::Failed(reason) => return vec![format!("failed: {reason}")],
        Phase::Starting(_) => return Vec::new(),
        Phase::Running | Phase::Draining => {}
    }
    let mut reasons = Vec::new();
    let health = &pipeline.health;
    if health.hung_threads >= HUNG_THREADS_MAX {
        reasons.push(format!("{} threads hang and do not come back", health.hung_threads));
    }
    for actor in health.actors.iter().filter(|actor| actor.state == ActorState::Stuck) {
        let place = actor.place.as_ref().map(|place| format!(" at {place}")).unwrap_or_default();
        let since = actor.last_progress.as_secs();
        reasons.push(format!("{} is stuck{place}: nothing went on for {since} s", actor.name));
    }
    let looked = health.looked_at.map_or(pipeline.since, |looked| looked.into_std());
    reasons.extend(silence("the HealthActor", looked, now, LOOK_LIMIT));
    if pipeline.phase == Phase::Running && pipeline.consumer.ended.is_none() {
        let round = pipeline.consumer.last_round.unwrap_or(pipeline.since);
        reasons.extend(silence("the consumer thread", round, now, ROUND_LIMIT));
    }
    reasons
}

fn silence(who: &str, heard: Instant, now: Instant, limit: Duration) -> Option<String> {
    let silent = now.saturating_duration_since(heard);
    (silent > limit).then(|| format!("{who} was not heard of for {} s", silent.as_secs()))
}

/// Why a pipeline is not ready: everything that makes it not live, and more.
fn not_ready(pipeline: &PipelineSnapshot, now: Instant) -> Vec<String> {
    let mut reasons = not_live(pipeline, now);
    match &pipeline.phase {
        Phase::Failed(_) => return reasons,
        Phase::Starting(reason) => return vec![reason.clone()],
        Phase::Draining => reasons.push("is draining".to_owned()),
        Phase::Running => reasons.extend(no_share(pipeline)),
    }
    reasons.extend(pipeline.stopped.clone());
    if let Some(problem) = &pipeline.consumer.problem {
        reasons.push(format!("kafka: {problem}"));
    }
    reasons.extend(standing_still(pipeline));
    reasons.extend(waiting(pipeline));
    reasons
}

/// A member of a group may have no partition, if others have all of them: the group said so.
fn no_share(pipeline: &PipelineSnapshot) -> Option<String> {
    let group = &pipeline.group;
    if let Some(reason) = &pipeline.consumer.ended {
        return Some(format!("has no consumer just now, a new one is started: {reason}"));
    }
    (!pipeline.consumer.joined)
        .then(|| format!("has no share of the partitions yet: is joining the group {group}"))
}

fn standing_still(pipeline: &PipelineSnapshot) -> Vec<String> {
    let mut reasons = Vec::new();
    for (id, partition) in &pipeline.consumer.partitions {
        match &partition.state {
            PartitionState::Stopped(why) => reasons.push(format!("{id} is stopped: {why}")),
            PartitionState::Waiting(why) => reasons.push(format!("{id} waits: {why}")),
            PartitionState::Assigned => reasons.push(format!("{id} is being taken over")),
            PartitionState::Seeking | PartitionState::Reading => {}
        }
    }
    reasons.sort();
    reasons
}

/// What actors wait for, each reason once with those who wait.
fn waiting(pipeline: &PipelineSnapshot) -> Vec<String> {
    let mut by_reason: Vec<(&str, Vec<&str>)> = Vec::new();
    for actor in &pipeline.health.actors {
        let ActorState::Waiting(reason) = &actor.state else { continue };
        match by_reason.iter_mut().find(|(other, _)| other == reason) {
            Some((_, names)) => names.push(&actor.name),
            None => by_reason.push((reason, vec![&actor.name])),
        }
    }
    let tell = |(reason, names): (&str, Vec<&str>)| match names.as_slice() {
        [name] => format!("{name} waits: {reason}"),
        [name, others @ ..] => format!("{name} and {} others wait: {reason}", others.len()),
        [] => reason.to_owned(),
    };
    by_reason.into_iter().map(tell).collect()
}
