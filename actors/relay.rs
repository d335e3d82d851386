//! RelayActor: publishes what the partitions in the house have left to publish, dead records and
//! messages of the outbox. Looks when something was written and once a second, sends in order, and
//! marks after the delivery reports. Ends with the house.
//!
//! # Why
//! It selects what is not marked, never what comes behind a mark: ids commit out of order. So
//! whatever dies on the way, it or the process, is sent again, in the same order and under the same
//! ids; nothing is lost. It holds nothing that batches wait for.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use actix::prelude::*;
use futures_util::StreamExt;
use futures_util::stream::FuturesOrdered;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout};
use tracing::warn;

use crate::error::{Fate, StoreError};
use crate::faults;
use crate::fence::Fence;
use crate::health::{Pulse, Signs};
use crate::publisher::{Outgoing, PassLimits, PublishError, Published, Relay, Verdict};
use crate::register::Register;
use crate::supervise::{Backoff, Post, Watched};

/// How often it looks by itself.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// What may be in flight: enough to keep the brokers busy, little enough to be sent again.
const LIMITS: PassLimits = PassLimits { messages: 1000, bytes: 4 * 1024 * 1024 };

/// How long the brokers may be silent before health says so.
const SILENCE: Duration = Duration::from_secs(5);

/// The longest pause after a failure.
const PAUSE_MAX: Duration = Duration::from_secs(10);

/// Rung when a commit has left something to publish. Cheap to clone; all clones are one bell.
#[derive(Clone, Default)]
pub(crate) struct Bell(Arc<Notify>);

impl Bell {
    pub(crate) fn ring(&self) {
        self.0.notify_one();
    }
}

/// See the module.
pub(crate) struct RelayActor {
    relay: Relay,
    register: Register,
    published: Published,
    bell: Bell,
    /// Since when a pass is under way.
    passing_since: Option<Instant>,
    /// Something may be left to publish.
    is_awake: bool,
    /// After a failure it waits.
    is_backing_off: bool,
    backoff: Backoff,
    /// The assignments and epochs that were last looked at: what a new one brings is not known.
    looked_at: Vec<(u64, i64)>,
    post: Post,
}

/// How a pass ended.
enum Passed {
    /// There was nothing to publish.
    Nothing,
    /// There may be more.
    Some,
    /// Not all of what was sent could be noted, and will be sent again: not at once.
    Unnoted,
    /// Something has to be sent again.
    Failed(String),
}

impl RelayActor {
    pub(crate) fn new(
        relay: Relay,
        register: Register,
        published: Published,
        bell: Bell,
        post: Post,
    ) -> Self {
        Self {
            relay,
            register,
            published,
            bell,
            passing_since: None,
            is_awake: true,
            is_backing_off: false,
            backoff: Backoff::new(Duration::from_millis(50), PAUSE_MAX),
            looked_at: Vec::new(),
            post,
        }
    }

    fn listen(&self, ctx: &mut Context<Self>) {
        let bell = self.bell.clone();
        let rung = async move { bell.0.notified().await };
        ctx.spawn(rung.into_actor(self).map(|(), this, ctx| {
            this.is_awake = true;
            this.look(ctx);
            this.listen(ctx);
        }));
    }

    fn look(&mut self, ctx: &mut Context<Self>) {
        faults::point("RelayActor", "Look");
        if self.passing_since.is_some() || self.is_backing_off {
            return;
        }
        let fences: Vec<_> = self.register.partitions().into_iter().map(|p| p.fence).collect();
        let fences: Vec<_> = fences.into_iter().filter(|f| epoch_of(f).is_some()).collect();
        let places: Vec<_> =
            fences.iter().filter_map(|f| Some((f.incarnation(), epoch_of(f)?))).collect();
        let has_reason = self.relay.always || self.is_awake || places != self.looked_at;
        if fences.is_empty() || !has_reason {
            return;
        }
        (self.looked_at, self.is_awake) = (places, false);
        self.passing_since = Some(Instant::now());
        let own = Pass {
            relay: self.relay.clone(),
            fences,
            published: self.published.clone(),
            pulse: self.post.pulse().clone(),
        };
        ctx.spawn(own.run().into_actor(self).map(|ended, this, ctx| {
            faults::point("RelayActor", "Passed");
            this.passing_since = None;
            this.go_on(ended, ctx);
        }));
    }

    fn go_on(&mut self, ended: Result<Passed, StoreError>, ctx: &mut Context<Self>) {
        let reason = match ended {
            Ok(Passed::Nothing) => None,
            Ok(Passed::Some) => {
                self.is_awake = true;
                None
            }
            Ok(Passed::Unnoted) => {
                self.is_awake = true;
                return self.post.pulse().goes_on();
            }
            Ok(Passed::Failed(reason)) => Some(reason),
            Err(error) => Some(error.to_string()),
        };
        let Some(reason) = reason else {
            self.backoff.reset();
            self.post.pulse().goes_on();
            if self.is_awake {
                self.look(ctx);
            }
            return;
        };
        warn!(reason, "cannot publish yet");
        self.post.pulse().waits(reason);
        (self.is_awake, self.is_backing_off) = (true, true);
        ctx.run_later(self.backoff.next_pause(), |this, ctx| {
            this.is_backing_off = false;
            this.look(ctx);
        });
    }
}

/// The epoch under which a partition is ours.
fn epoch_of(fence: &Fence) -> Option<i64> {
    fence.position().filter(|_| fence.stands()).map(|position| position.epoch)
}

