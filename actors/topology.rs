//! Wires the house, last stage first: read upwards, this is the way of a record. The only file that
//! names two actors, and the one where every mailbox capacity comes from.

use std::sync::Arc;

use actix::prelude::*;
use hashbrown::DefaultHashBuilder;
use tokio::sync::watch;

use crate::acquirer::{AcquirePartitions, Acquirer};
use crate::batch::{DecodedBatch, LoadedBatch};
use crate::conservation::Ledger;
use crate::context::ContextLoader;
use crate::desk::WorkParams;
use crate::front::HouseFront;
use crate::gate::Gate;
use crate::group::{LoadedGroup, Sessions};
use crate::health::HealthBoard;
use crate::health_actor::HealthActor;
use crate::in_flight::InFlightLimits;
use crate::own::OwnActors;
use crate::own_writes::OwnWritesLoader;
use crate::pace::{Pace, PaceRules};
use crate::parked::RetryPolicy;
use crate::persister::{PersisterActor, PersisterStages, Persisters};
use crate::pipeline::{Order, Pipeline};
use crate::ports::{CommitBoard, ContextSource, Lookups, OwnWrites, SessionId, Source, Store};
use crate::publisher::{Published, Relay};
use crate::relay::{Bell, RelayActor};
use crate::stage::Stage;
use crate::supervise::{Ender, Office, Post, Watched, Who};
use crate::supervisor::{Child, Supervisor, SupervisorParams};
use crate::threads::{Thread, Threads};
use crate::ticket::{Budget, BudgetLimits};
use crate::watcher::PositionWatcher;
use crate::worker::WorkerActor;
use crate::workers::{CHUNK_RECORDS, PoolStages, WorkerPool, WorkerStages};

pub use crate::house::House;
pub use crate::register::Register;
pub use crate::supervise::Supervision;
pub use crate::supervisor::HouseDown;
pub use crate::threads::Placement;

/// Assignments that may wait for the database at a time; more means a storm of rebalances while it
/// is away, and the older ones of them have ended.
const ASSIGNMENTS_MAX: usize = 1024;

/// Reports that wait to be read, of thousands of partitions.
const REPORTS_MAX: usize = 100_000;

/// What a house is built from.
pub struct HouseParams<P: Pipeline> {
    /// What the configuration calls the pipeline, for logs.
    pub name: Arc<str>,
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
    /// What batches, transactions and sessions are held to.
    pub pace: PaceRules,
    /// What `work` may have in flight.
    pub in_flight: InFlightLimits,
    /// Offsets and rows.
    pub store: Arc<dyn Store>,
    /// Context.
    pub context: ContextSource<P>,
    /// The thread that reads.
    pub source: Arc<dyn Source>,
    /// Where the actors live.
    pub placement: Placement,
    /// When parked records come back, and how often.
    pub retry: RetryPolicy,
    /// The gate before user code, the process's own.
    pub gate: Gate,
    /// What publishes dead records and messages; without it they stay in the store.
    pub relay: Option<Relay>,
    /// When to give the house up.
    pub supervision: Supervision,
}

impl<P: Pipeline> House<P> {
    /// Starts all actors but the partitions'. Must be called inside an actix system.
    pub fn build(params: HouseParams<P>) -> Self {
        let (news, down) = watch::channel(None);
        let mut builder = Builder::new(params);
        // The partitions' thread is the first one.
        builder.threads.start("partitions");
        let persisters = builder.persisters();
        let workers = builder.workers(&persisters);
        let pool = builder.pool(workers, persisters);
        let loader = builder.loader(pool);
        let acquirer = builder.acquirer();
        builder.own_actors();
        builder.relay();
        let health = builder.office();
        let end = builder.supervisor(&health, news);
        let published = builder.published.clone();
        let front = HouseFront {
            budget: builder.budget,
            pace: builder.pace,
            hasher: DefaultHashBuilder::default(),
            board: builder.board,
            ledger: Ledger::default(),
            register: builder.register,
            threads: builder.threads,
            office: builder.office,
            params: builder.params,
            loader,
            acquirer,
        };
        Self::new(front, (health, published), down, end)
    }
}

/// Says how each stage is started, upon the one behind it.
struct Builder<P: Pipeline> {
    params: HouseParams<P>,
    budget: Budget,
    pace: Pace,
    board: CommitBoard,
    register: Register,
    bell: Bell,
    published: Published,
    threads: Threads,
    office: Office,
    stuck: Stage<crate::supervisor::ActorStuck>,
    children: Vec<Child>,
}

