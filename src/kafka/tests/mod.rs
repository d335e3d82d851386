//! The Kafka edge against librdkafka's mock cluster, and against a real one when there is one.

mod limits;
mod positions;
mod reading;
mod real;
mod rebalancing;
mod support;
