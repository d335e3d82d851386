//! The saving transaction: fence, rows, parked records, offsets, together or not at all.
//!
//! The first attempt is optimistic: one COPY a table, no savepoint. When it stumbles it is rolled
//! back and the transaction is done again, the fence checked anew, in the way that the stumble
//! calls for: over a saved key, rows go through a waiting room that leaves out what is saved; over
//! a row that is refused, by savepoints, until exactly the refused records are known.
//!
//! # Locks
//! In one order in every transaction: offset rows by group, topic and partition; the tables as they
//! are declared, each sorted by key; the outbox; parked records by topic, partition and offset.

mod attempt;
mod bisect;
mod budget;
mod changes;
mod claim;
mod copy;
mod group;
mod lanes;
mod merge;
mod offsets;
mod outbox;
mod parked;
mod recent;
mod returned;
mod room;
mod statements;
mod writer;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use longshore_actors::batch::WorkedBatch;
use longshore_actors::error::SaveError;
use longshore_actors::fence::Position;
use longshore_actors::parked::RetryPolicy;
use longshore_actors::ports::BatchReport;
use longshore_actors::stages;

use self::attempt::Attempt;
use self::bisect::Hint;
use self::changes::ChangeStatements;
use self::group::OpenGroup;
use self::merge::Merged;
use self::recent::RecentKeys;
use self::statements::TableStatements;
use self::writer::Writer;
use super::budget::{Budget, DeadLetterBudget};
use super::connect::SessionSettings;
use super::errors::Failure;
use super::fates::Fates;
use super::owner::Owner;
use super::pool::{Lease, SessionPool};
use super::repeats::Repeats;
use super::table::{ChangedTable, SqlTable};

/// One saving session: its connection, and what it remembers.
pub(super) struct Session {
    /// The connection.
    pub(super) pool: SessionPool,
    recent: Mutex<RecentKeys>,
    /// The transaction of a group that is being worked.
    open: Mutex<Option<OpenGroup>>,
}

impl Session {
    /// A session over `pool`.
    pub(super) fn new(pool: SessionPool) -> Self {
        Self { pool, recent: Mutex::default(), open: Mutex::default() }
    }

    fn recent(&self) -> MutexGuard<'_, RecentKeys> {
        self.recent.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Saves for one pipeline.
pub(super) struct Saver {
    pipeline: String,
    group: String,
    owner: Owner,
    tables: Vec<TableStatements>,
    changed: Vec<ChangeStatements>,
    statement_timeout: Duration,
    repeats: Arc<Repeats>,
    rules: SaveRules,
    /// `None`: it may reject everything.
    budget: Option<Arc<Budget>>,
}

/// The tables of a pipeline.
pub(super) struct SavedTables {
    /// Those that rows are saved to, in declared order.
    pub(super) saved: Vec<SqlTable>,
    /// Those whose rows records change, in declared order.
    pub(super) changed: Vec<ChangedTable>,
}

/// What the pipeline's configuration says about saving.
#[derive(Clone, Debug, Default)]
pub struct SaveRules {
    /// How much may be rejected before the pipeline stops; `None`: everything.
    pub budget: Option<DeadLetterBudget>,
    /// When parked records come back, and how often.
    pub retry: RetryPolicy,
    /// What becomes of database errors, where it is not the usual.
    pub fates: Fates,
}

/// How a transaction is to be done.
#[derive(Clone, Copy)]
struct Plan {
    /// Rows whose key is saved already are left out.
    leave_out: bool,
    /// Refused records are looked for.
    bisect: Option<Hint>,
}

impl Plan {
    /// Optimistic: nothing went wrong yet, and no transaction is to be rolled back first.
    const FIRST: Self = Self { leave_out: false, bisect: None };

