//! A table that rows are saved to, as SQL says it: every identifier quoted.

use diesel::pg::{Pg, PgQueryBuilder};
use diesel::query_builder::{QueryBuilder, QueryFragment};

/// A table's name as somebody writes it in SQL: qualified or not, quoted or not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableName {
    written: String,
    parts: Vec<String>,
}

impl TableName {
    /// Reads a name as the server would: what is not quoted is in lower case. `None` if it is none.
    pub fn parse(written: &str) -> Option<Self> {
        let (mut parts, mut rest) = (Vec::new(), written);
        loop {
            let (part, behind) = identifier(rest)?;
            parts.push(part);
            match behind.strip_prefix('.') {
                Some(behind) if parts.len() < 2 => rest = behind,
                _ if behind.is_empty() => break,
                _ => return None,
            }
        }
        Some(Self { written: written.to_owned(), parts })
    }

    /// With every identifier quoted. Without a schema, the server's `search_path` finds it.
    pub fn quoted(&self) -> String {
        self.parts.iter().map(|part| quote(part)).collect::<Vec<_>>().join(".")
    }

    /// As it was written.
    pub fn written(&self) -> &str {
        &self.written
    }
}

/// The identifier that `text` begins with, and what is behind it.
fn identifier(text: &str) -> Option<(String, &str)> {
    if let Some(inside) = text.strip_prefix('"') {
        let (mut name, mut rest) = (String::new(), inside);
        loop {
            let (before, behind) = rest.split_once('"')?;
            name.push_str(before);
            match behind.strip_prefix('"') {
                Some(behind) => {
                    name.push('"');
                    rest = behind;
                }
                None => {
                    return (!name.is_empty() && !name.contains('\0')).then_some((name, behind));
                }
            }
        }
    }
    let is_sound = |c: char| c.is_alphanumeric() || matches!(c, '_' | '$');
    let end = text.find(|c: char| !is_sound(c)).unwrap_or(text.len());
    let (name, behind) = text.split_at(end);
    let begins = name.starts_with(|c: char| c.is_alphabetic() || c == '_');
    begins.then(|| (name.to_ascii_lowercase(), behind))
}

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
    fn a_table_is_named_as_in_sql() {
        let quoted = |written| TableName::parse(written).map(|name| name.quoted());
        let names = [
            ("Raw.Records", r#""raw"."records""#),
            (r#"raw."Records""#, r#""raw"."Records""#),
            (r#""a""b.c"."d""#, r#""a""b.c"."d""#),
            ("records_2", r#""records_2""#),
            ("größe.maß$", r#""größe"."maß$""#),
        ];
        for (written, expected) in names {
            assert_eq!(quoted(written).as_deref(), Some(expected), "{written}");
        }
        let wrong =
            ["", ".", "a.", ".b", "a.b.c", "a b", "a;b", "1a", "\"a", "\"\"", "a-b", "\"\0\""];
        for written in wrong {
            assert_eq!(quoted(written), None, "{written}");
        }
    }

    #[test]
    fn names_are_quoted_and_read_back() {
        let table = SqlTable::new(&["my schema", "a\"b"], &["user"], &[]);
        assert_eq!(table.name(), r#""my schema"."a""b""#);
        assert_eq!(table.bare_name(), "a\"b");
        assert_eq!(table.columns(), [r#""user""#]);
        assert_eq!(SqlTable::new(&["plain"], &[], &[]).bare_name(), "plain");
    }
}
