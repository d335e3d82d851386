//! The transaction of a group: begun before its records are worked, so that what they read is
//! locked until what they change is written. Committed or rolled back as a whole.

use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use longshore_actors::batch::{Batch, WorkedBatch};
use longshore_actors::error::{Reject, SaveError};
use longshore_actors::ports::{BatchReport, Opened};
use longshore_actors::rows::RowBuffer;
use longshore_actors::stages;

use super::super::errors::Failure;
use super::super::own_writes::LoadOwn;
use super::super::pool::{HoldLimit, Lease};
use super::attempt::Attempt;
use super::bisect::{self, Hint};
use super::copy::Around;
use super::merge::{Aside, Merged, RecordNo};
use super::writer::{All, Stumble};
use super::{Claims, Ended, Plan, Saver, Session, changes, claim, is_current, note_rolled_back};

/// How long a group may hold its rows. Less than an acquire waits for a lock, so that a partition
/// never waits in vain for a group of its last owner.
pub(in super::super) const HELD_MAX: Duration = Duration::from_secs(10);

/// What a group's transaction goes back to when the database refuses a row. Lookups are planned for
/// their own keys, each time; from here on the server plans as it likes. It checks foreign keys by
/// a query for each row, and that each of these is planned anew costs more than all else.
const MARK: &str = "set local plan_cache_mode = auto; savepoint longshore_group";
const UNDO: &str = "rollback to savepoint longshore_group";

/// The transaction of a group that is being worked. Dropped, its connection is closed.
pub(super) struct OpenGroup {
    lease: Lease,
    limit: HoldLimit,
    /// Whether saved keys were looked for.
    probed: bool,
}

/// Refused records, by their number in the group.
type Refusals = Vec<(RecordNo, Reject)>;

impl Saver {
    /// See [`longshore_actors::ports::OwnWrites::open`].
    pub(in super::super) async fn open<C: LoadOwn>(
        &self,
        session: &Session,
        group: &[Arc<Batch>],
        keys: &C::Keys,
    ) -> Result<Opened<C>, SaveError> {
        // What an actor left behind that died.
        drop(take_open(session));
        let lease = session.pool.lease().await.map_err(Failure::into_save_error)?;
        let limit = session.pool.limit(HELD_MAX);
        group.iter().for_each(|batch| batch.begin());
        let probed = self.repeats.probing_pays();
        let opened = self.begin::<C>(&lease, group, (keys, probed)).await;
        match opened {
            Ok(Opened::Open(context)) => {
                let open = OpenGroup { lease, limit, probed };
                *session.open.lock().unwrap_or_else(PoisonError::into_inner) = Some(open);
                Ok(Opened::Open(context))
            }
            Ok(left_out) => {
                let ended = self.writer(&lease).run("rollback").await;
                group.iter().for_each(|batch| batch.rolled_back());
                ended.map_err(Failure::into_save_error)?;
                lease.hand_back();
                Ok(left_out)
            }
            Err(failure) => {
                drop(lease);
                group.iter().for_each(|batch| batch.rolled_back());
                Err(limit.explain(failure).into_save_error())
            }
        }
    }

    async fn begin<C: LoadOwn>(
        &self,
        lease: &Lease,
        group: &[Arc<Batch>],
        (keys, probed): (&C::Keys, bool),
    ) -> Result<Opened<C>, Failure> {
        let (writer, owner) = (self.writer(lease), self.owner.name());
        let batches = group.iter().map(|batch| &**batch);
        let claimed = claim::claim(writer.client(), claim::BEGIN, (&self.group, &owner), batches);
        let claims = writer.within(claimed).await?;
        if claims.iter().any(Result::is_err) {
            return Ok(Opened::LeftOut(claims.into_iter().map(Result::err).collect()));
        }
        let context = C::load(writer.client(), keys, probed).await?;
        if probed {
            self.repeats.probed(context.found_repeats());
        }
        writer.run(MARK).await?;
        Ok(Opened::Open(context))
    }

    /// See [`longshore_actors::ports::Store::save_open`].
    pub(in super::super) async fn save_open(
        &self,
        session: &Session,
        group: &[WorkedBatch],
        changes: &RowBuffer,
    ) -> Result<Vec<BatchReport>, SaveError> {
        let Some(OpenGroup { lease, limit, probed }) = take_open(session) else {
            note_rolled_back(group);
            return Ok(gone(group));
        };
        let began = Instant::now();
        let mut merged = Merged::new(group, self.tables.len());
        let ended = Attempt { saver: self, session, group, writer: self.writer(&lease) }
            .run_open(&mut merged, changes, probed)
            .await;
        match ended {
            Ok(GroupEnd::Committed(reports)) => {
                stages::SAVE.took(began.elapsed());
                lease.hand_back();
                Ok(reports)
            }
            Ok(GroupEnd::ToUndo(reports)) => {
                let ended = self.writer(&lease).run("rollback").await;
                note_rolled_back(group);
                match ended {
                    Ok(()) => lease.hand_back(),
                    Err(failure) => tracing::debug!(?failure, "a connection is closed"),
                }
                Ok(reports)
            }
            Err(error @ SaveError::Unknown { .. }) => Err(error),
            Err(error) => {
                drop(lease);
                note_rolled_back(group);
                Err(match error {
                    SaveError::Retry(reason) => {
                        limit.explain(Failure::Retry(reason)).into_save_error()
                    }
                    error => error,
                })
            }
        }
    }
}

fn take_open(session: &Session) -> Option<OpenGroup> {
    session.open.lock().unwrap_or_else(PoisonError::into_inner).take()
}

