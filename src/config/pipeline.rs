//! One `[pipelines.NAME]`: what is read, by which kind of pipeline, in which batches.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use longshore_actors::error::Fate;
use longshore_actors::format::Format;
use longshore_actors::in_flight::InFlightLimits;
use longshore_actors::parked::RetryPolicy;
use longshore_actors::pipeline::Order;

use super::check::{Checks, Key};
use super::landing::{self, LandingConfig};
use super::pace::{self, PaceConfig};
use super::raw::{RawBatch, RawBudget, RawFate, RawLookup, RawPipeline, RawRetry, RawWork};
use super::values::{AgeChoice, BudgetChoice, List, Written};
use crate::positions::StartPosition;
use crate::postgres::budget::DeadLetterBudget;
use crate::postgres::fates::Fates;
use crate::postgres::lookups::{Freshness, LookupRules};

/// A topic's longest name, as Kafka has it.
const TOPIC_BYTES_MAX: usize = 249;

/// A kind of pipeline that this program has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kind {
    /// Its name; a `[pipelines.NAME]` of the same name is of this kind.
    pub name: &'static str,
    /// What it reads if the configuration names no topics; none: they must be named.
    pub default_topics: &'static [&'static str],
    /// Its lookups whose rows may be kept for a while; "" is none.
    pub lookups: &'static [&'static str],
    /// Whether it copies records as they are into a table that the configuration names.
    pub lands: bool,
}

/// A configured pipeline.
#[derive(Clone, Debug)]
pub struct PipelineConfig {
    /// Its name: letters, digits, `_` and `-`.
    pub name: String,
    /// The name of its [`Kind`].
    pub kind: &'static str,
    /// The topics that it reads, at least one, none of them twice.
    pub topics: Vec<String>,
    /// Its consumer group.
    pub group: String,
    /// The order that records are worked in, if it is not to be the pipeline's own.
    pub order: Option<Order>,
    /// Where a group begins that has no stored offsets.
    pub start: StartPosition,
    /// How values are written.
    pub format: Format,
    /// Where and how records land, if they do.
    pub landing: LandingConfig,
    /// The bounds of a batch as written; [`super::Config::batch`] fits them into the memory.
    pub batch: BatchLimits,
    /// How batches, transactions and connections follow what is measured.
    pub pace: PaceConfig,
    /// How old what is looked up may be.
    pub lookups: LookupRules,
    /// What may wait for a service at a time, and how long.
    pub work: InFlightLimits,
    /// When parked records come back, and how often.
    pub retry: RetryPolicy,
    /// What becomes of database errors, where it is not the usual.
    pub fates: Fates,
    /// When the pipeline stops because it rejects too much; `None`: never.
    pub dead_letter_budget: Option<DeadLetterBudget>,
    /// Where dead records are published; `None`: nowhere.
    pub dead_letter_topic: Option<String>,
}

/// The bounds of a partition's batch; whichever is reached first closes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchLimits {
    /// Records in it.
    pub records: u64,
    /// Bytes of keys, values and headers in it.
    pub bytes: u64,
    /// How long its first record waits for company.
    pub linger: Duration,
}

impl Default for BatchLimits {
    fn default() -> Self {
        Self { records: 10_000, bytes: 8 * 1024 * 1024, linger: Duration::from_millis(50) }
    }
}

/// Checks one `[pipelines.NAME]`; `None` if it has no usable kind.
pub(super) fn check(
    checks: &mut Checks<'_>,
    name: &str,
    raw: RawPipeline,
    kinds: &[Kind],
) -> Option<PipelineConfig> {
    let key = |key| ["pipelines", name, key];
    check_name(checks, name);
    let kind = check_kind(checks, name, raw.kind.as_deref(), kinds);
    let landing = landing::check(checks, name, &raw, kind);
    let topics = check_topics(checks, name, raw.topics, kind);
    let group = raw.group.unwrap_or_else(|| format!("longshore.{name}"));
    if group.trim().is_empty() {
        checks.refuse(&key("group"), "must be the name of a consumer group");
    }
    if let Some(topic) = &raw.dead_letter_topic {
        check_topic(checks, &key("dead_letter_topic"), topic);
        if topics.contains(topic) {
            let text = "is also among the pipeline's topics: what it rejects would come back to it";
            checks.refuse(&key("dead_letter_topic"), text);
        }
    }
    let batch = check_batch(checks, name, raw.batch);
    let pace = pace::check(checks, name, raw.pace, &batch);
    Some(PipelineConfig {
        name: name.to_owned(),
        kind: kind?.name,
        topics,
        group,
        order: raw.order,
        start: raw.start,
        format: raw.format,
        landing,
        batch,
        pace,
        lookups: LookupRules {
            freshness: check_age(checks, &key("max_age"), raw.max_age).unwrap_or_default(),
            by_name: check_lookups(checks, name, raw.lookups, kind),
            cached_rows: check_cached_rows(checks, &key("cached_rows"), raw.cached_rows),
        },
        work: check_work(checks, name, raw.work),
        retry: check_retry(checks, name, raw.retry),
        fates: check_fates(checks, name, raw.fates),
        dead_letter_budget: match raw.dead_letter_budget {
            Some(BudgetChoice::Off) => None,
            Some(BudgetChoice::On(budget)) => Some(check_budget(checks, name, budget)),
            None => Some(DeadLetterBudget::default()),
        },
        dead_letter_topic: raw.dead_letter_topic,
    })
}

