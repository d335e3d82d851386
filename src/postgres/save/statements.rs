//! The SQL of one table, made once.

use super::super::table::SqlTable;

/// The column that numbers rows on their way through the waiting room.
const ORDINAL: &str = "longshore_ordinal";

/// The temporary table through which rows go when some of their keys are saved already.
const WAITING_ROOM: &str = "longshore_waiting_room";

/// The statements for one table.
pub(super) struct TableStatements {
    /// The name that an error's context has.
    pub(super) bare_name: String,
    /// Whether it has a primary key.
    pub(super) has_key: bool,
    /// Straight into the table.
    pub(super) copy: String,
    /// Makes the waiting room, which is empty at the start of each transaction.
    pub(super) make_room: String,
    /// Empties it within one.
    pub(super) clear_room: String,
    /// Into the waiting room.
    pub(super) copy_to_room: String,
    /// From there into the table, in the rows' order; answers with the numbers of those that went.
    pub(super) insert_new: String,
}

impl TableStatements {
    pub(super) fn new(table: &SqlTable) -> Self {
        let (name, columns) = (table.name(), table.columns().join(", "));
        let key = table.key().join(", ");
        let same_key: Vec<_> =
            table.key().iter().map(|column| format!("room.{column} = put.{column}")).collect();
        let room = format!("pg_temp.{WAITING_ROOM}");
        Self {
            bare_name: table.bare_name(),
            has_key: !table.key().is_empty(),
            copy: format!("copy {name} ({columns}) from stdin binary"),
            // Not `like`: that takes over "not null" of columns that rows do not carry.
            make_room: format!(
                "create temp table if not exists {WAITING_ROOM} on commit delete rows as \
                 select 0::int as {ORDINAL}, {columns} from {name} with no data"
            ),
            clear_room: format!("truncate {room}"),
            copy_to_room: format!("copy {room} ({ORDINAL}, {columns}) from stdin binary"),
            // The same key twice in the room: only the first one goes.
            insert_new: format!(
                "with put as (insert into {name} ({columns}) select {columns} from {room} \
                 order by {ORDINAL} on conflict ({key}) do nothing returning {key}) \
                 select min(room.{ORDINAL}) from put join {room} room on {} group by {}",
                same_key.join(" and "),
                qualified(table.key()),
            ),
        }
    }

    /// The name of the waiting room, as an error's context has it.
    pub(super) fn room_name() -> &'static str {
        WAITING_ROOM
    }
}

fn qualified(columns: &[String]) -> String {
    columns.iter().map(|column| format!("room.{column}")).collect::<Vec<_>>().join(", ")
}
