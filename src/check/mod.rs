//! Everything that can be known to be wrong before a pipeline runs: what the configuration asks
//! for, held against the brokers and the database as they are now.

mod brokers;
mod database;

use std::fmt;
use std::sync::Arc;

use serde::Serialize;

use crate::config::Config;
use crate::postgres::migrate::MigrationSet;
use crate::service::AnyPipeline;

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What was looked at.
    pub subject: String,
    /// Whether it is as it must be.
    pub holds: bool,
    /// What was found, and what to do if it does not hold.
    pub text: String,
}

impl Finding {
    fn new(subject: impl Into<String>, holds: bool, text: impl Into<String>) -> Self {
        Self { subject: subject.into(), holds, text: text.into() }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mark = if self.holds { "ok  " } else { "FAIL" };
        write!(f, "{mark}  {:<26}  {}", self.subject, self.text)
    }
}

/// Looks at everything that `config` asks of the program's `pipelines`, one thing after the other;
/// what cannot be looked at because something before it does not hold is left out.
pub async fn everything(
    config: &Config,
    migrations: &[MigrationSet],
    pipelines: &[Arc<dyn AnyPipeline>],
) -> Vec<Finding> {
    let mut findings = vec![configuration(config)];
    findings.extend(brokers::findings(config).await);
    findings.extend(database::findings(config, migrations, pipelines).await);
    findings
}

fn configuration(config: &Config) -> Finding {
    let names: Vec<_> = config.pipelines.iter().map(|pipeline| pipeline.name.as_str()).collect();
    let mut text = format!(
        "pipelines {}; {} tickets in records each; {} workers",
        names.join(", "),
        config.tickets().records,
        config.workers
    );
    for note in config.notes() {
        text.push_str("; ");
        text.push_str(&note);
    }
    Finding::new("configuration", true, text)
}
