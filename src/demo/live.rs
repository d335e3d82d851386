//! The live line: rows, rate, lag, parked. Written over itself on a terminal, now and then
//! elsewhere.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{HumanCount, ProgressBar, ProgressStyle};
use longshore_actors::conservation::Settled;

/// How often a line is printed where it cannot be written over.
const PRINT_INTERVAL: Duration = Duration::from_secs(2);

/// How far back the rate looks.
const RATE_WINDOW: Duration = Duration::from_secs(2);

pub(super) struct LiveLine {
    bar: Option<ProgressBar>,
    begun: Instant,
    printed: Instant,
    /// When and with how many rows the rate's window began.
    window: (Instant, u64),
    rate: f64,
    first_row: Option<Duration>,
}

impl LiveLine {
    /// A line for a feed of `records`, if they are known.
    pub(super) fn new(records: Option<u64>) -> Self {
        let now = Instant::now();
        let bar = std::io::stderr().is_terminal().then(|| bar(records));
        Self { bar, begun: now, printed: now, window: (now, 0), rate: 0.0, first_row: None }
    }

    /// Shows where things stand.
    pub(super) fn show(&mut self, settled: Settled, sent: u64) {
        self.measure(settled.saved);
        let line = format!(
            "{} rows, {}/s, lag {}, {} duplicates, {} skipped, {} parked",
            HumanCount(settled.saved),
            HumanCount(self.rate as u64),
            HumanCount(sent.saturating_sub(settled.total())),
            HumanCount(settled.duplicate),
            HumanCount(settled.skipped),
            HumanCount(settled.parked),
        );
        match &self.bar {
            Some(bar) => {
                bar.set_position(settled.total());
                bar.set_message(line);
            }
            None if self.printed.elapsed() >= PRINT_INTERVAL => {
                self.printed = Instant::now();
                println!("{line}");
            }
            None => {}
        }
    }

    fn measure(&mut self, rows: u64) {
        if rows > 0 && self.first_row.is_none() {
            let took = self.begun.elapsed();
            self.first_row = Some(took);
            self.say(&format!(
                "first row saved {:.2} s after the service started",
                took.as_secs_f64()
            ));
        }
        let window = self.window.0.elapsed();
        if window >= RATE_WINDOW || self.rate == 0.0 {
            self.rate = (rows - self.window.1) as f64 / window.as_secs_f64().max(0.001);
        }
        if window >= RATE_WINDOW {
            self.window = (Instant::now(), rows);
        }
    }

    fn say(&self, line: &str) {
        match &self.bar {
            Some(bar) => bar.println(line),
            None => println!("{line}"),
        }
    }

    /// Ends the line.
    pub(super) fn end(&self, word: &str) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
        println!("{word}");
    }
}

fn bar(records: Option<u64>) -> ProgressBar {
    let (bar, template) = match records {
        Some(records) => (ProgressBar::new(records), "{bar:30} {percent:>3}%  {msg}"),
        None => (ProgressBar::new_spinner(), "{spinner} {msg}"),
    };
    bar.set_style(ProgressStyle::with_template(template).expect("the template is constant"));
    bar
}
