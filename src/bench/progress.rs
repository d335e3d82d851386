//! What a person sees while it runs: a line written over itself on a terminal, a line for each step
//! elsewhere. On standard error, because standard output is for the results.

use std::io::{IsTerminal, stderr};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

/// How often the line is written anew while nothing else moves it.
const TICK: Duration = Duration::from_millis(200);

/// Shows how far it is.
pub(crate) struct Progress {
    is_terminal: bool,
}

/// One step under way; it is gone from the terminal when it is dropped.
pub(super) struct Step {
    bar: ProgressBar,
}

impl Progress {
    /// On standard error.
    pub(crate) fn new() -> Self {
        Self { is_terminal: stderr().is_terminal() }
    }

    /// A line that stays.
    pub(crate) fn say(&self, line: &str) {
        eprintln!("{line}");
    }

    /// Begins a step with so many records to do; 0: nobody knows.
    pub(super) fn step(&self, what: &str, records: u64) -> Step {
        if !self.is_terminal {
            eprintln!("{what}");
            return Step { bar: ProgressBar::hidden() };
        }
        let (bar, template) = match records {
            0 => (ProgressBar::new_spinner(), "{spinner} {msg}  {elapsed}"),
            _ => (ProgressBar::new(records), "{bar:30} {percent:>3}%  {msg}  {per_sec}"),
        };
        bar.set_style(ProgressStyle::with_template(template).expect("the template is constant"));
        bar.set_message(what.to_owned());
        bar.enable_steady_tick(TICK);
        Step { bar }
    }
}

impl Step {
    /// So many are done.
    pub(super) fn done(&self, records: u64) {
        self.bar.set_position(records);
    }
}

impl Drop for Step {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
