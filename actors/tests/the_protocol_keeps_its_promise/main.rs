//! Promise: each record has its effect exactly once, whoever dies, stalls or comes back, and
//! whatever becomes of a COMMIT. A model of the protocol by which partitions are taken over and
//! batches saved is explored exhaustively within bounds; and so are variants of it that lack
//! something, to see that the model can tell.
//!
//! # What is modelled
//! The row with its lock, epoch, offset and owner; owners that acquire whenever they like, stall
//! anywhere, are let go, crash, and do not know what became of a COMMIT whose answer is lost; an
//! operator who moves the offset; a replica that lags behind and is promoted. A batch stands for
//! all that one transaction saves of a partition. What the house checks besides, in memory (that
//! an assignment stands, its attempt and incarnation), is left out: the database must be right
//! without it.
//!
//! # Bounds
//! Owners, offsets, and the highest epoch, which bounds acquires, reacquires and moves together;
//! retries, aborts and stalls are not bounded. Three owners, 4 offsets and 5 epochs are 987,460
//! worlds; two owners, 3 offsets and 8 epochs are 766,298. Worlds that differ only in who of the
//! owners is called what are counted once.

mod promises;
mod protocol;
mod steps;
mod world;

use promises::{EXACTLY_ONCE, NO_HOLE, OWNER_GOES_ON, REPLACED_SAVES_NOTHING};
use protocol::{AfterUnknown, Protocol};
use stateright::{Checker, Model};
use steps::Step::{
    self, Acquire, Begin, Claim, Commit, FailOver, FallBehind, LoseAnswer, MoveOffset, Reacquire,
    Resolve,
};

/// Enough for every variant to show what it lacks.
const SMALL: Protocol = Protocol { owners: 2, offsets: 3, epochs: 4, ..Protocol::AS_BUILT };

/// Smaller still: a promotion leads from each world back to each that came before it.
const PROMOTED: Protocol =
    Protocol { owners: 2, offsets: 2, epochs: 3, fails_over: true, ..Protocol::AS_BUILT };

#[test]
fn three_owners_keep_every_promise() {
    let bounds = Protocol { owners: 3, offsets: 4, epochs: 5, ..Protocol::AS_BUILT };
    let explored = explore(bounds);
    explored.assert_properties();
    assert!(explored.unique_state_count() > 900_000, "too little was explored to mean anything");
}

#[test]
fn two_owners_keep_every_promise_for_long() {
    let bounds = Protocol { owners: 2, offsets: 3, epochs: 8, ..Protocol::AS_BUILT };
    let explored = explore(bounds);
    explored.assert_properties();
    assert!(explored.unique_state_count() > 500_000, "too little was explored to mean anything");
}

#[test]
fn without_the_epoch_rows_stay_exact_but_an_owner_that_was_replaced_goes_on_saving() {
    let explored = explore(Protocol { compares_epoch: false, ..SMALL });
    assert_eq!(broken(&explored), [REPLACED_SAVES_NOTHING, OWNER_GOES_ON]);
    // The offset goes on to 1 and is moved back: to a zombie it looks as if nothing had happened.
    let zombie = [acquire(0), Begin { owner: 0, to: 1 }];
    let successor = [acquire(1), Begin { owner: 1, to: 1 }];
    let moved = [MoveOffset { to: 0 }];
    let story = [&zombie[..], &successor, &save(1), &moved, &save(0)].concat();
    explored.assert_discovery(REPLACED_SAVES_NOTHING, story);
}

#[test]
fn without_the_offset_a_batch_that_is_sent_again_is_saved_twice() {
    let sends_again = Protocol { after_unknown: AfterUnknown::SendsAgain, ..SMALL };
    let explored = explore(Protocol { compares_offset: false, ..sends_again });
    assert_eq!(broken(&explored), [EXACTLY_ONCE]);
    let unknown = [acquire(0), Begin { owner: 0, to: 1 }, Claim { owner: 0 }];
    let commits = [LoseAnswer { owner: 0 }, Resolve { commits: true }];
    explored.assert_discovery(EXACTLY_ONCE, [&unknown[..], &commits, &save(0)].concat());

    assert_eq!(broken(&explore(sends_again)), [""; 0], "the offset alone tells that it is saved");
}

