//! What `work` asks to publish goes out if and only if the record's rows are saved: at least once,
//! under one id, in order by key, over instances that are killed.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

use longshore_faults::instance::{Instance, Program};
use longshore_faults::pipelines::{Poison, Said};
use longshore_faults::wait;
use postgres::{Client, NoTls};
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::{BorrowedMessage, Headers};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::{Message, Offset, TopicPartitionList};

const LONG: Duration = Duration::from_secs(120);
const RECORDS: i64 = 6_000;
const KEYS: i64 = 50;

/// A message as it was found: its id, key and sequence.
type Found = (String, String, i64);

#[test]
fn every_saved_record_is_announced_in_order_and_no_other_one() {
    let (Some(brokers), Some(url)) =
        (variable("LONGSHORE_TEST_BROKERS"), variable("LONGSHORE_TEST_DATABASE_URL"))
    else {
        eprintln!("left out: LONGSHORE_TEST_BROKERS or LONGSHORE_TEST_DATABASE_URL is not set");
        return;
    };
    let name = format!("announced_{}", std::process::id());
    let (input, output) = (format!("{name}.in"), format!("{name}.out"));
    make_topics(&brokers, &[(&input, 3), (&output, 2)]);
    let mut server = Client::connect(&url, NoTls).expect("the server");
    server.batch_execute(&format!("create database {name}")).expect("a database");
    let url = in_database(&url, &name);
    feed(&brokers, &input, &output);
    let directory = tempfile::tempdir().expect("a directory");
    let binary = PathBuf::from(env!("CARGO_BIN_EXE_longshore-faults-instance"));
    let program = Program { binary, environment: Vec::new() };
    let config = config(&brokers, &url, &input);
    let mut instance = Instance::new(1, &program, directory.path(), &config).expect("an instance");
    instance.finish(&["migrate"]).expect("tables");
    let mut database = Client::connect(&url, NoTls).expect("the database");
    for third in 1..3 {
        instance.start().expect("it starts");
        let settled = "select coalesce(sum(next_offset), 0)::bigint from longshore.offsets";
        await_number(&mut database, settled, third * RECORDS / 3);
        instance.kill().expect("it is killed");
    }
    instance.finish(&["run", "--until-end"]).expect("the rest");
    check(&mut database, &read_all(&brokers, &output, 2));
    drop(database);
    server.batch_execute(&format!("drop database {name} with (force)")).expect("no database");
}

/// Holds what was announced against what was saved.
fn check(database: &mut Client, found: &[Found]) {
    let (mut ids, mut last) = (BTreeSet::new(), BTreeMap::new());
    let mut announced = BTreeSet::new();
    for (id, key, sequence) in found {
        if ids.insert(id) {
            let before = last.insert(key, *sequence);
            assert!(before < Some(*sequence), "{key}: {sequence} came after {before:?}");
            assert!(announced.insert((key.clone(), *sequence)), "{key} {sequence}: two ids");
        }
    }
    let saved = database.query("select key, sequence from faults.appended", &[]).expect("rows");
    let saved: BTreeSet<(String, i64)> = saved.iter().map(|row| (row.get(0), row.get(1))).collect();
    assert_eq!(saved.len() as i64, RECORDS * 9 / 10, "one in ten is rejected");
    assert_eq!(announced, saved);
    let left = "select count(*) from longshore.outbox where published_at is null";
    assert_eq!(database.query_one(left, &[]).expect("a number").get::<_, i64>(0), 0);
}

#[expect(clippy::disallowed_methods, reason = "the tests are configured by the environment alone")]
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

fn in_database(url: &str, name: &str) -> String {
    let (head, options) = url.split_once('?').unwrap_or((url, ""));
    let host = head.rfind('/').map_or(head, |at| &head[..at]);
    format!("{host}/{name}?{options}")
}

fn config(brokers: &str, url: &str, input: &str) -> String {
    format!(
        "[kafka]\nbrokers = {brokers:?}\n[kafka.properties]\n\"session.timeout.ms\" = 6000\n\
         \"heartbeat.interval.ms\" = 1000\n[database]\nurl = {url:?}\n\
         [http]\nlisten = \"off\"\n[pipelines.append]\ntopics = [{input:?}]\n\
         group = \"group.of.{input}\"\n[pipelines.append.batch]\nrecords = 200\n"
    )
}

fn make_topics(brokers: &str, topics: &[(&str, i32)]) {
    let admin: AdminClient<DefaultClientContext> =
        client(brokers).create().expect("an admin client");
    let topics: Vec<_> = topics
        .iter()
        .map(|(name, partitions)| NewTopic::new(name, *partitions, TopicReplication::Fixed(1)))
        .collect();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let options = AdminOptions::new();
    let made = runtime.expect("a runtime").block_on(admin.create_topics(&topics, &options));
    made.expect("an answer").into_iter().for_each(|one| drop(one.expect("a topic")));
}

/// Sends the records, every tenth of which is rejected.
fn feed(brokers: &str, input: &str, output: &str) {
    let producer: BaseProducer =
        client(brokers).set("enable.idempotence", "true").create().expect("a producer");
    for number in 0..RECORDS {
        let key = format!("key-{}", number % KEYS);
        let said = Said {
            topic: input.into(),
            partition: 0,
            offset: 0,
            key: Cow::Borrowed(&key),
            sequence: number / KEYS,
            poison: (number / 3 % 10 == 7).then_some(Poison::Reject),
            announce: Some(output.into()),
        };
        let value = serde_json::to_string(&said).expect("plain values");
        let record = BaseRecord::to(input).key(&key).payload(&value);
        producer.send(record).map_err(|(error, _)| error).expect("room");
        producer.poll(Duration::ZERO);
    }
    producer.flush(LONG).expect("all are delivered");
}

fn read_all(brokers: &str, topic: &str, partitions: i32) -> Vec<Found> {
    let reader: BaseConsumer =
        client(brokers).set("enable.partition.eof", "true").create().expect("a reader");
    let mut list = TopicPartitionList::new();
    for partition in 0..partitions {
        list.add_partition_offset(topic, partition, Offset::Beginning).expect("a partition");
    }
    reader.assign(&list).expect("an assignment");
    let (mut found, mut open) = (Vec::new(), partitions);
    while open > 0 {
        match reader.poll(LONG).expect("a record or the end in time") {
            Ok(record) => found.push(found_in(&record)),
            Err(KafkaError::PartitionEOF(_)) => open -= 1,
            Err(error) => panic!("reading: {error}"),
        }
    }
    found
}

fn found_in(record: &BorrowedMessage<'_>) -> Found {
    let text =
        |bytes: Option<&[u8]>| String::from_utf8(bytes.expect("not null").to_vec()).expect("text");
    let headers = record.headers().expect("headers");
    let id = headers.iter().find(|header| header.key == "longshore-id").expect("an id");
    let sequence = text(record.payload()).parse().expect("a number");
    (text(id.value), text(record.key()), sequence)
}

fn client(brokers: &str) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", brokers).set("group.id", "longshore.tests");
    config.set("enable.auto.commit", "false");
    config
}

fn await_number(database: &mut Client, sql: &str, least: i64) {
    let look = || Ok((database.query_one(sql, &[])?.get::<_, i64>(0) >= least).then_some(()));
    wait::until(sql, LONG, look).unwrap_or_else(|error| panic!("{error:#}"));
}
