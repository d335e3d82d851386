//! Supervisor: one_for_one. Starts the standing actors of a house, starts again who panicked, got
//! stuck or hangs, with backoff; has partitions opened again; gives the house up when restarts come
//! too often. Takes news of deaths; ends with the house.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use actix::prelude::*;
use hashbrown::HashMap;
use tokio::sync::watch;
use tokio::time::Instant;
use tracing::{error, warn};

use crate::health::{HealthBoard, Signs};
use crate::ports::Source;
use crate::register::Register;
use crate::supervise::{
    ActorDown, Backoff, Ender, HUNG_THREADS_MAX, Office, Post, RestartLimits, Watched, Who,
};
use crate::threads::{Thread, Threads};

/// To the Supervisor: an actor gets nowhere.
#[derive(Clone, Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct ActorStuck {
    pub(crate) who: Who,
    pub(crate) life: u64,
    /// Its thread does not come back.
    pub(crate) hung: bool,
    /// The record that it is at.
    pub(crate) place: Option<String>,
}

/// Why a house cannot go on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HouseDown {
    /// An actor died too often, or the Supervisor did.
    Restarts {
        /// Who, and how often.
        reason: String,
    },
    /// Threads hang: only the end of the process frees them.
    Hung {
        /// At which record.
        reason: String,
    },
}

impl std::fmt::Display for HouseDown {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Restarts { reason } | Self::Hung { reason } => f.write_str(reason),
        }
    }
}

/// How a standing actor is started: on which thread, and in which way.
pub(crate) struct Child {
    pub(crate) who: Who,
    pub(crate) thread: Thread,
    pub(crate) mailbox: usize,
    pub(crate) start: Start,
}

/// Starts an actor on a thread, for one of its lives.
pub(crate) type Start = Box<dyn Fn(&ArbiterHandle, Post) + Send>;

/// See the module.
pub(crate) struct Supervisor {
    children: HashMap<Who, Standing>,
    /// Restarts of the partitions' actors, all together.
    partitions: History,
    limits: RestartLimits,
    threads: Threads,
    register: Register,
    source: Arc<dyn Source>,
    board: HealthBoard,
    down: watch::Sender<Option<HouseDown>>,
    post: Post,
    office: Office,
}

/// What a [`Supervisor`] is made of.
pub(crate) struct SupervisorParams {
    pub(crate) children: Vec<Child>,
    pub(crate) limits: RestartLimits,
    pub(crate) threads: Threads,
    pub(crate) register: Register,
    pub(crate) source: Arc<dyn Source>,
    pub(crate) board: HealthBoard,
    pub(crate) down: watch::Sender<Option<HouseDown>>,
    pub(crate) post: Post,
    pub(crate) office: Office,
}

/// A child and its life so far.
struct Standing {
    child: Child,
    life: u64,
    /// Ends the present life.
    end: Ender,
    history: History,
}

/// When somebody was started again, and when it will be.
struct History {
    restarts: VecDeque<Instant>,
    backoff: Backoff,
}

impl History {
    fn new() -> Self {
        Self { restarts: VecDeque::new(), backoff: Backoff::for_restart() }
    }

    /// The pause before the next restart; `None` if there were too many.
    fn next(&mut self, limits: RestartLimits) -> Option<Duration> {
        let now = Instant::now();
        while self.restarts.front().is_some_and(|then| now - *then > limits.within) {
            self.restarts.pop_front();
        }
        if self.restarts.is_empty() {
            self.backoff.reset();
        }
        self.restarts.push_back(now);
        (self.restarts.len() <= limits.restarts).then(|| self.backoff.next_pause())
    }
}

impl Supervisor {
    /// Starts all children, the last stage first.
    pub(crate) fn new(params: SupervisorParams) -> Self {
        let children = params.children.into_iter().map(|child| {
            let post = Post::new(child.who.clone(), 1, child.mailbox, params.office.clone());
            let end = post.ender();
            (child.start)(&params.threads.handle(child.thread), post);
            let standing = Standing { life: 1, end, history: History::new(), child };
            (standing.child.who.clone(), standing)
        });
        Self {
            children: children.collect(),
            partitions: History::new(),
            limits: params.limits,
            threads: params.threads,
            register: params.register,
            source: params.source,
            board: params.board,
            down: params.down,
            post: params.post,
            office: params.office,
        }
    }

