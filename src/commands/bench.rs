//! `longshore bench`: measures the service and the bare database side by side.

use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::context::{Context, Overrides};
use super::error::CommandError;
use crate::bench::modes::{self, BenchWork, Mode, Shape};
use crate::bench::{self, Case, Findings, Names, Plan, Progress, Scale, Surroundings};
use crate::config::{Config, Kind, Secret};
use crate::embedded::{EmbeddedServers, PostgresOptions, ServersOptions};
use crate::service::AnyPipeline;

const EXAMPLES: &str = "\
Examples:
  longshore bench --brokers HOST:PORT --database-url postgres://user@host/db
                                        ads: the service against the bare limit, 5 rounds
  longshore bench payments --latency --report payments.html
                                        with p50, p99 and p999 from append to commit; plots
  longshore bench work --zipf           10 ms of waiting per record, ordered by key, hot keys
  longshore bench ads --scale partitions --values 1,64 --rounds 3
                                        how the cost of a record grows with partitions
  longshore bench ads --set pipelines.ads.batch.linger=10ms --connections 2 --json

Without --brokers or --database-url the embedded Kafka or PostgreSQL is measured; the embedded Kafka
is a mock that costs CPU in this process, so give --brokers for figures to quote.

It makes a database and topics of its own and removes them at the end, after Ctrl-C too. The user
of --database-url needs the right CREATEDB; nothing else there is touched. Neither longshore.toml
nor the environment is read: what the service is to be measured with is said by --set.

docs/bench.md says what each figure means and how to get it again.";

/// How long a feed that was broken off is waited for.
const FEED_END_LIMIT: Duration = Duration::from_secs(1);

/// Shares of records, and sizes, for each kind of trouble.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "The records")]
pub(crate) struct RecordArgs {
    /// Records in the topic; 500,000 unless said otherwise, 200,000 of `work`
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    records: Option<u64>,

    /// Partitions of the topic; 12 unless said otherwise, 8 of `work`
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i32).range(1..=10_000))]
    partitions: Option<i32>,

    /// The same records come of the same seed
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,

    /// Records that repeat an earlier one of their partition, as a share from 0 to 1
    #[arg(long, value_name = "SHARE", default_value_t = 0.005, value_parser = share)]
    repeats: f64,

    /// Records that cannot be read, as a share
    #[arg(long, value_name = "SHARE", default_value_t = 0.001, value_parser = share)]
    malformed: f64,

    /// Records that the table's check refuses, of payments those that overdraw, as a share
    #[arg(long, value_name = "SHARE", default_value_t = 0.0, value_parser = share)]
    refused: f64,

    /// Fill values up to this many bytes, with a field that is ignored
    #[arg(long, value_name = "N", default_value_t = 0)]
    record_bytes: usize,

    /// Rows of reference data that records refer to
    #[arg(long, value_name = "N", default_value_t = 60_000)]
    context: u64,

    /// Rows that are in the table before (ads, landing)
    #[arg(long, value_name = "N", default_value_t = 0)]
    table_rows: u64,

    /// Keys with a Zipf spread (s = 1) instead of an even one (work)
    #[arg(long)]
    zipf: bool,
}

/// Measure the service and the bare database side by side
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// What is measured
    #[arg(value_name = "MODE", default_value = "ads", value_parser = mode_names())]
    mode: String,

    /// Rounds, each with the service and the bare ways once; what is printed are medians
    #[arg(long, value_name = "N", default_value_t = 5)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=1000))]
    rounds: u32,

    /// Saving connections, of the service and of the bare ways
    #[arg(long, value_name = "N", default_value_t = 4)]
    connections: usize,

    /// Records of a partition's batch, and rows of a bare transaction; the product's default else
    #[arg(long, value_name = "N")]
    batch: Option<u64>,

    /// A key of the measured service's configuration; may be repeated
    #[arg(long, value_name = "KEY=VALUE", value_parser = setting)]
    set: Vec<(String, String)>,

    /// Measure p50, p99 and p999 from append to commit at 25, 50 and 80 % of the top rate
    #[arg(long, conflicts_with = "scale")]
    latency: bool,

    /// How long each rate is measured
    #[arg(long, value_name = "SECONDS", default_value_t = 10)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=3600))]
    latency_seconds: u32,

    /// Repeat it all for several values of one number, and say where the cost of a record grows
    #[arg(long, value_name = "WHAT", value_enum)]
    scale: Option<Scale>,

    /// The values of --scale, with commas between, instead of the usual ones
    #[arg(long, value_name = "N,..", value_delimiter = ',', requires = "scale")]
    values: Vec<u64>,

    /// Print JSON with every run
    #[arg(long)]
    json: bool,

    /// Write a page with plots
    #[arg(long, value_name = "FILE.html")]
    report: Option<PathBuf>,

    #[command(flatten)]
    records: RecordArgs,

    /// Your own servers instead of the embedded ones
    #[command(flatten)]
    servers: Overrides,
}

