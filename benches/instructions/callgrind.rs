//! Runs a stage of this very program under valgrind, and reads what was counted.

use std::env;
use std::fs;
use std::io;
use std::path::Path;
use std::process::Command;
use std::sync::Mutex;
use std::thread;

use anyhow::{Context, bail};

use crate::records::BATCH_RECORDS;
use crate::stages::Stage;

/// Rounds of the first run; the second one has twice as many.
const ROUNDS: usize = 2;

/// More at a time would need much memory.
const RUNS_AT_A_TIME: usize = 4;

/// Settings of glibc under which counts repeat. Valgrind counts an instruction that copies a whole
/// string once for each byte, so none is used; and large allocations are always mapped, so that
/// it does not depend on what lies behind them whether growing copies.
const TUNABLES: &str = "glibc.cpu.x86_rep_movsb_threshold=1000000000:\
                        glibc.cpu.x86_rep_stosb_threshold=1000000000:\
                        glibc.malloc.mmap_threshold=131072";

/// Instructions per record at `stages`, in their order: by how much the counts of a run and of one
/// twice as long differ. What comes up once, such as a lock's first use, is in both of them.
pub(crate) fn count(stages: &[Stage]) -> anyhow::Result<Vec<f64>> {
    let directory = tempfile::tempdir().context("cannot make a directory for the counts")?;
    let runs = stages.iter().flat_map(|stage| [(*stage, ROUNDS), (*stage, 2 * ROUNDS)]);
    let counts = run_all(&runs.collect::<Vec<_>>(), directory.path())?;
    let per_record = |pair: &[u64]| {
        let [short, long] = [pair[0], pair[1]];
        long.saturating_sub(short) as f64 / (ROUNDS * BATCH_RECORDS) as f64
    };
    Ok(counts.chunks(2).map(per_record).collect())
}

/// The counts of all runs, as many at a time as there are cores: each counts for itself.
fn run_all(runs: &[(Stage, usize)], directory: &Path) -> anyhow::Result<Vec<u64>> {
    let todo = Mutex::new(runs.iter().enumerate());
    let counts = Mutex::new(vec![Ok(0); runs.len()]);
    let next = || todo.lock().expect("nobody panics with it").next();
    let work = || {
        while let Some((index, (stage, rounds))) = next() {
            let file = directory.join(index.to_string());
            let count = run(*stage, *rounds, &file).map_err(|error| format!("{error:#}"));
            counts.lock().expect("nobody panics with it")[index] = count;
        }
    };
    let cores = thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| (0..cores.min(RUNS_AT_A_TIME)).for_each(|_| drop(scope.spawn(work))));
    let counts = counts.into_inner().expect("nobody panics with it").into_iter();
    counts.map(|count| count.map_err(anyhow::Error::msg)).collect()
}

/// Does `rounds` rounds of `stage` under valgrind, which writes its counts to `file`.
fn run(stage: Stage, rounds: usize, file: &Path) -> anyhow::Result<u64> {
    let program = env::current_exe().context("cannot tell where this program lies")?;
    let output = Command::new("valgrind")
        .arg("--tool=callgrind")
        // Only what is done within the rounds, and by their thread.
        .arg("--toggle-collect=*counted_rounds*")
        .arg(format!("--callgrind-out-file={}", file.display()))
        .arg(program)
        .args(["--stage", stage.name(), "--rounds", &rounds.to_string()])
        .env("GLIBC_TUNABLES", TUNABLES)
        .output();
    let output = match output {
        Err(error) if error.kind() == io::ErrorKind::NotFound => bail!(
            "valgrind is missing, which counts the instructions. On Debian or Ubuntu: \
             sudo apt-get install valgrind"
        ),
        output => output.context("cannot start valgrind")?,
    };
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("the stage {} failed under valgrind:\n{said}", stage.name());
    }
    let text = fs::read_to_string(file).context("valgrind has left no counts")?;
    match total(&text) {
        Some(count) if count > 0 => Ok(count),
        _ => bail!("valgrind has counted nothing at the stage {}: is it stripped?", stage.name()),
    }
}

/// The sum over all functions.
fn total(counts: &str) -> Option<u64> {
    let total = |line: &str| line.strip_prefix("totals:")?.trim().parse().ok();
    counts.lines().rev().find_map(total)
}
