//! The SQL of one table, made once.

use super::super::table::SqlTable;
use super::room::{ORDINAL, Room};

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
    /// The waiting room.
    pub(super) room: Room,
    /// Empties it within a transaction.
    pub(super) clear_room: String,
    /// From there into the table, in the rows' order; answers with the numbers of those that went.
    pub(super) insert_new: String,
}

impl TableStatements {
    pub(super) fn new(table: &SqlTable) -> Self {
        let (name, columns) = (table.name(), table.columns().join(", "));
        let key = table.key().join(", ");
        let same_key: Vec<_> =
            table.key().iter().map(|column| format!("room.{column} = put.{column}")).collect();
        let waiting = Room::new(WAITING_ROOM, table);
        let room = &waiting.name;
        Self {
            bare_name: table.bare_name(),
            has_key: !table.key().is_empty(),
            copy: format!("copy {name} ({columns}) from stdin binary"),
            clear_room: format!("truncate {room}"),
            // The same key twice in the room: only the first one goes.
            insert_new: format!(
                "with put as (insert into {name} ({columns}) select {columns} from {room} \
                 order by {ORDINAL} on conflict ({key}) do nothing returning {key}) \
                 select min(room.{ORDINAL}) from put join {room} room on {} group by {}",
                same_key.join(" and "),
                qualified(table.key()),
            ),
            room: waiting,
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
