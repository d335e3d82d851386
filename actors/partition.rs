//! PartitionActor: one assigned partition. Takes batches from its door, gives each its place
//! `[from, to)` in the partition, reads them as events and sends them down; keeps their records
//! until they are saved, so that it can send them again. Ends when its door is closed; stops when
//! it is fenced or when its records cannot be saved, until an operator moves its offset.

use std::sync::Arc;

use actix::prelude::*;
use tokio::time::Instant;
use tracing::{debug, info, warn};

use crate::acquirer::{AcquirePartitions, Claim, ClaimAnswer};
use crate::batch::{
    Batch, BatchGivenUp, BatchSaved, DecodedBatch, GivenUp, HandedInBatch, Held, Home,
};
use crate::caution::{Careful, Caution, MARK_STAYS, Mark};
use crate::decode::Decoder;
use crate::faults;
use crate::fence::Fence;
use crate::health::Signs;
use crate::held::HeldBatches;
use crate::pipeline::Pipeline;
use crate::ports::{Acquired, Source, StopReason, Store, Stored};
use crate::questions;
use crate::record::{NextOffset, Offset};
use crate::register::{BeginAgain, Register, Registered, RowChanged};
use crate::stage::Stage;
use crate::supervise::{Backoff, Post, Watched};

/// See the module.
pub struct PartitionActor<P: Pipeline> {
    fence: Arc<Fence>,
    decoder: Decoder<P>,
    store: Arc<dyn Store>,
    source: Arc<dyn Source>,
    acquirer: Stage<AcquirePartitions>,
    /// Downstream.
    loader: Stage<DecodedBatch<P>>,
    register: Register,
    /// Batches handed in and not yet settled.
    held: HeldBatches,
    state: State,
    mark: Mark,
    /// Goes on record by record: earlier owners died over it.
    careful: Option<Careful>,
    /// When something was in hand last.
    busy_at: Instant,
    /// Pauses between attempts that follow each other without a save.
    backoff: Backoff,
    post: Post,
}

/// What a [`PartitionActor`] is made of.
pub(crate) struct PartitionParams<P: Pipeline> {
    pub(crate) fence: Arc<Fence>,
    pub(crate) decoder: Decoder<P>,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) source: Arc<dyn Source>,
    pub(crate) acquirer: Stage<AcquirePartitions>,
    pub(crate) loader: Stage<DecodedBatch<P>>,
    pub(crate) register: Register,
    pub(crate) post: Post,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Waits for its first position.
    Acquiring,
    /// Sends down what is handed in.
    Flowing,
    /// Asks the database what became of the batches in hand.
    Recovering,
    /// Takes nothing any more.
    Stopped,
}

impl<P: Pipeline> PartitionActor<P> {
    pub(crate) fn new(params: PartitionParams<P>) -> Self {
        Self {
            fence: params.fence,
            decoder: params.decoder,
            store: params.store,
            source: params.source,
            acquirer: params.acquirer,
            loader: params.loader,
            register: params.register,
            held: HeldBatches::default(),
            state: State::Acquiring,
            mark: Mark::Clear,
            careful: None,
            busy_at: Instant::now(),
            backoff: Backoff::for_outage(),
            post: params.post,
        }
    }

    /// Begins at `position`, which the fence holds now.
    fn begin_at(&mut self, position: NextOffset) {
        self.held.begin_at(position);
        self.state = State::Flowing;
        self.source.seek(&self.fence, position);
    }

    /// Sends down what may go, once the row says that work is in hand.
    fn go_on(&mut self, ctx: &mut Context<Self>) {
        if self.state != State::Flowing || self.held.is_empty() {
            return;
        }
        match (self.mark, &self.careful) {
            (Mark::Changing, _) => {}
            (Mark::Clear, None) => self.set_mark(None, ctx),
            (Mark::Clear, Some(_)) => self.set_mark(self.held.first_record(), ctx),
            (Mark::Set, Some(_)) if self.held.is_any_sent() => {}
            (Mark::Set, Some(_)) => {
                let next = self.held.send_next();
                next.into_iter().for_each(|held| self.send_down(held, ctx));
            }
            (Mark::Set, None) => {
                while let Some(held) = self.held.send_next() {
                    self.send_down(held, ctx);
                }
            }
        }
    }

    /// Notes in the row that work is in hand, and which record is tried by itself.
    fn set_mark(&mut self, named: Option<Offset>, ctx: &mut Context<Self>) {
        self.mark = Mark::Changing;
        let (store, fence) = (self.store.clone(), self.fence.clone());
        let marked = questions::begin_work(store, fence, named, self.post.pulse().clone());
        ctx.spawn(marked.into_actor(self).map(|answer, this, ctx| {
            faults::point("PartitionActor", "Marked");
            this.mark = if answer == Ok(true) { Mark::Set } else { Mark::Clear };
            match answer {
                Ok(true) => this.go_on(ctx),
                // Somebody else has the row: the answer to a reacquire says who.
                Ok(false) => this.recover(ctx),
                Err(error) => this.stop(StopReason::Failed { reason: error.to_string() }),
            }
        }));
    }

