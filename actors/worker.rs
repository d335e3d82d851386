//! WorkerActor: runs the user's code on parts of batches. Takes work chunks, gives worked ones with
//! their rows encoded. A part that waits for what its records call does not hold up the next one.

mod group;

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll, Waker};

use actix::prelude::*;
use futures_util::future::LocalBoxFuture;
use tokio::task::unconstrained;
use tokio::time::Instant;

use crate::batch::{WorkChunk, WorkedChunk};
use crate::chunk_work::work_chunk;
use crate::desk::{Desk, WorkParams};
use crate::faults;
use crate::health::Signs;
use crate::pipeline::Pipeline;
use crate::stages;
use crate::supervise::{Post, Watched};

/// See the module.
pub struct WorkerActor<P: Pipeline> {
    desk: Rc<Desk<P>>,
    /// Parts that wait, by their number here, and since when each is worked.
    waiting: BTreeMap<u64, Instant>,
    /// Parts that waited so far.
    num_waited: u64,
    post: Post,
}

/// A part and what came of it; nothing if it was broken off.
type Worked<P> = (WorkChunk<P>, Option<WorkedChunk>);

impl<P: Pipeline> WorkerActor<P> {
    pub(crate) fn new(params: Arc<WorkParams<P>>, post: Post) -> Self {
        let desk = Rc::new(Desk::new(params, post.pulse().clone()));
        Self { desk, waiting: BTreeMap::new(), num_waited: 0, post }
    }

    /// The work of one part, under the eyes of the pulse.
    fn work(&self, chunk: WorkChunk<P>) -> LocalBoxFuture<'static, Worked<P>> {
        let (desk, pulse) = (self.desk.clone(), self.desk.pulse.clone());
        let partition = chunk.loaded.batch.fence.partition().clone();
        // Where a future is at home, its turn ends by itself; here it ends with the records.
        let mut work = Box::pin(unconstrained(async move {
            let worked = work_chunk(&desk, &chunk).await;
            (chunk, worked)
        }));
        Box::pin(poll_fn(move |context| {
            pulse.turn_to(Some(&partition));
            work.as_mut().poll(context)
        }))
    }

    /// Begins with `work`, and goes on with it if it waits; `done` hears what came of it.
    fn begin<T: 'static>(
        &mut self,
        mut work: LocalBoxFuture<'static, T>,
        done: fn(&Self, T, Instant),
        ctx: &mut Context<Self>,
    ) {
        let began = Instant::now();
        // Spawned, it is polled again at once, by a waker that counts.
        if let Poll::Ready(worked) = work.as_mut().poll(&mut TaskContext::from_waker(Waker::noop()))
        {
            return done(self, worked, began);
        }
        self.num_waited += 1;
        let number = self.num_waited;
        self.waiting.insert(number, began);
        ctx.spawn(work.into_actor(self).map(move |worked, this, _| {
            faults::point("WorkerActor", "Worked");
            this.waiting.remove(&number);
            done(this, worked, began);
        }));
    }

    fn hand_on(&self, (chunk, worked): Worked<P>, began: Instant) {
        self.note_worked(began);
        // Broken off, it must not be taken for all of its part.
        if let Some(worked) = worked.filter(|worked| !worked.batch.is_over()) {
            self.desk.params.persisters.forward(worked);
        }
        chunk.done();
    }

    fn note_worked(&self, began: Instant) {
        stages::WORK.took(began.elapsed());
        if self.waiting.is_empty() {
            // Else the place of those that wait stays: nobody is to be taken for idle meanwhile.
            self.post.pulse().turn_to(None);
        }
    }
}

impl<P: Pipeline> Actor for WorkerActor<P> {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        self.post.take_up(self, ctx);
    }
}

impl<P: Pipeline> Watched for WorkerActor<P> {
    fn post(&self) -> &Post {
        &self.post
    }

    fn signs(&self) -> Signs {
        // Waiting parts wait for others, and no longer than their limit allows; what happens within
        // one step, the pulse tells.
        let oldest = self.waiting.values().next().copied();
        Signs { in_hand: self.waiting.len(), oldest, ..Signs::default() }
    }
}

impl<P: Pipeline> Handler<WorkChunk<P>> for WorkerActor<P> {
    type Result = ();

    fn handle(&mut self, chunk: WorkChunk<P>, ctx: &mut Context<Self>) {
        faults::point("WorkerActor", "WorkChunk");
        if !chunk.loaded.batch.is_current() {
            return chunk.done();
        }
        self.begin(self.work(chunk), Self::hand_on, ctx);
    }
}
