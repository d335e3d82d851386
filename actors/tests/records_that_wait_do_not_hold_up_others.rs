//! Promise: while the work of some records waits, others are worked, as many as the limit allows
//! and in the order that binds; who takes too long comes back later, who is not wanted any more is
//! cancelled, and nobody is taken for stuck who only waits.

mod house;

use std::time::Duration;

use hashbrown::HashMap;
use house::{Fixture, ROOMY, counting};
use longshore_actors::door::Front;
use longshore_actors::faults;
use longshore_actors::in_flight::InFlightLimits;
use longshore_actors::parked::RetryPolicy;
use longshore_actors::pipeline::Order;
use longshore_actors::testing::{Waits, tally_value};
use longshore_actors::topology::{Placement, Supervision};
use tokio::time::Instant;

const LATENCY: Duration = Duration::from_millis(2);
const MOMENT: Duration = Duration::from_millis(10);

/// A house with this much in flight, whose work waits.
fn house(order: Order, limits: InFlightLimits, waits: Waits, records: i64) -> Fixture {
    let values = counting(2, records);
    let pause = Duration::from_millis(100);
    let retry = RetryPolicy { first: pause, max: pause, attempts: u32::MAX, lane_records: 10_000 };
    let supervision = Supervision { stuck_after: Duration::from_secs(3), ..Supervision::default() };
    let room = (ROOMY, LATENCY);
    let fixture = Fixture::in_flight(order, room, values, supervision, (retry, limits));
    set(&fixture, waits);
    fixture
}

fn set(fixture: &Fixture, waits: Waits) {
    *fixture.pipeline.waits.lock().expect("no panic") = waits;
}

fn at_a_time(records: usize) -> InFlightLimits {
    InFlightLimits { records, ..InFlightLimits::default() }
}

/// The numbers of each key, in the order in which their work ended.
fn worked(fixture: &Fixture) -> HashMap<u64, Vec<i64>> {
    let mut by_key = HashMap::<u64, Vec<i64>>::new();
    for (key, number) in fixture.pipeline.worked.lock().expect("no panic").iter() {
        by_key.entry(*key).or_default().push(*number);
    }
    by_key
}

#[actix::test]
async fn unordered_as_many_wait_at_a_time_as_the_limit_says() {
    tokio::time::pause();
    for limit in [1, 64, 256] {
        let mut fixture = house(Order::Unordered, at_a_time(limit), Waits::Each(MOMENT), 500);
        let began = Instant::now();
        fixture.run_until(Fixture::is_at_the_end).await;
        fixture.assert_each_once();
        let ideal = MOMENT.mul_f64(1000.0 / limit as f64);
        let took = began.elapsed();
        assert_eq!(fixture.pipeline.waiting.most(), limit);
        assert!(took >= ideal && took < ideal * 2 + LATENCY * 50, "{limit}: {took:?}");
    }
}

#[actix::test]
async fn by_key_one_of_each_key_waits_and_the_order_holds_across_batches() {
    tokio::time::pause();
    let mut fixture = house(Order::ByKey, at_a_time(256), Waits::Each(MOMENT), 700);
    fixture.run_until(Fixture::is_at_the_end).await;
    fixture.assert_each_once();
    fixture.assert_in_order();
    assert_eq!(fixture.pipeline.waiting.most(), 14, "seven keys in each of two partitions");
    // Both partitions count over the same keys: each number comes twice, in order.
    for (key, numbers) in worked(&fixture) {
        let mut last = [-1; 2];
        for number in numbers {
            let of = usize::from(last[0] >= number);
            assert!(last[of] < number, "key {key}: {number} after {last:?}");
            last[of] = number;
        }
    }
}

#[actix::test]
async fn by_key_few_permits_and_many_partitions_keep_the_order_too() {
    tokio::time::pause();
    for (limit, seed) in [(1, 1), (2, 2), (3, 3), (7, 4), (20, 5)] {
        fastrand::seed(seed);
        let mut fixture = house(Order::ByKey, at_a_time(limit), Waits::Some(20), 400);
        fixture.run_until(Fixture::is_at_the_end).await;
        fixture.assert_each_once();
        fixture.assert_in_order();
        assert!(fixture.pipeline.waiting.most() <= limit);
    }
}

#[actix::test]
async fn by_key_a_slow_key_holds_up_nobody_else() {
    tokio::time::pause();
    let slow = Waits::Key(3, Duration::from_secs(20));
    let mut fixture = house(Order::ByKey, at_a_time(256), slow, 70);
    let others = |f: &Fixture| worked(f).values().map(Vec::len).sum::<usize>() == 120;
    let began = Instant::now();
    fixture.run_until(others).await;
    assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
    assert_eq!(fixture.pipeline.waiting.now(), 2, "the first of the key in both partitions");
}

#[actix::test]
async fn by_partition_one_record_of_each_waits() {
    tokio::time::pause();
    let mut fixture = house(Order::ByPartition, at_a_time(256), Waits::Each(MOMENT), 200);
    fixture.run_until(Fixture::is_at_the_end).await;
    fixture.assert_each_once();
    fixture.assert_in_order();
    assert_eq!(fixture.pipeline.waiting.most(), 2);
}

