//! Servers that come along: what a demo or a test runs on when nothing is running.

mod binaries;
mod directory;
mod error;
mod fetch;
pub mod kafka;
pub mod postgres;
mod servers;
pub(crate) mod spawn;

pub use error::EmbeddedError;
pub use kafka::EmbeddedKafka;
pub use postgres::{BinarySource, EmbeddedPostgres, PostgresOptions};
pub use servers::{EmbeddedServers, ServersOptions};
