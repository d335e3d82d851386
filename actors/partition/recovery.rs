//! How a partition takes its position, goes on from the database's truth after something of it was
//! lost, and stops.

use std::time::Duration;

use actix::prelude::*;
use tracing::{info, warn};

use super::returns::Returning;
use super::{PartitionActor, State};
use crate::acquirer::{AcquirePartitions, Claim};
use crate::caution::{Careful, Caution};
use crate::faults;
use crate::pipeline::Pipeline;
use crate::ports::{Acquired, Halt, Holding, StopReason};
use crate::questions;
use crate::record::NextOffset;
use crate::supervise::Backoff;

impl<P: Pipeline> PartitionActor<P> {
    /// Something in hand was lost or its outcome is unknown, or the row was changed: refuses what
    /// is still on its way, asks the database where the partition stands, and goes on from there.
    pub(super) fn recover(&mut self, ctx: &mut Context<Self>) {
        self.recover_after(Duration::ZERO, ctx);
    }

    /// The same after a pause.
    pub(super) fn recover_after(&mut self, pause: Duration, ctx: &mut Context<Self>) {
        if self.state != State::Flowing {
            return;
        }
        self.state = State::Recovering;
        self.own.fence.begin_attempt();
        let (store, fence) = (self.own.store.clone(), self.own.fence.clone());
        let backoff = std::mem::replace(&mut self.backoff, Backoff::for_outage());
        let pulse = self.own.post.pulse().clone();
        let asked = async move {
            tokio::time::sleep(pause).await;
            questions::reacquire(store, fence, backoff, pulse).await
        };
        ctx.spawn(asked.into_actor(self).map(|(answer, backoff), this, ctx| {
            faults::point("PartitionActor", "Reacquired");
            this.backoff = backoff;
            this.recovered(answer, ctx);
        }));
    }

    fn recovered(&mut self, answer: Acquired, ctx: &mut Context<Self>) {
        match answer {
            Acquired::Held(Holding { epoch, next_offset, lanes, .. }) => {
                self.own.fence.lanes().begin(lanes);
                self.own.fence.hold(epoch, next_offset);
                self.send_again(next_offset, ctx);
            }
            Acquired::Moved(Holding { epoch, next_offset, lanes, .. }) => {
                self.own.fence.lanes().begin(lanes);
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
        let has_parked = self.held.has_parked();
        self.returning = if has_parked { Returning::InHand } else { Returning::Idle };
        self.go_on(ctx);
    }

    pub(super) fn stop(&mut self, reason: StopReason) {
        if self.state == State::Stopped {
            return;
        }
        warn!(partition = %self.own.fence.partition(), %reason, "partition stopped");
        self.state = State::Stopped;
        self.own.fence.fall();
        self.held.let_go();
        self.own.source.stop(&self.own.fence, reason);
    }

    pub(super) fn acquired(&mut self, holding: Holding) {
        let Holding { epoch, next_offset, caution, lanes, halt } = holding;
        self.own.fence.lanes().begin(lanes);
        self.own.fence.hold(epoch, next_offset);
        self.careful = caution.map(|caution| Careful::new(caution, &self.own.gate));
        self.own.fence.set_careful(caution.is_some());
        if let Some(Caution { condemned }) = caution {
            warn!(partition = %self.own.fence.partition(), ?condemned,
                "earlier owners died with records in hand: goes on one by one");
        }
        self.follow(halt);
        self.begin_at(next_offset);
    }

    /// The pipeline was paused or stopped, or is let go on: what is in hand is settled in any case.
    pub(super) fn follow(&mut self, halt: Option<Halt>) {
        match halt {
            Some(halt) if !self.own.fence.is_halted() => {
                let partition = self.own.fence.partition();
                info!(%partition, reason = halt.reason, "reads nothing for now");
                self.own.fence.set_halted(true);
                self.own.source.stop(&self.own.fence, StopReason::Halted(halt));
            }
            None if self.own.fence.is_halted() => {
                self.own.fence.set_halted(false);
                if !self.is_lane_full {
                    self.own.source.seek(&self.own.fence, self.held.end());
                }
            }
            _ => {}
        }
    }

    /// The store saves nothing more of the pipeline: what is in hand is let go, and read again when
    /// the pipeline goes on.
    pub(super) fn halt(&mut self, halt: Halt) {
        self.begin_anew();
        self.follow(Some(halt));
    }

    /// Lets go of everything in hand, and of what is about to be handed in.
    pub(super) fn begin_anew(&mut self) {
        if let Some(position) = self.own.fence.begin_attempt() {
            self.held.begin_at(position.expected);
        }
        // What was read on the way here would be out of its turn.
        self.own.fence.begin_seek();
        self.returning = Returning::Idle;
    }

    /// The Acquirer died with the claim; another one is about to begin.
    pub(super) fn claim_again(&mut self, ctx: &mut Context<Self>) {
        ctx.run_later(self.backoff.next_pause(), |this, ctx| {
            if this.state == State::Acquiring && this.own.fence.stands() {
                let claim = Claim::new(this.own.fence.clone(), ctx.address().recipient());
                this.own.acquirer.forward(AcquirePartitions(vec![claim]));
            }
        });
    }
}
