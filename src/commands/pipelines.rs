//! `longshore pipelines`: whether pipelines run, and pausing and resuming them on all instances.

use clap::Subcommand;
use serde_json::json;

use super::confirm::{self, Consent};
use super::context::{Context, Overrides, block_on};
use super::database::connect;
use super::error::CommandError;
use super::table;
use crate::config::Config;
use crate::postgres::pipelines::{self, PipelineState};

const EXAMPLES: &str = "\
Examples:
  longshore pipelines show
  longshore pipelines pause ads --yes
  longshore pipelines resume ads                  also after its dead-letter budget stopped it";

/// Show whether pipelines run; pause and resume them
///
/// The state is kept in the database: all instances follow within a second or two, and one that
/// starts later finds it.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    Show(ShowArgs),
    /// Have all instances read nothing more of a pipeline; what is in hand is saved
    Pause(ChangeArgs),
    /// Let a pipeline go on that was paused, or stopped by its dead-letter budget
    Resume(ChangeArgs),
}

/// Show the state of pipelines, and why
#[derive(Debug, clap::Args)]
struct ShowArgs {
    /// Configured pipelines; all of them if none is named
    #[arg(value_name = "PIPELINE")]
    pipelines: Vec<String>,

    /// For programs: a JSON array
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    overrides: Overrides,
}

#[derive(Debug, clap::Args)]
struct ChangeArgs {
    /// Configured pipelines
    #[arg(value_name = "PIPELINE", required = true)]
    pipelines: Vec<String>,

    #[command(flatten)]
    consent: Consent,

    #[command(flatten)]
    overrides: Overrides,
}

/// Does what is asked about pipelines.
///
/// # Errors
/// The database cannot be reached.
pub(super) fn execute(context: &Context, args: &Args) -> Result<(), CommandError> {
    match &args.action {
        Action::Show(args) => show(context, args),
        Action::Pause(args) => change(context, args, "paused"),
        Action::Resume(args) => change(context, args, "running"),
    }
}

fn show(context: &Context, args: &ShowArgs) -> Result<(), CommandError> {
    let config = context.load(&args.overrides)?.select(&args.pipelines)?;
    let states = read(&config)?;
    if args.json {
        let line = |state: &PipelineState| {
            json!({
                "pipeline": state.pipeline,
                "state": state.state,
                "reason": state.reason,
                "since": state.since,
            })
        };
        println!("{:#}", serde_json::Value::Array(states.iter().map(line).collect()));
    } else {
        print(&states);
    }
    Ok(())
}

fn change(context: &Context, args: &ChangeArgs, to: &str) -> Result<(), CommandError> {
    let config = context.load(&args.overrides)?.select(&args.pipelines)?;
    let before = read(&config)?;
    print(&before);
    let names: Vec<String> = before.iter().map(|state| state.pipeline.clone()).collect();
    let verb = if to == "running" { "resume" } else { "pause" };
    if !confirm::consents(args.consent, &format!("{verb} {}?", names.join(", ")))? {
        return Ok(());
    }
    let who = context.who();
    block_on(async {
        let mut conn = connect(&config).await?;
        let reason = format!("{verb}d by {who}");
        let changed = pipelines::set(&mut conn, &who, &names, to, &reason).await;
        let changed = changed.map_err(CommandError::failed)?;
        println!("{changed} of {} changed: {to}", names.len());
        Ok(())
    })
}

fn read(config: &Config) -> Result<Vec<PipelineState>, CommandError> {
    let names: Vec<String> = config.pipelines.iter().map(|p| p.name.clone()).collect();
    block_on(async {
        let mut conn = connect(config).await?;
        pipelines::states(&mut conn, &names).await.map_err(CommandError::failed)
    })
}

fn print(states: &[PipelineState]) {
    let rows = states.iter().map(|state| {
        [
            state.pipeline.clone(),
            state.state.clone(),
            state.since.map_or("-".to_owned(), |since| since.to_rfc3339()),
            state.reason.clone().unwrap_or_else(|| "-".to_owned()),
        ]
    });
    table::print(&["PIPELINE", "STATE", "SINCE", "REASON"], &rows.collect::<Vec<_>>());
}
