//! PersisterActor: owns one saving session, and with it the partitions pinned to it. Takes worked
//! chunks, rejoins them to batches, and saves all batches whose turn has come in one transaction,
//! if they are worth one or have waited for company; retries an outage here, tells each partition
//! what became of its batch. A partition that goes on with another session has its next batch there
//! as soon as its last one is saved here.

mod saving;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use actix::prelude::*;
use tokio::time::Instant;
use tracing::warn;

use self::saving::{Saving, records_of};
use crate::batch::{GivenUp, WorkedBatch, WorkedChunk};
use crate::error::SaveError;
use crate::faults;
use crate::group::{self, WorkedGroup};
use crate::health::Signs;
use crate::pace::{Pace, Permit, Wait};
use crate::parcel::Parcel;
use crate::ports::{BatchReport, CommitBoard, SessionId, Store};
use crate::relay::Bell;
use crate::stage::Stage;
use crate::supervise::{Post, Watched};

/// How often batches of ended assignments are looked for, which no message would bring up again.
const SWEEP_INTERVAL: Duration = Duration::from_secs(1);

/// The persisters of a house; each partition is pinned to one at a time, so that no two
/// transactions of a house ever wait for the same offset row.
#[derive(Clone)]
pub(crate) struct Persisters(Vec<PersisterStages>);

/// The places of one persister.
#[derive(Clone)]
pub(crate) struct PersisterStages {
    pub(crate) chunks: Stage<WorkedChunk>,
    pub(crate) groups: Stage<WorkedGroup>,
    pub(crate) turns: Stage<TurnCame>,
}

/// The turn of a batch has come whose partition was pinned to another session before.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct TurnCame;

impl PersisterStages {
    /// The places of a persister that is still to come.
    pub(crate) fn new() -> Self {
        const NAME: &str = "PersisterActor";
        Self { chunks: Stage::new(NAME), groups: Stage::new(NAME), turns: Stage::new(NAME) }
    }

    /// From here on, `actor` is it.
    pub(crate) fn take_over(&self, actor: Addr<PersisterActor>) {
        self.chunks.take_over(actor.clone().recipient());
        self.groups.take_over(actor.clone().recipient());
        self.turns.take_over(actor.recipient());
    }
}

impl Persisters {
    pub(crate) fn new(stages: Vec<PersisterStages>) -> Self {
        Self(stages)
    }

    /// Sends a worked chunk to the persister of its batch.
    pub(crate) fn forward(&self, worked: WorkedChunk) {
        self.0[worked.batch.session.0].chunks.forward(worked);
    }

    /// Tells the persister of `session` that it may have something to save.
    fn wake(&self, session: SessionId) {
        self.0[session.0].turns.forward(TurnCame);
    }

    /// Sends a worked group to the persister of its session.
    pub(crate) fn forward_group(&self, worked: WorkedGroup) {
        self.0[worked.session.id().0].groups.forward(worked);
    }
}

/// Batches of one partition by their turn.
type Places = BTreeMap<u32, WorkedBatch>;

/// See the module.
pub struct PersisterActor {
    session: SessionId,
    store: Arc<dyn Store>,
    /// All of them, itself included.
    persisters: Persisters,
    pace: Pace,
    board: CommitBoard,
    /// Rung when something is left to publish.
    bell: Bell,
    /// Batches by assignment and place: parts are gathered here until they are complete.
    gathered: BTreeMap<u64, Places>,
    /// The assignment that the last transaction ended with: the next one begins behind it, so that
    /// each has its turn where not all fit into one.
    last: u64,
    /// Whether it waits for its turn to begin a transaction.
    in_line: bool,
    /// Ends when what is ready has waited for company for long enough.
    wait: Wait,
    /// Since when the session has a transaction under way.
    saving_since: Option<Instant>,
    post: Post,
}

impl PersisterActor {
    pub(crate) fn new(
        (session, persisters): (SessionId, Persisters),
        (store, board): (Arc<dyn Store>, CommitBoard),
        pace: Pace,
        bell: Bell,
        post: Post,
    ) -> Self {
        Self {
            session,
            store,
            persisters,
            pace,
            board,
            bell,
            gathered: BTreeMap::new(),
            last: 0,
            in_line: false,
            wait: Wait::default(),
            saving_since: None,
            post,
        }
    }

    fn gather(&mut self, chunk: WorkedChunk) {
        let batch = chunk.batch.clone();
        let places = self.gathered.entry(batch.fence.incarnation()).or_default();
        let place = places
            .entry(batch.turn)
            .and_modify(|gathered| {
                // A later attempt starts afresh: pieces of another attempt are thrown away.
                if gathered.batch.attempt != batch.attempt {
                    *gathered = WorkedBatch { batch: batch.clone(), chunks: Vec::new() };
                }
            })
            .or_insert_with(|| WorkedBatch { batch, chunks: Vec::new() });
        place.chunks.push(chunk);
    }