fn check_name(checks: &mut Checks<'_>, name: &str) {
    let sound = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    let begins = name.starts_with(|c: char| c.is_ascii_alphanumeric());
    if !begins || !name.chars().all(sound) || name.contains("__") {
        // It becomes part of a group, of labels and of variables' names.
        let text = "a pipeline's name has letters, digits, `-` and single `_`";
        checks.refuse(&["pipelines", name], text);
    }
}

fn check_kind<'k>(
    checks: &mut Checks<'_>,
    name: &str,
    written: Option<&str>,
    kinds: &'k [Kind],
) -> Option<&'k Kind> {
    let found = kinds.iter().find(|kind| kind.name == written.unwrap_or(name));
    if found.is_none() {
        let names: Vec<_> = kinds.iter().map(|kind| format!("{:?}", kind.name)).collect();
        let text = match written {
            Some(_) => {
                format!("there is no such kind of pipeline; there are: {}", names.join(", "))
            }
            None => {
                format!("{name:?} is no kind of pipeline; set it to one of: {}", names.join(", "))
            }
        };
        checks.refuse(&["pipelines", name, "kind"], &text);
    }
    found
}

fn check_topics(
    checks: &mut Checks<'_>,
    name: &str,
    written: Option<List>,
    kind: Option<&Kind>,
) -> Vec<String> {
    let key = ["pipelines", name, "topics"];
    let defaults = kind.map(|kind| kind.default_topics).unwrap_or_default();
    let topics = match written {
        Some(List(topics)) => topics,
        None => defaults.iter().map(|&topic| topic.to_owned()).collect(),
    };
    if topics.is_empty() && kind.is_some() {
        checks.refuse(&key, "must name the topics to read, such as [\"orders\"]");
    }
    let mut seen = BTreeSet::new();
    for topic in &topics {
        check_topic(checks, &key, topic);
        if !seen.insert(topic) {
            checks.refuse(&key, &format!("names {topic:?} twice"));
        }
    }
    topics
}

fn check_topic(checks: &mut Checks<'_>, key: Key<'_>, topic: &str) {
    let sound = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    let named = (1..=TOPIC_BYTES_MAX).contains(&topic.len()) && !matches!(topic, "." | "..");
    if !named || !topic.chars().all(sound) {
        let text = format!(
            "{topic:?} is no topic's name: 1 to {TOPIC_BYTES_MAX} letters, digits, `.`, `_` and \
             `-` (patterns are not supported)"
        );
        checks.refuse(key, &text);
    }
}

fn check_batch(checks: &mut Checks<'_>, name: &str, raw: RawBatch) -> BatchLimits {
    let key = |key| ["pipelines", name, "batch", key];
    let default = BatchLimits::default();
    let lingers = Duration::ZERO..=Duration::from_secs(60);
    BatchLimits {
        records: checks.count(&key("records"), raw.records, default.records, 1..=1_000_000),
        bytes: checks.size(&key("bytes"), raw.bytes, default.bytes, 1..=u64::from(u32::MAX)),
        linger: checks.duration(&key("linger"), raw.linger, default.linger, lingers),
    }
}

fn check_age(checks: &mut Checks<'_>, key: Key<'_>, raw: Option<AgeChoice>) -> Option<Freshness> {
    let ages = Duration::from_millis(1)..=Duration::from_secs(24 * 3600);
    Some(match raw? {
        AgeChoice::PerBatch => Freshness::PerBatch,
        AgeChoice::Max(age) => {
            Freshness::MaxAge(checks.duration(key, Some(Written(age)), age, ages))
        }
    })
}

