//! How a partition notes in its row that work is in hand, and goes on record by record after
//! deaths; see [`crate::caution`].

use actix::prelude::*;
use tokio::time::Instant;
use tracing::info;

use super::{PartitionActor, State};
use crate::batch::Held;
use crate::caution::{MARK_STAYS, Mark};
use crate::faults;
use crate::gate::Gate;
use crate::pipeline::Pipeline;
use crate::ports::StopReason;
use crate::questions;
use crate::record::Offset;

impl<P: Pipeline> PartitionActor<P> {
    /// Somebody tries a record alone.
    pub(super) fn wait_at_gate(&mut self, ctx: &mut Context<Self>) {
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
    pub(super) fn set_mark(
        &mut self,
        named: Option<(Option<Offset>, Gate)>,
        ctx: &mut Context<Self>,
    ) {
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
    pub(super) fn rest(&mut self, ctx: &mut Context<Self>) {
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
    pub(super) fn go_on_carefully(&mut self, saved: &Held) {
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
}
