//! Rows on their way to the store: encoded once, by the worker, in the store's own wire form.
//! How a row is encoded is a port ([`Row`]); the house only knows where each row's bytes lie.

use bytes::BytesMut;

use crate::error::EncodeError;
use crate::message::Message;

/// A row of one table. Implemented by the service's row macro, not by hand.
pub trait Row {
    /// Names the row's declaration, and with it its table: no other row of the pipeline has it.
    const TABLE: &'static str;

    /// Appends the row in the store's wire form to `row`, and its primary key to `key` (nothing if
    /// the table has none). Equal keys have equal bytes.
    ///
    /// # Errors
    /// A value that the store cannot hold; the record is then rejected alone.
    fn encode(&self, row: &mut BytesMut, key: &mut Vec<u8>) -> Result<(), EncodeError>;
}

/// The tables of a pipeline in declared order: a tuple of [`Row`] types. The first one is the
/// identity: what it leaves out as a repeat makes the whole record a duplicate.
pub trait RowSet: Send + Sync + 'static {
    /// The names of the tables.
    const TABLES: &'static [&'static str];
}

macro_rules! row_sets {
    ($(($($row:ident),*))*) => {$(
        impl<$($row: Row + Send + Sync + 'static),*> RowSet for ($($row,)*) {
            const TABLES: &'static [&'static str] = &[$($row::TABLE),*];
        }
    )*};
}
row_sets! { () (A) (A, B) (A, B, C) (A, B, C, D) (A, B, C, D, E) (A, B, C, D, E, F) }

/// The place of table `R` in the set `S`; a row of a table that the pipeline does not declare
/// fails to compile.
pub(crate) const fn table_index<S: RowSet, R: Row>() -> usize {
    let mut index = 0;
    while index < S::TABLES.len() {
        if same(S::TABLES[index].as_bytes(), R::TABLE.as_bytes()) {
            return index;
        }
        index += 1;
    }
    panic!("this row's table is not among the pipeline's `Rows`")
}

const fn same(a: &[u8], b: &[u8]) -> bool {
    let mut index = 0;
    while index < a.len() && index < b.len() {
        if a[index] != b[index] {
            return false;
        }
        index += 1;
    }
    a.len() == b.len()
}

/// What the records of one chunk come to: encoded rows, one buffer a table, and messages.
#[derive(Debug, Default)]
pub struct RowBuffer {
    tables: Vec<TableRows>,
    /// By record. Empty, and not even allocated, while nothing is published.
    messages: Vec<(u32, Message)>,
}

/// The encoded rows of one table, in the order in which they were written.
#[derive(Debug, Default)]
pub struct TableRows {
    bytes: BytesMut,
    keys: Vec<u8>,
    rows: Vec<RowRef>,
}

/// Where one row lies, and which record of the batch wrote it.
#[derive(Clone, Copy, Debug)]
struct RowRef {
    record: u32,
    row_end: u32,
    key_end: u32,
}

/// One encoded row.
#[derive(Clone, Copy, Debug)]
pub struct EncodedRow<'a> {
    /// The index of its record in the batch.
    pub record: u32,
    /// The primary key; empty for a table without one.
    pub key: &'a [u8],
    /// The row in the store's wire form.
    pub bytes: &'a [u8],
}

/// What the rows of one part of a batch took, for the next part: written into room that is there,
/// rows are not moved as they grow more.
#[derive(Debug, Default)]
pub(crate) struct Rooms {
    /// Records of the part.
    records: usize,
    /// Bytes of rows, bytes of keys, and rows, by table.
    tables: Vec<[usize; 3]>,
}

impl Rooms {
    /// Takes in what `records` took.
    pub(crate) fn note(&mut self, rows: &RowBuffer, records: usize) {
        self.records = records;
        self.tables.clear();
        let took = |table: &TableRows| [table.bytes.len(), table.keys.len(), table.rows.len()];
        self.tables.extend(rows.tables.iter().map(took));
    }

    /// A buffer for `num_tables` tables, with room for `records` more of the same.
    pub(crate) fn buffer(&self, num_tables: usize, records: usize) -> RowBuffer {
        let mut buffer = RowBuffer::new(num_tables);
        // Some are longer, and one that did not fit would move all.
        let room = |took: usize| (took + took / 16) * records / self.records.max(1);
        for (table, [bytes, keys, rows]) in buffer.tables.iter_mut().zip(&self.tables) {
            table.bytes.reserve(room(*bytes));
            table.keys.reserve(room(*keys));
            table.rows.reserve(room(*rows));
        }
        buffer
    }
}

