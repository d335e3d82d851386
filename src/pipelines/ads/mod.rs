//! Clicks and impressions of ads, enriched with their advertiser and campaign.

pub mod pipeline;
pub mod tables;
#[cfg(test)]
mod tests;

use diesel_migrations::embed_migrations;
use longshore_actors::pipeline::Order;

pub use pipeline::Ads;

use crate::postgres::migrate::MigrationSet;

/// The order that ads need: none, an event says all by itself.
pub const ORDER: Order = Order::Unordered;

/// The tables of ads.
pub const MIGRATIONS: MigrationSet = MigrationSet::new("ads", embed_migrations!("migrations/ads"));
