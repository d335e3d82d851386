//! Promise: `longshore bench` measures what is committed, with a database and topics of its own
//! that are gone afterwards, also after Ctrl-C; its figures agree with each other.

mod support;

use rdkafka::consumer::{BaseConsumer, Consumer};
use serde_json::Value;
use support::database::Database;
use support::servers::{Servers, servers};
use support::service::Service;
use support::{topics, wait};
use tempfile::TempDir;

const RECORDS: u64 = 6_000;

/// What the bench that has said `line` has made and is still there: databases and topics.
fn left(servers: &Servers, database: &Database, line: &str) -> usize {
    let named = |word: &str| {
        let mut words = line.split_whitespace();
        let name = words.find(|said| said.starts_with(word)).expect("it says what it makes");
        name.trim_end_matches('N').to_owned()
    };
    let (databases, topics) = (named("longshore_bench_"), named("longshore.bench."));
    let sql = "select datname::text from pg_database where starts_with(datname, $1)";
    let databases = database.query(sql, &[&databases]).len();
    let consumer: BaseConsumer = topics::client(&servers.brokers).create().expect("a consumer");
    let metadata = consumer.fetch_metadata(None, wait::LONG).expect("metadata");
    let all = metadata.topics().iter();
    databases + all.filter(|topic| topic.name().starts_with(&topics)).count()
}

