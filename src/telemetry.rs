//! Logs: lines for people or JSON for machines, always on standard error, so that standard output
//! stays for results.

use std::ffi::OsString;
use std::io::{IsTerminal, stderr};

use thiserror::Error;
use tracing_subscriber::EnvFilter;

/// What is logged unless told otherwise. librdkafka tells each connection's fate as news; what is
/// wrong with them comes as a warning. The crate in between reports as an error that a consumer
/// which we have closed is closed.
const DEFAULT_FILTER: &str =
    "info,actix_server=warn,librdkafka=warn,rdkafka::consumer::base_consumer=off";

/// What is logged beside a line that is written over: what is wrong, and no news.
const QUIET_FILTER: &str = "warn,rdkafka::consumer::base_consumer=off";

/// Where a filter may stand, the first one that is set counts.
const FILTER_VARIABLES: [&str; 2] = ["LONGSHORE_LOG", "RUST_LOG"];

/// How log lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// One short line for people, coloured on a terminal.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// Logging that cannot be set up.
#[derive(Debug, PartialEq, Eq, Error)]
pub enum TelemetryError {
    /// A filter that cannot be read.
    #[error(
        "environment variable {variable} = {value:?}: {problem}; write a level or levels by \
         module, such as \"info,longshore=debug\""
    )]
    Filter {
        /// The variable that it stands in.
        variable: &'static str,
        /// The filter.
        value: String,
        /// What is wrong with it.
        problem: String,
    },
    /// Somebody set up logging before; once a process.
    #[error("logging is set up already")]
    Twice,
}

/// Sets up logging for the whole process, filtered by `LONGSHORE_LOG` or `RUST_LOG` of
/// `environment`.
///
/// # Errors
/// A filter that cannot be read; a second call.
pub fn init(
    format: LogFormat,
    is_quiet: bool,
    environment: &[(OsString, OsString)],
) -> Result<(), TelemetryError> {
    let filter = filter(if is_quiet { QUIET_FILTER } else { DEFAULT_FILTER }, environment)?;
    let is_set = |name| environment.iter().any(|(set, value)| set == name && !value.is_empty());
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(stderr)
        .with_ansi(stderr().is_terminal() && !is_set("NO_COLOR"));
    match format {
        LogFormat::Text => builder.compact().try_init(),
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
    }
    .map_err(|_| TelemetryError::Twice)
}

fn filter(
    default: &str,
    environment: &[(OsString, OsString)],
) -> Result<EnvFilter, TelemetryError> {
    let value_of = |name: &&'static str| {
        let found = environment.iter().find(|(set, value)| set == *name && !value.is_empty());
        found.map(|(_, value)| (*name, value.to_string_lossy()))
    };
    let Some((variable, value)) = FILTER_VARIABLES.iter().find_map(value_of) else {
        return Ok(EnvFilter::new(default));
    };
    EnvFilter::builder().parse(&value).map_err(|error| TelemetryError::Filter {
        variable,
        problem: error.to_string(),
        value: value.into_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filter_of(pairs: &[(&str, &str)]) -> Result<String, TelemetryError> {
        let vars: Vec<_> = pairs.iter().map(|(name, value)| (name.into(), value.into())).collect();
        filter(DEFAULT_FILTER, &vars).map(|filter| filter.to_string())
    }

    #[test]
    fn our_own_variable_wins_and_an_empty_one_counts_as_not_set() {
        assert_eq!(
            filter_of(&[("RUST_LOG", "warn"), ("LONGSHORE_LOG", "debug")]).unwrap(),
            "debug"
        );
        assert_eq!(filter_of(&[("RUST_LOG", "warn"), ("LONGSHORE_LOG", "")]).unwrap(), "warn");
        let default = filter_of(&[]).unwrap();
        assert!(default.contains("librdkafka=warn") && default.contains("info"), "{default}");
    }

    #[test]
    fn a_wrong_filter_is_named_with_its_variable() {
        let error = filter_of(&[("LONGSHORE_LOG", "longshore=loud")]).unwrap_err().to_string();
        assert!(error.contains("LONGSHORE_LOG = \"longshore=loud\""), "{error}");
        assert!(error.contains("such as"), "{error}");
    }
}
