//! What must hold in every world, and what must come up in some, lest the first be empty words.

use stateright::Property;

use crate::protocol::Protocol;
use crate::world::{Effect, Stage, World};

/// Promise 1: the effects are those of `[0, next_offset)`, each once.
pub(crate) const EXACTLY_ONCE: &str = "each settled offset has its effect once, no other has one";
/// Promise 2: no record is lost.
pub(crate) const NO_HOLE: &str = "next_offset never passes an offset whose effect is missing";
/// Promise 3: an old owner commits nothing.
pub(crate) const REPLACED_SAVES_NOTHING: &str = "nothing is saved for an owner that was replaced";
/// Promise 4: the fence keeps out nobody else.
pub(crate) const OWNER_GOES_ON: &str = "whom the row names is not fenced";

/// All promises, and all that must be seen.
pub(crate) fn all() -> Vec<Property<Protocol>> {
    let mut all = vec![
        Property::always(EXACTLY_ONCE, |_: &Protocol, world: &World| world.stored.is_exact()),
        Property::always(NO_HOLE, |_, world: &World| world.stored.is_without_hole()),
        Property::always(REPLACED_SAVES_NOTHING, |_, world: &World| !world.saved_for_replaced),
        Property::always(OWNER_GOES_ON, |_, world| !is_owner_fenced(world)),
    ];
    all.extend(ways_of_a_commit());
    all.extend(ways_of_an_owner());
    all
}

fn ways_of_a_commit() -> [Property<Protocol>; 5] {
    [
        Property::sometimes("a COMMIT of unknown outcome is still under way", |_, world| {
            any(world, Stage::Recovering, |owner| world.is_in_doubt(owner))
        }),
        Property::sometimes("a COMMIT of unknown outcome went well", |_, world| {
            any(world, Stage::Recovering, |owner| {
                is_current(world, owner) && world.stored.next_offset == world.owners[owner].to
            })
        }),
        Property::sometimes("a COMMIT of unknown outcome failed", |_, world| {
            any(world, Stage::Recovering, |owner| {
                is_current(world, owner)
                    && world.open.is_none()
                    && world.stored.next_offset == world.owners[owner].from
            })
        }),
        Property::sometimes("a newer owner came before the reacquire", |_, world| {
            any(world, Stage::Recovering, |owner| {
                world.stored.owner.is_some_and(|newer| newer != owner)
            })
        }),
        Property::sometimes("the COMMIT of a dead owner is under way", |_, world| {
            any(world, Stage::Dead, |owner| world.is_in_doubt(owner))
        }),
    ]
}

fn ways_of_an_owner() -> [Property<Protocol>; 5] {
    [
        Property::sometimes("all records are saved", |protocol: &Protocol, world: &World| {
            let effects = &world.stored.effects[..protocol.offsets.into()];
            effects.iter().all(|effect| *effect == Effect::Once)
        }),
        Property::sometimes("one transaction holds the row, another waits for it", |_, world| {
            any(world, Stage::Writing, |_| true) && any(world, Stage::Waiting, |_| true)
        }),
        Property::sometimes("a zombie has begun a transaction", |_, world| {
            any(world, Stage::Waiting, |owner| !is_current(world, owner))
        }),
        Property::sometimes("an owner is fenced by another", |_, world| {
            any(world, Stage::Fenced, |_| world.stored.owner.is_some())
        }),
        Property::sometimes("an owner is fenced by an operator", |_, world| {
            any(world, Stage::Fenced, |_| world.stored.owner.is_none())
        }),
    ]
}

fn is_owner_fenced(world: &World) -> bool {
    world.stored.owner.is_some_and(|owner| world.owners[owner].stage == Stage::Fenced)
}

/// Whether no takeover came after that which made `owner` the owner.
fn is_current(world: &World, owner: usize) -> bool {
    world.owners[owner].takeover == world.stored.takeover
}

fn any(world: &World, stage: Stage, so: impl Fn(usize) -> bool) -> bool {
    (0..world.owners.len()).any(|owner| world.owners[owner].stage == stage && so(owner))
}
