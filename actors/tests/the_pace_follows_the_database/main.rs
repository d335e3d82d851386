//! Promise: the pace follows the database. Under light load records are saved at once, under heavy
//! load nearly as many as by the best fixed setting; when the database becomes slow, transactions
//! stay short and nothing piles up, and when it is fast again, so are we. A whole house under
//! virtual time, against a latency curve that was recorded on a real server, and beside it the
//! same house with fixed settings.

#[path = "../house/mod.rs"]
mod house;
mod recorded;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use hashbrown::{HashMap, HashSet};
use house::{Fixture, Rules};
use longshore_actors::door::Front;
use longshore_actors::in_flight::InFlightLimits;
use longshore_actors::pace::{Bounds, PaceRules};
use longshore_actors::parked::RetryPolicy;
use longshore_actors::pipeline::Order;
use longshore_actors::ports::ContextSource;
use longshore_actors::record::PartitionId;
use longshore_actors::testing::{MemoryStore, Tally, tally_value};
use longshore_actors::ticket::BudgetLimits;
use longshore_actors::topology::{Placement, Supervision};
use recorded::{Curve, FAST, SLOW};
use tokio::time::Instant;

/// Each record of the simulation stands for so many, so that a minute of them is worked in seconds.
const STANDS_FOR: usize = 20;
const PARTITIONS: i32 = 8;
const SESSIONS: usize = 8;
const BATCH_RECORDS: usize = 10_000 / STANDS_FOR;
const BATCHES_AHEAD: usize = 4;
/// The default linger, and the default target.
const LINGER: Duration = Duration::from_millis(50);
const TARGET: Duration = Duration::from_millis(250);
const BUDGET: BudgetLimits =
    BudgetLimits { records: 524_288 / STANDS_FOR as u64, bytes: 1 << 24, batches: 1024 };
const PHASE: Duration = Duration::from_secs(20);
/// What the pace may take of a phase to find its way.
const SETTLING: Duration = Duration::from_secs(10);

/// The bounds of the simulated service.
fn adapting() -> PaceRules {
    PaceRules {
        adapts: true,
        target: TARGET,
        linger: Bounds { min: Duration::from_millis(1), max: LINGER },
        records: Bounds { min: 500 / STANDS_FOR, max: PaceRules::RECORDS_MAX / STANDS_FOR },
        sessions: Bounds { min: 1, max: SESSIONS },
    }
}

/// The same switched off, with this many sessions.
fn fixed(sessions: usize) -> PaceRules {
    PaceRules { adapts: false, sessions: Bounds { min: 1, max: sessions }, ..adapting() }
}

/// A transaction: when it began, and what it takes.
type Transactions = Arc<Mutex<Vec<(Instant, Duration)>>>;

/// A house, the server that it saves to, and a reader with records that arrive.
struct Simulation {
    fixture: Fixture,
    server: Arc<Mutex<&'static Curve>>,
    transactions: Transactions,
    /// Records a second of each partition; `None`: more than anybody can save.
    rate: Option<f64>,
    began: Instant,
    /// By partition: read, and seen to be saved.
    at: Vec<(usize, usize)>,
    /// How late each record was saved.
    latencies: Vec<Duration>,
    most_out: u64,
}

impl Simulation {
    fn new(pace: PaceRules, rate: Option<f64>, records: usize) -> Self {
        let server = Arc::new(Mutex::new(&FAST));
        let transactions = Transactions::default();
        let store = MemoryStore::new(Duration::from_millis(1));
        let (curve, noted) = (server.clone(), transactions.clone());
        store.set_save_time(Arc::new(move |under_way, records| {
            let curve: &Curve = *curve.lock().expect("no panic");
            let took = recorded::took(curve, under_way, records * STANDS_FOR);
            noted.lock().expect("no panic").push((Instant::now(), took));
            took
        }));
        let context = ContextSource::Lookups(Arc::new(store.clone()));
        let rules = Rules {
            placement: Placement::Here,
            order: Order::Unordered,
            budget: BUDGET,
            supervision: Supervision::default(),
            retry: RetryPolicy::default(),
            in_flight: InFlightLimits::default(),
            pace,
        };
        let values: Vec<_> = (0..records as i64).map(|n| tally_value(1, n)).collect();
        let partitions = (0..PARTITIONS).map(|index| PartitionId::new("t", index));
        let values: HashMap<_, _> = partitions.map(|id| (id, values.clone())).collect();
        let fixture = Fixture::build(Arc::new(Tally::default()), (store, context), rules, values);
        let at = vec![(0, 0); PARTITIONS as usize];
        let (latencies, began) = (Vec::new(), Instant::now());
        Self { fixture, server, transactions, rate, began, at, latencies, most_out: 0 }
    }

