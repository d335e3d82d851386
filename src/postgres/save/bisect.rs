//! Finds the records that the database refuses, within one transaction, by savepoints: everybody
//! else is saved. The unit is the record, with its rows in all tables.
//!
//! Where the error names a line, that record is tried alone; where it does not (foreign keys,
//! deferred constraints, triggers), what is known to hold a refused record is halved. What is left
//! alone, when everything that failed with it went well without it, is not tried again. One refused
//! record among n costs log2 n + 1 tries, of a COPY a table and a savepoint each, or 3 with a line.

use std::ops::Range;

use longshore_actors::error::Reject;

use super::super::errors::Failure;
use super::merge::{Merged, RecordNo, State};
use super::writer::{LeftOut, Pick, Stumble, Writer};

/// After a try went well: what is deferred is checked now, as it would be at COMMIT.
const KEEP: &str =
    "set constraints all immediate; release savepoint longshore; savepoint longshore";

pub(super) const MARK: &str = "savepoint longshore";
pub(super) const UNDO: &str = "rollback to savepoint longshore";
const UNDO_AND_LEAVE: &str = "rollback to savepoint longshore; release savepoint longshore";

/// Records to try before, after a refusal, the stretch without one is long enough to go by.
const STRIDE_MIN: usize = 8;

/// What is known before the first try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hint {
    /// Nothing: all may go well.
    Nothing,
    /// A transaction with these records failed for a row's sake.
    SomeRow,
    /// And the error named this record.
    Suspect(RecordNo),
}

/// Writes all records that are to be written; those that are refused are noted as such.
pub(super) async fn write(
    writer: &mut Writer<'_>,
    merged: &mut Merged<'_>,
    hint: Hint,
) -> Result<(), Failure> {
    let units = Units::of(merged);
    writer.run(MARK).await?;
    let mut search = Search::new(&units, hint);
    while let Some(range) = search.next() {
        if let Some(reject) = search.is_left_alone(&range) {
            merged.refuse(units.order[range.start], reject);
            search.refused(&range);
            continue;
        }
        match attempt(writer, merged, &units, &range).await {
            Ok(left_out) => {
                units.settle(merged, &range);
                left_out.note(merged);
                search.passed(&range);
            }
            Err(Stumble::Failed(failure)) => return Err(failure),
            Err(Stumble::Row { is_repeat: true, .. }) if !writer.leaves_out_repeats() => {
                writer.run(UNDO_AND_LEAVE).await?;
                writer.leave_out_repeats().await?;
                writer.run(MARK).await?;
            }
            Err(stumble) => {
                writer.run(UNDO).await?;
                stumbled(merged, &units, &mut search, &range, stumble);
            }
        }
    }
    Ok(())
}

async fn attempt(
    writer: &mut Writer<'_>,
    merged: &Merged<'_>,
    units: &Units,
    range: &Range<usize>,
) -> Result<LeftOut, Stumble> {
    let left_out = writer.write(merged, &Segment { units, range }).await?;
    writer.run(KEEP).await?;
    Ok(left_out)
}

/// Draws the conclusion from a try that was undone.
fn stumbled(
    merged: &mut Merged<'_>,
    units: &Units,
    search: &mut Search,
    range: &Range<usize>,
    stumble: Stumble,
) {
    let suspect = match &stumble {
        Stumble::Row { suspect: Some(record), .. } => units.rank(*record),
        _ => None,
    };
    if range.len() > 1 {
        let reject = match stumble {
            Stumble::Row { failure, .. } => Some(failure.reject),
            _ => None,
        };
        search.failed(range, suspect, reject);
        return;
    }
    let record = units.order[range.start];
    match stumble {
        Stumble::Row { failure, .. } => merged.refuse(record, failure.reject),
        // Some of its keys are saved: so is the record, as far as its identity goes.
        _ => merged.settle(record, State::Duplicate),
    }
    search.refused(range);
}

/// The records to write, in the order of their keys in the first table.
struct Units {
    order: Vec<RecordNo>,
    /// Each record's place in `order`.
    ranks: Vec<u32>,
    /// For each table: rank and place of each row, by rank.
    rows: Vec<Vec<(u32, u32)>>,
}

/// No place in the order.
const NONE: u32 = u32::MAX;

