//! What a `[pipelines.NAME]` of kind `landing` says besides: the table, and how keys and values lie
//! in it.

use serde::Deserialize;

use super::check::Checks;
use super::pipeline::Kind;
use super::raw::RawPipeline;
use crate::postgres::table::TableName;

/// The table that Longshore's migration makes.
pub const DEFAULT_TABLE: &str = "landing.records";

/// Where records land; for pipelines of other kinds the default, which says nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LandingConfig {
    /// The table, `None` for [`DEFAULT_TABLE`].
    pub table: Option<TableName>,
    /// How the table holds keys; `None`: as its column's type says.
    pub key: Option<ColumnForm>,
    /// How the table holds values; `None`: as its column's type says.
    pub value: Option<ColumnForm>,
}

/// How a column holds bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ColumnForm {
    /// As text in UTF-8, which has no NUL in PostgreSQL.
    Text,
    /// As they are.
    Bytea,
}

impl ColumnForm {
    /// As it is written in the configuration, which is also the type's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Bytea => "bytea",
        }
    }
}

/// [`DEFAULT_TABLE`], read.
pub fn default_table() -> TableName {
    TableName::parse(DEFAULT_TABLE).expect("it is a name")
}

/// Checks what one `[pipelines.NAME]` says about landing.
pub(super) fn check(
    checks: &mut Checks<'_>,
    name: &str,
    raw: &RawPipeline,
    kind: Option<&Kind>,
) -> LandingConfig {
    let key = |key| ["pipelines", name, key];
    if kind.is_some_and(|kind| !kind.lands) {
        let written = [
            ("table", raw.table.is_some()),
            ("key", raw.key.is_some()),
            ("value", raw.value.is_some()),
        ];
        for (name, _) in written.into_iter().filter(|(_, is_written)| *is_written) {
            let text = "is for pipelines that land records as they are: those with kind = \
                        \"landing\"";
            checks.refuse(&key(name), text);
        }
        return LandingConfig::default();
    }
    let table = raw.table.as_deref().and_then(|written| {
        let table = TableName::parse(written);
        if table.is_none() {
            let text = "must be the name of a table as SQL has it, such as \"raw.records\" or \
                        'raw.\"Records\"'";
            checks.refuse(&key("table"), text);
        }
        let is_default = |table: &TableName| table.quoted() == default_table().quoted();
        table.filter(|table| !is_default(table))
    });
    LandingConfig { table, key: raw.key, value: raw.value }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, ConfigError, Layers};

    const KINDS: [Kind; 2] = [
        Kind { name: "ads", default_topics: &["ads.events"], lookups: &[], lands: false },
        Kind { name: "landing", default_topics: &[], lookups: &[], lands: true },
    ];

    fn build(toml: &str) -> Result<Config, ConfigError> {
        let url = "[database]\nurl = \"postgres://me@db/shop\"\n";
        Layers::new().text("longshore.toml", &format!("{url}{toml}"))?.build(&KINDS)
    }

    fn error(toml: &str) -> String {
        build(toml).expect_err("this configuration is wrong").to_string()
    }

    fn landing(toml: &str) -> LandingConfig {
        let toml = format!("[pipelines.raw]\nkind = \"landing\"\ntopics = [\"t\"]\n{toml}");
        build(&toml).expect("this configuration is fine").pipelines.remove(0).landing
    }

    #[test]
    fn without_a_word_the_table_is_ours_and_decides() {
        assert_eq!(landing(""), LandingConfig::default());
        assert_eq!(landing("table = \"Landing.Records\"").table, None, "named, it is the same");
        let own = landing("table = 'lake.\"T\"'\nkey = \"bytea\"\nvalue = \"text\"");
        assert_eq!(own.table.map(|table| table.quoted()).as_deref(), Some(r#""lake"."T""#));
        assert_eq!((own.key, own.value), (Some(ColumnForm::Bytea), Some(ColumnForm::Text)));
    }

    #[test]
    fn what_only_landing_has_is_refused_elsewhere() {
        let told = error("[pipelines.ads]\ntable = \"t\"\nkey = \"text\"\nvalue = \"text\"");
        assert_eq!(told.lines().count(), 3, "{told}");
        let expected = "pipelines.ads.table = \"t\" (longshore.toml): is for pipelines that land \
                        records as they are: those with kind = \"landing\"";
        assert_eq!(told.lines().next(), Some(expected));
    }

    #[test]
    fn a_wrong_form_or_name_and_missing_topics_are_told() {
        let told = error("[pipelines.landing]\ntable = \"a b\"");
        assert!(told.contains("pipelines.landing.table = \"a b\" (longshore.toml): must be the"));
        assert!(told.contains("pipelines.landing.topics: must name the topics to read"), "{told}");
        let told = error("[pipelines.landing]\ntopics = [\"t\"]\nvalue = \"json\"");
        let expected = "pipelines.landing.value = \"json\" (longshore.toml): must be one of: text, \
                        bytea";
        assert_eq!(told, expected);
    }

    #[test]
    fn the_examples_of_the_page_for_users_are_right() {
        let page = include_str!("../../docs/landing.md");
        let blocks = page.split("```toml\n").skip(1).filter_map(|rest| rest.split("```").next());
        let configs: Vec<_> = blocks.map(|block| build(block).expect("an example")).collect();
        assert_eq!(configs.len(), 2);
    }
}
