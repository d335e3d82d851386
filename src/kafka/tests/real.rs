//! Against a real broker, at `LONGSHORE_TEST_BROKERS`: transactions, compaction, retention, and
//! what the mock cluster only pretends.

use std::future::Future;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use longshore_actors::record::NextOffset;
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::producer::{BaseProducer, Producer};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use super::positions::describe;
use super::rebalancing::{come_and_go, end_rebalance_record};
use super::support::{Bench, Sent, eventually, numbered, send, text};
use crate::kafka::PartitionState;

const NO_TIME: Duration = Duration::from_secs(20);

/// A bench with a new topic, unless there is no broker to test against.
fn bench(name: &str, partitions: i32, config: &[(&str, &str)]) -> Option<Bench> {
    let Some(brokers) = std::env::var_os("LONGSHORE_TEST_BROKERS") else {
        eprintln!("left out: LONGSHORE_TEST_BROKERS is not set");
        return None;
    };
    let brokers = brokers.into_string().expect("addresses are text");
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_micros();
    let topic = format!("longshore.test.{name}.{now}");
    create(&brokers, &topic, partitions, config);
    Some(Bench::real(&brokers, &topic))
}

fn create(brokers: &str, topic: &str, partitions: i32, config: &[(&str, &str)]) {
    let mut topic = NewTopic::new(topic, partitions, TopicReplication::Fixed(1));
    for (key, value) in config {
        topic = topic.set(key, value);
    }
    let results = wait(admin(brokers).create_topics(&[topic], &AdminOptions::new()));
    results.expect("an answer")[0].as_ref().expect("created");
}

fn admin(brokers: &str) -> AdminClient<DefaultClientContext> {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", brokers).create().expect("an admin client")
}

fn wait<T>(future: impl Future<Output = T>) -> T {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    runtime.enable_all().build().expect("a runtime").block_on(future)
}

fn transactional(bench: &Bench) -> BaseProducer {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", &bench.brokers).set("transactional.id", &bench.topic);
    let producer: BaseProducer = config.create().expect("a producer");
    producer.init_transactions(NO_TIME).expect("initialised");
    producer
}

fn transaction(producer: &BaseProducer, topic: &str, values: &[String]) {
    producer.begin_transaction().expect("begun");
    for value in values {
        let value = Some(value.clone().into_bytes());
        send(producer, topic, 0, &Sent { key: None, value, headers: Vec::new() });
    }
    producer.flush(NO_TIME).expect("flushed");
}

#[test]
fn a_record_that_comes_at_the_end_during_a_rebalance_comes_exactly_once() {
    let Some(bench) = bench("end", 4, &[]) else { return };
    end_rebalance_record(&bench, 4);
}

#[test]
fn members_that_come_and_go_lose_and_double_nothing() {
    for strategy in ["cooperative-sticky", "range"] {
        let Some(bench) = bench("members", 4, &[]) else { return };
        come_and_go(&bench.with("partition.assignment.strategy", strategy));
    }
}

#[test]
fn the_next_generation_protocol_works_too() {
    let Some(bench) = bench("next", 4, &[]) else { return };
    come_and_go(&bench.without("session.timeout.ms").with("group.protocol", "consumer"));
}

/// A record says at a glance that it has no headers; nobody who has some may be taken for one.
#[test]
fn headers_come_with_their_record_however_it_is_packed() {
    for packed in ["uncompressed", "gzip", "snappy", "lz4", "zstd"] {
        let name = format!("headers.{packed}");
        let Some(bench) = bench(&name, 1, &[("compression.type", packed)]) else { return };
        let header =
            |n: usize| (format!("h{n}"), [None, Some(vec![]), Some(vec![0])][n % 3].clone());
        let sent = |n: usize| Sent {
            key: [None, Some(vec![0; n % 4])][n % 2].clone(),
            value: Some(vec![0; 1 + n % 50]),
            // Their number takes one byte, or two, of which the first or the second is nearly 0.
            headers: (0..[0, 1, 63, 0, 64, 128][n % 6]).map(header).collect(),
        };
        bench.send(0, (0..600).map(sent));
        let member = bench.join();
        bench.await_records(600);
        for (n, saved) in bench.shelf.row(&bench.partition(0)).records.iter().enumerate() {
            let expected = sent(n).headers.into_iter();
            let expected: Vec<_> = expected.map(|(name, v)| (name.into_bytes(), v)).collect();
            assert_eq!(saved.headers, expected, "{packed}, record {n}");
        }
        member.drain(Duration::from_secs(5)).expect("drained");
    }
}

