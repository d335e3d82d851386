//! What the relay needs from outside: an [`Outbox`] that knows what is to be published, and a
//! [`Publisher`] that sends it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use futures_util::future::BoxFuture;
use thiserror::Error;

use crate::error::StoreError;
use crate::fence::Fence;

/// Why something is published.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// A dead record, to the dead-letter topic of its pipeline.
    DeadLetter,
    /// A message that `work` asked to publish.
    Outbox,
}

/// A row of the store that is to be published.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct OutgoingRow {
    /// In which table it is.
    pub kind: Kind,
    /// Its id there.
    pub id: i64,
    /// Its version: a row that was changed since it was read is not the one that was sent.
    pub version: i64,
}

/// A message on its way out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outgoing {
    /// The row that it comes from.
    pub row: OutgoingRow,
    /// The place of its record's partition among the fences that were asked for.
    pub fence: usize,
    /// Where it goes.
    pub topic: String,
    /// Its key; `None` for null.
    pub key: Option<Vec<u8>>,
    /// Its value; `None` for null.
    pub value: Option<Vec<u8>>,
    /// Its headers in their order, ours last.
    pub headers: Vec<(Vec<u8>, Option<Vec<u8>>)>,
}

/// The bounds of one pass of the relay, and with them of what it has in flight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PassLimits {
    /// Messages of each kind.
    pub messages: usize,
    /// Bytes of keys, values and headers of each kind; one message may be larger.
    pub bytes: usize,
}

/// What became of one message that was sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// Its row.
    pub row: OutgoingRow,
    /// The place of its partition among the fences.
    pub fence: usize,
    /// Published, or why it never can be.
    pub outcome: Result<(), String>,
}

/// Where what is to be published is kept until it is.
pub trait Outbox: Send + Sync + 'static {
    /// What is to be published of these partitions, if they are still ours in the store: those of
    /// one partition follow each other in the order in which they were written.
    fn unpublished<'a>(
        &'a self,
        fences: &'a [Arc<Fence>],
        limits: PassLimits,
    ) -> BoxFuture<'a, Result<Vec<Outgoing>, StoreError>>;

    /// Notes what became of messages, but only of partitions that are still ours, and of rows that
    /// are as they were read and that nobody else has in hand. What is not noted is read again.
    /// Answers how many were noted.
    fn mark<'a>(
        &'a self,
        fences: &'a [Arc<Fence>],
        verdicts: &'a [Verdict],
    ) -> BoxFuture<'a, Result<usize, StoreError>>;
}

/// Why a message was not delivered.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum PublishError {
    /// For the environment's sake: it is sent again.
    #[error("{0}")]
    Retry(String),
    /// It is too large, or something that was sent together with it.
    #[error("{0}")]
    TooLarge(String),
    /// It never will be.
    #[error("{0}")]
    Refused(String),
}

/// Sends messages. One implementation with brokers behind it: `kafka::publisher`.
pub trait Publisher: Send + Sync + 'static {
    /// Sends a message. It is on its way when this returns, behind all that were sent before; the
    /// future ends when the brokers have it for good, or refuse it. After a failure that takes
    /// along what is on its way behind it, nothing goes out until that report was waited for.
    fn send(&self, message: &Outgoing) -> BoxFuture<'static, Result<(), PublishError>>;

    /// What the brokers, or the way to them, last had to complain of.
    fn trouble(&self) -> Option<String>;
}

/// What a house's relay is made of. Cheap to clone.
#[derive(Clone)]
pub struct Relay {
    /// What is to be published.
    pub outbox: Arc<dyn Outbox>,
    /// Who sends it.
    pub publisher: Arc<dyn Publisher>,
    /// Whether to look once a second in any case. If not, it looks when partitions come and when
    /// messages were written.
    pub always: bool,
}

/// How many messages the brokers have acknowledged, repeats included. Cheap to clone; all clones
/// are one count.
#[derive(Clone, Debug, Default)]
pub struct Published(Arc<[AtomicU64; 2]>);

impl Published {
    /// Counts one.
    pub(crate) fn add(&self, kind: Kind) {
        self.0[kind as usize].fetch_add(1, Relaxed);
    }

    /// How many of this kind.
    pub fn of(&self, kind: Kind) -> u64 {
        self.0[kind as usize].load(Relaxed)
    }
}
