//! `longshore run`: the configured pipelines, until a signal or until the end.

use std::sync::Arc;

use super::context::{Context, Overrides};
use super::error::CommandError;
use crate::config::Config;
use crate::http::HttpServer;
use crate::kafka::ffi::share_pools;
use crate::service::{AnyPipeline, Service, ServiceError, ServiceView, StopSignals};

const EXAMPLES: &str = "\
Examples:
  longshore run                         all configured pipelines
  longshore run ads payments            these two alone; the memory is shared by these
  longshore run --until-end --migrate   a batch job: make the tables, work off what is there, end

SIGTERM or Ctrl-C drains: what is in the house is saved, then the program ends with status 0.
A second signal ends it at once; nothing is lost, what was not saved is read again.
With --until-end the status is 1 if a partition stopped before its end.";

/// Run pipelines until SIGTERM or Ctrl-C, then drain
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Names of configured pipelines; all of them if none is named
    #[arg(value_name = "PIPELINE")]
    pub(crate) pipelines: Vec<String>,

    /// End when every partition is saved up to where it ended at the start
    #[arg(long)]
    pub(crate) until_end: bool,

    /// Apply the migrations first
    #[arg(long)]
    pub(crate) migrate: bool,

    /// With the pipelines that only `bench` measures
    #[arg(long, hide = true)]
    pub(crate) bench_pipelines: bool,

    #[command(flatten)]
    pub(crate) overrides: Overrides,
}

/// Runs the pipelines to their end.
///
/// # Errors
/// A configuration that cannot be run; a pipeline that failed.
pub(crate) fn execute(context: &Context, args: &Args) -> Result<(), CommandError> {
    use_small_pages();
    share_pools();
    let mut context = context.clone();
    if args.bench_pipelines {
        super::bench::add_pipelines(&mut context.pipelines);
    }
    let config = context.load(&args.overrides)?.select(&args.pipelines)?;
    for note in config.notes() {
        tracing::warn!("{note}");
    }
    let view = ServiceView::new(&config);
    // Answers as long as this command lives, so while it still waits for servers too.
    let _http = HttpServer::start(config.http.listen, &view)?;
    if args.migrate {
        super::migrate::apply(&context, &config)?;
    }
    let running = run(&config, &context.pipelines, &view, args.until_end);
    Ok(actix::System::new().block_on(running)?)
}

/// Batches come and go by the megabyte. Where the system makes pages of 2 MiB unasked, memory that
/// was given back stays resident, a third more than `memory` allows for.
fn use_small_pages() {
    #[cfg(target_os = "linux")]
    if let Err(error) = nix::sys::prctl::set_thp_disable(true) {
        tracing::debug!(%error, "large pages stay as they are");
    }
}

async fn run(
    config: &Config,
    pipelines: &[Arc<dyn AnyPipeline>],
    view: &ServiceView,
    until_end: bool,
) -> Result<(), ServiceError> {
    let mut signals = StopSignals::listen()?;
    let mut service = tokio::select! {
        started = Service::start(config, pipelines, view) => started?,
        signal = signals.next() => {
            tracing::info!(signal, "ended before it was running");
            return Ok(());
        }
    };
    let ended = tokio::select! {
        ended = service.run(until_end) => ended,
        signal = signals.next() => {
            tracing::info!(signal, limit = ?config.drain_limit, "draining");
            Ok(())
        }
    };
    let drained = signals.or_exit(service.drain()).await;
    ended.and(drained.map(drop))
}
