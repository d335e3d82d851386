//! Longshore: moves Kafka records into PostgreSQL in batches.

pub mod pipelines;
pub mod positions;
pub mod postgres;
