//! `longshore check`: everything that can be known to be wrong before a pipeline runs.

use super::context::{Context, Overrides};
use super::error::CommandError;

const EXAMPLES: &str = "\
Examples:
  longshore check                       a line for each thing, with what to do about it
  longshore check --json                the same for programs
  longshore check && longshore run      run only if all holds";

/// Check configuration, brokers, topics, database, migrations, grants and limits
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,

    #[command(flatten)]
    pub(crate) overrides: Overrides,
}

/// Checks and prints a line for each thing.
///
/// # Errors
/// Something does not hold.
pub(crate) fn execute(context: &Context, args: &Args) -> Result<(), CommandError> {
    let _config = context.load(&args.overrides)?.select(&[])?;
    Err(CommandError::failed("check is not wired yet"))
}
