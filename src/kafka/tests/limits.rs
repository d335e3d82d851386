//! Nothing is read without a ticket, memory stays bounded, and nothing waits for ever.

use std::time::{Duration, Instant};

use longshore_actors::door::Front;
use longshore_actors::ticket::BudgetLimits;

use super::support::{BUDGET, Bench, eventually, meanwhile, numbered};

#[test]
fn a_house_that_saves_nothing_is_given_no_more_than_its_budget() {
    let bench = Bench::mock(3);
    for partition in 0..3 {
        bench.produce(partition, numbered(0..5000));
    }
    let budget = BudgetLimits { records: 1500, bytes: 1 << 20, batches: 100 };
    let mut params = bench.params();
    params.batch.bytes = 256 << 10;
    let member = bench.join_with(budget, &params);
    member.front.hold();
    eventually("a full house", || member.front.budget().records_out() >= 1000);
    // Counted in the house itself: a ticket that is refused is out for a moment too.
    let in_house = || {
        let fences = member.front.fences();
        fences.iter().map(|fence| fence.counts().snapshot().in_flight()).sum::<u64>()
    };
    meanwhile(Duration::from_millis(500), || in_house() <= 1500);
    assert_eq!(bench.shelf.num_records(), 0);
    member.front.release();
    bench.await_records(15_000);
    for partition in 0..3 {
        bench.assert_values(partition, &numbered(0..5000));
    }
    eventually("all tickets home", || member.front.budget().is_drained());
}

#[test]
fn a_partition_takes_no_tickets_for_records_that_are_not_there() {
    let bench = Bench::mock(3);
    let large = |count| vec!["x".repeat(1 << 10); count];
    let budget = BudgetLimits { records: 1500, bytes: 1 << 20, batches: 100 };
    let mut params = bench.params();
    params.batch.bytes = 600 << 10;
    (0..3).for_each(|partition| bench.produce(partition, large(1)));
    let member = bench.join_with(budget, &params);
    // From here on it is known how large records are.
    bench.await_records(3);
    member.front.hold();
    (0..3).for_each(|partition| bench.produce(partition, large(250)));
    // With two of them in the house, there are not enough left for all that a batch may hold.
    eventually("all that waits", || member.front.budget().records_out() == 750);
    member.front.release();
    bench.await_records(753);
}

#[test]
fn a_partition_has_no_more_than_its_batches_ahead() {
    let bench = Bench::mock(1);
    bench.produce(0, numbered(0..10_000));
    let mut params = bench.params();
    params.batches_ahead = 2;
    let member = bench.join_with(BUDGET, &params);
    member.front.hold();
    eventually("two batches", || member.front.budget().records_out() >= 1000);
    let fence = &member.front.fences()[0];
    meanwhile(Duration::from_millis(300), || fence.counts().snapshot().in_flight() <= 1000);
    member.front.release();
    bench.await_records(10_000);
}

#[test]
fn the_house_is_told_of_what_waits_at_the_brokers() {
    let bench = Bench::mock(2);
    bench.produce(0, numbered(0..3000));
    bench.produce(1, numbered(0..3000));
    let budget = BudgetLimits { records: 4000, bytes: 1 << 30, batches: 100 };
    let mut params = bench.params();
    (params.batches_ahead, params.batch.records) = (1, 500);
    let member = bench.join_with(budget, &params);
    member.front.hold();
    eventually("5,000 wait", || member.front.pace().has_backlog());
    assert!(member.front.budget().records_out() < 2000, "it is not the tickets that tell");
    member.front.release();
    bench.await_records(6000);
    eventually("none waits", || !member.front.pace().has_backlog());
}

#[test]
fn a_batch_holds_no_more_bytes_than_it_may() {
    let bench = Bench::mock(1);
    let large = |n: usize| format!("{n} {}", "x".repeat(20_000));
    bench.produce(0, (0..100).map(large));
    let mut params = bench.params();
    params.batch.bytes = 100_000;
    let _member = bench.join_with(BUDGET, &params);
    bench.await_records(100);
    let row = bench.shelf.row(&bench.partition(0));
    let most = row.ranges.iter().map(|(_, _, records)| *records).max();
    assert!(most <= Some(6), "{:?}", row.ranges);
    bench.assert_values(0, &(0..100).map(large).collect::<Vec<_>>());
}

#[test]
fn a_drain_that_is_not_drained_says_so_in_time() {
    let bench = Bench::mock(1);
    bench.produce(0, numbered(0..1000));
    let member = bench.join();
    member.front.hold();
    eventually("in hand", || member.front.budget().records_out() >= 1000);
    let begun = Instant::now();
    let drained = member.drain(Duration::from_millis(200)).expect("closed");
    assert!(drained.batches_left > 0);
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
    assert!(member.front.fences().iter().all(|fence| !fence.stands()));
    // Settled afterwards, it is refused: somebody else may have the partition by now.
    member.front.release();
    eventually("all tickets home", || member.front.budget().is_drained());
    assert_eq!(bench.shelf.num_records(), 0);
}

#[test]
fn brokers_that_are_away_are_told_and_a_drain_does_not_wait_for_them() {
    let mut bench = Bench::mock(1);
    bench.brokers = "127.0.0.1:1".into();
    let member = bench.join();
    eventually("told", || member.status().problem.is_some());
    let problem = member.status().problem.unwrap_or_default();
    for word in ["kafka.brokers", "127.0.0.1:1", "refused"] {
        assert!(problem.contains(word), "{word} in: {problem}");
    }
    let begun = Instant::now();
    assert_eq!(member.drain(Duration::from_secs(5)).expect("closed").batches_left, 0);
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
}
