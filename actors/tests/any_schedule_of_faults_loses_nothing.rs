//! Promise: whatever happens in whatever order, nothing is lost, nothing is doubled, the order by
//! key holds, and the house goes on by itself. A whole house under virtual time, thousands of
//! seeded schedules: slow and lost answers, refusals, work that waits or takes too long, panics of
//! every actor, rebalances, zombies, offsets that an operator moves.
//!
//! A failure names its seed; `LONGSHORE_SEED=N` runs that one alone. Schedules repeat exactly; the
//! order of what happens within one millisecond may not.

mod house;

use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use fastrand::Rng;
use house::{Fixture, counting};
use longshore_actors::door::{Door, Front};
use longshore_actors::faults;
use longshore_actors::in_flight::InFlightLimits;
use longshore_actors::parked::RetryPolicy;
use longshore_actors::pipeline::Order;
use longshore_actors::record::NextOffset;
use longshore_actors::supervise::RestartLimits;
use longshore_actors::testing::Waits;
use longshore_actors::ticket::BudgetLimits;
use longshore_actors::topology::Supervision;

/// Schedules that every run goes through.
const SEEDS: u64 = 2000;
/// Milliseconds of each schedule in which something may happen.
const STEPS: usize = 400;
const RECORDS: i64 = 300;
const PARTITIONS: i32 = 3;

const ACTORS: [(&str, &[&str]); 7] = [
    ("Acquirer", &["AcquirePartitions", "Acquired"]),
    (
        "PartitionActor",
        &[
            "ClaimAnswer",
            "Marked",
            "HandedInBatch",
            "BatchSaved",
            "BatchGivenUp",
            "Reacquired",
            "DueRead",
            "RowSeen",
        ],
    ),
    ("ContextLoader", &["DecodedBatch", "Loaded"]),
    ("WorkerPool", &["LoadedBatch"]),
    ("WorkerActor", &["WorkChunk", "Worked"]),
    ("PersisterActor", &["WorkedChunk", "Saved", "Sweep"]),
    ("RelayActor", &["Look", "Sent", "Passed"]),
];

#[actix::test]
#[expect(clippy::disallowed_methods, reason = "the tests are configured by the environment alone")]
async fn under_thousands_of_schedules_every_record_is_saved_once_and_in_order() {
    tokio::time::pause();
    let only = std::env::var("LONGSHORE_SEED").ok().map(|seed| seed.parse().expect("a number"));
    let seeds = only.map_or(0..SEEDS, |seed: u64| seed..seed + 1);
    let mut happened = Happened::default();
    for seed in seeds {
        let mut simulation = Simulation::new(seed);
        simulation.run().await;
        simulation.calm_down().await;
        happened.add(&simulation.happened);
    }
    if only.is_none() {
        // A schedule in which nothing happens proves nothing.
        assert!(happened.panics > SEEDS && happened.rebalances > SEEDS, "{happened:?}");
        assert!(happened.zombies > SEEDS / 4 && happened.moves > SEEDS / 4, "{happened:?}");
        assert!(happened.failures > SEEDS, "{happened:?}");
    }
    println!("{SEEDS} schedules: {happened:?}");
}

/// What happened in all schedules.
#[derive(Debug, Default)]
struct Happened {
    panics: u64,
    rebalances: u64,
    zombies: u64,
    moves: u64,
    failures: u64,
}

impl Happened {
    fn add(&mut self, other: &Self) {
        self.panics += other.panics;
        self.rebalances += other.rebalances;
        self.zombies += other.zombies;
        self.moves += other.moves;
        self.failures += other.failures;
    }
}

struct Simulation {
    seed: u64,
    rng: Rng,
    fixture: Fixture,
    /// Assignments that others have taken over and that have not heard of it.
    zombies: Vec<Door>,
    happened: Happened,
}

/// Says which seed it was, if the test panics.
struct Says(u64);

impl Drop for Says {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the schedule of LONGSHORE_SEED={}", self.0);
        }
    }
}