impl TableRows {
    /// The number of rows.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there is no row.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The row at `index`, from 0 in the order of writing.
    ///
    /// # Panics
    /// If there is no such row.
    pub fn get(&self, index: usize) -> EncodedRow<'_> {
        let row = self.rows[index];
        let (row_start, key_start) = match index.checked_sub(1) {
            Some(before) => (self.rows[before].row_end, self.rows[before].key_end),
            None => (0, 0),
        };
        EncodedRow {
            record: row.record,
            key: &self.keys[key_start as usize..row.key_end as usize],
            bytes: &self.bytes[row_start as usize..row.row_end as usize],
        }
    }

    fn push(&mut self, record: u32, row: &impl Row) -> Result<(), EncodeError> {
        row.encode(&mut self.bytes, &mut self.keys)?;
        self.end(record)
    }

    fn unite<'r>(tables: impl Iterator<Item = &'r Self>) -> Result<Self, EncodeError> {
        let rows = tables.flat_map(|table| (0..table.len()).map(|index| table.get(index)));
        let mut rows: Vec<_> = rows.collect();
        rows.sort_by_key(|row| row.record);
        let mut united = Self::default();
        for row in rows {
            united.bytes.extend_from_slice(row.bytes);
            united.keys.extend_from_slice(row.key);
            united.end(row.record)?;
        }
        Ok(united)
    }

    /// What was written last is a row of `record`.
    fn end(&mut self, record: u32) -> Result<(), EncodeError> {
        let end = |length: usize| u32::try_from(length).map_err(|_| EncodeError::TooLarge);
        let (row_end, key_end) = (end(self.bytes.len())?, end(self.keys.len())?);
        self.rows.push(RowRef { record, row_end, key_end });
        Ok(())
    }

    /// Takes out what `record` wrote, and what a failed row left behind.
    fn take_back(&mut self, record: u32) {
        while self.rows.last().is_some_and(|row| row.record == record) {
            self.rows.pop();
        }
        let (row_end, key_end) = self.rows.last().map_or((0, 0), |row| (row.row_end, row.key_end));
        self.bytes.truncate(row_end as usize);
        self.keys.truncate(key_end as usize);
    }
}

impl RowBuffer {
    /// An empty buffer for `num_tables` tables.
    pub fn new(num_tables: usize) -> Self {
        let tables = (0..num_tables).map(|_| TableRows::default()).collect();
        Self { tables, messages: Vec::new() }
    }

    /// The number of tables.
    pub fn num_tables(&self) -> usize {
        self.tables.len()
    }

    /// The rows of the table at `index` in declared order.
    ///
    /// # Panics
    /// If there is no such table.
    pub fn table(&self, index: usize) -> &TableRows {
        &self.tables[index]
    }

    /// Appends a row of `record` to the table at `index`.
    ///
    /// # Errors
    /// A value that the store cannot hold.
    ///
    /// # Panics
    /// If there is no such table.
    pub fn push(&mut self, index: usize, record: u32, row: &impl Row) -> Result<(), EncodeError> {
        self.tables[index].push(record, row)
    }

    /// One buffer of all rows of `buffers`, in the order of the records: those of one record lie in
    /// one of them, in order. Its messages are in the order of the buffers.
    pub(crate) fn unite(num_tables: usize, buffers: &[Self]) -> Result<Self, EncodeError> {
        let table = |index: usize| TableRows::unite(buffers.iter().map(|rows| rows.table(index)));
        let tables = (0..num_tables).map(table).collect::<Result<_, _>>()?;
        let messages = buffers.iter().flat_map(|rows| rows.messages.iter().cloned());
        Ok(Self { tables, messages: messages.collect() })
    }

    /// The key of the first table's last row if `record` wrote it; else nothing.
    pub(crate) fn identity_of(&self, record: u32) -> &[u8] {
        let Some(table) = self.tables.first() else { return &[] };
        let last = table.len().checked_sub(1).map(|last| table.get(last));
        last.filter(|row| row.record == record).map_or(&[], |row| row.key)
    }

    /// The messages to publish, each with the index of its record in the batch; those of one record
    /// follow each other in the order in which it asked for them.
    pub fn messages(&self) -> &[(u32, Message)] {
        &self.messages
    }

    /// Appends a message of `record`.
    pub(crate) fn publish(&mut self, record: u32, message: Message) {
        self.messages.push((record, message));
    }

    /// Takes back all rows and messages of `record`, which must be the last that wrote any: they go
    /// or stay together.
    pub(crate) fn take_back(&mut self, record: u32) {
        for table in &mut self.tables {
            table.take_back(record);
        }
        while self.messages.last().is_some_and(|(of, _)| *of == record) {
            self.messages.pop();
        }
    }
}
