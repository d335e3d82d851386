//! Measures one run: time, CPU of the program and of the database server, peak memory. From
//! `/proc`, so that CPU and memory are left out elsewhere and for servers in containers.

use std::fs;
use std::time::Instant;

use crate::support::database::Database;

/// Clock ticks in a second, which Linux promises to programs.
const TICKS: f64 = 100.0;

/// A running measurement.
#[derive(Debug)]
pub(crate) struct Meter {
    begun: Instant,
    server_begun: Option<f64>,
    /// CPU of this program before, if it is itself what is measured.
    own_begun: Option<f64>,
    cpu: Option<f64>,
    peak_kib: Option<u64>,
}

impl Meter {
    pub(crate) fn start(database: &Database) -> Self {
        let (own_begun, server_begun) = (cpu_of(std::process::id()), server_cpu(database));
        Self { begun: Instant::now(), server_begun, own_begun, cpu: None, peak_kib: None }
    }

    /// Looks at the measured program; what it was last stays when it ends.
    pub(crate) fn sample(&mut self, pid: u32) {
        if pid == std::process::id() {
            // Its memory is mostly the rows that were made beforehand, and tells nothing.
            self.cpu = cpu_of(pid).zip(self.own_begun).map(|(after, before)| after - before);
            return;
        }
        self.cpu = cpu_of(pid).or(self.cpu);
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let peak = peak.and_then(|rest| rest.split_whitespace().next()?.parse().ok());
        self.peak_kib = peak.or(self.peak_kib);
    }

    pub(crate) fn stop(self, database: &Database) -> Measured {
        let seconds = self.begun.elapsed().as_secs_f64();
        let server = server_cpu(database).zip(self.server_begun);
        let server = server.map(|(after, before)| after - before);
        Measured { seconds, cpu: self.cpu, server, peak_kib: self.peak_kib }
    }
}

/// What one run took.
#[derive(Debug)]
pub(crate) struct Measured {
    seconds: f64,
    cpu: Option<f64>,
    server: Option<f64>,
    peak_kib: Option<u64>,
}

impl Measured {
    /// Prints it, and gives the rate.
    pub(crate) fn tell(&self, who: &str, records: usize) -> f64 {
        let rate = records as f64 / self.seconds;
        let per_million = |cpu: Option<f64>| {
            cpu.map_or("?".to_owned(), |cpu| format!("{:.2}", cpu / records as f64 * 1e6))
        };
        let peak = self.peak_kib.map_or("?".to_owned(), |kib| format!("{}", kib / 1024));
        println!(
            "{who:8} {:6.1} s  {rate:8.0}/s  CPU s/M: own {}, server {}  peak {peak} MiB",
            self.seconds,
            per_million(self.cpu),
            per_million(self.server),
        );
        rate
    }
}

/// CPU seconds of a process so far, without its children.
fn cpu_of(pid: u32) -> Option<f64> {
    Some(stat(pid)?.own_ticks / TICKS)
}

/// CPU seconds of the database server so far: its main process, the sessions that have ended, and
/// those that live.
fn server_cpu(database: &Database) -> Option<f64> {
    let rows = database.query("select pg_read_file('postmaster.pid')", &[]);
    let main = rows[0].get::<_, &str>(0).lines().next()?.trim().parse::<u32>().ok()?;
    let of_main = stat(main).filter(|stat| stat.name == "postgres")?;
    let processes = fs::read_dir("/proc").ok()?.flatten();
    let pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let alive = pids.filter_map(stat).filter(|stat| stat.parent == main);
    let alive = alive.map(|stat| stat.own_ticks).sum::<f64>();
    Some((of_main.own_ticks + of_main.ended_children_ticks + alive) / TICKS)
}

struct Stat {
    name: String,
    parent: u32,
    own_ticks: f64,
    ended_children_ticks: f64,
}

fn stat(pid: u32) -> Option<Stat> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name stands in brackets and may contain anything.
    let (head, rest) = text.rsplit_once(") ")?;
    let name = head.split_once('(')?.1.to_owned();
    let fields = rest.split_whitespace().collect::<Vec<_>>();
    let number = |index: usize| fields.get(index)?.parse::<f64>().ok();
    Some(Stat {
        name,
        parent: number(1)? as u32,
        own_ticks: number(11)? + number(12)?,
        ended_children_ticks: number(13)? + number(14)?,
    })
}
