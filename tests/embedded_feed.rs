//! The embedded servers together, and the feed into the embedded Kafka: throttled, nothing is lost.
#![allow(clippy::unwrap_used)] // in helpers too, where the lint does not see a test

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use longshore::embedded::{
    EmbeddedKafka, EmbeddedPostgres, EmbeddedServers, PostgresOptions, ServersOptions,
};
use longshore::feed::{AdsFeed, AdsOptions, FeedPlan, Feeder, Throttle, Totals, UnreadLimit};
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::Message;
use rdkafka::{Offset, TopicPartitionList};
use tokio_postgres::NoTls;

const TOPIC: &str = "ads.events";
const PARTITIONS: i32 = 4;

#[test]
fn both_servers_start_side_by_side_and_say_so() {
    let lines = RefCell::new(Vec::new());
    let options = ServersOptions {
        postgres: Some(PostgresOptions::default()),
        kafka: Some(&[(TOPIC, PARTITIONS)]),
    };
    let servers =
        EmbeddedServers::start(&options, &|line| lines.borrow_mut().push(line.to_owned())).unwrap();
    println!("{:#?}", lines.borrow());
    assert!(
        lines.borrow().iter().any(|line| line.starts_with("Kafka: in this process, 127.0.0.1"))
    );
    assert!(lines.borrow().iter().any(|line| line.starts_with("PostgreSQL: system ")));
    servers.stop().unwrap();
}

#[test]
fn what_is_not_asked_for_is_not_started() {
    let servers = EmbeddedServers::start(&ServersOptions::default(), &|_| ()).unwrap();
    assert!(servers.postgres.is_none() && servers.kafka.is_none());
}

#[test]
fn the_reference_data_fits_its_tables() {
    const TABLES: &str = "create schema ads;
        create table ads.advertisers (id bigint primary key, name text not null,
            status text not null check (status in ('active', 'paused')), currency char(3) not null);
        create table ads.campaigns (id bigint primary key,
            advertiser_id bigint not null references ads.advertisers, name text not null,
            status text not null check (status in ('active', 'paused')));";
    let server = EmbeddedPostgres::start(&PostgresOptions::default(), &|_| ()).unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let (client, connection) = tokio_postgres::connect(server.url(), NoTls).await.unwrap();
        tokio::spawn(connection);
        client.batch_execute(TABLES).await.unwrap();
        // Twice, as when a demo is run again on a database of the user's.
        for _ in 0..2 {
            client.batch_execute(&feed().reference().insert_sql()).await.unwrap();
        }
        let count =
            "select count(*) from ads.campaigns join ads.advertisers a on a.id = advertiser_id";
        let row = client.query_one(count, &[]).await.unwrap();
        assert_eq!(row.get::<_, i64>(0), 1000);
    });
}

/// Four times what a partition keeps goes through it, read by a consumer slower than the feed.
#[test]
fn a_throttled_feed_overruns_nothing() {
    let kafka = EmbeddedKafka::start(&[(TOPIC, PARTITIONS)]).unwrap();
    let read: Arc<Vec<AtomicU64>> = Arc::new((0..PARTITIONS).map(|_| AtomicU64::new(0)).collect());
    let known = Arc::clone(&read);
    let throttle = Throttle::by_partition(UnreadLimit::EMBEDDED, PARTITIONS, move |partition| {
        known[partition as usize].load(Ordering::Relaxed)
    });
    const RECORDS: u64 = 400_000;
    let consumer = reader(kafka.brokers());
    let (delivered, values) = std::thread::scope(|scope| {
        let feeding = scope.spawn(|| {
            let feeder = Feeder::try_new(kafka.brokers(), TOPIC, &[]).unwrap();
            feeder.run(&mut feed(), FeedPlan::new(Some(RECORDS), throttle)).unwrap()
        });
        let values = read_all(&consumer, RECORDS, &read);
        (feeding.join().unwrap(), values)
    });
    println!("{} bytes in {:?}", delivered.bytes, delivered.elapsed);
    assert!(delivered.bytes > 4 * PARTITIONS as u64 * 5 * 1024 * 1024);
    // What arrived is what a second feed from the same seed makes, in order within a partition.
    let mut expected: HashMap<i32, Vec<u64>> = HashMap::new();
    let mut totals = Totals::default();
    for record in feed().take(RECORDS as usize) {
        expected.entry(record.partition).or_default().push(fingerprint(record.value()));
        totals.count(record.expected);
    }
    assert!(values == expected, "records were lost, doubled or out of order");
    assert_eq!(delivered.expected, totals);
}

