//! The saving transaction: fence, rows, parked records, offsets, together or not at all.
//!
//! The first attempt is optimistic: one COPY a table, no savepoint. When it stumbles it is rolled
//! back and the transaction is done again, the fence checked anew, in the way that the stumble
//! calls for: over a saved key, rows go through a waiting room that leaves out what is saved; over
//! a row that is refused, by savepoints, until exactly the refused records are known.
//!
//! # Locks
//! In one order in every transaction: offset rows by group, topic and partition; the tables as they
//! are declared, each sorted by key; parked records by topic, partition and offset.

mod bisect;
mod claim;
mod copy;
mod merge;
mod parked;
mod recent;
mod statements;
mod writer;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use longshore_actors::batch::WorkedBatch;
use longshore_actors::conservation::Settled;
use longshore_actors::error::SaveError;
use longshore_actors::faults;
use longshore_actors::fence::{Fence, Position};
use longshore_actors::ports::BatchReport;
use longshore_actors::record::NextOffset;
use longshore_actors::stages;
use tokio_postgres::types::ToSql;

pub use parked::headers_json;

use self::bisect::Hint;
use self::merge::{Merged, State};
use self::parked::Parked;
use self::recent::RecentKeys;
use self::statements::TableStatements;
use self::writer::{All, Stumble, Writer};
use super::errors::{self, Failure};
use super::owner::Owner;
use super::pool::{Lease, SessionPool};
use super::repeats::Repeats;
use super::table::SqlTable;

const MOVE_OFFSETS: &str = r#"
    update longshore.offsets o
    set next_offset = v.next_offset, settled_records = o.settled_records + v.settled,
        parked_records = o.parked_records + v.parked, updated_at = now(),
        deaths = case when v.careful then o.deaths else 0 end,
        suspect = case when v.careful then o.suspect end,
        suspect_starts = case when v.careful then o.suspect_starts else 0 end
    from unnest($2::text[], $3::int[], $4::bigint[], $5::bigint[], $6::bigint[], $7::boolean[])
        v(topic, partition, next_offset, settled, parked, careful)
    where o."group" = $1 and o.topic = v.topic and o.partition = v.partition"#;

/// One saving session: its connection, and what it remembers.
pub(super) struct Session {
    /// The connection.
    pub(super) pool: SessionPool,
    recent: Mutex<RecentKeys>,
}

impl Session {
    /// A session over `pool`.
    pub(super) fn new(pool: SessionPool) -> Self {
        Self { pool, recent: Mutex::default() }
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
    statement_timeout: Duration,
    repeats: Arc<Repeats>,
}

/// How a transaction is to be done.
#[derive(Clone, Copy)]
struct Plan {
    /// Rows whose key is saved already are left out.
    leave_out: bool,
    /// Refused records are looked for.
    bisect: Option<Hint>,
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
        pipeline: String,
        group: String,
        owner: Owner,
        tables: &[SqlTable],
        statement_timeout: Duration,
        repeats: Arc<Repeats>,
    ) -> Self {
        let tables = tables.iter().map(TableStatements::new).collect();
        Self { pipeline, group, owner, tables, statement_timeout, repeats }
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
        let mut plan = Plan { leave_out: false, bisect: None };
        let began = Instant::now();
        loop {
            let mut attempt = Attempt {
                saver: self,
                session,
                group,
                writer: Writer::new(lease.client(), &self.tables, self.statement_timeout),
            };
            match attempt.run(&mut merged, plan).await {
                Ended::Done(reports) => {
                    stages::SAVE.took(began.elapsed());
                    lease.hand_back();
                    return Ok(reports);
                }
                Ended::Failed(error) => return Err(self.fail(session, group, lease, error)),
                Ended::Again(next) => {
                    if let Err(failure) = attempt.writer.run("rollback").await {
                        let error = failure.into_save_error();
                        return Err(self.fail(session, group, lease, error));
                    }
                    note_rolled_back(group);
                    plan = next;
                }
            }
        }
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

fn is_current(worked: &WorkedBatch) -> bool {
    claim::position_of(&worked.batch).is_some()
}

fn note_rolled_back(group: &[WorkedBatch]) {
    for worked in group {
        worked.batch.rolled_back();
    }
}

/// One transaction.
struct Attempt<'a> {
    saver: &'a Saver,
    session: &'a Session,
    group: &'a [WorkedBatch],
    writer: Writer<'a>,
}

impl Attempt<'_> {
    async fn run(&mut self, merged: &mut Merged<'_>, plan: Plan) -> Ended {
        let claims = match self.claim().await {
            Ok(claims) => claims,
            Err(failure) => return Ended::Failed(failure.into_save_error()),
        };
        if claims.iter().all(Result::is_err) {
            return self.leave(claims).await;
        }
        self.begin(merged, &claims);
        if faults::bug("offset-before-rows") {
            let early = self.move_offsets(merged, &claims).await;
            let committed = self.writer.run("commit; begin").await;
            if let Err(failure) = early.and(committed) {
                return Ended::Failed(failure.into_save_error());
            }
        }
        if let Err(stumble) = self.write(merged, plan).await {
            return self.next(plan, stumble);
        }
        if let Err(failure) = self.settle(merged, &claims).await {
            return Ended::Failed(failure.into_save_error());
        }
        self.commit(merged, claims, plan).await
    }

