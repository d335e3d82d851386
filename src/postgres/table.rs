//! A table that rows are saved to, as SQL says it: every identifier quoted.

use diesel::pg::{Pg, PgQueryBuilder};
use diesel::query_builder::{QueryBuilder, QueryFragment};

/// A table that rows are saved to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SqlTable {
    name: String,
    columns: Vec<String>,
    key: Vec<String>,
}

impl SqlTable {
    /// The table `name`, qualified or not, whose rows carry `columns` in this order. `key` is its
    /// primary key, empty if it has none. Plain names: they are quoted here.
    pub fn new(name: &[&str], columns: &[&str], key: &[&str]) -> Self {
        let quoted = |names: &[&str]| names.iter().map(|name| quote(name)).collect::<Vec<_>>();
        Self { name: quoted(name).join("."), columns: quoted(columns), key: quoted(key) }
    }

    /// The table that diesel knows as `table`.
    pub fn of(table: &impl QueryFragment<Pg>, columns: &[&str], key: &[&str]) -> Self {
        let mut sql = PgQueryBuilder::new();
        table.to_sql(&mut sql, &Pg).expect("a table's name has no parameter that could fail");
        Self { name: sql.finish(), ..Self::new(&[], columns, key) }
    }

    /// The qualified name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The columns that rows carry, in their order.
    pub fn columns(&self) -> &[String] {
        &self.columns
    }

    /// The columns of the primary key; none if the table has none.
    pub fn key(&self) -> &[String] {
        &self.key
    }

    /// The name without its schema, as the server's error contexts say it.
    pub fn bare_name(&self) -> String {
        let last = self.name.rsplit("\".\"").next().unwrap_or_default();
        last.trim_matches('"').replace("\"\"", "\"")
    }
}

/// A table whose rows records change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChangedTable {
    /// The table; its rows carry at least the key and what is set.
    pub table: SqlTable,
    /// The columns that are set, quoted.
    pub set: Vec<String>,
}

impl ChangedTable {
    /// `set` are plain names of columns of `table`.
    pub fn new(table: SqlTable, set: &[&str]) -> Self {
        Self { table, set: set.iter().map(|name| quote(name)).collect() }
    }
}

/// Quotes an identifier.
pub fn quote(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_quoted_and_read_back() {
        let table = SqlTable::new(&["my schema", "a\"b"], &["user"], &[]);
        assert_eq!(table.name(), r#""my schema"."a""b""#);
        assert_eq!(table.bare_name(), "a\"b");
        assert_eq!(table.columns(), [r#""user""#]);
        assert_eq!(SqlTable::new(&["plain"], &[], &[]).bare_name(), "plain");
    }
}
