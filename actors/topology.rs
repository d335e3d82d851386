//! Wires the house, last stage first: read upwards, this is the way of a record. The only file that
//! names two actors, and the one where every mailbox capacity comes from.

use std::sync::Arc;

use actix::prelude::*;
use hashbrown::DefaultHashBuilder;
use tokio::sync::watch;

use crate::acquirer::{AcquirePartitions, Acquirer, Claim};
use crate::batch::{DecodedBatch, LoadedBatch, WorkChunk};
use crate::conservation::Ledger;
use crate::context::ContextLoader;
use crate::decode::Decoder;
use crate::door::{Door, Front, InHand};
use crate::fence::Fence;
use crate::partition::{PartitionActor, PartitionParams};
use crate::persister::{PersisterActor, Persisters};
use crate::pipeline::{Order, Pipeline};
use crate::ports::{CommitBoard, Lookups, SessionId, Source, Store};
use crate::record::PartitionId;
use crate::supervise::{ActorDown, DownGuard};
use crate::ticket::{Budget, BudgetLimits};
use crate::worker::WorkerActor;
use crate::workers::{CHUNK_RECORDS, WorkerPool};

/// Assignments that may wait for the database at a time; more means a storm of rebalances while it
/// is away, and the older ones of them have ended.
const ASSIGNMENTS_MAX: usize = 1024;

/// What a house is built from.
pub struct HouseParams<P: Pipeline> {
    /// The user's code.
    pub pipeline: Arc<P>,
    /// The order of its work.
    pub order: Order,
    /// What may be in the house at a time.
    pub budget: BudgetLimits,
    /// Workers, each on a thread of its own.
    pub workers: usize,
    /// Saving sessions, with one persister each.
    pub sessions: usize,
    /// Offsets and rows.
    pub store: Arc<dyn Store>,
    /// Context.
    pub lookups: Arc<dyn Lookups<P>>,
    /// The thread that reads.
    pub source: Arc<dyn Source>,
    /// Where the actors live.
    pub placement: Placement,
}

/// Where actors live.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Placement {
    /// Each stage on threads of its own, so that stages overlap.
    Threads,
    /// All on the calling thread: for tests under virtual time.
    Here,
}

/// A running house. Everything in it ends with [`House::stop`].
pub struct House<P: Pipeline> {
    front: Arc<HouseFront<P>>,
    downs: watch::Receiver<Option<ActorDown>>,
    arbiters: Vec<Arbiter>,
}

impl<P: Pipeline> House<P> {
    /// Starts all actors but the partitions'. Must be called inside an actix system.
    pub fn build(params: HouseParams<P>) -> Self {
        let (news, downs) = watch::channel(None);
        let mut builder = Builder { params, news, arbiters: Vec::new() };
        let board = CommitBoard::default();
        let persisters = builder.persisters(&board);
        let workers = builder.workers(&persisters);
        let pool = builder.pool(workers, persisters);
        let loader = builder.loader(pool);
        let acquirer = builder.acquirer();
        let arbiter = builder.arbiter();
        let Builder { params, news, arbiters } = builder;
        let front = HouseFront {
            budget: Budget::new(params.budget),
            hasher: DefaultHashBuilder::default(),
            params,
            board,
            ledger: Ledger::default(),
            loader,
            acquirer,
            arbiter,
            news,
        };
        Self { front: Arc::new(front), downs, arbiters }
    }

    /// The front, for the thread that reads.
    pub fn front(&self) -> Arc<HouseFront<P>> {
        self.front.clone()
    }

    /// What became of all records so far.
    pub fn ledger(&self) -> &Ledger {
        &self.front.ledger
    }

    /// Waits until an actor panics.
    pub async fn down(&self) -> ActorDown {
        let mut downs = self.downs.clone();
        match downs.wait_for(Option::is_some).await.as_deref() {
            Ok(Some(down)) => down.clone(),
            // The front holds a sender for as long as the house stands.
            _ => std::future::pending().await,
        }
    }

    /// Ends all actors and their threads. What they hold unsettled is given up, so drain first.
    pub fn stop(self) {
        for arbiter in self.arbiters {
            arbiter.stop();
            if arbiter.join().is_err() {
                tracing::debug!("an actor thread ended by a panic");
            }
        }
    }
}

/// Starts the stages, each upon the one behind it.
struct Builder<P: Pipeline> {
    params: HouseParams<P>,
    news: watch::Sender<Option<ActorDown>>,
    arbiters: Vec<Arbiter>,
}

impl<P: Pipeline> Builder<P> {
    /// Batches on the way at most.
    fn batches(&self) -> usize {
        self.params.budget.batches as usize
    }

    /// Parts on the way at most: each batch has at least one, and no more than one for each worker
    /// or for each full chunk.
    fn chunks(&self) -> usize {
        let full = self.params.budget.records / u64::from(CHUNK_RECORDS);
        self.batches() * self.params.workers.max(1)
            + usize::try_from(full).unwrap_or(usize::MAX / 2)
    }

