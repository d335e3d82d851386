//! `/metrics`: in every scrape each partition's records add up, all names of the documentation are
//! there from the start, and at the end they say what the tables say.

mod support;

use std::collections::BTreeSet;

use support::http::{Http, Labels, Metrics};
use support::producers::Sender;
use support::records::Mix;
use support::stage::Stage;
use support::wait;

/// Name, type, labels besides those of buckets, and how many series there are for a pipeline with
/// two partitions before a record came.
const DOCUMENTED: [(&str, &str, &[&str], usize); 14] = [
    ("records_total", "counter", &["outcome", "partition", "pipeline", "topic"], 12),
    ("parked_settled_total", "counter", &["outcome"], 4),
    ("in_flight_records", "gauge", &["partition", "pipeline", "topic"], 2),
    ("lag_records", "gauge", &["partition", "pipeline", "topic"], 2),
    ("batch_records", "histogram", &[], 1),
    ("stage_seconds", "histogram", &["stage"], 6),
    ("parked_records", "gauge", &["state"], 3),
    ("actor_restarts_total", "counter", &["actor"], 11),
    ("published_total", "counter", &["kind", "pipeline"], 2),
    ("pace_linger_seconds", "gauge", &["pipeline"], 1),
    ("pace_transaction_records", "gauge", &["pipeline"], 1),
    ("pace_sessions", "gauge", &["pipeline"], 1),
    ("rebalances_total", "counter", &["kind"], 3),
    ("fenced_total", "counter", &[], 1),
];

const SETTLED_OR_HELD: [&str; 5] = ["saved", "skipped", "duplicate", "parked", "given_up"];
const RECORDS: &str = "longshore_records_total";

#[test]
fn every_documented_series_is_there_before_the_first_record() {
    let Some(stage) = Stage::set(2) else { return };
    let mut process = stage.service().start(&["run"]);
    let http = Http::of(&mut process);
    http.await_ready();
    let answer = http.get("/metrics");
    assert!(answer.head.contains("content-type: text/plain; version=0.0.4"), "{}", answer.head);
    let metrics = http.metrics();
    for (short, kind, labels, series) in DOCUMENTED {
        let name = format!("longshore_{short}");
        assert_eq!(metrics.types.get(&name).map(String::as_str), Some(kind), "{name}");
        let name = if kind == "histogram" { name + "_count" } else { name };
        let found = metrics.of(&name);
        for (labelled, value) in &found {
            assert!(labelled.keys().eq(labels), "{name}: {labelled:?}");
            let may_count = short == "rebalances_total" || short.starts_with("pace_");
            assert!(*value == 0.0 || may_count, "{name} {labelled:?} is {value} at the start");
        }
        assert_eq!(found.len(), series, "{name}: {found:?}");
    }
    let ours = metrics.types.keys().filter(|name| name.starts_with("longshore_")).count();
    assert_eq!(ours, DOCUMENTED.len(), "{:?}", metrics.types);
    process.terminate().expect_code(0);
}

#[test]
fn the_records_of_each_partition_add_up_in_every_scrape() {
    let Some(stage) = Stage::set(4) else { return };
    let (mut records, sender) = (stage.generator(73, Mix::USUAL), Sender::idempotent(&stage.topic));
    let mut process = stage.slow_service().start(&["run"]);
    let http = Http::of(&mut process);
    let (mut sent, mut scrapes) = (Vec::new(), 0);
    wait::until("there were scrapes in the middle of the work", || {
        sent.extend(sender.send(records.records(400)));
        let read = add_up(&http.metrics());
        scrapes += usize::from(read > 0.0);
        scrapes > 40
    });
    wait::until("everything is settled", || {
        add_up(&http.metrics()) == sent.len() as f64 && in_flight(&http.metrics()) == 0.0
    });
    // Parked records are counted now and then.
    let dead = stage.database.number("select count(*) from longshore.parked_records") as f64;
    assert!(dead > 0.0);
    wait::until("the parked records are counted", || {
        http.metrics().sum("longshore_parked_records", "state", "dead") == dead
    });
    let metrics = http.metrics();
    let rows = stage.database.number("select count(*) from ads.enriched_events") as f64;
    assert_eq!(metrics.sum(RECORDS, "outcome", "saved"), rows);
    assert_eq!(metrics.sum(RECORDS, "outcome", "parked"), dead);
    every_stage_was_timed(&metrics, sent.len());
    stage.await_end(&mut process);
    process.terminate().expect_code(0);
    stage.exact(&sent);
}

/// Panics unless each partition's records add up; gives how many were read.
fn add_up(metrics: &Metrics) -> f64 {
    let with = |labels: &Labels, outcome: &str| {
        let mut labels = labels.clone();
        labels.insert("outcome".to_owned(), outcome.to_owned());
        labels
    };
    let (counted, held) = (metrics.of(RECORDS), metrics.of("longshore_in_flight_records"));
    let partitions = held.keys().cloned().collect::<BTreeSet<_>>();
    for labels in &partitions {
        let of = |outcome: &str| counted[&with(labels, outcome)];
        let sum = SETTLED_OR_HELD.iter().map(|outcome| of(outcome)).sum::<f64>() + held[labels];
        assert_eq!(of("read"), sum, "{labels:?}: {counted:?} {held:?}");
    }
    metrics.sum(RECORDS, "outcome", "read")
}

fn in_flight(metrics: &Metrics) -> f64 {
    metrics.of("longshore_in_flight_records").values().sum()
}

fn every_stage_was_timed(metrics: &Metrics, records: usize) {
    for stage in ["read", "decode", "context", "work", "save", "commit"] {
        let timed =
            |part: &str| metrics.sum(&format!("longshore_stage_seconds_{part}"), "stage", stage);
        assert!(timed("count") > 0.0 && timed("sum") > 0.0, "{stage}");
        assert!(timed("count") <= timed("bucket"), "{stage}");
    }
    let batches = metrics.of("longshore_batch_records_sum").values().sum::<f64>();
    assert_eq!(batches, records as f64);
}
