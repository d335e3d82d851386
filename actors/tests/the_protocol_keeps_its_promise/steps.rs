//! What each step does to the world. A step is as large as what nobody else can see: the lock, the
//! checks and the writes of a transaction are one, for of these others see the lock alone; an
//! acquire is one with its COMMIT, for until then the lock keeps everybody from the row.

use crate::protocol::{AfterUnknown, Protocol};
use crate::world::{Effect, Owner, Replica, Stage, Transaction, World};

/// One step of one party, or of fate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Takes the partition over, whoever has it. Unanswered, the owner does not know.
    Acquire { owner: usize, answered: bool },
    /// Takes the next batch in hand and begins its transaction, which waits for the row.
    Begin { owner: usize, to: u8 },
    /// The transaction locks the row, checks it, and writes.
    Claim { owner: usize },
    /// The COMMIT goes well and is answered.
    Commit { owner: usize },
    /// The connection or the server fails before the COMMIT: nothing is committed.
    Abort { owner: usize },
    /// The COMMIT is sent and never answered.
    LoseAnswer { owner: usize },
    /// The server ends a transaction whose COMMIT was not answered.
    Resolve { commits: bool },
    /// Asks for the partition again after an unknown outcome.
    Reacquire { owner: usize, answered: bool },
    /// The partition is let go; a COMMIT may be under way.
    Revoke { owner: usize },
    /// The process dies; a COMMIT may be under way.
    Crash { owner: usize },
    /// An operator says where to go on; effects from there on are taken along.
    MoveOffset { to: u8 },
    /// The replica gets nothing any more.
    FallBehind,
    /// The server is lost and the replica takes its place.
    FailOver,
}

/// What the checks say to a batch whose transaction has locked the row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Fits,
    /// Saved already.
    Stale,
    Fenced,
}

impl World {
    /// Takes one step, which is possible here.
    pub(crate) fn take(&mut self, step: Step, protocol: &Protocol) {
        match step {
            Step::Acquire { owner, answered } => self.acquire(owner, answered),
            Step::Begin { owner, to } => {
                let owner = &mut self.owners[owner];
                (owner.stage, owner.to) = (Stage::Waiting, to);
            }
            Step::Claim { owner } => self.claim(owner, protocol),
            Step::Commit { owner } => {
                self.commit();
                self.owners[owner].go_on();
            }
            Step::Abort { owner } => {
                self.open = None;
                self.owners[owner].stage = Stage::Waiting;
            }
            Step::LoseAnswer { owner } => self.lose_answer(owner, protocol.after_unknown),
            Step::Resolve { commits: true } => self.commit(),
            Step::Resolve { commits: false } => self.open = None,
            Step::Reacquire { owner, answered } => self.reacquire(owner, answered, protocol),
            Step::Revoke { owner } => self.part_from(owner, Stage::Idle),
            Step::Crash { owner } => self.part_from(owner, Stage::Dead),
            Step::MoveOffset { to } => self.move_offset(to),
            Step::FallBehind => self.replica = Replica::Behind(self.stored.clone()),
            Step::FailOver => self.fail_over(),
        }
    }

    /// `Acquirer::take_over`: unconditional.
    fn acquire(&mut self, owner: usize, answered: bool) {
        self.take_over(Some(owner));
        self.owners[owner] = Owner::at(Stage::Idle);
        if answered {
            self.owners[owner] = Owner {
                stage: Stage::Ready,
                epoch: self.stored.epoch,
                takeover: self.stored.takeover,
                from: self.stored.next_offset,
                to: self.stored.next_offset,
            };
        }
    }

    fn take_over(&mut self, owner: Option<usize>) {
        self.takeovers += 1;
        self.stored.takeover = self.takeovers;
        self.stored.epoch += 1;
        self.stored.owner = owner;
    }