    /// Lets `time` pass; gives the records that were saved in it, per second.
    async fn run(&mut self, time: Duration) -> f64 {
        let (began, before) = (Instant::now(), self.saved());
        while began.elapsed() < time {
            self.read();
            tokio::time::sleep(Duration::from_millis(1)).await;
            self.note();
        }
        (self.saved() - before) as f64 / time.as_secs_f64()
    }

    /// Reads as the consumer thread does: a batch goes when it is full or has lingered.
    fn read(&mut self) {
        let front = self.fixture.house.front();
        front.pace().set_waiting(self.waiting());
        for (index, door) in self.fixture.doors.iter().enumerate() {
            let values = self.fixture.values[door.fence().partition()].len();
            while door.batches_in_hand() < BATCHES_AHEAD {
                let (pace, read) = (front.pace().now(), self.at[index].0);
                let arrived = self.arrived(values);
                let most = BATCH_RECORDS.min(pace.records);
                let ready = arrived.saturating_sub(read).min(most);
                let lingered = ready > 0 && self.arrival(read).elapsed() >= pace.linger;
                let is_due = ready == most || lingered;
                let source = &self.fixture.source;
                if !is_due || !source.pump(&*front, door, &self.fixture.values, ready) {
                    break;
                }
                self.at[index].0 += ready;
            }
        }
    }

    /// How many of a partition's records have arrived, if `all` of them will.
    fn arrived(&self, all: usize) -> usize {
        let arrived = |rate| (self.began.elapsed().as_secs_f64() * rate) as usize;
        self.rate.map_or(all, |rate| all.min(arrived(rate)))
    }

    /// Records that have arrived and were not read.
    fn waiting(&self) -> u64 {
        let all = self.fixture.values.values().map(|values| self.arrived(values.len()));
        let read = self.at.iter().map(|(read, _)| read);
        (all.sum::<usize>() - read.sum::<usize>()) as u64
    }

    /// When a record arrived.
    fn arrival(&self, record: usize) -> Instant {
        let after = self.rate.map_or(0.0, |rate| (record + 1) as f64 / rate);
        self.began + Duration::from_secs_f64(after)
    }

    fn note(&mut self) {
        self.most_out = self.most_out.max(self.fixture.house.front().budget().records_out());
        for index in 0..self.at.len() {
            let id = PartitionId::new("t", index as i32);
            let stored = self.fixture.store.next_offset(&id).map_or(0, |next| next.0 as usize);
            for record in self.at[index].1..stored {
                self.latencies.push(self.arrival(record).elapsed());
            }
            self.at[index].1 = stored;
        }
    }

    fn saved(&self) -> usize {
        self.at.iter().map(|(_, saved)| saved).sum()
    }

    fn becomes(&self, curve: &'static Curve) {
        *self.server.lock().expect("no panic") = curve;
    }

    /// The median of what transactions took that began after `since`.
    fn transaction(&self, since: Instant) -> Duration {
        let all = self.transactions.lock().expect("no panic");
        median(all.iter().filter(|(at, _)| *at >= since).map(|(_, took)| *took).collect())
    }

    /// Every saved record has one row, and there was never more in the house than may be.
    fn check(&self) {
        let rows = self.fixture.store.rows();
        let places: HashSet<_> = rows.iter().map(|row| (&row.partition, row.offset)).collect();
        assert_eq!((rows.len(), places.len()), (self.saved(), self.saved()));
        assert!(self.most_out <= BUDGET.records, "{} records out", self.most_out);
    }
}

