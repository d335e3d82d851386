//! A record as it lies in a batch's arena, and the words for places in a partition.
//! Nothing here owns bytes: a [`Record`] borrows the arena that the consumer thread filled.

use std::fmt;
use std::sync::Arc;

use crate::format::Format;

/// One partition of one topic. The default is no partition: its topic has no name.
#[derive(Clone, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PartitionId {
    /// The topic's name.
    pub topic: Arc<str>,
    /// The partition's number, from 0.
    pub index: i32,
}

impl PartitionId {
    /// Names partition `index` of `topic`.
    pub fn new(topic: impl Into<Arc<str>>, index: i32) -> Self {
        Self { topic: topic.into(), index }
    }
}

impl fmt::Display for PartitionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}[{}]", self.topic, self.index)
    }
}

/// As short in lists of log lines as elsewhere.
impl fmt::Debug for PartitionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The place of one record in its partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Offset(pub i64);

impl Offset {
    /// The place just behind this record; the only "+ 1" in the house.
    pub fn next(self) -> NextOffset {
        NextOffset(self.0 + 1)
    }
}

impl fmt::Display for Offset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The first offset of a partition that is not yet settled (or not yet read, as the case says).
#[derive(Default, Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NextOffset(pub i64);

impl NextOffset {
    /// The offsets from here to before `end`; none if that was passed.
    pub fn distance_to(self, end: Self) -> u64 {
        u64::try_from(end.0 - self.0).unwrap_or(0)
    }
}

impl fmt::Display for NextOffset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A record, borrowed from its batch's arena.
#[derive(Clone, Copy, Debug)]
pub struct Record<'a> {
    /// The partition that it comes from.
    pub partition: &'a PartitionId,
    /// Its place in the partition.
    pub offset: Offset,
    /// Milliseconds since 1970 UTC, `None` if the broker has no time for it.
    pub timestamp_ms: Option<i64>,
    /// The key, `None` if it is null (which is not the same as empty).
    pub key: Option<&'a [u8]>,
    /// The value, `None` if it is null: a tombstone.
    pub value: Option<&'a [u8]>,
    /// The headers, in the order in which they came, repeated names included.
    pub headers: Headers<'a>,
    pub(crate) format: Format,
}

impl<'a> Record<'a> {
    /// Reads the value as `E`, in the format that the configuration names for this pipeline.
    ///
    /// # Errors
    /// [`Unparsed::Skip`] for a null value (a tombstone), [`Unparsed::Reject`] for a value that
    /// cannot be read as `E`; the message says where.
    pub fn decode<E: serde::Deserialize<'a>>(&self) -> Result<E, Unparsed> {
        let value = self.value.ok_or(Unparsed::Skip("tombstone"))?;
        self.format.decode(value)
    }
}

/// Why a record gives no event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unparsed {
    /// There is nothing to do for it: counted as skipped, with a reason in a word or two.
    Skip(&'static str),
    /// It cannot be read: parked, with what was wrong.
    Reject(String),
}

/// A record's headers, as the arena holds them: `name length, name, value length or -1, value`
/// one behind the other, lengths as little-endian `i32`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Headers<'a> {
    bytes: &'a [u8],
}

impl<'a> Headers<'a> {
    pub(crate) fn from_arena(bytes: &'a [u8]) -> Self {
        Self { bytes }
    }

    /// Whether the record has no header.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }
}

impl<'a> Iterator for Headers<'a> {
    type Item = (&'a [u8], Option<&'a [u8]>);

    fn next(&mut self) -> Option<Self::Item> {
        if self.bytes.is_empty() {
            return None;
        }
        let name = take_sized(&mut self.bytes).unwrap_or_default();
        let value = take_sized(&mut self.bytes);
        Some((name, value))
    }
}

fn take_sized<'a>(bytes: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (length, rest) = bytes.split_first_chunk::<4>().expect("the arena wrote a length");
    let length = i32::from_le_bytes(*length);
    let (taken, rest) = rest.split_at(usize::try_from(length).unwrap_or(0));
    *bytes = rest;
    (length >= 0).then_some(taken)
}

/// Appends one header in the form that [`Headers`] reads.
pub(crate) fn push_header(bytes: &mut Vec<u8>, name: &[u8], value: Option<&[u8]>) {
    push_sized(bytes, Some(name));
    push_sized(bytes, value);
}

fn push_sized(bytes: &mut Vec<u8>, part: Option<&[u8]>) {
    let length = part.map_or(-1, |p| i32::try_from(p.len()).expect("a header is under 2 GiB"));
    bytes.extend_from_slice(&length.to_le_bytes());
    bytes.extend_from_slice(part.unwrap_or_default());
}
