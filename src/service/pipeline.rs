//! A pipeline as the program holds it: its code, its tables and migrations, and the way to start
//! it, whatever its event, context and row types are.

use std::sync::{Arc, LazyLock};

use futures_util::future::BoxFuture;
use longshore_actors::gate::Gate;
use longshore_actors::pipeline::Pipeline;
use longshore_actors::publisher::Relay;
use longshore_actors::topology::{House, HouseParams, Placement, Supervision};
use tokio::runtime::Handle;

use super::ServiceError;
use super::ready::{PrepareError, ReadyPipeline};
use super::running::RunningPipeline;
use crate::config::{Config, Kind, PipelineConfig};
use crate::kafka::{
    BatchLimits, CommitLimits, ConsumerError, ConsumerKeeper, ConsumerParams, KafkaPositions,
    KafkaPublisher, ThreadSource,
};
use crate::postgres::connect::{ConnectOptions, SessionSettings};
use crate::postgres::context::{ContextParts, PostgresContext};
use crate::postgres::migrate::MigrationSet;
use crate::postgres::outbox::PostgresOutbox;
use crate::postgres::owner::Owner;
use crate::postgres::pool::QueryPool;
use crate::postgres::repeats::Repeats;
use crate::postgres::row::Tables;
use crate::postgres::save::SaveRules;
use crate::postgres::store::{PostgresStore, StoreParams};
use crate::postgres::table::SqlTable;

/// A [`Pipeline`] whose context and rows are declared by [`crate::lookups!`] (or
/// [`crate::own_writes!`]) and [`crate::row!`], together with the migrations that make its tables.
pub trait PostgresPipeline: Pipeline<Context: PostgresContext, Rows: Tables> {
    /// Its migrations, by `MigrationSet::new(NAME, embed_migrations!("migrations/NAME"))`.
    const MIGRATIONS: MigrationSet;
}

/// A pipeline without its types, as `pipelines![..]` lists it.
pub trait AnyPipeline: Send + Sync + 'static {
    /// What the configuration calls it.
    fn kind(&self) -> Kind;

    /// Its migrations.
    fn migrations(&self) -> MigrationSet;

    /// Makes it ready to start as `config` says, by a look into the database through `pool` where
    /// something is known there alone.
    fn prepare<'a>(
        self: Arc<Self>,
        config: &'a PipelineConfig,
        pool: &'a QueryPool,
    ) -> BoxFuture<'a, Result<ReadyPipeline, PrepareError>>;
}

/// What a pipeline is started with.
pub struct Start<'a> {
    /// The whole configuration.
    pub config: &'a Config,
    /// The part of it that is this pipeline's.
    pub pipeline: &'a PipelineConfig,
    /// The way to the database.
    pub database: &'a ConnectOptions,
    /// The runtime that the database's sockets belong to.
    pub runtime: &'a Handle,
    /// Asks the brokers, as this pipeline's group.
    pub positions: Arc<KafkaPositions>,
    /// Partitions of all its topics.
    pub partitions: u32,
}

/// All pipelines die with the process, so that all of them have one gate.
static GATE: LazyLock<Gate> = LazyLock::new(Gate::default);

/// Connections for lookups, each pipeline's.
const LOOKUP_CONNECTIONS: usize = longshore_actors::context::LOOKUPS_AT_A_TIME;

/// Batches of one partition in the house at most: one is saved, one worked, one looked up, one
/// waits to be.
const BATCHES_AHEAD: usize = 4;

/// How long a revoke waits for the batches in hand; what takes longer is read again by the next
/// owner, behind the fence.
const REVOKE_WAIT: std::time::Duration = std::time::Duration::from_secs(1);

impl<P: PostgresPipeline> AnyPipeline for P {
    fn kind(&self) -> Kind {
        Kind {
            name: P::NAME,
            default_topics: P::TOPICS,
            lookups: P::Context::LOOKUPS,
            lands: false,
        }
    }

    fn migrations(&self) -> MigrationSet {
        P::MIGRATIONS
    }

    fn prepare<'a>(
        self: Arc<Self>,
        _config: &'a PipelineConfig,
        _pool: &'a QueryPool,
    ) -> BoxFuture<'a, Result<ReadyPipeline, PrepareError>> {
        // All of it was known when the program was compiled.
        Box::pin(async { Ok(ReadyPipeline::new(self, P::Rows::tables())) })
    }
}