#[test]
fn transaction_markers_and_aborted_records_are_passed() {
    let Some(bench) = bench("transactions", 1, &[]) else { return };
    let producer = transactional(&bench);
    transaction(&producer, &bench.topic, &numbered(0..10));
    producer.commit_transaction(NO_TIME).expect("committed");
    transaction(&producer, &bench.topic, &numbered(100..110));
    producer.abort_transaction(NO_TIME).expect("aborted");
    let member = bench.join();
    let partition = bench.partition(0);
    // Ten records and a marker, twice: the aborted ones and both markers hold no record.
    eventually("the end", || bench.shelf.row(&partition).next_offset == Some(NextOffset(22)));
    bench.assert_values(0, &numbered(0..10));

    transaction(&producer, &bench.topic, &numbered(10..20));
    std::thread::park_timeout(Duration::from_millis(700));
    let end = describe(&bench, &bench.topic).expect("described").partitions[0].end;
    assert_eq!((end, bench.shelf.num_records()), (NextOffset(22), 10));
    producer.commit_transaction(NO_TIME).expect("committed");
    eventually("the end", || bench.shelf.row(&partition).next_offset == Some(NextOffset(33)));
    bench.assert_values(0, &numbered(0..20));
    let end = describe(&bench, &bench.topic).expect("described").partitions[0].end;
    assert_eq!(end, NextOffset(33));
    member.drain(Duration::from_secs(5)).expect("drained");
}

#[test]
fn gaps_left_by_compaction_are_passed() {
    let config = [
        ("cleanup.policy", "compact"),
        ("segment.ms", "100"),
        ("min.cleanable.dirty.ratio", "0.01"),
        ("max.compaction.lag.ms", "100"),
    ];
    let Some(bench) = bench("compacted", 1, &config) else { return };
    let keyed = |n: usize| Sent {
        key: Some(vec![(n % 10) as u8]),
        value: Some(format!("value {n}").into_bytes()),
        headers: Vec::new(),
    };
    for round in 0..5 {
        bench.send(0, (round * 100..round * 100 + 100).map(keyed));
        std::thread::park_timeout(Duration::from_millis(300));
    }
    // A new record closes the segment before it; compaction follows in its own time.
    let records_left = || {
        bench.send(0, [keyed(0)]);
        let reader = Bench::real(&bench.brokers, &bench.topic);
        let member = reader.join();
        let (partition, end) = (reader.partition(0), end_of(&reader));
        eventually("the end", || reader.shelf.row(&partition).next_offset >= Some(end));
        member.drain(Duration::from_secs(5)).expect("drained");
        let row = reader.shelf.row(&partition);
        assert!(row.unchained.is_empty());
        let offsets: Vec<_> = row.records.iter().map(|record| record.offset).collect();
        assert!(offsets.is_sorted_by(|a, b| a < b));
        (row.records.len(), end.0)
    };
    let mut left = (0, 0);
    eventually("compaction", || {
        left = records_left();
        (left.0 as i64) < left.1 - 300
    });
}

fn end_of(bench: &Bench) -> NextOffset {
    describe(bench, &bench.topic).expect("described").partitions[0].end
}

#[test]
fn records_deleted_by_retention_stop_their_partition() {
    let Some(bench) = bench("retention", 1, &[]) else { return };
    bench.produce(0, numbered(0..100));
    let mut before = TopicPartitionList::new();
    before.add_partition_offset(&bench.topic, 0, Offset::Offset(40)).expect("an offset");
    let deleted = wait(admin(&bench.brokers).delete_records(&before, &AdminOptions::new()));
    deleted.expect("deleted");
    let described = describe(&bench, &bench.topic).expect("described");
    assert_eq!(described.partitions[0].earliest, NextOffset(40));

    let partition = bench.partition(0);
    bench.shelf.set(&partition, NextOffset(10));
    let member = bench.join();
    eventually("a stop", || {
        let status = member.status();
        let state = status.partitions.get(&partition).map(|p| p.state.clone());
        matches!(state, Some(PartitionState::Stopped(why)) if why.contains("30 offsets"))
    });
    bench.shelf.set(&partition, NextOffset(40));
    member.front.reacquire(&partition);
    bench.await_records(60);
    let values: Vec<_> = bench.shelf.row(&partition).records.iter().map(text).collect();
    assert_eq!(values, numbered(40..100));
}

#[test]
fn a_topic_made_anew_has_another_id() {
    let Some(bench) = bench("anew", 1, &[]) else { return };
    let first = describe(&bench, &bench.topic).expect("described").topic_id;
    let deleted = wait(admin(&bench.brokers).delete_topics(&[&bench.topic], &AdminOptions::new()));
    deleted.expect("an answer")[0].as_ref().expect("deleted");
    eventually("gone", || describe(&bench, &bench.topic).is_err());
    create(&bench.brokers, &bench.topic, 1, &[]);
    eventually("there again", || describe(&bench, &bench.topic).is_ok());
    let second = describe(&bench, &bench.topic).expect("described").topic_id;
    assert!(first.is_some() && second.is_some() && first != second, "{first:?} {second:?}");
}

#[test]
fn what_is_saved_is_committed_and_a_drain_takes_under_a_second() {
    let Some(bench) = bench("drain", 2, &[]) else { return };
    bench.produce(0, numbered(0..5000));
    bench.produce(1, numbered(0..5000));
    let member = bench.join();
    bench.await_records(10_000);
    let begun = std::time::Instant::now();
    assert_eq!(member.drain(Duration::from_secs(5)).expect("drained").batches_left, 0);
    assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
    assert_eq!(super::positions::committed(&bench, 0), Some(NextOffset(5000)));
    assert_eq!(super::positions::committed(&bench, 1), Some(NextOffset(5000)));
}
