//! Asks the database now and then how many records are parked and which pipelines are stopped, so
//! that no scrape ever does.

use std::future::Future;
use std::time::Duration;

use longshore_actors::error::StoreError;
use tokio::time::{Interval, MissedTickBehavior, interval};

use super::view::ServiceView;
use crate::config::Config;
use crate::postgres::pool::QueryPool;
use crate::postgres::{offsets, pipelines};

/// How often it counts.
const COUNT_INTERVAL: Duration = Duration::from_secs(5);

/// How often it looks at the pipelines' states.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// Asks for as long as its runtime lives.
pub(super) fn watch(
    view: ServiceView,
    pool: QueryPool,
    config: &Config,
) -> impl Future<Output = ()> + use<> {
    let names: Vec<String> = config.pipelines.iter().map(|p| p.name.clone()).collect();
    let groups = groups(config);
    async move {
        let (mut count, mut look) = (paced(COUNT_INTERVAL), paced(LOOK_INTERVAL));
        loop {
            let asked = tokio::select! {
                _ = count.tick() => parked(&view, &pool, &groups).await,
                _ = look.tick() => stopped(&view, &pool, &names).await,
            };
            // Others say in words that the database is away; the last answers stand.
            if let Err(error) = asked {
                tracing::debug!(%error, "the database cannot be asked yet");
            }
        }
    }
}

/// An answer may take longer than its interval.
fn paced(pause: Duration) -> Interval {
    let mut paced = interval(pause);
    paced.set_missed_tick_behavior(MissedTickBehavior::Delay);
    paced
}

async fn parked(view: &ServiceView, pool: &QueryPool, groups: &[String]) -> Result<(), StoreError> {
    view.parked(&offsets::parked_counts(&mut *pool.get().await?, groups).await?);
    Ok(())
}

async fn stopped(view: &ServiceView, pool: &QueryPool, names: &[String]) -> Result<(), StoreError> {
    view.stopped(&pipelines::stopped(&mut *pool.get().await?, names).await?);
    Ok(())
}

/// The groups of all pipelines, each once.
fn groups(config: &Config) -> Vec<String> {
    let mut groups: Vec<_> = config.pipelines.iter().map(|p| p.group.clone()).collect();
    groups.sort();
    groups.dedup();
    groups
}
