//! The counts that are committed, and what they hold for.

use std::collections::BTreeMap;
use std::env::consts::ARCH;
use std::fmt::Write as _;
use std::fs;
use std::process::Command;

use anyhow::Context;
use figment::Figment;
use figment::providers::{Format, Toml};
use serde::Deserialize;

use crate::stages::Stage;

/// How far a count may be off, either way.
pub(crate) const TOLERANCE: f64 = 0.05;

const PATH: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/instructions.toml");

const HEAD: &str = "\
# Instructions per record at each stage of the ads pipeline, in the dev profile.
# Written by `scripts/instructions --write`; docs/instructions.md says what they are.
";

/// See the module.
#[derive(Debug, Deserialize)]
pub(crate) struct Committed {
    /// The compiler that they were counted with.
    pub(crate) rustc: String,
    /// The processor that they are instructions of.
    pub(crate) arch: String,
    per_record: BTreeMap<String, f64>,
}

impl Committed {
    /// Reads them.
    pub(crate) fn read() -> anyhow::Result<Self> {
        let figment = Figment::from(Toml::file_exact(PATH));
        figment.extract().with_context(|| format!("cannot read {PATH}"))
    }

    /// What a stage is to count, if it ever did.
    pub(crate) fn at(&self, stage: Stage) -> Option<f64> {
        self.per_record.get(stage.name()).copied()
    }

    /// Whether they were counted as they would be here.
    pub(crate) fn is_of_this_compiler(&self) -> bool {
        self.rustc == rustc()
    }

    /// Whether they can be compared with counts of this machine.
    pub(crate) fn is_of_this_arch(&self) -> bool {
        self.arch == ARCH
    }
}

/// Puts `counts` in the place of what was committed.
pub(crate) fn write(counts: &[(Stage, f64)]) -> anyhow::Result<()> {
    let mut text = format!("{HEAD}\nrustc = {:?}\narch = {ARCH:?}\n\n[per_record]\n", rustc());
    for (stage, count) in counts {
        // Writing into a string cannot fail.
        let _ = writeln!(text, "{} = {count:.1}", stage.name());
    }
    fs::write(PATH, text).with_context(|| format!("cannot write {PATH}"))
}

/// The compiler's version, such as `1.95.0`.
pub(crate) fn rustc() -> String {
    let said = Command::new("rustc").arg("--version").output().ok();
    let said = said.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
    let version = said.as_deref().and_then(|said| said.split_whitespace().nth(1));
    version.unwrap_or("unknown").to_owned()
}
