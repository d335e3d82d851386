//! The rows of a whole transaction: those of all its batches, table by table, sorted by key, and
//! what became of each record so far.
//!
//! Records of the same key are settled in rounds: the first of them is tried, the others are set
//! aside. Only a saved one makes them duplicates; if it is refused, the next one is tried.

use std::cmp::Ordering;
use std::ops::Range;

use hashbrown::HashSet;
use longshore_actors::batch::WorkedBatch;
use longshore_actors::conservation::Settled;
use longshore_actors::error::Reject;
use longshore_actors::rows::RowBuffer;

/// A record's number in the transaction: those of the first batch come first, in offset order.
pub(super) type RecordNo = u32;

/// Where one row lies, with enough of its key to sort by.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry {
    /// The first 16 bytes of the key.
    prefix: u128,
    /// The length of the key.
    key_len: u32,
    /// Whose row it is.
    pub(super) record: RecordNo,
    chunk: u32,
    row: u32,
}

/// What became of a record so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// Its batch is left out of the transaction.
    Out,
    /// It is to be written.
    Pending,
    /// A record before it has the same key, and is not settled.
    Aside,
    /// Its rows are written (or it has none).
    Saved,
    /// A saved record has its key.
    Duplicate,
    /// The database refuses it.
    Refused,
    /// It is parked behind an earlier record of its lane, whatever `work` made of it.
    Waits,
    /// It was parked before, and its row stays as it is.
    Left,
}

/// Records of a transaction whose rows are not written, whatever `work` made of them: by batch and
/// index.
#[derive(Debug, Default)]
pub(super) struct Aside {
    /// They are parked behind an earlier record of their lane.
    pub(super) waits: Vec<(usize, u32)>,
    /// They were parked before, and their rows stay as they are.
    pub(super) left: Vec<(usize, u32)>,
}

/// The rows of the batches of one transaction.
pub(super) struct Merged<'g> {
    batches: &'g [WorkedBatch],
    bases: Vec<RecordNo>,
    chunks: Vec<&'g RowBuffer>,
    tables: Vec<Vec<Entry>>,
    states: Vec<State>,
    has_repeats: bool,
    /// Places in the first table whose keys the database has.
    known: HashSet<u32>,
    refused: Vec<(RecordNo, Reject)>,
}

impl<'g> Merged<'g> {
    /// Sorts the rows of `batches` by table and key.
    pub(super) fn new(batches: &'g [WorkedBatch], num_tables: usize) -> Self {
        let mut bases = Vec::with_capacity(batches.len());
        let mut records = 0_u32;
        for worked in batches {
            bases.push(records);
            records += u32::try_from(worked.batch.parcel.arena.len()).expect("tickets bound it");
        }
        let mut merged = Self {
            batches,
            bases,
            chunks: batches.iter().flat_map(|b| &b.chunks).map(|chunk| &chunk.rows).collect(),
            tables: Vec::new(),
            states: vec![State::Pending; records as usize],
            has_repeats: false,
            known: HashSet::new(),
            refused: Vec::new(),
        };
        merged.tables = (0..num_tables).map(|table| merged.sorted(table)).collect();
        merged.has_repeats = merged.tables.first().is_some_and(|identity| {
            identity.windows(2).any(|pair| merged.is_same_key(&pair[0], &pair[1]))
        });
        merged
    }

    fn sorted(&self, table: usize) -> Vec<Entry> {
        let rows = self.chunks.iter().map(|chunk| chunk.table(table).len()).sum();
        let mut entries = Vec::with_capacity(rows);
        let mut chunk_no = 0;
        for (worked, base) in self.batches.iter().zip(&self.bases) {
            for chunk in &worked.chunks {
                let rows = chunk.rows.table(table);
                entries.extend((0..rows.len()).map(|index| {
                    let row = rows.get(index);
                    let row_no = u32::try_from(index).expect("tickets bound it");
                    Entry::new(row.key, base + row.record, chunk_no, row_no)
                }));
                chunk_no += 1;
            }
        }
        entries.sort_unstable_by(|a, b| {
            self.compare_keys(table, a, b).then_with(|| (a.record, a.row).cmp(&(b.record, b.row)))
        });
        entries
    }

    fn compare_keys(&self, table: usize, a: &Entry, b: &Entry) -> Ordering {
        a.prefix.cmp(&b.prefix).then_with(|| {
            if a.key_len.max(b.key_len) > 16 {
                self.key(table, a).cmp(self.key(table, b))
            } else {
                a.key_len.cmp(&b.key_len)
            }
        })
    }