    fn guard(&self, actor: &'static str) -> DownGuard {
        DownGuard::new(actor, self.news.clone())
    }

    fn arbiter(&mut self) -> ArbiterHandle {
        if self.params.placement == Placement::Here {
            return Arbiter::current();
        }
        let arbiter = Arbiter::new();
        let handle = arbiter.handle();
        self.arbiters.push(arbiter);
        handle
    }

    fn persisters(&mut self, board: &CommitBoard) -> Persisters {
        // Their work is mostly waiting for the server: two threads carry all of them.
        let arbiters = [self.arbiter(), self.arbiter()];
        let recipients = (0..self.params.sessions).map(|session| {
            let (store, board) = (self.params.store.clone(), board.clone());
            let (chunks, guard) = (self.chunks(), self.guard("PersisterActor"));
            PersisterActor::start_in_arbiter(&arbiters[session % arbiters.len()], move |_| {
                PersisterActor::new(SessionId(session), store, board, chunks, guard)
            })
            .recipient()
        });
        Persisters::new(recipients.collect())
    }

    fn workers(&mut self, persisters: &Persisters) -> Vec<Recipient<WorkChunk<P>>> {
        let start = |builder: &mut Self| {
            let arbiter = builder.arbiter();
            let (pipeline, order) = (builder.params.pipeline.clone(), builder.params.order);
            let (persisters, chunks) = (persisters.clone(), builder.chunks());
            let guard = builder.guard("WorkerActor");
            WorkerActor::start_in_arbiter(&arbiter, move |_| {
                WorkerActor::new(pipeline, order, persisters, chunks, guard)
            })
            .recipient()
        };
        (0..self.params.workers.max(1)).map(|_| start(self)).collect()
    }

    fn pool(
        &mut self,
        workers: Vec<Recipient<WorkChunk<P>>>,
        persisters: Persisters,
    ) -> Recipient<LoadedBatch<P>> {
        let (arbiter, order) = (self.arbiter(), self.params.order);
        let (batches, guard) = (self.batches(), self.guard("WorkerPool"));
        WorkerPool::start_in_arbiter(&arbiter, move |_| {
            WorkerPool::new(order, workers, persisters, batches, guard)
        })
        .recipient()
    }

    fn loader(&mut self, pool: Recipient<LoadedBatch<P>>) -> Recipient<DecodedBatch<P>> {
        let (arbiter, lookups) = (self.arbiter(), self.params.lookups.clone());
        let (batches, guard) = (self.batches(), self.guard("ContextLoader"));
        ContextLoader::start_in_arbiter(&arbiter, move |_| {
            ContextLoader::new(lookups, pool, batches, guard)
        })
        .recipient()
    }

    fn acquirer(&mut self) -> Recipient<AcquirePartitions> {
        let (arbiter, store) = (self.arbiter(), self.params.store.clone());
        let guard = self.guard("Acquirer");
        Acquirer::start_in_arbiter(&arbiter, move |_| Acquirer::new(store, ASSIGNMENTS_MAX, guard))
            .recipient()
    }
}

/// The front of a house: starts a PartitionActor for each assigned partition.
pub struct HouseFront<P: Pipeline> {
    params: HouseParams<P>,
    budget: Budget,
    board: CommitBoard,
    ledger: Ledger,
    hasher: DefaultHashBuilder,
    loader: Recipient<DecodedBatch<P>>,
    acquirer: Recipient<AcquirePartitions>,
    arbiter: ArbiterHandle,
    news: watch::Sender<Option<ActorDown>>,
}

impl<P: Pipeline> HouseFront<P> {
    fn open(&self, partition: PartitionId) -> (Door, Claim) {
        let counts = self.ledger.of(&partition);
        let fence = Arc::new(Fence::counted(partition, counts));
        let in_hand = InHand::default();
        let params = PartitionParams {
            fence: fence.clone(),
            decoder: Decoder::new(
                self.params.pipeline.clone(),
                self.params.order,
                self.hasher.clone(),
            ),
            store: self.params.store.clone(),
            source: self.params.source.clone(),
            loader: self.loader.clone(),
            in_hand: in_hand.clone(),
            mailbox_batches: self.params.budget.batches as usize,
            down: DownGuard::new("PartitionActor", self.news.clone()),
        };
        let actor =
            PartitionActor::start_in_arbiter(&self.arbiter, move |_| PartitionActor::new(params));
        let claim = Claim {
            fence: fence.clone(),
            acquired: actor.clone().recipient(),
            refused: actor.clone().recipient(),
        };
        (Door::new(fence, actor.recipient(), in_hand), claim)
    }
}

impl<P: Pipeline> Front for HouseFront<P> {
    fn assign(&self, partitions: Vec<PartitionId>) -> Vec<Door> {
        let (doors, claims) = partitions.into_iter().map(|id| self.open(id)).unzip();
        crate::wire::forward("acquirer", &self.acquirer, AcquirePartitions(claims));
        doors
    }

    fn budget(&self) -> &Budget {
        &self.budget
    }

    fn board(&self) -> &CommitBoard {
        &self.board
    }
}
