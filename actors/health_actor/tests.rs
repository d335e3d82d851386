//! Who is taken for stuck, by what actors report of themselves.

use std::sync::Arc;

use super::*;
use crate::fence::Fence;
use crate::health::Pulse;
use crate::record::PartitionId;
use crate::supervise::Office;

const LIMIT: Duration = Duration::from_secs(60);

/// What the others report.
struct Reports {
    watch: HealthActor,
    partition: Who,
}

impl Reports {
    fn new() -> Self {
        let office = Office {
            supervisor: Stage::new("Supervisor"),
            health: Stage::new("HealthActor"),
            gone: Stage::new("HealthActor"),
        };
        let post = Post::new(Who::Standing("HealthActor", 0), 1, 1, office);
        let stuck = Stage::new("Supervisor");
        let watch = HealthActor::new(HealthBoard::default(), stuck, LIMIT, post);
        let partition = Who::Partition(Arc::new(Fence::new(PartitionId::new("t", 0))));
        Self { watch, partition }
    }

    /// `who` reports `signs` from now on; what it does meanwhile goes to the pulse.
    fn of(&mut self, who: Who, signs: Signs) -> Pulse {
        let pulse = Pulse::default();
        let report = HealthReport { who: who.clone(), life: 1, signs, pulse: pulse.clone() };
        self.watch.actors.insert(who, Seen::new(report, Instant::now()));
        pulse
    }

    fn of_partition(&mut self, signs: Signs) -> Pulse {
        let who = self.partition.clone();
        self.of(who, Signs { in_hand: 1, oldest: Some(Instant::now()), ..signs })
    }

    /// Lets all of them go on reporting the same for so long, while `meanwhile` happens. Gives the
    /// types of those who were stuck at any time.
    async fn pass(&mut self, seconds: u32, mut meanwhile: impl FnMut()) -> Vec<&'static str> {
        let mut stuck = Vec::new();
        for _ in 0..seconds * 2 {
            tokio::time::advance(LOOK_INTERVAL).await;
            meanwhile();
            let now = Instant::now();
            self.watch.actors.values_mut().for_each(|seen| seen.reported_at = now);
            self.watch.look();
            let actors = self.watch.board.snapshot().actors;
            let is_stuck = |actor: &ActorHealth| actor.state == ActorState::Stuck;
            stuck.extend(actors.iter().filter(|actor| is_stuck(actor)).map(|actor| actor.actor));
        }
        stuck.dedup();
        stuck
    }
}

fn away() -> Signs {
    Signs { away: Some(Instant::now()), ..Signs::default() }
}

#[tokio::test(start_paused = true)]
async fn a_batch_that_nobody_attends_to_is_missed_though_others_look_around() {
    let mut reports = Reports::new();
    let watcher = reports.of(Who::Standing("PositionWatcher", 0), Signs::default());
    let relay = reports.of(Who::Standing("RelayActor", 0), Signs::default());
    relay.waits("kafka acknowledges no message");
    // It has the batch, and does nothing about it.
    reports.of(Who::Standing("PersisterActor", 0), Signs { in_hand: 1, ..Signs::default() });
    reports.of_partition(away());
    assert_eq!(reports.pass(60, || watcher.step()).await, [""; 0]);
    assert_eq!(reports.pass(1, || watcher.step()).await, ["PartitionActor"]);
}

#[tokio::test(start_paused = true)]
async fn a_batch_that_somebody_attends_to_is_waited_for() {
    let mut reports = Reports::new();
    reports.of_partition(away());
    let loader = reports.of(Who::Standing("ContextLoader", 0), Signs::default());
    assert_eq!(reports.pass(200, || loader.step()).await, [""; 0], "queries come and go");
    loader.waits("the database is away");
    assert_eq!(reports.pass(200, || {}).await, [""; 0], "an outage");
    loader.goes_on();
    let worker = reports.of(Who::Standing("WorkerActor", 0), Signs::default());
    worker.turn_to(Some(&PartitionId::new("t", 0)));
    assert_eq!(reports.pass(200, || {}).await, [""; 0], "work that calls a service");
    worker.turn_to(None);
    let busy = Signs { busy: Some(Instant::now()), ..Signs::default() };
    reports.of(Who::Standing("PersisterActor", 0), busy);
    assert_eq!(reports.pass(200, || {}).await, ["PersisterActor"], "it is not the partition's");
}

#[tokio::test(start_paused = true)]
async fn a_partition_that_has_sent_nothing_waits_for_as_long_as_it_takes() {
    let mut reports = Reports::new();
    reports.of(Who::Standing("PersisterActor", 0), Signs::default());
    // At the gate, for another house: nobody of its own does anything.
    reports.of_partition(Signs::default());
    assert_eq!(reports.pass(600, || {}).await, [""; 0]);
    // The first batch after an hour of silence is not late.
    reports.of_partition(away());
    assert_eq!(reports.pass(60, || {}).await, [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn a_notice_that_does_not_come_is_missed_whatever_goes_on() {
    let mut reports = Reports::new();
    let persister = reports.of(Who::Standing("PersisterActor", 0), Signs::default());
    let over = Signs { busy: Some(Instant::now()), ..away() };
    let partition = reports.of_partition(over);
    let mut all_flows = || {
        persister.step();
        partition.step();
    };
    assert_eq!(reports.pass(60, &mut all_flows).await, [""; 0]);
    assert_eq!(reports.pass(1, &mut all_flows).await, ["PartitionActor"]);
}
