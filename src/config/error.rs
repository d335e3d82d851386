//! What is wrong with a configuration, in the words of the person who wrote it: the key, the value
//! and where it was set, and what would be right.

use std::fmt;
use std::path::PathBuf;

use thiserror::Error;

/// A configuration that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ConfigError {
    /// The configuration file cannot be read, or is not TOML.
    #[error("{}: {problem}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// Keys that are unknown, have a wrong value, or do not fit together: all that were found.
    #[error("{}", lines(.0))]
    Keys(Vec<Problem>),
    /// There is nothing to run.
    #[error("{}", no_pipelines(.kinds))]
    NoPipelines {
        /// The kinds of pipelines that this program has.
        kinds: Vec<&'static str>,
    },
    /// A pipeline was asked for that is not configured.
    #[error("no pipeline {name:?} is configured; there are: {}", configured.join(", "))]
    UnknownPipeline {
        /// The name that was asked for.
        name: String,
        /// The names that are configured.
        configured: Vec<String>,
    },
}

/// One wrong key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The key with its tables, such as `kafka.brokers`.
    pub key: String,
    /// The value as it was written, secrets masked; `None` where the key is not set or unknown.
    pub value: Option<String>,
    /// Where it was set: a file, a variable of the environment, a flag.
    pub source: Option<String>,
    /// What is wrong and what would be right.
    pub text: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.key)?;
        if let Some(value) = &self.value {
            write!(f, " = {value}")?;
        }
        if let Some(source) = &self.source {
            write!(f, " ({source})")?;
        }
        write!(f, ": {}", self.text)
    }
}

fn lines(problems: &[Problem]) -> String {
    let lines: Vec<_> = problems.iter().map(Problem::to_string).collect();
    lines.join("\n")
}

fn no_pipelines(kinds: &[&'static str]) -> String {
    let name = kinds.first().unwrap_or(&"NAME");
    format!(
        "no pipeline is configured; write one into longshore.toml, for example:\n\n\
         [pipelines.{name}]\n\
         topics = [\"{name}.events\"]\n\
         group = \"longshore.{name}\"\n\
         start = \"earliest\"\n\n\
         the kinds of pipelines in this program: {}",
        kinds.join(", ")
    )
}
