//! The layers of a configuration, later ones win: defaults, the file, the environment, flags. Each
//! value remembers where it came from, for the errors.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use figment::error::Kind;
use figment::providers::{Format, Toml};
use figment::value::{Dict, Map, Value};
use figment::{Figment, Metadata, Profile, Provider};

use super::environment;
use super::error::{ConfigError, Problem};
use super::raw::RawConfig;
use super::secret::{is_secret_property, mask_url};

/// The file that is read if it is there and none is named.
const DEFAULT_FILE: &str = "longshore.toml";

/// A configuration in the making. Lay the file first, then the environment, then flags. It has no
/// `Debug`, which would print secrets.
#[derive(Default)]
pub struct Layers {
    figment: Figment,
}

/// One layer: its name, as errors say it, and its values.
struct Layer {
    name: String,
    values: Dict,
}

impl Provider for Layer {
    fn metadata(&self) -> Metadata {
        Metadata::named(self.name.clone())
    }

    fn data(&self) -> figment::Result<Map<Profile, Dict>> {
        Ok(Profile::Default.collect(self.values.clone()))
    }
}

impl Layers {
    /// Nothing but the defaults.
    pub fn new() -> Self {
        Self::default()
    }

    /// Lays the file at `path`, or `longshore.toml` if there is one and none is named.
    ///
    /// # Errors
    /// A named file that is missing, a file that cannot be read, or is not TOML.
    pub fn file(self, path: Option<&Path>) -> Result<Self, ConfigError> {
        let named = path.unwrap_or(Path::new(DEFAULT_FILE));
        match fs::read_to_string(named) {
            Ok(text) => self.text(&named.display().to_string(), &text),
            Err(error) if error.kind() == ErrorKind::NotFound && path.is_none() => Ok(self),
            Err(error) => {
                let problem = format!("cannot be read: {error}");
                Err(ConfigError::File { path: named.to_owned(), problem })
            }
        }
    }

    /// Lays `text`, which is TOML; errors call it `name`.
    ///
    /// # Errors
    /// Text that is not TOML, with line and column. The line itself is not shown: it may hold a
    /// password.
    pub fn text(self, name: &str, text: &str) -> Result<Self, ConfigError> {
        let values = Toml::from_str::<Dict>(text).map_err(|error| {
            let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
            let line = before.matches('\n').count() + 1;
            let column = before.chars().rev().take_while(|&c| c != '\n').count() + 1;
            let message = error.message().trim().replace('\n', "; ");
            let problem = format!("not TOML: line {line}, column {column}: {message}");
            ConfigError::File { path: name.into(), problem }
        })?;
        Ok(self.lay(name.to_owned(), values))
    }

    /// Lays the environment's variables, as `std::env::vars_os` gives them.
    ///
    /// # Errors
    /// A variable of ours whose name can be no key. A key that does not exist is found by
    /// [`Layers::build`].
    pub fn environment(
        self,
        vars: impl IntoIterator<Item = (OsString, OsString)>,
    ) -> Result<Self, ConfigError> {
        let pipelines: Vec<String> = match self.find(&["pipelines"]) {
            Some(Value::Dict(_, pipelines)) => pipelines.into_keys().collect(),
            _ => Vec::new(),
        };
        let variables = environment::read(vars, &pipelines)?;
        Ok(variables.into_iter().fold(self, |layers, variable| {
            let source = format!("environment variable {}", variable.name);
            let path: Vec<_> = variable.path.iter().map(String::as_str).collect();
            layers.set(&path, &variable.value, &source)
        }))
    }

    /// Lays one value at the key `path`; errors call its origin `source`, such as `flag --brokers`.
    pub fn set(self, path: &[&str], value: &str, source: &str) -> Self {
        let (last, tables) = path.split_last().expect("a key has a name");
        let leaf = Dict::from([((*last).to_owned(), Value::from(value))]);
        let values = tables
            .iter()
            .rev()
            .fold(leaf, |inner, table| Dict::from([((*table).to_owned(), Value::from(inner))]));
        self.lay(source.to_owned(), values)
    }

    fn lay(self, name: String, mut values: Dict) -> Self {
        flatten_properties(&mut values);
        Self { figment: self.figment.merge(Layer { name, values }) }
    }