/// `longshore bench ARGUMENTS` on `servers`.
fn bench<'a>(servers: &'a Servers, arguments: &[&'a str]) -> Vec<&'a str> {
    let given = ["--brokers", &servers.brokers, "--database-url", &servers.database_url];
    [&["bench"], arguments, &given[..]].concat()
}

fn number(value: &Value, path: &str) -> f64 {
    let found = value.pointer(path).and_then(Value::as_f64);
    found.unwrap_or_else(|| panic!("no number at {path} of {value:#}"))
}

/// Panics unless the figures of one run belong together.
fn agrees_with_itself(run: &Value) {
    let (records, seconds) = (number(run, "/records"), number(run, "/seconds"));
    let rate = number(run, "/records_per_second");
    assert!((records / seconds / rate - 1.0).abs() < 1e-6, "{run:#}");
    match run["who"].as_str().expect("who ran") {
        "service" => {
            assert_eq!(records, RECORDS as f64);
            let curve = run["committed"].as_array().expect("a curve");
            let last = curve.last().expect("a point");
            assert_eq!(number(last, "/1"), RECORDS as f64, "all of it was committed");
            assert_eq!(number(last, "/0"), seconds, "and the clock stopped then");
            let saves = number(run, "/stage_seconds_per_million/save");
            assert!(saves > 0.0, "the service's own metrics were read");
        }
        // Repeats, unreadable and refused ones leave no row.
        _ => assert!(records < RECORDS as f64 * 0.95 && records > RECORDS as f64 * 0.8),
    }
}

#[test]
fn its_figures_agree_and_nothing_of_it_stays() {
    let Some(servers) = servers() else { return };
    let (directory, database) = (TempDir::new().expect("a directory"), Database::fresh(&servers));
    let records = RECORDS.to_string();
    let arguments = [
        "ads",
        "--records",
        &records,
        "--rounds",
        "2",
        "--partitions",
        "3",
        "--connections",
        "2",
        "--context",
        "60",
        "--repeats",
        "0.1",
        "--malformed",
        "0.01",
        "--refused",
        "0.001",
        "--latency",
        "--latency-seconds",
        "1",
        "--json",
        "--report",
        "page.html",
        "--set",
        "pipelines.ads.batch.linger=20ms",
    ];
    let service = Service::bare(directory.path());
    let finished = service.start_without_config(&bench(&servers, &arguments)).wait();
    let finished = finished.expect_code(0);
    let found: Value = serde_json::from_str(&finished.stdout).expect("JSON alone on stdout");
    let point = &found["points"][0];
    // A warm-up that is not shown, and two rounds of three ways each.
    assert_eq!(point["runs"].as_array().expect("runs").len(), 6);
    point["runs"].as_array().expect("runs").iter().for_each(agrees_with_itself);
    let ratio = number(point, "/ratio_to_limit");
    assert!(ratio > 0.0 && ratio < 1.5, "{ratio}");
    let rates = found["latency"]["rates"].as_array().expect("rates");
    assert_eq!(rates.len(), 3);
    for rate in rates {
        let at = |name: &str| number(rate, &format!("/{name}"));
        for from in ["from_append", "from_due"] {
            let at = |name: &str| at(&format!("{from}/{name}"));
            assert!(at("p50") <= at("p99") && at("p99") <= at("p999") && at("p999") <= at("max"));
        }
        assert!(at("from_append/p50") < at("from_due/p50"), "it is due before it is appended");
        let expected = at("records_per_second");
        assert!((at("records") - expected).abs() <= 1.0, "a second's records were measured");
    }
    assert_eq!(number(&found, "/latency/linger_seconds"), 0.02, "--set reached the service");
    let page = std::fs::read_to_string(directory.path().join("page.html")).expect("the report");
    assert!(page.contains("</html>") && page.contains("<svg"));
    let line = finished.stderr.lines().find(|line| line.contains("longshore_bench_"));
    let line = line.expect("it says what it makes");
    wait::until("the broker has deleted its topics", || left(&servers, &database, line) == 0);
}

#[test]
fn waiting_is_measured_against_waiting() {
    let Some(servers) = servers() else { return };
    let directory = TempDir::new().expect("a directory");
    let arguments =
        ["work", "--zipf", "--records", "2000", "--rounds", "1", "--partitions", "2", "--json"];
    let service = Service::bare(directory.path());
    let finished = service.start_without_config(&bench(&servers, &arguments)).wait();
    let found: Value = serde_json::from_str(&finished.expect_code(0).stdout).expect("JSON");
    let point = &found["points"][0];
    let who = |name| {
        let runs = point["runs"].as_array().expect("runs");
        runs.iter().find(|run| run["who"] == name).unwrap_or_else(|| panic!("no run of {name}"))
    };
    // 2,000 records of 10 ms each: a loop that waits for one after the other takes 20 s.
    assert!(number(who("sleep"), "/seconds") < 10.0);
    let floor = number(point, "/serial_floor_seconds");
    let took = number(who("service"), "/seconds");
    assert!(floor > 0.5, "the hottest key has a share of its own: {floor}");
    assert!(took > floor * 0.8, "records of one key follow each other: {took} s, {floor} s");
}

#[test]
fn ctrl_c_removes_what_was_made() {
    let Some(servers) = servers() else { return };
    let (directory, database) = (TempDir::new().expect("a directory"), Database::fresh(&servers));
    let arguments = ["ads", "--records", "2000000", "--rounds", "100", "--context", "60"];
    let service = Service::bare(directory.path());
    let mut process = service.start_without_config(&bench(&servers, &arguments));
    let line = process.says_line("longshore_bench_");
    process
        .runs_until("it has made a database and a topic", || left(&servers, &database, &line) == 2);
    process.signal("INT");
    process.wait().expect_code(1).expect_word("SIGINT");
    wait::until("the broker has deleted its topic", || left(&servers, &database, &line) == 0);
}

#[test]
fn wrong_wishes_are_answered_before_anything_is_made() {
    let directory = TempDir::new().expect("a directory");
    let service = Service::bare(directory.path());
    for (arguments, word) in [
        (&["bench", "laundry"][..], "ads"),
        (&["bench", "ads", "--set", "pipelines.ads.batch.recrods=1"], "recrods"),
        (&["bench", "ads", "--set", "nonsense"], "KEY=VALUE"),
        (&["bench", "ads", "--repeats", "2"], "from 0 to 1"),
        (&["bench", "ads", "--zipf"], "work"),
        (&["bench", "payments", "--scale", "table"], "ads"),
        (&["bench", "ads", "--values", "1"], "--scale"),
        (&["bench", "ads", "--connections", "0"], "connections"),
        (&["bench", "ads", "--report", "no/such/place.html"], "place.html"),
    ] {
        let finished = service.start_without_config(arguments).wait();
        finished.expect_code(2).expect_word(word);
    }
}
