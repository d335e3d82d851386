//! Writes rows within a transaction: each table in declared order, as one stream sorted by key.

use std::future::Future;
use std::time::Duration;

use deadpool_postgres::ClientWrapper;
use hashbrown::HashSet;
use tokio_postgres::Error;

use super::super::errors::{self, Failure, RowFailure};
use super::super::fates::Fates;
use super::copy::{Around, NotCopied, copy_in};
use super::merge::{Merged, RecordNo, State};
use super::statements::TableStatements;

/// How much longer than the server's own limit a statement may take as seen from here.
const GRACE: Duration = Duration::from_secs(5);

/// Why rows could not be written.
pub(super) enum Stumble {
    /// For no row's sake.
    Failed(Failure),
    /// For the sake of a row.
    Row {
        /// What the database says.
        failure: Box<RowFailure>,
        /// Whose row it is, if the database says that too.
        suspect: Option<RecordNo>,
        /// Whether a key is saved already in the table that makes records duplicates.
        is_repeat: bool,
    },
    /// The database has some of the keys of one record and not the others.
    Partial,
}

impl From<Failure> for Stumble {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Row(failure) => Self::Row { failure, suspect: None, is_repeat: false },
            failure => Self::Failed(failure),
        }
    }
}

/// What was left out because its keys are saved already.
#[derive(Default)]
pub(super) struct LeftOut {
    records: HashSet<RecordNo>,
    places: Vec<u32>,
}

impl LeftOut {
    /// Notes the records as duplicates.
    pub(super) fn note(self, merged: &mut Merged<'_>) {
        merged.know(&self.places);
        for record in self.records {
            merged.settle(record, State::Duplicate);
        }
    }
}

/// Which rows to write of each table: places by key.
pub(super) trait Pick {
    /// The places of `table`.
    fn places(&self, merged: &Merged<'_>, table: usize) -> Vec<u32>;
}

/// All rows that are to be written.
pub(super) struct All;

impl Pick for All {
    fn places(&self, merged: &Merged<'_>, table: usize) -> Vec<u32> {
        merged.pending(table)
    }
}

/// One transaction's way to write rows.
pub(super) struct Writer<'a> {
    client: &'a ClientWrapper,
    tables: &'a [TableStatements],
    limit: Duration,
    fates: &'a Fates,
    /// Whether rows of the first table go through the waiting room.
    through_room: bool,
    /// Whether something may be left in it.
    room_is_used: bool,
}

impl<'a> Writer<'a> {
    /// Writes `tables` over `client`; a statement takes `statement_timeout` at most, and its errors
    /// have the fates of `fates`.
    pub(super) fn new(
        client: &'a ClientWrapper,
        tables: &'a [TableStatements],
        statement_timeout: Duration,
        fates: &'a Fates,
    ) -> Self {
        let limit = statement_timeout + GRACE;
        Self { client, tables, limit, fates, through_room: false, room_is_used: false }
    }

    /// What becomes of an error.
    pub(super) fn classify(&self, error: &Error) -> Failure {
        errors::classify_by(error, self.fates)
    }

