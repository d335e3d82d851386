//! One saving transaction, from the claim to the COMMIT.

use std::time::Instant;

use hashbrown::HashMap;
use longshore_actors::batch::WorkedBatch;
use longshore_actors::conservation::Settled;
use longshore_actors::error::SaveError;
use longshore_actors::faults;
use longshore_actors::ports::{BatchReport, Halt};
use longshore_actors::stages;
use tracing::warn;

use super::super::budget::{Promise, Tally};
use super::super::errors::{self, Failure};
use super::bisect::{self, Hint};
use super::claim;
use super::copy::Around;
use super::lanes::Lanes;
use super::merge::{Aside, Merged, State};
use super::offsets::{self, Move, Moved};
use super::outbox;
use super::parked::{self, ParkOwner, Parked};
use super::returned::{self, LaneLeft, Returned};
use super::writer::{All, Stumble, Writer};
use super::{Claims, Ended, Plan, Saver, Session, is_current};

/// What a transaction comes to if it commits.
pub(super) struct Settlement<'g> {
    /// How each batch is settled; `None` where it is left out.
    settled: Vec<Option<Settled>>,
    lanes_left: Vec<LaneLeft<'g>>,
    /// What the rows of the partitions say.
    rows: Vec<Moved>,
    /// The pipeline is stopped by it.
    stopped: Option<Halt>,
}

/// One transaction.
pub(super) struct Attempt<'a> {
    pub(super) saver: &'a Saver,
    pub(super) session: &'a Session,
    pub(super) group: &'a [WorkedBatch],
    pub(super) writer: Writer<'a>,
}

impl<'a> Attempt<'a> {
    /// Runs it to its COMMIT, or to the statement that fails.
    pub(super) async fn run(&mut self, merged: &mut Merged<'_>, plan: Plan) -> Ended {
        let mut claims = match self.claim(plan).await {
            Ok(claims) => claims,
            Err(failure) => return Ended::Failed(failure.into_save_error()),
        };
        if claims.iter().all(Result::is_err) {
            return self.leave(claims).await;
        }
        let (lanes, mut promise) = match self.lanes(&mut claims).await {
            Ok(known) => known,
            Err(failure) => return Ended::Failed(failure.into_save_error()),
        };
        if claims.iter().all(Result::is_err) {
            return self.leave(claims).await;
        }
        self.begin(merged, &claims, &lanes.aside);
        if faults::bug("offset-before-rows") {
            let settled: Vec<_> =
                (0..claims.len()).map(|n| claims[n].is_ok().then(|| merged.settled(n))).collect();
            let moves = self.moves(&settled);
            let none = HashMap::new();
            let early = offsets::write(&self.writer, &self.saver.group, &moves, &none).await;
            let committed = self.writer.run("commit; begin").await;
            if let Err(failure) = early.and(committed) {
                return Ended::Failed(failure.into_save_error());
            }
        }
        if let Err(stumble) = self.write(merged, plan).await {
            return self.next(plan, stumble);
        }
        match self.settle(merged, &claims, &lanes, &mut promise).await {
            Ok(settlement) => self.commit(merged, claims, (&lanes, settlement), plan).await,
            Err(failure) => Ended::Failed(failure.into_save_error()),
        }
    }

    /// Knows which records wait behind others, which of those that came back may go, and which
    /// batches the budget still covers.
    pub(super) async fn lanes(
        &self,
        claims: &mut Claims,
    ) -> Result<(Lanes<'a>, Option<Promise<'a>>), Failure> {
        let standing = returned::standing(&self.writer, self.group, claims).await?;
        let mut lanes = Lanes::check(self.group, claims, &standing, &self.saver.rules.retry);
        let (promise, any_left_out) = self.admit(claims, &lanes.aside);
        if any_left_out {
            lanes = Lanes::check(self.group, claims, &standing, &self.saver.rules.retry);
        }
        self.note_left_out(claims);
        Ok((lanes, promise))
    }

    fn note_left_out(&self, claims: &Claims) {
        for (worked, _) in self.group.iter().zip(claims).filter(|(_, claim)| claim.is_err()) {
            worked.batch.rolled_back();
        }
    }

