//! `longshore parked retry` and `discard`: first what would be changed, then, when confirmed, the
//! change.

use super::selection::Selection;
use crate::commands::confirm::{self, Consent};
use crate::commands::context::{Context, Overrides, block_on};
use crate::commands::database::connect;
use crate::commands::error::CommandError;
use crate::commands::table;
use crate::postgres::parked::{self, Change, Changed};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    selection: Selection,

    /// All of them: needed if nothing says which
    #[arg(long)]
    all: bool,

    #[command(flatten)]
    consent: Consent,

    #[command(flatten)]
    overrides: Overrides,
}

/// Changes parked records, after asking.
///
/// # Errors
/// The database cannot be reached; nobody said which records.
pub(super) fn execute(context: &Context, args: &Args, change: Change) -> Result<(), CommandError> {
    if !args.all && !args.selection.says_something() {
        let text = "say which records: a pipeline, --id, --state, --reason, .., or --all";
        return Err(CommandError::Usage(text.to_owned()));
    }
    let config = args.selection.config(context, &args.overrides)?;
    let (filter, who) = (args.selection.filter(&config), context.who());
    block_on(async {
        let mut conn = connect(&config).await?;
        let by = (&*who, change);
        let preview = parked::change(&mut conn, by, &filter, true).await;
        let preview = preview.map_err(CommandError::failed)?;
        print(&preview);
        let records: usize = preview.iter().map(|changed| changed.records).sum();
        if records == 0 {
            println!("no parked record fits: nothing was changed");
            return Ok(());
        }
        if !confirm::consents(args.consent, &format!("{} {records} records?", change.name()))? {
            return Ok(());
        }
        let changed = parked::change(&mut conn, by, &filter, false).await;
        let changed = changed.map_err(CommandError::failed)?;
        let records: usize = changed.iter().map(|changed| changed.records).sum();
        match change {
            Change::Retry => println!("{records} records come back within seconds"),
            Change::Discard => println!("{records} records are thrown away"),
        }
        Ok(())
    })
}

fn print(changed: &[Changed]) {
    let heads = ["GROUP", "TOPIC", "PARTITION", "RECORDS"];
    let rows = changed.iter().map(|changed| {
        [
            changed.group.clone(),
            changed.topic.clone(),
            changed.partition.to_string(),
            changed.records.to_string(),
        ]
    });
    table::print(&heads, &rows.collect::<Vec<_>>());
}
