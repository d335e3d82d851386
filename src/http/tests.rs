//! Health judged on made-up snapshots, for what no test of a whole service can bring about.

use std::time::{Duration, Instant};

use longshore_actors::health::{ActorHealth, ActorState, HouseHealth};
use longshore_actors::publisher::Kind;
use longshore_actors::record::PartitionId;
use longshore_actors::supervise::HUNG_THREADS_MAX;

use super::health::{self, Answer, LOOK_LIMIT, ROUND_LIMIT};
use super::metrics::Metrics;
use crate::kafka::{PartitionState, PartitionStatus, StatusSnapshot};
use crate::service::{Parked, Phase, PipelineSnapshot};

/// A pipeline that is well at `now`.
fn well(now: Instant) -> PipelineSnapshot {
    let health = HouseHealth { looked_at: Some(now.into()), ..HouseHealth::default() };
    let consumer =
        StatusSnapshot { joined: true, last_round: Some(now), ..StatusSnapshot::default() };
    PipelineSnapshot {
        name: "ads".to_owned(),
        kind: "ads",
        topics: vec!["t".to_owned()],
        group: "g".to_owned(),
        phase: Phase::Running,
        since: now,
        counters: Vec::new(),
        ends: hashbrown::HashMap::new(),
        stored: hashbrown::HashMap::new(),
        fenced: 0,
        published: [(Kind::DeadLetter, 0), (Kind::Outbox, 0)],
        pace: None,
        health,
        consumer,
        parked: Parked::default(),
        stopped: None,
    }
}

fn actor(state: ActorState) -> ActorHealth {
    ActorHealth {
        actor: "WorkerActor",
        name: "WorkerActor 1".to_owned(),
        state,
        in_hand: 1,
        oldest: None,
        last_progress: Duration::from_secs(61),
        place: Some("t/3, offset 5".to_owned()),
    }
}

/// Live and ready, after `change` and some time.
fn judged(later: Duration, change: impl FnOnce(&mut PipelineSnapshot)) -> (Answer, Answer) {
    let now = Instant::now();
    let mut pipeline = well(now);
    change(&mut pipeline);
    let pipelines = [pipeline];
    (health::live(&pipelines, now + later), health::ready(&pipelines, now + later))
}

/// Makes a pipeline unwell.
type Change = fn(&mut PipelineSnapshot);

const AT_ONCE: Duration = Duration::ZERO;

#[test]
fn a_pipeline_that_is_well_is_live_and_ready() {
    let (live, ready) = judged(AT_ONCE, |_| ());
    assert!(live.is_ok() && ready.is_ok(), "{live:?} {ready:?}");
}

#[test]
fn what_a_new_start_would_help_is_not_live() {
    let cases: [(Duration, Change, &str); 5] = [
        (AT_ONCE, |p| p.phase = Phase::Failed("why".to_owned()), "pipeline ads: failed: why"),
        (
            AT_ONCE,
            |p| p.health.actors.push(actor(ActorState::Stuck)),
            "WorkerActor 1 is stuck at t/3, offset 5: nothing went on for 61 s",
        ),
        (AT_ONCE, |p| p.health.hung_threads = HUNG_THREADS_MAX, "2 threads hang"),
        (LOOK_LIMIT + Duration::from_secs(1), |_| (), "the HealthActor was not heard of for 11 s"),
        (ROUND_LIMIT + Duration::from_secs(1), |_| (), "the consumer thread was not heard of"),
    ];
    for (later, change, words) in cases {
        let (live, ready) = judged(later, change);
        for answer in [&live, &ready] {
            assert!(answer.reasons.iter().any(|reason| reason.contains(words)), "{answer:?}");
        }
    }
}

#[test]
fn what_others_must_help_is_live_and_not_ready() {
    let cases: [(Change, &str); 7] = [
        (|p| p.phase = Phase::Starting("waits".to_owned()), "pipeline ads: waits"),
        (|p| p.phase = Phase::Draining, "is draining"),
        (|p| p.consumer.joined = false, "is joining the group g"),
        (|p| p.consumer.ended = Some("fatal".to_owned()), "a new one is started: fatal"),
        (|p| p.consumer.problem = Some("all brokers are down".to_owned()), "kafka: all brokers"),
        (
            |p| p.health.actors.push(actor(ActorState::Waiting("no database".to_owned()))),
            "WorkerActor 1 waits: no database",
        ),
        (|p| stop(p, "why"), "t[3] is stopped: why"),
    ];
    for (change, words) in cases {
        let (live, ready) = judged(AT_ONCE, change);
        assert!(live.is_ok(), "{words}: {live:?}");
        assert!(ready.reasons.iter().any(|reason| reason.contains(words)), "{words}: {ready:?}");
    }
}

#[test]
fn those_who_wait_for_the_same_are_told_once() {
    let (_, ready) = judged(AT_ONCE, |pipeline| {
        for _ in 0..3 {
            pipeline.health.actors.push(actor(ActorState::Waiting("no database".to_owned())));
        }
    });
    assert_eq!(ready.reasons, ["pipeline ads: WorkerActor 1 and 2 others wait: no database"]);
}

#[test]
fn a_scrape_adds_up_even_if_it_was_counted_on_meanwhile() {
    let mut pipeline = well(Instant::now());
    let mut counts = longshore_actors::conservation::Conservation::default();
    // Settled was counted after read was looked at.
    (counts.read, counts.settled.saved, counts.given_up) = (5, 6, 1);
    pipeline.counters.push((PartitionId::new("t", 3), counts));
    let text = Metrics::install().render(&[pipeline]);
    let series = |outcome: &str, value: u32| {
        format!(
            "longshore_records_total{{pipeline=\"ads\",topic=\"t\",partition=\"3\",\
             outcome=\"{outcome}\"}} {value}\n"
        )
    };
    assert!(text.contains(&series("read", 7)) && text.contains(&series("saved", 6)), "{text}");
    assert!(text.contains("longshore_stage_seconds_count{stage=\"commit\"}"), "{text}");
}

fn stop(pipeline: &mut PipelineSnapshot, why: &str) {
    let partition = PartitionStatus {
        state: PartitionState::Stopped(why.to_owned()),
        position: None,
        end: None,
        records_read: 0,
        records_left_out: 0,
    };
    pipeline.consumer.partitions.insert(PartitionId::new("t", 3), partition);
}