    /// Begins the transaction with the batches that may go.
    async fn claim(&self, plan: Plan) -> Result<Claims, Failure> {
        for worked in self.group.iter().filter(|worked| is_current(worked)) {
            worked.batch.begin();
        }
        let (saver, owner) = (self.saver, self.saver.owner.name());
        let batches = self.group.iter().map(|worked| &*worked.batch);
        let begin = if plan.is_first() { claim::BEGIN } else { claim::BEGIN_ANEW };
        let claim = claim::claim(self.writer.client(), begin, (&saver.group, &owner), batches);
        let claims = self.writer.within(claim).await?;
        self.note_left_out(&claims);
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
    fn begin(&self, merged: &mut Merged<'_>, claims: &Claims, aside: &Aside) {
        let mut recent = self.session.recent();
        for (worked, claim) in self.group.iter().zip(claims) {
            match claim {
                Ok(position) => recent.check(worked.batch.fence.partition(), *position),
                Err(_) => recent.forget(),
            }
        }
        let goes: Vec<bool> = claims.iter().map(Result::is_ok).collect();
        merged
            .begin(&goes, aside, |entry| entry.short_key().is_some_and(|key| recent.contains(key)));
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
                    let left_out = self.writer.write(merged, &All, Around::default()).await?;
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

    /// Writes messages, parks what is rejected, settles what came back, and moves the offsets.
    /// Gives how each batch is settled, and what is left of the lanes that came back.
    pub(super) async fn settle(
        &self,
        merged: &Merged<'_>,
        claims: &Claims,
        lanes: &Lanes<'_>,
        promise: &mut Option<Promise<'_>>,
    ) -> Result<Settlement<'a>, Failure> {
        let (saver, writer) = (self.saver, &self.writer);
        let names = (saver.pipeline.as_str(), saver.group.as_str());
        outbox::write(writer, names, self.group, merged, claims).await?;
        let read = |worked: &WorkedBatch| worked.batch.parked.is_none();
        let mut records = Vec::new();
        for (number, worked) in self.group.iter().enumerate() {
            if claims[number].is_ok() && read(worked) {
                let is_aside =
                    |parked: &Parked<'_>| merged.state_of(number, parked.index()) == State::Waits;
                records.extend(Parked::of(worked).filter(|parked| !is_aside(parked)));
            }
        }
        let waits = lanes.aside.waits.iter();
        records.extend(waits.map(|(number, at)| Parked::waits(&self.group[*number], *at)));
        let refused = merged.refused().filter(|(_, worked, ..)| read(worked));
        records.extend(refused.map(|(_, worked, at, why)| Parked::refused(worked, at, why)));
        let owner = ParkOwner {
            pipeline: &saver.pipeline,
            group: &saver.group,
            policy: &saver.rules.retry,
        };
        let mut dead = HashMap::new();
        for incarnation in records.iter().filter_map(|parked| parked.dies_of(owner.policy)) {
            *dead.entry(incarnation).or_default() += 1;
        }
        parked::park(writer, &owner, records).await?;
        let returned = Returned::of(merged, self.group, claims, &saver.rules.retry);
        returned.write(writer).await?;
        let lanes_left = returned::lanes_left(writer, &saver.group, self.group, claims).await?;
        let settled: Vec<Option<Settled>> = (0..self.group.len())
            .map(|n| claims[n].is_ok().then(|| returned.settled(n).unwrap_or(merged.settled(n))))
            .collect();
        for (number, worked) in self.group.iter().enumerate() {
            let died = returned.settled(number).map_or(0, |settled| settled.parked);
            *dead.entry(worked.batch.fence.incarnation()).or_default() += died;
        }
        let moves = self.moves(&settled);
        let rows = offsets::write(writer, &saver.group, &moves, &dead).await?;
        let settles = moves.iter().map(|(.., counts)| counts.total()).sum();
        let tally = Tally { settled: settles, dead: dead.values().sum() };
        let over = promise.as_mut().and_then(|promise| promise.is_certain(tally));
        let stopped = match over {
            Some(over) => self.stop(&over).await?,
            None => None,
        };
        Ok(Settlement { settled, lanes_left, rows, stopped })
    }

    /// Where the partitions go. What came back was counted when it was parked.
    fn moves(&self, settled: &[Option<Settled>]) -> Vec<Move<'_>> {
        let mut moves = Vec::new();
        for (worked, settled) in self.group.iter().zip(settled) {
            let batch = &worked.batch;
            if let Some(settled) = settled {
                let counts = if batch.parked.is_none() { *settled } else { Settled::default() };
                offsets::add(&mut moves, (&batch.fence, batch.to, counts));
            }
        }
        moves
    }

    pub(super) async fn commit(
        &self,
        merged: &Merged<'_>,
        claims: Claims,
        (lanes, settlement): (&Lanes<'_>, Settlement<'_>),
        plan: Plan,
    ) -> Ended {
        let Settlement { settled, lanes_left, rows, stopped } = settlement;
        let began = Instant::now();
        let commit = self.writer.client().batch_execute("commit");
        let error = match tokio::time::timeout(self.writer.limit(), commit).await {
            Ok(Ok(())) => {
                stages::COMMIT.took(began.elapsed());
                self.remember(merged);
                self.draw(rows, stopped);
                lanes.tell(self.group);
                for (worked, key, records) in lanes_left {
                    worked.batch.fence.lanes().set(key, records);
                }
                let reports = claims.into_iter().zip(settled).map(|(claim, settled)| match claim {
                    Ok(_) => BatchReport::Saved(settled.unwrap_or_default()),
                    Err(report) => report,
                });
                return Ended::Done(reports.collect());
            }
            Ok(Err(error)) if errors::is_certain(&error) => self.writer.classify(&error),
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

    /// Tells the budget what was settled for certain.
    fn draw(&self, rows: Vec<Moved>, stopped: Option<Halt>) {
        if let Some(Halt { reason, .. }) = &stopped {
            warn!(pipeline = self.saver.pipeline, reason, "pipeline stopped");
        }
        if let Some(budget) = &self.saver.budget {
            budget.committed(rows, stopped);
        }
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