    /// Begins a transaction if enough is ready for one, unless one is under way; with less, in a
    /// moment.
    fn save(&mut self, ctx: &mut Context<Self>) {
        if self.gathered.is_empty() || self.saving_since.is_some() || self.in_line {
            return;
        }
        let company = self.pace.transaction_company();
        if company.is_enough(self.complete()) {
            self.line_up(ctx);
        } else if !self.wait.is_on() {
            self.wait.begin(company.patience, ctx, Self::line_up);
        }
    }

    fn complete(&self) -> impl Iterator<Item = &Parcel> {
        let gathered = self.gathered.values().flat_map(BTreeMap::values);
        gathered.filter(|worked| worked.is_complete()).map(|worked| &*worked.batch.parcel)
    }

    /// Begins a transaction with everything whose turn has come; if as many sessions as may have
    /// one under way, as soon as it is our turn.
    fn line_up(&mut self, ctx: &mut Context<Self>) {
        self.wait.end(ctx);
        if let Some(permit) = self.pace.try_permit() {
            return self.begin(permit, ctx);
        }
        self.in_line = true;
        let permit = self.pace.clone().permit();
        ctx.spawn(permit.into_actor(self).map(|permit, this, ctx| {
            this.in_line = false;
            this.begin(permit, ctx);
        }));
    }

    /// What is gathered may still wait for other parts: then the permit goes to the next one.
    fn begin(&mut self, permit: Permit, ctx: &mut Context<Self>) {
        let group = self.next_group();
        if group.is_empty() {
            return;
        }
        self.saving_since = Some(Instant::now());
        let saving = Saving {
            store: self.store.clone(),
            session: self.session,
            pace: self.pace.clone(),
            pulse: self.post.pulse().clone(),
        };
        let saving = saving.run(group, permit);
        ctx.spawn(saving.into_actor(self).map(|(group, answer), this, ctx| {
            faults::point("PersisterActor", "Saved");
            this.saving_since = None;
            this.tell(&group, answer);
            this.wake_others(&group);
            // Frees the tickets before the next transaction begins.
            drop(group);
            this.save(ctx);
        }));
    }

    /// Takes out, for each partition, the complete batches whose turn it is, one after the other,
    /// as many as one transaction may have just now.
    fn next_group(&mut self) -> Vec<WorkedBatch> {
        let (mut group, mut records, most) = (Vec::new(), 0, self.pace.now().records);
        let ids: Vec<u64> = self.gathered.keys().copied().collect();
        let first = ids.partition_point(|id| *id <= self.last);
        for id in ids[first..].iter().chain(&ids[..first]) {
            let Some(places) = self.gathered.get_mut(id) else { continue };
            // One of an older attempt would stand before those whose turn it is.
            places.retain(|_, worked| worked.batch.is_current());
            let mut turn = None;
            while records < most {
                let Some(batch) = take_next(places, turn) else { break };
                records += batch.batch.parcel.arena.len();
                turn = Some(batch.batch.turn + 1);
                self.last = *id;
                group.push(batch);
            }
        }
        self.gathered.retain(|_, places| !places.is_empty());
        group
    }

    fn tell(&self, group: &[WorkedBatch], answer: Result<Vec<BatchReport>, SaveError>) {
        match answer {
            Ok(reports) => {
                for (worked, report) in group.iter().zip(reports) {
                    if leaves_to_publish(worked, &report) {
                        self.bell.ring();
                    }
                    group::tell(&self.board, &worked.batch, report);
                }
            }
            Err(SaveError::Unknown { message, settled }) => {
                warn!(session = self.session.0, message, "the outcome of a COMMIT is unknown");
                for (worked, settled) in group.iter().zip(settled) {
                    match settled {
                        Some(settled) => worked.batch.lose_answer(settled),
                        None => worked.batch.give_up(GivenUp::Lost { outcome_unknown: true }),
                    }
                }
            }
            Err(SaveError::TooSlow(reason)) => {
                for worked in group {
                    worked.batch.give_up(GivenUp::TooSlow { reason: reason.clone() });
                }
            }
            // The transaction of a group is over: what it read is read anew.
            Err(SaveError::Retry(reason) | SaveError::RetryNow(reason)) => {
                warn!(session = self.session.0, reason, "a group is done again");
                for worked in group {
                    worked.batch.give_up(GivenUp::Lost { outcome_unknown: false });
                }
            }
            Err(error) => {
                for worked in group {
                    worked.batch.give_up(GivenUp::Stopped { reason: error.to_string() });
                }
            }
        }
    }