    /// Takes the mark away when nothing has been in hand for a while.
    fn rest(&mut self, ctx: &mut Context<Self>) {
        if !self.held.is_empty() {
            self.busy_at = Instant::now();
        }
        let idle = self.busy_at.elapsed() >= MARK_STAYS && self.state == State::Flowing;
        if self.mark != Mark::Set || !idle {
            return;
        }
        self.mark = Mark::Changing;
        let (store, fences) = (self.store.clone(), [self.fence.clone()]);
        let rested = async move { store.rest(&fences).await };
        ctx.spawn(rested.into_actor(self).map(|answer, this, ctx| {
            this.mark = if answer.is_ok() { Mark::Clear } else { Mark::Set };
            this.go_on(ctx);
        }));
    }

    /// One by one, the next record is named before it is tried; after the last one, all go again.
    fn go_on_carefully(&mut self, saved: &Held) {
        let Some(careful) = &mut self.careful else { return };
        self.mark = Mark::Clear;
        let arena = &saved.parcel.arena;
        let offset = (!arena.is_empty()).then(|| arena.get(0).offset);
        if !careful.passed(offset) {
            info!(partition = %self.fence.partition(), "goes on in batches again");
            self.careful = None;
            self.fence.set_careful(false);
        }
    }

    fn send_down(&mut self, held: Held, ctx: &mut Context<Self>) {
        let Some(position) = self.fence.position() else { return };
        let home = Home { saved: ctx.address().recipient(), given_up: ctx.address().recipient() };
        let pulse = self.post.pulse();
        pulse.turn_to(Some(self.fence.partition()));
        let condemned = self.careful.and_then(|careful| careful.condemned);
        let (events, keys) = self.decoder.decode(held.parcel.clone(), condemned, pulse);
        pulse.turn_to(None);
        let batch = Batch::new(self.fence.clone(), held, position.attempt, home);
        self.loader.forward(DecodedBatch { batch: Arc::new(batch), events, keys });
    }

    /// Something in hand was lost or its outcome is unknown, or the row was changed: refuses what
    /// is still on its way, asks the database where the partition stands, and goes on from there.
    fn recover(&mut self, ctx: &mut Context<Self>) {
        if self.state != State::Flowing {
            return;
        }
        self.state = State::Recovering;
        self.fence.begin_attempt();
        let (store, fence) = (self.store.clone(), self.fence.clone());
        let backoff = std::mem::replace(&mut self.backoff, Backoff::for_outage());
        let asked = questions::reacquire(store, fence, backoff, self.post.pulse().clone());
        ctx.spawn(asked.into_actor(self).map(|(answer, backoff), this, ctx| {
            faults::point("PartitionActor", "Reacquired");
            this.backoff = backoff;
            this.recovered(answer, ctx);
        }));
    }

    fn recovered(&mut self, answer: Acquired, ctx: &mut Context<Self>) {
        match answer {
            Acquired::Held { epoch, next_offset, .. } => {
                self.fence.hold(epoch, next_offset);
                self.send_again(next_offset, ctx);
            }
            Acquired::Moved { epoch, next_offset } => {
                info!(partition = %self.fence.partition(), offset = %next_offset,
                    "goes on from where an operator moved its offset");
                self.fence.hold(epoch, next_offset);
                self.begin_at(next_offset);
            }
            Acquired::Fallen | Acquired::Busy { .. } => {}
            Acquired::Fenced { owner } => self.stop(StopReason::Fenced { owner }),
            Acquired::Refused { reason } => self.stop(StopReason::Failed { reason }),
        }
    }

    fn send_again(&mut self, saved_to: NextOffset, ctx: &mut Context<Self>) {
        if let Err(next) = self.held.settle_up_to(saved_to) {
            let reason = format!(
                "somebody changed the stored offset of {} from {next} to {saved_to}, and not by \
                 `longshore offsets set`; start again to go on from there",
                self.fence.partition()
            );
            return self.stop(StopReason::Failed { reason });
        }
        info!(partition = %self.fence.partition(), offset = %saved_to,
            batches = self.held.len(), "goes on after a reacquire");
        self.state = State::Flowing;
        self.go_on(ctx);
    }

    fn stop(&mut self, reason: StopReason) {
        if self.state == State::Stopped {
            return;
        }
        warn!(partition = %self.fence.partition(), %reason, "partition stopped");
        self.state = State::Stopped;
        self.fence.fall();
        self.held.let_go();
        self.source.stop(&self.fence, reason);
    }

    fn acquired(&mut self, epoch: i64, next_offset: NextOffset, caution: Option<Caution>) {
        self.fence.hold(epoch, next_offset);
        self.careful = caution.map(Careful::new);
        self.fence.set_careful(caution.is_some());
        if let Some(Caution { condemned }) = caution {
            warn!(partition = %self.fence.partition(), ?condemned,
                "earlier owners died with records in hand: goes on one by one");
        }
        self.begin_at(next_offset);
    }

