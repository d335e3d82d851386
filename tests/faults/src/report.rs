//! What happened in a run: printed while it happens, kept for the table at the end, and written to
//! `faults.log` beside the instances' logs, with times to compare with theirs.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::Result;
use indicatif::{ProgressBar, ProgressStyle};

use crate::instance::Exit;
use crate::schedule::{Fault, Step};

/// How many differences are told; the rest is counted.
const TOLD: usize = 20;

/// How many of a kind.
#[derive(Default)]
struct Count {
    made: u32,
    not_met: u32,
}

/// A run's story.
pub struct Story {
    begun: Instant,
    log: File,
    bar: ProgressBar,
    faults: BTreeMap<String, Count>,
    deaths: u32,
    findings: Vec<String>,
    measures: Vec<String>,
}

impl Story {
    /// The story of a run of so many faults, with its log in `directory`.
    ///
    /// # Errors
    /// The log cannot be written.
    pub fn begin(directory: &Path, faults: usize) -> Result<Self> {
        let path = directory.join("faults.log");
        let log = OpenOptions::new().create(true).append(true).open(path)?;
        let bar = ProgressBar::new(faults as u64);
        let style = "{elapsed_precise} [{bar:30}] {pos}/{len} faults  {msg}";
        bar.set_style(ProgressStyle::with_template(style)?);
        Ok(Self {
            begun: Instant::now(),
            log,
            bar,
            faults: BTreeMap::new(),
            deaths: 0,
            findings: Vec::new(),
            measures: Vec::new(),
        })
    }

    /// Tells a line.
    pub fn tell(&mut self, line: &str) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let (day, millis) = (now.as_secs() % 86_400, now.subsec_millis());
        let (hour, minute, second) = (day / 3600, day / 60 % 60, day % 60);
        // A story that cannot be written down is told all the same.
        let _ = writeln!(self.log, "{hour:02}:{minute:02}:{second:02}.{millis:03}Z {line}");
        if self.bar.is_hidden() {
            println!("{:8.1} s  {line}", self.begun.elapsed().as_secs_f64());
        } else {
            self.bar.println(line);
        }
    }

    /// Shows how far records have come.
    pub fn show(&self, acknowledged: u64) {
        self.bar.set_message(format!("{acknowledged} records fed"));
    }

    /// A fault of the schedule begins.
    pub fn begins(&mut self, step: &Step) {
        self.faults.entry(step.fault.kind()).or_default().made += 1;
        self.bar.inc(1);
        let number = self.bar.position();
        self.tell(&format!("fault {number}: {step}"));
    }

    /// A fault of the schedule is healed.
    pub fn heals(&mut self, step: &Step) {
        self.tell(&format!("healed: {:?}", step.fault));
    }

    /// A fault was asked for, and its occasion did not come.
    pub fn not_met(&mut self, fault: &Fault) {
        self.faults.entry(fault.kind()).or_default().not_met += 1;
        self.tell(&format!("not met: {fault:?}"));
    }

    /// A record has ended a process, as it should.
    pub fn death(&mut self, exit: &Exit) {
        self.deaths += 1;
        self.tell(&format!("instance {} was ended by a record: {}", exit.instance, exit.status));
    }

    /// Something is wrong.
    pub fn finding(&mut self, finding: String) {
        self.findings.push(finding);
        if self.findings.len() <= TOLD {
            self.tell(&format!("WRONG: {}", self.findings[self.findings.len() - 1]));
        }
    }

    /// A measure for the bars.
    pub fn measure(&mut self, what: &str, took: Duration, bar: Duration) {
        let verdict = if took <= bar { "within" } else { "ABOVE" };
        let (took, bar) = (took.as_secs_f64(), bar.as_secs_f64());
        let line = format!("{what}: {took:.2} s, {verdict} the bar of {bar:.0} s");
        self.tell(&line);
        self.measures.push(line);
    }

    /// What was wrong, and how many more there were.
    pub fn findings(&self) -> &[String] {
        &self.findings
    }

    /// The table of faults by kind, the measures, and what is wrong.
    pub fn summary(&self) -> String {
        let mut text = String::from("\nfaults by kind\n");
        for (kind, count) in &self.faults {
            // Writing into a string cannot fail.
            let _ = write!(text, "  {:5}  {kind}", count.made);
            if count.not_met > 0 {
                let _ = write!(text, " ({} not met: no such message came)", count.not_met);
            }
            text.push('\n');
        }
        let made = self.faults.values().map(|count| count.made).sum::<u32>();
        let _ = writeln!(text, "  {made:5}  in all");
        if self.deaths > 0 {
            let _ = writeln!(text, "  and {} processes were ended by records", self.deaths);
        }
        for measure in &self.measures {
            let _ = writeln!(text, "{measure}");
        }
        if !self.findings.is_empty() {
            let _ = writeln!(text, "\n{} findings:", self.findings.len());
        }
        for finding in self.findings.iter().take(TOLD) {
            let _ = writeln!(text, "  {finding}");
        }
        text
    }
}