    fn is_first(self) -> bool {
        !self.leave_out && self.bisect.is_none()
    }
}

/// How an attempt ended.
enum Ended {
    /// Committed, or nothing was to be done.
    Done(Vec<BatchReport>),
    /// To be done again, otherwise.
    Again(Plan),
    /// For good. Only an unknown outcome may have been committed.
    Failed(SaveError),
}

/// For each batch of a group: the position under which it goes, or why it is left out.
type Claims = Vec<Result<Position, BatchReport>>;

impl Saver {
    /// Saves rows of `tables` for `pipeline`, which reads as `group` and owns as `owner`.
    pub(super) fn new(
        (pipeline, group): (String, String),
        budget: Option<Arc<Budget>>,
        owner: Owner,
        tables: &SavedTables,
        statement_timeout: Duration,
        repeats: Arc<Repeats>,
        rules: SaveRules,
    ) -> Self {
        let changed = (0..).zip(&tables.changed).map(ChangeStatements::new).collect();
        let tables = tables.saved.iter().map(TableStatements::new).collect();
        Self { pipeline, group, owner, tables, changed, statement_timeout, repeats, rules, budget }
    }

    /// See [`longshore_actors::ports::Store::save`].
    pub(super) async fn save(
        &self,
        session: &Session,
        group: &[WorkedBatch],
    ) -> Result<Vec<BatchReport>, SaveError> {
        if !group.iter().any(is_current) {
            return Ok(group.iter().map(|_| BatchReport::Stale).collect());
        }
        let mut merged = Merged::new(group, self.tables.len());
        let lease = session.pool.lease().await.map_err(Failure::into_save_error)?;
        if lease.is_new() {
            // The server may be another one than before, and know less.
            session.recent().forget();
        }
        if let Err(failure) = self.look(&lease).await {
            return Err(self.fail(session, group, lease, failure.into_save_error()));
        }
        let mut plan = Plan::FIRST;
        let began = Instant::now();
        loop {
            let mut attempt = Attempt { saver: self, session, group, writer: self.writer(&lease) };
            match attempt.run(&mut merged, plan).await {
                Ended::Done(reports) => {
                    stages::SAVE.took(began.elapsed());
                    lease.hand_back();
                    return Ok(reports);
                }
                Ended::Failed(error) => return Err(self.fail(session, group, lease, error)),
                Ended::Again(next) => plan = next,
            }
        }
    }

    /// Knows how far the budget is spent.
    async fn look(&self, lease: &Lease) -> Result<(), Failure> {
        match &self.budget {
            Some(budget) => self.writer(lease).within(budget.look(lease.client())).await,
            None => Ok(()),
        }
    }

    fn writer<'a>(&'a self, lease: &'a Lease) -> Writer<'a> {
        Writer::new(lease.client(), &self.tables, self.statement_timeout, &self.rules.fates)
    }

    /// Throws the connection away, with the transaction on it.
    fn fail(
        &self,
        session: &Session,
        group: &[WorkedBatch],
        lease: Lease,
        error: SaveError,
    ) -> SaveError {
        drop(lease);
        session.recent().forget();
        // Without a COMMIT nothing is committed, whatever became of the connection.
        if !matches!(error, SaveError::Unknown { .. }) {
            note_rolled_back(group);
        }
        error
    }
}

/// The settings of sessions whose transactions are begun before their records are worked.
pub(super) fn group_settings(statement_timeout: Duration) -> SessionSettings {
    SessionSettings {
        // Who waits for rows of another group holds rows of its own meanwhile.
        lock_timeout: statement_timeout.min(group::HELD_MAX / 2),
        idle_in_transaction_timeout: group::HELD_MAX,
        lookups: true,
        ..SessionSettings::with_statement_timeout(statement_timeout)
    }
}

fn is_current(worked: &WorkedBatch) -> bool {
    claim::position_of(&worked.batch).is_some()
}

fn note_rolled_back(group: &[WorkedBatch]) {
    for worked in group {
        worked.batch.rolled_back();
    }
}