    /// Reads all layers together, key by key.
    pub(super) fn extract(&self) -> Result<RawConfig, ConfigError> {
        self.figment.extract::<RawConfig>().map_err(|error| {
            let problems = error.into_iter().map(|error| self.explain(&error)).collect();
            ConfigError::Keys(problems)
        })
    }

    /// A problem with the value at `path`, which brings its value and source along.
    pub(super) fn problem(&self, path: &[&str], text: String) -> Problem {
        let found = self.find(path);
        let value = found.as_ref().and_then(|value| shown(path, value));
        let source = found.and_then(|value| self.source(&value));
        Problem { key: path.join("."), value, source, text }
    }

    fn find(&self, path: &[&str]) -> Option<Value> {
        let (first, rest) = path.split_first()?;
        let mut value = self.figment.find_value(first).ok()?;
        // Step by step: a property's name has dots in it.
        for step in rest {
            value = match value {
                Value::Dict(_, mut table) => table.remove(*step)?,
                Value::Array(_, list) => list.into_iter().nth(step.parse().ok()?)?,
                _ => return None,
            };
        }
        Some(value)
    }

    fn source(&self, value: &Value) -> Option<String> {
        self.figment.get_metadata(value.tag()).map(|metadata| metadata.name.to_string())
    }

    fn explain(&self, error: &figment::Error) -> Problem {
        let path: Vec<_> = error.path.iter().map(String::as_str).collect();
        let text = match &error.kind {
            Kind::UnknownField(_, known) => {
                // Its value is nobody's business: it may be a secret under a misspelt name.
                let problem = self.problem(&path, unknown(&path, known));
                return Problem { value: None, ..problem };
            }
            Kind::UnknownVariant(_, known) => format!("must be one of: {}", known.join(", ")),
            Kind::InvalidType(_, expected) | Kind::InvalidValue(_, expected) => {
                format!("must be {expected}")
            }
            other => other.to_string(),
        };
        self.problem(&path, text)
    }
}

fn unknown(path: &[&str], known: &[&str]) -> String {
    let mut known = known.to_vec();
    known.sort_unstable();
    let place = match path {
        [tables @ .., _] if !tables.is_empty() => format!("under {} there", tables.join(".")),
        _ => "at the top level there".to_owned(),
    };
    format!("there is no such key; {place} are: {}", known.join(", "))
}

/// A value as TOML would have it, secrets masked; `None` for a table.
fn shown(path: &[&str], value: &Value) -> Option<String> {
    match value {
        _ if is_secret(path) => Some("***".to_owned()),
        Value::Dict(..) => None,
        Value::String(_, text) if path == ["database", "url"] || text.contains("://") => {
            Some(format!("{:?}", mask_url(text)))
        }
        Value::Array(_, items) => {
            let items: Vec<_> = items.iter().filter_map(|item| shown(path, item)).collect();
            Some(format!("[{}]", items.join(", ")))
        }
        scalar => scalar.deserialize::<serde_json::Value>().ok().map(|json| json.to_string()),
    }
}

/// Whether a value at `path` is masked as a whole: also what was written in place of a table that
/// may hold secrets.
fn is_secret(path: &[&str]) -> bool {
    match path {
        ["kafka", "properties", name, ..] => is_secret_property(name),
        ["kafka", "properties"] | ["kafka"] | ["database"] => true,
        _ => false,
    }
}

/// Makes `security.protocol = ..` without quotes, which TOML reads as tables in tables, the same as
/// `"security.protocol" = ..`, so that a later layer replaces either.
fn flatten_properties(values: &mut Dict) {
    let Some(Value::Dict(_, kafka)) = values.get_mut("kafka") else { return };
    let Some(Value::Dict(_, properties)) = kafka.get_mut("properties") else { return };
    let mut flat = BTreeMap::new();
    let mut open: Vec<_> = std::mem::take(properties).into_iter().collect();
    while let Some((name, value)) = open.pop() {
        match value {
            Value::Dict(_, table) => {
                open.extend(
                    table.into_iter().map(|(inner, value)| (format!("{name}.{inner}"), value)),
                );
            }
            value => {
                flat.insert(name, value);
            }
        }
    }
    *properties = flat;
}
