//! PartitionActor: one assigned partition. Takes batches from its door, gives each its place
//! `[from, to)` in the partition, reads them as events and sends them down; keeps their records
//! until they are saved, so that it can send them again. Ends when its door is closed; stops when
//! it is fenced or when its records cannot be saved, until an operator moves its offset.

mod marks;
mod recovery;
mod refused;
mod returns;

use std::sync::Arc;

use actix::prelude::*;
use tokio::time::Instant;
use tracing::debug;

use self::refused::Refused;
use self::returns::{Returning, Stall};
use crate::acquirer::ClaimAnswer;
use crate::batch::{Batch, BatchGivenUp, BatchSaved, DecodedBatch, GivenUp, HandedInBatch, Home};
use crate::caution::{Careful, MARK_STAYS, Mark};
use crate::decode::{Reading, Verdict};
use crate::faults;
use crate::front::PartitionParams;
use crate::health::Signs;
use crate::held::HeldBatches;
use crate::pipeline::{Context as _, Pipeline};
use crate::ports::{StopReason, Stored};
use crate::record::NextOffset;
use crate::register::{BeginAgain, Registered, RowSeen};
use crate::supervise::{Backoff, Post, Watched};
use crate::trip::Trip;

/// After a transaction that took too long, batches grow by one part in so many with each save.
const MOST_GROWS: usize = 64;

/// See the module.
pub struct PartitionActor<P: Pipeline> {
    own: PartitionParams<P>,
    /// Batches handed in and not yet settled.
    held: HeldBatches,
    state: State,
    /// An attempt, and the turn of the batch that is sent next under it.
    next_turn: (u32, u32),
    mark: Mark,
    /// Goes on record by record: earlier owners died over it.
    careful: Option<Careful>,
    /// Waits until others may pass the gate.
    is_at_gate: bool,
    /// When something was in hand last.
    busy_at: Instant,
    /// Pauses between attempts that follow each other without a save.
    backoff: Backoff,
    /// Records of one batch at most: fewer after a transaction took too long.
    most: usize,
    /// Parked records that come back.
    returning: Returning,
    /// Ordered by partition: the record that everything behind it waits for.
    stall: Option<Stall>,
    /// A record that is judged already.
    verdict: Option<Verdict>,
    /// What the store refused of the batch that was rolled back.
    refused: Refused,
    /// Nothing is read for a lane's sake.
    is_lane_full: bool,
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
            next_turn: (0, 0),
            mark: Mark::Clear,
            careful: None,
            is_at_gate: false,
            busy_at: Instant::now(),
            backoff: Backoff::for_outage(),
            most: usize::MAX,
            returning: Returning::Idle,
            stall: None,
            verdict: None,
            refused: Refused::default(),
            is_lane_full: false,
        }
    }

    /// Begins at `position`, which the fence holds now.
    fn begin_at(&mut self, position: NextOffset) {
        self.held.begin_at(position);
        (self.state, self.returning) = (State::Flowing, Returning::Idle);
        (self.is_lane_full, self.refused) = (false, Refused::default());
        if !self.own.fence.is_halted() {
            self.own.source.seek(&self.own.fence, position);
        }
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
            // The next one must see what this one changes.
            (Mark::Set, None) if P::Context::OWN_WRITES && self.held.is_any_sent() => {}
            (Mark::Set, None) => {
                while let Some(next) = self.held.next() {
                    if !next.custody.has_pass() {
                        let Some(pass) = self.own.gate.try_share() else {
                            return self.wait_at_gate(ctx);
                        };
                        next.custody.keep(pass);
                    }
                    self.send_next(ctx);
                    if P::Context::OWN_WRITES {
                        return;
                    }
                }
            }
        }
    }

    /// The turn of the next batch that is sent under this attempt.
    fn next_turn(&mut self, attempt: u32) -> u32 {
        let (of, next) = self.next_turn;
        let turn = if of == attempt { next } else { 0 };
        self.next_turn = (attempt, turn + 1);
        turn
    }

    fn send_next(&mut self, ctx: &mut Context<Self>) {
        let Some(held) = self.held.send_next() else { return };
        let Some(position) = self.own.fence.position() else { return };
        let home = Home { saved: ctx.address().recipient(), given_up: ctx.address().recipient() };
        let pulse = self.own.post.pulse();
        pulse.turn_to(Some(self.own.fence.partition()));
        let verdict = self.careful.and_then(|careful| careful.verdict());
        let reading = Reading {
            verdict: verdict.as_ref().or(self.verdict.as_ref()),
            refused: self.refused.records(),
            held: held.parked.is_none().then(|| self.own.fence.lanes()),
            pulse,
        };
        let (events, keys, lanes) = self.own.decoder.decode(held.parcel.clone(), &reading);
        pulse.turn_to(None);
        let in_turn = (position.attempt, self.next_turn(position.attempt));
        self.own.fence.send_to(self.own.pace.session_of(self.own.fence.partition()));
        let batch = Batch::new(self.own.fence.clone(), held, lanes, in_turn, home);
        self.own.loader.forward(DecodedBatch { batch: Arc::new(batch), events, keys });
    }
}

impl<P: Pipeline> Actor for PartitionActor<P> {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        self.own.post.take_up(self, ctx);
        ctx.run_interval(MARK_STAYS, |this, ctx| {
            this.rest(ctx);
            this.look_at_lanes();
        });
        self.own.register.enter(Registered {
            fence: self.own.fence.clone(),
            again: ctx.address().recipient(),
            seen: ctx.address().recipient(),
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
        let waits_for_them = self.state == State::Flowing && self.own.fence.stands();
        let trips = || self.held.trips().filter(|_| waits_for_them);
        Signs {
            in_hand: self.held.len(),
            oldest: self.held.oldest(),
            // Its turn came with the notice that one of them is over.
            busy: trips().filter_map(Trip::over_since).min(),
            away: trips().map(Trip::began).min(),
        }
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
            ClaimAnswer::Acquired(holding) => self.acquired(holding),
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
        let most = if self.careful.is_some() { 1 } else { self.most };
        if self.held.take_in(batch, most) {
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
        self.most = self.most.saturating_add(self.most / MOST_GROWS + 1);
        self.refused.saved(saved.to);
        if let Some(held) = self.held.saved(saved.to) {
            self.go_on_carefully(&held);
            if held.parked.is_some() {
                self.due_are_saved(ctx);
            }
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
            GivenUp::TooSlow { reason } => self.take_smaller(&reason, ctx),
            GivenUp::RolledBack => self.send_anew(ctx),
            GivenUp::Refused(refused) => self.send_without(refused, ctx),
            GivenUp::Later { offset, later } => self.stall(offset, later, ctx),
            GivenUp::Halted(halt) => self.halt(halt),
            GivenUp::LaneFull { reason } => self.wait_for_lane(reason),
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

impl<P: Pipeline> Handler<RowSeen> for PartitionActor<P> {
    type Result = ();

    fn handle(&mut self, RowSeen(seen): RowSeen, ctx: &mut Context<Self>) {
        faults::point("PartitionActor", "RowSeen");
        self.follow(seen.halt);
        if seen.is_due {
            self.read_due(ctx);
        }
        match (self.state, seen.row) {
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
