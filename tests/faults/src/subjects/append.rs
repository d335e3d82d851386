//! Feeds the append pipeline and checks its table: every record one row, none twice, in the order
//! of its key, and a counter for each key that says the same.

use std::borrow::Cow;
use std::collections::BTreeMap;

use anyhow::Result;
use postgres::Client;
use postgres::fallible_iterator::FallibleIterator;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::pipelines::{Poison, Said};
use crate::{Becomes, Delivered, Draft, Subject};

/// How many keys there are: few enough that a batch has several records of each.
const KEYS: u32 = 400;
/// The topic's name in its records; it is the configuration's, too.
const NAME: &str = "append";
/// One record in so many is harmless poison, of each of three kinds.
const ONE_IN: u32 = 2_000;
/// One record in so many ends the process, at most.
const ONE_DEATH_IN: u64 = 20_000;

/// Which poison records there are.
#[derive(Clone, Copy, Debug, Default)]
pub struct Poisons {
    /// How many records in all end the process: abort and stack overflow, in turn.
    pub deaths: u32,
}

/// What a record of the feed says, as far as the check needs it.
#[derive(Clone, Copy)]
struct Note {
    key: u32,
    sequence: i64,
}

/// Feeds and checks the append pipeline.
pub struct AppendSubject {
    rng: ChaCha8Rng,
    partitions: i32,
    deaths_left: u32,
    since_death: u64,
    /// The next sequence of each key.
    next: Vec<i64>,
    notes: Vec<Note>,
}

impl AppendSubject {
    /// The records that `seed` gives.
    pub fn new(seed: u64, poisons: Poisons) -> Self {
        Self {
            rng: ChaCha8Rng::seed_from_u64(seed ^ 0x0061_7070),
            partitions: 8,
            deaths_left: poisons.deaths,
            since_death: 0,
            next: vec![0; KEYS as usize],
            notes: Vec::new(),
        }
    }

    fn draw_poison(&mut self) -> Option<Option<Poison>> {
        self.since_death += 1;
        if self.deaths_left > 0 && self.since_death > ONE_DEATH_IN {
            self.since_death = 0;
            self.deaths_left -= 1;
            let is_even = self.deaths_left.is_multiple_of(2);
            return Some(Some(if is_even { Poison::Abort } else { Poison::Overflow }));
        }
        match self.rng.random_range(0..ONE_IN) {
            0 => Some(Some(Poison::Reject)),
            1 => Some(Some(Poison::Panic)),
            // Malformed.
            2 => Some(None),
            _ => None,
        }
    }

    /// The differences that single rows show, in the order in which they were saved.
    fn check_rows(&self, delivered: &[Delivered], database: &mut Client) -> Result<Vec<String>> {
        let mut found = Vec::new();
        let mut rows = Rows::new(self, delivered);
        let no_parameters = std::iter::empty::<i32>();
        let mut saved = database.query_raw(
            "select partition, \"offset\", key, sequence, process, worked
             from faults.appended order by id",
            no_parameters,
        )?;
        while let Some(row) = saved.next()? {
            let row = Row {
                place: (row.get(0), row.get(1)),
                key: row.get(2),
                sequence: row.get(3),
                process: row.get(4),
                worked: row.get(5),
            };
            found.extend(rows.take(&row));
        }
        found.extend(rows.missing());
        Ok(found)
    }

    fn check_counters(
        &self,
        delivered: &[Delivered],
        database: &mut Client,
    ) -> Result<Vec<String>> {
        let mut expected = BTreeMap::<String, (i64, i64)>::new();
        for (note, record) in self.notes.iter().zip(delivered) {
            if record.becomes == Becomes::Saved {
                let counter = expected.entry(name_of(note.key)).or_default();
                *counter = (counter.0 + 1, note.sequence);
            }
        }
        let counters =
            database.query("select key, records, last_sequence from faults.counters", &[])?;
        let counters = counters.iter().map(|row| (row.get(0), (row.get(1), row.get(2))));
        let counters = counters.collect::<BTreeMap<String, (i64, i64)>>();
        let keys =
            expected.keys().chain(counters.keys().filter(|key| !expected.contains_key(*key)));
        let differ = keys.filter(|key| expected.get(*key) != counters.get(*key));
        let say = |key: &String| {
            let (is, should) = (counters.get(key), expected.get(key));
            format!("the counter of {key} is {is:?}, but should be {should:?} (records, last)")
        };
        Ok(differ.map(say).collect())
    }
}

