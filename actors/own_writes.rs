//! OwnWritesLoader: stands in the place of the ContextLoader where records change what they look
//! up (an account's balance, say). Takes decoded batches, begins a transaction for all of them that
//! are ready, and gives the group on with what was read and locked in it.
//!
//! ```text
//! PartitionActor ▶ OwnWritesLoader ▶ WorkerPool ▶ WorkerActor ▶ PersisterActor
//!   one batch       begin: offset                  the group     rows, changes, parked
//!   at a time       rows, fences,                  as one        records, offsets, COMMIT
//!                   rows by key: locked
//! ```
//!
//! - A partition has one batch past its PartitionActor: the next one must see its effect.
//! - A group is worked by one worker, so that records of several partitions that change one row
//!   meet there; other groups are worked beside it, and wait for each other's rows in the store.
//! - It commits or is rolled back as a whole. When the store refuses a record, everything computed
//!   after it is wrong: all batches go back to their partitions, the refused record marked, and are
//!   sent again.
//! - Its session is free again when the last part of it is let go; whatever happens to an actor in
//!   between ends the transaction.

use std::collections::VecDeque;
use std::sync::Arc;

use actix::prelude::*;
use hashbrown::HashSet;
use tokio::time::Instant;
use tracing::warn;

use crate::batch::{Batch, DecodedBatch, GivenUp};
use crate::error::SaveError;
use crate::faults;
use crate::group::{self, LoadedGroup, OpenSession, Sessions};
use crate::health::{Pulse, Signs};
use crate::pipeline::{Keys, KeysOf, Pipeline};
use crate::ports::{BatchReport, CommitBoard, Opened, OwnWrites};
use crate::stage::Stage;
use crate::stages;
use crate::supervise::{Backoff, Post, Watched};

/// Records of one group at most: its rows stay locked until it is committed.
const GROUP_RECORDS_MAX: usize = 20_000;

type Ready<P> = Box<DecodedBatch<P>>;

/// See the module.
pub struct OwnWritesLoader<P: Pipeline> {
    /// The pipeline, for logs.
    name: Arc<str>,
    store: Arc<dyn OwnWrites<P>>,
    sessions: Sessions,
    board: CommitBoard,
    /// Downstream.
    workers: Stage<LoadedGroup<P>>,
    /// Batches that wait for a session, in order of arrival.
    ready: VecDeque<Ready<P>>,
    /// When each transaction that is being begun was.
    opening: VecDeque<Instant>,
    post: Post,
}

impl<P: Pipeline> OwnWritesLoader<P> {
    pub(crate) fn new(
        (name, store): (Arc<str>, Arc<dyn OwnWrites<P>>),
        sessions: Sessions,
        board: CommitBoard,
        workers: Stage<LoadedGroup<P>>,
        post: Post,
    ) -> Self {
        let (ready, opening) = (VecDeque::new(), VecDeque::new());
        Self { name, store, sessions, board, workers, ready, opening, post }
    }

    /// Begins as many transactions as there are sessions and ready batches for.
    fn begin(&mut self, ctx: &mut Context<Self>) {
        self.ready.retain(|decoded| decoded.batch.is_current());
        while !self.ready.is_empty() {
            let Some(session) = self.sessions.take() else { return };
            let (began, group) = (Instant::now(), self.next_group());
            self.opening.push_back(began);
            let opening = Opening {
                name: self.name.clone(),
                store: self.store.clone(),
                board: self.board.clone(),
                pulse: self.post.pulse().clone(),
            };
            let opened = opening.run(group, session);
            ctx.spawn(opened.into_actor(self).map(move |opened, this, _| {
                faults::point("OwnWritesLoader", "Opened");
                this.opening.retain(|opening| *opening != began);
                stages::CONTEXT.took(began.elapsed());
                if let Some(group) = opened {
                    this.workers.forward(group);
                }
            }));
        }
    }

    /// Takes out the ready batches that share the next transaction, one of a partition.
    fn next_group(&mut self) -> Vec<Ready<P>> {
        let (mut group, mut later, mut records) = (Vec::new(), VecDeque::new(), 0);
        let (mut partitions, most) =
            (HashSet::new(), GROUP_RECORDS_MAX.min(self.sessions.records()));
        for decoded in self.ready.drain(..) {
            let has_room = group.is_empty() || records < most;
            if has_room && partitions.insert(decoded.batch.fence.incarnation()) {
                records += decoded.batch.parcel.arena.len();
                group.push(decoded);
            } else {
                later.push_back(decoded);
            }
        }
        self.ready = later;
        group
    }