/// Measures, and prints what was found.
///
/// # Errors
/// Wrong settings; a server or the service fails; a run has a wrong outcome.
pub(crate) fn execute(context: &Context, args: &Args) -> Result<(), CommandError> {
    let mode = modes::find(&args.mode).expect("the command line allows no other");
    let mut pipelines = context.pipelines.clone();
    add_pipelines(&mut pipelines);
    let kinds: Vec<_> = pipelines.iter().map(|code| code.kind()).collect();
    if kinds.iter().all(|kind| kind.name != mode.pipeline()) {
        let text = format!("this program has no pipeline `{}` that could be measured", mode.name());
        return Err(CommandError::Usage(text));
    }
    let plan = plan(args, mode)?;
    plan.check(&kinds)?;
    check_report(args)?;
    let progress = Progress::new();
    let names = Names::new();
    say_first(&plan, args, &names, &progress);
    let options = ServersOptions {
        postgres: args.servers.database_url.is_none().then(PostgresOptions::default),
        kafka: None,
    };
    // On this thread, which lives as long as the server: it ends with it, however it ends.
    let servers = EmbeddedServers::start(&options, &|line| progress.say(line));
    let servers = servers.map_err(CommandError::failed)?;
    let embedded = servers.postgres.as_ref().map(|postgres| Secret::url(postgres.url()));
    let measured =
        measure(context, args, &plan, (&pipelines, &kinds, names), embedded.as_ref(), &progress);
    let stopped = servers.stop().map_err(CommandError::failed);
    let findings = measured?;
    stopped?;
    tell(&findings, args, &progress)
}

/// Prints first: what was found must not be lost over a file.
fn tell(findings: &Findings, args: &Args, progress: &Progress) -> Result<(), CommandError> {
    if args.json {
        println!("{}", serde_json::to_string_pretty(findings).expect("plain values"));
    } else {
        print!("{findings}");
    }
    let Some(path) = &args.report else { return Ok(()) };
    let refused = |error| CommandError::failed(format!("--report {}: {error}", path.display()));
    std::fs::write(path, bench::page(findings)).map_err(refused)?;
    progress.say(&format!("the report is in {}", path.display()));
    Ok(())
}

/// Minutes before it is written, so that nobody waits in vain.
fn check_report(args: &Args) -> Result<(), CommandError> {
    let Some(path) = &args.report else { return Ok(()) };
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    match parent.is_none_or(std::path::Path::is_dir) && !path.is_dir() {
        true => Ok(()),
        false => {
            let text = format!("--report {}: must be a file in a directory", path.display());
            Err(CommandError::Usage(text))
        }
    }
}

/// Adds the pipelines that only the bench has.
pub(super) fn add_pipelines(pipelines: &mut Vec<Arc<dyn AnyPipeline>>) {
    pipelines.push(Arc::new(BenchWork));
}

