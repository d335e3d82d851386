//! Holds a table against what lands in it: which columns it must have, of which types, and what
//! makes a record a repeat. All that does not fit is told at once.

use std::fmt;

use crate::config::{ColumnForm, ConfigError, DEFAULT_TABLE, PipelineConfig, Problem};
use crate::postgres::shape::{ColumnShape, KeyShape, TableShape};
use crate::postgres::table::{SqlTable, TableName};

/// Columns that every table has, and their types: as the server says them, and as people do.
const COLUMNS: [(&str, &[&str], &str); 6] = [
    ("topic", &["text", "character varying"], "text"),
    ("partition", &["integer"], "int"),
    ("offset", &["bigint"], "bigint"),
    ("recorded_at", &["timestamp with time zone"], "timestamptz"),
    ("key", &["text", "character varying", "bytea"], "text or bytea"),
    ("value", &["text", "character varying", "bytea"], "text or bytea"),
];

/// The column that a table may have besides.
const HEADERS: &str = "headers";

/// The place of a record: no two records have the same.
const PLACE: [&str; 3] = ["topic", "partition", "offset"];

/// What may be in a key besides, because a table that is partitioned by time must have it there.
const TIME: &str = "recorded_at";

/// How rows of one table are written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Columns {
    pub(super) key: ColumnForm,
    pub(super) value: ColumnForm,
    pub(super) has_headers: bool,
    /// The columns of the table's key, in its order; none if every record is inserted.
    identity: Vec<String>,
    /// As it is written in SQL.
    table: String,
}

impl Columns {
    /// Holds `shape` against the configuration.
    ///
    /// # Errors
    /// All that does not fit, with the key to change.
    pub(super) fn fit(config: &PipelineConfig, shape: &TableShape) -> Result<Self, ConfigError> {
        let mut fit = Fit { config, shape, problems: Vec::new() };
        fit.missing();
        for (name, types, expected) in COLUMNS {
            fit.column(name, types, expected);
        }
        fit.column(HEADERS, &["jsonb"], "jsonb");
        let has_headers = fit.find(HEADERS).is_some();
        fit.left_out();
        let landing = &config.landing;
        let (key, value) = (fit.form("key", landing.key), fit.form("value", landing.value));
        let identity = fit.identity();
        match fit.problems.is_empty() {
            true => Ok(Self { key, value, has_headers, identity, table: named(shape) }),
            false => Err(ConfigError::Keys(fit.problems)),
        }
    }

    /// Those of a table for tests.
    #[cfg(test)]
    pub(super) fn plain(value: ColumnForm, has_headers: bool, identity: &[&str]) -> Self {
        let identity = identity.iter().map(|&column| column.to_owned()).collect();
        Self { key: ColumnForm::Text, value, has_headers, identity, table: String::new() }
    }

    /// The table as the store writes to it.
    pub(super) fn table(&self, shape: &TableShape) -> SqlTable {
        let headers = self.has_headers.then_some(HEADERS);
        let columns: Vec<_> = COLUMNS.iter().map(|(name, ..)| *name).chain(headers).collect();
        let key: Vec<_> = self.identity.iter().map(String::as_str).collect();
        SqlTable::new(&[&shape.schema, &shape.name], &columns, &key)
    }

    /// Whether a repeat is a duplicate.
    pub(super) fn has_identity(&self) -> bool {
        !self.identity.is_empty()
    }

    /// Whether the time is part of what makes a record a repeat.
    pub(super) fn is_told_by_time(&self) -> bool {
        self.identity.iter().any(|column| column == TIME)
    }
}

/// What `longshore check` says of it.
impl fmt::Display for Columns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let headers = if self.has_headers { "with headers" } else { "without headers" };
        let (key, value) = (self.key.name(), self.value.name());
        write!(f, "lands in {}: key as {key}, value as {value}, {headers}; ", self.table)?;
        match self.has_identity() {
            true => write!(f, "a repeat is told by ({})", listed(&self.identity)),
            false => f.write_str("no key, each record is a row"),
        }
    }
}

/// One table held against one configuration.
struct Fit<'a> {
    config: &'a PipelineConfig,
    shape: &'a TableShape,
    problems: Vec<Problem>,
}

