//! Allocations per record: the whole service in this process, from Kafka to the commit, under an
//! allocator that counts. What a start costs is taken out by the difference of two runs.
//!
//! Counted are new events, and a mix in which one of a hundred is a repeat, a tombstone, or cannot
//! be saved. What Rust allocates, that is; librdkafka's own queues are C and are not counted.
//!
//! `cargo bench --bench allocations -- --help`, with the servers of `scripts/services env`.

#[path = "../tests/support/mod.rs"]
mod support;

use std::alloc::System;
use std::sync::Arc;

use clap::Parser;
use longshore::config::{Config, Layers};
use longshore::service::{AnyPipeline, Service, ServiceView};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use support::records::Mix;
use support::stage::Stage;

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Counts allocations per record of the ads pipeline.
///
/// Needs LONGSHORE_TEST_BROKERS and LONGSHORE_TEST_DATABASE_URL (a role that may create databases):
/// env $(scripts/services env) cargo bench --bench allocations
#[derive(Debug, Parser)]
struct Arguments {
    /// Records by which two runs differ
    #[arg(long, default_value_t = 300_000)]
    records: usize,
    /// Partitions of the topic
    #[arg(long, default_value_t = 12)]
    partitions: i32,
    /// Given by `cargo bench`
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() {
    let arguments = Arguments::parse();
    let Some(stage) = Stage::set(arguments.partitions) else { return };
    let as_usual = |mix| Mix { odd_spelling: false, negative_costs: 0.0, ..mix };
    let mixes = [("", Mix::CLEAN), ("new events", Mix::CLEAN), ("bad records between", Mix::USUAL)];
    let mut before: Option<stats_alloc::Stats> = None;
    for (run, (what, mix)) in (1..).zip(mixes) {
        let mut generator = stage.generator(run, as_usual(mix));
        stage.topic.send(generator.records(arguments.records));
        stage.database.run("truncate ads.enriched_events, longshore.parked_records");
        let counted = count(&stage, run);
        if let Some(before) = before.replace(counted) {
            let more = |a: usize, b: usize| (b as f64 - a as f64) / arguments.records as f64;
            println!(
                "{what}: {:.3} allocations, {:.3} reallocations, {:.0} bytes allocated per record",
                more(before.allocations, counted.allocations),
                more(before.reallocations, counted.reallocations),
                more(before.bytes_allocated, counted.bytes_allocated),
            );
        }
    }
}

/// Runs the service to the end of the topic, as a group of its own.
fn count(stage: &Stage, run: u64) -> stats_alloc::Stats {
    let pipelines: Vec<Arc<dyn AnyPipeline>> =
        longshore::pipelines![longshore::pipelines::ads::Ads];
    let config = config(stage, run, &pipelines);
    actix::System::new().block_on(async {
        let region = Region::new(ALLOCATOR);
        let mut service = Service::start(&config, &pipelines, &ServiceView::default())
            .await
            .expect("the service starts");
        service.run(true).await.expect("it comes to the end");
        let counted = region.change();
        service.drain().await.expect("it drains");
        counted
    })
}

fn config(stage: &Stage, run: u64, pipelines: &[Arc<dyn AnyPipeline>]) -> Config {
    let text = format!(
        "kafka.brokers = {:?}\ndatabase.url = {:?}\n[pipelines.ads]\ntopics = [{:?}]\n\
         group = \"{}.{run}\"\nstart = \"earliest\"\n",
        stage.servers.brokers, stage.database.url, stage.topic.name, stage.group,
    );
    let kinds: Vec<_> = pipelines.iter().map(|pipeline| pipeline.kind()).collect();
    let layers = Layers::new().text("the bench's configuration", &text).expect("it is TOML");
    layers.build(&kinds).expect("it is a configuration")
}
