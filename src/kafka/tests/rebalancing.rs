//! Partitions come and go between members without a record lost or doubled.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::thread;
use std::time::{Duration, Instant};

use longshore_actors::door::Front;
use longshore_actors::record::NextOffset;

use super::support::{BUDGET, Bench, Member, eventually, numbered};
use crate::kafka::PartitionState;

/// The end-of-partition event moves librdkafka's own position one too far when it is read in a
/// batch, and a rebalance makes it fetch from there: the record that comes meanwhile is skipped.
#[test]
fn a_record_that_comes_at_the_end_during_a_rebalance_comes_exactly_once() {
    end_rebalance_record(&Bench::mock(2), 2);
}

/// The same place, one past the end, is what librdkafka asks a new leader about when leaders change
/// while partitions are paused for a rebalance. It is told that the log ends before, takes the log
/// for cut off, and says so without an offset: nothing that we have read is gone.
#[test]
fn a_new_leader_during_a_rebalance_stops_nothing() {
    let bench = Bench::mock_of(2, 2).with("topic.metadata.refresh.interval.ms", "100");
    rebalance_at_the_end(&bench, 2, || {
        bench.set_leader(2, 2);
        // Time to hear of it, and to ask.
        thread::park_timeout(Duration::from_secs(1));
    });
}

pub(super) fn end_rebalance_record(bench: &Bench, partitions: i32) {
    rebalance_at_the_end(bench, partitions, || {});
}

/// All partitions are read to their ends when a rebalance pauses them; then `meanwhile`.
fn rebalance_at_the_end(bench: &Bench, partitions: i32, meanwhile: impl FnOnce()) {
    let count = partitions as usize;
    for partition in 0..partitions {
        bench.produce(partition, numbered(0..10));
    }
    let mut params = bench.params();
    params.revoke_wait = Duration::from_secs(3);
    let kept = bench.join_with(BUDGET, &params);
    bench.await_records(10 * count);
    kept.front.hold();
    for partition in 0..partitions {
        bench.produce(partition, numbered(10..11));
    }
    eventually("in hand", || kept.front.budget().records_out() == partitions as u64);
    // The broker tells the end of a partition with the answer after the last record.
    thread::park_timeout(Duration::from_millis(700));

    let other = bench.join();
    // All partitions are paused now, and the callback waits for the batches in hand.
    eventually("a revoke", || kept.status().rebalances_revoked == 1);
    meanwhile();
    for partition in 0..partitions {
        bench.produce(partition, numbered(11..12));
    }
    kept.front.release();
    let half = count / 2;
    eventually("shared", || kept.num_partitions() == half && other.num_partitions() == half);
    eventually("the rest", || {
        assert_eq!((stopped(&kept), stopped(&other)), (None, None));
        bench.shelf.num_records() >= 12 * count
    });
    for partition in 0..partitions {
        bench.assert_values(partition, &numbered(0..12));
    }
}

/// Why a partition of the member is not read any more, if one is not.
fn stopped(member: &Member) -> Option<String> {
    let states = member.status().partitions.into_values().map(|partition| partition.state);
    let reason = |state| match state {
        PartitionState::Stopped(reason) => Some(reason),
        _ => None,
    };
    states.filter_map(reason).next()
}

#[test]
fn members_that_come_and_go_lose_and_double_nothing() {
    for strategy in ["cooperative-sticky", "range"] {
        come_and_go(&Bench::mock(4).with("partition.assignment.strategy", strategy));
    }
}

#[test]
fn the_next_generation_protocol_works_too() {
    let bench = Bench::mock(4)
        .without("session.timeout.ms")
        .without("heartbeat.interval.ms")
        .with("group.protocol", "consumer");
    come_and_go(&bench);
}

/// A steady flow into four partitions while a second member joins, the first one leaves, comes
/// back, and the second one is dropped without a word.
pub(super) fn come_and_go(bench: &Bench) {
    let done = Arc::new(AtomicBool::new(false));
    let sent = thread::scope(|scope| {
        let flow = scope.spawn(|| {
            let mut sent = 0;
            while !done.load(SeqCst) && sent < 20_000 {
                for partition in 0..4 {
                    bench.produce(partition, numbered(sent..sent + 50));
                }
                sent += 50;
                thread::park_timeout(Duration::from_millis(30));
            }
            sent
        });
        let first = bench.join();
        eventually("all", || first.num_partitions() == 4);
        let second = bench.join();
        eventually("shared", || first.num_partitions() == 2 && second.num_partitions() == 2);
        first.drain(Duration::from_secs(5)).expect("drained");
        eventually("all to the second", || second.num_partitions() == 4);
        let third = bench.join();
        eventually("shared", || third.num_partitions() == 2 && second.num_partitions() == 2);
        drop(second);
        eventually("all to the third", || third.num_partitions() == 4);
        done.store(true, SeqCst);
        let sent = flow.join().expect("the flow ends");
        bench.await_records(4 * sent);
        sent
    });
    for partition in 0..4 {
        bench.assert_values(partition, &numbered(0..sent));
    }
}

#[test]
fn a_revoke_waits_for_the_batches_in_hand_and_not_for_ever() {
    let bench = Bench::mock(2);
    bench.produce(0, numbered(0..100));
    bench.produce(1, numbered(0..100));
    let stuck = bench.join();
    eventually("assigned", || stuck.num_partitions() == 2);
    bench.await_records(200);
    stuck.front.hold();
    bench.produce(0, numbered(100..110));
    bench.produce(1, numbered(100..110));
    eventually("in hand", || stuck.front.budget().records_out() == 20);
    let other = bench.join();
    eventually("shared", || other.num_partitions() == 1 && stuck.num_partitions() == 1);
    // What the stuck one holds of the partition that went is refused, and read by the other.
    stuck.front.release();
    bench.await_records(220);
    for partition in 0..2 {
        bench.assert_values(partition, &numbered(0..110));
    }
}

#[test]
fn what_is_saved_is_committed_for_lag_tools() {
    let bench = Bench::mock(1);
    bench.produce(0, numbered(0..300));
    let member = bench.join();
    bench.await_records(300);
    member.drain(Duration::from_secs(5)).expect("drained");
    assert_eq!(super::positions::committed(&bench, 0), Some(NextOffset(300)));
}

#[test]
fn what_is_saved_later_is_committed_soon_too() {
    let bench = Bench::mock(1);
    let _member = bench.join();
    let begun = Instant::now();
    for round in 1..=3 {
        bench.produce(0, numbered(0..100));
        let end = Some(NextOffset(100 * round));
        eventually("committed", || super::positions::committed(&bench, 0) == end);
    }
    // A commit whose answer is not seen holds the next one up for half a minute.
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
}

#[test]
fn draining_an_idle_member_takes_under_a_second() {
    let bench = Bench::mock(2);
    bench.produce(0, numbered(0..1000));
    let member = bench.join();
    bench.await_records(1000);
    let begun = Instant::now();
    let drained = member.drain(Duration::from_secs(5)).expect("drained");
    assert_eq!(drained.batches_left, 0);
    assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
}
