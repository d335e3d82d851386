//! HealthActor: hears from every actor of the house, writes what people and probes read, and tells
//! the Supervisor of those that are stuck or hung. Takes health reports; ends with the house.

use std::time::Duration;

use actix::prelude::*;
use hashbrown::HashMap;
use tokio::time::Instant;

use crate::faults;
use crate::health::{ActorGone, ActorHealth, ActorState, HealthBoard, HealthReport, Signs};
use crate::stage::Stage;
use crate::supervise::{Post, Watched, Who};
use crate::supervisor::ActorStuck;

/// How often all actors are looked at.
const LOOK_INTERVAL: Duration = Duration::from_millis(500);

/// See the module.
pub(crate) struct HealthActor {
    actors: HashMap<Who, Seen>,
    board: HealthBoard,
    supervisor: Stage<ActorStuck>,
    /// How long an actor may get nowhere.
    stuck_after: Duration,
    /// When somebody on the way of batches had anything to do last.
    way_acted_at: Instant,
    post: Post,
}

/// What is known of one actor.
struct Seen {
    report: HealthReport,
    reported_at: Instant,
    mark: (u64, i64),
    moved_at: Instant,
    /// When it was last said to be stuck.
    told_at: Option<Instant>,
}

/// What is wrong with an actor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Trouble {
    /// It reports, and gets nowhere with work of its own.
    Stuck,
    /// Its thread does not come back from what it does.
    Hung,
}

impl HealthActor {
    pub(crate) fn new(
        board: HealthBoard,
        supervisor: Stage<ActorStuck>,
        stuck_after: Duration,
        post: Post,
    ) -> Self {
        let (actors, way_acted_at) = (HashMap::new(), Instant::now());
        Self { actors, board, supervisor, stuck_after, way_acted_at, post }
    }

    fn look(&mut self) {
        faults::point("HealthActor", "Look");
        let now = Instant::now();
        for seen in self.actors.values_mut() {
            seen.notice(now);
        }
        // Those who only look now and then are never idle: they do not count.
        let mut way = self.actors.iter().filter(|(who, _)| who.is_on_the_way());
        if way.any(|(_, seen)| seen.acts(now)) {
            self.way_acted_at = now;
        }
        let (limit, way_idle_since) = (self.stuck_after, self.way_acted_at);
        let mut actors = Vec::with_capacity(self.actors.len());
        for (who, seen) in &mut self.actors {
            let trouble = seen.trouble(who, now, limit, way_idle_since);
            actors.push(seen.describe(who, now, trouble));
            if let Some(trouble) = trouble.filter(|_| seen.may_tell(now, limit)) {
                seen.told_at = Some(now);
                let (who, place) = (who.clone(), seen.report.pulse.place());
                let (life, hung) = (seen.report.life, trouble == Trouble::Hung);
                self.supervisor.forward(ActorStuck { who, life, hung, place });
            }
        }
        actors.sort_by(|a, b| (a.actor, &a.name).cmp(&(b.actor, &b.name)));
        self.board.update(|health| {
            health.actors = actors;
            health.looked_at = Some(now);
        });
        self.post.pulse().step();
    }
}

impl Seen {
    fn new(report: HealthReport, now: Instant) -> Self {
        let mark = report.pulse.mark();
        Self { report, reported_at: now, mark, moved_at: now, told_at: None }
    }

    fn notice(&mut self, now: Instant) {
        let mark = self.report.pulse.mark();
        if mark != self.mark {
            (self.mark, self.moved_at) = (mark, now);
        }
    }

    /// Whether it has anything to do, or has just had.
    fn acts(&self, now: Instant) -> bool {
        let HealthReport { signs, pulse, .. } = &self.report;
        let is_silent = now - self.reported_at > LOOK_INTERVAL * 3;
        let is_at_work = signs.busy.is_some() || pulse.place().is_some();
        is_at_work || is_silent || pulse.waits_for().is_some() || self.moved_at == now
    }

    fn trouble(
        &self,
        who: &Who,
        now: Instant,
        limit: Duration,
        way_idle_since: Instant,
    ) -> Option<Trouble> {
        let (signs, pulse) = (self.report.signs, &self.report.pulse);
        if now - self.reported_at > limit && now - self.moved_at > limit {
            return Some(Trouble::Hung);
        }
        let since = match who {
            Who::Standing(..) if pulse.waits_for().is_some() => None,
            Who::Standing(..) => signs.busy.map(|busy| busy.max(self.moved_at)),
            // What it goes on with meanwhile does not bring back what it waits for.
            Who::Partition(_) => signs.busy.or(signs.away.map(|away| away.max(way_idle_since))),
        };
        since.filter(|since| now - *since > limit).map(|_| Trouble::Stuck)
    }

    /// It takes a moment until an actor is started anew.
    fn may_tell(&self, now: Instant, limit: Duration) -> bool {
        self.told_at.is_none_or(|told| now - told > limit)
    }

    fn describe(&self, who: &Who, now: Instant, trouble: Option<Trouble>) -> ActorHealth {
        let (Signs { in_hand, oldest, .. }, pulse) = (self.report.signs, &self.report.pulse);
        let state = match (trouble, pulse.waits_for()) {
            (Some(_), _) => ActorState::Stuck,
            (None, Some(reason)) => ActorState::Waiting(reason),
            (None, None) if in_hand == 0 && pulse.place().is_none() => ActorState::Idle,
            (None, None) => ActorState::Working,
        };
        ActorHealth {
            actor: who.actor(),
            name: who.to_string(),
            state,
            in_hand,
            oldest: oldest.map(|oldest| now - oldest),
            last_progress: now - self.moved_at,
            place: pulse.place(),
        }
    }
}

impl Actor for HealthActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        self.post.take_up(self, ctx);
        ctx.run_interval(LOOK_INTERVAL, |this, _| this.look());
    }
}

impl Watched for HealthActor {
    fn post(&self) -> &Post {
        &self.post
    }

    fn signs(&self) -> Signs {
        Signs::default()
    }
}

impl Handler<HealthReport> for HealthActor {
    type Result = ();

    fn handle(&mut self, report: HealthReport, _: &mut Context<Self>) {
        faults::point("HealthActor", "HealthReport");
        let now = Instant::now();
        match self.actors.get_mut(&report.who) {
            // The last words of an earlier life.
            Some(seen) if seen.report.life > report.life => {}
            Some(seen) if seen.report.life == report.life => {
                seen.report = report;
                seen.reported_at = now;
            }
            _ => {
                self.actors.insert(report.who.clone(), Seen::new(report, now));
            }
        }
    }
}

impl Handler<ActorGone> for HealthActor {
    type Result = ();

    fn handle(&mut self, gone: ActorGone, _: &mut Context<Self>) {
        faults::point("HealthActor", "ActorGone");
        if self.actors.get(&gone.who).is_some_and(|seen| seen.report.life <= gone.life) {
            self.actors.remove(&gone.who);
        }
    }
}

#[cfg(test)]
mod tests;
