//! From the names of environment variables to keys: `LONGSHORE_KAFKA__BROKERS` is `kafka.brokers`,
//! two underscores stand between levels and case does not matter.
//!
//! # Why not a ready provider
//! Those read the process's own environment, which tests cannot have; guess a type from the text,
//! which spoils a password of digits; and call every variable "the environment" in an error.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};

use super::error::{ConfigError, Problem};

/// What all variables of ours begin with.
const PREFIX: &str = "LONGSHORE_";

/// Variables that are not keys: read elsewhere (the log filter, the flags' own variables, tests,
/// faults).
const RESERVED: [&str; 5] = ["LOG", "LOG_FORMAT", "CONFIG", "FAULTS", "BUG"];
const RESERVED_PREFIXES: [&str; 2] = ["TEST_", "DEMO_"];

/// Tables of the top level; `LONGSHORE_KAFKA_BROKERS` lacks an underscore.
const TABLES: [&str; 4] = ["KAFKA", "DATABASE", "HTTP", "PIPELINES"];

/// A variable that sets a key. No `Debug`: it may hold a secret.
pub(super) struct Variable {
    /// Its name as it stands in the environment.
    pub(super) name: String,
    /// The key, table by table.
    pub(super) path: Vec<String>,
    /// Its value.
    pub(super) value: String,
}

/// Picks out the variables that set keys, `DATABASE_URL` first, so that our own name wins over it.
/// An empty variable counts as not set, as `NAME=${OTHER:-}` leaves it. `pipelines` are the names
/// that are configured already.
pub(super) fn read(
    vars: impl IntoIterator<Item = (OsString, OsString)>,
    pipelines: &[String],
) -> Result<Vec<Variable>, ConfigError> {
    let mut found = BTreeMap::new();
    let mut database_url = None;
    let mut problems = Vec::new();
    for (name, value) in vars.into_iter().filter(|(_, value)| !value.is_empty()) {
        let Some(name) = name.to_str() else { continue };
        let upper = name.to_ascii_uppercase();
        let is_database_url = name == "DATABASE_URL";
        let Some(rest) = upper.strip_prefix(PREFIX).or(is_database_url.then_some("DATABASE__URL"))
        else {
            continue;
        };
        if is_reserved(rest) {
            continue;
        }
        match variable(name, rest, &value, pipelines) {
            Ok(variable) if is_database_url => database_url = Some(variable),
            Ok(variable) => {
                let twin = found.insert(variable.path.clone(), variable);
                problems.extend(twin.map(|twin| twice(&twin, name)));
            }
            Err(problem) => problems.push(problem),
        }
    }
    match problems.is_empty() {
        true => Ok(database_url.into_iter().chain(found.into_values()).collect()),
        false => Err(ConfigError::Keys(problems)),
    }
}

fn variable(
    name: &str,
    rest: &str,
    value: &OsStr,
    pipelines: &[String],
) -> Result<Variable, Problem> {
    let value = value.to_str().ok_or_else(|| refused(name, "its value is not UTF-8".into()))?;
    let levels: Vec<_> = rest.split("__").map(str::to_ascii_lowercase).collect();
    if levels.iter().any(String::is_empty) {
        let text = "names no key; write LONGSHORE_KAFKA__BROKERS for kafka.brokers".into();
        return Err(refused(name, text));
    }
    if let Some(table) = TABLES.iter().find(|table| levels.len() == 1 && begins(rest, table)) {
        let right = format!("{PREFIX}{table}__{}", &rest[table.len() + 1..]);
        let text = format!("names no key; two underscores stand between levels: {right}?");
        return Err(refused(name, text));
    }
    let path = key_path(levels, pipelines);
    Ok(Variable { name: name.to_owned(), path, value: value.to_owned() })
}

/// Turns the levels of a name into a key: a property's dots and a pipeline's own way of writing
/// its name cannot stand in a variable's name.
fn key_path(mut levels: Vec<String>, pipelines: &[String]) -> Vec<String> {
    let is_property = levels.len() > 2 && levels[..2] == ["kafka", "properties"];
    if is_property {
        let property = levels.split_off(2).join(".").replace('_', ".");
        levels.push(property);
    } else if levels.len() > 1 && levels[0] == "pipelines" {
        let same = |name: &&String| name.to_ascii_lowercase().replace('-', "_") == levels[1];
        if let Some(name) = pipelines.iter().find(same) {
            levels[1].clone_from(name);
        }
    }
    levels
}

fn begins(rest: &str, table: &str) -> bool {
    rest.strip_prefix(table).is_some_and(|rest| rest.starts_with('_') && rest.len() > 1)
}

