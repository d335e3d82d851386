//! The commands: what can be said on the command line, and who does it. Each command is a file with
//! its arguments and an `execute`, which makes the runtime it needs: migrations need tokio's
//! threads, a pipeline needs an actix system, and neither works inside the other.

mod bench;
mod check;
mod confirm;
mod context;
mod database;
mod demo;
mod error;
mod migrate;
mod offsets;
mod parked;
mod pipelines;
mod run;
mod table;
#[cfg(test)]
mod tests;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use clap::{Parser, Subcommand, ValueEnum};

use self::context::Context;
use self::error::CommandError;
use crate::pipelines::landing::Landing;
use crate::service::AnyPipeline;
use crate::telemetry::{self, LogFormat};

const ABOUT: &str = "Moves Kafka records into PostgreSQL in batches";

const LONG_ABOUT: &str = "\
Moves Kafka records into PostgreSQL in batches.

Each batch is enriched from the database in one query, processed in parallel, and saved together \
with its offset in one transaction: at-least-once delivery, exactly-once effect.";

const EXAMPLES: &str = "\
Examples:
  longshore demo                        see it work; needs neither Kafka nor PostgreSQL
  longshore check                       say what is wrong before anything runs
  longshore migrate                     make the tables
  longshore run                         run all configured pipelines
  longshore offsets show                stored offsets and lag
  longshore parked list                 what could not be saved, and why
  longshore pipelines show              what runs, what is paused or stopped, and why
  longshore bench                       measure the service and the bare database side by side

Configuration, later wins: defaults, longshore.toml, the environment, flags.
  LONGSHORE_KAFKA__BROKERS=kafka:9092   is brokers under [kafka]: two underscores between levels
  DATABASE_URL=postgres://user@host/db  is url under [database]
  LONGSHORE_LOG=info,longshore=debug    says what is logged, on standard error

Exit status: 0 done, 1 failed while running, 2 wrong usage or configuration.";

/// The heading of the flags that every command has.
const EVERYWHERE: &str = "Everywhere";

/// The command line.
#[derive(Debug, Parser)]
#[command(name = "longshore", version, about = ABOUT, long_about = LONG_ABOUT)]
#[command(after_help = EXAMPLES, arg_required_else_help = true)]
struct Cli {
    /// Read this file; else the one that LONGSHORE_CONFIG names, else longshore.toml if it is there
    #[arg(long, global = true, value_name = "FILE", help_heading = EVERYWHERE)]
    config: Option<PathBuf>,

    /// How log lines look, on standard error; else as LONGSHORE_LOG_FORMAT says, else text
    #[arg(long, global = true, value_name = "FORMAT", value_enum, help_heading = EVERYWHERE)]
    log_format: Option<LogFormat>,

    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Run(run::Args),
    Check(check::Args),
    Migrate(migrate::Args),
    Offsets(offsets::Args),
    Parked(parked::Args),
    Pipelines(pipelines::Args),
    Demo(demo::Args),
    // Larger than the others by its options.
    Bench(Box<bench::Args>),
}

/// The whole program, with these pipelines and [`Landing`], which needs no code: reads the command
/// line and the environment, does what they say, and tells by the exit status how it went.
pub fn main(pipelines: Vec<Arc<dyn AnyPipeline>>) -> ExitCode {
    // The only look at the environment; everything behind here is given what it needs.
    execute(with_landing(pipelines), std::env::args_os(), std::env::vars_os().collect())
}

/// Adds landing, unless one of the program's own pipelines has its name.
fn with_landing(mut pipelines: Vec<Arc<dyn AnyPipeline>>) -> Vec<Arc<dyn AnyPipeline>> {
    let landing = Landing.kind().name;
    if pipelines.iter().all(|pipeline| pipeline.kind().name != landing) {
        pipelines.push(Arc::new(Landing));
    }
    pipelines
}

fn execute(
    pipelines: Vec<Arc<dyn AnyPipeline>>,
    args: impl IntoIterator<Item = OsString>,
    environment: Vec<(OsString, OsString)>,
) -> ExitCode {
    let cli = match Cli::try_parse_from(args) {
        Ok(cli) => cli,
        Err(answer) => {
            // Help and version come this way too. A closed terminal is no reason to fail.
            let _ = answer.print();
            return ExitCode::from(u8::try_from(answer.exit_code()).unwrap_or(2));
        }
    };
    match begin(pipelines, &cli, environment).and_then(|context| dispatch(&context, &cli.command)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => error.report(),
    }
}

/// Sets up what is there before any command: logs, and what the commands are given.
fn begin(
    pipelines: Vec<Arc<dyn AnyPipeline>>,
    cli: &Cli,
    environment: Vec<(OsString, OsString)>,
) -> Result<Context, CommandError> {
    let mut context = Context { pipelines, config_file: cli.config.clone(), environment };
    if context.config_file.is_none() {
        context.config_file = context.variable("LONGSHORE_CONFIG").map(PathBuf::from);
    }
    let is_quiet = matches!(cli.command, Command::Demo(_) | Command::Bench(_));
    telemetry::init(log_format(cli, &context)?, is_quiet, &context.environment)?;
    Ok(context)
}

fn log_format(cli: &Cli, context: &Context) -> Result<LogFormat, CommandError> {
    let Some(written) = context.variable("LONGSHORE_LOG_FORMAT") else {
        return Ok(cli.log_format.unwrap_or_default());
    };
    let written = written.to_string_lossy();
    let format = cli.log_format.map_or_else(|| LogFormat::from_str(&written, true), Ok);
    format.map_err(|_| {
        let problem = format!("environment variable LONGSHORE_LOG_FORMAT = {written:?}");
        CommandError::Usage(format!("{problem}: must be text or json"))
    })
}

fn dispatch(context: &Context, command: &Command) -> Result<(), CommandError> {
    match command {
        Command::Run(args) => run::execute(context, args),
        Command::Check(args) => check::execute(context, args),
        Command::Migrate(args) => migrate::execute(context, args),
        Command::Offsets(args) => offsets::execute(context, args),
        Command::Parked(args) => parked::execute(context, args),
        Command::Pipelines(args) => pipelines::execute(context, args),
        Command::Demo(args) => demo::execute(context, args),
        Command::Bench(args) => bench::execute(context, args),
    }
}