    /// `claim::fits`, under the row's lock, and the writes.
    fn claim(&mut self, owner: usize, protocol: &Protocol) {
        match self.judge(owner, protocol) {
            Verdict::Fits => {
                let Owner { takeover, from, to, .. } = self.owners[owner];
                self.open = Some(Transaction { owner, takeover, from, to, in_doubt: false });
                self.owners[owner].stage = Stage::Writing;
            }
            Verdict::Stale => self.owners[owner].stage = Stage::Recovering,
            Verdict::Fenced => self.owners[owner] = Owner::at(Stage::Fenced),
        }
    }

    fn judge(&self, owner: usize, protocol: &Protocol) -> Verdict {
        let Owner { epoch, from, to, .. } = self.owners[owner];
        let stored = &self.stored;
        if protocol.compares_epoch && stored.epoch != epoch {
            return Verdict::Fenced;
        }
        if protocol.compares_owner && stored.owner != Some(owner) {
            return Verdict::Fenced;
        }
        if !protocol.compares_offset || from == stored.next_offset {
            return Verdict::Fits;
        }
        if to <= stored.next_offset { Verdict::Stale } else { Verdict::Fenced }
    }

    /// What the open transaction wrote is there from here on, for everybody and at once.
    fn commit(&mut self) {
        let Some(open) = self.open.take() else { return };
        self.saved_for_replaced |= open.takeover != self.stored.takeover;
        for effect in &mut self.stored.effects[open.from.into()..open.to.into()] {
            *effect = effect.more();
        }
        self.stored.next_offset = open.to;
    }

    fn lose_answer(&mut self, owner: usize, after_unknown: AfterUnknown) {
        self.leave_in_doubt(owner);
        self.owners[owner].stage = match after_unknown {
            AfterUnknown::ComparesAndSets | AfterUnknown::Steals => Stage::Recovering,
            AfterUnknown::SendsAgain => Stage::Waiting,
        };
    }

    /// `Acquirer::take_again`, then `PartitionActor::send_again`.
    fn reacquire(&mut self, index: usize, answered: bool, protocol: &Protocol) {
        let owner = &mut self.owners[index];
        // An epoch of its own that it does not know is that of a reacquire without an answer.
        let is_ours = self.stored.owner == Some(index) && owner.epoch <= self.stored.epoch;
        if !is_ours && protocol.after_unknown != AfterUnknown::Steals {
            *owner = Owner::at(Stage::Fenced);
            return;
        }
        self.stored.epoch += 1;
        self.stored.owner = Some(index);
        if !answered {
            return;
        }
        owner.epoch = self.stored.epoch;
        match self.stored.next_offset {
            saved_to if saved_to == owner.to => owner.go_on(),
            saved_to if saved_to == owner.from => owner.stage = Stage::Waiting,
            _ => *owner = Owner::at(Stage::Fenced),
        }
    }

    /// The owner forgets all; what it has begun and not asked to commit aborts.
    fn part_from(&mut self, owner: usize, stage: Stage) {
        self.leave_in_doubt(owner);
        self.owners[owner] = Owner::at(stage);
    }

    /// Nobody listens any more. That the COMMIT was not even sent is the same as that it fails.
    fn leave_in_doubt(&mut self, owner: usize) {
        if let Some(open) = self.open.as_mut().filter(|open| open.owner == owner) {
            open.in_doubt = true;
        }
    }

    /// `longshore offsets set`: fences everybody.
    fn move_offset(&mut self, to: u8) {
        self.take_over(None);
        self.stored.next_offset = to;
        for (effect, offset) in self.stored.effects.iter_mut().zip(0..) {
            if offset >= to {
                *effect = Effect::Missing;
            } else if *effect == Effect::Missing {
                *effect = Effect::PassedOver;
            }
        }
    }

    /// Rows and offset go back together; and so does the epoch.
    fn fail_over(&mut self) {
        if let Replica::Behind(stored) = std::mem::replace(&mut self.replica, Replica::Promoted) {
            self.stored = stored;
        }
    }
}

impl Owner {
    /// The batch in hand is saved.
    fn go_on(&mut self) {
        (self.stage, self.from) = (Stage::Ready, self.to);
    }
}
