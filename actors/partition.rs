//! PartitionActor: one assigned partition. Takes batches from its door, gives each its place
//! `[from, to)` in the partition, reads them as events and sends them down; keeps their records
//! until they are saved, so that it can send them again. Ends when its door is closed; stops when
//! it is fenced or when its records cannot be saved, until an operator moves its offset.

use std::collections::VecDeque;
use std::sync::Arc;

use actix::prelude::*;
use tokio::time::Instant;
use tracing::{debug, info, warn};

use crate::acquirer::{AcquirePartitions, AcquireRefused, Claim, ClaimDropped, PartitionAcquired};
use crate::batch::{
    Batch, BatchGivenUp, BatchSaved, DecodedBatch, GivenUp, HandedInBatch, Held, Home, PolledBatch,
};
use crate::custody::Custody;
use crate::decode::Decoder;
use crate::faults;
use crate::fence::Fence;
use crate::health::Signs;
use crate::pipeline::Pipeline;
use crate::ports::{Acquired, Source, StopReason, Store, Stored};
use crate::record::NextOffset;
use crate::register::{BeginAgain, Register, Registered, RowChanged};
use crate::stage::Stage;
use crate::stages;
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
    /// Batches handed in and not yet settled, in order; their ranges chain.
    held: VecDeque<Held>,
    /// The place to which records were handed in.
    handed_in: NextOffset,
    state: State,
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
            held: VecDeque::new(),
            handed_in: NextOffset(0),
            state: State::Acquiring,
            backoff: Backoff::for_outage(),
            post: params.post,
        }
    }

    /// Begins at `position`, which the fence holds now.
    fn begin_at(&mut self, position: NextOffset) {
        self.held.clear();
        self.handed_in = position;
        self.state = State::Flowing;
        self.source.seek(&self.fence, position);
    }

    /// Gives a polled batch its place and keeps it. `None` if it does not follow the one before.
    fn take_in(&mut self, polled: PolledBatch, custody: Arc<Custody>) -> Option<Held> {
        let from = self.handed_in;
        if polled.from != from || polled.to < from {
            return None;
        }
        self.handed_in = polled.to;
        let PolledBatch { parcel, to, .. } = polled;
        let held = Held { parcel, custody, from, to, since: Instant::now() };
        self.held.push_back(held.clone());
        Some(held)
    }

    fn send_down(&mut self, held: Held, ctx: &mut Context<Self>) {
        let Some(position) = self.fence.position() else { return };
        let home = Home { saved: ctx.address().recipient(), given_up: ctx.address().recipient() };
        let pulse = self.post.pulse();
        pulse.turn_to(Some(self.fence.partition()));
        let began = Instant::now();
        let (events, keys) = self.decoder.decode(held.parcel.clone(), pulse);
        stages::DECODE.took(began.elapsed());
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
        let pulse = self.post.pulse().clone();
        let mut backoff = std::mem::replace(&mut self.backoff, Backoff::for_outage());
        let asked = async move {
            loop {
                backoff.wait().await;
                let reason = match store.reacquire(&fence).await {
                    Ok(Acquired::Busy { reason }) => reason,
                    Ok(answer) => break (answer, backoff),
                    Err(error) => error.to_string(),
                };
                if !fence.stands() {
                    break (Acquired::Fallen, backoff);
                }
                warn!(partition = %fence.partition(), reason, "cannot reacquire yet");
                pulse.waits(reason);
            }
        };
        ctx.spawn(asked.into_actor(self).map(|(answer, backoff), this, ctx| {
            faults::point("PartitionActor", "Reacquired");
            this.backoff = backoff;
            this.post.pulse().goes_on();
            this.recovered(answer, ctx);
        }));
    }

    fn recovered(&mut self, answer: Acquired, ctx: &mut Context<Self>) {
        match answer {
            Acquired::Held { epoch, next_offset } => {
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
        while let Some(held) = self.held.pop_front_if(|held| held.to <= saved_to) {
            held.custody.committed();
        }
        let next = self.held.front().map_or(self.handed_in, |held| held.from);
        if next != saved_to {
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
        for held in self.held.clone() {
            self.send_down(held, ctx);
        }
    }

    fn stop(&mut self, reason: StopReason) {
        if self.state == State::Stopped {
            return;
        }
        warn!(partition = %self.fence.partition(), %reason, "partition stopped");
        if matches!(reason, StopReason::Fenced { .. }) {
            self.fence.counts().add_fenced();
        }
        self.state = State::Stopped;
        self.fence.fall();
        // Whoever owns the partition next reads them again.
        self.held.clear();
        self.source.stop(&self.fence, reason);
    }

    fn claim(&self, ctx: &Context<Self>) {
        let claim = Claim::new(
            self.fence.clone(),
            ctx.address().recipient(),
            ctx.address().recipient(),
            ctx.address().recipient(),
        );
        self.acquirer.forward(AcquirePartitions(vec![claim]));
    }
}

impl<P: Pipeline> Actor for PartitionActor<P> {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        self.post.take_up(self, ctx);
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
    }
}

impl<P: Pipeline> Watched for PartitionActor<P> {
    fn post(&self) -> &Post {
        &self.post
    }

    fn signs(&self) -> Signs {
        let oldest = self.held.front().map(|held| held.since);
        Signs { in_hand: self.held.len(), oldest, busy: None }
    }
}

impl<P: Pipeline> Handler<PartitionAcquired> for PartitionActor<P> {
    type Result = ();

    fn handle(&mut self, acquired: PartitionAcquired, _: &mut Context<Self>) {
        faults::point("PartitionActor", "PartitionAcquired");
        if self.state == State::Acquiring {
            self.fence.hold(acquired.epoch, acquired.next_offset);
            self.begin_at(acquired.next_offset);
        }
    }
}

impl<P: Pipeline> Handler<AcquireRefused> for PartitionActor<P> {
    type Result = ();

    fn handle(&mut self, refused: AcquireRefused, _: &mut Context<Self>) {
        faults::point("PartitionActor", "AcquireRefused");
        self.stop(StopReason::Failed { reason: refused.reason });
    }
}

impl<P: Pipeline> Handler<ClaimDropped> for PartitionActor<P> {
    type Result = ();

    fn handle(&mut self, _: ClaimDropped, ctx: &mut Context<Self>) {
        faults::point("PartitionActor", "ClaimDropped");
        // Its Acquirer died; another one is about to begin.
        ctx.run_later(self.backoff.next_pause(), |this, ctx| {
            if this.state == State::Acquiring && this.fence.stands() {
                this.claim(ctx);
            }
        });
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
        match self.take_in(batch.polled, batch.custody) {
            Some(held) if self.state == State::Flowing => self.send_down(held, ctx),
            // Sent with the others once the database has answered.
            Some(_) => {}
            None => self.stop(StopReason::Failed {
                reason: format!("{} got a batch out of its turn", self.fence.partition()),
            }),
        }
    }
}

impl<P: Pipeline> Handler<BatchSaved> for PartitionActor<P> {
    type Result = ();

    fn handle(&mut self, saved: BatchSaved, _: &mut Context<Self>) {
        faults::point("PartitionActor", "BatchSaved");
        debug!(partition = %self.fence.partition(), to = %saved.to, "saved");
        self.backoff.reset();
        self.post.pulse().step();
        self.held.pop_front_if(|held| held.to == saved.to);
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
            // What it stopped for was seen to.
            (State::Stopped, Stored::Moved) => self.source.reopen(&self.fence),
            _ => {}
        }
    }
}
