//! A whole house under virtual time, on one thread.
#![allow(dead_code, reason = "each promise uses its part")]

use std::sync::Arc;
use std::time::Duration;

use hashbrown::{HashMap, HashSet};
use longshore_actors::conservation::Conservation;
use longshore_actors::door::{Door, Front};
use longshore_actors::gate::Gate;
use longshore_actors::health::ActorState;
use longshore_actors::in_flight::InFlightLimits;
use longshore_actors::pace::{Bounds, PaceRules};
use longshore_actors::parked::RetryPolicy;
use longshore_actors::pipeline::{Order, Pipeline};
use longshore_actors::ports::ContextSource;
use longshore_actors::publisher::{Kind, Relay};
use longshore_actors::record::{Offset, PartitionId};
use longshore_actors::testing::{MemoryPublisher, MemorySource, MemoryStore, Tally, tally_value};
use longshore_actors::ticket::BudgetLimits;
use longshore_actors::topology::{House, HouseParams, Placement, Supervision};

/// A house, what it reads and where it saves.
pub(crate) struct Fixture<P: Pipeline = Tally> {
    pub(crate) pipeline: Arc<P>,
    pub(crate) store: MemoryStore,
    pub(crate) source: MemorySource,
    pub(crate) publisher: MemoryPublisher,
    pub(crate) house: House<P>,
    pub(crate) values: HashMap<PartitionId, Vec<Vec<u8>>>,
    pub(crate) doors: Vec<Door>,
    pub(crate) batch_records: usize,
}

pub(crate) const ROOMY: BudgetLimits =
    BudgetLimits { records: 10_000, bytes: 1 << 20, batches: 256 };

/// A pace that adapts within milliseconds, so that every promise is tried with one that does.
pub(crate) fn brisk(sessions: usize) -> PaceRules {
    PaceRules {
        adapts: true,
        target: Duration::from_millis(20),
        linger: Bounds { min: Duration::ZERO, max: Duration::from_millis(50) },
        records: Bounds { min: 20, max: 1000 },
        sessions: Bounds { min: 1, max: sessions },
    }
}

/// Keys of each partition.
const KEYS: i64 = 7;

/// `records` records in each of `partitions`: number 0, 1, 2.. over the keys in turn.
pub(crate) fn counting(partitions: i32, records: i64) -> HashMap<PartitionId, Vec<Vec<u8>>> {
    let values = |_| (0..records).map(|n| tally_value((n % KEYS) as u64, n)).collect();
    (0..partitions).map(|index| (PartitionId::new("t", index), values(index))).collect()
}

impl Fixture {
    /// Builds the house and assigns all partitions of `values` to it.
    pub(crate) fn new(
        order: Order,
        budget: BudgetLimits,
        latency: Duration,
        values: HashMap<PartitionId, Vec<Vec<u8>>>,
    ) -> Self {
        Self::supervised(order, budget, latency, values, Supervision::default())
    }

    /// The same under other limits of supervision.
    pub(crate) fn supervised(
        order: Order,
        budget: BudgetLimits,
        latency: Duration,
        values: HashMap<PartitionId, Vec<Vec<u8>>>,
        supervision: Supervision,
    ) -> Self {
        Self::retrying(order, (budget, latency), values, supervision, RetryPolicy::default())
    }

    /// The same with another policy of retries.
    pub(crate) fn retrying(
        order: Order,
        (budget, latency): (BudgetLimits, Duration),
        values: HashMap<PartitionId, Vec<Vec<u8>>>,
        supervision: Supervision,
        retry: RetryPolicy,
    ) -> Self {
        let in_flight = InFlightLimits::default();
        Self::in_flight(order, (budget, latency), values, supervision, (retry, in_flight))
    }

    /// The same with other limits of what is in flight.
    pub(crate) fn in_flight(
        order: Order,
        (budget, latency): (BudgetLimits, Duration),
        values: HashMap<PartitionId, Vec<Vec<u8>>>,
        supervision: Supervision,
        limits: (RetryPolicy, InFlightLimits),
    ) -> Self {
        Self::placed(Placement::Here, order, (budget, latency), values, supervision, limits)
    }

    /// The same with actors elsewhere.
    pub(crate) fn placed(
        placement: Placement,
        order: Order,
        (budget, latency): (BudgetLimits, Duration),
        values: HashMap<PartitionId, Vec<Vec<u8>>>,
        supervision: Supervision,
        (retry, in_flight): (RetryPolicy, InFlightLimits),
    ) -> Self {
        let store = MemoryStore::new(latency);
        let context = ContextSource::Lookups(Arc::new(store.clone()));
        let pace = brisk(2);
        let rules = Rules { placement, order, budget, supervision, retry, in_flight, pace };
        Self::build(Arc::new(Tally::default()), (store, context), rules, values)
    }
}

/// How a house is run.
#[derive(Clone, Copy)]
pub(crate) struct Rules {
    pub(crate) placement: Placement,
    pub(crate) order: Order,
    pub(crate) budget: BudgetLimits,
    pub(crate) supervision: Supervision,
    pub(crate) retry: RetryPolicy,
    pub(crate) in_flight: InFlightLimits,
    pub(crate) pace: PaceRules,
}

