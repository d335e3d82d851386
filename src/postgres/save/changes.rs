//! Changed rows of tables that a group has read and locked: one statement a table, through a
//! temporary table that the rows are sent to.

use std::ops::Range;

use longshore_actors::error::Reject;
use longshore_actors::rows::{RowBuffer, TableRows};
use tokio_postgres::types::{ToSql, Type};

use super::super::errors::Failure;
use super::super::table::ChangedTable;
use super::bisect::{MARK, UNDO};
use super::copy::{Around, NotCopied, copy_in};
use super::merge::RecordNo;
use super::room::{ORDINAL, Room};
use super::writer::Writer;

const KEEP: &str = "set constraints all immediate; release savepoint longshore";

/// The statements that change one table.
pub(super) struct ChangeStatements {
    name: String,
    room: Room,
    /// From there into the table: the rows from one number up to another.
    update: String,
}

impl ChangeStatements {
    /// For `table`, the changed one of this number.
    pub(super) fn new((number, changed): (usize, &ChangedTable)) -> Self {
        let ChangedTable { table, set } = changed;
        let (name, room) = (table.name(), Room::new(&format!("longshore_changes_{number}"), table));
        let pairs = |columns: &mut dyn Iterator<Item = &String>, own: &str, between: &str| {
            let pairs = columns.map(|column| format!("{own}{column} = room.{column}"));
            pairs.collect::<Vec<_>>().join(between)
        };
        let set = pairs(&mut set.iter(), "", ", ");
        let same_key = pairs(&mut table.key().iter(), "changed.", " and ");
        Self {
            name: name.to_owned(),
            update: format!(
                "update {name} changed set {set} from {} room \
                 where {same_key} and room.{ORDINAL} >= $1 and room.{ORDINAL} < $2",
                room.name
            ),
            room,
        }
    }
}

/// Writes `changes`. Gives the records that changed rows last which the database refuses; then
/// nothing of this may be committed.
pub(super) async fn write(
    writer: &Writer<'_>,
    statements: &[ChangeStatements],
    changes: &RowBuffer,
) -> Result<Vec<(RecordNo, Reject)>, Failure> {
    let mut refused = Vec::new();
    for (table, statements) in (0..changes.num_tables()).zip(statements) {
        let rows = changes.table(table);
        if !rows.is_empty() {
            refused.extend(write_table(writer, statements, rows).await?);
        }
    }
    Ok(refused)
}

async fn write_table(
    writer: &Writer<'_>,
    statements: &ChangeStatements,
    rows: &TableRows,
) -> Result<Vec<(RecordNo, Reject)>, Failure> {
    writer.run(&statements.room.make).await?;
    let bytes = (0..rows.len()).map(|index| rows.get(index).bytes);
    let copy = copy_in(writer.client(), &statements.room.copy, bytes, true, Around::default());
    writer.within(async { copy.await.map_err(NotCopied::into_error) }).await?;
    let (mut refused, mut to_try) = (Vec::new(), Vec::new());
    to_try.push(0..rows.len());
    while let Some(range) = to_try.pop() {
        writer.run(MARK).await?;
        let tried = match update(writer, statements, &range).await {
            Ok(()) => writer.run(KEEP).await,
            Err(failure) => Err(failure),
        };
        match tried {
            Ok(()) => {}
            Err(Failure::Row(failure)) => {
                writer.run(UNDO).await?;
                if range.len() == 1 {
                    refused.push((rows.get(range.start).record, failure.reject));
                } else {
                    let middle = range.start + range.len() / 2;
                    to_try.push(middle..range.end);
                    to_try.push(range.start..middle);
                }
            }
            Err(failure) => return Err(failure),
        }
    }
    Ok(refused)
}

async fn update(
    writer: &Writer<'_>,
    statements: &ChangeStatements,
    range: &Range<usize>,
) -> Result<(), Failure> {
    let number = |at: usize| i32::try_from(at).expect("tickets bound it");
    let (from, to) = (number(range.start), number(range.end));
    // Planned anew: a plan that is kept would be that of the table as it was when it was small.
    let numbers: [(&(dyn ToSql + Sync), Type); 2] = [(&from, Type::INT4), (&to, Type::INT4)];
    let update = writer.client().execute_typed(&statements.update, &numbers);
    let changed = writer.within(update).await?;
    if changed == range.len() as u64 {
        return Ok(());
    }
    let (wanted, name) = (range.len(), &statements.name);
    Err(Failure::Stop(format!(
        "{changed} rows of {name} were changed instead of {wanted}: a trigger or a rule leaves \
         rows out, which were read and locked"
    )))
}
