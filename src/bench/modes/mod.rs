//! What can be measured. A mode is a pipeline with a feed: which records it is given, what must be
//! in the database before, and the table that it saves to. All else is the same for all modes.

mod ads;
mod landing;
mod payments;
mod work;

use serde::Serialize;

use crate::feed::{Feed, FeedRecord};

pub(crate) use self::work::{BenchWork, WAIT};

/// All modes, by the names that users say.
pub(crate) const ALL: [&dyn Mode; 4] =
    [&ads::AdsMode, &payments::PaymentsMode, &landing::LandingMode, &work::WorkMode];

/// A pipeline that can be measured.
pub(crate) trait Mode: Sync {
    /// What users call it.
    fn name(&self) -> &'static str;

    /// The kind of the pipeline, which is also its name in the measured configuration.
    fn pipeline(&self) -> &'static str {
        self.name()
    }

    /// How many records are measured unless told otherwise.
    fn records(&self) -> u64 {
        500_000
    }

    /// How many partitions there are unless told otherwise.
    fn partitions(&self) -> i32 {
        12
    }

    /// Keys of the pipeline in the measured configuration, with values in TOML.
    fn settings(&self) -> &'static [(&'static str, &'static str)] {
        &[]
    }

    /// A feed of its records.
    fn feed(&self, shape: &Shape, partitions: i32) -> BoxedFeed;

    /// Where its rows go; `None`: nowhere, and its bare limit is the waiting alone.
    fn table(&self) -> Option<Table>;

    /// What must be in the database before the first record.
    fn reference(&self, shape: &Shape) -> Vec<Reference>;
}

/// The table that a mode saves to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Table {
    /// Its name with its schema.
    pub(crate) name: &'static str,
    /// SQL that takes away what a run has left, so that the next one finds the same.
    pub(crate) reset: &'static str,
    /// Whether that takes the reference data, too, which is then loaded again.
    pub(crate) resets_reference: bool,
    /// What a run has left is these rows, where others are to stay.
    pub(crate) of_a_run: &'static str,
    /// SQL that puts `$rows` other rows in, for measures of a large table; `None`: there is none.
    pub(crate) preload: Option<&'static str>,
    /// What its rows are written without by the bare limit, if anything.
    pub(crate) left_out: Option<&'static str>,
}

/// Rows to be copied into a table, in COPY's text form.
pub(crate) struct Reference {
    /// The table, and its columns in brackets.
    pub(crate) target: &'static str,
    /// The rows.
    pub(crate) rows: String,
}

/// What the records look like.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Shape {
    /// The same records from the same seed.
    pub(crate) seed: u64,
    /// The share of records that repeat an earlier one, from 0 to 1.
    pub(crate) repeats: f64,
    /// The share of records that cannot be read.
    pub(crate) malformed: f64,
    /// The share of records that the database (payments: the balance) refuses.
    pub(crate) refused: f64,
    /// Rows of reference data that records refer to.
    pub(crate) context: u64,
    /// Values are filled up to this many bytes with a field that is ignored; 0: as they are.
    pub(crate) record_bytes: usize,
    /// Whether keys have a Zipf spread (s = 1) instead of an even one.
    pub(crate) zipf: bool,
}

/// A feed of any mode.
pub(crate) struct BoxedFeed(pub(crate) Box<dyn Feed + Send>);

impl BoxedFeed {
    fn new(feed: impl Feed + Send + 'static, shape: &Shape) -> Self {
        match shape.record_bytes {
            0 => Self(Box::new(feed)),
            bytes => Self(Box::new(Padded { feed, bytes })),
        }
    }
}

impl Feed for BoxedFeed {
    fn fill(&mut self, record: &mut FeedRecord) {
        self.0.fill(record);
    }
}

/// Makes JSON objects longer by a field that no pipeline knows.
struct Padded<F> {
    feed: F,
    bytes: usize,
}

impl<F: Feed> Feed for Padded<F> {
    fn fill(&mut self, record: &mut FeedRecord) {
        const FIELD: &[u8] = b",\"padding\":\"";
        self.feed.fill(record);
        let value = &mut record.bytes;
        // What is to be unreadable stays as it is.
        let is_object = value.first() == Some(&b'{') && value.last() == Some(&b'}');
        let Some(missing) = self.bytes.checked_sub(value.len() + FIELD.len() + 1) else { return };
        if is_object {
            value.pop();
            value.extend_from_slice(FIELD);
            value.resize(value.len() + missing, b'x');
            value.extend_from_slice(b"\"}");
        }
    }
}

/// The mode that a user names.
pub(crate) fn find(name: &str) -> Option<&'static dyn Mode> {
    ALL.into_iter().find(|mode| mode.name() == name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::feed::Expected;

    const SHAPE: Shape = Shape {
        seed: 7,
        repeats: 0.1,
        malformed: 0.1,
        refused: 0.01,
        context: 600,
        record_bytes: 0,
        zipf: false,
    };

    #[test]
    fn the_same_seed_gives_the_same_records() {
        for mode in ALL {
            let [mut one, mut other] = [mode.feed(&SHAPE, 4), mode.feed(&SHAPE, 4)];
            let [mut a, mut b] = [FeedRecord::default(), FeedRecord::default()];
            for _ in 0..2_000 {
                one.fill(&mut a);
                other.fill(&mut b);
                assert_eq!(a, b, "{}", mode.name());
                assert!((0..4).contains(&a.partition), "{}", mode.name());
            }
        }
    }

    #[test]
    fn padded_records_have_the_length_that_was_asked_for_and_are_json_still() {
        let shape = Shape { record_bytes: 1_000, malformed: 0.0, ..SHAPE };
        for mode in ALL {
            let mut feed = mode.feed(&shape, 4);
            let mut record = FeedRecord::default();
            for _ in 0..200 {
                feed.fill(&mut record);
                assert_eq!(record.bytes.len(), 1_000, "{}", mode.name());
                let read = serde_json::from_slice::<serde_json::Value>(&record.bytes);
                assert!(read.is_ok(), "{}: {read:?}", mode.name());
            }
        }
    }

    #[test]
    fn shares_are_as_they_were_asked_for() {
        for mode in ALL.into_iter().filter(|mode| mode.table().is_some()) {
            let mut feed = mode.feed(&SHAPE, 4);
            let mut record = FeedRecord::default();
            let mut malformed = 0;
            for _ in 0..10_000 {
                feed.fill(&mut record);
                malformed += usize::from(record.expected == Expected::Rejected("malformed"));
            }
            assert!((800..1_300).contains(&malformed), "{}: {malformed}", mode.name());
        }
    }
}
