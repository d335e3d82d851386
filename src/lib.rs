//! Longshore: moves Kafka records into PostgreSQL in batches.

mod commands;
pub mod config;
pub mod positions;
pub mod telemetry;

pub use commands::main;