impl Subject for AppendSubject {
    fn name(&self) -> &str {
        NAME
    }

    fn settings(&self) -> Vec<(&str, String)> {
        vec![
            ("order", "\"by_key\"".to_owned()),
            ("batch", "{ records = 500, linger = \"20 ms\" }".to_owned()),
            ("dead_letter_budget", "\"off\"".to_owned()),
        ]
    }

    fn partitions(&self) -> i32 {
        self.partitions
    }

    fn weight(&self) -> u32 {
        3
    }

    fn prepare(&mut self, _database: &mut Client) -> Result<()> {
        Ok(())
    }

    fn draw(&mut self, draft: &mut Draft) {
        let key = self.rng.random_range(0..KEYS);
        let sequence = self.next[key as usize];
        self.next[key as usize] += 1;
        self.notes.push(Note { key, sequence });
        let (poison, name) = (self.draw_poison(), name_of(key));
        draft.partition = key.cast_signed() % self.partitions;
        draft.key = name.clone().into_bytes();
        draft.becomes = if poison.is_some() { Becomes::Parked } else { Becomes::Saved };
        let said = Said {
            topic: Cow::Borrowed(NAME),
            partition: draft.partition,
            offset: 0,
            key: Cow::Owned(name),
            sequence,
            poison: poison.flatten(),
            announce: None,
        };
        draft.value.clear();
        serde_json::to_writer(&mut draft.value, &said).expect("a vector takes all");
        if poison == Some(None) {
            draft.value.pop();
        }
    }

    fn check(&self, delivered: &[Delivered], database: &mut Client) -> Result<Vec<String>> {
        let mut found = self.check_rows(delivered, database)?;
        found.extend(self.check_counters(delivered, database)?);
        Ok(found)
    }
}

/// A row of the table.
struct Row {
    place: (i32, i64),
    key: String,
    sequence: i64,
    process: i64,
    worked: i64,
}

/// The rows that must be there, and those that were met.
struct Rows<'a> {
    subject: &'a AppendSubject,
    /// The record at each place that is to be saved, and whether its row was met.
    expected: BTreeMap<(i32, i64), (usize, bool)>,
    /// The last sequence that was saved of each key.
    last: BTreeMap<String, i64>,
    /// When the last record of each key was worked, for each process.
    worked: BTreeMap<(String, i64), i64>,
}

impl<'a> Rows<'a> {
    fn new(subject: &'a AppendSubject, delivered: &[Delivered]) -> Self {
        let saved = delivered.iter().enumerate();
        let saved = saved.filter(|(_, record)| record.becomes == Becomes::Saved);
        let expected =
            saved.map(|(number, record)| ((record.partition, record.offset), (number, false)));
        Self {
            subject,
            expected: expected.collect(),
            last: BTreeMap::new(),
            worked: BTreeMap::new(),
        }
    }

    fn take(&mut self, row: &Row) -> Option<String> {
        let (partition, offset) = row.place;
        let place = format!("append[{partition}] offset {offset}");
        let Some((number, is_met)) = self.expected.get_mut(&row.place) else {
            return Some(format!("{place} has a row, but must not be saved"));
        };
        if std::mem::replace(is_met, true) {
            return Some(format!("{place} is saved twice"));
        }
        let note = self.subject.notes[*number];
        if (name_of(note.key), note.sequence) != (row.key.clone(), row.sequence) {
            return Some(format!("{place} says {} {}, as it never did", row.key, row.sequence));
        }
        let last = self.last.insert(row.key.clone(), row.sequence).unwrap_or(-1);
        if last >= row.sequence {
            return Some(format!(
                "{place}: {} of {} was saved after {last}",
                row.sequence, row.key
            ));
        }
        let before = self.worked.insert((row.key.clone(), row.process), row.worked);
        (before > Some(row.worked))
            .then(|| format!("{place}: {} of {} was worked too early", row.sequence, row.key))
    }

    fn missing(&self) -> impl Iterator<Item = String> {
        let missing = self.expected.iter().filter(|(_, (_, is_met))| !is_met);
        missing
            .map(|((partition, offset), _)| format!("append[{partition}] offset {offset} is lost"))
    }
}

fn name_of(key: u32) -> String {
    format!("key-{key}")
}