    /// The connection.
    pub(super) fn client(&self) -> &'a ClientWrapper {
        self.client
    }

    /// Runs statements without parameters.
    pub(super) async fn run(&self, sql: &str) -> Result<(), Failure> {
        self.within(self.client.batch_execute(sql)).await
    }

    /// Waits for the server, but not for ever: its own limits do not hold for a dead network.
    pub(super) async fn within<T>(
        &self,
        answer: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Failure> {
        self.in_time(answer).await?.map_err(|error| self.classify(&error))
    }

    async fn in_time<T>(&self, answer: impl Future<Output = T>) -> Result<T, Failure> {
        let answer = tokio::time::timeout(self.limit, answer).await;
        answer.map_err(|_| Failure::Retry(self.silence()))
    }

    /// What to say of a server that does not answer.
    pub(super) fn silence(&self) -> String {
        format!("the database has not answered for {} s", self.limit.as_secs())
    }

    /// How long to wait for the server.
    pub(super) fn limit(&self) -> Duration {
        self.limit
    }

    /// From here on, rows whose key is saved already are left out. To be called outside of a
    /// savepoint that may be rolled back.
    pub(super) async fn leave_out_repeats(&mut self) -> Result<(), Failure> {
        if let Some(identity) = self.tables.first().filter(|table| table.has_key) {
            self.run(&identity.room.make).await?;
            self.through_room = true;
        }
        Ok(())
    }

    /// Whether rows whose key is saved already are left out.
    pub(super) fn leaves_out_repeats(&self) -> bool {
        self.through_room
    }

    /// Writes what `pick` picks, with statements `around` it.
    pub(super) async fn write(
        &mut self,
        merged: &Merged<'_>,
        pick: &(impl Pick + Sync),
        mut around: Around,
    ) -> Result<LeftOut, Stumble> {
        let mut left_out = LeftOut::default();
        let all = (0..self.tables.len()).map(|table| (table, pick.places(merged, table)));
        let mut picked = all.filter(|(_, places)| !places.is_empty()).peekable();
        while let Some((table, mut places)) = picked.next() {
            if !left_out.records.is_empty() {
                let entries = merged.entries(table);
                places.retain(|at| !left_out.records.contains(&entries[*at as usize].record));
            }
            if places.is_empty() {
                continue;
            }
            let before = around.before.take();
            if table == 0 && self.through_room {
                self.run_some(before).await?;
                left_out = self.write_new(merged, &places).await?;
            } else {
                let after = if picked.peek().is_none() { around.after.take() } else { None };
                let (rows, around) =
                    (Rows { merged, table, places: &places }, Around { before, after });
                self.copy(rows, false, around).await?;
            }
        }
        self.run_some(around.before).await?;
        self.run_some(around.after).await?;
        Ok(left_out)
    }

    async fn run_some(&self, sql: Option<&str>) -> Result<(), Failure> {
        match sql {
            Some(sql) => self.run(sql).await,
            None => Ok(()),
        }
    }

    /// Writes rows of the first table whose keys are not there yet.
    async fn write_new(&mut self, merged: &Merged<'_>, places: &[u32]) -> Result<LeftOut, Stumble> {
        let identity = &self.tables[0];
        if self.room_is_used {
            self.run(&identity.clear_room).await?;
        }
        self.room_is_used = true;
        self.copy(Rows { merged, table: 0, places }, true, Around::default()).await?;
        let statement = self.within(self.client.prepare_cached(&identity.insert_new)).await?;
        let put = self.within(self.client.query(&statement, &[])).await?;
        let mut is_left_out = vec![true; places.len()];
        for row in put {
            let number: i32 = row.get(0);
            is_left_out[number as usize] = false;
        }
        sort_out(merged, places, &is_left_out)
    }

    /// Sends rows of one table, into the table itself or into the waiting room.
    async fn copy(&self, rows: Rows<'_>, to_room: bool, around: Around) -> Result<(), Stumble> {
        let Rows { merged, table, places } = rows;
        let (statements, entries) = (&self.tables[table], merged.entries(table));
        let bytes = places.iter().map(|place| merged.row(table, &entries[*place as usize]));
        let (sql, name) = if to_room {
            (&statements.room.copy, TableStatements::room_name())
        } else {
            (&statements.copy, statements.bare_name.as_str())
        };
        match self.in_time(copy_in(self.client, sql, bytes, to_room, around)).await? {
            Ok(()) => Ok(()),
            Err(NotCopied::Around(error)) => Err(self.classify(&error).into()),
            Err(NotCopied::Rows(error)) => Err(match self.classify(&error) {
                Failure::Row(failure) => {
                    let line = failure.context.as_deref().and_then(|text| line_of(text, name));
                    let place = line.and_then(|line| places.get(line.checked_sub(1)?));
                    Stumble::Row {
                        suspect: place.map(|place| entries[*place as usize].record),
                        is_repeat: failure.is_unique_violation && table == 0 && statements.has_key,
                        failure,
                    }
                }
                failure => Stumble::Failed(failure),
            }),
        }
    }
}

/// Rows of one table.
#[derive(Clone, Copy)]
struct Rows<'a> {
    merged: &'a Merged<'a>,
    table: usize,
    places: &'a [u32],
}

/// Sorts out the records of which every row was left out.
fn sort_out(merged: &Merged<'_>, places: &[u32], is_left_out: &[bool]) -> Result<LeftOut, Stumble> {
    let mut left_out = LeftOut::default();
    if !is_left_out.contains(&true) {
        return Ok(left_out);
    }
    let entries = merged.entries(0);
    let mut kept = HashSet::new();
    for (place, is_left_out) in places.iter().zip(is_left_out) {
        let record = entries[*place as usize].record;
        if *is_left_out {
            left_out.places.push(*place);
            left_out.records.insert(record);
        } else {
            kept.insert(record);
        }
    }
    if left_out.records.is_disjoint(&kept) { Ok(left_out) } else { Err(Stumble::Partial) }
}

/// The line that an error's context names: `COPY events, line 701`, in whatever language. A hint,
/// which is tried before it is believed.
fn line_of(context: &str, table: &str) -> Option<usize> {
    context.lines().filter(|line| line.contains("COPY")).find_map(|line| {
        let (_, rest) = line.split_once(table)?;
        let digits = rest.trim_start_matches(|c: char| !c.is_ascii_digit());
        let end = digits.find(|c: char| !c.is_ascii_digit()).unwrap_or(digits.len());
        digits[..end].parse().ok()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_is_found_in_any_language() {
        assert_eq!(line_of("COPY events, line 701", "events"), Some(701));
        assert_eq!(line_of("COPY e2, Zeile 3, Spalte t", "e2"), Some(3));
        let trigger =
            "PL/pgSQL function f() line 4 at RAISE\nCOPY events, line 12, column a: \"7\"";
        assert_eq!(line_of(trigger, "events"), Some(12));
        assert_eq!(line_of("SQL statement \"insert into events\" line 9", "events"), None);
        assert_eq!(line_of("COPY events", "events"), None);
    }
}
