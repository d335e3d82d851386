//! Longshore: moves Kafka records into PostgreSQL in batches.
//!
//! A pipeline of your own is a [`longshore_actors::pipeline::Pipeline`] with its lookups and rows
//! declared by [`lookups!`] and [`row!`]; [`main`] gives its binary every command.

mod bench;
mod causes;
pub mod check;
mod commands;
pub mod config;
pub mod demo;
pub mod embedded;
pub mod feed;
pub mod http;
pub mod kafka;
pub mod pipelines;
pub mod positions;
pub mod postgres;
pub mod service;
pub mod telemetry;

pub use commands::main;

/// Lists the pipelines of a program, for [`main`]: `longshore::main(pipelines![Sales, Returns])`.
#[macro_export]
macro_rules! pipelines {
    ($($pipeline:expr),* $(,)?) => {
        vec![$(
            std::sync::Arc::new($pipeline) as std::sync::Arc<dyn $crate::service::AnyPipeline>
        ),*]
    };
}
