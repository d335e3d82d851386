//! Longshore: moves Kafka records into PostgreSQL in batches.

pub mod config;
pub mod positions;
