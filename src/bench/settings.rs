//! The measured service's configuration: TOML keys with their values, which a later one replaces.
//! The same text is checked here and handed to the service.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use figment::providers::{Format, Toml};
use figment::value::Dict;

use crate::config::{Config, ConfigError, Kind, Layers};

/// How errors call these settings.
const NAME: &str = "the bench's configuration and --set";

/// Keys as TOML writes them, with dots, and values in TOML. No `Debug`: a URL may hold a password.
#[derive(Clone, Default)]
pub(crate) struct Settings(BTreeMap<String, String>);

impl Settings {
    /// Sets a key to a value in TOML.
    pub(crate) fn toml(mut self, key: &str, value: &str) -> Self {
        self.0.insert(key.to_owned(), value.to_owned());
        self
    }

    /// Sets a key to a text.
    pub(crate) fn text(self, key: &str, value: &str) -> Self {
        // JSON's strings are TOML's.
        let quoted = serde_json::Value::from(value).to_string();
        self.toml(key, &quoted)
    }

    /// Sets what `--set KEY=VALUE` says: a value in TOML, or a text without its quotes.
    pub(crate) fn written(self, key: &str, value: &str) -> Self {
        match Toml::from_str::<Dict>(&format!("value = {value}")) {
            Ok(_) => self.toml(key, value),
            Err(_) => self.text(key, value),
        }
    }

    /// The file.
    pub(crate) fn to_toml(&self) -> String {
        let mut text = String::new();
        for (key, value) in &self.0 {
            // Writing into a string cannot fail.
            let _ = writeln!(text, "{key} = {value}");
        }
        text
    }

    /// Reads them as the service will.
    ///
    /// # Errors
    /// What is wrong with them.
    pub(crate) fn build(&self, kinds: &[Kind]) -> Result<Config, ConfigError> {
        Layers::new().text(NAME, &self.to_toml())?.build(kinds)
    }
}

#[cfg(test)]
mod tests {
    use super::Settings;

    #[test]
    fn a_later_value_replaces_an_earlier_one_and_texts_need_no_quotes() {
        let settings = Settings::default()
            .toml("database.connections", "4")
            .text("kafka.brokers", "a \"b\"")
            .written("database.connections", "2")
            .written("pipelines.ads.batch.linger", "10ms");
        let expected = "database.connections = 2\nkafka.brokers = \"a \\\"b\\\"\"\n\
                        pipelines.ads.batch.linger = \"10ms\"\n";
        assert_eq!(settings.to_toml(), expected);
    }
}