impl<P: Pipeline> Fixture<P> {
    /// Builds a house for `pipeline`.
    pub(crate) fn build(
        pipeline: Arc<P>,
        (store, context): (MemoryStore, ContextSource<P>),
        rules: Rules,
        values: HashMap<PartitionId, Vec<Vec<u8>>>,
    ) -> Self {
        let Rules { placement, order, budget, supervision, retry, in_flight, pace } = rules;
        let source = MemorySource::default();
        store.set_retry(retry);
        let publisher = MemoryPublisher::default();
        let relay = Relay {
            outbox: Arc::new(store.clone()),
            publisher: Arc::new(publisher.clone()),
            always: true,
        };
        let house = House::build(HouseParams {
            name: P::NAME.into(),
            pipeline: pipeline.clone(),
            order,
            budget,
            workers: 3,
            in_flight,
            sessions: pace.sessions.max,
            pace,
            store: Arc::new(store.clone()),
            context,
            source: Arc::new(source.clone()),
            placement,
            retry,
            gate: Gate::default(),
            relay: Some(relay),
            supervision,
        });
        let mut partitions: Vec<_> = values.keys().cloned().collect();
        partitions.sort();
        let doors = house.front().assign(partitions);
        Self { pipeline, store, source, publisher, house, values, doors, batch_records: 40 }
    }

    /// Reads what tickets allow, then lets a little time pass.
    pub(crate) async fn step(&mut self) {
        self.source.serve(&*self.house.front(), &mut self.doors);
        for door in &self.doors {
            while self.source.pump(&*self.house.front(), door, &self.values, self.batch_records) {}
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }

    /// Steps until `done`, for 30 s of virtual time at most: before anybody is taken for stuck.
    pub(crate) async fn run_until(&mut self, done: impl Fn(&Self) -> bool) {
        for _ in 0..30_000 {
            if done(self) {
                return;
            }
            self.step().await;
        }
        panic!("not done in 30 s of virtual time: {}", self.describe());
    }

    /// Where everything stands, for a failure.
    fn describe(&self) -> String {
        let of_door = |door: &Door| {
            let fence = door.fence();
            format!(
                "\n{} stored {:?}, stands {}, {:?}, {} batches in hand, stopped {:?}",
                fence.partition(),
                self.store.next_offset(fence.partition()),
                fence.stands(),
                fence.position(),
                door.batches_in_hand(),
                self.source.stopped(door),
            )
        };
        let actors = self.house.health().actors.into_iter();
        let busy = actors.filter(|actor| actor.state != ActorState::Idle);
        let busy = busy
            .map(|actor| format!("\n{} {:?}, {} in hand", actor.name, actor.state, actor.in_hand));
        let budget = self.house.front();
        let records = budget.budget().records_out();
        self.doors.iter().map(of_door).chain(busy).collect::<String>()
            + &format!("\n{:?}, {records} records out", self.conservation())
    }

    /// Whether the stored offset of every partition is at its end.
    pub(crate) fn is_at_the_end(&self) -> bool {
        let at_end = |(partition, values): (&PartitionId, &Vec<Vec<u8>>)| {
            self.store.next_offset(partition).is_some_and(|next| next.0 == values.len() as i64)
        };
        self.values.iter().all(at_end) && self.doors.iter().all(|d| d.batches_in_hand() == 0)
    }

    /// The counters of all doors together.
    pub(crate) fn conservation(&self) -> Conservation {
        self.house.ledger().total()
    }

    /// Asserts that the rows of each key were saved in offset order; see [`counting`] for the keys.
    pub(crate) fn assert_in_order(&self) {
        let mut last = HashMap::new();
        for row in self.store.rows() {
            let key = (row.partition.clone(), row.offset.0 % KEYS);
            let before = last.insert(key, row.offset);
            assert!(before < Some(row.offset), "{} {:?}: {before:?}", row.partition, row.offset);
        }
    }

    /// Asserts that every message of the outbox was published, that nothing else was, and that
    /// those of one key came in order when they first came.
    pub(crate) fn assert_published(&self) {
        let (messages, all) = (self.store.messages(), self.publisher.taken());
        let (mut seen, mut last) = (HashSet::new(), HashMap::new());
        for taken in all.iter().filter(|taken| taken.row.kind == Kind::Outbox) {
            let message = &messages[taken.row.id as usize];
            assert_eq!(taken.value.as_deref(), message.message.value_bytes());
            if seen.insert(taken.row.id) {
                let before = last.insert((&message.partition, &taken.key), taken.row.id);
                assert!(before < Some(taken.row.id), "{before:?} before {message:?}");
            }
        }
        let wanted = messages.iter().filter(|message| message.outcome == Some(Ok(())));
        assert_eq!(wanted.count(), messages.len(), "noted as published");
        assert_eq!(seen.len(), messages.len(), "published");
    }

    /// Asserts that every record with a number of 0 or more has exactly one row.
    pub(crate) fn assert_each_once(&self) {
        let mut seen: Vec<_> =
            self.store.rows().iter().map(|row| (row.partition.clone(), row.offset)).collect();
        let rows = seen.len();
        seen.sort();
        seen.dedup();
        let wanted: usize = self.values.values().map(Vec::len).sum();
        let is_missing = |place: &(PartitionId, Offset)| !seen.contains(place);
        let all = self.values.iter().flat_map(|(partition, values)| {
            (0..values.len() as i64).map(|offset| (partition.clone(), Offset(offset)))
        });
        let missing: Vec<_> = all.filter(is_missing).collect();
        assert_eq!((rows, seen.len()), (wanted, wanted), "rows, distinct; without {missing:?}");
    }
}
