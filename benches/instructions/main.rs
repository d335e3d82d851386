//! Instructions per record, stage by stage: the guard against code that gets slower. Times say
//! little on a machine that others use; what the same records make the processor do repeats.
//!
//! `scripts/instructions --help`. What is counted, and what is not: docs/instructions.md.

mod callgrind;
mod canned;
mod committed;
mod records;
mod stages;

use std::env::consts::ARCH;
use std::process::ExitCode;

use anyhow::bail;
use clap::Parser;

use self::committed::{Committed, TOLERANCE};
use self::stages::Stage;

/// Counts instructions per record of the ads pipeline, by valgrind, and shows how far they are from
/// the counts that are committed in benches/instructions.toml.
///
/// What each stage is: docs/instructions.md.
#[derive(Debug, Parser)]
#[command(bin_name = "scripts/instructions")]
struct Arguments {
    /// Fails if a stage is off by more than 5 %, either way
    #[arg(long, conflicts_with = "write")]
    check: bool,
    /// Writes the counts, to be committed
    #[arg(long)]
    write: bool,
    /// Runs one stage, to be counted from outside
    #[arg(long, hide = true, requires = "rounds")]
    stage: Option<Stage>,
    #[arg(long, hide = true)]
    rounds: Option<usize>,
    /// Given by `cargo bench`
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if let (Some(stage), Some(rounds)) = (arguments.stage, arguments.rounds) {
        stage.run(rounds);
        return ExitCode::SUCCESS;
    }
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let fits = cfg!(debug_assertions);
    if !fits && (arguments.check || arguments.write) {
        bail!("the committed counts are of the dev profile: run scripts/instructions");
    }
    if let Some(arch) = arguments.check.then(Committed::read).transpose()?.and_then(foreign) {
        eprintln!("the committed counts are of {arch}: on {ARCH} there is nothing to check");
        return Ok(());
    }
    let committed = Committed::read().ok().filter(|committed| fits && committed.is_of_this_arch());
    let counts = callgrind::count(&Stage::ALL)?;
    let counts: Vec<_> = Stage::ALL.into_iter().zip(counts).collect();
    println!("instructions per record, profile {}, {ARCH}", if fits { "dev" } else { "bench" });
    println!("{:<10}{:>10}{:>12}{:>12}", "stage", "counted", "committed", "difference");
    for (stage, count) in &counts {
        println!("{}", line(*stage, *count, committed.as_ref()));
    }
    if arguments.write {
        return committed::write(&counts);
    }
    if arguments.check { check(&counts) } else { Ok(()) }
}

/// The processor of `committed`, if it is another than this.
fn foreign(committed: Committed) -> Option<String> {
    (!committed.is_of_this_arch()).then_some(committed.arch)
}

fn line(stage: Stage, count: f64, committed: Option<&Committed>) -> String {
    let (name, before) = (stage.name(), committed.and_then(|committed| committed.at(stage)));
    match before {
        Some(before) => {
            let difference = 100.0 * (count / before - 1.0);
            format!("{name:<10}{count:>10.0}{before:>12.0}{difference:>+10.1} %")
        }
        None => format!("{name:<10}{count:>10.0}{:>12}", "-"),
    }
}

/// Fails with what to do unless all counts are as they were.
fn check(counts: &[(Stage, f64)]) -> anyhow::Result<()> {
    let committed = Committed::read()?;
    let is_off = |(stage, count): &&(Stage, f64)| {
        committed.at(*stage).is_none_or(|before| (count / before - 1.0).abs() > TOLERANCE)
    };
    let off: Vec<_> = counts.iter().filter(is_off).map(|(stage, _)| stage.name()).collect();
    if off.is_empty() {
        return Ok(());
    }
    let stages = off.join(", ");
    let cause = if committed.is_of_this_compiler() {
        "If that was meant, or is a gain".to_owned()
    } else {
        let (before, now) = (&committed.rustc, committed::rustc());
        format!("The committed counts are of rustc {before}, this is {now}. If it is the compiler")
    };
    bail!(
        "off by more than {:.0} %: {stages}. {cause}, run scripts/instructions --write, and say \
         why in the commit; else see what has changed on the way of a record",
        100.0 * TOLERANCE
    )
}
