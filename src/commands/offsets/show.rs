//! `longshore offsets show`: how far each partition is saved.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};
use serde::Serialize;

use crate::commands::context::{Context, Overrides, block_on};
use crate::commands::database;
use crate::commands::error::CommandError;
use crate::commands::table;
use crate::config::{Config, PipelineConfig};
use crate::kafka::KafkaPositions;
use crate::positions::Positions;
use crate::postgres::offsets::{self, ParkedCount};
use crate::postgres::pool::QueryPool;

/// Show each partition's stored offset, its end and the lag between
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Names of configured pipelines; all of them if none is named
    #[arg(value_name = "PIPELINE")]
    pub(crate) pipelines: Vec<String>,

    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,

    #[command(flatten)]
    pub(crate) overrides: Overrides,
}

/// Shows the stored offsets.
///
/// # Errors
/// The database cannot be reached.
pub(super) fn execute(context: &Context, args: &Args) -> Result<(), CommandError> {
    let config = context.load(&args.overrides)?.select(&args.pipelines)?;
    block_on(async {
        let pool = database::pool(&config)?;
        let mut lines = Vec::new();
        for pipeline in &config.pipelines {
            lines.extend(lines_of(&config, pipeline, &pool).await?);
        }
        match args.json {
            true => println!("{}", serde_json::to_string_pretty(&lines).expect("plain values")),
            false => print(&lines),
        }
        Ok(())
    })
}

/// One partition, as it is shown.
#[derive(Debug, Serialize)]
struct Line {
    pipeline: String,
    group: String,
    topic: String,
    partition: i32,
    /// The first offset not yet settled; null before the first start.
    next_offset: Option<i64>,
    /// Where the partition ends now; null while the brokers do not answer.
    end: Option<i64>,
    lag: Option<i64>,
    epoch: Option<i64>,
    owner: Option<String>,
    parked: i64,
    updated_at: Option<DateTime<Utc>>,
}

async fn lines_of(
    config: &Config,
    pipeline: &PipelineConfig,
    pool: &QueryPool,
) -> Result<Vec<Line>, CommandError> {
    let groups = std::slice::from_ref(&pipeline.group);
    let mut conn = pool.get().await.map_err(CommandError::failed)?;
    let stored = offsets::of_groups(&mut conn, groups).await.map_err(CommandError::failed)?;
    let parked = offsets::parked_counts(&mut conn, groups).await.map_err(CommandError::failed)?;
    let ends = ends(config, pipeline).await;
    let mut places: BTreeSet<(String, i32)> = ends.keys().cloned().collect();
    places.extend(stored.iter().map(|row| (row.topic.clone(), row.partition)));
    let line = |(topic, partition): (String, i32)| {
        let row = stored.iter().find(|row| (&row.topic, row.partition) == (&topic, partition));
        let is_here = |count: &&ParkedCount| (&count.topic, count.partition) == (&topic, partition);
        let next_offset = row.map(|row| row.next_offset);
        let end = ends.get(&(topic.clone(), partition)).copied();
        Line {
            pipeline: pipeline.name.clone(),
            group: pipeline.group.clone(),
            next_offset,
            end,
            lag: end.zip(next_offset).map(|(end, next)| (end - next).max(0)),
            epoch: row.map(|row| row.epoch),
            owner: row.and_then(|row| row.owner.clone()),
            parked: parked.iter().filter(is_here).map(|count| count.records).sum(),
            updated_at: row.map(|row| row.updated_at),
            topic,
            partition,
        }
    };
    Ok(places.into_iter().map(line).collect())
}

/// Where each partition ends now. Without an answer from the brokers the rest is shown all the
/// same.
async fn ends(config: &Config, pipeline: &PipelineConfig) -> BTreeMap<(String, i32), i64> {
    let properties = config.kafka.properties.to_map();
    let mut ends = BTreeMap::new();
    let positions =
        match KafkaPositions::try_new(&config.kafka.brokers, &pipeline.group, &properties) {
            Ok(positions) => positions,
            Err(error) => {
                tracing::warn!(%error, "the ends of the partitions are not known");
                return ends;
            }
        };
    for topic in &pipeline.topics {
        match positions.describe(topic).await {
            Ok(described) => ends
                .extend(described.partitions.iter().map(|p| ((topic.clone(), p.index), p.end.0))),
            Err(error) => {
                tracing::warn!(topic, %error, "the ends of the partitions are not known");
            }
        }
    }
    ends
}

fn print(lines: &[Line]) {
    let or_dash = |value: Option<i64>| value.map_or("-".to_owned(), |value| value.to_string());
    let heads = ["PIPELINE", "TOPIC", "PARTITION", "STORED", "END", "LAG", "PARKED", "OWNER"];
    let rows = lines.iter().map(|line| {
        [
            line.pipeline.clone(),
            line.topic.clone(),
            line.partition.to_string(),
            or_dash(line.next_offset),
            or_dash(line.end),
            or_dash(line.lag),
            line.parked.to_string(),
            line.owner.clone().unwrap_or_else(|| "-".to_owned()),
        ]
    });
    table::print(&heads, &rows.collect::<Vec<_>>());
}
