//! `longshore demo`: the example pipelines at work, without a server to set up.

use std::net::SocketAddr;

use diesel_async::SimpleAsyncConnection;

use super::context::{Context, Overrides, block_on};
use super::database::connect;
use super::error::CommandError;
use crate::config::{Config, ConfigError, Layers, Secret};
use crate::demo::{self, Example, FeedPlan, PARTITIONS, Summary};
use crate::embedded::{EmbeddedServers, PostgresOptions, ServersOptions};
use crate::feed::Topics;
use crate::http::{HttpError, HttpServer};
use crate::service::ServiceView;

const EXAMPLES: &str = "\
Examples:
  longshore demo                        until Ctrl-C, which drains and prints what was saved
  longshore demo --records 100000       this many records in all, then end
  longshore demo --database-url postgres://user@host/db
                                        your database; the tables are made and filled there
  longshore demo --brokers host:9092    your brokers; the topics are made there if they are not

Neither longshore.toml nor the environment is read: a demo must not find its way to the database
of a service.";

/// Run the example pipelines on an embedded Kafka and PostgreSQL
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// End when this many records were settled, in all: each pipeline has an even share of them
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) records: Option<u64>,

    /// Where the page is served, or off; else 127.0.0.1:8080, or any free port if that one is taken
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub(crate) listen: Option<String>,

    /// Your own servers instead of the embedded ones
    #[command(flatten)]
    pub(crate) servers: Overrides,
}

/// Records a second of feeds without an end, all together: a load that any laptop carries beside
/// other work.
const STEADY_RATE: u32 = 20_000;

/// Runs the demo to its end.
///
/// # Errors
/// A server cannot be started or reached; a pipeline failed; the tables do not add up.
pub(crate) fn execute(context: &Context, args: &Args) -> Result<(), CommandError> {
    let say = |line: &str| println!("{line}");
    let examples = examples(context);
    let topics: Vec<_> = examples.iter().map(|example| (example.topic, PARTITIONS)).collect();
    let options = ServersOptions {
        postgres: args.servers.database_url.is_none().then(PostgresOptions::default),
        kafka: args.servers.brokers.is_none().then_some(&topics[..]),
    };
    // On this thread, which lives as long as the servers: they end with it, however it ends.
    let servers = EmbeddedServers::start(&options, &say).map_err(CommandError::failed)?;
    let embedded = Overrides {
        brokers: servers.kafka.as_ref().map(|kafka| kafka.brokers().to_owned()),
        database_url: servers.postgres.as_ref().map(|postgres| Secret::url(postgres.url())),
    };
    let config = configure(context, args, &embedded)?;
    let shown = show(context, &config, args);
    let stopped = servers.stop().map_err(CommandError::failed);
    shown.and(stopped)
}

/// Prepares the database, runs the demo and asks the tables.
fn show(context: &Context, config: &Config, args: &Args) -> Result<(), CommandError> {
    let view = ServiceView::new(config);
    let http = serve(config, args, &view)?;
    super::migrate::apply(context, config)?;
    // Another seed each time: on the user's own servers the last demo's events are saved already.
    let seed = match args.servers.database_url.is_some() || args.servers.brokers.is_some() {
        true => uuid::Uuid::new_v4().as_u64_pair().0,
        false => 1,
    };
    let mut plans = plan(&examples(context), seed, args.records);
    let before = block_on(prepare(config, &plans))?;
    if args.servers.brokers.is_some() {
        block_on(make_topics(config, &plans))?;
    }
    if let Some(http) = &http {
        println!(
            "http://{} shows how it goes; besides: /metrics, /api/status, /health/ready",
            http.address()
        );
    }
    for Example { topic, table, .. } in plans.iter().map(|plan| plan.example) {
        println!("topic {topic} with {PARTITIONS} partitions, table {table}");
    }
    plans.retain(|plan| plan.records != Some(0));
    let shown = actix::System::new()
        .block_on(demo::run(config, &context.pipelines, &view, plans))
        .map_err(CommandError::failed)?;
    let after = block_on(read(config, &examples(context)))?;
    after.iter().for_each(|summary| println!("{summary}"));
    if !shown.is_complete {
        println!("ended before everything was saved; the rest is still in the topics");
        return Ok(());
    }
    let pairs = after.iter().zip(&before).zip(&shown.fed);
    let differences: Vec<_> =
        pairs.flat_map(|((after, before), fed)| after.differences(before, fed)).collect();
    match differences.is_empty() {
        true => {
            let records: u64 = shown.fed.iter().map(|fed| fed.expected.records()).sum();
            println!("every one of {records} records is accounted for");
            Ok(())
        }
        false => Err(CommandError::failed(differences.join("\n"))),
    }
}

