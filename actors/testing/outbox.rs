//! What is to be published of a [`super::MemoryStore`].

use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use hashbrown::HashMap;

use super::shelf::ShelvedRecord;
use super::store::{Content, MemoryStore};
use crate::batch::WorkedBatch;
use crate::error::StoreError;
use crate::fence::Fence;
use crate::message::Message;
use crate::publisher::{Kind, Outbox, Outgoing, OutgoingRow, PassLimits, Verdict};
use crate::record::{Offset, PartitionId};

/// Where dead records go.
const DEAD_LETTERS: &str = "dead-letters";

/// A message in the outbox.
#[derive(Clone, Debug)]
pub struct MemoryMessage {
    /// Its row.
    pub id: i64,
    /// The partition of its record.
    pub partition: PartitionId,
    /// Its record's place.
    pub offset: Offset,
    /// What is to be published.
    pub message: Message,
    /// What became of it; `None` if it is still to be published.
    pub outcome: Option<Result<(), String>>,
}

/// All messages, and what became of dead records: by id and attempts, which make the version.
#[derive(Default)]
pub(super) struct MemoryOutbox {
    messages: Vec<MemoryMessage>,
    relayed: HashMap<(i64, i64), Result<(), String>>,
}

impl MemoryOutbox {
    /// Takes in the messages of the records of a batch that `goes`, in the records' order.
    pub(super) fn write(&mut self, worked: &WorkedBatch, goes: &[bool]) {
        let messages = worked.chunks.iter().flat_map(|chunk| chunk.rows.messages());
        let mut messages: Vec<_> = messages.filter(|(of, _)| goes[*of as usize]).collect();
        messages.sort_by_key(|(of, _)| *of);
        for (of, message) in messages {
            self.messages.push(MemoryMessage {
                id: self.messages.len() as i64,
                partition: worked.batch.fence.partition().clone(),
                offset: worked.batch.parcel.arena.get(*of as usize).offset,
                message: message.clone(),
                outcome: None,
            });
        }
    }

    fn outgoing(&self, partition: &PartitionId, fence: usize) -> Vec<Outgoing> {
        let open = |one: &&MemoryMessage| one.partition == *partition && one.outcome.is_none();
        let outgoing = |one: &MemoryMessage| Outgoing {
            row: OutgoingRow { kind: Kind::Outbox, id: one.id, version: 0 },
            fence,
            topic: one.message.topic().to_owned(),
            key: one.message.key_bytes().map(<[u8]>::to_vec),
            value: one.message.value_bytes().map(<[u8]>::to_vec),
            headers: Vec::new(),
        };
        self.messages.iter().filter(open).map(outgoing).collect()
    }
}

impl MemoryStore {
    /// All messages that were ever in the outbox.
    pub fn messages(&self) -> Vec<MemoryMessage> {
        self.lock().outbox.messages.clone()
    }

    /// How much is still to be published, messages and dead records.
    pub fn num_unpublished(&self) -> usize {
        let content = self.lock();
        let open = content.outbox.messages.iter().filter(|message| message.outcome.is_none());
        open.count() + content.dead_letters(None).len()
    }
}

fn row_of_dead(record: &ShelvedRecord) -> OutgoingRow {
    OutgoingRow { kind: Kind::DeadLetter, id: record.id, version: i64::from(record.attempts) }
}

impl Content {
    /// Dead records that are still to be published: of one partition, or of all.
    fn dead_letters(&self, of: Option<(&PartitionId, usize)>) -> Vec<Outgoing> {
        let is_open = |record: &&ShelvedRecord| {
            let row = row_of_dead(record);
            let is_its = of.is_none_or(|(partition, _)| record.partition == *partition);
            let relayed = &self.outbox.relayed;
            is_its && record.due.is_none() && !relayed.contains_key(&(row.id, row.version))
        };
        let outgoing = |record: &ShelvedRecord| Outgoing {
            row: row_of_dead(record),
            fence: of.map_or(0, |(_, fence)| fence),
            topic: DEAD_LETTERS.to_owned(),
            key: record.lane.clone(),
            value: Some(record.value.clone()),
            headers: Vec::new(),
        };
        self.shelf.records.iter().filter(is_open).map(outgoing).collect()
    }
}

impl Outbox for MemoryStore {
    fn unpublished<'a>(
        &'a self,
        fences: &'a [Arc<Fence>],
        limits: PassLimits,
    ) -> BoxFuture<'a, Result<Vec<Outgoing>, StoreError>> {
        self.change(move |content| {
            let mut outgoing = Vec::new();
            for (place, fence) in fences.iter().enumerate() {
                if content.row_of(fence).is_some() {
                    outgoing.extend(content.outbox.outgoing(fence.partition(), place));
                    outgoing.extend(content.dead_letters(Some((fence.partition(), place))));
                }
            }
            outgoing.truncate(limits.messages);
            outgoing
        })
        .boxed()
    }

    fn mark<'a>(
        &'a self,
        fences: &'a [Arc<Fence>],
        verdicts: &'a [Verdict],
    ) -> BoxFuture<'a, Result<usize, StoreError>> {
        self.change(move |content| {
            let mut noted = 0;
            for Verdict { row, fence, outcome } in verdicts {
                if content.row_of(&fences[*fence]).is_none() {
                    continue;
                }
                noted += 1;
                let outbox = &mut content.outbox;
                match row.kind {
                    Kind::Outbox => {
                        let place = usize::try_from(row.id).expect("it was read here");
                        outbox.messages[place].outcome = Some(outcome.clone());
                    }
                    Kind::DeadLetter => {
                        outbox.relayed.insert((row.id, row.version), outcome.clone());
                    }
                }
            }
            noted
        })
        .boxed()
    }
}