    /// Whether two rows of the first table have the same key. A table without one has no repeats.
    fn is_same_key(&self, a: &Entry, b: &Entry) -> bool {
        a.key_len > 0 && self.compare_keys(0, a, b) == Ordering::Equal
    }

    fn key(&self, table: usize, entry: &Entry) -> &'g [u8] {
        self.chunks[entry.chunk as usize].table(table).get(entry.row as usize).key
    }

    /// The row of `entry` in the form that COPY takes.
    pub(super) fn row(&self, table: usize, entry: &Entry) -> &'g [u8] {
        self.chunks[entry.chunk as usize].table(table).get(entry.row as usize).bytes
    }

    /// Begins anew with the batches that `goes` says, but without the records that are put `aside`;
    /// `is_saved` knows keys that are saved already.
    pub(super) fn begin(
        &mut self,
        goes: &[bool],
        aside: &Aside,
        is_saved: impl Fn(&Entry) -> bool,
    ) {
        self.known.clear();
        self.refused.clear();
        let ends = self.bases.iter().skip(1).copied().chain([self.states.len() as u32]);
        for ((start, end), goes) in self.bases.iter().zip(ends).zip(goes) {
            let state = if *goes { State::Pending } else { State::Out };
            self.states[*start as usize..end as usize].fill(state);
        }
        for (state, records) in [(State::Waits, &aside.waits), (State::Left, &aside.left)] {
            for (batch, record) in records {
                self.states[(self.bases[*batch] + record) as usize] = state;
            }
        }
        for entry in self.tables.first().into_iter().flatten() {
            let state = &mut self.states[entry.record as usize];
            if *state == State::Pending && is_saved(entry) {
                *state = State::Duplicate;
            }
        }
    }

    /// Opens a round: sets aside what repeats the key of a record before it. Answers whether any
    /// record came up that was set aside in the round before. (The first round is worth writing in
    /// any case.)
    pub(super) fn open_round(&mut self) -> bool {
        if !self.has_repeats {
            return false;
        }
        let mut came_up = false;
        for state in self.states.iter_mut().filter(|state| **state == State::Aside) {
            (*state, came_up) = (State::Pending, true);
        }
        let Some(identity) = self.tables.first().map(|entries| entries.len()) else { return false };
        let mut start = 0;
        while start < identity {
            let end = self.end_of_run(start);
            if end - start > 1 {
                self.open_run(start..end);
            }
            start = end;
        }
        came_up && self.states.contains(&State::Pending)
    }

    /// The end of the run of rows whose key is that of the row at `start` of the first table.
    fn end_of_run(&self, start: usize) -> usize {
        let rest = &self.tables[0][start..];
        start + rest.iter().take_while(|entry| self.is_same_key(&rest[0], entry)).count().max(1)
    }

    /// Opens a round among the rows of one key. Who is first may be set aside for another of its
    /// keys: the others wait for it all the same.
    fn open_run(&mut self, run: Range<usize>) {
        let of = |place: usize| self.tables[0][place].record;
        let records: Vec<RecordNo> = run.clone().map(of).collect();
        let is_saved = run.into_iter().any(|place| self.known.contains(&(place as u32)))
            || records.iter().any(|record| self.state(*record) == State::Saved);
        let mut first = None;
        for record in records {
            match self.state(record) {
                State::Pending | State::Aside if is_saved => self.settle(record, State::Duplicate),
                State::Pending | State::Aside if first == Some(record) => {
                    let reject =
                        Reject::new("repeated key", "two rows of this record have one key");
                    self.refuse(record, reject);
                    first = None;
                }
                State::Pending | State::Aside if first.is_none() => first = Some(record),
                State::Pending => self.settle(record, State::Aside),
                _ => {}
            }
        }
    }

    /// What became of a record so far.
    pub(super) fn state(&self, record: RecordNo) -> State {
        self.states[record as usize]
    }

    /// Notes what became of a record.
    pub(super) fn settle(&mut self, record: RecordNo, state: State) {
        self.states[record as usize] = state;
    }

    /// Notes that every record that was to be written is written.
    pub(super) fn settle_pending(&mut self) {
        for state in self.states.iter_mut().filter(|state| **state == State::Pending) {
            *state = State::Saved;
        }
    }

    /// Notes that the database refuses a record.
    pub(super) fn refuse(&mut self, record: RecordNo, reject: Reject) {
        self.settle(record, State::Refused);
        self.refused.push((record, reject));
    }

    /// Notes that the database has the keys at `places` of the first table already.
    pub(super) fn know(&mut self, places: &[u32]) {
        self.known.extend(places);
    }

    /// The number of tables.
    pub(super) fn num_tables(&self) -> usize {
        self.tables.len()
    }

    /// The number of records, of all batches.
    pub(super) fn num_records(&self) -> usize {
        self.states.len()
    }

    /// All rows of a table, by key.
    pub(super) fn entries(&self, table: usize) -> &[Entry] {
        &self.tables[table]
    }

    /// The places in a table of the rows that are to be written, by key.
    pub(super) fn pending(&self, table: usize) -> Vec<u32> {
        let places = (0_u32..).zip(&self.tables[table]);
        let pending = places.filter(|(_, entry)| self.state(entry.record) == State::Pending);
        pending.map(|(place, _)| place).collect()
    }

    /// Whether the database has the key at `place` of the first table.
    pub(super) fn is_known(&self, place: u32) -> bool {
        self.known.contains(&place)
    }

    /// What became of the record at `index` of batch number `batch`.
    pub(super) fn state_of(&self, batch: usize, index: u32) -> State {
        self.state(self.bases[batch] + index)
    }

    /// The batch of a record, and its index in it.
    pub(super) fn place_of(&self, record: RecordNo) -> (usize, u32) {
        // Batches without records share their base with the next one, which has the record.
        let batch = self.bases.partition_point(|base| *base <= record) - 1;
        (batch, record - self.bases[batch])
    }

    /// Whether a record of any going batch is a duplicate.
    pub(super) fn has_duplicates(&self) -> bool {
        self.states.contains(&State::Duplicate)
    }

    /// The refused records: their batch and its number, their index in it, and why.
    pub(super) fn refused(&self) -> impl Iterator<Item = (usize, &'g WorkedBatch, u32, &Reject)> {
        self.refused.iter().map(|(record, reject)| {
            let (batch, index) = self.place_of(*record);
            (batch, &self.batches[batch], index, reject)
        })
    }

    /// Takes the refused records out, by number.
    pub(super) fn take_refused(&mut self) -> Vec<(RecordNo, Reject)> {
        std::mem::take(&mut self.refused)
    }

    /// How the records of batch number `batch` are settled. What is left as it is does not count;
    /// what is parked counts, however it is parked.
    pub(super) fn settled(&self, batch: usize) -> Settled {
        let start = self.bases[batch] as usize;
        let states = &self.states[start..start + self.batches[batch].batch.parcel.arena.len()];
        let count = |wanted| states.iter().filter(|state| **state == wanted).count() as u64;
        let (duplicate, refused) = (count(State::Duplicate), count(State::Refused));
        let (waits, left) = (count(State::Waits), count(State::Left));
        let mut aside = waits + left;
        let mut stays = |record: u32| {
            let is_aside = matches!(states[record as usize], State::Waits | State::Left);
            aside -= u64::from(is_aside);
            !is_aside
        };
        let mut settled = Settled::default();
        for chunk in &self.batches[batch].chunks {
            settled.saved += u64::from(chunk.to_save);
            settled.skipped += chunk.skipped.iter().filter(|r| stays(**r)).count() as u64;
            settled.duplicate += chunk.duplicate.iter().filter(|r| stays(**r)).count() as u64;
            settled.parked += chunk.rejections.iter().filter(|r| stays(r.record)).count() as u64;
        }
        // Those of them that are left had rows.
        settled.saved -= duplicate + refused + aside;
        settled.duplicate += duplicate;
        settled.parked += refused + waits;
        settled
    }
}

impl Entry {
    fn new(key: &[u8], record: RecordNo, chunk: u32, row: u32) -> Self {
        let mut prefix = [0; 16];
        let length = key.len().min(16);
        prefix[..length].copy_from_slice(&key[..length]);
        let key_len = u32::try_from(key.len()).expect("a key is under 4 GiB");
        Self { prefix: u128::from_be_bytes(prefix), key_len, record, chunk, row }
    }

    /// The whole key in 16 bytes, and its length; `None` if there is none or it is longer.
    pub(super) fn short_key(&self) -> Option<(u128, u8)> {
        match u8::try_from(self.key_len) {
            Ok(length @ 1..=16) => Some((self.prefix, length)),
            _ => None,
        }
    }
}
