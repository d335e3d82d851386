//! The `longshore` binary: the pipelines that ship, behind the same door that a user's own binary
//! goes through.

use std::process::ExitCode;

use longshore::config::Kind;

const KINDS: [Kind; 2] = [
    Kind { name: "ads", default_topics: &["ads.events"] },
    Kind { name: "payments", default_topics: &["payments.transfers"] },
];

fn main() -> ExitCode {
    longshore::main(&KINDS)
}