impl Simulation {
    fn new(seed: u64) -> Self {
        let mut rng = Rng::with_seed(seed);
        fastrand::seed(seed);
        faults::withdraw();
        let order = if rng.u8(..4) > 0 { Order::ByKey } else { Order::ByPartition };
        let budget = BudgetLimits { records: rng.u64(40..400), bytes: 1 << 20, batches: 64 };
        let restarts = RestartLimits { restarts: usize::MAX, within: Duration::from_secs(1) };
        let supervision = Supervision { restarts, ..Supervision::default() };
        let values = counting(PARTITIONS, RECORDS);
        let latency = Duration::from_millis(2);
        let (first, max) = (Duration::from_millis(20), Duration::from_millis(200));
        let lane_records = rng.u32(5..60);
        let retry = RetryPolicy { first, max, attempts: u32::MAX, lane_records };
        let room = (budget, latency);
        let timeout = Duration::from_millis(rng.u64(40..1000));
        let in_flight = InFlightLimits { records: rng.usize(1..40), timeout };
        let limits = (retry, in_flight);
        let mut fixture = Fixture::in_flight(order, room, values, supervision, limits);
        fixture.batch_records = rng.usize(1..40);
        fixture.store.set_weather(Some(seed));
        if rng.bool() {
            *fixture.pipeline.waits.lock().expect("no panic") = Waits::Some(rng.u64(1..60));
        }
        // Every third one publishes, over brokers that fail now and then.
        fixture.pipeline.publishing.store(seed.is_multiple_of(3), SeqCst);
        fixture.publisher.set_weather(Some(seed));
        Self { seed, rng, fixture, zombies: Vec::new(), happened: Happened::default() }
    }

    async fn run(&mut self) {
        let _says = Says(self.seed);
        for _ in 0..STEPS {
            match self.rng.u32(..400) {
                8..12 => self.turn_a_key(),
                0..4 => self.order_a_panic(),
                4..6 => self.rebalance(),
                6 => self.make_a_zombie(),
                7 => self.move_an_offset(),
                _ => {}
            }
            for zombie in &self.zombies {
                let (front, records) = (self.fixture.house.front(), self.fixture.batch_records);
                self.fixture.source.pump(&*front, zombie, &self.fixture.values, records);
            }
            self.fixture.step().await;
        }
    }

    /// Nothing happens any more: now everything has to come to its end.
    async fn calm_down(&mut self) {
        let _says = Says(self.seed);
        faults::withdraw();
        self.fixture.store.set_weather(None);
        self.fixture.publisher.set_weather(None);
        self.zombies.clear();
        self.fixture.pipeline.failing.lock().expect("no panic").clear();
        self.fixture.run_until(Fixture::is_at_the_end).await;
        self.fixture.run_until(|fixture| fixture.store.shelved().is_empty()).await;
        self.fixture.run_until(|f| f.conservation().in_flight() == 0).await;
        self.fixture.run_until(|f| f.house.front().budget().is_drained()).await;
        self.fixture.run_until(|fixture| fixture.store.num_unpublished() == 0).await;
        self.fixture.assert_published();
        self.fixture.assert_each_once();
        self.fixture.assert_in_order();
    }

    fn order_a_panic(&mut self) {
        let (actor, messages) = ACTORS[self.rng.usize(..ACTORS.len())];
        let message = messages[self.rng.usize(..messages.len())];
        faults::order_panic(actor, message, self.rng.u32(..6));
        self.happened.panics += 1;
    }

    fn rebalance(&mut self) {
        let door = &mut self.fixture.doors[self.rng.usize(..PARTITIONS as usize)];
        let partition = door.fence().partition().clone();
        door.fence().fall();
        *door = self.fixture.house.front().assign(vec![partition]).remove(0);
        self.happened.rebalances += 1;
    }

    /// Events of a key are to be tried again later from here on, or no longer.
    fn turn_a_key(&mut self) {
        let key = self.rng.u64(..7);
        let mut failing = self.fixture.pipeline.failing.lock().expect("no panic");
        if !failing.remove(&key) {
            failing.insert(key);
        }
        self.happened.failures += 1;
    }

    fn make_a_zombie(&mut self) {
        let door = &mut self.fixture.doors[self.rng.usize(..PARTITIONS as usize)];
        let partition = door.fence().partition().clone();
        let next = self.fixture.house.front().assign(vec![partition]).remove(0);
        self.zombies.push(std::mem::replace(door, next));
        self.happened.zombies += 1;
    }

    fn move_an_offset(&mut self) {
        let door = &self.fixture.doors[self.rng.usize(..PARTITIONS as usize)];
        let partition = door.fence().partition();
        if let Some(next) = self.fixture.store.next_offset(partition) {
            // Backwards: what was saved from there on is taken along, and has to come again.
            self.fixture.store.set(partition, NextOffset(self.rng.i64(0..=next.0)));
            self.happened.moves += 1;
        }
    }
}
