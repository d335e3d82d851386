//! The bound on everything: a [`Ticket`] is taken at the door before a record is read, and goes
//! home when its batch is settled and nobody holds its records any more. All tickets home means
//! drained.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering::SeqCst};

/// What one pipeline may hold at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BudgetLimits {
    /// Records in the house.
    pub records: u64,
    /// Bytes of keys, values and headers in the house.
    pub bytes: u64,
    /// Batches in the house, empty ones included: every mailbox capacity is derived from it.
    pub batches: u32,
}

/// The tickets of one pipeline. Cheap to clone; all clones are one budget.
#[derive(Clone, Debug)]
pub struct Budget {
    limits: BudgetLimits,
    free: Arc<Free>,
}

#[derive(Debug)]
struct Free {
    records: AtomicI64,
    bytes: AtomicI64,
    batches: AtomicI64,
}

impl Budget {
    /// A budget with all its tickets at home.
    pub fn new(limits: BudgetLimits) -> Self {
        let signed = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
        let free = Free {
            records: AtomicI64::new(signed(limits.records)),
            bytes: AtomicI64::new(signed(limits.bytes)),
            batches: AtomicI64::new(i64::from(limits.batches)),
        };
        Self { limits, free: Arc::new(free) }
    }

    /// The limits that this budget was made with.
    pub fn limits(&self) -> BudgetLimits {
        self.limits
    }

    /// Takes a ticket for one batch of at most `records` and about `bytes`, if there is room.
    /// What it really holds is set by [`Ticket::correct`].
    pub fn try_take(&self, records: u64, bytes: u64) -> Option<Ticket> {
        let ticket = Ticket {
            free: self.free.clone(),
            records: i64::try_from(records).ok()?,
            bytes: i64::try_from(bytes).ok()?,
        };
        // Built first, so that a refusal gives back by drop what it took.
        let before = [
            (ticket.free.records.fetch_sub(ticket.records, SeqCst), ticket.records),
            (ticket.free.bytes.fetch_sub(ticket.bytes, SeqCst), ticket.bytes),
            (ticket.free.batches.fetch_sub(1, SeqCst), 1),
        ];
        before.iter().all(|(free, wanted)| free >= wanted).then_some(ticket)
    }

    /// Records out of the house's budget at this moment.
    pub fn records_out(&self) -> u64 {
        out(self.limits.records, &self.free.records)
    }

    /// Bytes out of the house's budget at this moment; more than the limit after a huge record.
    pub fn bytes_out(&self) -> u64 {
        out(self.limits.bytes, &self.free.bytes)
    }

    /// The share of the tickets that is out, in records or in bytes, whichever is larger; more than
    /// 1 after a huge record.
    pub fn share_out(&self) -> f64 {
        let share = |out: u64, limit: u64| out as f64 / limit.max(1) as f64;
        let records = share(self.records_out(), self.limits.records);
        records.max(share(self.bytes_out(), self.limits.bytes))
    }

    /// Whether every ticket is at home: nothing is in the house.
    pub fn is_drained(&self) -> bool {
        self.free.batches.load(SeqCst) == i64::from(self.limits.batches)
    }
}

fn out(limit: u64, free: &AtomicI64) -> u64 {
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    u64::try_from(limit - free.load(SeqCst)).unwrap_or(0)
}

/// A permit for one batch. Dropped means: its records have left the house.
#[derive(Debug)]
pub struct Ticket {
    free: Arc<Free>,
    records: i64,
    bytes: i64,
}

impl Ticket {
    /// The records that it is for.
    pub fn records(&self) -> usize {
        usize::try_from(self.records).unwrap_or(0)
    }

    /// Replaces what was reserved by what was read. More than the reserve (a huge record) is an
    /// overdraft: it is granted, and no further ticket is until it is repaid.
    pub fn correct(&mut self, records: u64, bytes: u64) {
        let records = i64::try_from(records).unwrap_or(i64::MAX);
        let bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
        self.free.records.fetch_add(self.records - records, SeqCst);
        self.free.bytes.fetch_add(self.bytes - bytes, SeqCst);
        (self.records, self.bytes) = (records, bytes);
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if crate::faults::bug("ticket-leak") && fastrand::u8(..) < 32 {
            return;
        }
        self.free.records.fetch_add(self.records, SeqCst);
        self.free.bytes.fetch_add(self.bytes, SeqCst);
        self.free.batches.fetch_add(1, SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn budget() -> Budget {
        Budget::new(BudgetLimits { records: 100, bytes: 1000, batches: 3 })
    }

    #[test]
    fn a_refused_ticket_takes_nothing() {
        let budget = budget();
        let _held = budget.try_take(60, 10).expect("there is room");
        assert!(budget.try_take(60, 10).is_none());
        assert_eq!((budget.records_out(), budget.bytes_out()), (60, 10));
        assert!(budget.try_take(40, 10).is_some());
    }

    #[test]
    fn an_overdraft_stops_further_tickets_until_it_is_repaid() {
        let budget = budget();
        let mut huge = budget.try_take(10, 100).expect("there is room");
        huge.correct(1, 5000);
        assert!(budget.try_take(1, 1).is_none());
        drop(huge);
        assert!(budget.is_drained());
        assert!(budget.try_take(100, 1000).is_some());
    }

    #[test]
    fn empty_batches_are_bounded_too() {
        let budget = budget();
        let held: Vec<_> = (0..3).map(|_| budget.try_take(0, 0)).collect();
        assert!(held.iter().all(Option::is_some));
        assert!(budget.try_take(0, 0).is_none());
    }
}
