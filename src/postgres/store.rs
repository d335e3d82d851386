//! [`PostgresStore`]: offsets and rows of one pipeline in PostgreSQL.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use longshore_actors::batch::{Batch, WorkedBatch};
use longshore_actors::error::{SaveError, StoreError};
use longshore_actors::fence::Fence;
use longshore_actors::format::Format;
use longshore_actors::parked::DueBatch;
use longshore_actors::ports::{Acquired, BatchReport, Opened, Seen, SessionId, Store};
use longshore_actors::record::Offset;
use longshore_actors::rows::RowBuffer;
use tokio::runtime::Handle;

use super::acquire::{self, Acquirer};
use super::budget::Budget;
use super::connect::{ConnectOptions, SessionSettings};
use super::due::DueRecords;
use super::marks::Marks;
use super::own_writes::LoadOwn;
use super::owner::Owner;
use super::pool::{QueryPool, SessionPool};
use super::repeats::Repeats;
use super::save::{self, SaveRules, SavedTables, Saver, Session};
use super::table::{ChangedTable, SqlTable};
use super::watch::Watch;
use crate::positions::{Positions, StartPosition};

/// What a [`PostgresStore`] is made of.
pub struct StoreParams {
    /// The database.
    pub options: ConnectOptions,
    /// Where connections live. It must not be that of an actor, which may hang or end.
    pub runtime: Handle,
    /// The pipeline's name, for its parked records.
    pub pipeline: String,
    /// The consumer group.
    pub group: String,
    /// The topics that the pipeline reads.
    pub topics: Vec<String>,
    /// Where the group begins in a topic that it has no offset for.
    pub start: StartPosition,
    /// Who we are.
    pub owner: Owner,
    /// Saving sessions: one for each PersisterActor.
    pub sessions: usize,
    /// The pipeline's tables, in declared order.
    pub tables: Vec<SqlTable>,
    /// The tables whose rows its records change, in declared order; none, unless it has own writes.
    pub changed: Vec<ChangedTable>,
    /// What the broker knows.
    pub positions: Arc<dyn Positions>,
    /// How long a statement may take.
    pub statement_timeout: Duration,
    /// Shared with the pipeline's lookups.
    pub repeats: Arc<Repeats>,
    /// The connections of the pipeline's lookups, for short queries.
    pub queries: QueryPool,
    /// How parked records come back, and what becomes of errors.
    pub rules: SaveRules,
    /// The format of the records' values.
    pub format: Format,
}

/// Offsets and rows of one pipeline.
pub struct PostgresStore {
    acquirer: Acquirer,
    marks: Marks,
    watch: Watch,
    due: DueRecords,
    saver: Saver,
    sessions: Vec<Session>,
}

impl PostgresStore {
    /// Opens no connection yet.
    pub fn new(params: StoreParams) -> Self {
        let pool = |settings| SessionPool::new(&params.options, settings, &params.runtime);
        let settings = if params.changed.is_empty() {
            SessionSettings::with_statement_timeout(params.statement_timeout)
        } else {
            save::group_settings(params.statement_timeout)
        };
        let sessions = (0..params.sessions).map(|_| Session::new(pool(settings))).collect();
        let names = (params.pipeline.clone(), params.group.clone());
        let budget = params
            .rules
            .budget
            .map(|limits| Arc::new(Budget::new(names.clone(), params.topics, limits)));
        let watch = Watch::new(
            params.queries.clone(),
            names.clone(),
            params.owner.clone(),
            params.positions.clone(),
            budget.clone(),
        );
        let acquirer = Acquirer {
            pool: pool(acquire::settings()),
            pipeline: params.pipeline.clone(),
            group: params.group.clone(),
            owner: params.owner.clone(),
            start: params.start,
            positions: params.positions,
        };
        let due = DueRecords {
            pool: params.queries.clone(),
            group: params.group.clone(),
            format: params.format,
        };
        let marks = Marks { pool: params.queries, group: params.group.clone() };
        let saver = Saver::new(
            names,
            budget,
            params.owner,
            &SavedTables { saved: params.tables, changed: params.changed },
            params.statement_timeout,
            params.repeats,
            params.rules,
        );
        Self { acquirer, marks, watch, due, saver, sessions }
    }
}

impl PostgresStore {
    /// See [`longshore_actors::ports::OwnWrites::open`].
    pub(super) async fn open_group<C: LoadOwn>(
        &self,
        session: SessionId,
        group: &[Arc<Batch>],
        keys: &C::Keys,
    ) -> Result<Opened<C>, SaveError> {
        self.saver.open(&self.sessions[session.0], group, keys).await
    }
}

impl Store for PostgresStore {
    fn acquire<'a>(
        &'a self,
        fences: &'a [Arc<Fence>],
    ) -> BoxFuture<'a, Result<Vec<Acquired>, StoreError>> {
        Box::pin(self.acquirer.acquire(fences))
    }

    fn reacquire<'a>(&'a self, fence: &'a Fence) -> BoxFuture<'a, Result<Acquired, StoreError>> {
        Box::pin(self.acquirer.reacquire(fence))
    }

    fn begin_work<'a>(
        &'a self,
        fence: &'a Fence,
        named: Option<Offset>,
    ) -> BoxFuture<'a, Result<bool, StoreError>> {
        Box::pin(self.marks.begin_work(fence, named))
    }

    fn rest<'a>(&'a self, fences: &'a [Arc<Fence>]) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(self.marks.rest(fences))
    }

    fn look<'a>(
        &'a self,
        fences: &'a [Arc<Fence>],
    ) -> BoxFuture<'a, Result<Vec<Seen>, StoreError>> {
        Box::pin(self.watch.look(fences))
    }

    fn due<'a>(
        &'a self,
        fence: &'a Fence,
        records: usize,
        bytes: usize,
    ) -> BoxFuture<'a, Result<Option<DueBatch>, StoreError>> {
        Box::pin(self.due.read(fence, records, bytes))
    }

    fn save<'a>(
        &'a self,
        session: SessionId,
        group: &'a [WorkedBatch],
    ) -> BoxFuture<'a, Result<Vec<BatchReport>, SaveError>> {
        Box::pin(self.saver.save(&self.sessions[session.0], group))
    }

    fn save_open<'a>(
        &'a self,
        session: SessionId,
        group: &'a [WorkedBatch],
        changes: &'a RowBuffer,
    ) -> BoxFuture<'a, Result<Vec<BatchReport>, SaveError>> {
        Box::pin(self.saver.save_open(&self.sessions[session.0], group, changes))
    }

    fn abort(&self, session: SessionId) {
        self.sessions[session.0].pool.abort();
    }
}
