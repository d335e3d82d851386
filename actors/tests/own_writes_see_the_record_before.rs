//! Promise: where records change what they look up, each sees what the ones before it have left,
//! whichever partition they are in, whatever dies, is refused or lost, and whoever else changes it.
//! A whole house under virtual time, hundreds of seeded schedules.
//!
//! A failure names its seed; `LONGSHORE_SEED=N` runs that one alone.

mod house;

use std::sync::Arc;
use std::time::Duration;

use fastrand::Rng;
use hashbrown::HashMap;
use house::{Fixture, Rules, brisk};
use longshore_actors::door::Front;
use longshore_actors::faults;
use longshore_actors::in_flight::InFlightLimits;
use longshore_actors::parked::RetryPolicy;
use longshore_actors::pipeline::Order;
use longshore_actors::ports::ContextSource;
use longshore_actors::record::{Offset, PartitionId};
use longshore_actors::supervise::RestartLimits;
use longshore_actors::testing::{Ledger, LedgerRow, MemoryStore, ledger_value};
use longshore_actors::ticket::BudgetLimits;
use longshore_actors::topology::{Placement, Supervision};

const SEEDS: u64 = 400;
/// Milliseconds of each schedule in which something may happen.
const STEPS: usize = 300;
const PARTITIONS: i32 = 4;
const RECORDS: i64 = 200;
const ACCOUNTS: u64 = 9;

const ACTORS: [(&str, &[&str]); 5] = [
    ("PartitionActor", &["HandedInBatch", "BatchSaved", "BatchGivenUp", "Reacquired"]),
    ("OwnWritesLoader", &["DecodedBatch", "Opened"]),
    ("WorkerPool", &["LoadedGroup"]),
    ("WorkerActor", &["LoadedGroup", "Worked"]),
    ("PersisterActor", &["WorkedGroup", "GroupSaved"]),
];

#[actix::test]
#[expect(clippy::disallowed_methods, reason = "the tests are configured by the environment alone")]
async fn under_hundreds_of_schedules_the_balances_of_each_account_are_a_chain() {
    tokio::time::pause();
    let only = std::env::var("LONGSHORE_SEED").ok().map(|seed| seed.parse().expect("a number"));
    let (mut refused, mut added) = (0, 0);
    for seed in only.map_or(0..SEEDS, |seed: u64| seed..seed + 1) {
        let mut schedule = Schedule::new(seed);
        schedule.run().await;
        schedule.calm_down().await;
        schedule.check();
        refused += schedule.refused.len();
        added += schedule.added.len();
    }
    // A schedule in which nothing happens proves nothing.
    assert!(only.is_some() || (refused > 400 && added > 400), "{refused} refused, {added} added");
}

struct Schedule {
    seed: u64,
    rng: Rng,
    fixture: Fixture<Ledger>,
    amounts: HashMap<(PartitionId, Offset), i64>,
    /// What the store refuses.
    refused: Vec<(PartitionId, Offset)>,
    /// What another program adds.
    added: Vec<(u64, i64)>,
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

impl Schedule {
    fn new(seed: u64) -> Self {
        let mut rng = Rng::with_seed(seed);
        fastrand::seed(seed);
        faults::withdraw();
        let (mut values, mut amounts) = (HashMap::new(), HashMap::new());
        for index in 0..PARTITIONS {
            let partition = PartitionId::new("t", index);
            let value = |offset: i64| {
                let amount = match rng.u32(..50) {
                    0 => 0,
                    1 => -1,
                    _ => rng.i64(1..1_000_000_000_000),
                };
                amounts.insert((partition.clone(), Offset(offset)), amount);
                ledger_value(rng.u64(..ACCOUNTS), amount)
            };
            values.insert(partition.clone(), (0..RECORDS).map(value).collect());
        }
        let budget = BudgetLimits { records: rng.u64(40..400), bytes: 1 << 20, batches: 64 };
        let restarts = RestartLimits { restarts: usize::MAX, within: Duration::from_secs(1) };
        let supervision = Supervision { restarts, ..Supervision::default() };
        let store = MemoryStore::new(Duration::from_millis(2));
        let context = ContextSource::OwnWrites(Arc::new(store.clone()));
        let order = [Order::ByKey, Order::ByPartition, Order::Unordered][rng.usize(..3)];
        let rules = Rules {
            placement: Placement::Here,
            order,
            budget,
            supervision,
            retry: RetryPolicy::default(),
            in_flight: InFlightLimits::default(),
            pace: brisk(2),
        };
        let mut fixture = Fixture::build(Arc::new(Ledger), (store, context), rules, values);
        fixture.batch_records = rng.usize(1..40);
        fixture.store.set_weather(Some(seed));
        let mut refused = Vec::new();
        for _ in 0..rng.usize(..6) {
            let partition = PartitionId::new("t", rng.i32(..PARTITIONS));
            let offset = Offset(rng.i64(..RECORDS));
            fixture.store.refuse(&partition, offset);
            refused.push((partition, offset));
        }
        Self { seed, rng, fixture, amounts, refused, added: Vec::new() }
    }