#[test]
fn a_rate_is_kept_and_a_stop_is_heard() {
    let kafka = EmbeddedKafka::start(&[(TOPIC, PARTITIONS)]).unwrap();
    let feeder = Feeder::try_new(kafka.brokers(), TOPIC, &[]).unwrap();
    let paced = FeedPlan { rate: Some(1000), ..FeedPlan::new(Some(500), Throttle::off()) };
    let delivered = feeder.run(&mut feed(), paced).unwrap();
    assert_eq!(delivered.expected.records(), 500);
    assert!(delivered.elapsed >= Duration::from_millis(495), "{:?}", delivered.elapsed);

    // Nothing is ever settled: without the stop this would wait for ever.
    let throttle = Throttle::by_topic(UnreadLimit { records: 100, bytes: usize::MAX }, || 0);
    let plan = FeedPlan::new(None, throttle);
    let stop = Arc::clone(&plan.stop);
    let delivered = std::thread::scope(|scope| {
        let feeding = scope.spawn(|| feeder.run(&mut feed(), plan).unwrap());
        std::thread::park_timeout(Duration::from_millis(200));
        stop.store(true, Ordering::Relaxed);
        feeding.join().unwrap()
    });
    // The one that waited for room when the stop came went out too.
    assert_eq!(delivered.expected.records(), 101);
}

#[test]
fn records_that_do_not_arrive_are_an_error() {
    let feeder = {
        let kafka = EmbeddedKafka::start(&[(TOPIC, PARTITIONS)]).unwrap();
        let properties = [("message.timeout.ms".to_owned(), "500".to_owned())];
        Feeder::try_new(kafka.brokers(), TOPIC, &properties).unwrap()
    };
    let plan = FeedPlan::new(Some(10), Throttle::off());
    let error = feeder.run(&mut feed(), plan).unwrap_err();
    assert!(error.to_string().starts_with("10 records were not delivered"), "{error}");
}

fn feed() -> AdsFeed {
    AdsFeed::with(11, AdsOptions { partitions: PARTITIONS, ..AdsOptions::default() })
}

fn reader(brokers: &str) -> BaseConsumer {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", brokers).set("group.id", "reader");
    config.set("auto.offset.reset", "error").set("enable.auto.commit", "false");
    let consumer: BaseConsumer = config.create().unwrap();
    let mut assignment = TopicPartitionList::new();
    for partition in 0..PARTITIONS {
        assignment.add_partition_offset(TOPIC, partition, Offset::Offset(0)).unwrap();
    }
    consumer.assign(&assignment).unwrap();
    consumer
}

fn read_all(consumer: &BaseConsumer, records: u64, read: &[AtomicU64]) -> HashMap<i32, Vec<u64>> {
    let mut values: HashMap<i32, Vec<u64>> = HashMap::new();
    let deadline = Instant::now() + Duration::from_secs(120);
    for _ in 0..records {
        let message = loop {
            assert!(Instant::now() < deadline, "only {read:?} of {records} came");
            if let Some(message) = consumer.poll(Duration::from_millis(100)) {
                break message.unwrap();
            }
        };
        let partition = message.partition();
        values.entry(partition).or_default().push(fingerprint(message.payload()));
        read[partition as usize].fetch_add(1, Ordering::Relaxed);
    }
    values
}

fn fingerprint(value: Option<&[u8]>) -> u64 {
    use std::hash::{DefaultHasher, Hash as _, Hasher as _};
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}
