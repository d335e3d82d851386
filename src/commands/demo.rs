//! `longshore demo`: both example pipelines at work, without a server to set up.

use std::net::SocketAddr;

use diesel_async::SimpleAsyncConnection;

use super::context::{Context, Overrides, block_on};
use super::database::connect;
use super::error::CommandError;
use crate::config::{Config, ConfigError, Layers, Secret};
use crate::demo::{self, FeedPlan, Summary};
use crate::embedded::{EmbeddedServers, PostgresOptions, ServersOptions};
use crate::feed::{AdsFeed, AdsOptions};
use crate::http::{HttpError, HttpServer};
use crate::service::ServiceView;

const EXAMPLES: &str = "\
Examples:
  longshore demo                        until Ctrl-C, which drains and prints what was saved
  longshore demo --records 100000       this many records, then end
  longshore demo --database-url postgres://user@host/db
                                        your database; the tables are made and filled there

Neither longshore.toml nor the environment is read: a demo must not find its way to the database
of a service.";

/// Run the example pipelines on an embedded Kafka and PostgreSQL
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// End when this many records were saved
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) records: Option<u64>,

    /// Where the page is served, or off; else 127.0.0.1:8080, or any free port if that one is taken
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub(crate) listen: Option<String>,

    /// Your own servers instead of the embedded ones
    #[command(flatten)]
    pub(crate) servers: Overrides,
}

/// Partitions of the demo's topic.
const PARTITIONS: i32 = 8;

/// Records a second of a feed without an end: a load that any laptop carries beside other work.
const STEADY_RATE: u32 = 20_000;

/// Topic and group of the demo, so that it never touches those of a service on the same servers.
const TOPIC: &str = "longshore.demo.ads.events";
const GROUP: &str = "longshore.demo.ads";

/// Runs the demo to its end.
///
/// # Errors
/// A server cannot be started or reached; a pipeline failed; the tables do not add up.
pub(crate) fn execute(context: &Context, args: &Args) -> Result<(), CommandError> {
    let say = |line: &str| println!("{line}");
    let topics = [(TOPIC, PARTITIONS)];
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
    let options = AdsOptions { partitions: PARTITIONS, ..AdsOptions::default() };
    let feed = AdsFeed::with(seed, options);
    let before = block_on(prepare(config, &feed))?;
    if let Some(http) = &http {
        println!(
            "http://{} shows how it goes; besides: /metrics, /api/status, /health/ready",
            http.address()
        );
    }
    println!("topic {TOPIC} with {PARTITIONS} partitions, table ads.enriched_events");
    let rate = args.records.is_none().then_some(STEADY_RATE);
    let plan = FeedPlan { feed, partitions: PARTITIONS, records: args.records, rate };
    let shown = actix::System::new()
        .block_on(demo::run(config, &context.pipelines, &view, plan))
        .map_err(CommandError::failed)?;
    let after = block_on(read(config))?;
    println!("{after}");
    let differences = after.differences(&before, &shown.fed);
    if shown.settled.in_flight() > 0 || shown.settled.given_up > 0 {
        println!("ended before everything was saved; the rest is still in the topic");
        return Ok(());
    }
    match differences.is_empty() {
        true => {
            println!("every one of {} records is accounted for", shown.fed.expected.records());
            Ok(())
        }
        false => Err(CommandError::failed(differences.join("\n"))),
    }
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

async fn prepare(config: &Config, feed: &AdsFeed) -> Result<Summary, CommandError> {
    let mut conn = connect(config).await?;
    let sql = feed.reference().insert_sql();
    conn.batch_execute(&sql).await.map_err(CommandError::failed)?;
    Summary::read(&mut conn, GROUP).await.map_err(CommandError::failed)
}

async fn read(config: &Config) -> Result<Summary, CommandError> {
    let mut conn = connect(config).await?;
    Summary::read(&mut conn, GROUP).await.map_err(CommandError::failed)
}

/// The demo's configuration: the ads pipeline with its defaults, on the `embedded` servers or those
/// that are named instead.
pub(super) fn configure(
    context: &Context,
    args: &Args,
    embedded: &Overrides,
) -> Result<Config, ConfigError> {
    let ads = ["pipelines", "ads"];
    let layers = embedded
        .lay_on(Layers::new())
        .set(&[ads[0], ads[1], "start"], "earliest", "demo")
        .set(&[ads[0], ads[1], "topics"], TOPIC, "demo")
        .set(&[ads[0], ads[1], "group"], GROUP, "demo");
    let layers = match &args.listen {
        Some(listen) => layers.set(&["http", "listen"], listen, "flag --listen"),
        None => layers,
    };
    args.servers.lay_on(layers).build(&context.kinds())
}
