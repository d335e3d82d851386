//! `longshore migrate`: makes the tables of Longshore and of the pipelines.

use super::context::{Context, Overrides, block_on};
use super::error::CommandError;

const EXAMPLES: &str = "\
Examples:
  longshore migrate                     apply what is missing; safe to repeat
  longshore migrate --dry-run           print the SQL, for those who apply it by hand

Tables that are there already, and their data, are adopted as they are.";

/// Apply the migrations of Longshore and of the pipelines
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Print the SQL of what is missing and change nothing
    #[arg(long)]
    pub(crate) dry_run: bool,

    #[command(flatten)]
    pub(crate) overrides: Overrides,
}

/// Applies the pending migrations, or prints them.
///
/// # Errors
/// The database refuses one, or cannot be reached.
pub(crate) fn execute(context: &Context, args: &Args) -> Result<(), CommandError> {
    let _config = context.load(&args.overrides)?;
    // Diesel's migrations block the thread inside, which only a runtime with threads allows.
    block_on(async { Err(CommandError::failed("migrate is not wired yet")) })
}