    /// Begins the transaction with the batches that may go.
    async fn claim(&self) -> Result<Claims, Failure> {
        for worked in self.group.iter().filter(|worked| is_current(worked)) {
            worked.batch.begin();
        }
        let (saver, owner) = (self.saver, self.saver.owner.name());
        let claim = claim::claim(self.writer.client(), (&saver.group, &owner), self.group);
        let claims = self.writer.within(claim).await?;
        for (worked, _) in self.group.iter().zip(&claims).filter(|(_, claim)| claim.is_err()) {
            worked.batch.rolled_back();
        }
        Ok(claims)
    }

    /// Ends a transaction without any batch.
    async fn leave(&self, claims: Claims) -> Ended {
        match self.writer.run("rollback").await {
            Ok(()) => {
                self.session.recent().forget();
                Ended::Done(claims.into_iter().filter_map(Result::err).collect())
            }
            Err(failure) => Ended::Failed(failure.into_save_error()),
        }
    }

    /// Knows the batches that go, and of them the records that are saved already.
    fn begin(&self, merged: &mut Merged<'_>, claims: &Claims) {
        let mut recent = self.session.recent();
        for (worked, claim) in self.group.iter().zip(claims) {
            match claim {
                Ok(position) => recent.check(worked.batch.fence.partition(), *position),
                Err(_) => recent.forget(),
            }
        }
        let goes: Vec<bool> = claims.iter().map(Result::is_ok).collect();
        merged.begin(&goes, |entry| entry.short_key().is_some_and(|key| recent.contains(key)));
    }

    /// Writes the rows, round by round.
    async fn write(&mut self, merged: &mut Merged<'_>, plan: Plan) -> Result<(), Stumble> {
        if plan.leave_out {
            self.writer.leave_out_repeats().await?;
        }
        merged.open_round();
        let mut bisect = plan.bisect;
        loop {
            match &mut bisect {
                None => {
                    let left_out = self.writer.write(merged, &All).await?;
                    merged.settle_pending();
                    left_out.note(merged);
                }
                Some(hint) => {
                    bisect::write(&mut self.writer, merged, *hint).await?;
                    *hint = Hint::Nothing;
                }
            }
            if !merged.open_round() {
                return Ok(());
            }
        }
    }

    /// What to do about rows that could not be written.
    fn next(&self, plan: Plan, stumble: Stumble) -> Ended {
        match stumble {
            Stumble::Failed(failure) => Ended::Failed(failure.into_save_error()),
            Stumble::Partial if plan.bisect.is_none() => {
                Ended::Again(Plan { bisect: Some(Hint::Nothing), ..plan })
            }
            Stumble::Partial => {
                Ended::Failed(SaveError::Stop("a record's keys are saved in part".to_owned()))
            }
            Stumble::Row { is_repeat: true, .. } if !plan.leave_out => {
                self.saver.repeats.met();
                Ended::Again(Plan { leave_out: true, ..plan })
            }
            Stumble::Row { suspect, .. } if plan.bisect.is_none() => {
                let hint = suspect.map_or(Hint::SomeRow, Hint::Suspect);
                Ended::Again(Plan { bisect: Some(hint), ..plan })
            }
            Stumble::Row { failure, .. } => Ended::Failed(Failure::Row(failure).into_save_error()),
        }
    }

