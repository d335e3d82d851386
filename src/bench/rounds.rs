//! The rounds of one case: the service and the bare ways in turn, so that a slow minute of the
//! machine meets all of them.

use std::time::Duration;

use super::error::BenchError;
use super::findings::{Point, Run, Who, median};
use super::limit::{Rows, Way, Writing, sleep_loop};
use super::meter::{Cpu, own_cpu_seconds};
use super::modes::WAIT;
use super::service;
use super::stage::Stage;

/// A bare way, with the rows that it writes.
enum Bare {
    Write(Rows),
    Sleep,
}

/// Runs all rounds of a case; gives the rows besides, for other measures.
pub(super) async fn run(
    stage: &Stage<'_>,
    value: Option<u64>,
) -> Result<(Point, Option<Rows>), BenchError> {
    let (progress, plan) = (stage.bench.progress, stage.bench.plan);
    // Warms up what is cold at first, and leaves the rows that the bare ways write.
    let warm_up = service::run(stage, 0).await?;
    progress.say(&format!("warm-up: {:.0} records/s", warm_up.records_per_second));
    let bare = match plan.mode.table() {
        Some(table) => {
            let condition = if stage.case.table_rows > 0 { table.of_a_run } else { "true" };
            Bare::Write(Rows::read(&stage.client, table.name, condition).await?)
        }
        None => Bare::Sleep,
    };
    let mut runs = Vec::new();
    for round in 1..=plan.rounds {
        let mut ways = bare.ways();
        ways.insert(0, Who::Service);
        // Whoever goes later finds warmer caches: they take turns.
        let first = round as usize % ways.len();
        ways.rotate_left(first);
        for who in ways {
            let run = match who {
                Who::Service => service::run(stage, round).await?,
                _ => bare.run(stage, who, round).await?,
            };
            runs.push(run);
        }
        progress.say(&line(round, plan.rounds, &runs));
    }
    let mut point = Point::new(value, stage.case.clone(), stage.survey.value_bytes, runs);
    let hottest = stage.survey.hottest_key.filter(|_| plan.mode.table().is_none());
    point.serial_floor_seconds = hottest.map(|records| records as f64 * WAIT.as_secs_f64());
    let rows = match bare {
        Bare::Write(rows) => Some(rows),
        Bare::Sleep => None,
    };
    Ok((point, rows))
}

fn line(round: u32, rounds: u32, runs: &[Run]) -> String {
    let of_round = runs.iter().filter(|run| run.round == round);
    let rates = of_round.map(|run| format!("{} {:.0}/s", run.who.name(), run.records_per_second));
    format!("round {round} of {rounds}: {}", rates.collect::<Vec<_>>().join(", "))
}

impl Bare {
    fn ways(&self) -> Vec<Who> {
        match self {
            Self::Write(..) => vec![Who::Copy, Who::Unnest],
            Self::Sleep => vec![Who::Sleep],
        }
    }

    async fn run(&self, stage: &Stage<'_>, who: Who, round: u32) -> Result<Run, BenchError> {
        let _step = stage.bench.progress.step(&format!("bare: {}", who.name()), 0);
        match self {
            Self::Write(rows) => {
                let way = if who == Who::Copy { Way::Copy } else { Way::Unnest };
                write(stage, (who, way), rows, round).await
            }
            Self::Sleep => sleep(stage, round).await,
        }
    }
}

async fn write(
    stage: &Stage<'_>,
    (who, way): (Who, Way),
    rows: &Rows,
    round: u32,
) -> Result<Run, BenchError> {
    stage.reset().await?;
    let connections = stage.bench.config(&stage.case).database.connections;
    let size = stage.bench.batch_records(&stage.case);
    let options = &stage.database.options;
    let writing = Writing::prepare(options, way, connections, rows, size).await?;
    let mut server = stage.server_meter();
    server.start();
    let own = own_cpu_seconds();
    let written = writing.run().await?;
    server.sample();
    let cpu = Cpu {
        own: own_cpu_seconds().zip(own).map(|(now, before)| now - before),
        server: server.cpu(),
        ..Cpu::default()
    };
    let expected = crate::feed::Totals { saved: rows.len() as u64, ..Default::default() };
    stage.prove(who.name(), &expected).await?;
    let transactions = written.transactions.iter().map(Duration::as_secs_f64).collect();
    Ok(Run {
        transaction_seconds: median(transactions),
        ..bare_run(who, round, rows.len() as u64, written.elapsed, &cpu)
    })
}

async fn sleep(stage: &Stage<'_>, round: u32) -> Result<Run, BenchError> {
    let config = stage.bench.config(&stage.case);
    let in_flight = config.pipelines.first().map_or(1, |pipeline| pipeline.work.records);
    let (own, records) = (own_cpu_seconds(), stage.case.records);
    let workers = config.workers;
    let slept = move || sleep_loop(records, WAIT, in_flight, workers);
    let elapsed = tokio::task::spawn_blocking(slept).await??;
    let own = own_cpu_seconds().zip(own).map(|(now, before)| now - before);
    Ok(bare_run(Who::Sleep, round, records, elapsed, &Cpu { own, ..Cpu::default() }))
}

fn bare_run(who: Who, round: u32, records: u64, elapsed: Duration, cpu: &Cpu) -> Run {
    let seconds = elapsed.as_secs_f64();
    Run {
        who,
        round,
        records,
        seconds,
        records_per_second: records as f64 / seconds,
        steady_records_per_second: None,
        first_commit_seconds: None,
        startup_seconds: None,
        cpu_seconds_per_million: cpu.per_million(records),
        peak_memory_bytes: None,
        stage_seconds_per_million: Default::default(),
        transaction_seconds: None,
        committed: Vec::new(),
    }
}