    /// Has `who` started again after a pause, unless that was done too often.
    fn restart(&mut self, who: Who, life: u64, ctx: &mut Context<Self>) {
        let history = match &who {
            Who::Partition(_) => &mut self.partitions,
            Who::Standing(..) => match self.children.get_mut(&who) {
                Some(standing) if standing.life == life => {
                    // Whatever else is heard of this life is old news.
                    standing.life += 1;
                    &mut standing.history
                }
                _ => return,
            },
        };
        let Some(pause) = history.next(self.limits) else {
            let RestartLimits { restarts, within } = self.limits;
            let reason = format!("{who} had to be started again {restarts} times in {within:?}");
            return self.give_up(HouseDown::Restarts { reason });
        };
        self.board.update(|health| *health.restarts.entry(who.actor()).or_default() += 1);
        warn!(actor = %who, ?pause, "is started again");
        ctx.run_later(pause, move |this, _| this.start(&who));
    }

    fn start(&mut self, who: &Who) {
        match who {
            Who::Partition(fence) if fence.stands() => self.source.reopen(fence),
            Who::Partition(_) => {}
            Who::Standing(..) => {
                let Some(standing) = self.children.get_mut(who) else { return };
                let (child, life) = (&standing.child, standing.life);
                let post = Post::new(who.clone(), life, child.mailbox, self.office.clone());
                standing.end = post.ender();
                (child.start)(&self.threads.handle(child.thread), post);
            }
        }
    }

    fn give_up(&self, down: HouseDown) {
        error!(reason = %down, "the house is given up");
        self.down.send_if_modified(|first| {
            let is_first = first.is_none();
            first.get_or_insert(down);
            is_first
        });
    }

    /// Leaves a hung thread behind: everybody on it begins anew on another one.
    fn abandon(&mut self, thread: Thread, place: Option<String>, ctx: &mut Context<Self>) {
        let left_behind = self.threads.replace(thread);
        let place = place.unwrap_or_else(|| "no record in particular".to_owned());
        error!(place, left_behind, "a thread hangs and is left behind");
        self.board.update(|health| health.hung_threads = left_behind);
        if left_behind >= HUNG_THREADS_MAX {
            let reason = format!("{left_behind} threads hang, the last one at {place}");
            return self.give_up(HouseDown::Hung { reason });
        }
        let on_it = self.children.values().filter(|standing| standing.child.thread == thread);
        let lives: Vec<_> = on_it.map(|s| (s.child.who.clone(), s.life)).collect();
        for (who, life) in lives {
            self.restart(who, life, ctx);
        }
        // What the hung ones hold is not dropped, and tells nobody.
        if thread == Thread::PARTITIONS {
            let partitions = self.register.take_all();
            partitions.iter().for_each(|entry| self.source.reopen(&entry.fence));
        } else {
            self.register.begin_again();
        }
    }
}

impl Actor for Supervisor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        self.post.take_up(self, ctx);
    }
}

impl Watched for Supervisor {
    fn post(&self) -> &Post {
        &self.post
    }

    fn signs(&self) -> Signs {
        Signs::default()
    }
}

impl Drop for Supervisor {
    fn drop(&mut self) {
        self.children.values().for_each(|standing| standing.end.end());
        if std::thread::panicking() {
            self.give_up(HouseDown::Restarts { reason: "the Supervisor panicked".to_owned() });
        }
    }
}

impl Handler<ActorDown> for Supervisor {
    type Result = ();

    fn handle(&mut self, down: ActorDown, ctx: &mut Context<Self>) {
        error!(actor = %down.who, "panicked");
        self.restart(down.who, down.life, ctx);
    }
}

impl Handler<ActorStuck> for Supervisor {
    type Result = ();

    fn handle(&mut self, stuck: ActorStuck, ctx: &mut Context<Self>) {
        let thread = match self.children.get(&stuck.who) {
            Some(standing) if standing.life != stuck.life => return,
            standing => standing.map(|standing| standing.child.thread),
        };
        if stuck.hung {
            return self.abandon(thread.unwrap_or(Thread::PARTITIONS), stuck.place, ctx);
        }
        warn!(actor = %stuck.who, "gets nowhere");
        if let Some(standing) = self.children.get(&stuck.who) {
            standing.end.end();
        }
        self.restart(stuck.who, stuck.life, ctx);
    }
}
