//! Compares the service with the bare database: the same records once through `longshore run
//! --until-end`, and once as rows made beforehand, inserted over one connection without Kafka,
//! lookups or pipeline. Interleaved, on emptied tables, for some rounds. Correctness comes first: a
//! round whose rows or offsets are wrong ends it.
//!
//! `cargo bench --bench compare -- --help`, with the servers of `scripts/services env`.

mod bare_insert;
mod meter;
#[path = "../../tests/support/mod.rs"]
mod support;

use std::time::{Duration, Instant};

use bare_insert::Rows;
use clap::Parser;
use meter::Meter;
use support::records::{Generator, Mix};
use support::stage::Stage;
use support::wait;

/// How long the service may take for one round.
const ROUND_WITHIN: Duration = Duration::from_secs(1800);
/// How many records are made and sent at a time.
const CHUNK: usize = 50_000;

/// Measures `longshore run --until-end` against one bare connection that inserts the same rows.
///
/// Needs LONGSHORE_TEST_BROKERS and LONGSHORE_TEST_DATABASE_URL (a role that may create databases):
/// env $(scripts/services env) cargo bench --bench compare
#[derive(Debug, Parser)]
struct Arguments {
    /// Records in the topic
    #[arg(long, default_value_t = 2_000_000)]
    records: usize,
    /// Records that repeat an earlier one of their partition, as a share
    #[arg(long, default_value_t = 0.005)]
    repeats: f64,
    /// Records that only the table's check refuses, as a share
    #[arg(long, default_value_t = 0.0)]
    refused: f64,
    /// Records that cannot be read, as a share
    #[arg(long, default_value_t = 0.001)]
    malformed: f64,
    /// Partitions of the topic
    #[arg(long, default_value_t = 12)]
    partitions: i32,
    /// Rounds, each with the service and the bare insert once
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Rows in a statement and transaction of the bare insert
    #[arg(long, default_value_t = 5_000)]
    batch: usize,
    /// Advertisers, with five campaigns each
    #[arg(long, default_value_t = 10_000)]
    advertisers: i64,
    /// A setting of the service, such as pipelines.ads.batch.records=20000; may be repeated
    #[arg(long, value_name = "KEY=TOML")]
    set: Vec<String>,
    /// Given by `cargo bench`
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() {
    let arguments = Arguments::parse();
    let Some(stage) = Stage::sized(arguments.partitions, arguments.advertisers) else { return };
    let mut rows = Rows::new(&stage.reference, arguments.batch);
    fill(&stage, &arguments, &mut rows);
    let [mut service, mut bare] = [Vec::new(), Vec::new()];
    for round in 0..arguments.rounds {
        // Whoever goes second finds warmer caches: they take turns.
        if round % 2 == 0 {
            service.push(run_service(&stage, &arguments, round, rows.distinct()));
        }
        bare.push(run_bare(&stage, &arguments, &rows));
        if round % 2 == 1 {
            service.push(run_service(&stage, &arguments, round, rows.distinct()));
        }
    }
    let [service, bare] = [median(service), median(bare)];
    println!("median   service {service:.0}/s, bare {bare:.0}/s, ratio {:.2}", service / bare);
}

/// Sends the records and keeps the rows that must come of them.
fn fill(stage: &Stage, arguments: &Arguments, rows: &mut Rows) {
    let mix = Mix {
        duplicates: arguments.repeats,
        negative_costs: arguments.refused,
        malformed: arguments.malformed,
        odd_spelling: false,
        ..Mix::CLEAN
    };
    let mut records = Generator::new(1, arguments.partitions, mix, &stage.reference);
    let begun = Instant::now();
    let mut left = arguments.records;
    while left > 0 {
        let chunk = records.records(left.min(CHUNK));
        left -= chunk.len();
        rows.extend(&chunk);
        stage.topic.send(chunk);
    }
    rows.close();
    println!(
        "{} records in {} partitions sent in {:.1} s; {} distinct rows must come of them",
        arguments.records,
        arguments.partitions,
        begun.elapsed().as_secs_f64(),
        rows.distinct(),
    );
}

fn run_service(stage: &Stage, arguments: &Arguments, round: usize, distinct: usize) -> f64 {
    empty_tables(stage);
    let group = format!("\"{}.{round}\"", stage.group);
    let mut service = stage.service().set("pipelines.ads", "group", &group).set(
        "pipelines.ads",
        "start",
        "\"earliest\"",
    );
    for setting in &arguments.set {
        let (path, value) = setting.split_once('=').expect("--set KEY=TOML");
        let (section, key) = path.rsplit_once('.').unwrap_or(("", path));
        service = service.set(section, key, value);
    }
    let mut meter = Meter::start(&stage.database);
    let mut process = service.start(&["run", "--until-end"]);
    wait::until_some("the service has come to the end", ROUND_WITHIN, || {
        meter.sample(process.id());
        (!process.is_running()).then_some(())
    });
    let rate = meter.stop(&stage.database).tell("service", arguments.records);
    process.wait().expect_code(0);
    let saved = stage.database.number("select count(*) from ads.enriched_events");
    assert_eq!(saved, distinct as i64, "the service's rows");
    assert_eq!(stage.settled(), stage.topic.ends().values().sum::<i64>(), "its offsets");
    rate
}

fn run_bare(stage: &Stage, arguments: &Arguments, rows: &Rows) -> f64 {
    empty_tables(stage);
    let mut client = stage.database.another_connection();
    bare_insert::prepare(&mut client);
    let mut meter = Meter::start(&stage.database);
    rows.insert(&mut client);
    meter.sample(std::process::id());
    let rate = meter.stop(&stage.database).tell("bare", arguments.records);
    let saved = stage.database.number("select count(*) from ads.enriched_events");
    assert_eq!(saved, rows.distinct() as i64, "the bare insert's rows");
    rate
}

fn empty_tables(stage: &Stage) {
    stage.database.run(
        "truncate ads.enriched_events, longshore.parked_records;
         delete from longshore.offsets;",
    );
    stage.database.run("checkpoint");
}

fn median(mut rates: Vec<f64>) -> f64 {
    rates.sort_by(f64::total_cmp);
    rates.get(rates.len() / 2).copied().unwrap_or(f64::NAN)
}
