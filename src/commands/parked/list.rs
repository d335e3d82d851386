//! `longshore parked list`: the parked records, a line each.

use chrono::SecondsFormat;

use super::selection::Selection;
use crate::commands::context::{Context, Overrides, block_on};
use crate::commands::database::connect;
use crate::commands::error::CommandError;
use crate::commands::table;
use crate::postgres::parked::{self, ParkedRecord};

/// List parked records, oldest first
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    selection: Selection,

    /// At most so many
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(i64).range(1..=100_000))]
    limit: i64,

    /// For programs: a JSON array
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    overrides: Overrides,
}

/// Lists parked records.
///
/// # Errors
/// The database cannot be reached.
pub(super) fn execute(context: &Context, args: &Args) -> Result<(), CommandError> {
    let config = args.selection.config(context, &args.overrides)?;
    let filter = args.selection.filter(&config);
    let (records, all) = block_on(async {
        let mut conn = connect(&config).await?;
        let records = parked::list(&mut conn, &filter, i64::MIN, args.limit).await;
        let all = parked::count(&mut conn, &filter).await;
        Ok((records.map_err(CommandError::failed)?, all.map_err(CommandError::failed)?))
    })?;
    if args.json {
        let lines: Vec<_> = records.iter().map(super::show::to_json).collect();
        println!("{:#}", serde_json::Value::Array(lines));
        return Ok(());
    }
    print(&records);
    let shown = records.len() as i64;
    if shown < all {
        println!("{shown} of {all}: say --limit for more, or what to leave out");
    }
    Ok(())
}

fn print(records: &[ParkedRecord]) {
    let heads = [
        "ID",
        "PIPELINE",
        "TOPIC",
        "PARTITION",
        "OFFSET",
        "STATE",
        "ATTEMPTS",
        "DUE",
        "PARKED",
        "REASON",
    ];
    let rows = records.iter().map(|record| {
        let time =
            |time: chrono::DateTime<chrono::Utc>| time.to_rfc3339_opts(SecondsFormat::Secs, true);
        [
            record.id.to_string(),
            record.pipeline.clone(),
            record.topic.clone(),
            record.partition.to_string(),
            record.offset.to_string(),
            record.state.clone(),
            record.attempts.to_string(),
            record.due_at.map_or("-".to_owned(), time),
            time(record.parked_at),
            record.reason.clone(),
        ]
    });
    table::print(&heads, &rows.collect::<Vec<_>>());
}