    /// Partitions that were pinned anew meanwhile have their next batches elsewhere.
    fn wake_others(&self, group: &[WorkedBatch]) {
        let elsewhere = group.iter().map(|worked| worked.batch.fence.session());
        let elsewhere: BTreeSet<_> = elsewhere.filter(|to| *to != self.session).collect();
        elsewhere.into_iter().for_each(|session| self.persisters.wake(session));
    }

    /// Saves a group in the transaction that it came with.
    fn save_group(&mut self, worked: WorkedGroup, ctx: &mut Context<Self>) {
        self.saving_since = Some(Instant::now());
        let WorkedGroup { batches, changes, mut session } = worked;
        let store = self.store.clone();
        let saving = async move {
            let answer = store.save_open(session.id(), &batches, &changes).await;
            if answer.is_ok() {
                session.saved(records_of(&batches));
            }
            session.is_over();
            (batches, answer, session)
        };
        ctx.spawn(saving.into_actor(self).map(|(batches, answer, session), this, _| {
            faults::point("PersisterActor", "GroupSaved");
            this.saving_since = None;
            this.tell(&batches, answer);
            // The next group of these partitions may want the session.
            drop((batches, session));
        }));
    }

    /// Drops batches of ended assignments and of older attempts, and their tickets with them.
    fn sweep(&mut self, ctx: &mut Context<Self>) {
        faults::point("PersisterActor", "Sweep");
        for places in self.gathered.values_mut() {
            places.retain(|_, worked| worked.batch.is_current());
        }
        self.gathered.retain(|_, places| !places.is_empty());
        self.save(ctx);
    }
}

/// Whether a saved batch has messages, or records that may be dead.
fn leaves_to_publish(worked: &WorkedBatch, report: &BatchReport) -> bool {
    let has_messages = || worked.chunks.iter().any(|chunk| !chunk.rows.messages().is_empty());
    matches!(report, BatchReport::Saved(settled) if settled.parked > 0 || has_messages())
}

/// Takes the batch whose turn is `turn` (the fence's, if `None`) if all its parts are there.
fn take_next(places: &mut Places, turn: Option<u32>) -> Option<WorkedBatch> {
    let is_wrong = faults::bug("last-batch-first");
    let first = if is_wrong { places.last_entry() } else { places.first_entry() }?;
    let worked = first.get();
    let position = worked.batch.fence.position()?;
    let in_turn = is_wrong || worked.batch.turn == turn.unwrap_or(position.turn);
    let is_wanted = worked.batch.is_current() && !worked.batch.is_over();
    (in_turn && worked.is_complete() && is_wanted).then(|| first.remove())
}

impl Actor for PersisterActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        self.post.take_up(self, ctx);
        ctx.run_interval(SWEEP_INTERVAL, |this, ctx| this.sweep(ctx));
    }
}

impl Watched for PersisterActor {
    fn post(&self) -> &Post {
        &self.post
    }

    fn signs(&self) -> Signs {
        let batches = || self.gathered.values().flat_map(BTreeMap::values);
        let oldest = batches().map(|worked| worked.batch.since).min();
        let in_hand = batches().count() + usize::from(self.saving_since.is_some());
        Signs { in_hand, oldest, busy: self.saving_since, ..Signs::default() }
    }
}

impl Drop for PersisterActor {
    /// What a dead one has under way must not hold its locks until the server notices.
    fn drop(&mut self) {
        if self.saving_since.is_some() {
            self.store.abort(self.session);
        }
    }
}

impl Handler<WorkedGroup> for PersisterActor {
    type Result = ();

    fn handle(&mut self, group: WorkedGroup, ctx: &mut Context<Self>) {
        faults::point("PersisterActor", "WorkedGroup");
        self.save_group(group, ctx);
    }
}

impl Handler<TurnCame> for PersisterActor {
    type Result = ();

    fn handle(&mut self, _: TurnCame, ctx: &mut Context<Self>) {
        faults::point("PersisterActor", "TurnCame");
        self.save(ctx);
    }
}

impl Handler<WorkedChunk> for PersisterActor {
    type Result = ();

    fn handle(&mut self, chunk: WorkedChunk, ctx: &mut Context<Self>) {
        faults::point("PersisterActor", "WorkedChunk");
        if chunk.batch.is_current() && !chunk.batch.is_over() {
            self.gather(chunk);
            self.save(ctx);
        }
    }
}
