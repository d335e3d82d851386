//! Finds the records that the database refuses, within one transaction, by savepoints: everybody
//! else is saved. The unit is the record, with its rows in all tables.
//!
//! Where the error names a line, that record is tried alone; where it does not (foreign keys,
//! deferred constraints, triggers), what is known to hold a refused record is cut up. What is left
//! alone, when everything that failed with it went well without it, is not tried again; nor is a
//! row that is refused for itself alone, as a check does it.
//!
//! # How it is cut
//! With one table, a try that goes well is one statement, its COPY, and one that fails is two: so
//! the smaller part is tried first, by the golden section, and what went well is kept by a new
//! savepoint only where it is much; what a later failure undoes goes along with the next try. With
//! n records, the one that is refused is found by 1.44 log2 n statements at most, and a few. With
//! several tables, each try ends with a check of what is deferred, which keeps it too: halves.

use std::ops::Range;

use longshore_actors::error::Reject;

use super::super::errors::Failure;
use super::copy::Around;
use super::merge::{Merged, RecordNo, State};
use super::writer::{LeftOut, Pick, Stumble, Writer};

pub(super) const MARK: &str = "savepoint longshore";
/// One table cannot wait for another one: what is deferred is checked at once, with each try.
const MARK_AT_ONCE: &str = "set constraints all immediate; savepoint longshore";
const KEEP: &str = "release savepoint longshore; savepoint longshore";
/// What is deferred is checked now, as it would be at COMMIT.
const CHECK_AND_KEEP: &str = "set constraints all immediate; set constraints all deferred; \
     release savepoint longshore; savepoint longshore";
pub(super) const UNDO: &str = "rollback to savepoint longshore";
const UNDO_AND_LEAVE: &str = "rollback to savepoint longshore; release savepoint longshore";

/// Records to try before, after a refusal, the stretch without one is long enough to go by.
const STRIDE_MIN: usize = 8;

/// Records that the database has read and not written, when it refused one behind them, go along
/// with the next try, but no more of them than this.
const READ_AGAIN: usize = 256;

/// A try that goes well is kept at once if it is this part of all, and not a few records only.
const KEPT_PART: usize = 4;
const KEPT_MIN: usize = 64;

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
    let mut search = Search::new(&units, hint);
    writer.run(if search.has_one_table { MARK_AT_ONCE } else { MARK }).await?;
    let mut undo = None;
    while let Some(range) = search.next() {
        if let Some(reject) = search.take_left_alone() {
            merged.refuse(units.order[search.at], reject);
            search.refused();
            continue;
        }
        let segment = Segment { units: &units, range: &range };
        let keep = search.keep(&range);
        match attempt(writer, merged, &segment, undo.take(), keep).await {
            Ok(left_out) => {
                left_out.note(merged);
                search.passed(&range, keep.is_some());
            }
            Err(Stumble::Failed(failure)) => return Err(failure),
            Err(Stumble::Row { is_repeat: true, .. }) if !writer.leaves_out_repeats() => {
                writer.run(UNDO_AND_LEAVE).await?;
                writer.leave_out_repeats().await?;
                writer.run(MARK).await?;
                search.undone();
            }
            Err(stumble) => {
                undo = Some(UNDO);
                search.undone();
                stumbled(merged, &units, &mut search, &range, stumble);
            }
        }
    }
    if let Some(undo) = undo {
        writer.run(undo).await?;
    }
    // Whoever is neither refused nor a duplicate by now.
    merged.settle_pending();
    Ok(())
}

/// Writes `segment` when `undo` is done, and keeps it. A try that is likely to fail is not followed
/// by anything before its answer is there.
async fn attempt(
    writer: &mut Writer<'_>,
    merged: &Merged<'_>,
    segment: &Segment<'_>,
    undo: Option<&'static str>,
    keep: Option<&'static str>,
) -> Result<LeftOut, Stumble> {
    let (after, later) = if keep == Some(KEEP) { (keep, None) } else { (None, keep) };
    let left_out = writer.write(merged, segment, Around { before: undo, after }).await?;
    if let Some(keep) = later {
        writer.run(keep).await?;
    }
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
    if let (Stumble::Row { failure, suspect: Some(record), .. }, Some(rank)) = (&stumble, suspect)
        && failure.is_its_own
    {
        merged.refuse(*record, failure.reject.clone());
        search.singled_out(rank);
        return;
    }
    if range.end != search.at + 1 {
        let reject = match stumble {
            Stumble::Row { failure, .. } => Some(failure.reject),
            _ => None,
        };
        search.failed(range, suspect, reject);
        return;
    }
    let record = units.order[search.at];
    match stumble {
        Stumble::Row { failure, .. } => merged.refuse(record, failure.reject),
        // Some of its keys are saved: so is the record, as far as its identity goes.
        _ => merged.settle(record, State::Duplicate),
    }
    search.refused();
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
}

/// Those of a run of records that are still to be written.
struct Segment<'a> {
    units: &'a Units,
    range: &'a Range<usize>,
}

impl Pick for Segment<'_> {
    fn places(&self, merged: &Merged<'_>, table: usize) -> Vec<u32> {
        let rows = &self.units.rows[table];
        let start = rows.partition_point(|(rank, _)| (*rank as usize) < self.range.start);
        let end = rows.partition_point(|(rank, _)| (*rank as usize) < self.range.end);
        let is_pending =
            |rank: u32| merged.state(self.units.order[rank as usize]) == State::Pending;
        let run = rows[start..end].iter().filter(|(rank, _)| is_pending(*rank));
        let mut places: Vec<u32> = run.map(|(_, place)| *place).collect();
        places.sort_unstable();
        places
    }
}

