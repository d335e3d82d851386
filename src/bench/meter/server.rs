//! CPU of the database server: the sessions in the bench's own database, found by their titles, and
//! what the server does besides (its writers, checkpoints, autovacuum).

use std::collections::{HashMap, HashSet};
use std::fs;

use super::process::{self, fine_cpu, stat};

/// Measures the server; knows nothing of one on another machine.
pub(in crate::bench) struct ServerMeter {
    database: String,
    /// Sessions of the bench that only look.
    lookers: HashSet<u32>,
    /// The server's main process, once a session has shown it.
    main: Option<u32>,
    before: HashMap<u32, f64>,
    /// What each process had taken when it was last seen: sessions end.
    seen: HashMap<u32, f64>,
}

impl ServerMeter {
    /// A meter of the sessions in `database`, but for those of `lookers`.
    pub(in crate::bench) fn new(database: &str, lookers: HashSet<u32>) -> Self {
        let (before, seen) = (HashMap::new(), HashMap::new());
        Self { database: database.to_owned(), lookers, main: None, before, seen }
    }

    /// Measures from now on.
    pub(in crate::bench) fn start(&mut self) {
        self.seen.clear();
        self.sample();
        self.before = self.seen.clone();
    }

    /// Looks at all processes of the server. Sessions that end between two looks are known as they
    /// were at the first.
    pub(in crate::bench) fn sample(&mut self) {
        let pids = process::all();
        if self.main.is_none() {
            let session = pids.iter().find(|pid| self.is_session(&title(**pid)));
            self.main = session.and_then(|pid| stat(*pid)).map(|stat| stat.parent);
        }
        let Some(main) = self.main else { return };
        for pid in pids.into_iter().filter(|pid| !self.lookers.contains(pid)) {
            let Some(stat) = stat(pid).filter(|stat| stat.parent == main) else { continue };
            let title = title(pid);
            if self.is_session(&title) || is_of_the_server(&title) {
                // Each has one thread.
                let cpu = fine_cpu(&format!("/proc/{pid}")).unwrap_or(stat.cpu);
                self.seen.insert(pid, cpu);
            }
        }
    }

    /// CPU seconds since the start, up to the last look; `None` if the server is elsewhere.
    pub(in crate::bench) fn cpu(&self) -> Option<f64> {
        self.main?;
        let before = |pid| self.before.get(pid).copied().unwrap_or(0.0);
        Some(self.seen.iter().map(|(pid, cpu)| cpu - before(pid)).sum())
    }

    fn is_session(&self, title: &str) -> bool {
        title.starts_with("postgres:") && title.split([' ', '\0']).any(|word| word == self.database)
    }
}

/// The line that a process of the server shows of itself.
fn title(pid: u32) -> String {
    let text = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    String::from_utf8_lossy(&text).into_owned()
}

fn is_of_the_server(title: &str) -> bool {
    let kinds = ["walwriter", "checkpointer", "background writer", "autovacuum launcher"];
    title.starts_with("postgres:") && kinds.iter().any(|kind| title.contains(kind))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sessions_are_told_by_the_database_in_their_title() {
        let meter = ServerMeter::new("longshore_bench_1", HashSet::new());
        assert!(meter.is_session("postgres: me longshore_bench_1 [local] COPY\0"));
        assert!(meter.is_session("postgres: longshore: me longshore_bench_1 127.0.0.1(4) idle"));
        assert!(!meter.is_session("postgres: me longshore_bench_11 [local] idle"));
        assert!(!meter.is_session("psql longshore_bench_1"));
        assert!(is_of_the_server("postgres: longshore: walwriter "));
        assert!(!is_of_the_server("postgres: me other [local] COPY"));
    }
}