/// How the transaction of a group ended.
enum GroupEnd {
    Committed(Vec<BatchReport>),
    /// It is to be rolled back, and this is what the partitions hear.
    ToUndo(Vec<BatchReport>),
}

impl Attempt<'_> {
    /// Writes the group into its open transaction, and commits it.
    async fn run_open(
        &mut self,
        merged: &mut Merged<'_>,
        changes: &RowBuffer,
        probed: bool,
    ) -> Result<GroupEnd, SaveError> {
        let mut claims: Claims = self
            .group
            .iter()
            .map(|worked| claim::position_of(&worked.batch).ok_or(BatchReport::Stale))
            .collect();
        let known = self.lanes(&mut claims).await;
        let (lanes, mut promise) = known.map_err(Failure::into_save_error)?;
        if claims.iter().any(Result::is_err) {
            let report = |claim: Result<_, BatchReport>| claim.err();
            let left_out = claims.into_iter().map(report);
            let reports = left_out.map(|report| report.unwrap_or(BatchReport::RolledBack));
            return Ok(GroupEnd::ToUndo(reports.collect()));
        }
        let refused = if self.has_effect(&lanes.aside) {
            // A person took a parked record away, say, that came back with this group.
            Some(Refusals::new())
        } else {
            let written = self.write_open(merged, &lanes.aside, changes, probed).await;
            written.map_err(Failure::into_save_error)?
        };
        if let Some(refused) = refused {
            return Ok(GroupEnd::ToUndo(reports_of(merged, self.group, refused)));
        }
        let settlement = self.settle(merged, &claims, &lanes, &mut promise).await;
        let settlement = settlement.map_err(Failure::into_save_error)?;
        match self.commit(merged, claims, (&lanes, settlement), Plan::FIRST).await {
            Ended::Done(reports) => Ok(GroupEnd::Committed(reports)),
            Ended::Again(_) => Err(SaveError::Stop(
                "a constraint is first checked at COMMIT, after all were made immediate".to_owned(),
            )),
            Ended::Failed(error) => Err(error),
        }
    }

    /// Whether a record that is put aside was to be saved: others were computed after it.
    fn has_effect(&self, aside: &Aside) -> bool {
        let is_saved = |(number, index): &(usize, u32)| {
            !self.group[*number].chunks.iter().any(|chunk| {
                chunk.skipped.contains(index)
                    || chunk.duplicate.contains(index)
                    || chunk.rejections.iter().any(|rejection| rejection.record == *index)
            })
        };
        aside.waits.iter().chain(&aside.left).any(is_saved)
    }

    /// Writes rows and changes. Gives what the database refuses; nothing may be committed then.
    async fn write_open(
        &mut self,
        merged: &mut Merged<'_>,
        aside: &Aside,
        changes: &RowBuffer,
        probed: bool,
    ) -> Result<Option<Refusals>, Failure> {
        let goes = vec![true; self.group.len()];
        merged.begin(&goes, aside, |_| false);
        merged.open_round();
        let hint = match self.write_rows(merged).await {
            Ok(()) => None,
            Err(Stumble::Failed(failure)) => return Err(failure),
            Err(Stumble::Partial) => Some(Hint::SomeRow),
            Err(Stumble::Row { is_repeat: true, .. }) if !probed => {
                // Nobody looked for repeats, so `work` did not know. The next round does.
                self.saver.repeats.met();
                return Ok(Some(Refusals::new()));
            }
            Err(Stumble::Row { suspect, .. }) => Some(suspect.map_or(Hint::SomeRow, Hint::Suspect)),
        };
        if let Some(hint) = hint {
            self.writer.run(UNDO).await?;
            merged.begin(&goes, aside, |_| false);
            merged.open_round();
            bisect::write(&mut self.writer, merged, hint).await?;
            let refused: Refusals = merged.take_refused();
            // A duplicate was saved by another writer meanwhile: what is read anew knows it.
            if merged.has_duplicates() {
                self.saver.repeats.met();
                return Ok(Some(refused));
            }
            if !refused.is_empty() {
                return Ok(Some(refused));
            }
        }
        if merged.open_round() || merged.has_duplicates() {
            return Err(Failure::Stop(
                "two records of one group have the same key in the first table: `saved` of \
                 `own_writes!` must name that table's key, and `work` must ask it"
                    .to_owned(),
            ));
        }
        let refused = changes::write(&self.writer, &self.saver.changed, changes).await?;
        Ok((!refused.is_empty()).then_some(refused))
    }

    async fn write_rows(&mut self, merged: &mut Merged<'_>) -> Result<(), Stumble> {
        let left_out = self.writer.write(merged, &All, Around::default()).await?;
        merged.settle_pending();
        left_out.note(merged);
        self.writer.run("set constraints all immediate").await?;
        Ok(())
    }
}

/// What the partitions hear of a group that is rolled back.
fn reports_of(merged: &Merged<'_>, group: &[WorkedBatch], refused: Refusals) -> Vec<BatchReport> {
    let mut by_batch: Vec<Vec<(u32, Reject)>> = vec![Vec::new(); group.len()];
    for (record, reject) in refused {
        let (batch, index) = merged.place_of(record);
        by_batch[batch].push((index, reject));
    }
    let report = |refused: Vec<_>| {
        if refused.is_empty() { BatchReport::RolledBack } else { BatchReport::Refused(refused) }
    };
    by_batch.into_iter().map(report).collect()
}

/// What they hear if the connection was closed meanwhile.
fn gone(group: &[WorkedBatch]) -> Vec<BatchReport> {
    let report = |worked| {
        if is_current(worked) { BatchReport::RolledBack } else { BatchReport::Stale }
    };
    group.iter().map(report).collect()
}
