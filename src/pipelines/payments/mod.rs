//! Payments, applied to accounts.

pub mod pipeline;
pub mod tables;
#[cfg(test)]
mod tests;

use diesel_migrations::embed_migrations;

pub use pipeline::Payments;

use crate::postgres::migrate::MigrationSet;
use crate::service::PostgresPipeline;

impl PostgresPipeline for Payments {
    const MIGRATIONS: MigrationSet =
        MigrationSet::new("payments", embed_migrations!("migrations/payments"));
}