fn median(mut all: Vec<Duration>) -> Duration {
    all.sort();
    all[all.len() / 2]
}

#[actix::test]
async fn under_light_load_records_are_saved_at_once() {
    tokio::time::pause();
    let mut latencies = Vec::new();
    for pace in [adapting(), fixed(SESSIONS)] {
        let mut simulation = Simulation::new(pace, Some(10.0), 1000);
        simulation.run(PHASE).await;
        simulation.check();
        assert!(simulation.latencies.len() > 1500, "{} saved", simulation.latencies.len());
        latencies.push(median(simulation.latencies.clone()));
    }
    let [adapting, fixed] = latencies[..] else { unreachable!("two were tried") };
    println!("light: {adapting:?} adapting, {fixed:?} fixed");
    assert!(fixed > LINGER / 2, "{fixed:?}: without a pace they linger");
    assert!(adapting < fixed / 3, "{adapting:?} against {fixed:?}");
}

#[actix::test]
async fn under_heavy_load_nearly_as_many_are_saved_as_by_the_best_fixed_setting() {
    tokio::time::pause();
    for server in [&FAST, &SLOW] {
        let (mut best, mut worst) = (0.0_f64, f64::MAX);
        for sessions in [1, 2, 3, 4, 6, 8] {
            let mut simulation = Simulation::new(fixed(sessions), None, 60_000);
            simulation.becomes(server);
            simulation.run(SETTLING / 4).await;
            let rate = simulation.run(PHASE / 2).await;
            println!("heavy: {rate} fixed at {sessions}");
            (best, worst) = (best.max(rate), worst.min(rate));
        }
        let mut simulation = Simulation::new(adapting(), None, 60_000);
        simulation.becomes(server);
        simulation.run(SETTLING).await;
        let rate = simulation.run(PHASE).await;
        simulation.check();
        println!("heavy: {rate} adapting, {:?}", simulation.fixture.house.pace().now());
        assert!(worst < best * 0.9, "it matters: {worst} to {best}");
        assert!(rate >= best * 0.9, "{rate} adapting, {best} by the best fixed setting");
    }
}

#[actix::test]
async fn a_slow_phase_makes_transactions_small_and_ends_without_a_trace() {
    tokio::time::pause();
    let mut slow_transactions = Vec::new();
    for pace in [adapting(), fixed(SESSIONS)] {
        let mut simulation = Simulation::new(pace, None, 90_000);
        simulation.run(SETTLING).await;
        let before = simulation.run(PHASE - SETTLING).await;
        let pace_before = simulation.fixture.house.pace().now();
        simulation.becomes(&SLOW);
        simulation.run(SETTLING).await;
        let settled = Instant::now();
        let slow = simulation.run(PHASE - SETTLING).await;
        let pace_slow = simulation.fixture.house.pace().now();
        slow_transactions.push(simulation.transaction(settled));
        simulation.becomes(&FAST);
        simulation.run(SETTLING).await;
        let after = simulation.run(PHASE - SETTLING).await;
        let pace_after = simulation.fixture.house.pace().now();
        simulation.check();
        println!("phases: {before} {slow} {after}; {pace_before:?} {pace_slow:?} {pace_after:?}");
        assert!(slow < before * 0.8, "it was slow: {slow} after {before}");
        assert!(after > before * 0.9, "{after} after the slow phase, {before} before it");
        if pace.adapts {
            assert!(pace_slow.records < pace_before.records, "{pace_slow:?}, {pace_before:?}");
            assert!(pace_after.records > pace_slow.records, "{pace_after:?}, {pace_slow:?}");
        }
    }
    let [adapting, fixed] = slow_transactions[..] else { unreachable!("two were tried") };
    println!("slow transactions: {adapting:?} adapting, {fixed:?} fixed");
    assert!(adapting < TARGET * 3 / 2, "{adapting:?} is about the target");
    assert!(fixed > adapting * 2, "{fixed:?} without a pace, {adapting:?} with one");
}
