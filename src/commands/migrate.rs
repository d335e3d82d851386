//! `longshore migrate`: makes the tables of Longshore and of the pipelines.

use std::sync::Arc;

use super::context::{Context, Overrides, block_on};
use super::error::CommandError;
use crate::config::Config;
use crate::postgres::migrate::{self, MigrationSet};
use crate::service::{AnyPipeline, connect_options};

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
    let config = context.load(&args.overrides)?;
    if !args.dry_run {
        return apply(context, &config);
    }
    let options = connect_options(&config).map_err(|error| CommandError::wrong_url(&error))?;
    block_on(async {
        let sets = sets(context, &config);
        let sql = migrate::dry_run(&options, &sets).await.map_err(CommandError::failed)?;
        match sql.is_empty() {
            true => println!("-- nothing to apply"),
            false => print!("{sql}"),
        }
        Ok(())
    })
}

/// Applies the pending migrations and says which.
///
/// # Errors
/// The database refuses one, or cannot be reached.
pub(super) fn apply(context: &Context, config: &Config) -> Result<(), CommandError> {
    let options = connect_options(config).map_err(|error| CommandError::wrong_url(&error))?;
    block_on(async {
        let sets = sets(context, config).into();
        let applied = migrate::apply(&options, sets).await.map_err(CommandError::failed)?;
        for name in &applied {
            tracing::info!(migration = name, "applied");
        }
        if applied.is_empty() {
            tracing::info!("every migration was applied before");
        }
        Ok(())
    })
}

/// Longshore's own migrations, then those of the configured pipelines, unless a table of one's own
/// is configured; of all that the program has if none is configured.
pub(super) fn sets(context: &Context, config: &Config) -> Vec<MigrationSet> {
    let is_wanted = |code: &&Arc<dyn AnyPipeline>| {
        let kind = code.kind().name;
        let mut of_kind = config.pipelines.iter().filter(|pipeline| pipeline.kind == kind);
        config.pipelines.is_empty() || of_kind.any(|pipeline| pipeline.landing.table.is_none())
    };
    let wanted = context.pipelines.iter().filter(is_wanted).map(|code| code.migrations());
    std::iter::once(MigrationSet::LONGSHORE).chain(wanted).collect()
}
