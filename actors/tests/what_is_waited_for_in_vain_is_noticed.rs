//! Promise: a partition that waits for what never comes is begun anew, whatever goes on around it,
//! and nothing is lost or doubled; one that only waits long is let wait.

mod house;

use std::sync::Arc;
use std::time::Duration;

use house::{Fixture, ROOMY, Rules, brisk, counting};
use longshore_actors::faults;
use longshore_actors::health::{ActorHealth, ActorState};
use longshore_actors::in_flight::InFlightLimits;
use longshore_actors::pace::{Bounds, PaceRules};
use longshore_actors::parked::RetryPolicy;
use longshore_actors::pipeline::{Order, Pipeline};
use longshore_actors::ports::ContextSource;
use longshore_actors::record::PartitionId;
use longshore_actors::testing::{
    Fault, Ledger, MemoryStore, Tally, Waits, ledger_value, tally_value,
};
use longshore_actors::topology::{Placement, Supervision};

const LATENCY: Duration = Duration::from_millis(3);

/// So long somebody may get nowhere here: ten times within the 30 s of a test.
const PATIENCE: Duration = Duration::from_secs(3);

/// What must be waited for takes longer.
const LONG: Duration = Duration::from_secs(10);

fn watched() -> Supervision {
    Supervision { stuck_after: PATIENCE, ..Supervision::default() }
}

fn assert_nobody_was_started_again<P: Pipeline>(fixture: &Fixture<P>) {
    let restarts = fixture.house.health().restarts;
    assert!(restarts.is_empty(), "{restarts:?}");
}

/// So many sessions, whose transactions have twenty records each.
fn of_twenty(sessions: usize) -> Rules {
    Rules {
        placement: Placement::Here,
        order: Order::ByKey,
        budget: ROOMY,
        supervision: watched(),
        retry: RetryPolicy::default(),
        in_flight: InFlightLimits::default(),
        pace: PaceRules { records: Bounds { min: 20, max: 20 }, ..brisk(sessions) },
    }
}

#[actix::test]
async fn a_partition_whose_notice_is_lost_goes_on() {
    tokio::time::pause();
    let mut fixture =
        Fixture::supervised(Order::ByKey, ROOMY, LATENCY, counting(3, 400), watched());
    faults::order_bug("lost-notice");
    faults::order_panic("PersisterActor", "WorkedChunk", 2);
    fixture.run_until(Fixture::is_at_the_end).await;
    fixture.assert_each_once();
    fixture.assert_in_order();
    let restarts = fixture.house.health().restarts;
    assert!(restarts["PartitionActor"] > 0, "the notice was lost: {restarts:?}");
    faults::withdraw();
}

#[actix::test]
async fn a_partition_whose_notice_is_lost_goes_on_while_all_others_flow() {
    tokio::time::pause();
    let mut values = counting(2, 200);
    let (flowing, waiting) = (PartitionId::new("t", 1), PartitionId::new("t", 0));
    values.insert(flowing.clone(), Vec::new());
    let mut fixture = Fixture::supervised(Order::ByKey, ROOMY, LATENCY, values, watched());
    faults::order_bug("lost-notice");
    faults::order_panic("PersisterActor", "WorkedChunk", 2);
    for number in 0..20_000 {
        // Nobody of the house is ever idle for long.
        let records = fixture.values.get_mut(&flowing).expect("it is there");
        records.push(tally_value(0, number));
        // Nor does it wait in silence: it is handed what comes to it later.
        if number % 1000 == 0 {
            let records = fixture.values.get_mut(&waiting).expect("it is there");
            records.push(tally_value(1, number));
        }
        fixture.step().await;
    }
    fixture.run_until(Fixture::is_at_the_end).await;
    fixture.assert_each_once();
    let restarts = fixture.house.health().restarts;
    assert_eq!((restarts["PersisterActor"], restarts["PartitionActor"]), (1, 1), "{restarts:?}");
    faults::withdraw();
}

/// It comes to its end, once it has waited for more than `least`, and nobody was blamed for it.
async fn assert_waits_and_goes_on(fixture: &mut Fixture, least: Duration) {
    let begun = tokio::time::Instant::now();
    fixture.run_until(Fixture::is_at_the_end).await;
    assert!(begun.elapsed() > least, "it has not waited long");
    fixture.assert_each_once();
    assert_nobody_was_started_again(fixture);
}

#[actix::test]
async fn a_slow_store_is_waited_for_and_so_is_one_that_is_away() {
    tokio::time::pause();
    let store = MemoryStore::new(LATENCY);
    let context = ContextSource::Lookups(Arc::new(store.clone()));
    let (pipeline, values) = (Arc::new(Tally::default()), counting(3, 100));
    let mut fixture = Fixture::build(pipeline, (store, context), of_twenty(2), values);
    fixture.batch_records = 20;
    // Each transaction by itself is within the patience; those behind it wait longer.
    fixture.store.set_save_time(Arc::new(|_, _| PATIENCE - Duration::from_secs(1)));
    fixture.store.order_faults(vec![Fault::Retry; 4]);
    assert_waits_and_goes_on(&mut fixture, LONG).await;
}

#[actix::test]
async fn work_that_waits_long_is_waited_for() {
    tokio::time::pause();
    let mut fixture = Fixture::supervised(Order::ByKey, ROOMY, LATENCY, counting(3, 7), watched());
    *fixture.pipeline.waits.lock().expect("no panic") = Waits::Each(LONG);
    assert_waits_and_goes_on(&mut fixture, LONG).await;
}

#[actix::test]
async fn what_waits_behind_a_record_that_is_tried_again_later_is_let_wait() {
    tokio::time::pause();
    let retry = RetryPolicy { first: LONG, max: LONG, ..RetryPolicy::default() };
    let room = (ROOMY, LATENCY);
    let mut fixture =
        Fixture::retrying(Order::ByPartition, room, counting(2, 100), watched(), retry);
    fixture.pipeline.failing.lock().expect("no panic").insert(3);
    let is_waiting = |actor: &ActorHealth| matches!(actor.state, ActorState::Waiting(_));
    fixture.run_until(|fixture| fixture.house.health().actors.iter().any(is_waiting)).await;
    fixture.pipeline.failing.lock().expect("no panic").clear();
    assert_waits_and_goes_on(&mut fixture, PATIENCE).await;
}

#[actix::test]
async fn groups_that_wait_for_the_only_session_are_let_wait() {
    tokio::time::pause();
    let store = MemoryStore::new(Duration::from_secs(1));
    let context = ContextSource::OwnWrites(Arc::new(store.clone()));
    let value = |index: i32| vec![ledger_value(index as u64, 1); 20];
    let values = (0..6).map(|index| (PartitionId::new("t", index), value(index))).collect();
    let mut fixture = Fixture::build(Arc::new(Ledger), (store, context), of_twenty(1), values);
    let begun = tokio::time::Instant::now();
    fixture.run_until(Fixture::is_at_the_end).await;
    assert!(begun.elapsed() > LONG, "nobody has waited long");
    assert_eq!((0..6).map(|account| fixture.store.balance(account)).sum::<i64>(), 120);
    assert_nobody_was_started_again(&fixture);
}
