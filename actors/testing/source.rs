//! A source that reads from vectors, under tickets as the consumer thread does.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hashbrown::HashMap;

use crate::arena::{RecordArena, RecordParts};
use crate::batch::{Parcel, PolledBatch};
use crate::door::{Door, Front};
use crate::fence::Fence;
use crate::format::Format;
use crate::ports::{Source, StopReason};
use crate::record::{NextOffset, Offset, PartitionId};

/// See the module. Cheap to clone; all clones are one source.
#[derive(Clone, Default)]
pub struct MemorySource {
    told: Arc<Mutex<Told>>,
}

/// What the house told the source, by assignment.
#[derive(Default)]
struct Told {
    seeks: HashMap<u64, NextOffset>,
    stops: HashMap<u64, StopReason>,
    reopened: Vec<u64>,
}

impl Source for MemorySource {
    fn seek(&self, fence: &Arc<Fence>, position: NextOffset) {
        fence.begin_seek();
        let mut told = self.lock();
        told.stops.remove(&fence.incarnation());
        told.seeks.insert(fence.incarnation(), position);
    }

    fn reopen(&self, fence: &Arc<Fence>) {
        self.lock().reopened.push(fence.incarnation());
    }

    fn stop(&self, fence: &Arc<Fence>, reason: StopReason) {
        self.lock().stops.insert(fence.incarnation(), reason);
    }
}

impl MemorySource {
    fn lock(&self) -> MutexGuard<'_, Told> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Why an assignment was stopped, if it was.
    pub fn stopped(&self, door: &Door) -> Option<StopReason> {
        self.lock().stops.get(&door.fence().incarnation()).cloned()
    }

    /// Puts a new door in the place of each one that was asked to be opened again, or that another
    /// owner fenced: a consumer that is still assigned such a partition begins anew.
    pub fn serve(&self, front: &dyn Front, doors: &mut [Door]) {
        let mut told = self.lock();
        let mut reopened = std::mem::take(&mut told.reopened);
        let is_fenced = |reason: &StopReason| matches!(reason, StopReason::Fenced { .. });
        let fenced = told.stops.extract_if(|_, reason| is_fenced(reason));
        reopened.extend(fenced.map(|(incarnation, _)| incarnation));
        drop(told);
        for incarnation in reopened {
            let door = doors.iter_mut().find(|door| door.fence().incarnation() == incarnation);
            if let Some(door) = door {
                let opened = front.assign(vec![door.fence().partition().clone()]);
                *door = opened.into_iter().next().expect("a door a partition");
            }
        }
    }

    /// Reads one batch of at most `records` through `door`, from the values of its partition, if a
    /// ticket is to be had and there is anything to read. Says whether it did.
    pub fn pump(
        &self,
        front: &dyn Front,
        door: &Door,
        values: &HashMap<PartitionId, Vec<Vec<u8>>>,
        records: usize,
    ) -> bool {
        let incarnation = door.fence().incarnation();
        let position = {
            let told = self.lock();
            let waits = told.stops.get(&incarnation).is_some_and(StopReason::is_for_now);
            let Some(position) = told.seeks.get(&incarnation).filter(|_| !waits) else {
                return false;
            };
            *position
        };
        let start = usize::try_from(position.0).expect("offsets begin at 0");
        let values = &values[door.fence().partition()];
        let end = values.len().min(start + records);
        let bytes = values[start..end].iter().map(Vec::len).sum::<usize>();
        let ticket = front.budget().try_take((end - start) as u64, bytes as u64);
        let Some(ticket) = ticket.filter(|_| start < end) else { return false };
        let arena = RecordArena::with_capacity(end - start, bytes, Format::Json);
        let mut arena = arena.of(door.fence().partition());
        for (offset, value) in (position.0..).zip(&values[start..end]) {
            arena.push(RecordParts {
                offset: Offset(offset),
                timestamp_ms: None,
                key: None,
                value: Some(value),
            });
        }
        let to = arena.end().expect("it has a record");
        self.lock().seeks.insert(incarnation, to);
        let parcel = Arc::new(Parcel::new(arena, ticket));
        door.submit(PolledBatch { parcel, from: position, to, seek: door.fence().last_seek() })
    }
}
