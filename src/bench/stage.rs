//! What one case is measured on: a database with its tables and reference data, and a topic with
//! its records.

use std::collections::HashSet;

use bytes::Bytes;
use futures_util::SinkExt;
use tokio_postgres::Client;

use super::Bench;
use super::error::BenchError;
use super::fill::{Filling, Target};
use super::meter::ServerMeter;
use super::modes::Reference;
use super::plan::Case;
use super::site::{self, OwnDatabase};
use super::survey::Survey;
use crate::feed::Totals;
use crate::postgres::migrate;

/// Large enough that the way to the socket costs nothing.
const PIECE: usize = 256 * 1024;

/// How often a feed under way is looked at.
const LOOK_INTERVAL: std::time::Duration = std::time::Duration::from_millis(50);

/// The largest record that a producer takes unless told otherwise, and what a record has beside its
/// value.
const PRODUCER_BYTES_MAX: usize = 1_000_000;
const RECORD_EXTRA_BYTES: usize = 1_000;

/// See the module.
pub(super) struct Stage<'a> {
    pub(super) bench: &'a Bench<'a>,
    pub(super) case: Case,
    pub(super) database: OwnDatabase,
    /// A connection that looks and prepares, and is not measured.
    pub(super) client: Client,
    looker: u32,
    /// What must come of the records.
    pub(super) survey: Survey,
    /// The topic that all runs read; `None` on an embedded Kafka, of which each run has its own.
    pub(super) topic: Option<String>,
}

impl<'a> Stage<'a> {
    /// Makes the database and, on given brokers, the topic with its records.
    pub(super) async fn set(bench: &'a Bench<'a>, case: Case) -> Result<Self, BenchError> {
        let database = bench.site.database().await?;
        let migrations = bench.migrations().into();
        let doing = "making the tables";
        migrate::apply(&database.options, migrations).await.map_err(BenchError::database(doing))?;
        let (client, looker) = site::connect(&database.options).await?;
        let survey = Survey::of(bench.plan.mode, &case);
        let mut stage = Self { bench, case, database, client, looker, survey, topic: None };
        stage.furnish().await?;
        if bench.site.brokers.is_some() {
            stage.topic = Some(stage.fill().await?);
        }
        Ok(stage)
    }

    /// Gives the database and the topic back.
    pub(super) async fn clear(self) {
        self.bench.site.drop_database(&self.database.name).await;
        if let Some(topic) = &self.topic {
            self.bench.site.delete_topic(topic).await;
        }
    }

    /// A meter of the server's sessions in this database.
    pub(super) fn server_meter(&self) -> ServerMeter {
        ServerMeter::new(&self.database.name, HashSet::from([self.looker]))
    }

    /// Takes away what the last run has left.
    pub(super) async fn reset(&self) -> Result<(), BenchError> {
        self.run(
            "truncate longshore.parked_records, longshore.outbox; delete from longshore.offsets; \
             delete from longshore.pipelines; delete from longshore.budget_samples; \
             truncate bare_offset",
        )
        .await?;
        self.empty_table().await
    }

    /// Makes the table what it is before each run: every row costs more in a table that is larger
    /// than the server's memory.
    pub(super) async fn empty_table(&self) -> Result<(), BenchError> {
        let mode = self.bench.plan.mode;
        if let Some(table) = mode.table() {
            if self.case.table_rows > 0 {
                let (name, of_a_run) = (table.name, table.of_a_run);
                self.run(&format!("delete from {name} where {of_a_run}")).await?;
                self.run(&format!("vacuum {name}")).await?;
            } else {
                self.run(table.reset).await?;
            }
            if table.resets_reference {
                self.load(mode.reference(&self.case.shape)).await?;
            }
        }
        self.run("checkpoint").await.or_else(|error| {
            // Not everybody may; then the runs pay for each other's dirty pages.
            tracing::debug!(%error, "no checkpoint");
            Ok(())
        })
    }

