//! A temporary table through which rows go on their way into their own. Each has a number there.

use super::super::table::SqlTable;

/// The column of the number.
pub(super) const ORDINAL: &str = "longshore_ordinal";

/// The statements that make a room and fill it.
pub(super) struct Room {
    /// Its name, qualified.
    pub(super) name: String,
    /// Makes it; it is empty at the start of each transaction.
    pub(super) make: String,
    /// Into it.
    pub(super) copy: String,
}

impl Room {
    /// The room `name` for rows of `table`.
    pub(super) fn new(name: &str, table: &SqlTable) -> Self {
        let (of, columns) = (table.name(), table.columns().join(", "));
        Self {
            name: format!("pg_temp.{name}"),
            // Not `like`: that takes over "not null" of columns that rows do not carry.
            make: format!(
                "create temp table if not exists {name} on commit delete rows as \
                 select 0::int as {ORDINAL}, {columns} from {of} with no data"
            ),
            copy: format!("copy pg_temp.{name} ({ORDINAL}, {columns}) from stdin binary"),
        }
    }
}
