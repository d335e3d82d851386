//! What the model is made of: the stored row with its effects, the transaction that holds the row,
//! and the owners, each with what it remembers. Nobody here knows of Kafka: whoever likes believes
//! that the partition is its own.

use stateright::Representative;

/// Owners that the model has room for.
pub(crate) const OWNERS_MAX: usize = 3;

/// Offsets that the model has room for.
pub(crate) const OFFSETS_MAX: usize = 4;

/// Everything at one moment.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct World {
    /// What is committed.
    pub(crate) stored: Stored,
    /// The transaction that holds the row's lock; everybody else waits for it.
    pub(crate) open: Option<Transaction>,
    /// Who believes to own the partition, did, or will.
    pub(crate) owners: [Owner; OWNERS_MAX],
    /// The server that steps in when the first is lost.
    pub(crate) replica: Replica,
    /// How often the partition was ever taken over. No party can see it: it numbers the takeovers
    /// even where an epoch is given out twice.
    pub(crate) takeovers: u8,
    /// Whether something was saved for an owner after another takeover than its own.
    pub(crate) saved_for_replaced: bool,
}

/// The committed row of `longshore.offsets`, and the effects that lie beside it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Stored {
    pub(crate) epoch: u8,
    pub(crate) next_offset: u8,
    /// `None` after an operator moved the offset.
    pub(crate) owner: Option<usize>,
    pub(crate) effects: [Effect; OFFSETS_MAX],
    /// The takeover that stands, by number: an acquire, or an operator's move.
    pub(crate) takeover: u8,
}

/// What is stored of one record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Effect {
    Missing,
    Once,
    /// An operator moved the offset over it: it must have none.
    PassedOver,
    /// It was saved again, or saved though it was passed over.
    TooOften,
}

/// A batch transaction that has locked the row, passed the checks and written its rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Transaction {
    pub(crate) owner: usize,
    pub(crate) takeover: u8,
    pub(crate) from: u8,
    pub(crate) to: u8,
    /// Its COMMIT is under way and nobody will hear the answer: it may still commit or abort.
    pub(crate) in_doubt: bool,
}

/// One owner, as it sees itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Owner {
    pub(crate) stage: Stage,
    /// The epoch that it was told.
    pub(crate) epoch: u8,
    /// Which takeover made it owner; see [`World::takeovers`].
    pub(crate) takeover: u8,
    /// The offset that it expects; its batch in hand, if it has one, begins here.
    pub(crate) from: u8,
    /// The end of its batch in hand.
    pub(crate) to: u8,
}

/// What an owner is at. It may stay at it for as long as it likes: a suspended owner is one that
/// takes no step while others do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Stage {
    /// Owns nothing, and may acquire.
    Idle,
    /// Knows its position, has no batch in hand.
    Ready,
    /// Has begun a batch's transaction, which waits for the row.
    Waiting,
    /// Its transaction holds the row.
    Writing,
    /// Does not know what became of its COMMIT.
    Recovering,
    /// Was refused; acquires only when it is assigned the partition anew.
    Fenced,
    /// Crashed.
    Dead,
}

/// A replica that may be promoted once.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Replica {
    InStep,
    Behind(Stored),
    Promoted,
}

impl World {
    /// Nobody owns the partition, nothing is stored.
    pub(crate) fn new() -> Self {
        Self {
            stored: Stored {
                epoch: 0,
                next_offset: 0,
                owner: None,
                effects: [Effect::Missing; OFFSETS_MAX],
                takeover: 0,
            },
            open: None,
            owners: [Owner::at(Stage::Idle); OWNERS_MAX],
            replica: Replica::InStep,
            takeovers: 0,
            saved_for_replaced: false,
        }
    }

    /// Whether a transaction of `owner` is in doubt.
    pub(crate) fn is_in_doubt(&self, owner: usize) -> bool {
        self.open.is_some_and(|open| open.in_doubt && open.owner == owner)
    }
}

impl Stored {
    /// Whether each offset below `next_offset` has its effect once, and no other has one.
    pub(crate) fn is_exact(&self) -> bool {
        self.effects.iter().zip(0u8..).all(|(effect, offset)| match effect {
            Effect::Once | Effect::PassedOver => offset < self.next_offset,
            Effect::Missing => offset >= self.next_offset,
            Effect::TooOften => false,
        })
    }

    /// Whether no offset below `next_offset` lacks its effect.
    pub(crate) fn is_without_hole(&self) -> bool {
        let settled = &self.effects[..usize::from(self.next_offset)];
        !settled.contains(&Effect::Missing)
    }
}

impl Effect {
    /// Saved once more.
    pub(crate) fn more(self) -> Self {
        if self == Self::Missing { Self::Once } else { Self::TooOften }
    }
}

impl Owner {
    /// An owner that remembers nothing.
    pub(crate) fn at(stage: Stage) -> Self {
        Self { stage, epoch: 0, takeover: 0, from: 0, to: 0 }
    }

    /// Whether it believes that the partition is its own.
    pub(crate) fn is_active(&self) -> bool {
        matches!(self.stage, Stage::Ready | Stage::Waiting | Stage::Writing | Stage::Recovering)
    }
}

/// Worlds that differ only in who of the owners is called what are one: all owners are alike.
impl Representative for World {
    fn representative(&self) -> Self {
        let behind = match &self.replica {
            Replica::Behind(stored) => stored.owner,
            Replica::InStep | Replica::Promoted => None,
        };
        let mut order: [usize; OWNERS_MAX] = std::array::from_fn(|index| index);
        order.sort_by_key(|index| {
            let named = [self.stored.owner, self.open.map(|open| open.owner), behind]
                .map(|name| name == Some(*index));
            (self.owners[*index], named)
        });
        let mut new_names = [0; OWNERS_MAX];
        order.iter().enumerate().for_each(|(new, old)| new_names[*old] = new);

        let mut world = self.clone();
        world.owners = order.map(|old| self.owners[old]);
        world.stored.owner = self.stored.owner.map(|owner| new_names[owner]);
        world.open = self.open.map(|open| Transaction { owner: new_names[open.owner], ..open });
        if let Replica::Behind(stored) = &mut world.replica {
            stored.owner = stored.owner.map(|owner| new_names[owner]);
        }
        world
    }
}
