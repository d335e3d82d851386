//! Asks the database now and then how many records are parked, so that no scrape ever does.

use std::time::Duration;

use tokio::time::MissedTickBehavior;

use super::view::ServiceView;
use crate::config::Config;
use crate::postgres::offsets;
use crate::postgres::pool::QueryPool;

/// How often it asks.
const ASK_INTERVAL: Duration = Duration::from_secs(5);

/// Asks for as long as its runtime lives.
pub(super) async fn watch(view: ServiceView, pool: QueryPool, groups: Vec<String>) {
    let mut ask = tokio::time::interval(ASK_INTERVAL);
    // Counting many records may take longer than the interval.
    ask.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ask.tick().await;
        let asked = async { offsets::parked_counts(&mut *pool.get().await?, &groups).await }.await;
        match asked {
            Ok(counts) => view.parked(&counts),
            // Others say in words that the database is away; the last numbers stand.
            Err(error) => tracing::debug!(%error, "parked records cannot be counted yet"),
        }
    }
}

/// The groups of all pipelines, each once.
pub(super) fn groups(config: &Config) -> Vec<String> {
    let mut groups: Vec<_> = config.pipelines.iter().map(|p| p.group.clone()).collect();
    groups.sort();
    groups.dedup();
    groups
}
