//! PositionWatcher: looks at the offset rows of all partitions in the house once a second, in one
//! query, and tells those whose row was changed by somebody else: an operator who moved the offset,
//! or another owner. Ends with the house.

use std::sync::Arc;
use std::time::Duration;

use actix::prelude::*;
use tokio::time::Instant;
use tracing::debug;

use crate::faults;
use crate::fence::Fence;
use crate::health::Signs;
use crate::ports::{Seen, Store, Stored};
use crate::register::{Register, RowSeen};
use crate::supervise::{Post, Watched};

/// How often the rows are looked at.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// See the module.
pub(crate) struct PositionWatcher {
    store: Arc<dyn Store>,
    register: Register,
    looking_since: Option<Instant>,
    post: Post,
}

impl PositionWatcher {
    pub(crate) fn new(store: Arc<dyn Store>, register: Register, post: Post) -> Self {
        Self { store, register, looking_since: None, post }
    }

    fn look(&mut self, ctx: &mut Context<Self>) {
        faults::point("PositionWatcher", "Look");
        if self.looking_since.is_some() {
            return;
        }
        let fences: Vec<_> = self.register.partitions().into_iter().map(|p| p.fence).collect();
        let to_rest = self.register.take_to_rest();
        if fences.is_empty() && to_rest.is_empty() {
            return;
        }
        self.looking_since = Some(Instant::now());
        let before: Vec<_> = fences.iter().map(|fence| epoch(fence)).collect();
        let store = self.store.clone();
        let looking = async move {
            if !to_rest.is_empty()
                && let Err(error) = store.rest(&to_rest).await
            {
                // Taken for a death by the next owner; three of them make it careful, no more.
                debug!(%error, "what was let go is not noted");
            }
            (store.look(&fences).await, fences)
        };
        ctx.spawn(looking.into_actor(self).map(move |(answer, fences), this, _| {
            this.looking_since = None;
            match answer {
                Ok(seen) => {
                    this.post.pulse().goes_on();
                    this.tell(&fences, &before, seen);
                }
                Err(error) => this.post.pulse().waits(error.to_string()),
            }
        }));
    }

    /// Tells the partitions whose row changed, unless they changed it themselves meanwhile, and
    /// those with parked records that are due or whose pipeline was halted or resumed.
    fn tell(&self, fences: &[Arc<Fence>], before: &[Option<i64>], seen: Vec<Seen>) {
        let partitions = self.register.partitions();
        for ((fence, before), seen) in fences.iter().zip(before).zip(seen) {
            let is_halted = seen.halt.is_some() != fence.is_halted();
            let is_news = seen.row != Stored::AsLeft || seen.is_due || is_halted;
            if !is_news || epoch(fence) != *before {
                continue;
            }
            let registered =
                partitions.iter().find(|entry| entry.fence.incarnation() == fence.incarnation());
            if let Some(entry) = registered {
                // One that ended meanwhile need not know.
                let _ = entry.seen.try_send(RowSeen(seen));
            }
        }
    }
}

fn epoch(fence: &Fence) -> Option<i64> {
    fence.position().map(|position| position.epoch)
}

impl Actor for PositionWatcher {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        self.post.take_up(self, ctx);
        ctx.run_interval(LOOK_INTERVAL, |this, ctx| this.look(ctx));
    }
}

impl Watched for PositionWatcher {
    fn post(&self) -> &Post {
        &self.post
    }

    fn signs(&self) -> Signs {
        let in_hand = usize::from(self.looking_since.is_some());
        let busy = self.looking_since;
        Signs { in_hand, oldest: busy, busy, ..Signs::default() }
    }
}