impl<P: Pipeline> Builder<P> {
    fn new(params: HouseParams<P>) -> Self {
        let threads = match params.placement {
            Placement::Threads => Threads::own(),
            Placement::Here => Threads::here(),
        };
        let office = Office {
            supervisor: Stage::new("Supervisor"),
            health: Stage::new("HealthActor"),
            gone: Stage::new("HealthActor"),
        };
        let budget = Budget::new(params.budget);
        Self {
            pace: Pace::new(params.pace, budget.clone()),
            params,
            budget,
            board: CommitBoard::default(),
            register: Register::default(),
            bell: Bell::default(),
            published: Published::default(),
            threads,
            office,
            stuck: Stage::new("Supervisor"),
            children: Vec::new(),
        }
    }

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

    /// One more child: made by `make`, and put into its place by `place`, each time it is started.
    fn child<A: Watched>(
        &mut self,
        (who, thread, mailbox): (Who, Thread, usize),
        make: impl Fn(Post) -> A + Clone + Send + 'static,
        place: impl Fn(Addr<A>) + Send + 'static,
    ) {
        let start = Box::new(move |arbiter: &ArbiterHandle, post: Post| {
            let make = make.clone();
            place(A::start_in_arbiter(arbiter, move |_| make(post)));
        });
        self.children.push(Child { who, thread, mailbox, start });
    }

    fn persisters(&mut self) -> Persisters {
        // Their work is mostly waiting for the server: two threads carry all of them.
        let threads = [self.threads.start("save"), self.threads.start("save")];
        let stages: Vec<_> = (0..self.params.sessions).map(|_| PersisterStages::new()).collect();
        let persisters = Persisters::new(stages.clone());
        for (session, place) in stages.into_iter().enumerate() {
            let (store, board) = (self.params.store.clone(), self.board.clone());
            let (bell, pace, all) = (self.bell.clone(), self.pace.clone(), persisters.clone());
            // At worst all parts of all batches are pinned to one session; besides, each other
            // session says once a transaction that a turn has come.
            let mailbox = self.chunks() + self.params.sessions * self.batches();
            let who = Who::Standing("PersisterActor", session);
            self.child(
                (who, threads[session % threads.len()], mailbox),
                move |post| {
                    let by = (SessionId(session), all.clone());
                    let to = (store.clone(), board.clone());
                    PersisterActor::new(by, to, pace.clone(), bell.clone(), post)
                },
                move |actor| place.take_over(actor),
            );
        }
        persisters
    }

    fn workers(&mut self, persisters: &Persisters) -> Vec<WorkerStages<P>> {
        let HouseParams { pipeline, order, in_flight, .. } = &self.params;
        let params = WorkParams::new(pipeline.clone(), *order, *in_flight, persisters.clone());
        let params = Arc::new(params);
        let workers = (0..self.params.workers.max(1)).map(|number| {
            let params = params.clone();
            let name = "WorkerActor";
            let stages = WorkerStages { chunks: Stage::new(name), groups: Stage::new(name) };
            let place = stages.clone();
            let thread = self.threads.start("work");
            // One part of each batch where order binds, else the budget's records in parts.
            self.child(
                (Who::Standing("WorkerActor", number), thread, self.chunks()),
                move |post| WorkerActor::new(params.clone(), post),
                move |actor| {
                    place.chunks.take_over(actor.clone().recipient());
                    place.groups.take_over(actor.recipient());
                },
            );
            stages
        });
        workers.collect()
    }

    fn pool(&mut self, workers: Vec<WorkerStages<P>>, persisters: Persisters) -> PoolStages<P> {
        let order = self.params.order;
        let name = "WorkerPool";
        let stages = PoolStages { batches: Stage::new(name), groups: Stage::new(name) };
        let place = stages.clone();
        let thread = self.threads.start("pool");
        self.child(
            (Who::Standing("WorkerPool", 0), thread, self.batches()),
            move |post| WorkerPool::new(order, workers.clone(), persisters.clone(), post),
            move |actor| {
                place.batches.take_over(actor.clone().recipient());
                place.groups.take_over(actor.recipient());
            },
        );
        stages
    }

    fn loader(&mut self, pool: PoolStages<P>) -> Stage<DecodedBatch<P>> {
        match self.params.context.clone() {
            ContextSource::Lookups(lookups) => self.context_loader(lookups, pool.batches),
            ContextSource::OwnWrites(own_writes) => self.own_writes(own_writes, pool.groups),
        }
    }

