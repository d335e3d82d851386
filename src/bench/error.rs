//! Why a measurement came to nothing.

use std::io;

use thiserror::Error;
use tokio::task::JoinError;

use crate::causes::with_causes;
use crate::embedded::EmbeddedError;
use crate::feed::{FeedError, TopicError};

/// Why a measurement came to nothing. What it had made is removed all the same.
#[derive(Debug, Error)]
pub(crate) enum BenchError {
    /// An embedded server does not start.
    #[error(transparent)]
    Embedded(#[from] EmbeddedError),
    /// The database refuses or is away.
    #[error("the database, while {doing}: {problem}")]
    Database {
        /// What was asked of it.
        doing: &'static str,
        /// What it says.
        problem: String,
    },
    /// The brokers refuse or are away.
    #[error("the brokers, while {doing}: {problem}")]
    Kafka {
        /// What was asked of them.
        doing: &'static str,
        /// What they say.
        problem: String,
    },
    /// A topic cannot be made.
    #[error(transparent)]
    Topic(#[from] TopicError),
    /// The records could not be sent.
    #[error(transparent)]
    Feed(#[from] FeedError),
    /// The service that is measured failed.
    #[error("the measured service {what}; it said last:\n{log}")]
    Service {
        /// What happened to it.
        what: String,
        /// The end of its log.
        log: String,
    },
    /// A run whose outcome is wrong measures nothing.
    #[error(
        "{who} left {found} {what}, and {expected} must come of the records: a wrong outcome is \
         no measurement"
    )]
    Wrong {
        /// Who ran.
        who: &'static str,
        /// What was counted.
        what: String,
        /// How many there are.
        found: i64,
        /// How many there must be.
        expected: i64,
    },
    /// The operating system refuses a process, a thread or a file.
    #[error("the operating system refuses: {0}")]
    System(#[from] io::Error),
    /// A signal came.
    #[error("ended by {0}; its database and its topics are removed")]
    Interrupted(&'static str),
}

impl From<JoinError> for BenchError {
    /// A task of ours panicked.
    fn from(error: JoinError) -> Self {
        Self::System(io::Error::other(error))
    }
}

impl BenchError {
    /// Wraps what the database said while it was `doing` something.
    pub(super) fn database<E: std::error::Error>(doing: &'static str) -> impl FnOnce(E) -> Self {
        move |error| {
            let problem = with_causes(error.to_string(), error.source());
            Self::Database { doing, problem }
        }
    }

    /// Wraps what the brokers said while they were `doing` something.
    pub(super) fn kafka<E: std::fmt::Display>(doing: &'static str) -> impl FnOnce(E) -> Self {
        move |error| Self::Kafka { doing, problem: error.to_string() }
    }
}
