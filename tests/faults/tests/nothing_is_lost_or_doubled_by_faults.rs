//! A short soak with fixed seeds: about five minutes of faults on one broker and on three. The long
//! one is `scripts/soak`.

use std::io::Write as _;
use std::path::PathBuf;

use longshore_faults::Subject;
use longshore_faults::instance::Program;
use longshore_faults::run::{self, Plan};
use longshore_faults::subjects::{AdsSubject, AppendSubject, PaymentsSubject, Poisons};

/// One after the other: each wants the whole machine.
#[test]
fn each_record_is_settled_once_whatever_breaks() {
    if !servers_can_be_had() {
        return;
    }
    soak(&plan(Size { seed: 4, faults: 20, records: 60_000, instances: 2, brokers: 1 }));
    soak(&plan(Size { seed: 5, faults: 18, records: 60_000, instances: 3, brokers: 3 }));
}

/// The numbers of a run.
#[derive(Clone, Copy)]
struct Size {
    seed: u64,
    faults: usize,
    records: u64,
    instances: u32,
    brokers: u32,
}

fn soak(plan: &Plan) {
    let append = AppendSubject::new(plan.seed, Poisons::default());
    let subjects: Vec<Box<dyn Subject>> = vec![
        Box::new(append),
        Box::new(AdsSubject::new(plan.seed)),
        Box::new(PaymentsSubject::new(plan.seed)),
    ];
    let verdict = run::run(plan, subjects).unwrap_or_else(|error| panic!("{error:#}"));
    assert!(verdict.findings.is_empty(), "{}", verdict.summary);
    say(&verdict.summary);
}

fn plan(size: Size) -> Plan {
    let Size { seed, faults, records, instances, brokers } = size;
    let again = format!(
        "scripts/soak --seed {seed} --faults {faults} --records {records} \
         --instances {instances} --brokers {brokers}"
    );
    let binary = PathBuf::from(env!("CARGO_BIN_EXE_longshore-faults-instance"));
    Plan {
        seed,
        faults,
        records,
        instances,
        brokers,
        only: String::new(),
        deaths_are_expected: false,
        measure: false,
        keep: false,
        program: Program { binary, environment: Vec::new() },
        again,
    }
}

/// The run brings its own servers; the variable says that this machine is to have any.
#[expect(clippy::disallowed_methods, reason = "the tests are configured by the environment alone")]
fn servers_can_be_had() -> bool {
    let can = std::env::var("LONGSHORE_TEST_BROKERS").is_ok_and(|value| !value.is_empty());
    if !can {
        say("left out: the soak of faults: LONGSHORE_TEST_BROKERS is not set\n");
    }
    can
}

/// Straight to the handle, because the harness swallows what a passing test prints by macro.
fn say(text: &str) {
    let _ = std::io::stderr().write_all(text.as_bytes());
}
