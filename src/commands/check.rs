//! `longshore check`: everything that can be known to be wrong before a pipeline runs.

use super::context::{Context, Overrides, block_on};
use super::error::CommandError;
use crate::check;

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
    let config = context.load(&args.overrides)?.select(&[])?;
    let migrations = super::migrate::sets(context, &config);
    block_on(async {
        let findings = check::everything(&config, &migrations, &context.pipelines).await;
        match args.json {
            true => println!("{}", serde_json::to_string_pretty(&findings).expect("plain values")),
            false => findings.iter().for_each(|finding| println!("{finding}")),
        }
        let wrong = findings.iter().filter(|finding| !finding.holds).count();
        match wrong {
            0 => Ok(()),
            1 => Err(CommandError::failed("one thing does not hold")),
            _ => Err(CommandError::failed(format!("{wrong} things do not hold"))),
        }
    })
}
