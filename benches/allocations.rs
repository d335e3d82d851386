//! Allocations per record: the whole service in this process, from Kafka to the commit, under an
//! allocator that counts. What a start costs is taken out by the difference of two runs.
//!
//! Counted is what Rust allocates; librdkafka's own queues are C and are not.
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
    /// Records by which the two runs differ
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
    let mix = Mix { odd_spelling: false, negative_costs: 0.0, ..Mix::USUAL };
    let mut generator = stage.generator(1, mix);
    let run_with_more = |records: Vec<_>, run: u32| {
        stage.topic.send(records);
        stage.database.run("truncate ads.enriched_events, longshore.parked_records");
        count(&stage, run)
    };
    let [small, large] = [1, 2].map(|run| {
        let records = generator.records(arguments.records);
        run_with_more(records, run)
    });
    let per_record = |a: usize, b: usize| (b as f64 - a as f64) / arguments.records as f64;
    println!(
        "{:.2} allocations, {:.2} reallocations, {:.0} bytes allocated per record",
        per_record(small.allocations, large.allocations),
        per_record(small.reallocations, large.reallocations),
        per_record(small.bytes_allocated, large.bytes_allocated),
    );
}

/// Runs the service to the end of the topic, as a group of its own.
fn count(stage: &Stage, run: u32) -> stats_alloc::Stats {
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

fn config(stage: &Stage, run: u32, pipelines: &[Arc<dyn AnyPipeline>]) -> Config {
    let text = format!(
        "kafka.brokers = {:?}\ndatabase.url = {:?}\n[pipelines.ads]\ntopics = [{:?}]\n\
         group = \"{}.{run}\"\nstart = \"earliest\"\n",
        stage.servers.brokers, stage.database.url, stage.topic.name, stage.group,
    );
    let kinds: Vec<_> = pipelines.iter().map(|pipeline| pipeline.kind()).collect();
    let layers = Layers::new().text("the bench's configuration", &text).expect("it is TOML");
    layers.build(&kinds).expect("it is a configuration")
}
