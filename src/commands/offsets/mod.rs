//! `longshore offsets`: how far each partition is saved, and moving that by hand.

mod set;
mod show;

use clap::Subcommand;

use super::context::Context;
use super::error::CommandError;

const EXAMPLES: &str = "\
Examples:
  longshore offsets show                          all configured pipelines
  longshore offsets show ads --json               one of them, for programs
  longshore offsets set ads --to earliest --dry-run
  longshore offsets set ads --to 2026-11-21T06:00:00Z --yes
  longshore offsets set ads --topic ads.events --partition 3 --to 1200";

/// Show the stored offsets, or move them
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    Show(show::Args),
    Set(set::Args),
}

/// Does what is asked about offsets.
///
/// # Errors
/// The database or the brokers cannot be reached; an offset that cannot be.
pub(crate) fn execute(context: &Context, args: &Args) -> Result<(), CommandError> {
    match &args.action {
        Action::Show(args) => show::execute(context, args),
        Action::Set(args) => set::execute(context, args),
    }
}
