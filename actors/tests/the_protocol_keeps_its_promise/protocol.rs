//! The protocol as a model: its bounds, its checks, and every step that a party or fate can take.
//! `steps.rs` says what becomes of the world, `promises.rs` what must hold.

use stateright::{Model, Property};

use crate::promises;
use crate::steps::Step;
use crate::world::{OWNERS_MAX, Owner, Replica, Stage, World};

/// Records of a batch at most: the same offset may begin a batch of one owner and lie within the
/// batch of another.
const BATCH_RECORDS_MAX: u8 = 2;

/// The protocol, or a variant of it that lacks something.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Protocol {
    /// How many owners there are; one that crashed does not come back.
    pub(crate) owners: usize,
    /// Where the topic ends.
    pub(crate) offsets: u8,
    /// The highest epoch: bounds acquires, reacquires and operator's moves together.
    pub(crate) epochs: u8,
    /// A batch transaction compares its epoch with the row's.
    pub(crate) compares_epoch: bool,
    /// A batch transaction compares the beginning of its batch with the stored offset.
    pub(crate) compares_offset: bool,
    /// A batch transaction compares its owner with the row's.
    pub(crate) compares_owner: bool,
    /// What an owner does that does not know what became of its COMMIT.
    pub(crate) after_unknown: AfterUnknown,
    /// Whether a replica that lags behind may be promoted, once.
    pub(crate) fails_over: bool,
}

/// See [`Protocol::after_unknown`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AfterUnknown {
    /// Reacquires by compare-and-set.
    ComparesAndSets,
    /// Reacquires whoever has it by now.
    Steals,
    /// Sends the batch again under the same epoch, as if the COMMIT had failed.
    SendsAgain,
}

impl Protocol {
    /// The protocol as it is built, within small bounds.
    pub(crate) const AS_BUILT: Self = Self {
        owners: OWNERS_MAX,
        offsets: 3,
        epochs: 4,
        compares_epoch: true,
        compares_offset: true,
        compares_owner: false,
        after_unknown: AfterUnknown::ComparesAndSets,
        fails_over: false,
    };

    fn steps_of(&self, owner: usize, world: &World, steps: &mut Vec<Step>) {
        let Owner { stage, from, .. } = world.owners[owner];
        let row_is_free = world.open.is_none();
        let has_epochs = world.stored.epoch < self.epochs;
        match stage {
            Stage::Idle | Stage::Fenced if row_is_free && has_epochs => {
                steps.extend([true, false].map(|answered| Step::Acquire { owner, answered }));
            }
            Stage::Ready => {
                let end = self.offsets.min(from + BATCH_RECORDS_MAX);
                steps.extend((from + 1..=end).map(|to| Step::Begin { owner, to }));
            }
            Stage::Waiting if row_is_free => steps.push(Step::Claim { owner }),
            Stage::Writing => steps.extend([
                Step::Commit { owner },
                Step::Abort { owner },
                Step::LoseAnswer { owner },
            ]),
            Stage::Recovering if row_is_free && has_epochs => {
                steps.extend([true, false].map(|answered| Step::Reacquire { owner, answered }));
            }
            _ => {}
        }
        if world.owners[owner].is_active() {
            steps.extend([Step::Revoke { owner }, Step::Crash { owner }]);
        }
    }

    fn steps_of_others(&self, world: &World, steps: &mut Vec<Step>) {
        match world.open {
            Some(open) if open.in_doubt => {
                steps.extend([true, false].map(|commits| Step::Resolve { commits }));
            }
            None if world.stored.epoch < self.epochs => {
                steps.extend((0..=self.offsets).map(|to| Step::MoveOffset { to }));
            }
            _ => {}
        }
        match world.replica {
            Replica::InStep if self.fails_over => steps.push(Step::FallBehind),
            Replica::Behind(_) if world.open.is_none() => steps.push(Step::FailOver),
            _ => {}
        }
    }
}

impl Model for Protocol {
    type State = World;
    type Action = Step;

    fn init_states(&self) -> Vec<World> {
        vec![World::new()]
    }

    fn actions(&self, world: &World, steps: &mut Vec<Step>) {
        for owner in 0..self.owners {
            self.steps_of(owner, world, steps);
        }
        self.steps_of_others(world, steps);
    }

    fn next_state(&self, world: &World, step: Step) -> Option<World> {
        let mut next = world.clone();
        next.take(step, self);
        (next != *world).then_some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        promises::all()
    }
}
