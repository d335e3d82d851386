//! What a run is about: a pipeline, the records to feed it, and what must come of them.

use anyhow::Result;
use postgres::Client;

/// A pipeline that is put to the proof. One value is one pipeline of one run.
pub trait Subject: Send {
    /// Its name in the configuration: `[pipelines.NAME]`. Topic and group are named after it.
    fn name(&self) -> &str;

    /// Further keys of `[pipelines.NAME]` and their values, as TOML. Tables are written inline.
    fn settings(&self) -> Vec<(&str, String)> {
        Vec::new()
    }

    /// How many partitions its topic has.
    fn partitions(&self) -> i32 {
        6
    }

    /// Its share of the feed, in relation to the other subjects of the run.
    fn weight(&self) -> u32 {
        1
    }

    /// Puts what the pipeline looks up into the migrated database.
    ///
    /// # Errors
    /// Whatever the database says.
    fn prepare(&mut self, database: &mut Client) -> Result<()>;

    /// Makes the next record. The same seed must give the same records.
    fn draw(&mut self, draft: &mut Draft);

    /// Compares the subject's own tables with what was delivered: `delivered[n]` is the record of
    /// the n-th call of [`Subject::draw`]. Gives every difference, in a sentence.
    ///
    /// Offsets, parked records and conservation are compared by the harness.
    ///
    /// # Errors
    /// Whatever the database says.
    fn check(&self, delivered: &[Delivered], database: &mut Client) -> Result<Vec<String>>;
}

/// A record before it is sent.
#[derive(Clone, Debug, Default)]
pub struct Draft {
    /// Where it goes.
    pub partition: i32,
    /// Its key.
    pub key: Vec<u8>,
    /// Its value; of no meaning if it is a tombstone.
    pub value: Vec<u8>,
    /// Whether its value is null.
    pub is_tombstone: bool,
    /// What must become of it.
    pub becomes: Becomes,
}

/// What must become of a record.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Becomes {
    /// Its rows are saved.
    #[default]
    Saved,
    /// It is settled without a row: a duplicate, or nothing to do.
    Passed,
    /// It is parked as `dead`.
    Parked,
}

/// A record that the broker has taken.
#[derive(Clone, Copy, Debug)]
pub struct Delivered {
    /// Its partition.
    pub partition: i32,
    /// Its offset there.
    pub offset: i64,
    /// What must become of it.
    pub becomes: Becomes,
}