impl Units {
    fn of(merged: &Merged<'_>) -> Self {
        let (mut order, mut ranks) = (Vec::new(), vec![NONE; merged.num_records()]);
        let tables: Vec<Vec<u32>> = (0..merged.num_tables()).map(|t| merged.pending(t)).collect();
        for (table, places) in tables.iter().enumerate() {
            for place in places {
                let record = merged.entries(table)[*place as usize].record;
                if ranks[record as usize] == NONE {
                    ranks[record as usize] = order.len() as u32;
                    order.push(record);
                }
            }
        }
        let ranked = |(table, places): (usize, &Vec<u32>)| {
            let rank = |place: &u32| ranks[merged.entries(table)[*place as usize].record as usize];
            let mut rows: Vec<_> = places.iter().map(|place| (rank(place), *place)).collect();
            rows.sort_unstable();
            rows
        };
        let rows = tables.iter().enumerate().map(ranked).collect();
        Self { order, ranks, rows }
    }

    fn rank(&self, record: RecordNo) -> Option<usize> {
        let rank = self.ranks[record as usize];
        (rank != NONE).then_some(rank as usize)
    }

    /// Notes that the records of `range` are written.
    fn settle(&self, merged: &mut Merged<'_>, range: &Range<usize>) {
        for record in &self.order[range.clone()] {
            merged.settle(*record, State::Saved);
        }
    }
}

/// A run of the records to write.
struct Segment<'a> {
    units: &'a Units,
    range: &'a Range<usize>,
}

impl Pick for Segment<'_> {
    fn places(&self, _: &Merged<'_>, table: usize) -> Vec<u32> {
        let rows = &self.units.rows[table];
        let start = rows.partition_point(|(rank, _)| (*rank as usize) < self.range.start);
        let end = rows.partition_point(|(rank, _)| (*rank as usize) < self.range.end);
        let mut places: Vec<u32> = rows[start..end].iter().map(|(_, place)| *place).collect();
        places.sort_unstable();
        places
    }
}

/// What to try next.
struct Search {
    /// Everything before is settled.
    at: usize,
    len: usize,
    /// `at..bad` is known to hold a refused record.
    bad: Option<usize>,
    /// Why it is refused, if all that failed was tried here.
    reject: Option<Reject>,
    /// The record that an error named.
    suspect: Option<usize>,
    /// How many to try where nothing is known.
    stride: usize,
    last_refused: Option<usize>,
}

impl Search {
    fn new(units: &Units, hint: Hint) -> Self {
        let len = units.order.len();
        let suspect = match hint {
            Hint::Suspect(record) => units.rank(record),
            Hint::Nothing | Hint::SomeRow => None,
        };
        let bad = (hint != Hint::Nothing).then_some(len);
        Self { at: 0, len, bad, reject: None, suspect, stride: len, last_refused: None }
    }

    fn next(&self) -> Option<Range<usize>> {
        if self.at >= self.len {
            return None;
        }
        let end = match (self.bad, self.suspect) {
            (Some(_), Some(suspect)) if suspect == self.at => self.at + 1,
            (Some(bad), Some(suspect)) if (self.at..bad).contains(&suspect) => suspect,
            (Some(bad), _) => self.at + (bad - self.at).div_ceil(2),
            (None, _) => self.len.min(self.at.saturating_add(self.stride)),
        };
        Some(self.at..end)
    }

    /// Why the one record of `range` is refused, if that is certain without a try: it failed in
    /// company, and the company went well without it.
    fn is_left_alone(&mut self, range: &Range<usize>) -> Option<Reject> {
        let is_alone = range.len() == 1 && self.bad == Some(range.end);
        if is_alone { self.reject.take() } else { None }
    }

    fn passed(&mut self, range: &Range<usize>) {
        self.at = range.end;
        if self.bad.is_none_or(|bad| bad <= self.at) {
            self.bad = None;
            self.stride = self.stride.saturating_mul(2);
        }
    }

    fn failed(&mut self, range: &Range<usize>, suspect: Option<usize>, reject: Option<Reject>) {
        (self.bad, self.reject) = (Some(range.end), reject);
        self.suspect = suspect.filter(|suspect| range.contains(suspect));
    }

    /// The first refusal may well be the only one: the rest is tried whole. From the second one on,
    /// stretches are as long as the last one without a refusal, so that little is sent twice.
    fn refused(&mut self, range: &Range<usize>) {
        self.stride = match self.last_refused {
            None => self.len,
            Some(last) => (range.start - last).max(STRIDE_MIN),
        };
        self.last_refused = Some(range.start);
        (self.at, self.bad, self.suspect, self.reject) = (range.end, None, None, None);
    }
}
