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
use crate::faults;
use crate::front::PartitionParams;
use crate::gate::Gate;
use crate::health::Signs;
use crate::held::HeldBatches;
use crate::pipeline::Pipeline;
use crate::ports::{Acquired, StopReason, Stored};
use crate::questions;
use crate::record::{NextOffset, Offset};
use crate::register::{BeginAgain, Registered, RowChanged};
use crate::supervise::{Backoff, Post, Watched};

/// See the module.
pub struct PartitionActor<P: Pipeline> {
    own: PartitionParams<P>,
    /// Batches handed in and not yet settled.
    held: HeldBatches,
    state: State,
    mark: Mark,
    /// Goes on record by record: earlier owners died over it.
    careful: Option<Careful>,
    /// Waits until others may pass the gate.
    is_at_gate: bool,
    /// When something was in hand last.
    busy_at: Instant,
    /// Pauses between attempts that follow each other without a save.
    backoff: Backoff,
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
    pub(crate) fn new(own: PartitionParams<P>) -> Self {
        Self {
            own,
            held: HeldBatches::default(),
            state: State::Acquiring,
            mark: Mark::Clear,
            careful: None,
            is_at_gate: false,
            busy_at: Instant::now(),
            backoff: Backoff::for_outage(),
        }
    }

    /// Begins at `position`, which the fence holds now.
    fn begin_at(&mut self, position: NextOffset) {
        self.held.begin_at(position);
        self.state = State::Flowing;
        self.own.source.seek(&self.own.fence, position);
    }

    /// Sends down what may go, once the row says that work is in hand.
    fn go_on(&mut self, ctx: &mut Context<Self>) {
        if self.state != State::Flowing || self.held.is_empty() {
            return;
        }
        match (self.mark, &self.careful) {
            (Mark::Changing, _) => {}
            (Mark::Clear, None) => self.set_mark(None, ctx),
            (Mark::Clear, Some(_)) => {
                let named = (self.held.first_record(), self.own.gate.clone());
                self.set_mark(Some(named), ctx);
            }
            (Mark::Set, Some(_)) if self.held.is_any_sent() => {}
            (Mark::Set, Some(_)) => self.send_next(ctx),
            (Mark::Set, None) => {
                while let Some(next) = self.held.next() {
                    if !next.custody.has_pass() {
                        let Some(pass) = self.own.gate.try_share() else {
                            return self.wait_at_gate(ctx);
                        };
                        next.custody.keep(pass);
                    }
                    self.send_next(ctx);
                }
            }
        }
    }

    /// Somebody tries a record alone.
    fn wait_at_gate(&mut self, ctx: &mut Context<Self>) {
        if std::mem::replace(&mut self.is_at_gate, true) {
            return;
        }
        let gate = self.own.gate.clone();
        ctx.spawn(async move { gate.share().await }.into_actor(self).map(|pass, this, ctx| {
            this.is_at_gate = false;
            // Given back, somebody who waits to be alone might come first each time.
            if let Some(next) = this.held.next().filter(|_| this.careful.is_none()) {
                next.custody.keep(pass);
            }
            this.go_on(ctx);
        }));
    }