/// The examples among the program's pipelines.
fn examples(context: &Context) -> Vec<Example> {
    let kinds = context.kinds();
    let has = |example: &Example| kinds.iter().any(|kind| kind.name == example.kind);
    demo::EXAMPLES.into_iter().filter(has).collect()
}

/// An even share of the records for each example, or of a steady rate.
fn plan(examples: &[Example], seed: u64, records: Option<u64>) -> Vec<FeedPlan> {
    let count = examples.len().max(1) as u64;
    let plans = (0..).zip(examples).map(|(index, example)| FeedPlan {
        example: *example,
        feed: example.feed(seed),
        records: records.map(|all| all / count + u64::from(index < all % count)),
        rate: records.is_none().then_some(STEADY_RATE / count as u32),
    });
    plans.collect()
}

/// Serves where it was told to, else where it can: a demo is not to fail over a port.
fn serve(
    config: &Config,
    args: &Args,
    view: &ServiceView,
) -> Result<Option<HttpServer>, CommandError> {
    match HttpServer::start(config.http.listen, view) {
        Err(HttpError::InUse(taken)) if args.listen.is_none() => {
            let any = SocketAddr::new(taken.ip(), 0);
            Ok(HttpServer::start(Some(any), view)?)
        }
        served => Ok(served?),
    }
}

/// The topics on the user's own brokers, which need not make them by themselves.
async fn make_topics(config: &Config, plans: &[FeedPlan]) -> Result<(), CommandError> {
    let (brokers, properties) = (&config.kafka.brokers, &config.kafka.properties);
    let topics = Topics::new(brokers, properties).map_err(CommandError::failed)?;
    for plan in plans {
        topics.ensure(plan.example.topic, PARTITIONS).await.map_err(CommandError::failed)?;
    }
    Ok(())
}

async fn prepare(config: &Config, plans: &[FeedPlan]) -> Result<Vec<Summary>, CommandError> {
    let mut conn = connect(config).await?;
    for plan in plans {
        let sql = plan.feed.reference_sql();
        conn.batch_execute(&sql).await.map_err(CommandError::failed)?;
    }
    let examples: Vec<_> = plans.iter().map(|plan| plan.example).collect();
    read(config, &examples).await
}

async fn read(config: &Config, examples: &[Example]) -> Result<Vec<Summary>, CommandError> {
    let mut conn = connect(config).await?;
    let mut summaries = Vec::with_capacity(examples.len());
    for example in examples {
        let summary = Summary::read(&mut conn, *example).await.map_err(CommandError::failed)?;
        summaries.push(summary);
    }
    Ok(summaries)
}

/// The demo's configuration: the examples with their defaults, on the `embedded` servers or those
/// that are named instead.
pub(super) fn configure(
    context: &Context,
    args: &Args,
    embedded: &Overrides,
) -> Result<Config, ConfigError> {
    let layers =
        examples(context).iter().fold(embedded.lay_on(Layers::new()), |layers, example| {
            let key = |key| ["pipelines", example.kind, key];
            layers
                .set(&key("start"), "earliest", "demo")
                .set(&key("topics"), example.topic, "demo")
                .set(&key("group"), example.group, "demo")
        });
    let layers = match &args.listen {
        Some(listen) => layers.set(&["http", "listen"], listen, "flag --listen"),
        None => layers,
    };
    args.servers.lay_on(layers).build(&context.kinds())
}
