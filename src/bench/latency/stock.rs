//! Records that are made before they are due. To make one costs a processor as much as to send it,
//! and where feed and service share processors it would be taken from what is measured.

use crate::feed::{Feed, FeedRecord};

/// What a stock may take, in bytes of records. Those beyond it are made when they are due.
const BYTES_MAX: usize = 1 << 30;

/// A feed, and its next records.
pub(super) struct Stock<F> {
    feed: F,
    /// Keys and values, one behind the other.
    bytes: Vec<u8>,
    made: Vec<Made>,
    /// The first one that was not taken out, and where its key begins.
    next: usize,
    begins: usize,
}

/// A record of the stock.
struct Made {
    partition: i32,
    key: u32,
    /// `None`: a tombstone.
    value: Option<u32>,
}

impl<F: Feed> Stock<F> {
    /// None yet of what `feed` has.
    pub(super) fn new(feed: F) -> Self {
        Self { feed, bytes: Vec::new(), made: Vec::new(), next: 0, begins: 0 }
    }

    /// Makes the next records until there are `records` of them.
    pub(super) fn make(&mut self, records: u64) {
        self.bytes.drain(..self.begins);
        self.made.drain(..self.next);
        (self.next, self.begins) = (0, 0);
        let mut record = FeedRecord::default();
        while (self.made.len() as u64) < records && self.bytes.len() < BYTES_MAX {
            self.feed.fill(&mut record);
            let (key, value) = (&record.key, record.value());
            self.bytes.extend_from_slice(key);
            self.bytes.extend_from_slice(value.unwrap_or_default());
            let (key, value) = (key.len() as u32, value.map(|value| value.len() as u32));
            self.made.push(Made { partition: record.partition, key, value });
        }
    }

    /// Puts the next record into `record`.
    pub(super) fn take(&mut self, record: &mut FeedRecord) {
        let Some(made) = self.made.get(self.next) else { return self.feed.fill(record) };
        let (key, value) = (made.key as usize, made.value.unwrap_or(0) as usize);
        let (key, value) = self.bytes[self.begins..self.begins + key + value].split_at(key);
        record.partition = made.partition;
        record.key.clear();
        record.key.extend_from_slice(key);
        record.bytes.clear();
        record.bytes.extend_from_slice(value);
        record.is_tombstone = made.value.is_none();
        self.next += 1;
        self.begins += key.len() + value.len();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::feed::AdsFeed;

    #[test]
    fn a_stock_gives_what_its_feed_would_give_made_before_or_not() {
        let (mut feed, mut stock) = (AdsFeed::new(7), Stock::new(AdsFeed::new(7)));
        let (mut given, mut taken) = (FeedRecord::default(), FeedRecord::default());
        for made in [0, 40, 15] {
            stock.make(made);
            for _ in 0..30 {
                feed.fill(&mut given);
                stock.take(&mut taken);
                let right = (given.partition, &given.key, given.value());
                assert_eq!((taken.partition, &taken.key, taken.value()), right);
            }
        }
    }
}
