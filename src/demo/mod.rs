//! The demo: a steady feed of ads through the real service, and a line that counts what arrives.
//! Where it runs (embedded servers or the user's own) is the command's to say.

mod feeding;
mod live;
mod summary;

use std::sync::Arc;
use std::time::Duration;

use longshore_actors::conservation::Conservation;
use thiserror::Error;

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
    /// What was sent, and what must have come of it.
    pub fed: Fed,
    /// What the service says that came of it.
    pub settled: Conservation,
}

/// Runs the service and the feed until the feed's records are settled or a signal comes, then
/// drains. Must be called inside an actix system.
///
/// # Errors
/// The service or the feed failed.
pub async fn run(
    config: &Config,
    pipelines: &[Arc<dyn AnyPipeline>],
    view: &ServiceView,
    plan: FeedPlan,
) -> Result<Shown, DemoError> {
    let mut signals = StopSignals::listen()?;
    let mut service = Service::start(config, pipelines, view).await?;
    let ledger = service.pipelines()[0].ledger();
    let mut line = LiveLine::new(plan.records);
    let feeding = Feeding::start(config, plan, ledger.clone())?;
    let shown = {
        let show = async {
            let mut tick = tokio::time::interval(LINE_INTERVAL);
            loop {
                tick.tick().await;
                line.show(ledger.total(), feeding.sent());
                if feeding.is_done() && ledger.total().settled.total() >= feeding.sent() {
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
    let fed = feeding.end();
    let drained = signals.or_exit(service.drain()).await;
    shown?;
    let settled = drained?.into_iter().map(|(_, total)| total).next().unwrap_or_default();
    Ok(Shown { fed: fed?, settled })
}
