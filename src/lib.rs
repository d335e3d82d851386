//! Longshore: moves Kafka records into PostgreSQL in batches.

pub mod kafka;
pub mod positions;