#[test]
fn without_the_offset_the_epoch_holds_so_long_as_owners_reacquire() {
    let explored = explore(Protocol { compares_offset: false, ..SMALL });
    assert_eq!(broken(&explored), [""; 0]);
}

#[test]
fn without_both_a_zombie_saves_once_more_what_its_successor_saved() {
    let explored = explore(Protocol { compares_epoch: false, compares_offset: false, ..SMALL });
    assert_eq!(broken(&explored), [EXACTLY_ONCE, NO_HOLE, REPLACED_SAVES_NOTHING, OWNER_GOES_ON]);
    let zombie = [acquire(0), Begin { owner: 0, to: 1 }];
    let successor = [acquire(1), Begin { owner: 1, to: 1 }];
    let story = [&zombie[..], &successor, &save(1), &save(0)].concat();
    explored.assert_discovery(EXACTLY_ONCE, story);
}

#[test]
fn a_reacquire_that_does_not_compare_steals_from_the_successor() {
    let explored = explore(Protocol { after_unknown: AfterUnknown::Steals, ..SMALL });
    assert_eq!(broken(&explored), [REPLACED_SAVES_NOTHING, OWNER_GOES_ON]);
    let unknown = [acquire(0), Begin { owner: 0, to: 1 }, Claim { owner: 0 }];
    let aborts = [LoseAnswer { owner: 0 }, Resolve { commits: false }];
    let steals = [acquire(1), Reacquire { owner: 0, answered: true }];
    let story = [&unknown[..], &aborts, &steals, &save(0)].concat();
    explored.assert_discovery(REPLACED_SAVES_NOTHING, story);
}

/// A limit of the protocol: a promoted replica that lagged gives an epoch out twice, and an owner
/// that it forgot may save where its successor would have. Rows stay exact, by the offset alone.
#[test]
fn after_a_promotion_rows_are_exact_though_an_epoch_is_given_out_twice() {
    let explored = explore(PROMOTED);
    assert_eq!(broken(&explored), [REPLACED_SAVES_NOTHING, OWNER_GOES_ON]);
    let forgotten = [FallBehind, acquire(0), Begin { owner: 0, to: 1 }, FailOver];
    let story = [&forgotten[..], &[acquire(1)], &save(0)].concat();
    explored.assert_discovery(REPLACED_SAVES_NOTHING, story);

    let explored = explore(Protocol { compares_offset: false, ..PROMOTED });
    assert_eq!(broken(&explored), [EXACTLY_ONCE, NO_HOLE, REPLACED_SAVES_NOTHING, OWNER_GOES_ON]);
    // The first batch is lost with the server, the second is saved.
    let lost = [acquire(0), FallBehind, Begin { owner: 0, to: 1 }];
    let next = [Begin { owner: 0, to: 2 }, FailOver];
    explored.assert_discovery(NO_HOLE, [&lost[..], &save(0), &next, &save(0)].concat());
}

#[test]
fn the_owner_beside_the_epoch_would_tell_an_epoch_that_is_given_out_twice() {
    let explored = explore(Protocol { compares_owner: true, ..PROMOTED });
    // An owner may have been fenced by what the replica then forgot.
    assert_eq!(broken(&explored), [OWNER_GOES_ON]);
}

fn explore(protocol: Protocol) -> impl Checker<Protocol> {
    let explored = protocol.checker().threads(2).symmetry().spawn_dfs().join();
    println!("{} worlds of {protocol:?}", explored.unique_state_count());
    explored
}

/// The promises that do not hold, in their order.
fn broken(explored: &impl Checker<Protocol>) -> Vec<&'static str> {
    let is_broken = |name: &&'static str| explored.discovery(name).is_some();
    let promises = [EXACTLY_ONCE, NO_HOLE, REPLACED_SAVES_NOTHING, OWNER_GOES_ON];
    promises.into_iter().filter(is_broken).collect()
}

fn acquire(owner: usize) -> Step {
    Acquire { owner, answered: true }
}

/// What `owner` has in hand.
fn save(owner: usize) -> [Step; 2] {
    [Claim { owner }, Commit { owner }]
}
