//! `longshore-faults`: the soak, as a command. `scripts/soak` builds and starts it.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result, ensure};
use clap::Parser;
use longshore_faults::instance::Program;
use longshore_faults::run::{self, Plan};
use longshore_faults::subjects::{AdsSubject, AppendSubject, PaymentsSubject, Poisons};
use longshore_faults::{Subject, wait};
use rand::Rng;

/// Breaks real servers, links and processes under real instances while records keep coming, and
/// checks at the end that every record was settled exactly once.
///
/// Everything is the run's own: PostgreSQL, Kafka, one to three instances, each with proxied links
/// to the servers. Records go to an append pipeline (a table without any key, where a doubled
/// record is seen, and a counter a key) and to the shipped pipelines, ads and payments. Poison is
/// among them: records that are malformed, rejected, refused by the database, or make `work` panic.
///
/// The schedule of faults is drawn from the seed: the same seed and numbers give the same faults at
/// the same times and the same records (how the program under test meets them may differ). Kinds:
/// an instance is killed, frozen, told to leave; storms of leaving and joining; a broker or
/// PostgreSQL is stopped or killed and started again; database sessions are terminated; PostgreSQL
/// takes no writes, or no connections; an instance's link to Kafka or PostgreSQL is cut,
/// black-holed or slow.
///
/// Exit status: 0 all is well, 1 something is wrong with the program under test, 2 the harness
/// itself could not go on. A failure prints the seed, and keeps the logs and the schedule.
#[derive(Debug, Parser)]
#[command(name = "scripts/soak", after_long_help = EXAMPLES)]
struct Arguments {
    /// How many faults: about 4 seconds each
    #[arg(long, default_value_t = 40)]
    faults: usize,
    /// Draws the schedule and the records; drawn itself if it is left out, and printed
    #[arg(long)]
    seed: Option<u64>,
    /// At least so many records, spread over the time that the faults take
    #[arg(long, default_value_t = 100_000)]
    records: u64,
    /// Instances of the program under test: 1 to 3
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=3))]
    instances: u32,
    /// Kafka brokers: 1, or 3 with replication, so that leaders move
    #[arg(long, default_value_t = 1, value_parser = parse_brokers)]
    brokers: u32,
    /// Only kinds of faults whose name in the table at the end contains this, such as `link to
    /// Kafka`
    #[arg(long, default_value = "")]
    only: String,
    /// So many records that end the process that works them: abort and stack overflow, in turn
    #[arg(long, default_value_t = 0)]
    deaths: u32,
    /// Measures in the end how fast saving goes on after PostgreSQL was away for 30 s, and after
    /// kill -9 of one of several instances
    #[arg(long)]
    measure: bool,
    /// Makes the instances wrong in this way (LONGSHORE_BUG): the check must find it
    #[arg(long)]
    bug: Option<String>,
    /// Keeps the logs also when all is well
    #[arg(long)]
    keep: bool,
    /// The program under test, instead of the harness's own
    #[arg(long)]
    program: Option<PathBuf>,
}

const EXAMPLES: &str = "\
Examples:
  scripts/soak --faults 20 --seed 1                        a few minutes
  scripts/soak --faults 200 --records 2000000 --measure --brokers 3 --instances 3
  scripts/soak --faults 20 --seed 1 --keep                 and look at the logs";

fn parse_brokers(text: &str) -> Result<u32, String> {
    match text {
        "1" => Ok(1),
        "3" => Ok(3),
        _ => Err("1 or 3".to_owned()),
    }
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match soak(&arguments) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(error) => {
            eprintln!("the harness could not go on: {error:#}");
            ExitCode::from(2)
        }
    }
}

fn soak(arguments: &Arguments) -> Result<bool> {
    listen_for_signals()?;
    let seed = arguments.seed.unwrap_or_else(|| rand::rng().random_range(1..1_000_000));
    let plan = plan(arguments, seed)?;
    let poisons = Poisons { deaths: arguments.deaths };
    let subjects: Vec<Box<dyn Subject>> = vec![
        Box::new(AppendSubject::new(seed, poisons)),
        Box::new(AdsSubject::new(seed)),
        Box::new(PaymentsSubject::new(seed)),
    ];
    let verdict = run::run(&plan, subjects)?;
    println!("{}", verdict.summary);
    Ok(verdict.findings.is_empty())
}

fn plan(arguments: &Arguments, seed: u64) -> Result<Plan> {
    let binary = match &arguments.program {
        Some(program) => program.canonicalize().context("--program")?,
        None => std::env::current_exe()?.with_file_name("longshore-faults-instance"),
    };
    ensure!(binary.is_file(), "{} is missing: start scripts/soak", binary.display());
    let bug = arguments.bug.iter().map(|bug| ("LONGSHORE_BUG".to_owned(), bug.clone()));
    Ok(Plan {
        seed,
        faults: arguments.faults,
        records: arguments.records,
        instances: arguments.instances,
        brokers: arguments.brokers,
        only: arguments.only.clone(),
        deaths_are_expected: arguments.deaths > 0,
        measure: arguments.measure,
        keep: arguments.keep,
        program: Program { binary, environment: bug.collect() },
        again: again(arguments, seed),
    })
}

fn again(arguments: &Arguments, seed: u64) -> String {
    let mut line = format!(
        "scripts/soak --seed {seed} --faults {} --records {} --instances {} --brokers {}",
        arguments.faults, arguments.records, arguments.instances, arguments.brokers
    );
    if !arguments.only.is_empty() {
        line += &format!(" --only '{}'", arguments.only);
    }
    if arguments.deaths > 0 {
        line += &format!(" --deaths {}", arguments.deaths);
    }
    if arguments.measure {
        line += " --measure";
    }
    if let Some(bug) = &arguments.bug {
        line += &format!(" --bug {bug}");
    }
    line
}

/// Ctrl-C and SIGTERM end the run at its next look, and everything that it started with it.
fn listen_for_signals() -> Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (mut interrupt, mut terminate) = {
        let _inside = runtime.enter();
        (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?)
    };
    let listen = async move {
        tokio::select! { _ = interrupt.recv() => {}, _ = terminate.recv() => {} }
        wait::interrupt();
    };
    std::thread::Builder::new()
        .name("signals".to_owned())
        .spawn(move || runtime.block_on(listen))?;
    Ok(())
}
