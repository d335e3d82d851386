//! ContextLoader: looks up what the database knows about the records of ready batches, several
//! batches in one query. Takes decoded batches, gives loaded ones, a partition's batches in their
//! order; retries an outage here and gives a batch up whose lookup can never succeed.
//!
//! Batches that were read together come here one after the other: the first one waits for its
//! company, so that all of them are looked up at once, and saved at once.

use std::collections::VecDeque;
use std::sync::Arc;

use actix::prelude::*;
use hashbrown::HashSet;
use tokio::time::Instant;
use tracing::warn;

use crate::batch::{DecodedBatch, GivenUp, LoadedBatch};
use crate::error::{Fate, StoreError};
use crate::faults;
use crate::health::{Pulse, Signs};
use crate::pace::{Company, Pace, Wait};
use crate::pipeline::{Keys, KeysOf, Pipeline};
use crate::ports::Lookups;
use crate::stage::Stage;
use crate::stages;
use crate::supervise::{Backoff, Post, Watched};

/// Queries at a time: as many as there are lookup connections, so that one batch's query runs while
/// another's rows are read.
pub const LOOKUPS_AT_A_TIME: usize = 2;

/// Records whose keys are united in one query at most: beyond, a longer key list costs the server
/// as much as a second query, and the first batch would wait for the last.
const UNITED_RECORDS_MAX: usize = 40_000;

/// See the module.
pub struct ContextLoader<P: Pipeline> {
    /// The pipeline, for logs.
    name: Arc<str>,
    lookups: Arc<dyn Lookups<P>>,
    /// Downstream.
    workers: Stage<LoadedBatch<P>>,
    /// Batches that wait for a free query, in order of arrival.
    ready: VecDeque<Box<DecodedBatch<P>>>,
    /// Assignments with a batch in a query: their next batch waits, so that a partition's batches
    /// leave in order.
    looked_up: HashSet<u64>,
    /// When each query that is under way began.
    queries: VecDeque<Instant>,
    /// Ends when what is ready has waited for company for long enough.
    wait: Wait,
    pace: Pace,
    post: Post,
}

impl<P: Pipeline> ContextLoader<P> {
    pub(crate) fn new(
        name: Arc<str>,
        lookups: Arc<dyn Lookups<P>>,
        workers: Stage<LoadedBatch<P>>,
        pace: Pace,
        post: Post,
    ) -> Self {
        let (ready, looked_up, queries) = (VecDeque::new(), HashSet::new(), VecDeque::new());
        let wait = Wait::default();
        Self { name, lookups, workers, ready, looked_up, queries, wait, pace, post }
    }

    /// Begins as many queries as there are connections and enough ready batches for. With none
    /// under way, fewer batches wait for company, but not for long.
    fn begin(&mut self, ctx: &mut Context<Self>) {
        let company = self.pace.query_company();
        while self.queries.len() < LOOKUPS_AT_A_TIME && self.is_enough(company) {
            if !self.ask(ctx) {
                break;
            }
        }
        let is_idle = self.queries.is_empty() && !self.wait.is_on();
        if is_idle && !self.ready.is_empty() {
            self.wait.begin(company.patience, ctx, |this, ctx| {
                this.ask(ctx);
            });
        }
    }

    fn is_enough(&self, company: Company) -> bool {
        company.is_enough(self.ready.iter().map(|batch| &*batch.batch.parcel))
    }

    /// Begins a query for what is ready; nothing if all of it has to wait for its turn.
    fn ask(&mut self, ctx: &mut Context<Self>) -> bool {
        self.wait.end(ctx);
        let group = self.next_group();
        if group.is_empty() {
            return false;
        }
        let began = Instant::now();
        self.queries.push_back(began);
        self.looked_up.extend(group.iter().map(|batch| incarnation(batch)));
        let by = (self.name.clone(), self.lookups.clone());
        let loading = load(by, group, self.post.pulse().clone());
        ctx.spawn(loading.into_actor(self).map(move |(group, answer), this, ctx| {
            faults::point("ContextLoader", "Loaded");
            this.queries.retain(|query| *query != began);
            stages::CONTEXT.took(began.elapsed());
            for batch in &group {
                this.looked_up.remove(&incarnation(batch));
            }
            this.hand_on(group, answer);
            this.begin(ctx);
        }));
        true
    }

