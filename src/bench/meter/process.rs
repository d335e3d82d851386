//! A process as `/proc` shows it: its CPU, that of its threads by stage, its peak memory.

use std::collections::{BTreeMap, HashMap};
use std::fs;

/// Clock ticks in a second, which Linux promises to programs.
const TICKS: f64 = 100.0;

/// What `/proc/PID/stat` says.
pub(super) struct Stat {
    /// Its short name.
    pub(super) name: String,
    /// Its parent.
    pub(super) parent: u32,
    /// CPU seconds of its own so far.
    pub(super) cpu: f64,
}

/// Looks at a process; `None` if it is not there, or this is no Linux.
pub(super) fn stat(pid: u32) -> Option<Stat> {
    read_stat(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

fn read_stat(text: &str) -> Option<Stat> {
    // The name stands in brackets and may contain anything.
    let (head, rest) = text.rsplit_once(") ")?;
    let name = head.split_once('(')?.1.to_owned();
    let fields = rest.split_whitespace().collect::<Vec<_>>();
    let number = |index: usize| fields.get(index)?.parse::<f64>().ok();
    let cpu = (number(11)? + number(12)?) / TICKS;
    Some(Stat { name, parent: number(1)? as u32, cpu })
}

/// CPU seconds of one thread, finer than ticks, of which one that is seldom awake hardly gets any.
/// `None` where the system does not tell.
pub(super) fn fine_cpu(directory: &str) -> Option<f64> {
    let text = fs::read_to_string(format!("{directory}/schedstat")).ok()?;
    let nanoseconds = text.split_whitespace().next()?.parse::<f64>().ok()?;
    Some(nanoseconds / 1e9)
}

/// All processes.
pub(super) fn all() -> Vec<u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}

/// CPU seconds of this process so far.
pub(in crate::bench) fn own_cpu_seconds() -> Option<f64> {
    stat(std::process::id()).map(|stat| stat.cpu)
}

/// Measures one process from a moment on.
pub(in crate::bench) struct ProcessMeter {
    pid: u32,
    cpu_before: Option<f64>,
    threads_before: HashMap<u32, f64>,
}

impl ProcessMeter {
    /// Measures `pid` from now on.
    pub(in crate::bench) fn start(pid: u32) -> Self {
        let before = threads(pid).into_iter().map(|(id, _, cpu)| (id, cpu));
        let cpu_before = stat(pid).map(|stat| stat.cpu);
        Self { pid, cpu_before, threads_before: before.collect() }
    }

    /// CPU seconds since then.
    pub(in crate::bench) fn cpu(&self) -> Option<f64> {
        Some(stat(self.pid)?.cpu - self.cpu_before?)
    }

    /// The same by the stage that a thread belongs to; what threads took that have ended is left
    /// out.
    pub(in crate::bench) fn stages(&self) -> BTreeMap<String, f64> {
        let mut stages = BTreeMap::new();
        for (id, name, cpu) in threads(self.pid) {
            let before = self.threads_before.get(&id).copied().unwrap_or(0.0);
            *stages.entry(stage_of(&name).to_owned()).or_insert(0.0) += cpu - before;
        }
        stages.retain(|_, cpu| *cpu > 0.0);
        stages
    }

    /// The most memory that it ever had resident, in bytes.
    pub(in crate::bench) fn peak_bytes(&self) -> Option<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid)).ok()?;
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
        Some(peak.split_whitespace().next()?.parse::<u64>().ok()? * 1024)
    }
}

/// Id, name and CPU seconds of each thread.
fn threads(pid: u32) -> Vec<(u32, String, f64)> {
    let entries = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let thread = |id: u32| {
        let directory = format!("/proc/{pid}/task/{id}");
        let stat = read_stat(&fs::read_to_string(format!("{directory}/stat")).ok()?)?;
        Some((id, stat.name, fine_cpu(&directory).unwrap_or(stat.cpu)))
    };
    entries.filter_map(|entry| thread(entry.file_name().to_str()?.parse().ok()?)).collect()
}

/// The stages of the way, and who works beside it.
pub(super) const STAGES: [&str; 9] = [
    "librdkafka: fetch, checksum",
    "consumer: read batches",
    "partitions: decode",
    "context: look up",
    "work: rows",
    "save: sort, send",
    "database sockets",
    "other actors",
    "other",
];

/// The stage that a thread works for, by its name: the system keeps 15 bytes of one.
fn stage_of(thread: &str) -> &'static str {
    let stage = match thread {
        name if name.starts_with("rdk:") => 0,
        name if name.starts_with("longshore-cons") => 1,
        "partitions" => 2,
        "context" => 3,
        "work" => 4,
        "save" => 5,
        name if name.starts_with("longshore-data") => 6,
        "pool" | "acquire" | "relay" | "watch" | "supervise" | "own-actors" => 7,
        _ => 8,
    };
    STAGES[stage]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_brackets_and_blanks_is_read() {
        let text = "7 (a (b) c) S 3 7 7 0 -1 4194304 100 0 0 0 250 50 0 0 20 0 1 0 100 0 0";
        let stat = read_stat(text).unwrap();
        assert_eq!((stat.name.as_str(), stat.parent, stat.cpu), ("a (b) c", 3, 3.0));
    }

    #[test]
    fn stages_are_told_by_the_names_that_the_system_keeps() {
        assert_eq!(stage_of("rdk:broker1"), "librdkafka: fetch, checksum");
        assert_eq!(stage_of("longshore-consu"), "consumer: read batches");
        assert_eq!(stage_of("longshore-datab"), "database sockets");
        assert_eq!(stage_of("longshore"), "other");
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn this_process_has_cpu_and_memory() {
        let meter = ProcessMeter::start(std::process::id());
        assert!(meter.cpu().unwrap() >= 0.0);
        assert!(meter.peak_bytes().unwrap() > 1_000_000);
    }
}
