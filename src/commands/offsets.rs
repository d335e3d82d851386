//! `longshore offsets`: how far each partition is saved.

use clap::Subcommand;

use super::context::{Context, Overrides, block_on};
use super::error::CommandError;

const EXAMPLES: &str = "\
Examples:
  longshore offsets show                all configured pipelines
  longshore offsets show ads --json     one of them, for programs";

/// Show the stored offsets
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) action: Action,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Action {
    Show(ShowArgs),
}

/// Show each partition's stored offset, its end and the lag between
#[derive(Debug, clap::Args)]
pub(crate) struct ShowArgs {
    /// Names of configured pipelines; all of them if none is named
    #[arg(value_name = "PIPELINE")]
    pub(crate) pipelines: Vec<String>,

    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,

    #[command(flatten)]
    pub(crate) overrides: Overrides,
}

/// Does what is asked about offsets.
///
/// # Errors
/// The database or the brokers cannot be reached.
pub(crate) fn execute(context: &Context, args: &Args) -> Result<(), CommandError> {
    match &args.action {
        Action::Show(args) => show(context, args),
    }
}

fn show(context: &Context, args: &ShowArgs) -> Result<(), CommandError> {
    let _config = context.load(&args.overrides)?.select(&args.pipelines)?;
    block_on(async { Err(CommandError::failed("offsets show is not wired yet")) })
}
