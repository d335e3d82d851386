//! What can go wrong with an embedded server, each with what to do about it.

use std::io;
use std::path::PathBuf;

use thiserror::Error;

/// Why an embedded server did not start or did not stop.
#[derive(Debug, Error)]
pub enum EmbeddedError {
    /// No binaries on this machine, and none could be fetched.
    #[error(
        "there is no PostgreSQL that could be started: {problem}\n\
         Each of these helps:\n  \
         - install it: `sudo apt install postgresql`, `sudo dnf install postgresql-server` \
         or `brew install postgresql@17`\n  \
         - use a server of yours: `--database-url postgres://user@host/database`\n  \
         - run one in Docker: `docker run --rm -e POSTGRES_HOST_AUTH_METHOD=trust \
         -p 5432:5432 postgres:17`, then \
         `--database-url postgres://postgres@127.0.0.1/postgres`"
    )]
    NoBinaries {
        /// What was looked for and what came of it.
        problem: String,
    },
    /// The directory that was asked for holds no PostgreSQL that will do.
    #[error("{} holds no PostgreSQL that will do: {problem}", directory.display())]
    UnfitBinaries {
        /// The directory.
        directory: PathBuf,
        /// What is missing or too old.
        problem: String,
    },
    /// PostgreSQL refuses to run as root, and there is nobody else to run it as.
    #[error(
        "PostgreSQL does not run as root, and /etc/passwd names neither `postgres` nor `nobody`: \
         add one (`useradd --system postgres`), or start as another user"
    )]
    NoAccount,
    /// `initdb` or the server said no.
    #[error("{step} failed: {problem}")]
    Server {
        /// What was done.
        step: &'static str,
        /// The end of what it said.
        problem: String,
    },
    /// The server did not become ready in time.
    #[error("PostgreSQL was not ready after {seconds} s; it said last: {problem}")]
    NotReady {
        /// How long we waited.
        seconds: u64,
        /// The end of its log.
        problem: String,
    },
    /// The operating system refused something.
    #[error("cannot {action}: {source}")]
    Io {
        /// What was to be done.
        action: String,
        /// Why it could not.
        source: io::Error,
    },
    /// The embedded Kafka did not start.
    #[error("the embedded Kafka did not start: {0}")]
    Kafka(String),
}

impl EmbeddedError {
    /// Says what was to be done when the operating system refused it.
    pub(super) fn io(action: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let action = action.into();
        move |source| Self::Io { action, source }
    }
}
