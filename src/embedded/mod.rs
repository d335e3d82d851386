//! Servers that come along: what a demo or a test runs on when nothing is running.

mod binaries;
mod directory;
mod error;
mod fetch;
pub mod postgres;
mod spawn;

pub use error::EmbeddedError;
pub use postgres::{BinarySource, EmbeddedPostgres, PostgresOptions};
