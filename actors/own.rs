//! A pipeline's own actors: a rate limiter, a client pool, an aggregator. Started, watched and
//! started again like those of the house; reached from `work` through a [`Stage`].

use actix::prelude::*;

use crate::stage::Stage;
use crate::supervise::{Post, Watched, Who};
use crate::supervisor::Child;
use crate::threads::Thread;

/// Where a pipeline says which actors it brings; see [`crate::pipeline::Pipeline::actors`].
pub struct OwnActors {
    thread: Thread,
    children: Vec<Child>,
}

impl OwnActors {
    pub(crate) fn new(thread: Thread) -> Self {
        Self { thread, children: Vec::new() }
    }

    /// One more actor: `make` makes it for each of its lives, with the post that it keeps and takes
    /// up in `started` ([`Post::take_up`]). At most `mailbox` messages ever wait for it.
    pub fn start<A: Watched>(
        &mut self,
        name: &'static str,
        mailbox: usize,
        make: impl Fn(Post) -> A + Clone + Send + 'static,
    ) -> OwnActor<'_, A> {
        let make = Box::new(move |arbiter: &ArbiterHandle, post: Post| {
            let make = make.clone();
            A::start_in_arbiter(arbiter, move |_| make(post))
        });
        OwnActor { actors: self, name, mailbox, make, receives: Vec::new() }
    }

    pub(crate) fn into_children(self) -> Vec<Child> {
        self.children
    }
}

/// How an actor is made on a thread.
type Make<A> = Box<dyn Fn(&ArbiterHandle, Post) -> Addr<A> + Send>;
/// How its address comes into a stage.
type Place<A> = Box<dyn Fn(&Addr<A>) + Send>;

/// An actor that is about to be entered; it is when this is dropped.
pub struct OwnActor<'a, A: Watched> {
    actors: &'a mut OwnActors,
    name: &'static str,
    mailbox: usize,
    make: Make<A>,
    receives: Vec<Place<A>>,
}

impl<A: Watched> OwnActor<'_, A> {
    /// It receives what is sent to `stage`.
    pub fn receives<M>(mut self, stage: &Stage<M>) -> Self
    where
        A: Handler<M>,
        M: Message + Send + 'static,
        M::Result: Send,
    {
        let stage = stage.clone();
        self.receives.push(Box::new(move |actor| stage.take_over(actor.clone().recipient())));
        self
    }
}

impl<A: Watched> Drop for OwnActor<'_, A> {
    fn drop(&mut self) {
        let unmade: Make<A> = Box::new(|_, _| unreachable!("it was moved out"));
        let make = std::mem::replace(&mut self.make, unmade);
        let receives = std::mem::take(&mut self.receives);
        let number = self.actors.children.iter().filter(|c| c.who.actor() == self.name).count();
        self.actors.children.push(Child {
            who: Who::Standing(self.name, number),
            thread: self.actors.thread,
            mailbox: self.mailbox,
            start: Box::new(move |arbiter, post| {
                let actor = make(arbiter, post);
                receives.iter().for_each(|place| place(&actor));
            }),
        });
    }
}