    /// Fails unless the tables hold exactly what must come of the records.
    pub(super) async fn prove(
        &self,
        who: &'static str,
        expected: &Totals,
    ) -> Result<(), BenchError> {
        let mut counts = vec![(
            "parked records".to_owned(),
            "select count(*) from longshore.parked_records".to_owned(),
            expected.parked().cast_signed(),
        )];
        if let Some(table) = self.bench.plan.mode.table() {
            let rows = (expected.saved + self.case.table_rows).cast_signed();
            let sql = format!("select count(*) from {}", table.name);
            counts.push((format!("rows in {}", table.name), sql, rows));
        }
        for (what, sql, expected) in counts {
            let found = self.client.query_one(&sql, &[]).await;
            let found = found.map_err(BenchError::database("counting what is saved"))?.get(0);
            if found != expected {
                return Err(BenchError::Wrong { who, what, found, expected });
            }
        }
        Ok(())
    }

    /// Runs SQL over the connection that is not measured.
    pub(super) async fn run(&self, sql: &str) -> Result<(), BenchError> {
        let ran = self.client.batch_execute(sql).await;
        ran.map_err(BenchError::database("preparing a run"))
    }

    async fn furnish(&self) -> Result<(), BenchError> {
        self.run(
            "create table bare_offset (id int primary key, epoch bigint not null, \
             next_offset bigint not null)",
        )
        .await?;
        let _step = self.bench.progress.step("loading what records refer to", 0);
        self.load(self.bench.plan.mode.reference(&self.case.shape)).await?;
        let preload = self.bench.plan.mode.table().and_then(|table| table.preload);
        if let Some(preload) = preload.filter(|_| self.case.table_rows > 0) {
            let rows = self.case.table_rows;
            let _step = self.bench.progress.step(&format!("putting {rows} rows in before"), 0);
            self.run(&preload.replace("$rows", &rows.to_string())).await?;
            self.run("vacuum analyze").await?;
        }
        self.run("analyze").await
    }

    async fn load(&self, reference: Vec<Reference>) -> Result<(), BenchError> {
        for Reference { target, rows } in reference {
            let copied = async {
                let sql = format!("copy {target} from stdin");
                let mut sink = std::pin::pin!(self.client.copy_in::<_, Bytes>(&sql).await?);
                let rows = Bytes::from(rows);
                for at in (0..rows.len()).step_by(PIECE) {
                    sink.send(rows.slice(at..rows.len().min(at + PIECE))).await?;
                }
                sink.as_mut().finish().await
            };
            let doing = "loading what records refer to";
            copied.await.map_err(BenchError::database::<tokio_postgres::Error>(doing))?;
        }
        Ok(())
    }

    async fn fill(&self) -> Result<String, BenchError> {
        let Case { records, partitions, ref shape, .. } = self.case;
        let topic = self.bench.site.topic(partitions).await?;
        let what = format!("sending {records} records into {partitions} partitions");
        let step = self.bench.progress.step(&what, records);
        let target = self.bench.target(&topic, &self.case, records);
        let feed = self.bench.plan.mode.feed(shape, partitions);
        let filling = Filling::start(target, feed, None);
        while !filling.is_over() {
            step.done(filling.sent());
            tokio::time::sleep(LOOK_INTERVAL).await;
        }
        filling.end().await?;
        Ok(topic)
    }
}

impl Bench<'_> {
    /// Where records are sent on the given brokers.
    pub(super) fn target(&self, topic: &str, case: &Case, records: u64) -> Target {
        let given = self.site.brokers.as_ref();
        let mut properties = given.map(|given| given.topics.properties()).unwrap_or_default();
        // What a producer takes unless told otherwise is a little less than what brokers do.
        let record = case.shape.record_bytes + RECORD_EXTRA_BYTES;
        if record > PRODUCER_BYTES_MAX {
            properties.push(("message.max.bytes".to_owned(), record.to_string()));
        }
        Target {
            brokers: given.map(|given| given.addresses.clone()).unwrap_or_default(),
            topic: topic.to_owned(),
            properties,
            records,
        }
    }
}
