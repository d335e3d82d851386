//! How a batch goes again that was rolled back with its group: because the store refused records of
//! it, or for another one's sake (own writes only; see [`crate::own_writes`]).

use actix::prelude::*;
use hashbrown::HashMap;
use tracing::info;

use super::{PartitionActor, State};
use crate::error::Reject;
use crate::pipeline::Pipeline;
use crate::record::{NextOffset, Offset};

/// Rounds in which a batch may be refused records before it is halved: what is refused next may
/// depend on what was refused before.
const ROUNDS_MAX: u32 = 3;

/// Times in a row that a batch goes again at once, before it waits like one that was lost.
const AT_ONCE_MAX: u32 = 10;

/// What the store refused of the batch that is in hand.
#[derive(Debug, Default)]
pub(super) struct Refused {
    records: HashMap<Offset, Reject>,
    rounds: u32,
    /// How often it was sent again at once.
    at_once: u32,
}

impl Refused {
    /// The refused records.
    pub(super) fn records(&self) -> &HashMap<Offset, Reject> {
        &self.records
    }

    /// Everything before `to` is saved.
    pub(super) fn saved(&mut self, to: NextOffset) {
        self.records.retain(|offset, _| offset.0 >= to.0);
        (self.rounds, self.at_once) = (0, 0);
    }
}

impl<P: Pipeline> PartitionActor<P> {
    /// Sends what is in hand again, at once: it was rolled back for certain.
    pub(super) fn send_anew(&mut self, ctx: &mut Context<Self>) {
        self.refused.at_once += 1;
        if self.refused.at_once > AT_ONCE_MAX {
            return self.recover(ctx);
        }
        if self.state == State::Flowing && self.own.fence.begin_attempt().is_some() {
            self.held.unsend();
            self.go_on(ctx);
        }
    }

    /// The same without the records that the store refused: they are parked with the batch.
    pub(super) fn send_without(&mut self, refused: Vec<(Offset, Reject)>, ctx: &mut Context<Self>) {
        let partition = self.own.fence.partition();
        info!(%partition, records = refused.len(), "goes again without refused records");
        self.refused.records.extend(refused);
        self.refused.rounds += 1;
        if self.refused.rounds < ROUNDS_MAX {
            return self.send_anew(ctx);
        }
        self.refused.rounds = 0;
        self.take_smaller("the store refused records in several rounds", ctx);
    }
}