fn measure(
    context: &Context,
    args: &Args,
    plan: &Plan,
    (pipelines, kinds, names): (&[Arc<dyn AnyPipeline>], &[Kind], Names),
    embedded: Option<&Secret>,
    progress: &Progress,
) -> Result<Findings, CommandError> {
    let config = configure(args, plan, kinds, embedded)?;
    let without: Vec<OsString> = context
        .environment
        .iter()
        .map(|(name, _)| name.clone())
        .filter(|name| name.to_string_lossy().starts_with("LONGSHORE_") || name == "DATABASE_URL")
        .chain([OsString::from("RUST_LOG")])
        .collect();
    let password_file = plan.set.iter().find(|(key, _)| key == "database.password_file");
    let around = Surroundings {
        config: &config,
        has_brokers: args.servers.brokers.is_some(),
        password_file: password_file.map(|(_, file)| file.clone()),
        names,
        servers: servers_in_words(args),
        pipelines,
        without: &without,
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.map_err(CommandError::failed)?;
    let measured = runtime.block_on(bench::run(plan, &around, progress));
    // After Ctrl-C a feed may wait for a broker that is gone.
    runtime.shutdown_timeout(FEED_END_LIMIT);
    measured.map_err(CommandError::failed)
}

/// The configuration with the servers that are measured.
fn configure(
    args: &Args,
    plan: &Plan,
    kinds: &[Kind],
    embedded: Option<&Secret>,
) -> Result<Config, CommandError> {
    let url = args.servers.database_url.as_ref().or(embedded);
    let mut settings = plan.settings(&plan.case);
    if let Some(url) = url {
        settings = settings.text("database.url", url.expose());
    }
    if let Some(brokers) = &args.servers.brokers {
        settings = settings.text("kafka.brokers", brokers);
    }
    let topics = format!("pipelines.{}.topics", plan.mode.pipeline());
    Ok(settings.toml(&topics, "[\"longshore.bench\"]").build(kinds)?)
}

fn plan(args: &Args, mode: &'static dyn Mode) -> Result<Plan, CommandError> {
    let records = &args.records;
    let shape = Shape {
        seed: records.seed,
        repeats: records.repeats,
        malformed: records.malformed,
        refused: records.refused,
        context: records.context,
        record_bytes: records.record_bytes,
        zipf: records.zipf,
    };
    let case = Case {
        records: records.records.unwrap_or(mode.records()),
        partitions: records.partitions.unwrap_or(mode.partitions()),
        connections: args.connections,
        batch: args.batch,
        table_rows: records.table_rows,
        shape,
    };
    let values = |scale: Scale| match args.values.is_empty() {
        true => scale.values().to_vec(),
        false => args.values.clone(),
    };
    let scale = args.scale.map(|scale| (scale, values(scale)));
    let fills_table = case.table_rows > 0 || matches!(scale, Some((Scale::Table, _)));
    if fills_table && mode.table().is_none_or(|table| table.preload.is_none()) {
        let text = format!(
            "--table-rows and --scale table: not of {}, only of ads and landing",
            mode.name()
        );
        return Err(CommandError::Usage(text));
    }
    if case.shape.zipf && mode.table().is_some() {
        return Err(CommandError::Usage("--zipf: the keys of `work` alone can be so".to_owned()));
    }
    Ok(Plan {
        mode,
        rounds: args.rounds,
        case,
        set: args.set.clone(),
        latency_seconds: args.latency.then_some(args.latency_seconds),
        scale,
    })
}

fn say_first(plan: &Plan, args: &Args, names: &Names, progress: &Progress) {
    let (case, mode) = (&plan.case, plan.mode);
    let values = plan.scale.as_ref().map_or(1, |(_, values)| values.len());
    progress.say(&format!(
        "{}: {} records in {} partitions, through the service and the bare ways in turn, a \
         warm-up and {} rounds{}; {}",
        mode.name(),
        case.records,
        case.partitions,
        plan.rounds,
        if values == 1 { String::new() } else { format!(" for each of {values} values") },
        servers_in_words(args),
    ));
    progress.say(&format!(
        "makes databases {}N and topics {}N of its own, and removes them at the end; nothing else \
         is touched",
        names.databases(),
        names.topics(),
    ));
}

fn servers_in_words(args: &Args) -> String {
    let given = |is_given: bool| if is_given { "given" } else { "embedded" };
    format!(
        "Kafka: {}, PostgreSQL: {}",
        given(args.servers.brokers.is_some()),
        given(args.servers.database_url.is_some())
    )
}

fn mode_names() -> clap::builder::PossibleValuesParser {
    modes::ALL.map(Mode::name).into()
}

fn share(text: &str) -> Result<f64, String> {
    let share: f64 = text.parse().map_err(|_| "must be a number from 0 to 1".to_owned())?;
    match (0.0..=1.0).contains(&share) {
        true => Ok(share),
        false => Err("must be from 0 to 1".to_owned()),
    }
}

fn setting(text: &str) -> Result<(String, String), String> {
    let wrong = || "write KEY=VALUE, such as pipelines.ads.batch.records=20000".to_owned();
    let (key, value) = text.split_once('=').ok_or_else(wrong)?;
    if key.trim().is_empty() { Err(wrong()) } else { Ok((key.trim().into(), value.trim().into())) }
}