    /// The Acquirer died with the claim; another one is about to begin.
    fn claim_again(&mut self, ctx: &mut Context<Self>) {
        ctx.run_later(self.backoff.next_pause(), |this, ctx| {
            if this.state == State::Acquiring && this.fence.stands() {
                let claim = Claim::new(this.fence.clone(), ctx.address().recipient());
                this.acquirer.forward(AcquirePartitions(vec![claim]));
            }
        });
    }
}

impl<P: Pipeline> Actor for PartitionActor<P> {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        self.post.take_up(self, ctx);
        ctx.run_interval(MARK_STAYS, |this, ctx| this.rest(ctx));
        self.register.enter(Registered {
            fence: self.fence.clone(),
            again: ctx.address().recipient(),
            changed: ctx.address().recipient(),
        });
    }
}

impl<P: Pipeline> Drop for PartitionActor<P> {
    fn drop(&mut self) {
        self.register.strike(&self.fence);
        if self.mark != Mark::Clear {
            self.register.leave_to_rest(self.fence.clone());
        }
    }
}

impl<P: Pipeline> Watched for PartitionActor<P> {
    fn post(&self) -> &Post {
        &self.post
    }

    fn signs(&self) -> Signs {
        Signs { in_hand: self.held.len(), oldest: self.held.oldest(), busy: None }
    }
}

impl<P: Pipeline> Handler<ClaimAnswer> for PartitionActor<P> {
    type Result = ();

    fn handle(&mut self, answer: ClaimAnswer, ctx: &mut Context<Self>) {
        faults::point("PartitionActor", "ClaimAnswer");
        if self.state != State::Acquiring {
            return;
        }
        match answer {
            ClaimAnswer::Acquired { epoch, next_offset, caution } => {
                self.acquired(epoch, next_offset, caution);
            }
            ClaimAnswer::Refused { reason } => self.stop(StopReason::Failed { reason }),
            ClaimAnswer::Dropped => self.claim_again(ctx),
        }
    }
}

impl<P: Pipeline> Handler<HandedInBatch> for PartitionActor<P> {
    type Result = ();

    fn handle(&mut self, batch: HandedInBatch, ctx: &mut Context<Self>) {
        faults::point("PartitionActor", "HandedInBatch");
        let flows = matches!(self.state, State::Flowing | State::Recovering);
        if !flows || batch.polled.seek != self.fence.last_seek() {
            // Stale. Let go of, its records are given up.
            return;
        }
        if self.held.take_in(batch, self.careful.is_some()) {
            return self.go_on(ctx);
        }
        let reason = format!("{} got a batch out of its turn", self.fence.partition());
        self.stop(StopReason::Failed { reason });
    }
}

impl<P: Pipeline> Handler<BatchSaved> for PartitionActor<P> {
    type Result = ();

    fn handle(&mut self, saved: BatchSaved, ctx: &mut Context<Self>) {
        faults::point("PartitionActor", "BatchSaved");
        debug!(partition = %self.fence.partition(), to = %saved.to, "saved");
        self.backoff.reset();
        self.post.pulse().step();
        self.busy_at = Instant::now();
        if let Some(held) = self.held.saved(saved.to) {
            self.go_on_carefully(&held);
        }
        self.go_on(ctx);
    }
}

impl<P: Pipeline> Handler<BatchGivenUp> for PartitionActor<P> {
    type Result = ();

    fn handle(&mut self, given_up: BatchGivenUp, ctx: &mut Context<Self>) {
        faults::point("PartitionActor", "BatchGivenUp");
        let is_current =
            self.fence.position().is_some_and(|position| position.attempt == given_up.attempt);
        if !self.fence.stands() || !is_current || faults::bug("lost-notice") {
            return;
        }
        match given_up.cause {
            GivenUp::Lost { .. } | GivenUp::Fenced { owner: None } => self.recover(ctx),
            GivenUp::Fenced { owner } => self.stop(StopReason::Fenced { owner }),
            GivenUp::Stopped { reason } => self.stop(StopReason::Failed { reason }),
        }
    }
}

impl<P: Pipeline> Handler<BeginAgain> for PartitionActor<P> {
    type Result = ();

    fn handle(&mut self, _: BeginAgain, ctx: &mut Context<Self>) {
        faults::point("PartitionActor", "BeginAgain");
        self.recover(ctx);
    }
}

impl<P: Pipeline> Handler<RowChanged> for PartitionActor<P> {
    type Result = ();

    fn handle(&mut self, RowChanged(row): RowChanged, ctx: &mut Context<Self>) {
        faults::point("PartitionActor", "RowChanged");
        match (self.state, row) {
            (State::Flowing, Stored::Moved) => self.recover(ctx),
            (State::Flowing, Stored::Taken { owner }) => {
                self.stop(StopReason::Fenced { owner: Some(owner) });
            }
            (State::Flowing, Stored::Unfit { reason }) => {
                self.stop(StopReason::Failed { reason });
            }
            // What it stopped for was seen to.
            (State::Stopped, Stored::Moved) => self.source.reopen(&self.fence),
            _ => {}
        }
    }
}