    fn context_loader(
        &mut self,
        lookups: Arc<dyn Lookups<P>>,
        pool: Stage<LoadedBatch<P>>,
    ) -> Stage<DecodedBatch<P>> {
        let (stage, name) = (Stage::new("ContextLoader"), self.params.name.clone());
        let (place, pace) = (stage.clone(), self.pace.clone());
        let thread = self.threads.start("context");
        self.child(
            (Who::Standing("ContextLoader", 0), thread, self.batches()),
            move |post| {
                let (name, lookups) = (name.clone(), lookups.clone());
                ContextLoader::new(name, lookups, pool.clone(), pace.clone(), post)
            },
            move |actor| place.take_over(actor.recipient()),
        );
        stage
    }

    fn own_writes(
        &mut self,
        own_writes: Arc<dyn OwnWrites<P>>,
        pool: Stage<LoadedGroup<P>>,
    ) -> Stage<DecodedBatch<P>> {
        let (stage, name) = (Stage::new("OwnWritesLoader"), self.params.name.clone());
        let (place, board) = (stage.clone(), self.board.clone());
        let store = self.params.store.clone();
        let sessions = Sessions::new(store, self.params.sessions, self.pace.clone());
        let thread = self.threads.start("context");
        self.child(
            (Who::Standing("OwnWritesLoader", 0), thread, self.batches()),
            move |post| {
                let (sessions, board, pool) = (sessions.clone(), board.clone(), pool.clone());
                let store = (name.clone(), own_writes.clone());
                OwnWritesLoader::new(store, sessions, board, pool, post)
            },
            move |actor| place.take_over(actor.recipient()),
        );
        stage
    }

    fn acquirer(&mut self) -> Stage<AcquirePartitions> {
        let store = self.params.store.clone();
        let stage = Stage::new("Acquirer");
        let place = stage.clone();
        let thread = self.threads.start("acquire");
        self.child(
            (Who::Standing("Acquirer", 0), thread, ASSIGNMENTS_MAX),
            move |post| Acquirer::new(store.clone(), post),
            move |actor| place.take_over(actor.recipient()),
        );
        stage
    }

    fn own_actors(&mut self) {
        let mut own = OwnActors::new(self.threads.start("own-actors"));
        self.params.pipeline.actors(&mut own);
        self.children.extend(own.into_children());
    }

    /// On a thread of its own: it calls into the library that sends.
    fn relay(&mut self) {
        let Some(relay) = self.params.relay.clone() else { return };
        let (register, bell) = (self.register.clone(), self.bell.clone());
        let (published, thread) = (self.published.clone(), self.threads.start("relay"));
        self.child(
            (Who::Standing("RelayActor", 0), thread, 1),
            move |post| {
                let (relay, register) = (relay.clone(), register.clone());
                RelayActor::new(relay, register, published.clone(), bell.clone(), post)
            },
            |_| {},
        );
    }

    /// Those who watch the others, on a thread that no record comes to.
    fn office(&mut self) -> HealthBoard {
        let thread = self.threads.start("watch");
        let (store, register) = (self.params.store.clone(), self.register.clone());
        self.child(
            (Who::Standing("PositionWatcher", 0), thread, REPORTS_MAX),
            move |post| PositionWatcher::new(store.clone(), register.clone(), post),
            |_| {},
        );
        let health = HealthBoard::default();
        let (board, stuck) = (health.clone(), self.stuck.clone());
        let stuck_after = self.params.supervision.stuck_after;
        let (reports, gone) = (self.office.health.clone(), self.office.gone.clone());
        self.child(
            (Who::Standing("HealthActor", 0), thread, REPORTS_MAX),
            move |post| HealthActor::new(board.clone(), stuck.clone(), stuck_after, post),
            move |actor| {
                reports.take_over(actor.clone().recipient());
                gone.take_over(actor.recipient());
            },
        );
        // Started first, they hear of everybody: also of who hangs before its second report.
        self.children.rotate_right(2);
        health
    }

    fn supervisor(
        &mut self,
        health: &HealthBoard,
        down: watch::Sender<Option<HouseDown>>,
    ) -> Ender {
        let thread = self.threads.start("supervise");
        let who = Who::Standing("Supervisor", 0);
        let post = Post::new(who, 1, REPORTS_MAX, self.office.clone());
        let end = post.ender();
        let params = SupervisorParams {
            children: std::mem::take(&mut self.children),
            limits: self.params.supervision.restarts,
            threads: self.threads.clone(),
            register: self.register.clone(),
            source: self.params.source.clone(),
            board: health.clone(),
            down,
            post,
            office: self.office.clone(),
        };
        let supervisor = Supervisor::new(params);
        let handle = self.threads.handle(thread);
        let supervisor = Supervisor::start_in_arbiter(&handle, move |_| supervisor);
        self.office.supervisor.take_over(supervisor.clone().recipient());
        self.stuck.take_over(supervisor.recipient());
        end
    }
}
