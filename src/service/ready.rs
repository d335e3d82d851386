//! A pipeline that is ready to start: all that its code needs to know of the database is known.

use std::sync::Arc;

use longshore_actors::error::StoreError;
use longshore_actors::pipeline::Pipeline;
use longshore_actors::supervise::Backoff;
use thiserror::Error;

use super::ServiceError;
use super::pipeline::{AnyPipeline, Start};
use super::running::RunningPipeline;
use super::view::ServiceView;
use crate::config::{ConfigError, PipelineConfig};
use crate::postgres::context::PostgresContext;
use crate::postgres::pool::QueryPool;
use crate::postgres::table::SqlTable;

/// Why a pipeline cannot be made ready.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum PrepareError {
    /// What its configuration says does not fit the database.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The database cannot be asked, or lacks what a migration makes.
    #[error(transparent)]
    Store(#[from] StoreError),
}

type StartWith =
    Box<dyn FnOnce(&Start<'_>, Vec<SqlTable>) -> Result<RunningPipeline, ServiceError>>;

/// See the module.
pub struct ReadyPipeline {
    tables: Vec<SqlTable>,
    note: Option<String>,
    start: StartWith,
}

impl ReadyPipeline {
    /// `pipeline`, which saves its rows to `tables`: one for each type of its `Rows`, in the same
    /// order.
    pub fn new<P: Pipeline<Context: PostgresContext>>(
        pipeline: Arc<P>,
        tables: Vec<SqlTable>,
    ) -> Self {
        let start = Box::new(move |start: &Start<'_>, tables| start.house(pipeline, tables));
        Self { tables, note: None, start }
    }

    /// With what was found out about it, for `longshore check`.
    pub fn noted(self, note: String) -> Self {
        Self { note: Some(note), ..self }
    }

    /// The tables that it saves to.
    pub fn tables(&self) -> &[SqlTable] {
        &self.tables
    }

    /// What was found out about it, if there was anything to find out.
    pub fn note(&self) -> Option<&str> {
        self.note.as_deref()
    }

    /// Starts it. Must be called inside an actix system.
    ///
    /// # Errors
    /// A property that is refused, a consumer or a thread that cannot be had.
    pub fn start(self, start: &Start<'_>) -> Result<RunningPipeline, ServiceError> {
        (self.start)(start, self.tables)
    }
}

/// The code of a configured pipeline.
pub fn code_of(
    registered: &[Arc<dyn AnyPipeline>],
    pipeline: &PipelineConfig,
) -> Arc<dyn AnyPipeline> {
    let code = registered.iter().find(|code| code.kind().name == pipeline.kind);
    code.expect("the configuration checked the kind").clone()
}

/// Makes a pipeline ready, for as long as the database makes us wait.
pub(super) async fn prepare(
    code: Arc<dyn AnyPipeline>,
    pipeline: &PipelineConfig,
    pool: &QueryPool,
    view: &ServiceView,
) -> Result<ReadyPipeline, ServiceError> {
    let mut backoff = Backoff::for_outage();
    loop {
        match code.clone().prepare(pipeline, pool).await {
            Ok(ready) => return Ok(ready),
            Err(PrepareError::Config(error)) => return Err(error.into()),
            Err(PrepareError::Store(error @ StoreError::Retry(_))) => {
                tracing::warn!(pipeline = pipeline.name, %error, "waiting for the database");
                view.waits(&pipeline.name, &format!("waits for the database: {error}"));
                backoff.wait().await;
            }
            Err(PrepareError::Store(error)) => {
                return Err(ServiceError::Store { pipeline: pipeline.name.clone(), error });
            }
        }
    }
}
