//! PartitionActor: one assigned partition. Takes polled batches, gives each its place `[from, to)`
//! in the partition, reads them as events and sends them down; keeps their records until they are
//! saved, so that it can send them again. Ends when its door is closed, stops when it is fenced or
//! when its records cannot be saved.

use std::collections::VecDeque;
use std::sync::Arc;

use actix::prelude::*;
use tracing::{debug, info, warn};

use crate::acquirer::{AcquireRefused, PartitionAcquired};
use crate::batch::{
    Batch, BatchGivenUp, BatchSaved, DecodedBatch, GivenUp, Home, Parcel, PolledBatch,
};
use crate::conservation::Settled;
use crate::decode::Decoder;
use crate::door::InHand;
use crate::fence::Fence;
use crate::pipeline::Pipeline;
use crate::ports::{Acquired, Source, StopReason, Store};
use crate::record::NextOffset;
use crate::supervise::{Backoff, DownGuard};
use crate::wire::forward;

/// See the module.
pub struct PartitionActor<P: Pipeline> {
    fence: Arc<Fence>,
    decoder: Decoder<P>,
    store: Arc<dyn Store>,
    source: Arc<dyn Source>,
    /// Downstream; kept, never cloned to send.
    loader: Recipient<DecodedBatch<P>>,
    /// Shared with the door, which is what the consumer thread reads it through.
    in_hand: InHand,
    /// Batches handed in and not yet settled, in order; their ranges chain.
    held: VecDeque<Held>,
    /// Batches that a reacquire found committed and whose notice is still on its way.
    uncounted: Vec<Held>,
    /// The place to which records were handed in.
    handed_in: NextOffset,
    state: State,
    /// Pauses between attempts that follow each other without a save.
    backoff: Backoff,
    mailbox_batches: usize,
    _down: DownGuard,
}

/// What a [`PartitionActor`] is made of.
pub(crate) struct PartitionParams<P: Pipeline> {
    pub(crate) fence: Arc<Fence>,
    pub(crate) decoder: Decoder<P>,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) source: Arc<dyn Source>,
    pub(crate) loader: Recipient<DecodedBatch<P>>,
    pub(crate) in_hand: InHand,
    pub(crate) mailbox_batches: usize,
    pub(crate) down: DownGuard,
}

#[derive(Clone)]
struct Held {
    parcel: Arc<Parcel>,
    from: NextOffset,
    to: NextOffset,
    /// How its records are settled if the transaction of unknown outcome did commit.
    if_committed: Option<Settled>,
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
            loader: params.loader,
            in_hand: params.in_hand,
            held: VecDeque::new(),
            uncounted: Vec::new(),
            handed_in: NextOffset(0),
            state: State::Acquiring,
            backoff: Backoff::for_outage(),
            mailbox_batches: params.mailbox_batches,
            _down: params.down,
        }
    }

    /// Gives a polled batch its place and keeps it. `None` if it does not follow the one before.
    fn take_in(&mut self, polled: PolledBatch) -> Option<Held> {
        let from = self.handed_in;
        if polled.from != from || polled.to < from {
            return None;
        }
        self.handed_in = polled.to;
        let held = Held { parcel: polled.parcel, from, to: polled.to, if_committed: None };
        self.held.push_back(held.clone());
        Some(held)
    }

    fn send_down(&mut self, held: Held, ctx: &mut Context<Self>) {
        let Some(position) = self.fence.position() else { return };
        let home = Home { saved: ctx.address().recipient(), given_up: ctx.address().recipient() };
        let (events, keys) = self.decoder.decode(held.parcel.clone());
        let range = (held.from, held.to);
        let batch = Batch::new(self.fence.clone(), range, position.attempt, held.parcel, home);
        forward("context", &self.loader, DecodedBatch { batch: Arc::new(batch), events, keys });
    }

    /// Something in hand was lost or its outcome is unknown: refuses what is still on its way, asks
    /// the database where the partition stands, and sends again what is not saved.
    fn recover(&mut self, ctx: &mut Context<Self>) {
        if self.state != State::Flowing {
            return;
        }
        self.state = State::Recovering;
        self.fence.begin_attempt();
        let (store, fence) = (self.store.clone(), self.fence.clone());
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
            }
        };
        ctx.spawn(asked.into_actor(self).map(|(answer, backoff), this, ctx| {
            this.backoff = backoff;
            this.recovered(answer, ctx);
        }));
    }

    fn recovered(&mut self, answer: Acquired, ctx: &mut Context<Self>) {
        match answer {
            Acquired::Held { epoch, next_offset } => {
                self.fence.hold(epoch, next_offset);
                self.send_again(next_offset, ctx);
            }
            Acquired::Fallen | Acquired::Busy { .. } => {}
            Acquired::Fenced { owner } => self.stop(StopReason::Fenced { owner }),
            Acquired::Refused { reason } => self.stop(StopReason::Failed { reason }),
        }
    }

    fn send_again(&mut self, saved_to: NextOffset, ctx: &mut Context<Self>) {
        while let Some(held) = self.held.pop_front_if(|held| held.to <= saved_to) {
            self.in_hand.settle(1);
            match held.if_committed {
                Some(settled) => self.fence.counts().add_settled(settled),
                None => self.uncounted.push(held),
            }
        }
        let next = self.held.front().map_or(self.handed_in, |held| held.from);
        if next != saved_to {
            // Only somebody else can have moved it to a place that is no batch's end.
            return self.stop(StopReason::Fenced { owner: None });
        }
        info!(partition = %self.fence.partition(), offset = %saved_to,
            batches = self.held.len(), "goes on after a reacquire");
        self.state = State::Flowing;
        for held in self.held.clone() {
            self.send_down(held, ctx);
        }
    }

    /// Counts a batch that is committed, by whichever way the news came.
    fn count(&mut self, to: NextOffset, settled: Settled) {
        if let Some(place) = self.uncounted.iter().position(|held| held.to == to) {
            self.uncounted.swap_remove(place);
            self.fence.counts().add_settled(settled);
        } else if self.held.front().is_some_and(|held| held.to == to) {
            self.held.pop_front();
            self.in_hand.settle(1);
            self.fence.counts().add_settled(settled);
        }
    }

    /// Notes how a batch is settled if its transaction did commit, or counts it if a reacquire has
    /// shown already that it did.
    fn note_unconfirmed(&mut self, to: NextOffset, settled: Settled) {
        if self.uncounted.iter().any(|held| held.to == to) {
            self.count(to, settled);
        } else if let Some(held) = self.held.iter_mut().find(|held| held.to == to) {
            held.if_committed = Some(settled);
        }
    }

    fn stop(&mut self, reason: StopReason) {
        if self.state == State::Stopped {
            return;
        }
        warn!(partition = %self.fence.partition(), %reason, "partition stopped");
        self.state = State::Stopped;
        self.fence.fall();
        self.let_go();
        self.source.stop(&self.fence, reason);
    }

    /// Lets one batch of an ended assignment go; others may still be in a transaction.
    fn let_one_go(&mut self, to: NextOffset) {
        if let Some(place) = self.held.iter().position(|held| held.to == to) {
            let records = self.held.remove(place).map_or(0, |held| held.parcel.arena.len() as u64);
            self.fence.counts().add_given_up(records);
            self.in_hand.settle(1);
        }
    }

    /// Lets the batches in hand go unsettled: whoever owns the partition next reads them again.
    fn let_go(&mut self) {
        let counts = self.fence.counts();
        for held in &self.uncounted {
            // Committed for certain; how each record was settled died with the notice.
            let saved = held.parcel.arena.len() as u64;
            counts.add_settled(Settled { saved, ..Settled::default() });
        }
        counts.add_given_up(self.held.iter().map(|held| held.parcel.arena.len() as u64).sum());
        self.in_hand.settle(self.held.len());
        self.uncounted.clear();
        self.held.clear();
    }
}

