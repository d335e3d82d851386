//! The user's only door. A [`Pipeline`] says what a record means, what to look up for it, what to
//! do with it and which rows to save. It never sees an actor, an offset, a ticket or a retry.

use std::cell::RefCell;
use std::fmt;
use std::marker::PhantomData;
use std::rc::Rc;

use serde::Deserialize;

use crate::error::{EncodeError, Reject, Unworked};
use crate::message::Message;
use crate::own::OwnActors;
use crate::record::{Record, Unparsed};
use crate::rows::{Row, RowBuffer, RowSet, table_index};

/// One topic's way into the database.
pub trait Pipeline: Send + Sync + Sized + 'static {
    /// The kind's name in the configuration: `kind = "NAME"`, which is left out for the pipeline
    /// `[pipelines.NAME]`.
    const NAME: &'static str;

    /// The topics that it reads unless the configuration names others.
    const TOPICS: &'static [&'static str] = &[];

    /// The order that its records are worked in unless the configuration names another.
    const ORDER: Order = Order::ByKey;

    /// What a record says. It may borrow from the record, which saves copies: see
    /// [`Text`](crate::text::Text).
    type Event<'a>: Send + Sync;

    /// What the database knows about the records of a batch, looked up in bulk.
    type Context: Context;

    /// The tables that rows are saved to, in the order in which they are written.
    type Rows: RowSet;

    /// Brings actors of the pipeline's own, which its `work` reaches through stages that it keeps.
    fn actors(&self, _own: &mut OwnActors) {}

    /// Reads one record. Usually `record.decode()`.
    ///
    /// # Errors
    /// [`Unparsed`] if there is nothing to do for it, or if it cannot be read.
    fn parse<'a>(&self, record: &Record<'a>) -> Result<Self::Event<'a>, Unparsed>;

    /// Appends the lane key, for `order = "by_key"`: records of one lane are worked one after the
    /// other, in offset order. The record's own key unless a pipeline says otherwise.
    fn lane_key(&self, _event: &Self::Event<'_>, record: &Record<'_>, lane: &mut Vec<u8>) {
        lane.extend_from_slice(record.key.unwrap_or_default());
    }

    /// Says what to look up for this event.
    fn keys(&self, event: &Self::Event<'_>, wanted: &mut KeysOf<Self>);

    /// Decides what becomes of one event; write it as `async fn work`. The same event and context
    /// give the same outcome, however often they are worked. While it awaits something, other
    /// records are worked, as many as `work.in_flight` allows; one that takes longer than
    /// `work.timeout` is cancelled and tried again later.
    ///
    /// # Errors
    /// [`Unworked`]: a [`Reject`] parks this record alone, a
    /// [`RetryLater`](crate::error::RetryLater) lets it come back, a [`Stop`](crate::error::Stop)
    /// stops the partition. `?` turns each of them into it.
    fn work<'e>(
        &self,
        event: &Self::Event<'e>,
        known: &Self::Context,
        out: &mut Out<'e, Self::Rows>,
    ) -> impl Future<Output = Result<Outcome, Unworked>>;
}

/// The keys that a pipeline's context is looked up by.
pub type KeysOf<P> = <<P as Pipeline>::Context as Context>::Keys;

/// What the database knows about a batch. Made by the service's lookup macro; `()` for pipelines
/// that look nothing up.
pub trait Context: Send + Sync + 'static {
    /// The keys to look up, gathered from a batch.
    type Keys: Keys;

    /// Whether records change what they look up: then it is read, worked and saved in one
    /// transaction; see [`crate::own_writes`].
    const OWN_WRITES: bool = false;

    /// Whether it is more than the processor's cache holds: then it pays to bring what is needed
    /// next near.
    fn is_far(&self) -> bool {
        false
    }

    /// Brings what is known under `keys` near: it is about to be asked for.
    fn bring_near(&self, _keys: &Self::Keys) {}

    /// Keeps what record number `record` of the group has changed: it is to be saved. `identity`:
    /// the key of its first row.
    ///
    /// # Errors
    /// A changed row that the store could never hold; then it is taken back.
    fn keep(&self, _record: u32, _identity: &[u8]) -> Result<(), EncodeError> {
        Ok(())
    }

    /// Takes back what a record has changed that is not to be saved.
    fn take_back(&self) {}

    /// The rows that the group has changed, each as it is now with the number of the record that
    /// changed it last, in the order of the changed tables.
    fn changes(&self) -> RowBuffer {
        RowBuffer::default()
    }
}