    /// Goes on whenever a session becomes free.
    fn await_session(&self, ctx: &mut Context<Self>) {
        let sessions = self.sessions.clone();
        ctx.spawn(async move { sessions.freed().await }.into_actor(self).map(|(), this, ctx| {
            this.begin(ctx);
            this.await_session(ctx);
        }));
    }
}

/// What it takes to begin a transaction.
struct Opening<P: Pipeline> {
    name: Arc<str>,
    store: Arc<dyn OwnWrites<P>>,
    board: CommitBoard,
    pulse: Pulse,
}

impl<P: Pipeline> Opening<P> {
    /// Begins the transaction of a group, for as long as it takes and somebody wants it. `None`: no
    /// batch of it can go.
    async fn run(
        self,
        mut group: Vec<Ready<P>>,
        mut session: OpenSession,
    ) -> Option<LoadedGroup<P>> {
        let mut backoff = Backoff::for_outage();
        loop {
            group.retain(|decoded| decoded.batch.is_current());
            let (mut keys, mut batches) = (KeysOf::<P>::default(), Vec::new());
            for decoded in &group {
                keys.unite(&decoded.keys);
                batches.push(decoded.batch.clone());
            }
            if batches.is_empty() {
                session.is_over();
                return None;
            }
            let opened = self.store.open(session.id(), &batches, &keys).await;
            match opened {
                Ok(Opened::Open(context)) => {
                    self.pulse.goes_on();
                    return Some(loaded(group, context, session));
                }
                Ok(Opened::LeftOut(reports)) => self.leave_out(&batches, reports),
                Err(error) => {
                    if let Some(cause) = gives_up(&error, &batches) {
                        self.pulse.goes_on();
                        batches.iter().for_each(|batch| batch.give_up(cause.clone()));
                        session.is_over();
                        return None;
                    }
                    warn!(pipeline = &*self.name, %error, "cannot begin a group yet");
                    if !matches!(error, SaveError::RetryNow(_)) {
                        self.pulse.waits(error.to_string());
                        backoff.wait().await;
                    }
                }
            }
            group.retain(|decoded| !decoded.batch.is_over());
        }
    }

    fn leave_out(&self, batches: &[Arc<Batch>], reports: Vec<Option<BatchReport>>) {
        for (batch, report) in batches.iter().zip(reports) {
            if let Some(report) = report {
                group::tell(&self.board, batch, report);
            }
        }
    }
}

/// Why a group whose transaction cannot be begun goes back; `None` if it is to be tried again.
fn gives_up(error: &SaveError, batches: &[Arc<Batch>]) -> Option<GivenUp> {
    let records: usize = batches.iter().map(|batch| batch.parcel.arena.len()).sum();
    match error {
        SaveError::Stop(reason) => Some(GivenUp::Stopped { reason: reason.clone() }),
        // A single record cannot be halved.
        SaveError::TooSlow(reason) if records > batches.len() => {
            Some(GivenUp::TooSlow { reason: reason.clone() })
        }
        _ => None,
    }
}

fn loaded<P: Pipeline>(
    group: Vec<Ready<P>>,
    context: P::Context,
    session: OpenSession,
) -> LoadedGroup<P> {
    let batches = group.into_iter().map(|decoded| {
        let DecodedBatch { batch, events, .. } = *decoded;
        (batch, events)
    });
    LoadedGroup { batches: batches.collect(), context, session }
}

impl<P: Pipeline> Actor for OwnWritesLoader<P> {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        self.post.take_up(self, ctx);
        self.await_session(ctx);
    }
}

impl<P: Pipeline> Watched for OwnWritesLoader<P> {
    fn post(&self) -> &Post {
        &self.post
    }

    fn signs(&self) -> Signs {
        let busy = self.opening.front().copied();
        let ready = self.ready.front().map(|decoded| decoded.batch.since);
        let in_hand = self.ready.len() + self.opening.len();
        Signs { in_hand, oldest: busy.or(ready), busy, ..Signs::default() }
    }
}

impl<P: Pipeline> Handler<DecodedBatch<P>> for OwnWritesLoader<P> {
    type Result = ();

    fn handle(&mut self, batch: DecodedBatch<P>, ctx: &mut Context<Self>) {
        faults::point("OwnWritesLoader", "DecodedBatch");
        self.ready.push_back(Box::new(batch));
        self.begin(ctx);
    }
}
