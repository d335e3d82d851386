//! How much that is ready goes ahead at once, and how long less of it waits for company.
//!
//! A query, and a transaction, cost the server much the same whether they are of a thousand records
//! or of five. With a backlog nobody is late for a record that waits a moment for others, and they
//! wait for a good part of what may be in the house; for half of it at most, so that there is
//! always something to do.

use std::time::Duration;

use actix::prelude::*;

use super::{Pace, PaceNow, Shared};
use crate::parcel::Parcel;

/// Ready records that are enough without a backlog. Fewer wait for those that were read together
/// with them, or until what is under way is over: so they cost the server less.
const ENOUGH: u64 = 5_000;

/// The part of the linger that they wait for.
const LINGER_PART: u32 = 10;

/// With a backlog: the part of the tickets that is worth a query.
const QUERY_PART: u64 = 8;

/// With a backlog: the eighths of the tickets that are worth a transaction of each session, all of
/// them together.
const TRANSACTIONS_EIGHTHS: u64 = 3;

/// With a backlog: the part of the time of a transaction that less waits for.
const TARGET_PART: u32 = 2;

/// What is enough to go ahead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Company {
    /// As many ready records are enough, or as many bytes of memory.
    records: u64,
    bytes: u64,
    /// For how long less than that waits.
    pub(crate) patience: Duration,
}

impl Company {
    /// Whatever there is goes ahead.
    const NONE: Self = Self { records: 0, bytes: 0, patience: Duration::ZERO };

    /// Whether these are enough.
    pub(crate) fn is_enough<'a>(self, ready: impl Iterator<Item = &'a Parcel>) -> bool {
        let (mut records, mut bytes) = (0, 0);
        for parcel in ready {
            records += parcel.arena.len() as u64;
            bytes += parcel.arena.allocated_bytes() as u64;
        }
        records >= self.records || bytes >= self.bytes
    }
}

impl Pace {
    /// What is enough for a query.
    pub(crate) fn query_company(&self) -> Company {
        self.company(1, QUERY_PART)
    }

    /// What is enough for a transaction.
    pub(crate) fn transaction_company(&self) -> Company {
        if !self.0.rules.adapts {
            return Company::NONE;
        }
        self.company(TRANSACTIONS_EIGHTHS, 8 * self.0.rules.sessions.max as u64)
    }

    /// If what is ready may wait for more, since nobody misses it and the server has enough to do:
    /// so many parts of that many of the tickets, and no more records than a transaction may have.
    fn company(&self, parts: u64, of: u64) -> Company {
        let Shared { rules, budget, .. } = &*self.0;
        let mut measured = self.lock();
        let PaceNow { linger, records: most, .. } = self.0.now(&mut measured);
        let is_half_busy = rules.adapts && measured.is_half_busy();
        if !is_half_busy || !self.0.has_backlog(&measured) {
            let patience = linger / LINGER_PART;
            return Company { records: ENOUGH, bytes: u64::MAX, patience };
        }
        let (limits, patience) = (budget.limits(), rules.target / TARGET_PART);
        let records = (limits.records * parts / of).min(most as u64);
        Company { records, bytes: limits.bytes * parts / of, patience }
    }
}

/// An actor's wait for company: one at a time.
#[derive(Default)]
pub(crate) struct Wait(Option<SpawnHandle>);

impl Wait {
    /// Whether it is under way.
    pub(crate) fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// Begins; after `patience`, `over` is to end it and go ahead with what there is.
    pub(crate) fn begin<A: Actor<Context = Context<A>>>(
        &mut self,
        patience: Duration,
        ctx: &mut Context<A>,
        over: fn(&mut A, &mut Context<A>),
    ) {
        self.0 = Some(ctx.run_later(patience, over));
    }

    /// Ends, over or not.
    pub(crate) fn end<A: Actor<Context = Context<A>>>(&mut self, ctx: &mut Context<A>) {
        if let Some(timer) = self.0.take() {
            ctx.cancel_future(timer);
        }
    }
}
