//! What can go wrong, an enum a stage, and what becomes of it: its [`Fate`]. Nothing else decides.

use std::borrow::Cow;
use std::time::Duration;

use thiserror::Error;

use crate::conservation::Settled;

/// What becomes of an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// The environment: the work waits, backs off and is done again; nothing is parked.
    Retry,
    /// This record: it is parked, the others go on.
    Reject,
    /// This partition: it stops, its offset stays where it is.
    Stop,
}

/// A record that cannot be saved, and why.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{reason}: {error}")]
pub struct Reject {
    /// A word or two to filter by, such as `unknown campaign`.
    pub reason: Cow<'static, str>,
    /// The whole story, with the values that matter.
    pub error: String,
}

impl Reject {
    /// A rejection for `reason`, with the story in `error`.
    pub fn new(reason: impl Into<Cow<'static, str>>, error: impl Into<String>) -> Self {
        Self { reason: reason.into(), error: error.into() }
    }
}

/// A record that cannot be saved yet: a service is away, say, or what it refers to has not come.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{reason}: {error}")]
pub struct RetryLater {
    /// A word or two to filter by.
    pub reason: Cow<'static, str>,
    /// The whole story.
    pub error: String,
    /// When to try again; if not said, when the pipeline's retry policy says.
    pub after: Option<Duration>,
}

impl RetryLater {
    /// To be tried again for `reason`, with the story in `error`, when the retry policy says.
    pub fn new(reason: impl Into<Cow<'static, str>>, error: impl Into<String>) -> Self {
        Self { reason: reason.into(), error: error.into(), after: None }
    }

    /// To be tried again after `pause`.
    pub fn after(self, pause: Duration) -> Self {
        Self { after: Some(pause), ..self }
    }
}

/// Nothing of this partition can be worked as things are: it stops, with its offset unmoved.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{0}")]
pub struct Stop(pub String);

/// Why `work` did not settle a record: its [`Fate`], and the story.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Unworked {
    /// It is parked for a person to look at.
    #[error(transparent)]
    Reject(#[from] Reject),
    /// It is parked and comes back by itself; ordered by key, the later records of its lane wait.
    #[error(transparent)]
    RetryLater(#[from] RetryLater),
    /// The partition stops.
    #[error(transparent)]
    Stop(#[from] Stop),
}

/// A row that the store could never hold, or a message that could never be sent.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum EncodeError {
    /// A value of a column that its type cannot hold.
    #[error("column {column}: {problem}")]
    Value {
        /// The column's name.
        column: &'static str,
        /// What is wrong with the value.
        problem: String,
    },
    /// A message to publish whose topic can be none.
    #[error("{0:?} is no topic's name")]
    Topic(String),
    /// More than 4 GiB of rows in one chunk.
    #[error("the rows of one chunk are larger than 4 GiB")]
    TooLarge,
}

/// A query of the house (acquire, reacquire, context) that failed.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum StoreError {
    /// The store is away, busy or slow: try again.
    #[error("{0}")]
    Retry(String),
    /// Trying again cannot help: a missing table, a missing grant, a topic made anew.
    #[error("{0}")]
    Stop(String),
}

impl StoreError {
    /// What becomes of it.
    pub fn fate(&self) -> Fate {
        match self {
            Self::Retry(_) => Fate::Retry,
            Self::Stop(_) => Fate::Stop,
        }
    }
}

/// A transaction that was not confirmed.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum SaveError {
    /// Rolled back for the environment's sake: do it again after a pause.
    #[error("{0}")]
    Retry(String),
    /// Rolled back, and the store says that it would work now: a deadlock, a serialization failure.
    #[error("{0}")]
    RetryNow(String),
    /// Rolled back because it took too long: do it again with fewer records.
    #[error("{0}")]
    TooSlow(String),
    /// Rolled back; every row would fail in the same way.
    #[error("{0}")]
    Stop(String),
    /// COMMIT was sent and its answer never came. `settled` is what each batch of the group comes
    /// to if it did commit.
    #[error("the outcome of the COMMIT is unknown: {message}")]
    Unknown {
        /// What happened to the connection.
        message: String,
        /// One entry a batch, in the group's order; `None` where it was left out.
        settled: Vec<Option<Settled>>,
    },
}

impl SaveError {
    /// What becomes of it. An unknown outcome is retried, after the partition was reacquired.
    pub fn fate(&self) -> Fate {
        match self {
            Self::Retry(_) | Self::RetryNow(_) | Self::TooSlow(_) | Self::Unknown { .. } => {
                Fate::Retry
            }
            Self::Stop(_) => Fate::Stop,
        }
    }
}
