//! The service: starts the configured pipelines side by side, runs them until a signal or until the
//! end, drains them. One pipeline that fails does not stop another.

mod cpu;
mod database_watch;
mod pipeline;
mod ready;
mod running;
mod signals;
mod until_end;
mod view;

use std::sync::Arc;
use std::time::Duration;

use longshore_actors::conservation::Conservation;
use longshore_actors::error::{Fate, StoreError};
use longshore_actors::supervise::Backoff;
use longshore_actors::topology::HouseDown;
use thiserror::Error;
use tokio::runtime::{Builder, Handle, Runtime};

pub use self::pipeline::{AnyPipeline, PostgresPipeline, Start};
pub use self::ready::{PrepareError, ReadyPipeline, code_of};
pub use self::running::RunningPipeline;
pub use self::signals::StopSignals;
use self::until_end::{Ends, LOOK_INTERVAL};
pub use self::view::{Parked, Phase, PipelineSnapshot, ServiceView};
use crate::config::{Config, ConfigError, PipelineConfig};
use crate::kafka::{ConsumerError, KafkaPositions};
use crate::positions::{Positions, TopicPositions};
use crate::postgres::connect::{ConnectOptions, SessionSettings, UrlError};
use crate::postgres::offsets;
use crate::postgres::pool::QueryPool;

/// Why a service, or one pipeline of it, does not run.
#[derive(Debug, Error)]
pub enum ServiceError {
    /// The database's URL is wrong.
    #[error("database.url: {0}")]
    Url(#[from] UrlError),
    /// What the configuration says does not fit the database.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A pipeline's consumer cannot be made.
    #[error(transparent)]
    Kafka(#[from] ConsumerError),
    /// A pipeline's consumer ended.
    #[error("pipeline {pipeline}: {error}")]
    Consumer {
        /// The pipeline.
        pipeline: String,
        /// How it ended.
        error: ConsumerError,
    },
    /// Its actors cannot go on; what they had in hand is read again at the next start.
    #[error("pipeline {pipeline}: {down}; its story is in the log")]
    HouseDown {
        /// The pipeline.
        pipeline: String,
        /// Why.
        down: HouseDown,
    },
    /// A topic cannot be read, or the database cannot be asked.
    #[error("pipeline {pipeline}: {error}")]
    Store {
        /// The pipeline.
        pipeline: String,
        /// What is wrong.
        error: StoreError,
    },
    /// The database has none of Longshore's tables.
    #[error(
        "the database has no tables of Longshore's: make them by `longshore migrate`, or start by \
         `longshore run --migrate`"
    )]
    NotMigrated,
    /// The database cannot be asked whether it has our tables.
    #[error("database: {0}")]
    Database(StoreError),
    /// Partitions stopped before their end, or whole pipelines.
    #[error("stopped before the end:\n  {}", .0.join("\n  "))]
    Stopped(Vec<String>),
    /// The operating system refuses threads or signals.
    #[error("the operating system refuses: {0}")]
    System(#[from] std::io::Error),
}

/// A service that is up.
pub struct Service {
    pipelines: Vec<RunningPipeline>,
    ends: Vec<Ends>,
    pool: QueryPool,
    view: ServiceView,
    /// The first pipeline that failed while others went on.
    failed: Option<ServiceError>,
    drain_limit: Duration,
    /// Dropped last: the database's sockets belong to it.
    _runtime: DatabaseRuntime,
}

impl ServiceError {
    /// Whether the configuration is wrong, so that nothing but a change of it helps.
    pub fn is_configuration(&self) -> bool {
        matches!(self, Self::Url(_) | Self::Config(_) | Self::Kafka(ConsumerError::Property(_)))
    }
}

impl Service {
    /// Starts all pipelines of `config`, and shows in `view` how they are. Waits for brokers and a
    /// database that are away. Must be called inside an actix system.
    ///
    /// # Errors
    /// A configuration that cannot work: a refused property, an unknown topic, a wrong URL.
    pub async fn start(
        config: &Config,
        registered: &[Arc<dyn AnyPipeline>],
        view: &ServiceView,
    ) -> Result<Self, ServiceError> {
        let database = connect_options(config)?;
        let runtime = DatabaseRuntime::start()?;
        let settings = SessionSettings::with_statement_timeout(config.database.statement_timeout);
        let pool = QueryPool::new(&database, settings, 1, runtime.handle());
        // What is wrong with the configuration is said before anything is waited for.
        let brokers: Vec<_> = config
            .pipelines
            .iter()
            .map(|pipeline| brokers_of(config, pipeline))
            .collect::<Result<_, _>>()?;
        await_tables(&pool, view).await?;
        runtime.handle().spawn(database_watch::watch(view.clone(), pool.clone(), config));
        runtime.handle().spawn(cpu::watch(view.clone()));
        view.all_wait("is started after the pipelines before it");
        let mut ready = Vec::new();
        for pipeline in &config.pipelines {
            ready.push(ready::prepare(code_of(registered, pipeline), pipeline, &pool, view).await?);
        }
        let (mut pipelines, mut ends) = (Vec::new(), Vec::new());
        for ((pipeline, brokers), ready) in config.pipelines.iter().zip(brokers).zip(ready) {
            let (running, end) =
                start_one(config, pipeline, ready, brokers, &database, runtime.handle(), view)
                    .await?;
            pipelines.push(running);
            ends.push(end);
        }
        let drain_limit = config.drain_limit;
        let view = view.clone();
        Ok(Self { pipelines, ends, pool, view, failed: None, drain_limit, _runtime: runtime })
    }

