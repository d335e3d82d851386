//! The front of a house: opens a door, with a PartitionActor behind it, for each partition that is
//! assigned, and has it acquired.

use std::sync::Arc;

use actix::prelude::*;
use hashbrown::DefaultHashBuilder;

use crate::acquirer::{AcquirePartitions, Claim};
use crate::batch::DecodedBatch;
use crate::conservation::Ledger;
use crate::decode::Decoder;
use crate::door::{Door, Front};
use crate::fence::Fence;
use crate::gate::Gate;
use crate::pace::Pace;
use crate::parked::RetryPolicy;
use crate::partition::PartitionActor;
use crate::pipeline::Pipeline;
use crate::ports::{CommitBoard, Source, Store};
use crate::record::PartitionId;
use crate::register::Register;
use crate::stage::Stage;
use crate::supervise::{Office, Post, Who};
use crate::threads::{Thread, Threads};
use crate::ticket::Budget;
use crate::topology::HouseParams;

/// News for one partition that are on the way at a time, besides what becomes of its batches.
const NEWS_MAX: usize = 16;

/// The front of a house: starts a PartitionActor for each assigned partition.
pub struct HouseFront<P: Pipeline> {
    pub(crate) params: HouseParams<P>,
    pub(crate) budget: Budget,
    pub(crate) pace: Pace,
    pub(crate) board: CommitBoard,
    pub(crate) ledger: Ledger,
    pub(crate) hasher: DefaultHashBuilder,
    pub(crate) loader: Stage<DecodedBatch<P>>,
    pub(crate) acquirer: Stage<AcquirePartitions>,
    pub(crate) register: Register,
    pub(crate) threads: Threads,
    pub(crate) office: Office,
}

impl<P: Pipeline> HouseFront<P> {
    fn open(&self, partition: PartitionId) -> (Door, Claim) {
        let counts = self.ledger.of(&partition);
        let fence = Arc::new(Fence::counted(partition, counts));
        let order = self.params.order;
        // The door admits at most the budget's batches; each brings at most one notice besides, and
        // some news may come of the acquire, of the row and of the house.
        let mailbox = 2 * self.params.budget.batches as usize + NEWS_MAX;
        let post = Post::new(Who::Partition(fence.clone()), 1, mailbox, self.office.clone());
        let end = post.ender();
        let params = PartitionParams {
            fence: fence.clone(),
            decoder: Decoder::new(self.params.pipeline.clone(), order, self.hasher.clone()),
            store: self.params.store.clone(),
            source: self.params.source.clone(),
            acquirer: self.acquirer.clone(),
            loader: self.loader.clone(),
            register: self.register.clone(),
            gate: self.params.gate.clone(),
            budget: self.budget.clone(),
            pace: self.pace.clone(),
            retry: self.params.retry,
            post,
        };
        let arbiter = self.threads.handle(Thread::PARTITIONS);
        let actor =
            PartitionActor::start_in_arbiter(&arbiter, move |_| PartitionActor::new(params));
        let claim = Claim::new(fence.clone(), actor.clone().recipient());
        (Door::new(fence, actor.recipient(), end), claim)
    }
}

impl<P: Pipeline> Front for HouseFront<P> {
    fn assign(&self, partitions: Vec<PartitionId>) -> Vec<Door> {
        let (doors, claims) = partitions.into_iter().map(|id| self.open(id)).unzip();
        self.acquirer.forward(AcquirePartitions(claims));
        doors
    }

    fn budget(&self) -> &Budget {
        &self.budget
    }

    fn pace(&self) -> &Pace {
        &self.pace
    }

    fn board(&self) -> &CommitBoard {
        &self.board
    }
}

/// What a [`PartitionActor`] is made of.
pub(crate) struct PartitionParams<P: Pipeline> {
    pub(crate) fence: Arc<Fence>,
    pub(crate) decoder: Decoder<P>,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) source: Arc<dyn Source>,
    pub(crate) acquirer: Stage<AcquirePartitions>,
    pub(crate) loader: Stage<DecodedBatch<P>>,
    pub(crate) register: Register,
    pub(crate) gate: Gate,
    pub(crate) budget: Budget,
    pub(crate) pace: Pace,
    pub(crate) retry: RetryPolicy,
    pub(crate) post: Post,
}
