//! Records as the thread that reads hands them in: in their arena, under their ticket.

use std::ops::Range;
use std::sync::Arc;

use crate::arena::RecordArena;
use crate::record::NextOffset;
use crate::ticket::Ticket;

/// A batch's records together with their ticket: while anybody holds the records, the ticket is
/// out, whatever became of the batch.
#[derive(Debug)]
pub struct Parcel {
    /// The records.
    pub arena: RecordArena,
    ticket: Arc<Ticket>,
}

impl Parcel {
    /// Ties `arena` to the ticket it was read under.
    pub fn new(arena: RecordArena, ticket: Ticket) -> Self {
        Self { arena, ticket: Arc::new(ticket) }
    }

    /// Some of its records, under the same ticket.
    pub(crate) fn part(&self, records: Range<usize>) -> Self {
        Self { arena: self.arena.part(records), ticket: self.ticket.clone() }
    }
}

/// Records of one partition as the consumer thread read them; none of them for a position that
/// only passes offsets without records.
#[derive(Debug)]
pub struct PolledBatch {
    /// The records and their ticket.
    pub parcel: Arc<Parcel>,
    /// Where reading began: the position sought, or the end of the batch before it.
    pub from: NextOffset,
    /// The place to read on from; the batch covers everything from `from` up to it.
    pub to: NextOffset,
    /// The seek it was read after ([`crate::fence::Fence::last_seek`]). A batch of an earlier one
    /// was under way when the position changed: it chains to nothing, and is read again or was
    /// skipped on purpose.
    pub seek: u64,
}