    /// The running pipelines.
    pub fn pipelines(&self) -> &[RunningPipeline] {
        &self.pipelines
    }

    /// Runs until every partition is saved up to where it ended at the start if `until_end`, else
    /// for as long as a pipeline is left.
    ///
    /// # Errors
    /// Partitions that stopped before their end, pipelines that failed.
    pub async fn run(&mut self, until_end: bool) -> Result<(), ServiceError> {
        let mut look = tokio::time::interval(LOOK_INTERVAL);
        loop {
            tokio::select! {
                (index, failure) = first_failure(&self.pipelines) => {
                    self.take_down(index, failure).await?;
                }
                _ = look.tick(), if until_end => {
                    if self.is_at_the_end().await? {
                        return self.failed.take().map_or(Ok(()), Err);
                    }
                }
            }
        }
    }

    /// Whether nothing is missing; an error if what is missing will never come.
    async fn is_at_the_end(&self) -> Result<bool, ServiceError> {
        let (mut is_missing, mut will_come, mut lines) = (false, false, Vec::new());
        for (ends, running) in self.ends.iter().zip(&self.pipelines) {
            let stopped = running.stopped();
            let looked = async {
                let halted = ends.stopped(&self.pool).await?;
                Ok::<_, StoreError>((halted, ends.missing(&self.pool).await?))
            };
            let (halted, missing) = match looked.await {
                Ok(looked) => looked,
                Err(error) if error.fate() == Fate::Retry => {
                    tracing::warn!(%error, "cannot look at the stored offsets yet");
                    return Ok(false);
                }
                Err(error) => {
                    let pipeline = running.config().name.clone();
                    return Err(ServiceError::Store { pipeline, error });
                }
            };
            if let Some(reason) = halted {
                // Whatever is missing, and even if nothing is: somebody has to see to it.
                (is_missing, lines) = (true, [lines, vec![reason]].concat());
                continue;
            }
            is_missing |= !missing.is_empty();
            will_come |= missing.iter().any(|id| !stopped.iter().any(|(other, _)| other == id));
            lines.extend(stopped.into_iter().map(|(id, reason)| format!("{id}: {reason}")));
        }
        match is_missing && !will_come {
            true => Err(ServiceError::Stopped(lines)),
            false => Ok(!is_missing && !self.is_publishing().await),
        }
    }

    /// Whether something is still to be published, as far as the database says.
    async fn is_publishing(&self) -> bool {
        for ends in &self.ends {
            match ends.is_publishing(&self.pool).await {
                Ok(false) => {}
                Ok(true) => return true,
                Err(error) => {
                    tracing::warn!(%error, "cannot look at what is to be published yet");
                    return true;
                }
            }
        }
        false
    }

    /// Takes a failed pipeline down; the others go on.
    async fn take_down(&mut self, index: usize, failure: ServiceError) -> Result<(), ServiceError> {
        tracing::error!(%failure, "pipeline failed");
        let failed = self.pipelines.remove(index);
        self.view.failed(&failed.config().name, failure.to_string());
        self.ends.remove(index);
        if let Err(error) = failed.drain(Duration::ZERO).await {
            tracing::debug!(%error, "a failed pipeline was taken down");
        }
        if self.pipelines.is_empty() {
            return Err(failure);
        }
        self.failed.get_or_insert(failure);
        Ok(())
    }

