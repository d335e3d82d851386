//! Clicks and impressions of ads, enriched with their advertiser and campaign.

pub mod pipeline;
pub mod tables;
#[cfg(test)]
mod tests;

use diesel_migrations::embed_migrations;

pub use pipeline::Ads;

use crate::postgres::migrate::MigrationSet;
use crate::service::PostgresPipeline;

impl PostgresPipeline for Ads {
    const MIGRATIONS: MigrationSet = MigrationSet::new("ads", embed_migrations!("migrations/ads"));
}
