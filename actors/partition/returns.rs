//! How parked records of a partition come back, and how it waits: for a record that is to be tried
//! again in its place, for a full lane, for a server that is too slow for its batches.

use std::sync::Arc;
use std::time::Duration;

use actix::prelude::*;
use tracing::{info, warn};

use super::{PartitionActor, State};
use crate::batch::Parcel;
use crate::custody::Custody;
use crate::decode::Verdict;
use crate::error::{Reject, RetryLater};
use crate::faults;
use crate::parked::DueBatch;
use crate::pipeline::Pipeline;
use crate::ports::StopReason;
use crate::record::Offset;

/// Records of one batch of parked ones: more would hold up what comes after them.
const DUE_RECORDS: usize = 500;

/// And their bytes, of which a single record may have more.
const DUE_BYTES: usize = 1024 * 1024;

/// A record that is tried again in its place.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stall {
    offset: Offset,
    attempts: u32,
}

/// Where parked records that are due stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Returning {
    /// None are known to be due.
    Idle,
    /// They are being read.
    Reading,
    /// They are in hand.
    InHand,
}

impl<P: Pipeline> PartitionActor<P> {
    /// Reads parked records that are due, to be sent down before what is read next.
    pub(super) fn read_due(&mut self, ctx: &mut Context<Self>) {
        let is_free = self.returning == Returning::Idle && self.state == State::Flowing;
        if !is_free || self.own.fence.is_halted() || self.own.fence.drains() {
            return;
        }
        self.returning = Returning::Reading;
        let (store, fence) = (self.own.store.clone(), self.own.fence.clone());
        // More than the house may hold would never get a ticket.
        let room = usize::try_from(self.own.budget.limits().records / 2).unwrap_or(usize::MAX);
        let most = if self.careful.is_some() { 1 } else { DUE_RECORDS.min(room).max(1) };
        let due = async move { store.due(&fence, most, DUE_BYTES).await };
        ctx.spawn(due.into_actor(self).map(|answer, this, ctx| {
            faults::point("PartitionActor", "DueRead");
            // The answer to a question of before a new beginning comes twice.
            if this.returning != Returning::Reading {
                return;
            }
            this.returning = Returning::Idle;
            match answer {
                Ok(Some(due)) if this.state == State::Flowing => this.take_in_due(due, ctx),
                Ok(_) => {}
                // Asked again when the rows are looked at again.
                Err(error) => warn!(partition = %this.own.fence.partition(), %error,
                    "cannot read parked records yet"),
            }
        }));
    }

    fn take_in_due(&mut self, due: DueBatch, ctx: &mut Context<Self>) {
        let (records, bytes) = (due.arena.len() as u64, due.arena.num_bytes() as u64);
        // Without a ticket they come back when the rows are looked at again.
        let Some(mut ticket) = self.own.budget.try_take(records, 0) else { return };
        ticket.correct(records, bytes);
        let parcel = Arc::new(Parcel::new(due.arena, ticket));
        let custody = Custody::take_parked(self.own.fence.clone(), records);
        self.held.take_in_parked(parcel, custody, due.rows.into());
        self.returning = Returning::InHand;
        self.go_on(ctx);
    }

    /// Parked records were saved: perhaps there are more.
    pub(super) fn due_are_saved(&mut self, ctx: &mut Context<Self>) {
        self.returning = Returning::Idle;
        self.read_due(ctx);
    }

    /// Reads again once the lanes have room.
    pub(super) fn look_at_lanes(&mut self) {
        let has_room = self.own.fence.lanes().longest() <= self.own.retry.lane_records / 2;
        let is_free = self.state == State::Flowing && self.held.is_empty();
        if !self.is_lane_full || !has_room || !is_free {
            return;
        }
        if let Some(position) = self.own.fence.position() {
            info!(partition = %self.own.fence.partition(), "its lanes have room: reads again");
            self.begin_at(position.expected);
        }
    }

    /// A lane has as many parked records as it may have: nothing more is read, parked records come
    /// back meanwhile.
    pub(super) fn wait_for_lane(&mut self, reason: String) {
        warn!(partition = %self.own.fence.partition(), reason, "reads no more for now");
        self.is_lane_full = true;
        self.begin_anew();
        self.own.source.stop(&self.own.fence, StopReason::LaneFull { reason });
    }

    /// Ordered by partition, a record is to be tried again later: everything behind it waits.
    pub(super) fn stall(&mut self, offset: Offset, later: RetryLater, ctx: &mut Context<Self>) {
        let before = self.stall.filter(|stall| stall.offset == offset);
        let attempts = before.map_or(0, |stall| stall.attempts) + 1;
        self.stall = Some(Stall { offset, attempts });
        self.held.cut_before(offset);
        // The pause may be long: somebody may wait to be alone.
        self.held.unsend();
        let Some(pause) = self.own.retry.pause(attempts) else {
            let RetryLater { reason, error, .. } = later;
            let error = format!("{error} (given up after {attempts} attempts)");
            self.verdict = Some(Verdict { offset, reject: Reject { reason, error } });
            return self.recover_after(Duration::ZERO, ctx);
        };
        let pause = later.after.unwrap_or(pause);
        let reason = format!("offset {offset} of {}: {later}", self.own.fence.partition());
        warn!(reason, attempts, ?pause, "tried again later, and all behind it wait");
        self.own.post.pulse().waits(reason);
        self.recover_after(pause, ctx);
    }

    /// A transaction took too long: the next ones have half as many records of this partition.
    pub(super) fn take_smaller(&mut self, reason: &str, ctx: &mut Context<Self>) {
        self.most = (self.held.largest_sent() / 2).max(1);
        warn!(partition = %self.own.fence.partition(), reason, records = self.most,
            "goes on with smaller batches");
        self.held.cut_all(self.most);
        self.recover_after(Duration::ZERO, ctx);
    }
}
