//! Acquirer: takes newly assigned partitions over in the database, off the consumer thread, so that
//! a rebalance callback never waits for it. Takes the partitions of one assignment at a time, tells
//! each PartitionActor its epoch and position; ends with the house.

use std::sync::Arc;

use actix::prelude::*;
use tracing::{debug, warn};

use crate::fence::Fence;
use crate::ports::{Acquired, Store};
use crate::record::NextOffset;
use crate::supervise::{Backoff, DownGuard};

/// From the front: these partitions were assigned together.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct AcquirePartitions(pub(crate) Vec<Claim>);

/// One partition to acquire, and who is told.
pub(crate) struct Claim {
    pub(crate) fence: Arc<Fence>,
    pub(crate) acquired: Recipient<PartitionAcquired>,
    pub(crate) refused: Recipient<AcquireRefused>,
}

/// To the partition: it is ours from here.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct PartitionAcquired {
    pub(crate) epoch: i64,
    pub(crate) next_offset: NextOffset,
}

/// To the partition: it must not be read, and what to do about it.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct AcquireRefused {
    pub(crate) reason: String,
}

/// See the module.
pub(crate) struct Acquirer {
    store: Arc<dyn Store>,
    mailbox_assignments: usize,
    _down: DownGuard,
}

impl Acquirer {
    pub(crate) fn new(store: Arc<dyn Store>, mailbox_assignments: usize, down: DownGuard) -> Self {
        Self { store, mailbox_assignments, _down: down }
    }
}

impl Actor for Acquirer {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        // One message a rebalance; while the database is away they wait here.
        ctx.set_mailbox_capacity(self.mailbox_assignments);
    }
}

impl Handler<AcquirePartitions> for Acquirer {
    type Result = AtomicResponse<Self, ()>;

    fn handle(&mut self, assigned: AcquirePartitions, _: &mut Context<Self>) -> Self::Result {
        let acquiring = acquire(self.store.clone(), assigned.0);
        AtomicResponse::new(Box::pin(acquiring.into_actor(self)))
    }
}

/// Acquires until every claim is answered or its assignment has ended.
async fn acquire(store: Arc<dyn Store>, mut claims: Vec<Claim>) {
    let mut backoff = Backoff::for_outage();
    loop {
        claims.retain(|claim| claim.fence.stands());
        if claims.is_empty() {
            return;
        }
        let fences: Vec<_> = claims.iter().map(|claim| claim.fence.clone()).collect();
        match store.acquire(&fences).await {
            Ok(answers) => {
                claims = tell_all(claims, answers);
                if claims.is_empty() {
                    return;
                }
                backoff.wait().await;
            }
            Err(error) if error.fate() == crate::error::Fate::Retry => {
                warn!(partitions = claims.len(), %error, "cannot acquire yet");
                backoff.wait().await;
            }
            Err(error) => {
                let refused = Acquired::Refused { reason: error.to_string() };
                return claims.iter().for_each(|claim| claim.tell(refused.clone()));
            }
        }
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
    fn tell(&self, answer: Acquired) {
        // A partition that ended meanwhile needs no answer.
        match answer {
            Acquired::Held { epoch, next_offset } => {
                let partition = self.fence.partition();
                debug!(%partition, epoch, offset = %next_offset, "acquired");
                let _ = self.acquired.try_send(PartitionAcquired { epoch, next_offset });
            }
            Acquired::Refused { reason } => {
                let _ = self.refused.try_send(AcquireRefused { reason });
            }
            Acquired::Fallen | Acquired::Busy { .. } | Acquired::Fenced { .. } => {}
        }
    }
}