/// One pass: reads, sends, marks.
struct Pass {
    relay: Relay,
    fences: Vec<Arc<Fence>>,
    published: Published,
    pulse: Pulse,
}

/// A message and its report; `None` if it was not sent, because its fence fell.
type Sent = (Outgoing, Option<Result<(), PublishError>>);

impl Pass {
    async fn run(self) -> Result<Passed, StoreError> {
        let outgoing = self.relay.outbox.unpublished(&self.fences, LIMITS).await?;
        if outgoing.is_empty() {
            return Ok(Passed::Nothing);
        }
        let mut sent = self.send(outgoing).await;
        self.send_alone(&mut sent).await;
        faults::point("RelayActor", "Sent");
        let (verdicts, failure) = judge(&sent);
        for (message, report) in &sent {
            match report {
                Some(Ok(())) => self.published.add(message.row.kind),
                Some(Err(PublishError::Refused(error) | PublishError::TooLarge(error))) => {
                    let (kind, id, topic) = (message.row.kind, message.row.id, &message.topic);
                    warn!(?kind, id, topic, error, "cannot be published, and is left aside");
                }
                Some(Err(PublishError::Retry(_))) | None => {}
            }
        }
        let noted = self.mark(&verdicts).await?;
        let done = if noted == sent.len() { Passed::Some } else { Passed::Unnoted };
        Ok(failure.map_or(done, Passed::Failed))
    }

    /// Sends in order, and waits for all reports.
    async fn send(&self, outgoing: Vec<Outgoing>) -> Vec<Sent> {
        let mut reports = FuturesOrdered::new();
        for message in &outgoing {
            // Nothing more is sent for a partition that was let go meanwhile.
            let stands = self.fences[message.fence].stands();
            let report = stands.then(|| self.relay.publisher.send(message));
            reports.push_back(async move {
                match report {
                    Some(report) => Some(report.await),
                    None => None,
                }
            });
        }
        let mut sent = Vec::with_capacity(outgoing.len());
        for message in outgoing {
            let report = self.heard(reports.next()).await.flatten();
            sent.push((message, report));
        }
        sent
    }

    /// What is said to be too large may only have been sent in large company: it is tried alone.
    /// If something else has to be sent again, it is too, in its turn.
    async fn send_alone(&self, sent: &mut [Sent]) {
        let is_retried = |report: &Sent| matches!(report.1, Some(Err(PublishError::Retry(_))));
        let something_is_retried = sent.iter().any(is_retried);
        for (message, report) in sent {
            let Some(Err(PublishError::TooLarge(reason))) = report else { continue };
            if something_is_retried {
                *report = Some(Err(PublishError::Retry(std::mem::take(reason))));
            } else if self.fences[message.fence].stands() {
                *report = Some(self.heard(self.relay.publisher.send(message)).await);
            }
        }
    }

    /// Waits for the brokers, and says so when it takes long.
    async fn heard<T>(&self, report: impl Future<Output = T>) -> T {
        let mut report = std::pin::pin!(report);
        loop {
            if let Ok(heard) = timeout(SILENCE, report.as_mut()).await {
                self.pulse.goes_on();
                return heard;
            }
            let trouble = self.relay.publisher.trouble();
            let trouble = trouble.map(|trouble| format!(": {trouble}")).unwrap_or_default();
            self.pulse.waits(format!("kafka acknowledges no message{trouble}"));
        }
    }

    /// Marks what was sent, for as long as the database makes it wait: read again, it would be sent
    /// again.
    async fn mark(&self, verdicts: &[Verdict]) -> Result<usize, StoreError> {
        let mut backoff = Backoff::for_outage();
        while !verdicts.is_empty() && self.fences.iter().any(|fence| fence.stands()) {
            match self.relay.outbox.mark(&self.fences, verdicts).await {
                Err(error) if error.fate() == Fate::Retry => {
                    self.pulse.waits(error.to_string());
                    backoff.wait().await;
                }
                noted => return noted,
            }
        }
        Ok(0)
    }
}

/// What is to be noted of the messages that were sent, and the first reason to send some again.
/// From there on nothing of the same key is noted: it is sent again in its order.
fn judge(sent: &[Sent]) -> (Vec<Verdict>, Option<String>) {
    let (mut verdicts, mut failure, mut held) = (Vec::new(), None, HashSet::new());
    for (message, report) in sent {
        let run = message.key.as_deref().map(|key| (message.topic.as_str(), key));
        if run.is_some_and(|run| held.contains(&run)) {
            continue;
        }
        let outcome = match report {
            Some(Ok(())) => Ok(()),
            Some(Err(PublishError::Refused(error) | PublishError::TooLarge(error))) => {
                Err(error.clone())
            }
            Some(Err(PublishError::Retry(reason))) => {
                held.extend(run);
                failure.get_or_insert_with(|| reason.clone());
                continue;
            }
            None => {
                held.extend(run);
                continue;
            }
        };
        verdicts.push(Verdict { row: message.row, fence: message.fence, outcome });
    }
    (verdicts, failure)
}

impl Actor for RelayActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        self.post.take_up(self, ctx);
        ctx.run_interval(LOOK_INTERVAL, |this, ctx| this.look(ctx));
        self.listen(ctx);
    }
}

impl Watched for RelayActor {
    fn post(&self) -> &Post {
        &self.post
    }

    fn signs(&self) -> Signs {
        let in_hand = usize::from(self.passing_since.is_some());
        let busy = self.passing_since;
        Signs { in_hand, oldest: busy, busy, ..Signs::default() }
    }
}