    async fn run(&mut self) {
        let _says = Says(self.seed);
        for _ in 0..STEPS {
            match self.rng.u32(..200) {
                0..4 => self.order_a_panic(),
                4..6 => self.rebalance(),
                6..10 => self.add_from_outside(),
                _ => {}
            }
            self.fixture.step().await;
        }
    }

    async fn calm_down(&mut self) {
        let _says = Says(self.seed);
        faults::withdraw();
        self.fixture.store.set_weather(None);
        self.fixture.run_until(Fixture::is_at_the_end).await;
        self.fixture.run_until(|f| f.conservation().in_flight() == 0).await;
        self.fixture.run_until(|f| f.house.front().budget().is_drained()).await;
    }

    fn order_a_panic(&mut self) {
        let (actor, messages) = ACTORS[self.rng.usize(..ACTORS.len())];
        let message = messages[self.rng.usize(..messages.len())];
        faults::order_panic(actor, message, self.rng.u32(..6));
    }

    fn rebalance(&mut self) {
        let door = &mut self.fixture.doors[self.rng.usize(..PARTITIONS as usize)];
        let partition = door.fence().partition().clone();
        door.fence().fall();
        *door = self.fixture.house.front().assign(vec![partition]).remove(0);
    }

    fn add_from_outside(&mut self) {
        let (account, amount) = (self.rng.u64(..ACCOUNTS), self.rng.i64(1..1_000_000_000_000));
        if self.fixture.store.add_to_account(account, amount) {
            self.added.push((account, amount));
        }
    }

    fn check(&self) {
        let _says = Says(self.seed);
        let mut rows: HashMap<u64, Vec<LedgerRow>> = HashMap::new();
        let mut saved = HashMap::new();
        for row in self.fixture.store.rows() {
            let read = LedgerRow::read(&row.bytes);
            let place = (row.partition, row.offset);
            assert_eq!(self.amounts[&place], read.amount, "{place:?}");
            assert!(saved.insert(place, read).is_none(), "a row is there twice");
            rows.entry(read.account).or_default().push(read);
        }
        for (place, amount) in &self.amounts {
            let is_saved = *amount > 0 && !self.refused.contains(place);
            assert_eq!(saved.contains_key(place), is_saved, "{place:?}: {amount}");
        }
        let parked = self.amounts.len() - saved.len();
        assert_eq!(self.fixture.store.parked().len(), parked, "the others are parked");
        for account in 0..ACCOUNTS {
            let rows = rows.remove(&account).unwrap_or_default();
            let added: Vec<i64> =
                self.added.iter().filter(|(to, _)| *to == account).map(|(_, n)| *n).collect();
            let sum: i64 = rows.iter().map(|row| row.amount).chain(added.iter().copied()).sum();
            assert_eq!(self.fixture.store.balance(account), sum, "account {account}");
            // In between others may have added something: never less, and never twice the same.
            let (mut at, mut gaps) = (0, 0);
            for row in rows {
                let gap = row.after - row.amount - at;
                assert!(gap >= 0, "account {account}: {row:?} follows {at}");
                (at, gaps) = (row.after, gaps + gap);
            }
            assert!(gaps <= added.iter().sum(), "account {account}: {gaps} from nowhere");
        }
    }
}
