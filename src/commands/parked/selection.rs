//! Which parked records a command means.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use clap::ValueEnum;

use crate::commands::context::{Context, Overrides};
use crate::commands::error::CommandError;
use crate::config::Config;
use crate::postgres::parked::Filter;

/// What is said on the command line about the records that are meant.
#[derive(Debug, Default, clap::Args)]
pub(crate) struct Selection {
    /// Of these configured pipelines; of all of them if none is named
    #[arg(value_name = "PIPELINE")]
    pub(super) pipelines: Vec<String>,

    /// With this id; may be repeated
    #[arg(long = "id", value_name = "ID", help_heading = "Which records")]
    pub(super) ids: Vec<i64>,

    /// Of this topic
    #[arg(long, help_heading = "Which records")]
    topic: Option<String>,

    /// Of this partition
    #[arg(long, value_name = "N", help_heading = "Which records")]
    partition: Option<i32>,

    /// In this state
    #[arg(long, value_enum, help_heading = "Which records")]
    state: Option<State>,

    /// With this reason, as `parked list` says it
    #[arg(long, help_heading = "Which records")]
    reason: Option<String>,

    /// Parked longer ago than this, such as 30m, 12h or 7d
    #[arg(long, value_name = "AGE", value_parser = parse_age, help_heading = "Which records")]
    older_than: Option<Duration>,

    /// Parked within this time
    #[arg(long, value_name = "AGE", value_parser = parse_age, help_heading = "Which records")]
    newer_than: Option<Duration>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum State {
    /// Comes back by itself
    Retrying,
    /// Waits for an earlier record of its key
    Waiting,
    /// Waits for a person
    Dead,
}

impl State {
    fn name(self) -> &'static str {
        match self {
            Self::Retrying => "retrying",
            Self::Waiting => "waiting",
            Self::Dead => "dead",
        }
    }
}

fn parse_age(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text).map_err(|_| "must be an age such as 30m, 12h or 7d".to_owned())
}

impl Selection {
    /// The records with these ids, of whatever pipeline.
    pub(super) fn of_ids(ids: &[i64]) -> Self {
        Self { ids: ids.to_vec(), ..Self::default() }
    }

    /// Whether anything is said that leaves some records out.
    pub(super) fn says_something(&self) -> bool {
        let ages = self.older_than.or(self.newer_than);
        !self.pipelines.is_empty()
            || !self.ids.is_empty()
            || self.topic.is_some()
            || self.partition.is_some()
            || self.state.is_some()
            || self.reason.is_some()
            || ages.is_some()
    }

    /// The records of the selected pipelines of `config`.
    pub(super) fn filter(&self, config: &Config) -> Filter {
        let ago = |age: Duration| -> DateTime<Utc> {
            let age = TimeDelta::from_std(age).unwrap_or(TimeDelta::MAX);
            Utc::now().checked_sub_signed(age).unwrap_or(DateTime::UNIX_EPOCH)
        };
        Filter {
            pipelines: config.pipelines.iter().map(|pipeline| pipeline.name.clone()).collect(),
            groups: config.pipelines.iter().map(|pipeline| pipeline.group.clone()).collect(),
            ids: self.ids.clone(),
            topic: self.topic.clone(),
            partition: self.partition,
            state: self.state.map(|state| state.name().to_owned()),
            reason: self.reason.clone(),
            before: self.older_than.map(ago),
            since: self.newer_than.map(ago),
        }
    }

    /// The configuration with the selected pipelines alone.
    pub(super) fn config(
        &self,
        context: &Context,
        overrides: &Overrides,
    ) -> Result<Config, CommandError> {
        Ok(context.load(overrides)?.select(&self.pipelines)?)
    }
}
