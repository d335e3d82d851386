//! `[pipelines.NAME.pace]`: whether batches, transactions and connections follow what is measured,
//! and between which bounds.

use std::time::Duration;

use longshore_actors::pace::{Bounds, PaceRules};

use super::check::Checks;
use super::pipeline::{BatchLimits, PipelineConfig};
use super::raw::RawPace;

/// The least that is worth a transaction of its own under load: below, its fixed costs are most of
/// it.
const RECORDS_MIN: u64 = 500;

/// The pace of a pipeline; its ceilings are `batch.linger`, `records_max` and
/// `database.connections`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PaceConfig {
    /// The switch.
    pub adapts: bool,
    /// How long one transaction is to take.
    pub transaction: Duration,
    /// The shortest linger.
    pub linger_min: Duration,
    /// The fewest records that a transaction is bounded to.
    pub records_min: u64,
    /// The most records of a transaction.
    pub records_max: u64,
    /// The fewest connections that save at a time, at least 1.
    pub connections_min: usize,
}

impl PaceConfig {
    /// The rules of a house with these batches and this many saving connections.
    pub(super) fn rules(&self, batch: &BatchLimits, connections: usize) -> PaceRules {
        let records = |count: u64| usize::try_from(count).unwrap_or(usize::MAX);
        PaceRules {
            adapts: self.adapts,
            target: self.transaction,
            linger: Bounds { min: self.linger_min, max: batch.linger },
            records: Bounds { min: records(self.records_min), max: records(self.records_max) },
            sessions: Bounds { min: self.connections_min, max: connections },
        }
    }
}

/// Checks one `[pipelines.NAME.pace]`.
pub(super) fn check(
    checks: &mut Checks<'_>,
    name: &str,
    raw: RawPace,
    batch: &BatchLimits,
) -> PaceConfig {
    let key = |key| ["pipelines", name, "pace", key];
    let targets = Duration::from_millis(5)..=Duration::from_secs(60);
    let default = Duration::from_millis(250);
    let transaction = checks.duration(&key("transaction"), raw.transaction, default, targets);
    let default = Duration::from_millis(1).min(batch.linger);
    let lingers = Duration::ZERO..=Duration::from_secs(60);
    let linger_min = checks.duration(&key("linger_min"), raw.linger_min, default, lingers);
    if linger_min > batch.linger {
        checks.refuse(&key("linger_min"), "must not be longer than batch.linger, its ceiling");
    }
    let default = (PaceRules::RECORDS_MAX as u64).max(batch.records);
    let records_max = checks.count(&key("records_max"), raw.records_max, default, 1..=1_000_000);
    if records_max < batch.records {
        let text = "must not be less than batch.records: a transaction has at least one batch";
        checks.refuse(&key("records_max"), text);
    }
    let default = RECORDS_MIN.min(records_max);
    let records_min = checks.count(&key("records_min"), raw.records_min, default, 1..=1_000_000);
    if records_min > records_max {
        checks.refuse(&key("records_min"), "must not be more than records_max");
    }
    let connections_min = checks.count(&key("connections_min"), raw.connections_min, 1, 1..=1000);
    PaceConfig {
        adapts: raw.adapt.is_none_or(|adapt| adapt.0),
        transaction,
        linger_min,
        records_min,
        records_max,
        connections_min: usize::try_from(connections_min).unwrap_or(1),
    }
}

/// Checks the floors that have their ceiling elsewhere.
pub(super) fn check_connections(
    checks: &mut Checks<'_>,
    pipelines: &[PipelineConfig],
    connections: usize,
) {
    for pipeline in pipelines {
        if pipeline.pace.connections_min > connections {
            let text = format!(
                "must not be more than database.connections, its ceiling, which is {connections}"
            );
            checks.refuse(&["pipelines", &pipeline.name, "pace", "connections_min"], &text);
        }
    }
}
