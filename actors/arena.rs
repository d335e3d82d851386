//! The arena of one batch: the bytes of all its records in one allocation, and a slot for each.
//! Filled by the consumer thread, read by everybody behind it, never changed in between.

use std::ops::Range;

use crate::format::Format;
use crate::record::{Headers, NextOffset, Offset, PartitionId, Record, push_header};

/// All records of one batch of one partition, in offset order.
#[derive(Debug, Default)]
pub struct RecordArena {
    bytes: Vec<u8>,
    slots: Vec<Slot>,
    format: Format,
    partition: PartitionId,
}

/// Where one record's parts lie: key, value and headers follow each other from `start`.
#[derive(Clone, Copy, Debug)]
struct Slot {
    offset: i64,
    timestamp_ms: i64,
    start: usize,
    key_len: i32,
    value_len: i32,
    headers_len: u32,
}

/// Stands for "null" in a slot's length and for "no time" in its timestamp.
const NULL: i32 = -1;

/// The parts of one record on its way into the arena.
#[derive(Clone, Copy, Debug)]
pub struct RecordParts<'a> {
    /// Its place in the partition.
    pub offset: Offset,
    /// Milliseconds since 1970 UTC.
    pub timestamp_ms: Option<i64>,
    /// `None` for null.
    pub key: Option<&'a [u8]>,
    /// `None` for null.
    pub value: Option<&'a [u8]>,
}

impl RecordArena {
    /// An empty arena with room for `records` records of `bytes` bytes together.
    pub fn with_capacity(records: usize, bytes: usize, format: Format) -> Self {
        let (bytes, slots) = (Vec::with_capacity(bytes), Vec::with_capacity(records));
        Self { bytes, slots, format, partition: PartitionId::default() }
    }

    /// The same for records of `partition`, which is what they then say of themselves.
    pub fn of(self, partition: &PartitionId) -> Self {
        Self { partition: partition.clone(), ..self }
    }

    /// Copies one record in. Its headers follow by [`RecordArena::push_header`].
    ///
    /// # Panics
    /// If a key or a value is 2 GiB or more, which Kafka does not allow.
    pub fn push(&mut self, parts: RecordParts<'_>) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(parts.key.unwrap_or_default());
        self.bytes.extend_from_slice(parts.value.unwrap_or_default());
        self.slots.push(Slot {
            offset: parts.offset.0,
            timestamp_ms: parts.timestamp_ms.unwrap_or(i64::from(NULL)),
            start,
            key_len: length_of(parts.key),
            value_len: length_of(parts.value),
            headers_len: 0,
        });
    }

    /// Adds a header to the record that was pushed last.
    ///
    /// # Panics
    /// If no record was pushed yet.
    pub fn push_header(&mut self, name: &[u8], value: Option<&[u8]>) {
        let before = self.bytes.len();
        push_header(&mut self.bytes, name, value);
        let added = u32::try_from(self.bytes.len() - before).expect("headers are under 4 GiB");
        self.slots.last_mut().expect("a header follows its record").headers_len += added;
    }

    /// The number of records.
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// Whether there is no record.
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// The bytes of all keys, values and headers.
    pub fn num_bytes(&self) -> usize {
        self.bytes.len()
    }

    /// The bytes of memory that this arena holds, slots included.
    pub fn allocated_bytes(&self) -> usize {
        self.bytes.capacity() + self.slots.capacity() * size_of::<Slot>()
    }

    /// Gives back what was allocated and is not used, if that is more than a fifth.
    pub fn trim(&mut self) {
        if self.bytes.capacity() > self.bytes.len() + self.bytes.len() / 4 {
            self.bytes.shrink_to_fit();
        }
        if self.slots.capacity() > self.slots.len() + self.slots.len() / 4 {
            self.slots.shrink_to_fit();
        }
    }

    /// The place behind the last record, if there is one.
    pub fn end(&self) -> Option<NextOffset> {
        self.slots.last().map(|slot| Offset(slot.offset).next())
    }

    /// The record at `index`, from 0 in offset order.
    ///
    /// # Panics
    /// If there is no such record.
    pub fn get(&self, index: usize) -> Record<'_> {
        let slot = &self.slots[index];
        let (key, rest) = cut(&self.bytes[slot.start..], slot.key_len);
        let (value, rest) = cut(rest, slot.value_len);
        Record {
            partition: &self.partition,
            offset: Offset(slot.offset),
            timestamp_ms: (slot.timestamp_ms >= 0).then_some(slot.timestamp_ms),
            key,
            value,
            headers: Headers::from_arena(&rest[..slot.headers_len as usize]),
            format: self.format,
        }
    }

    /// An arena of some of the records alone.
    pub(crate) fn part(&self, records: Range<usize>) -> Self {
        let mut part = Self::with_capacity(records.len(), 0, self.format).of(&self.partition);
        for index in records {
            let Record { offset, timestamp_ms, key, value, headers, .. } = self.get(index);
            part.push(RecordParts { offset, timestamp_ms, key, value });
            headers.for_each(|(name, value)| part.push_header(name, value));
        }
        part
    }

    /// All records in offset order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = Record<'_>> {
        (0..self.len()).map(|index| self.get(index))
    }
}

fn length_of(part: Option<&[u8]>) -> i32 {
    part.map_or(NULL, |p| i32::try_from(p.len()).expect("a record's part is under 2 GiB"))
}

fn cut(bytes: &[u8], length: i32) -> (Option<&[u8]>, &[u8]) {
    match usize::try_from(length) {
        Ok(length) => (Some(&bytes[..length]), &bytes[length..]),
        Err(_) => (None, bytes),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(
        offset: i64,
        key: Option<&'static [u8]>,
        value: Option<&'static [u8]>,
    ) -> RecordParts<'static> {
        RecordParts { offset: Offset(offset), timestamp_ms: Some(7), key, value }
    }

    #[test]
    fn null_and_empty_are_two_things() {
        let mut arena = RecordArena::default();
        arena.push(parts(3, None, Some(b"")));
        arena.push(parts(9, Some(b""), None));
        assert_eq!((arena.get(0).key, arena.get(0).value), (None, Some(&b""[..])));
        assert_eq!((arena.get(1).key, arena.get(1).value), (Some(&b""[..]), None));
        assert_eq!(arena.end(), Some(NextOffset(10)));
    }

    #[test]
    fn headers_come_back_byte_for_byte_repeated_and_null_ones_too() {
        let mut arena = RecordArena::default();
        arena.push(parts(0, Some(b"k"), Some(b"v")));
        arena.push_header(b"a", Some(b"\xff\x00"));
        arena.push_header(b"a", None);
        arena.push_header(b"", Some(b""));
        arena.push(parts(1, None, Some(b"w")));
        let seen: Vec<_> = arena.get(0).headers.collect();
        assert_eq!(seen, [(&b"a"[..], Some(&b"\xff\x00"[..])), (b"a", None), (b"", Some(b""))]);
        assert!(arena.get(1).headers.is_empty());
        assert_eq!(arena.get(1).value, Some(&b"w"[..]));
    }
}