    /// Notes in the row that work is in hand, and which record is tried by itself.
    fn set_mark(&mut self, named: Option<(Option<Offset>, Gate)>, ctx: &mut Context<Self>) {
        self.mark = Mark::Changing;
        let (store, fence) = (self.own.store.clone(), self.own.fence.clone());
        let marked = questions::begin_work(store, fence, named, self.own.post.pulse().clone());
        ctx.spawn(marked.into_actor(self).map(|(answer, pass), this, ctx| {
            faults::point("PartitionActor", "Marked");
            this.mark = if answer == Ok(true) { Mark::Set } else { Mark::Clear };
            if let (Some(pass), Some(next)) = (pass, this.held.next()) {
                next.custody.keep(pass);
            }
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
        let (store, fences) = (self.own.store.clone(), [self.own.fence.clone()]);
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
        if !careful.passed(offset, &self.own.gate) {
            info!(partition = %self.own.fence.partition(), "goes on in batches again");
            self.careful = None;
            self.own.fence.set_careful(false);
        }
    }

    fn send_next(&mut self, ctx: &mut Context<Self>) {
        let Some(held) = self.held.send_next() else { return };
        let Some(position) = self.own.fence.position() else { return };
        let home = Home { saved: ctx.address().recipient(), given_up: ctx.address().recipient() };
        let pulse = self.own.post.pulse();
        pulse.turn_to(Some(self.own.fence.partition()));
        let condemned = self.careful.and_then(|careful| careful.condemned);
        let (events, keys) = self.own.decoder.decode(held.parcel.clone(), condemned, pulse);
        pulse.turn_to(None);
        let batch = Batch::new(self.own.fence.clone(), held, position.attempt, home);
        self.own.loader.forward(DecodedBatch { batch: Arc::new(batch), events, keys });
    }

    /// Something in hand was lost or its outcome is unknown, or the row was changed: refuses what
    /// is still on its way, asks the database where the partition stands, and goes on from there.
    fn recover(&mut self, ctx: &mut Context<Self>) {
        if self.state != State::Flowing {
            return;
        }
        self.state = State::Recovering;
        self.own.fence.begin_attempt();
        let (store, fence) = (self.own.store.clone(), self.own.fence.clone());
        let backoff = std::mem::replace(&mut self.backoff, Backoff::for_outage());
        let asked = questions::reacquire(store, fence, backoff, self.own.post.pulse().clone());
        ctx.spawn(asked.into_actor(self).map(|(answer, backoff), this, ctx| {
            faults::point("PartitionActor", "Reacquired");
            this.backoff = backoff;
            this.recovered(answer, ctx);
        }));
    }

    fn recovered(&mut self, answer: Acquired, ctx: &mut Context<Self>) {
        match answer {
            Acquired::Held { epoch, next_offset, .. } => {
                self.own.fence.hold(epoch, next_offset);
                self.send_again(next_offset, ctx);
            }
            Acquired::Moved { epoch, next_offset } => {
                info!(partition = %self.own.fence.partition(), offset = %next_offset,
                    "goes on from where an operator moved its offset");
                self.own.fence.hold(epoch, next_offset);
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
                "somebody changed its stored offset from {next} to {saved_to}, and not by \
                 `longshore offsets set`; start again to go on from there"
            );
            return self.stop(StopReason::Failed { reason });
        }
        info!(partition = %self.own.fence.partition(), offset = %saved_to,
            batches = self.held.len(), "goes on after a reacquire");
        self.state = State::Flowing;
        self.go_on(ctx);
    }

    fn stop(&mut self, reason: StopReason) {
        if self.state == State::Stopped {
            return;
        }
        warn!(partition = %self.own.fence.partition(), %reason, "partition stopped");
        self.state = State::Stopped;
        self.own.fence.fall();
        self.held.let_go();
        self.own.source.stop(&self.own.fence, reason);
    }

    fn acquired(&mut self, epoch: i64, next_offset: NextOffset, caution: Option<Caution>) {
        self.own.fence.hold(epoch, next_offset);
        self.careful = caution.map(|caution| Careful::new(caution, &self.own.gate));
        self.own.fence.set_careful(caution.is_some());
        if let Some(Caution { condemned }) = caution {
            warn!(partition = %self.own.fence.partition(), ?condemned,
                "earlier owners died with records in hand: goes on one by one");
        }
        self.begin_at(next_offset);
    }

    /// The Acquirer died with the claim; another one is about to begin.
    fn claim_again(&mut self, ctx: &mut Context<Self>) {
        ctx.run_later(self.backoff.next_pause(), |this, ctx| {
            if this.state == State::Acquiring && this.own.fence.stands() {
                let claim = Claim::new(this.own.fence.clone(), ctx.address().recipient());
                this.own.acquirer.forward(AcquirePartitions(vec![claim]));
            }
        });
    }
}

impl<P: Pipeline> Actor for PartitionActor<P> {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        self.own.post.take_up(self, ctx);
        ctx.run_interval(MARK_STAYS, |this, ctx| this.rest(ctx));
        self.own.register.enter(Registered {
            fence: self.own.fence.clone(),
            again: ctx.address().recipient(),
            changed: ctx.address().recipient(),
        });
    }
}

impl<P: Pipeline> Drop for PartitionActor<P> {
    fn drop(&mut self) {
        self.own.register.strike(&self.own.fence);
        if self.mark != Mark::Clear {
            self.own.register.leave_to_rest(self.own.fence.clone());
        }
    }
}

impl<P: Pipeline> Watched for PartitionActor<P> {
    fn post(&self) -> &Post {
        &self.own.post
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
        if !flows || batch.polled.seek != self.own.fence.last_seek() {
            // Stale. Let go of, its records are given up.
            return;
        }
        if self.held.take_in(batch, self.careful.is_some()) {
            return self.go_on(ctx);
        }
        let reason = format!("{} got a batch out of its turn", self.own.fence.partition());
        self.stop(StopReason::Failed { reason });
    }
}

impl<P: Pipeline> Handler<BatchSaved> for PartitionActor<P> {
    type Result = ();

    fn handle(&mut self, saved: BatchSaved, ctx: &mut Context<Self>) {
        faults::point("PartitionActor", "BatchSaved");
        debug!(partition = %self.own.fence.partition(), to = %saved.to, "saved");
        self.backoff.reset();
        self.own.post.pulse().step();
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
            self.own.fence.position().is_some_and(|position| position.attempt == given_up.attempt);
        if !self.own.fence.stands() || !is_current || faults::bug("lost-notice") {
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
            (State::Stopped, Stored::Moved) => self.own.source.reopen(&self.own.fence),
            _ => {}
        }
    }
}
