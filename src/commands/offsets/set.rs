//! `longshore offsets set`: moves stored offsets. Live owners go on from there by themselves.

use chrono::{DateTime, Utc};
use longshore_actors::record::{NextOffset, PartitionId};

use crate::commands::confirm::{self, Consent};
use crate::commands::context::{Context, Overrides, block_on};
use crate::commands::database;
use crate::commands::error::CommandError;
use crate::commands::table;
use crate::config::{Config, PipelineConfig};
use crate::kafka::KafkaPositions;
use crate::positions::{PartitionPositions, Positions};
use crate::postgres::moves::{self, Move, Moved, MovedBy};

/// Move the stored offsets of a pipeline
///
/// Running instances notice within a second and go on from there by themselves, also where a
/// partition had stopped. Parked records at or after the new place are removed with the move, as
/// they are read again; dead ones that were published stay. Rows that were saved stay too: what is
/// read again is a duplicate by its key.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The configured pipeline
    #[arg(value_name = "PIPELINE")]
    pipeline: String,

    /// Where to go on: earliest, latest, an offset, or a time such as 2026-11-21T06:00:00Z
    #[arg(long, value_name = "PLACE", value_parser = parse_place)]
    to: Place,

    /// One of its topics; all of them if none is named
    #[arg(long)]
    topic: Option<String>,

    /// A partition; may be repeated. All of them if none is named
    #[arg(long = "partition", value_name = "N")]
    partitions: Vec<i32>,

    #[command(flatten)]
    consent: Consent,

    #[command(flatten)]
    overrides: Overrides,
}

/// Where partitions are moved to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Earliest,
    Latest,
    Offset(i64),
    Time(DateTime<Utc>),
}

fn parse_place(text: &str) -> Result<Place, String> {
    match text {
        "earliest" => return Ok(Place::Earliest),
        "latest" => return Ok(Place::Latest),
        _ => {}
    }
    if let Ok(offset) = text.parse::<i64>() {
        let is_offset = (offset >= 0).then_some(Place::Offset(offset));
        return is_offset.ok_or_else(|| "an offset is 0 or more".to_owned());
    }
    let time = DateTime::parse_from_rfc3339(text).map(|time| Place::Time(time.into()));
    time.map_err(|_| {
        "must be earliest, latest, an offset, or a time such as 2026-11-21T06:00:00Z".to_owned()
    })
}

/// Moves offsets, after asking.
///
/// # Errors
/// The database or the brokers cannot be reached; a place that no partition has.
pub(super) fn execute(context: &Context, args: &Args) -> Result<(), CommandError> {
    let names = std::slice::from_ref(&args.pipeline);
    let config = context.load(&args.overrides)?.select(names)?;
    let pipeline = config.pipelines.first().expect("one was selected");
    let who = context.who();
    block_on(async {
        let pool = database::pool(&config)?;
        let wanted = wanted_moves(&config, pipeline, args).await?;
        let mut conn = pool.get().await.map_err(CommandError::failed)?;
        let by = MovedBy { who: &who, pipeline: &pipeline.name, group: &pipeline.group };
        let preview = moves::move_offsets(&mut conn, by, &wanted, true).await;
        print(&preview.map_err(CommandError::failed)?);
        let question = format!("move the offsets of {}?", pipeline.name);
        if !confirm::consents(args.consent, &question)? {
            return Ok(());
        }
        let moved = moves::move_offsets(&mut conn, by, &wanted, false).await;
        let moved = moved.map_err(CommandError::failed)?;
        println!("moved {} partitions of group {}", moved.len(), pipeline.group);
        Ok(())
    })
}

/// The partitions that are meant, each with a place that it has.
async fn wanted_moves(
    config: &Config,
    pipeline: &PipelineConfig,
    args: &Args,
) -> Result<Vec<Move>, CommandError> {
    if let Some(topic) = args.topic.as_ref().filter(|topic| !pipeline.topics.contains(topic)) {
        let (name, has) = (&pipeline.name, pipeline.topics.join(", "));
        return Err(CommandError::Usage(format!("{name} does not read {topic}, but {has}")));
    }
    let properties = config.kafka.properties.to_map();
    let brokers = KafkaPositions::try_new(&config.kafka.brokers, &pipeline.group, &properties)
        .map_err(CommandError::failed)?;
    let mut moves = Vec::new();
    for topic in pipeline.topics.iter().filter(|t| args.topic.as_ref().is_none_or(|w| w == *t)) {
        let described = brokers.describe(topic).await.map_err(CommandError::failed)?;
        let is_meant = |index: &i32| args.partitions.is_empty() || args.partitions.contains(index);
        let known: Vec<_> = described.partitions.iter().map(|p| p.index).collect();
        if let Some(missing) = args.partitions.iter().find(|index| !known.contains(index)) {
            let text = format!("{topic} has {} partitions, and no {missing}", known.len());
            return Err(CommandError::Usage(text));
        }
        let meant: Vec<_> = known.into_iter().filter(is_meant).collect();
        let times = match args.to {
            Place::Time(time) => {
                brokers.at_time(topic, meant.clone(), time.timestamp_millis()).await
            }
            _ => Ok(std::collections::BTreeMap::new()),
        };
        let times = times.map_err(CommandError::failed)?;
        for partition in described.partitions.iter().filter(|p| meant.contains(&p.index)) {
            let to = place_in(topic, partition, args.to, times.get(&partition.index).copied())?;
            moves.push(Move { partition: PartitionId::new(topic.as_str(), partition.index), to });
        }
    }
    Ok(moves)
}

fn place_in(
    topic: &str,
    partition: &PartitionPositions,
    place: Place,
    at_time: Option<NextOffset>,
) -> Result<NextOffset, CommandError> {
    let PartitionPositions { index, earliest, end, .. } = *partition;
    match place {
        Place::Earliest => Ok(earliest),
        Place::Latest => Ok(end),
        // All its records are older.
        Place::Time(_) => Ok(at_time.unwrap_or(end)),
        Place::Offset(offset) if (earliest.0..=end.0).contains(&offset) => Ok(NextOffset(offset)),
        Place::Offset(offset) => Err(CommandError::Usage(format!(
            "{topic}/{index} has offsets from {earliest} to {end}: {offset} is none of them; name \
             one partition with --partition, or say earliest, latest or a time"
        ))),
    }
}

fn print(moved: &[Moved]) {
    let heads = ["TOPIC", "PARTITION", "FROM", "TO", "PARKED REMOVED"];
    let rows = moved.iter().map(|moved| {
        [
            moved.partition.topic.to_string(),
            moved.partition.index.to_string(),
            moved.from.map_or("-".to_owned(), |from| from.to_string()),
            moved.to.to_string(),
            moved.parked_removed.to_string(),
        ]
    });
    table::print(&heads, &rows.collect::<Vec<_>>());
}