    /// Drains all pipelines side by side. Gives what became of each one's records, by name.
    ///
    /// # Errors
    /// The first consumer that did not end well; the others are drained all the same.
    pub async fn drain(self) -> Result<Vec<(String, Conservation)>, ServiceError> {
        let limit = self.drain_limit;
        self.view.drain();
        let draining = self.pipelines.into_iter().map(|pipeline| async move {
            let name = pipeline.config().name.clone();
            pipeline.drain(limit).await.map(|total| (name, total))
        });
        futures_util::future::join_all(draining).await.into_iter().collect()
    }
}

/// The threads of the database's sockets: their own, so that no worker ever starves them. Ends
/// without waiting for them, which tokio allows in an actor's thread too.
struct DatabaseRuntime(Option<Runtime>);

impl DatabaseRuntime {
    fn start() -> std::io::Result<Self> {
        let mut builder = Builder::new_multi_thread();
        builder.worker_threads(2).thread_name("longshore-database").enable_all();
        builder.build().map(|runtime| Self(Some(runtime)))
    }

    fn handle(&self) -> &Handle {
        self.0.as_ref().expect("it is taken by drop alone").handle()
    }
}

impl Drop for DatabaseRuntime {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

/// The way to the configured database.
///
/// # Errors
/// The URL is wrong, or asks for what is not honoured.
pub fn connect_options(config: &Config) -> Result<ConnectOptions, UrlError> {
    let password = config.database.password.as_ref().map(|password| password.expose());
    ConnectOptions::try_new(config.database.url.expose(), password)
}

/// Looks for our tables, for as long as the database makes us wait.
async fn await_tables(pool: &QueryPool, view: &ServiceView) -> Result<(), ServiceError> {
    let mut backoff = Backoff::for_outage();
    view.all_wait("asks the database for its tables");
    loop {
        let looked = async { offsets::are_migrated(&mut *pool.get().await?).await };
        match looked.await {
            Ok(true) => return Ok(()),
            Ok(false) => return Err(ServiceError::NotMigrated),
            Err(error) if error.fate() == Fate::Retry => {
                tracing::warn!(%error, "waiting for the database");
                view.all_wait(&format!("waits for the database: {error}"));
                backoff.wait().await;
            }
            Err(error) => return Err(ServiceError::Database(error)),
        }
    }
}

/// Waits for the first pipeline that fails.
async fn first_failure(pipelines: &[RunningPipeline]) -> (usize, ServiceError) {
    let failures = pipelines.iter().map(|pipeline| Box::pin(pipeline.failed()));
    let (failure, index, _) = futures_util::future::select_all(failures).await;
    (index, failure)
}

/// What asks the brokers for a pipeline; made first, because it refuses wrong properties.
fn brokers_of(
    config: &Config,
    pipeline: &PipelineConfig,
) -> Result<Arc<KafkaPositions>, ServiceError> {
    let kafka = &config.kafka;
    let properties = kafka.properties.to_map();
    Ok(Arc::new(KafkaPositions::try_new(&kafka.brokers, &pipeline.group, &properties)?))
}

async fn start_one(
    config: &Config,
    pipeline: &PipelineConfig,
    ready: ReadyPipeline,
    positions: Arc<KafkaPositions>,
    database: &ConnectOptions,
    runtime: &Handle,
    view: &ServiceView,
) -> Result<(RunningPipeline, Ends), ServiceError> {
    let topics = describe(pipeline, &positions, view).await?;
    let ends = Ends::new(pipeline, &topics);
    let partitions = u32::try_from(ends.all().len()).unwrap_or(u32::MAX);
    let start = Start { config, pipeline, database, runtime, positions, partitions };
    let running = ready.start(&start)?;
    view.runs(&pipeline.name, ends.all().clone(), running.parts());
    tracing::info!(
        pipeline = pipeline.name,
        topics = pipeline.topics.join(","),
        group = pipeline.group,
        partitions,
        "running"
    );
    Ok((running, ends))
}

/// Describes the pipeline's topics, for as long as the brokers make us wait.
async fn describe(
    pipeline: &PipelineConfig,
    positions: &KafkaPositions,
    view: &ServiceView,
) -> Result<Vec<(String, TopicPositions)>, ServiceError> {
    let mut topics = Vec::new();
    view.waits(&pipeline.name, "asks the brokers for its topics");
    for topic in &pipeline.topics {
        let mut backoff = Backoff::for_outage();
        let described = loop {
            match positions.describe(topic).await {
                Err(error) if error.fate() == Fate::Retry => {
                    tracing::warn!(pipeline = pipeline.name, topic, %error, "waiting for kafka");
                    view.waits(&pipeline.name, &format!("waits for kafka: {error}"));
                    backoff.wait().await;
                }
                described => break described,
            }
        };
        let pipeline = pipeline.name.clone();
        let described = described.map_err(|error| ServiceError::Store { pipeline, error })?;
        topics.push((topic.clone(), described));
    }
    Ok(topics)
}
