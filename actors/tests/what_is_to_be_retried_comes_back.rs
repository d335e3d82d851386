//! A record that `work` puts off comes back by itself until it is settled; ordered by key, nothing
//! of its key overtakes it and other keys go on; ordered by partition, everything waits in place.

mod house;

use std::time::Duration;

use house::{Fixture, ROOMY, counting};
use longshore_actors::door::Front;
use longshore_actors::parked::RetryPolicy;
use longshore_actors::pipeline::Order;
use longshore_actors::topology::Supervision;

const LATENCY: Duration = Duration::from_millis(2);

/// Pauses of a tenth of a second, and more attempts than any test makes.
const SOON: RetryPolicy = RetryPolicy {
    first: Duration::from_millis(100),
    max: Duration::from_millis(400),
    attempts: 1000,
    lane_records: 10_000,
};

fn house(order: Order, records: i64, retry: RetryPolicy) -> Fixture {
    let values = counting(2, records);
    Fixture::retrying(order, (ROOMY, LATENCY), values, Supervision::default(), retry)
}

fn fail(fixture: &Fixture, key: u64) {
    fixture.pipeline.failing.lock().expect("no panic").insert(key);
}

fn heal(fixture: &Fixture) {
    fixture.pipeline.failing.lock().expect("no panic").clear();
}

/// The rows of other keys than 3, and whether the offsets are at the end.
fn others_are_saved(fixture: &Fixture, records: i64) -> bool {
    let others = (0..records).filter(|n| n % 7 != 3).count() * 2;
    fixture.is_at_the_end() && fixture.store.rows().len() == others
}

#[actix::test]
async fn by_key_the_later_records_of_the_key_wait_and_other_keys_go_on() {
    tokio::time::pause();
    let mut fixture = house(Order::ByKey, 700, SOON);
    fail(&fixture, 3);
    fixture.run_until(|fixture| others_are_saved(fixture, 700)).await;
    let shelved = fixture.store.shelved();
    assert_eq!(shelved.len(), 200, "all of the key are parked, in both partitions");
    assert!(shelved.iter().all(|record| record.due.is_some()), "and none of them is dead");
    let tried = shelved.iter().filter(|record| record.attempts > 0).count();
    assert_eq!(tried, 2, "only the heads were tried");
    heal(&fixture);
    fixture.run_until(|fixture| fixture.store.shelved().is_empty()).await;
    fixture.assert_each_once();
    fixture.assert_in_order();
    let counts = fixture.conservation();
    assert_eq!((counts.read, counts.settled.total(), counts.given_up), (1400, 1400, 0));
    assert_eq!((counts.settled.parked, counts.parked_settled.saved), (200, 200));
}

#[actix::test]
async fn unordered_each_comes_back_by_itself() {
    tokio::time::pause();
    let mut fixture = house(Order::Unordered, 700, SOON);
    fail(&fixture, 3);
    fixture.run_until(|fixture| others_are_saved(fixture, 700)).await;
    assert!(fixture.store.shelved().iter().all(|record| record.attempts > 0), "each was tried");
    heal(&fixture);
    fixture.run_until(|fixture| fixture.store.shelved().is_empty()).await;
    fixture.assert_each_once();
}

#[actix::test]
async fn by_partition_everything_waits_in_its_place() {
    tokio::time::pause();
    let mut fixture = house(Order::ByPartition, 700, SOON);
    fail(&fixture, 3);
    fixture.run_until(|fixture| fixture.store.rows().len() == 6).await;
    for _ in 0..1000 {
        fixture.step().await;
    }
    assert_eq!(fixture.store.rows().len(), 6, "0, 1 and 2 of both partitions, and nothing behind");
    assert!(fixture.store.shelved().is_empty(), "nothing is parked");
    heal(&fixture);
    fixture.run_until(Fixture::is_at_the_end).await;
    fixture.assert_each_once();
    fixture.assert_in_order();
}

#[actix::test]
async fn after_the_last_attempt_a_record_is_dead_and_the_next_of_its_key_is_tried() {
    tokio::time::pause();
    for order in [Order::ByKey, Order::Unordered, Order::ByPartition] {
        let mut fixture = house(order, 70, RetryPolicy { attempts: 3, ..SOON });
        fail(&fixture, 3);
        fixture.run_until(|fixture| fixture.store.parked().len() == 20).await;
        fixture.run_until(|fixture| others_are_saved(fixture, 70)).await;
        assert!(fixture.store.shelved().iter().all(|record| record.due.is_none()), "{order}");
    }
}

#[actix::test]
async fn a_full_lane_stops_the_reading_until_it_has_room() {
    tokio::time::pause();
    let mut fixture = house(Order::ByKey, 7000, RetryPolicy { lane_records: 50, ..SOON });
    fail(&fixture, 3);
    let is_full =
        |fixture: &Fixture| fixture.doors.iter().all(|door| fixture.source.stopped(door).is_some());
    fixture.run_until(is_full).await;
    for _ in 0..1000 {
        fixture.step().await;
    }
    assert!(fixture.store.shelved().len() <= 100, "no lane has more than it may have");
    assert!(!fixture.is_at_the_end());
    heal(&fixture);
    fixture
        .run_until(|fixture| fixture.is_at_the_end() && fixture.store.shelved().is_empty())
        .await;
    fixture.assert_each_once();
    fixture.assert_in_order();
}

#[actix::test]
async fn what_is_due_during_a_drain_is_left_to_the_next_owner() {
    tokio::time::pause();
    let mut fixture = house(Order::ByKey, 70, SOON);
    fail(&fixture, 3);
    fixture.run_until(|fixture| others_are_saved(fixture, 70)).await;
    fixture.doors.iter().for_each(|door| door.fence().drain());
    // What had begun may end.
    for _ in 0..100 {
        fixture.step().await;
    }
    heal(&fixture);
    for _ in 0..2000 {
        fixture.step().await;
    }
    assert_eq!(fixture.store.shelved().len(), 20, "nothing comes back to one who leaves");
    let partitions = fixture.doors.iter().map(|door| door.fence().partition().clone()).collect();
    fixture.doors.iter().for_each(|door| door.fence().fall());
    fixture.doors = fixture.house.front().assign(partitions);
    fixture.run_until(|fixture| fixture.store.shelved().is_empty()).await;
    fixture.assert_each_once();
}
