//! Acquirer: takes newly assigned partitions over in the database, off the consumer thread, so that
//! a rebalance callback never waits for it. Takes the partitions of one assignment at a time, tells
//! each PartitionActor its epoch and position; ends with the house.

use std::sync::Arc;

use actix::prelude::*;
use tokio::time::Instant;
use tracing::{debug, warn};

use crate::error::{Fate, StoreError};
use crate::faults;
use crate::fence::Fence;
use crate::health::Signs;
use crate::ports::{Acquired, Holding, Store};
use crate::supervise::{Backoff, Post, Watched};

/// From the front: these partitions were assigned together.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct AcquirePartitions(pub(crate) Vec<Claim>);

/// One partition to acquire, and who is told. Dropped unanswered, it tells that too.
pub(crate) struct Claim {
    fence: Arc<Fence>,
    home: Recipient<ClaimAnswer>,
    answered: bool,
}

/// To the partition: what became of its claim.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) enum ClaimAnswer {
    /// It is ours from here.
    Acquired(Holding),
    /// It must not be read, and what to do about it.
    Refused { reason: String },
    /// The claim was lost on the way.
    Dropped,
}

/// See the module.
pub(crate) struct Acquirer {
    store: Arc<dyn Store>,
    /// Claims that wait for the next question.
    claims: Vec<Claim>,
    /// Since when a question is under way.
    asking_since: Option<Instant>,
    backoff: Backoff,
    post: Post,
}

impl Acquirer {
    pub(crate) fn new(store: Arc<dyn Store>, post: Post) -> Self {
        let backoff = Backoff::for_outage();
        Self { store, claims: Vec::new(), asking_since: None, backoff, post }
    }

    /// Asks for all claims whose assignment stands, unless a question is under way.
    fn ask(&mut self, ctx: &mut Context<Self>) {
        if self.asking_since.is_some() {
            return;
        }
        self.claims.retain(|claim| claim.fence.stands());
        if self.claims.is_empty() {
            return self.post.pulse().goes_on();
        }
        self.asking_since = Some(Instant::now());
        let (store, claims) = (self.store.clone(), std::mem::take(&mut self.claims));
        let fences: Vec<_> = claims.iter().map(|claim| claim.fence.clone()).collect();
        let asked = async move { (store.acquire(&fences).await, claims) };
        ctx.spawn(asked.into_actor(self).map(|(answer, claims), this, ctx| {
            faults::point("Acquirer", "Acquired");
            this.asking_since = None;
            this.tell(claims, answer);
            if this.claims.is_empty() {
                return this.backoff.reset();
            }
            ctx.run_later(this.backoff.next_pause(), |this, ctx| this.ask(ctx));
        }));
    }

    fn tell(&mut self, claims: Vec<Claim>, answer: Result<Vec<Acquired>, StoreError>) {
        match answer {
            Ok(answers) => {
                self.post.pulse().goes_on();
                self.claims.extend(tell_all(claims, answers));
            }
            Err(error) if error.fate() == Fate::Retry => {
                warn!(partitions = claims.len(), %error, "cannot acquire yet");
                self.post.pulse().waits(error.to_string());
                self.claims.extend(claims);
            }
            Err(error) => {
                self.post.pulse().goes_on();
                let refused = Acquired::Refused { reason: error.to_string() };
                claims.into_iter().for_each(|claim| claim.tell(refused.clone()));
            }
        }
    }
}

impl Actor for Acquirer {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        self.post.take_up(self, ctx);
    }
}

impl Watched for Acquirer {
    fn post(&self) -> &Post {
        &self.post
    }

    fn signs(&self) -> Signs {
        let in_hand = self.claims.len() + usize::from(self.asking_since.is_some());
        let busy = self.asking_since;
        Signs { in_hand, oldest: busy, busy, ..Signs::default() }
    }
}

impl Handler<AcquirePartitions> for Acquirer {
    type Result = ();

    fn handle(&mut self, assigned: AcquirePartitions, ctx: &mut Context<Self>) {
        faults::point("Acquirer", "AcquirePartitions");
        self.claims.extend(assigned.0);
        self.ask(ctx);
    }
}

/// Tells every claim its answer and gives back those that must be asked for again.
fn tell_all(claims: Vec<Claim>, answers: Vec<Acquired>) -> Vec<Claim> {
    let mut again = Vec::new();
    for (claim, answer) in claims.into_iter().zip(answers) {
        match answer {
            Acquired::Busy { reason } => {
                warn!(partition = %claim.fence.partition(), reason, "cannot acquire yet");
                again.push(claim);
            }
            answer => claim.tell(answer),
        }
    }
    again
}

impl Claim {
    pub(crate) fn new(fence: Arc<Fence>, home: Recipient<ClaimAnswer>) -> Self {
        Self { fence, home, answered: false }
    }

    fn tell(mut self, answer: Acquired) {
        self.answered = true;
        let answer = match answer {
            Acquired::Held(holding) => {
                let Holding { epoch, next_offset, .. } = holding;
                let partition = self.fence.partition();
                debug!(%partition, epoch, offset = %next_offset, "acquired");
                ClaimAnswer::Acquired(holding)
            }
            Acquired::Refused { reason } => ClaimAnswer::Refused { reason },
            Acquired::Fallen
            | Acquired::Busy { .. }
            | Acquired::Fenced { .. }
            | Acquired::Moved(_) => return,
        };
        // A partition that ended meanwhile needs no answer.
        let _ = self.home.try_send(answer);
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        if !self.answered && self.fence.stands() {
            // A partition that ended meanwhile asks for nothing.
            let _ = self.home.try_send(ClaimAnswer::Dropped);
        }
    }
}