    /// Takes out the ready batches that may share the next query.
    fn next_group(&mut self) -> Vec<Box<DecodedBatch<P>>> {
        let (mut group, mut later, mut records) = (Vec::new(), VecDeque::new(), 0);
        let mut passed_over = HashSet::new();
        for batch in self.ready.drain(..).filter(|batch| batch.batch.is_current()) {
            let id = incarnation(&batch);
            let in_turn = !self.looked_up.contains(&id) && !passed_over.contains(&id);
            if in_turn && (group.is_empty() || records < UNITED_RECORDS_MAX) {
                records += batch.batch.parcel.arena.len();
                group.push(batch);
            } else {
                passed_over.insert(id);
                later.push_back(batch);
            }
        }
        self.ready = later;
        group
    }

    fn hand_on(&self, group: Vec<Box<DecodedBatch<P>>>, answer: Result<P::Context, StoreError>) {
        match answer {
            Ok(context) => {
                let context = Arc::new(context);
                for decoded in group {
                    let DecodedBatch { batch, events, .. } = *decoded;
                    let loaded = LoadedBatch { batch, events, context: context.clone() };
                    self.workers.forward(loaded);
                }
            }
            Err(error) => group.iter().for_each(|decoded| {
                decoded.batch.give_up(GivenUp::Stopped { reason: error.to_string() });
            }),
        }
    }
}

fn incarnation<P: Pipeline>(batch: &DecodedBatch<P>) -> u64 {
    batch.batch.fence.incarnation()
}

/// Looks all keys of a group up, for as long as it takes and somebody wants the answer.
async fn load<P: Pipeline>(
    (name, lookups): (Arc<str>, Arc<dyn Lookups<P>>),
    group: Vec<Box<DecodedBatch<P>>>,
    pulse: Pulse,
) -> (Vec<Box<DecodedBatch<P>>>, Result<P::Context, StoreError>) {
    let mut keys = KeysOf::<P>::default();
    for batch in &group {
        keys.unite(&batch.keys);
    }
    let keys = Arc::new(keys);
    let mut backoff = Backoff::for_outage();
    loop {
        let answer = lookups.load(keys.clone()).await;
        let wanted = group.iter().any(|batch| batch.batch.is_current());
        match answer {
            Err(error) if error.fate() == Fate::Retry && wanted => {
                warn!(pipeline = &*name, %error, "cannot look up yet");
                pulse.waits(error.to_string());
                backoff.wait().await;
            }
            answer => {
                pulse.goes_on();
                return (group, answer);
            }
        }
    }
}

impl<P: Pipeline> Actor for ContextLoader<P> {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        self.post.take_up(self, ctx);
    }
}

impl<P: Pipeline> Watched for ContextLoader<P> {
    fn post(&self) -> &Post {
        &self.post
    }

    fn signs(&self) -> Signs {
        let busy = self.queries.front().copied();
        let ready = self.ready.front().map(|batch| batch.batch.since);
        let in_hand = self.ready.len() + self.looked_up.len();
        Signs { in_hand, oldest: busy.or(ready), busy, ..Signs::default() }
    }
}

impl<P: Pipeline> Handler<DecodedBatch<P>> for ContextLoader<P> {
    type Result = ();

    fn handle(&mut self, batch: DecodedBatch<P>, ctx: &mut Context<Self>) {
        faults::point("ContextLoader", "DecodedBatch");
        self.ready.push_back(Box::new(batch));
        self.begin(ctx);
    }
}