/// Keys of one or several batches, distinct.
pub trait Keys: Default + Send + Sync + 'static {
    /// Takes in the keys of another batch, for one query for both.
    fn unite(&mut self, other: &Self);

    /// Whether there is nothing to look up.
    fn is_empty(&self) -> bool;
}

impl Context for () {
    type Keys = ();
}

impl Keys for () {
    fn unite(&mut self, _other: &Self) {}

    fn is_empty(&self) -> bool {
        true
    }
}

/// What `work` decided about a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Its rows are to be saved; see [`Out::save`].
    Save,
    /// There is nothing to do, with a reason in a word or two.
    Skip(&'static str),
    /// A saved record has made it a repeat.
    Duplicate,
}

/// The order in which a pipeline's records are worked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Order {
    /// In any order.
    Unordered,
    /// One after the other within a lane key.
    #[default]
    ByKey,
    /// One after the other within a partition.
    ByPartition,
}

impl fmt::Display for Order {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unordered => "unordered",
            Self::ByKey => "by_key",
            Self::ByPartition => "by_partition",
        })
    }
}

/// Rows of a worker, shared with the work that adds to them.
pub(crate) type SharedRows = Rc<RefCell<RowBuffer>>;

/// Where `work` puts the rows and messages of one record. They are saved together or not at all.
///
/// # Why
/// It has the lifetime of the event's, which it does not need, so that `work` may name its event in
/// a plain way: a lifetime that is found in `Self::Event<'_>` alone would have to be written so by
/// every pipeline.
#[derive(Debug)]
pub struct Out<'a, S> {
    rows: SharedRows,
    record: u32,
    failed: Option<EncodeError>,
    of: PhantomData<(&'a (), S)>,
}

impl<S: RowSet> Out<'_, S> {
    pub(crate) fn new(rows: SharedRows, record: u32) -> Self {
        Self { rows, record, failed: None, of: PhantomData }
    }

    /// Saves a row, and says so: `Ok(out.save(&row))`. Call it once for each row of the record.
    pub fn save<R: Row>(&mut self, row: &R) -> Outcome {
        let index = const { table_index::<S, R>() };
        if let Err(error) = self.rows.borrow_mut().push(index, self.record, row) {
            self.failed.get_or_insert(error);
        }
        Outcome::Save
    }

    /// Publishes a message once the record is saved: it is written in the same transaction as the
    /// rows, and sent from there, at least once. `Ok(out.publish(message))` is enough for a record
    /// without rows. What is a duplicate, skipped, rejected or to be retried publishes nothing.
    pub fn publish(&mut self, message: Message) -> Outcome {
        if message.has_sound_topic() {
            self.rows.borrow_mut().publish(self.record, message);
        } else {
            self.failed.get_or_insert_with(|| EncodeError::Topic(message.topic().to_owned()));
        }
        Outcome::Save
    }

    /// Closes the record: its rows and messages stay only if it is to be saved and all of them
    /// could be encoded.
    pub(crate) fn close(self, outcome: Result<Outcome, Unworked>) -> Result<Outcome, Unworked> {
        let outcome = match (outcome, self.failed) {
            (Ok(Outcome::Save), Some(error)) => {
                let reason = match error {
                    EncodeError::Topic(_) => "no topic to publish to",
                    _ => "value that a column cannot hold",
                };
                Err(Reject::new(reason, error.to_string()).into())
            }
            (outcome, _) => outcome,
        };
        if outcome != Ok(Outcome::Save) {
            self.rows.borrow_mut().take_back(self.record);
        }
        outcome
    }
}
