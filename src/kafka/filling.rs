//! A batch while it is read.

use std::time::Instant;

use longshore_actors::arena::RecordArena;
use longshore_actors::ticket::Ticket;

use super::ffi::PolledRecord;

/// What is read of a partition and not handed in.
pub(super) struct Filling {
    pub(super) arena: RecordArena,
    pub(super) ticket: Ticket,
    /// When its first record was read.
    pub(super) since: Instant,
}

impl Filling {
    /// Its records and their bytes.
    pub(super) fn size(&self) -> (usize, usize) {
        (self.arena.len(), self.arena.num_bytes())
    }

    /// Makes the ticket one for what is there.
    pub(super) fn correct(&mut self) {
        self.ticket.correct(self.arena.len() as u64, self.arena.allocated_bytes() as u64);
    }
}

/// Copies a record into its batch: nothing of librdkafka's memory goes further.
pub(super) fn copy(record: &PolledRecord<'_>, arena: &mut RecordArena) {
    arena.push(record.parts);
    record.headers(|name, value| arena.push_header(name, value));
}
