//! The demo: steady feeds through the real service, and a line that counts what arrives of all.
//! Where it runs (embedded servers or the user's own) is the command's to say.

mod example;
mod feeding;
mod live;
mod summary;

use std::sync::Arc;
use std::time::Duration;

use longshore_actors::conservation::Settled;
use thiserror::Error;

pub use self::example::{EXAMPLES, Example, ExampleFeed, PARTITIONS};
pub use self::feeding::FeedPlan;
use self::feeding::{Fed, Feeding};
use self::live::LiveLine;
pub use self::summary::Summary;
use crate::config::Config;
use crate::feed::FeedError;
use crate::service::{AnyPipeline, Service, ServiceError, ServiceView, StopSignals};

/// How often the live line is written anew.
const LINE_INTERVAL: Duration = Duration::from_millis(250);

/// Why a demo failed.
#[derive(Debug, Error)]
pub enum DemoError {
    /// The service did not run.
    #[error(transparent)]
    Service(#[from] ServiceError),
    /// The feed ended early.
    #[error(transparent)]
    Feed(#[from] FeedError),
    /// The operating system refuses signals or threads.
    #[error("the operating system refuses: {0}")]
    System(#[from] std::io::Error),
}

/// What a demo did.
#[derive(Clone, Debug)]
pub struct Shown {
    /// What was sent to each pipeline, and what must have come of it.
    pub fed: Vec<Fed>,
    /// Whether all of it is settled, as the service says.
    pub is_complete: bool,
}

/// Runs the service and the feeds until their records are settled or a signal comes, then drains.
/// Must be called inside an actix system.
///
/// # Errors
/// The service or a feed failed.
pub async fn run(
    config: &Config,
    pipelines: &[Arc<dyn AnyPipeline>],
    view: &ServiceView,
    plans: Vec<FeedPlan>,
) -> Result<Shown, DemoError> {
    let mut signals = StopSignals::listen()?;
    let mut service = Service::start(config, pipelines, view).await?;
    let records = plans.iter().map(|plan| plan.records).sum();
    let mut line = LiveLine::new(records);
    let feeding = feed_all(config, &service, plans)?;
    let shown = {
        let show = async {
            let mut tick = tokio::time::interval(LINE_INTERVAL);
            loop {
                tick.tick().await;
                let mut settled = Settled::default();
                feeding.iter().for_each(|feeding| settled.add(feeding.settled()));
                line.show(settled, feeding.iter().map(Feeding::sent).sum());
                if feeding.iter().all(Feeding::is_done) {
                    return Ok(());
                }
            }
        };
        tokio::select! {
            ended = service.run(false) => ended,
            _ = signals.next() => Ok(()),
            shown = show => shown,
        }
    };
    line.end("draining");
    let fed: Result<Vec<_>, _> = feeding.into_iter().map(Feeding::end).collect();
    let drained = signals.or_exit(service.drain()).await;
    shown?;
    let is_complete =
        drained?.iter().all(|(_, total)| total.in_flight() == 0 && total.given_up == 0);
    Ok(Shown { fed: fed?, is_complete })
}

/// Begins to feed each pipeline.
fn feed_all(
    config: &Config,
    service: &Service,
    plans: Vec<FeedPlan>,
) -> Result<Vec<Feeding>, DemoError> {
    let running = |kind| service.pipelines().iter().find(|one| one.config().kind == kind);
    let planned = plans.into_iter().filter_map(|plan| Some((running(plan.example.kind)?, plan)));
    let feeding = planned.map(|(running, plan)| Feeding::start(config, plan, running.ledger()));
    Ok(feeding.collect::<Result<_, _>>()?)
}