impl Start<'_> {
    /// Starts the house of `pipeline`, which saves to `tables`, and its consumer.
    pub(super) fn house<P: Pipeline<Context: PostgresContext>>(
        &self,
        pipeline: Arc<P>,
        tables: Vec<SqlTable>,
    ) -> Result<RunningPipeline, ServiceError> {
        let (source, commands) = ThreadSource::channel();
        let owner = Owner::new();
        let (repeats, queries) = (Arc::new(Repeats::default()), self.lookup_pool());
        let store = self.store::<P>(tables, owner.clone(), repeats.clone(), queries.clone());
        let store = Arc::new(store);
        let rules = self.pipeline.lookups.clone();
        let parts = ContextParts { queries, repeats, store: store.clone(), rules };
        let house = House::build(HouseParams {
            name: self.pipeline.name.as_str().into(),
            pipeline,
            order: self.pipeline.order.unwrap_or(P::ORDER),
            budget: self.config.tickets(),
            workers: self.config.workers,
            in_flight: self.pipeline.work,
            sessions: self.config.database.connections,
            pace: self.config.pace(self.pipeline),
            store,
            context: P::Context::source::<P>(&parts),
            source: source.clone(),
            placement: Placement::Threads,
            retry: self.pipeline.retry,
            gate: GATE.clone(),
            relay: Some(self.relay(owner.clone())?),
            supervision: Supervision::default(),
        });
        // Each consumer is an owner of its own.
        let renew = Box::new(move || owner.renew());
        let channel = (source, commands);
        let consumer = ConsumerKeeper::start(self.consumer(), house.front(), channel, renew)?;
        Ok(RunningPipeline::new(self.pipeline.clone(), house, consumer))
    }

    fn settings(&self) -> SessionSettings {
        SessionSettings::with_statement_timeout(self.config.database.statement_timeout)
    }

    fn lookup_pool(&self) -> QueryPool {
        let settings = SessionSettings { lookups: true, ..self.settings() };
        QueryPool::new(self.database, settings, LOOKUP_CONNECTIONS, self.runtime)
    }

    fn store<P: Pipeline<Context: PostgresContext>>(
        &self,
        tables: Vec<SqlTable>,
        owner: Owner,
        repeats: Arc<Repeats>,
        queries: QueryPool,
    ) -> PostgresStore {
        PostgresStore::new(StoreParams {
            options: self.database.clone(),
            runtime: self.runtime.clone(),
            pipeline: self.pipeline.name.clone(),
            group: self.pipeline.group.clone(),
            topics: self.pipeline.topics.clone(),
            start: self.pipeline.start,
            owner,
            sessions: self.config.database.connections,
            statement_timeout: self.config.database.statement_timeout,
            tables,
            changed: P::Context::changed_tables(),
            positions: self.positions.clone(),
            repeats,
            queries,
            rules: SaveRules {
                budget: self.pipeline.dead_letter_budget,
                retry: self.pipeline.retry,
                fates: self.pipeline.fates.clone(),
            },
            format: self.pipeline.format,
        })
    }

    /// What publishes. It connects to neither side before there is something to look for or send.
    fn relay(&self, owner: Owner) -> Result<Relay, ConsumerError> {
        let kafka = &self.config.kafka;
        let publisher = KafkaPublisher::try_new(&kafka.brokers, &kafka.properties.to_map())?;
        let dead_letter_topic = self.pipeline.dead_letter_topic.clone();
        let always = dead_letter_topic.is_some();
        let outbox = PostgresOutbox {
            pool: QueryPool::new(self.database, self.settings(), 1, self.runtime),
            group: self.pipeline.group.clone(),
            owner,
            dead_letter_topic,
        };
        Ok(Relay { outbox: Arc::new(outbox), publisher: Arc::new(publisher), always })
    }

    fn consumer(&self) -> ConsumerParams {
        let (kafka, batch) = (&self.config.kafka, self.config.batch(self.pipeline));
        ConsumerParams {
            pipeline: self.pipeline.name.clone(),
            topics: self.pipeline.topics.clone(),
            group: self.pipeline.group.clone(),
            brokers: kafka.brokers.clone(),
            properties: kafka.properties.to_map(),
            format: self.pipeline.format,
            batch: BatchLimits {
                records: usize::try_from(batch.records).unwrap_or(usize::MAX),
                bytes: usize::try_from(batch.bytes).unwrap_or(usize::MAX),
                linger: batch.linger,
            },
            batches_ahead: BATCHES_AHEAD,
            commit: CommitLimits { interval: kafka.commit.interval, records: kafka.commit.records },
            fetch_budget_bytes: self.config.fetch_queue_bytes(),
            partitions: self.partitions,
            revoke_wait: REVOKE_WAIT,
        }
    }
}
