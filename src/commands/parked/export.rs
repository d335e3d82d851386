//! `longshore parked export`: parked records as lines of JSON, every byte of them.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::PathBuf;

use super::selection::Selection;
use super::show::to_json;
use crate::commands::context::{Context, Overrides, block_on};
use crate::commands::database::connect;
use crate::commands::error::CommandError;
use crate::postgres::parked;

/// Records of one query: few enough to be held, whatever their size.
const PAGE: i64 = 500;

/// Write parked records to a file or to standard output, a line of JSON each
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    selection: Selection,

    /// The file to write; standard output if none is named
    #[arg(long, value_name = "FILE")]
    to: Option<PathBuf>,

    #[command(flatten)]
    overrides: Overrides,
}

/// Exports parked records.
///
/// # Errors
/// The database cannot be reached, the file cannot be written.
pub(super) fn execute(context: &Context, args: &Args) -> Result<(), CommandError> {
    let config = args.selection.config(context, &args.overrides)?;
    let filter = args.selection.filter(&config);
    let mut out: Box<dyn Write> = match &args.to {
        Some(path) => {
            let file = File::create(path).map_err(|error| {
                CommandError::failed(format!("{} cannot be written: {error}", path.display()))
            })?;
            Box::new(BufWriter::new(file))
        }
        None => Box::new(BufWriter::new(io::stdout())),
    };
    let mut records = 0_usize;
    block_on(async {
        let mut conn = connect(&config).await?;
        let mut after = i64::MIN;
        loop {
            let page = parked::list(&mut conn, &filter, after, PAGE).await;
            let page = page.map_err(CommandError::failed)?;
            for record in &page {
                writeln!(out, "{}", to_json(record)).map_err(CommandError::failed)?;
            }
            records += page.len();
            match page.last() {
                Some(last) => after = last.id,
                None => return out.flush().map_err(CommandError::failed),
            }
        }
    })?;
    if let Some(path) = &args.to {
        eprintln!("{records} records in {}", path.display());
    }
    Ok(())
}
