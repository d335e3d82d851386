//! Records as they are: `kind = "landing"` copies its topics into a table, by configuration alone.
//! The table may be of the user's own, so its columns and its key are looked at before the start.

mod columns;
pub mod pipeline;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use diesel_migrations::embed_migrations;
use futures_util::future::BoxFuture;
use longshore_actors::error::StoreError;

use self::columns::Columns;
use self::pipeline::Lander;
use crate::config::{ConfigError, DEFAULT_TABLE, Kind, PipelineConfig, default_table};
use crate::postgres::migrate::MigrationSet;
use crate::postgres::pool::QueryPool;
use crate::postgres::shape::{self, Found};
use crate::service::{AnyPipeline, PrepareError, ReadyPipeline};

/// Makes [`DEFAULT_TABLE`].
const MIGRATIONS: MigrationSet =
    MigrationSet::new("landing", embed_migrations!("migrations/landing"));

/// The kind of pipelines that land records. Every program has it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Landing;

impl AnyPipeline for Landing {
    fn kind(&self) -> Kind {
        Kind { name: "landing", default_topics: &[], lookups: &[], lands: true }
    }

    fn migrations(&self) -> MigrationSet {
        MIGRATIONS
    }

    fn prepare<'a>(
        self: Arc<Self>,
        config: &'a PipelineConfig,
        pool: &'a QueryPool,
    ) -> BoxFuture<'a, Result<ReadyPipeline, PrepareError>> {
        Box::pin(async move {
            let table = config.landing.table.clone().unwrap_or_else(default_table);
            let found = shape::find(&mut *pool.get().await?, &table).await?;
            let shape = match found {
                Found::Table(shape) => shape,
                Found::Nothing if config.landing.table.is_none() => {
                    return Err(not_migrated().into());
                }
                Found::Nothing => return Err(problem(config, &columns::no_table(&table)).into()),
                Found::Other(kind) => {
                    let text = format!("is {kind}; records land in a table");
                    return Err(problem(config, &text).into());
                }
            };
            let columns = Columns::fit(config, &shape)?;
            let (tables, note) = (vec![columns.table(&shape)], columns.to_string());
            let lander = Lander::new(columns, &config.topics);
            Ok(ReadyPipeline::new(Arc::new(lander), tables).noted(note))
        })
    }
}

fn problem(config: &PipelineConfig, text: &str) -> ConfigError {
    ConfigError::Keys(vec![columns::table_problem(config, text.to_owned())])
}

fn not_migrated() -> StoreError {
    StoreError::Stop(format!(
        "there is no table {DEFAULT_TABLE}: make it by `longshore migrate`, or start by \
         `longshore run --migrate`"
    ))
}
