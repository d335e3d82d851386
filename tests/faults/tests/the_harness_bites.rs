//! Deliberate bugs of the product, each found by the harness: a check that has never failed proves
//! nothing. Needs the feature `faults`, which has the bugs, and takes minutes.

use std::path::PathBuf;

use longshore_faults::Subject;
use longshore_faults::instance::Program;
use longshore_faults::run::{self, Plan};
use longshore_faults::subjects::{AdsSubject, AppendSubject, Poisons};

/// A bug's name, the faults that bring it to light, and a seed. A lost notice is healed by the
/// product, after a minute: it is found by what the log says of that, see
/// `longshore_faults::check`.
const BUGS: [(&str, &str, u64); 6] = [
    ("fence-off", "hung", 11),
    ("last-batch-first", "database", 10),
    ("lost-notice", "panic", 9),
    ("offset-before-rows", "kill", 12),
    ("resend-reversed", "panic", 13),
    ("ticket-leak", "", 14),
];

#[test]
#[ignore = "takes more than a minute a bug; run it with -- --ignored"]
#[expect(clippy::disallowed_methods, reason = "the tests are configured by the environment alone")]
fn every_deliberate_bug_is_found() {
    if std::env::var("LONGSHORE_TEST_BROKERS").is_ok_and(|value| !value.is_empty()) {
        BUGS.iter().for_each(|(bug, only, seed)| is_found(bug, only, *seed));
    }
}

fn is_found(bug: &str, only: &str, seed: u64) {
    let append = AppendSubject::new(seed, Poisons::default());
    let subjects: Vec<Box<dyn Subject>> = vec![Box::new(append), Box::new(AdsSubject::new(seed))];
    let verdict = run::run(&plan(bug, only, seed), subjects);
    let verdict = verdict.unwrap_or_else(|error| panic!("{bug}: {error:#}"));
    assert!(!verdict.findings.is_empty(), "{bug} was not found:\n{}", verdict.summary);
}

fn plan(bug: &str, only: &str, seed: u64) -> Plan {
    let binary = PathBuf::from(env!("CARGO_BIN_EXE_longshore-faults-instance"));
    let environment = vec![("LONGSHORE_BUG".to_owned(), bug.to_owned())];
    Plan {
        seed,
        faults: 10,
        records: 30_000,
        instances: 2,
        brokers: 1,
        only: only.to_owned(),
        deaths_are_expected: false,
        measure: false,
        keep: false,
        program: Program { binary, environment },
        again: format!("scripts/soak --seed {seed} --faults 10 --only '{only}' --bug {bug}"),
    }
}
