//! `longshore demo`: both example pipelines at work, without a server to set up.

use std::net::SocketAddr;

use super::context::{Context, Overrides};
use super::error::CommandError;
use crate::config::{Config, ConfigError, Layers, Secret};

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

    /// Where the page is served
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:8080")]
    pub(crate) listen: SocketAddr,

    /// Your own servers instead of the embedded ones
    #[command(flatten)]
    pub(crate) servers: Overrides,
}

/// Runs the demo to its end.
///
/// # Errors
/// A server cannot be started or reached; a pipeline failed.
pub(crate) fn execute(context: &Context, args: &Args) -> Result<(), CommandError> {
    let embedded = Overrides {
        brokers: Some("127.0.0.1:9092".to_owned()),
        database_url: Some(Secret::url("postgres://demo@127.0.0.1/demo")),
    };
    let _config = configure(context, args, &embedded)?;
    Err(CommandError::failed("demo is not wired yet"))
}

/// The demo's configuration: every kind of pipeline with its defaults, on the `embedded` servers or
/// those that are named instead.
fn configure(context: &Context, args: &Args, embedded: &Overrides) -> Result<Config, ConfigError> {
    let kinds = context.kinds.iter().filter(|kind| !kind.default_topics.is_empty());
    let layers = kinds.fold(embedded.lay_on(Layers::new()), |layers, kind| {
        layers.set(&["pipelines", kind.name, "start"], "earliest", "demo")
    });
    let listen = args.listen.to_string();
    let layers = layers.set(&["http", "listen"], &listen, "flag --listen");
    args.servers.lay_on(layers).build(&context.kinds)
}