fn is_reserved(rest: &str) -> bool {
    RESERVED.contains(&rest)
        || RESERVED_PREFIXES.iter().any(|prefix| rest.starts_with(prefix))
        || is_service_link(rest)
}

/// Kubernetes gives every container variables of each service near it: beside a service named
/// `longshore` stand `LONGSHORE_SERVICE_HOST` and `LONGSHORE_PORT_8080_TCP_ADDR`.
fn is_service_link(rest: &str) -> bool {
    let of_a_port = || rest.split('_').any(|word| word == "PORT");
    !rest.contains("__") && (rest.ends_with("SERVICE_HOST") || of_a_port())
}

fn refused(name: &str, text: String) -> Problem {
    Problem { key: name.to_owned(), value: None, source: Some("environment".to_owned()), text }
}

fn twice(one: &Variable, other: &str) -> Problem {
    refused(other, format!("sets {}, and so does {}; keep one", one.path.join("."), one.name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vars(pairs: &[(&str, &str)]) -> Vec<(OsString, OsString)> {
        pairs.iter().map(|(name, value)| (name.into(), value.into())).collect()
    }

    fn paths(pairs: &[(&str, &str)], pipelines: &[&str]) -> Vec<String> {
        let pipelines: Vec<_> = pipelines.iter().map(|&p| p.to_owned()).collect();
        let read = read(vars(pairs), &pipelines).unwrap();
        read.into_iter().map(|variable| variable.path.join("/")).collect()
    }

    fn refusal(pairs: &[(&str, &str)]) -> String {
        read(vars(pairs), &[]).err().expect("these are wrong").to_string()
    }

    #[test]
    fn two_underscores_stand_between_levels_and_case_does_not_matter() {
        assert_eq!(paths(&[("LONGSHORE_KAFKA__BROKERS", "a")], &[]), ["kafka/brokers"]);
        assert_eq!(paths(&[("longshore_Drain_Limit", "1s")], &[]), ["drain_limit"]);
    }

    #[test]
    fn a_property_gets_its_dots_and_a_pipeline_its_own_spelling() {
        let pairs = [
            ("LONGSHORE_KAFKA__PROPERTIES__SASL_PASSWORD", "x"),
            ("LONGSHORE_KAFKA__PROPERTIES__ssl.ca.location", "x"),
            ("LONGSHORE_PIPELINES__ADS_EU__BATCH__RECORDS", "1"),
        ];
        let expected = [
            "kafka/properties/sasl.password",
            "kafka/properties/ssl.ca.location",
            "pipelines/Ads-EU/batch/records",
        ];
        assert_eq!(paths(&pairs, &["Ads-EU"]), expected);
    }

    #[test]
    fn what_is_not_ours_or_is_empty_or_reserved_is_left_alone() {
        let pairs = [
            ("PATH", "/bin"),
            ("LONGSHORE_TEST_BROKERS", "x"),
            ("LONGSHORE_LOG", "debug"),
            ("LONGSHORE_MEMORY", ""),
            ("LONGSHORE_SERVICE_HOST", "10.0.0.1"),
            ("LONGSHORE_ADS_SERVICE_PORT_HTTP", "8080"),
            ("LONGSHORE_PORT", "tcp://10.0.0.1:8080"),
            ("LONGSHORE_PORT_8080_TCP_ADDR", "10.0.0.1"),
        ];
        assert!(paths(&pairs, &[]).is_empty());
    }

    #[test]
    fn our_own_name_comes_after_database_url() {
        let pairs = [("LONGSHORE_DATABASE__URL", "ours"), ("DATABASE_URL", "common")];
        let read = read(vars(&pairs), &[]).unwrap();
        let values: Vec<_> = read.iter().map(|variable| variable.value.as_str()).collect();
        assert_eq!(values, ["common", "ours"]);
    }

    #[test]
    fn a_name_that_can_be_no_key_is_refused_by_name() {
        let wrong = [
            (
                "LONGSHORE_KAFKA_BROKERS",
                "two underscores stand between levels: LONGSHORE_KAFKA__BROKERS?",
            ),
            ("LONGSHORE_KAFKA__", "names no key"),
        ];
        for (name, expected) in wrong {
            let error = refusal(&[(name, "secret")]);
            assert!(error.starts_with(name) && error.contains(expected), "{error}");
            assert!(!error.contains("secret"));
        }
        let error = refusal(&[("LONGSHORE_MEMORY", "1"), ("longshore_memory", "2")]);
        assert!(error.contains("sets memory, and so does LONGSHORE_MEMORY"), "{error}");
    }
}