    /// Parks what is rejected and moves the offsets.
    async fn settle(&self, merged: &Merged<'_>, claims: &Claims) -> Result<(), Failure> {
        let going = || self.group.iter().zip(claims).filter(|(_, claim)| claim.is_ok());
        let mut records: Vec<Parked<'_>> =
            going().flat_map(|(worked, _)| Parked::of(worked)).collect();
        records.extend(merged.refused().map(|(worked, at, why)| Parked::new(worked, at, why)));
        parked::park(&self.writer, &self.saver.pipeline, &self.saver.group, records).await?;
        self.move_offsets(merged, claims).await
    }

    async fn move_offsets(&self, merged: &Merged<'_>, claims: &Claims) -> Result<(), Failure> {
        let mut moves: Vec<(&Fence, NextOffset, Settled)> = Vec::new();
        for (number, worked) in self.group.iter().enumerate().filter(|(n, _)| claims[*n].is_ok()) {
            let (batch, settled) = (&worked.batch, merged.settled(number));
            let same =
                |(fence, ..): &&mut (&Fence, _, _)| fence.partition() == batch.fence.partition();
            match moves.iter_mut().find(same) {
                Some((_, to, sum)) => {
                    *to = batch.to;
                    sum.add(settled);
                }
                None => moves.push((&batch.fence, batch.to, settled)),
            }
        }
        let topics: Vec<_> = moves.iter().map(|(fence, ..)| &*fence.partition().topic).collect();
        let partitions: Vec<_> = moves.iter().map(|(fence, ..)| fence.partition().index).collect();
        let offsets: Vec<_> = moves.iter().map(|(_, to, _)| to.0).collect();
        let settled: Vec<_> = moves.iter().map(|(.., sum)| sum.total() as i64).collect();
        let parked: Vec<_> = moves.iter().map(|(.., sum)| sum.parked as i64).collect();
        let careful: Vec<_> = moves.iter().map(|(fence, ..)| fence.is_careful()).collect();
        let (client, group) = (self.writer.client(), &self.saver.group);
        let statement = self.writer.within(client.prepare_cached(MOVE_OFFSETS)).await?;
        let columns: [&(dyn ToSql + Sync); 7] =
            [group, &topics, &partitions, &offsets, &settled, &parked, &careful];
        if self.writer.within(client.execute(&statement, &columns)).await? != moves.len() as u64 {
            return Err(Failure::Stop("a locked row of longshore.offsets did not move".to_owned()));
        }
        Ok(())
    }

    async fn commit(&self, merged: &Merged<'_>, claims: Claims, plan: Plan) -> Ended {
        let settled: Vec<Option<Settled>> =
            claims.iter().enumerate().map(|(n, c)| c.is_ok().then(|| merged.settled(n))).collect();
        let began = Instant::now();
        let commit = self.writer.client().batch_execute("commit");
        let error = match tokio::time::timeout(self.writer.limit(), commit).await {
            Ok(Ok(())) => {
                stages::COMMIT.took(began.elapsed());
                self.remember(merged);
                let reports = claims.into_iter().zip(settled).map(|(claim, settled)| match claim {
                    Ok(_) => BatchReport::Saved(settled.unwrap_or_default()),
                    Err(report) => report,
                });
                return Ended::Done(reports.collect());
            }
            Ok(Err(error)) if errors::is_certain(&error) => errors::classify(&error),
            Ok(Err(error)) => {
                let message = errors::classify(&error).into_message();
                return Ended::Failed(SaveError::Unknown { message, settled });
            }
            Err(_) => {
                let message = self.writer.silence();
                return Ended::Failed(SaveError::Unknown { message, settled });
            }
        };
        // What is deferred is checked at COMMIT, and names no row.
        self.next(plan, Stumble::from(error))
    }

    /// Takes in the keys that are saved for certain.
    fn remember(&self, merged: &Merged<'_>) {
        if self.saver.tables.is_empty() {
            return;
        }
        let mut recent = self.session.recent();
        for (place, entry) in (0..).zip(merged.entries(0)) {
            let is_saved = merged.state(entry.record) == State::Saved || merged.is_known(place);
            if let Some(key) = entry.short_key().filter(|_| is_saved) {
                recent.insert(key);
            }
        }
    }
}