/// What to try next.
struct Search {
    len: usize,
    /// Whether all rows are of one table.
    has_one_table: bool,
    /// Everything before is settled, and behind the savepoint.
    kept: usize,
    /// Everything before is settled or goes well.
    at: usize,
    /// `kept..at` was undone, and goes along with the next try.
    is_undone: bool,
    /// `at..bad` is known to hold a refused record.
    bad: Option<usize>,
    /// Why it is refused, if all that failed was tried here.
    reject: Option<Reject>,
    /// The record that an error named.
    suspect: Option<usize>,
    /// How many to try where nothing is known.
    stride: usize,
    last_refused: Option<usize>,
    /// How many were refused for themselves alone.
    singled_out: usize,
    /// Everything before was read by the database in a try that failed for one that is refused now.
    read: usize,
}

impl Search {
    fn new(units: &Units, hint: Hint) -> Self {
        let len = units.order.len();
        let suspect = match hint {
            Hint::Suspect(record) => units.rank(record),
            Hint::Nothing | Hint::SomeRow => None,
        };
        Self {
            len,
            has_one_table: units.rows.iter().filter(|rows| !rows.is_empty()).count() < 2,
            kept: 0,
            at: 0,
            is_undone: false,
            bad: (hint != Hint::Nothing).then_some(len),
            reject: None,
            suspect,
            stride: len,
            last_refused: None,
            singled_out: 0,
            read: 0,
        }
    }

    fn next(&self) -> Option<Range<usize>> {
        let from = if self.is_undone { self.kept } else { self.at };
        if from >= self.len {
            return None;
        }
        let end = match (self.bad, self.suspect) {
            (Some(_), Some(suspect)) if suspect == self.at => self.at + 1,
            (Some(bad), Some(suspect)) if (self.at..bad).contains(&suspect) => suspect,
            (Some(bad), _) => self.at + self.cut(bad - self.at),
            // So that little is sent again and again.
            (None, _) if self.is_undone && self.at - self.kept > self.stride => self.at,
            (None, _) if self.singled_out > 1 && self.read > from + READ_AGAIN => self.read,
            (None, _) => self.len.min(self.at.max(self.read).saturating_add(self.stride)),
        };
        Some(from..end)
    }

    /// How many to try of `len` that hold a refused record.
    fn cut(&self, len: usize) -> usize {
        let part = if self.has_one_table { (len * 382 + 500) / 1000 } else { len.div_ceil(2) };
        part.max(1)
    }

    /// Why the next record is refused, if that is certain without a try: it failed in company, and
    /// the company went well without it.
    fn take_left_alone(&mut self) -> Option<Reject> {
        if self.bad == Some(self.at + 1) { self.reject.take() } else { None }
    }

    /// How to keep `range`, which went well, if that is due.
    fn keep(&self, range: &Range<usize>) -> Option<&'static str> {
        if !self.has_one_table {
            return Some(CHECK_AND_KEEP);
        }
        let is_much = match self.bad {
            Some(_) => range.len() >= KEPT_MIN.max(self.len / KEPT_PART),
            None => range.end < self.len,
        };
        is_much.then_some(KEEP)
    }

    fn passed(&mut self, range: &Range<usize>, is_kept: bool) {
        (self.at, self.is_undone) = (range.end, false);
        if is_kept {
            self.kept = self.at;
        }
        if self.bad.is_none_or(|bad| bad <= self.at) {
            self.bad = None;
            if self.at > self.read {
                self.stride = self.stride.saturating_mul(2);
            }
        }
    }

    /// The transaction is back at the savepoint.
    fn undone(&mut self) {
        self.is_undone = self.kept < self.at;
    }

    fn failed(&mut self, range: &Range<usize>, suspect: Option<usize>, reject: Option<Reject>) {
        (self.bad, self.reject) = (Some(range.end), reject);
        if range.end <= self.at {
            // What went well before does not any more.
            (self.at, self.is_undone) = (self.kept, false);
        }
        self.suspect = suspect.filter(|suspect| (self.at..range.end).contains(suspect));
    }

    /// The record at `at` is. The first refusal may well be the only one: the rest is tried whole.
    /// From the second one on, stretches are as long as the last one without a refusal, so that
    /// little is sent twice.
    fn refused(&mut self) {
        self.stride = match self.last_refused {
            None => self.len,
            Some(last) => self.at.abs_diff(last).max(STRIDE_MIN),
        };
        self.last_refused = Some(self.at);
        self.at += 1;
        (self.bad, self.suspect, self.reject) = (None, None, None);
    }

    /// The record at `rank` is refused, in company of which nothing else is known. Each try finds
    /// the next one of its kind: stretches are three times as long as from one to the next on
    /// average, so that few tries find nobody.
    fn singled_out(&mut self, rank: usize) {
        self.singled_out += 1;
        self.stride = match self.last_refused {
            None => self.len,
            Some(_) => (3 * (rank + 1) / self.singled_out).max(STRIDE_MIN),
        };
        (self.last_refused, self.read) = (Some(rank), rank + 1);
        (self.bad, self.suspect, self.reject) = (None, None, None);
    }
}