fn check_lookups(
    checks: &mut Checks<'_>,
    name: &str,
    raw: BTreeMap<String, RawLookup>,
    kind: Option<&Kind>,
) -> BTreeMap<String, Freshness> {
    let mut by_name = BTreeMap::new();
    let has = kind.map(|kind| kind.lookups).unwrap_or_default();
    for (lookup, raw) in raw {
        if kind.is_some() && !has.contains(&&*lookup) {
            let names: Vec<_> = has.iter().filter(|name| !name.is_empty()).copied().collect();
            let text = match names.is_empty() {
                true => "this kind of pipeline has no lookups that may be kept".to_owned(),
                false => format!("is no lookup of this pipeline; there are: {}", names.join(", ")),
            };
            checks.refuse(&["pipelines", name, "lookups", &lookup], &text);
        }
        let key = ["pipelines", name, "lookups", &lookup, "max_age"];
        if let Some(freshness) = check_age(checks, &key, raw.max_age) {
            by_name.insert(lookup, freshness);
        }
    }
    by_name
}

fn check_cached_rows(checks: &mut Checks<'_>, key: Key<'_>, raw: Option<Written<u64>>) -> usize {
    let default = LookupRules::CACHED_ROWS;
    let rows = checks.count(key, raw, default as u64, 0..=100_000_000);
    usize::try_from(rows).unwrap_or(default)
}

fn check_work(checks: &mut Checks<'_>, name: &str, raw: RawWork) -> InFlightLimits {
    let key = |key| ["pipelines", name, "work", key];
    let default = InFlightLimits::default();
    let records = default.records as u64;
    let records = checks.count(&key("in_flight"), raw.in_flight, records, 1..=100_000);
    let limits = Duration::from_millis(10)..=Duration::from_secs(3600);
    InFlightLimits {
        records: usize::try_from(records).unwrap_or(default.records),
        timeout: checks.duration(&key("timeout"), raw.timeout, default.timeout, limits),
    }
}

fn check_retry(checks: &mut Checks<'_>, name: &str, raw: RawRetry) -> RetryPolicy {
    let key = |key| ["pipelines", name, "retry", key];
    let default = RetryPolicy::default();
    let pauses = Duration::from_millis(10)..=Duration::from_secs(24 * 3600);
    let first = checks.duration(&key("first"), raw.first, default.first, pauses.clone());
    let max = checks.duration(&key("max"), raw.max, default.max.max(first), pauses);
    if max < first {
        checks.refuse(&key("max"), "must not be shorter than the first pause");
    }
    let mut count = |name, written, default: u32| {
        let count = checks.count(&key(name), written, u64::from(default), 1..=1_000_000);
        u32::try_from(count).unwrap_or(default)
    };
    let attempts = count("attempts", raw.attempts, default.attempts);
    let lane_records = count("lane_records", raw.lane_records, default.lane_records);
    RetryPolicy { first, max, attempts, lane_records }
}

fn check_fates(checks: &mut Checks<'_>, name: &str, raw: BTreeMap<String, RawFate>) -> Fates {
    let is_code = |code: &str| {
        let sound = |c: char| c.is_ascii_digit() || c.is_ascii_uppercase();
        matches!(code.len(), 2 | 5) && code.chars().all(sound)
    };
    for code in raw.keys().filter(|code| !is_code(code)) {
        let text =
            "is no SQLSTATE: five digits and capitals, such as \"23503\", or two for a class";
        checks.refuse(&["pipelines", name, "fates", code], text);
    }
    let fate = |fate| match fate {
        RawFate::Retry => Fate::Retry,
        RawFate::Reject => Fate::Reject,
        RawFate::Stop => Fate::Stop,
    };
    Fates::new(raw.into_iter().map(|(code, raw)| (code, fate(raw))).collect())
}

fn check_budget(checks: &mut Checks<'_>, name: &str, raw: RawBudget) -> DeadLetterBudget {
    let key = |key| ["pipelines", name, "dead_letter_budget", key];
    let default = DeadLetterBudget::default();
    let ratio = raw.ratio.map_or(default.ratio, |ratio| ratio.0);
    if !(ratio > 0.0 && ratio <= 1.0) {
        checks.refuse(&key("ratio"), "must be above 0 and at most 1; \"off\" is no budget");
    }
    let counts = 1..=1_000_000_000;
    DeadLetterBudget {
        ratio,
        window: checks.count(&key("window"), raw.window, default.window, counts.clone()),
        per_minute: checks.count(&key("per_minute"), raw.per_minute, default.per_minute, counts),
    }
}