impl Fit<'_> {
    fn refuse(&mut self, text: String) {
        self.problems.push(table_problem(self.config, text));
    }

    fn find(&self, name: &str) -> Option<&ColumnShape> {
        self.shape.columns.iter().find(|column| column.name == name)
    }

    fn missing(&mut self) {
        let is_missing = |name: &str| self.find(name).is_none();
        let missing: Vec<_> = COLUMNS
            .iter()
            .filter(|(name, ..)| is_missing(name))
            .map(|(name, _, expected)| format!("{} {expected}", shown(name)))
            .collect();
        if !missing.is_empty() {
            let text = format!("{} has no column {}", named(self.shape), missing.join(", "));
            self.refuse(text);
        }
    }

    /// Checks a column if it is there.
    fn column(&mut self, name: &str, types: &[&str], expected: &str) {
        let Some(found) = self.find(name) else { return };
        let ColumnShape { type_name, base_type, is_generated, .. } = found;
        let (of, column) = (named(self.shape), shown(name));
        let problem = if !types.contains(&base_type.as_str()) {
            format!("column {column} of {of} is {type_name}; it must be {expected}")
        } else if *is_generated {
            format!("column {column} of {of} is computed by the database; it must be a plain one")
        } else {
            return;
        };
        self.refuse(problem);
    }

    /// Looks for columns that rows must have and ours do not.
    fn left_out(&mut self) {
        let is_ours =
            |name: &str| name == HEADERS || COLUMNS.iter().any(|(column, ..)| *column == name);
        let left_out = |column: &&ColumnShape| !is_ours(&column.name) && !column.may_be_left_out;
        let names = self.shape.columns.iter().filter(left_out).map(|column| &*column.name);
        let names: Vec<_> = names.map(str::to_owned).collect();
        if !names.is_empty() {
            let (of, names) = (named(self.shape), listed(&names));
            let text = "records have nothing for it: let it be null, or give it a default";
            self.refuse(format!("column {names} of {of} must not be null; {text}"));
        }
    }

    /// How a column holds bytes. That it is missing, or holds none, is told elsewhere.
    fn form(&mut self, name: &str, written: Option<ColumnForm>) -> ColumnForm {
        let form = match self.find(name).map(|column| column.base_type.as_str()) {
            Some("bytea") => ColumnForm::Bytea,
            Some("text" | "character varying") => ColumnForm::Text,
            _ => return ColumnForm::Text,
        };
        if let Some(written) = written.filter(|written| *written != form) {
            let of = named(self.shape);
            let (form, written) = (form.name(), written.name());
            self.problems.push(Problem {
                key: format!("pipelines.{}.{name}", self.config.name),
                value: Some(format!("\"{written}\"")),
                source: None,
                text: format!(
                    "column {name} of {of} is {form}; write \"{form}\" or leave it out, or name a \
                     table where it is {written}"
                ),
            });
        }
        form
    }

    /// What makes a record a repeat: the primary key, if it is the record's place, or another
    /// unique index on that.
    fn identity(&mut self) -> Vec<String> {
        let is_place = |key: &&KeyShape| {
            let is_part = |column: &String| PLACE.contains(&column.as_str());
            let is_time = |column: &String| key.is_primary && column == TIME;
            PLACE.iter().all(|part| key.columns.iter().any(|column| column == part))
                && key.columns.iter().all(|column| is_part(column) || is_time(column))
        };
        if let Some(key) = self.shape.keys.iter().find(is_place) {
            return key.columns.clone();
        }
        let is_ours = |column: &String| COLUMNS.iter().any(|(name, ..)| name == column);
        let wrong = |key: &&KeyShape| key.is_primary && key.columns.iter().all(is_ours);
        if let Some(KeyShape { columns, .. }) = self.shape.keys.iter().find(wrong) {
            let text = format!(
                "the primary key of {} is ({}), and of records that have it in common one alone \
                 would be saved; it must be ({}), or none",
                named(self.shape),
                listed(columns),
                listed(&PLACE.map(str::to_owned)),
            );
            self.refuse(text);
        }
        Vec::new()
    }
}

/// A problem with the table that the configuration names, or would name.
pub(super) fn table_problem(config: &PipelineConfig, text: String) -> Problem {
    let table = config.landing.table.as_ref().map_or(DEFAULT_TABLE, TableName::written);
    let key = format!("pipelines.{}.table", config.name);
    Problem { key, value: Some(format!("{table:?}")), source: None, text }
}

/// What to say of a table that is not there.
pub(super) fn no_table(table: &TableName) -> String {
    let columns: Vec<_> =
        COLUMNS.iter().map(|(name, _, expected)| format!("{} {expected}", shown(name))).collect();
    format!(
        "there is no table {}; make it, with the columns {}, {HEADERS} jsonb if they are wanted, \
         or leave `table` out for {DEFAULT_TABLE}",
        table.quoted(),
        columns.join(", ")
    )
}

/// The table as SQL says it.
fn named(shape: &TableShape) -> String {
    format!("{}.{}", shown(&shape.schema), shown(&shape.name))
}

fn listed(columns: &[String]) -> String {
    columns.iter().map(|column| shown(column)).collect::<Vec<_>>().join(", ")
}

/// A name as people write it in SQL: quoted if it must be.
fn shown(name: &str) -> String {
    let is_plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    match name != "offset" && name.chars().all(is_plain) {
        true => name.to_owned(),
        false => format!("{name:?}"),
    }
}
