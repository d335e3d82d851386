//! `longshore parked`: the records that could not be saved, and what a person does about them.

mod change;
mod export;
mod list;
mod selection;
mod show;

use clap::Subcommand;

use super::context::Context;
use super::error::CommandError;
use crate::postgres::parked::Change;

const EXAMPLES: &str = "\
Examples:
  longshore parked list ads --state dead
  longshore parked list ads --reason 'unknown campaign' --newer-than 1h
  longshore parked show 1207                             all there is to know about one
  longshore parked retry ads --reason 'unknown campaign' --dry-run
  longshore parked retry --id 1207 --yes
  longshore parked discard ads --state dead --older-than 30d
  longshore parked export ads --to ads.jsonl

A record is retrying (it comes back by itself), waiting (for an earlier one of its key) or dead (for
you). Mend the cause, then `retry`: the record goes the whole way again, exactly once.";

/// Show the parked records, send them again, or throw them away
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    List(list::Args),
    Show(show::Args),
    /// Send parked records the whole way again
    ///
    /// Dead ones come back at once and are tried as often as new ones; retrying ones need not wait
    /// until they are due. Those that wait for an earlier record of their key keep their turn.
    Retry(change::Args),
    /// Throw parked records away
    ///
    /// They are gone: export them before, if in doubt. Offsets stay where they are.
    Discard(change::Args),
    Export(export::Args),
}

/// Does what is asked about parked records.
///
/// # Errors
/// The database cannot be reached; records that are not there.
pub(crate) fn execute(context: &Context, args: &Args) -> Result<(), CommandError> {
    match &args.action {
        Action::List(args) => list::execute(context, args),
        Action::Show(args) => show::execute(context, args),
        Action::Retry(args) => change::execute(context, args, Change::Retry),
        Action::Discard(args) => change::execute(context, args, Change::Discard),
        Action::Export(args) => export::execute(context, args),
    }
}
