//! One partition's row in a [`super::MemoryStore`].

use super::shelf::Shelf;
use crate::caution::{Caution, DEATHS_MAX, STARTS_MAX};
use crate::fence::Fence;
use crate::record::{NextOffset, Offset};

#[derive(Clone, Debug, Default)]
pub(super) struct OffsetRow {
    pub(super) epoch: i64,
    pub(super) next_offset: NextOffset,
    /// The assignment that owns it; `None` after an operator moved the offset.
    pub(super) owner: Option<u64>,
    pub(super) at_work: bool,
    pub(super) deaths: i32,
    pub(super) named: Option<Offset>,
    pub(super) starts: i32,
}

impl OffsetRow {
    /// What is known of the owners before `fence`'s.
    pub(super) fn caution(&mut self, fence: &Fence, shelf: &Shelf) -> Option<Caution> {
        if self.owner != Some(fence.incarnation()) {
            let died = std::mem::take(&mut self.at_work);
            let is_ahead = |named: &Offset| {
                let comes_back = || shelf.comes_back(fence.partition(), *named);
                died && (named.0 >= self.next_offset.0 || comes_back())
            };
            self.deaths += i32::from(died);
            self.starts = self.named.filter(is_ahead).map_or(0, |_| self.starts + 1);
        }
        let condemned = self.named.filter(|_| self.starts >= STARTS_MAX);
        (self.deaths >= DEATHS_MAX).then_some(Caution { condemned })
    }

    pub(super) fn take(&mut self, fence: &Fence) -> (i64, NextOffset) {
        self.epoch += 1;
        self.owner = Some(fence.incarnation());
        (self.epoch, self.next_offset)
    }
}