#[actix::test]
async fn what_takes_too_long_is_put_off_and_comes_back() {
    tokio::time::pause();
    for order in [Order::Unordered, Order::ByKey] {
        let limits = InFlightLimits { records: 256, timeout: Duration::from_millis(300) };
        let slow = Waits::Key(3, Duration::from_secs(3600));
        let mut fixture = house(order, limits, slow, 70);
        fixture.run_until(|f| f.is_at_the_end() && f.store.rows().len() == 120).await;
        let shelved = fixture.store.shelved();
        assert_eq!(shelved.len(), 20);
        let tried = shelved.iter().filter(|record| record.attempts > 0);
        let timeouts = tried.map(|record| assert_eq!(record.reason, "timeout")).count();
        assert_eq!(timeouts, if order == Order::ByKey { 2 } else { 20 }, "{order}");
        set(&fixture, Waits::Never);
        fixture.run_until(|fixture| fixture.store.shelved().is_empty()).await;
        fixture.assert_each_once();
        assert_eq!(fixture.pipeline.waiting.now(), 0);
    }
}

#[actix::test]
async fn by_partition_what_takes_too_long_holds_its_place() {
    tokio::time::pause();
    let limits = InFlightLimits { records: 256, timeout: Duration::from_millis(300) };
    let slow = Waits::Key(3, Duration::from_secs(3600));
    let mut fixture = house(Order::ByPartition, limits, slow, 70);
    fixture.run_until(|fixture| fixture.store.rows().len() == 6).await;
    for _ in 0..1000 {
        fixture.step().await;
    }
    assert_eq!(fixture.store.rows().len(), 6, "0, 1 and 2 of both partitions");
    set(&fixture, Waits::Never);
    fixture.run_until(Fixture::is_at_the_end).await;
    fixture.assert_each_once();
    fixture.assert_in_order();
}

#[actix::test]
async fn a_panic_after_a_wait_is_the_rejection_of_that_record_alone() {
    tokio::time::pause();
    for order in [Order::Unordered, Order::ByKey, Order::ByPartition] {
        let mut fixture = house(order, at_a_time(256), Waits::Each(MOMENT), 0);
        let numbers = [1, 2, -1, -2, -3, 3, -1, 4].into_iter();
        let values = numbers.zip(0..).map(|(number, key)| tally_value(key % 3, number));
        fixture.values.values_mut().for_each(|of| of.extend(values.clone()));
        fixture.run_until(Fixture::is_at_the_end).await;
        let saved: Vec<_> = fixture.store.rows().iter().map(|row| row.offset.0).collect();
        assert_eq!(saved.len(), 8, "1, 2, 3 and 4, with both partitions: {saved:?}");
        let parked = fixture.store.parked();
        let panics = parked.iter().filter(|(.., reason)| reason == "panic").count();
        assert_eq!((parked.len(), panics), (6, 4), "{parked:?}");
        assert_eq!(fixture.conservation().settled.skipped, 2);
    }
}

#[actix::test]
async fn who_is_not_wanted_any_more_is_cancelled() {
    tokio::time::pause();
    for order in [Order::Unordered, Order::ByKey, Order::ByPartition] {
        let hour = Waits::Each(Duration::from_secs(3600));
        let mut fixture = house(order, at_a_time(256), hour, 300);
        fixture.run_until(|fixture| fixture.pipeline.waiting.now() > 0).await;
        fixture.doors.clear();
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(fixture.pipeline.waiting.now(), 0, "{order}");
        assert!(fixture.house.front().budget().is_drained(), "every ticket is home");
    }
}

#[actix::test]
async fn a_worker_that_dies_takes_its_waiting_records_along_and_they_come_again() {
    tokio::time::pause();
    for nth in 0..4 {
        let mut fixture = house(Order::ByKey, at_a_time(20), Waits::Some(10), 400);
        faults::order_panic("WorkerActor", "Worked", nth);
        faults::order_panic("WorkerActor", "WorkChunk", nth + 2);
        fixture.run_until(Fixture::is_at_the_end).await;
        fixture.assert_each_once();
        fixture.assert_in_order();
        faults::withdraw();
    }
}

#[actix::test]
async fn nobody_is_stuck_who_only_waits() {
    tokio::time::pause();
    let long = Waits::Each(Duration::from_secs(12));
    let mut fixture = house(Order::ByPartition, at_a_time(256), long, 2);
    fixture.run_until(Fixture::is_at_the_end).await;
    let health = fixture.house.health();
    assert!(health.restarts.is_empty(), "{:?}", health.restarts);
    fixture.assert_each_once();
}

#[actix::test]
async fn work_may_ask_an_actor_of_the_pipelines_own() {
    tokio::time::pause();
    let asks = Waits::Asks(Duration::from_secs(1));
    let mut fixture = house(Order::ByKey, at_a_time(256), asks, 300);
    // One that asked it is not answered, and comes back later.
    faults::order_panic("TurnstileActor", "Pass", 100);
    fixture.run_until(Fixture::is_at_the_end).await;
    fixture.run_until(|fixture| fixture.store.shelved().is_empty()).await;
    fixture.assert_each_once();
    fixture.assert_in_order();
    assert_eq!(fixture.house.health().restarts.get("TurnstileActor"), Some(&1));
    faults::withdraw();
}

/// In real time, and on threads that can hang.
#[actix::test]
async fn work_that_blocks_after_a_wait_is_found_at_its_record() {
    let supervision = Supervision { stuck_after: Duration::from_secs(2), ..Supervision::default() };
    let limits = (RetryPolicy::default(), InFlightLimits::default());
    let mut fixture = Fixture::placed(
        Placement::Threads,
        Order::ByKey,
        (ROOMY, LATENCY),
        counting(1, 1),
        supervision,
        limits,
    );
    set(&fixture, Waits::Blocks);
    let hung = |fixture: &Fixture| fixture.house.health().hung_threads > 0;
    fixture.run_until(hung).await;
    // Its successor does not wait any more.
    set(&fixture, Waits::Never);
    fixture.run_until(Fixture::is_at_the_end).await;
    fixture.assert_each_once();
    assert_eq!(fixture.house.health().restarts.get("WorkerActor"), Some(&1));
}
