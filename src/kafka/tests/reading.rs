//! Records come once, whole and in order; a seek is obeyed; what cannot be read stops loudly.

use std::time::Duration;

use longshore_actors::record::NextOffset;

use super::support::{Bench, Sent, eventually, numbered, text};
use crate::kafka::PartitionState;

#[test]
fn every_record_comes_once_with_its_bytes() {
    let bench = Bench::mock(3);
    let odd = |n: usize| Sent {
        key: [None, Some(Vec::new()), Some(vec![0, 255, n as u8])][n % 3].clone(),
        value: [Some(format!("value {n}").into_bytes()), None, Some(Vec::new())][n % 3].clone(),
        headers: match n % 4 {
            0 => vec![
                ("name".into(), Some(vec![0xff, 0])),
                ("name".into(), None),
                ("empty".into(), Some(Vec::new())),
            ],
            _ => Vec::new(),
        },
    };
    for partition in 0..3 {
        bench.send(partition, (0..4000).map(odd));
    }
    let member = bench.join();
    bench.await_records(12_000);
    for partition in 0..3 {
        let row = bench.shelf.row(&bench.partition(partition));
        assert_eq!(row.records.len(), 4000);
        assert!(row.unchained.is_empty());
        for (n, saved) in row.records.iter().enumerate() {
            let sent = odd(n);
            assert_eq!(saved.offset, n as i64);
            assert_eq!((&saved.key, &saved.value), (&sent.key, &sent.value));
            let headers = sent.headers.iter().map(|(k, v)| (k.clone().into_bytes(), v.clone()));
            assert_eq!(saved.headers, headers.collect::<Vec<_>>());
            assert!(saved.timestamp_ms.is_some_and(|time| time > 1_600_000_000_000));
        }
    }
    assert_eq!(member.drain(Duration::from_secs(5)).expect("drained").batches_left, 0);
    for fence in member.front.fences() {
        let counts = fence.counts().snapshot();
        assert_eq!((counts.read, counts.settled.saved), (4000, 4000));
        assert!(!fence.stands());
    }
}

#[test]
fn a_trickle_waits_for_its_linger_and_no_longer() {
    let bench = Bench::mock(1);
    let mut params = bench.params();
    params.batch.linger = Duration::from_millis(300);
    let member = bench.join_with(super::support::BUDGET, &params);
    eventually("assigned", || member.num_partitions() == 1);
    for n in 0..5 {
        bench.produce(0, numbered(n..n + 1));
    }
    bench.await_records(5);
    bench.assert_values(0, &numbered(0..5));
    let row = bench.shelf.row(&bench.partition(0));
    assert!(row.ranges.len() <= 3, "{:?}", row.ranges);
}

#[test]
fn a_seek_is_obeyed_forward_and_back() {
    for strategy in ["cooperative-sticky", "range"] {
        let bench = Bench::mock(2).with("partition.assignment.strategy", strategy);
        bench.produce(0, numbered(0..1000));
        bench.produce(1, numbered(0..1000));
        let member = bench.join();
        bench.await_records(2000);
        let moved = bench.partition(0);
        for (to, total) in [(990, 2010), (0, 3010), (999, 3011)] {
            bench.shelf.set(&moved, NextOffset(to));
            member.front.reacquire(&moved);
            bench.await_records(total);
        }
        let row = bench.shelf.row(&moved);
        let expected: Vec<_> =
            [numbered(0..1000), numbered(990..1000), numbered(0..1000), numbered(999..1000)]
                .concat();
        assert_eq!(row.records.iter().map(text).collect::<Vec<_>>(), expected, "{strategy}");
        bench.assert_values(1, &numbered(0..1000));
    }
}

#[test]
fn an_offset_that_the_broker_does_not_have_stops_its_partition_and_a_seek_starts_it_again() {
    for strategy in ["cooperative-sticky", "range"] {
        let bench = Bench::mock(2).with("partition.assignment.strategy", strategy);
        bench.produce(0, numbered(0..100));
        bench.produce(1, numbered(0..100));
        let stopped = bench.partition(0);
        bench.shelf.set(&stopped, NextOffset(7000));
        let member = bench.join();
        let mut reason = String::new();
        eventually("a stop", || match member.status().partitions.get(&stopped) {
            Some(status) => match &status.state {
                PartitionState::Stopped(why) => {
                    reason.clone_from(why);
                    true
                }
                _ => false,
            },
            None => false,
        });
        for word in ["records", "partition 0", "7000", "0 to 100", "--to earliest", "--to OFFSET"] {
            assert!(reason.contains(word), "{word} in: {reason}");
        }
        bench.await_records(100);
        bench.assert_values(1, &numbered(0..100));

        bench.shelf.set(&stopped, NextOffset(0));
        member.front.reacquire(&stopped);
        bench.await_records(200);
        bench.assert_values(0, &numbered(0..100));
    }
}

#[test]
fn lag_and_position_are_told() {
    let bench = Bench::mock(1);
    bench.produce(0, numbered(0..100));
    let member = bench.join();
    bench.await_records(100);
    eventually("no lag", || {
        member.status().partitions.values().any(|p| p.lag() == Some(0) && p.records_read == 100)
    });
}
