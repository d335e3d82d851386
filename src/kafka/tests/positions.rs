//! Where partitions begin and end, as the brokers say.

use std::time::{Duration, Instant};

use longshore_actors::error::StoreError;
use longshore_actors::record::NextOffset;

use super::support::{Bench, numbered};
use crate::kafka::KafkaPositions;
use crate::positions::{Positions, TopicPositions};

pub(super) fn describe(bench: &Bench, topic: &str) -> Result<TopicPositions, StoreError> {
    let positions = KafkaPositions::try_new(&bench.brokers, &bench.group, &bench.properties())
        .expect("a client");
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_all().build().expect("a runtime");
    runtime.block_on(positions.describe(topic))
}

pub(super) fn committed(bench: &Bench, partition: usize) -> Option<NextOffset> {
    describe(bench, &bench.topic).expect("described").partitions[partition].committed
}

#[test]
fn a_topic_is_described_whole() {
    let bench = Bench::mock(40);
    bench.produce(3, numbered(0..7));
    let topic = describe(&bench, &bench.topic).expect("described");
    assert!(!topic.cluster_id.is_empty());
    assert!(topic.topic_id.is_some());
    assert_eq!(topic.partitions.len(), 40);
    for (index, partition) in topic.partitions.iter().enumerate() {
        assert_eq!(partition.index, index as i32);
        let end = if index == 3 { 7 } else { 0 };
        assert_eq!((partition.earliest, partition.end), (NextOffset(0), NextOffset(end)));
        assert_eq!(partition.committed, None);
    }
}

#[test]
fn an_unknown_topic_stops_and_says_what_to_do() {
    let bench = Bench::mock(1);
    let Err(StoreError::Stop(reason)) = describe(&bench, "no.such.topic") else {
        panic!("it does not stop");
    };
    assert!(reason.contains("no.such.topic") && reason.contains("create it"), "{reason}");
}

#[test]
fn brokers_that_are_away_are_asked_again() {
    let mut bench = Bench::mock(1);
    bench.brokers = "127.0.0.1:1".into();
    let begun = Instant::now();
    let Err(StoreError::Retry(reason)) = describe(&bench, "records") else {
        panic!("it is not tried again");
    };
    assert!(reason.contains("127.0.0.1:1") && reason.contains("kafka.brokers"), "{reason}");
    assert!(begun.elapsed() < Duration::from_secs(20));
}
