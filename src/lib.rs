//! Longshore: moves Kafka records into PostgreSQL in batches.

pub mod embedded;
pub mod feed;
pub mod kafka;
pub mod positions;
