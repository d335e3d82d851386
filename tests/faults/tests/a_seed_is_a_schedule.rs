//! A schedule can be run again from its seed, has every kind of fault, and breaks one thing once at
//! a time.

use std::collections::BTreeSet;

use longshore_faults::schedule::{Dimensions, Fault, Step, draw};

const SIZE: Dimensions<'_> =
    Dimensions { faults: 120, instances: 3, brokers: 3, panics: true, only: "" };

#[test]
fn the_same_seed_gives_the_same_schedule_and_another_one_another() {
    assert_eq!(lines(&draw(1, &SIZE)), lines(&draw(1, &SIZE)));
    assert_ne!(lines(&draw(1, &SIZE)), lines(&draw(2, &SIZE)));
}

#[test]
fn every_kind_that_is_possible_comes_early() {
    let kinds = |size: &Dimensions<'_>| {
        let steps = draw(3, size);
        steps.iter().take(21).map(|step| step.fault.kind()).collect::<BTreeSet<_>>()
    };
    assert_eq!(kinds(&SIZE).len(), 21);
    let alone = kinds(&Dimensions { instances: 1, brokers: 1, panics: false, ..SIZE });
    assert!(alone.iter().all(|kind| !kind.contains("storm") && !kind.contains("panic")));
}

#[test]
fn an_instance_has_one_fault_at_a_time() {
    for seed in 0..50 {
        let steps = draw(seed, &SIZE);
        for number in 1..=3 {
            let of = |step: &&Step| match step.fault {
                Fault::Kill(n)
                | Fault::Freeze(n)
                | Fault::Zombie(n)
                | Fault::Hang(n)
                | Fault::Leave(n) => n == number,
                Fault::Storm(_) => true,
                _ => false,
            };
            let mine = steps.iter().filter(of).collect::<Vec<_>>();
            for pair in mine.windows(2) {
                assert!(pair[0].at + pair[0].lasts <= pair[1].at, "seed {seed}: {pair:?}");
            }
        }
    }
}

fn lines(steps: &[Step]) -> Vec<String> {
    steps.iter().map(ToString::to_string).collect()
}