impl<P: Pipeline> Actor for PartitionActor<P> {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        // The door admits at most this many batches; each brings at most one notice besides.
        ctx.set_mailbox_capacity(2 * self.mailbox_batches + 2);
    }
}

impl<P: Pipeline> Drop for PartitionActor<P> {
    fn drop(&mut self) {
        self.let_go();
    }
}

impl<P: Pipeline> Handler<PartitionAcquired> for PartitionActor<P> {
    type Result = ();

    fn handle(&mut self, acquired: PartitionAcquired, _: &mut Context<Self>) {
        if self.state == State::Acquiring {
            self.fence.hold(acquired.epoch, acquired.next_offset);
            self.handed_in = acquired.next_offset;
            self.state = State::Flowing;
            self.source.seek(&self.fence, acquired.next_offset);
        }
    }
}

impl<P: Pipeline> Handler<AcquireRefused> for PartitionActor<P> {
    type Result = ();

    fn handle(&mut self, refused: AcquireRefused, _: &mut Context<Self>) {
        self.stop(StopReason::Failed { reason: refused.reason });
    }
}

impl<P: Pipeline> Handler<PolledBatch> for PartitionActor<P> {
    type Result = ();

    fn handle(&mut self, polled: PolledBatch, ctx: &mut Context<Self>) {
        let records = polled.parcel.arena.len() as u64;
        let flows = matches!(self.state, State::Flowing | State::Recovering);
        let is_stale = !flows || polled.seek != self.fence.last_seek();
        let taken = if is_stale { None } else { self.take_in(polled) };
        let taken_out_of_turn = !is_stale && taken.is_none();
        match taken {
            Some(held) if self.state == State::Flowing => self.send_down(held, ctx),
            // Sent with the others once the database has answered.
            Some(_) => {}
            None => {
                self.fence.counts().add_given_up(records);
                self.in_hand.settle(1);
            }
        }
        if taken_out_of_turn {
            self.stop(StopReason::Failed {
                reason: format!("{} got a batch out of its turn", self.fence.partition()),
            });
        }
    }
}

impl<P: Pipeline> Handler<BatchSaved> for PartitionActor<P> {
    type Result = ();

    fn handle(&mut self, saved: BatchSaved, _: &mut Context<Self>) {
        debug!(partition = %self.fence.partition(), to = %saved.to, "saved");
        self.backoff.reset();
        self.count(saved.to, saved.settled);
    }
}

impl<P: Pipeline> Handler<BatchGivenUp> for PartitionActor<P> {
    type Result = ();

    fn handle(&mut self, given_up: BatchGivenUp, ctx: &mut Context<Self>) {
        let is_current =
            self.fence.position().is_some_and(|position| position.attempt == given_up.attempt);
        if !self.fence.stands() {
            return self.let_one_go(given_up.to);
        }
        if let GivenUp::Unknown { settled } = given_up.cause {
            self.note_unconfirmed(given_up.to, settled);
        }
        if !is_current {
            return;
        }
        match given_up.cause {
            GivenUp::Unknown { .. } | GivenUp::Lost { .. } => self.recover(ctx),
            GivenUp::Fenced { owner } => self.stop(StopReason::Fenced { owner }),
            GivenUp::Stopped { reason } => self.stop(StopReason::Failed { reason }),
        }
    }
}
