//! A table as the database has it: which columns of which types, and what keeps its rows apart.
//! For pipelines whose table is named in the configuration.

use diesel::QueryableByName;
use diesel::sql_query;
use diesel::sql_types::{Array, Bool, Nullable, Text};
use diesel_async::{AsyncPgConnection, RunQueryDsl};
use longshore_actors::error::StoreError;

use super::errors;
use super::table::TableName;

/// A table, or a partitioned one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableShape {
    /// Its schema.
    pub schema: String,
    /// Its name in it.
    pub name: String,
    /// Its columns, in its order.
    pub columns: Vec<ColumnShape>,
    /// What no two rows have in common: the columns of its unique indexes, the primary key first.
    /// Only whole ones that are checked at once, which `on conflict` can go by.
    pub keys: Vec<KeyShape>,
}

/// A column.
#[derive(Clone, Debug, PartialEq, Eq, QueryableByName)]
pub struct ColumnShape {
    /// Its name.
    #[diesel(sql_type = Text)]
    pub name: String,
    /// Its type as SQL says it, such as `character varying(20)`.
    #[diesel(sql_type = Text)]
    pub type_name: String,
    /// The type without limits, that of a domain's values for a domain.
    #[diesel(sql_type = Text)]
    pub base_type: String,
    /// Whether the server computes it, so that nobody may write it.
    #[diesel(sql_type = Bool)]
    pub is_generated: bool,
    /// Whether rows may come without it.
    #[diesel(sql_type = Bool)]
    pub may_be_left_out: bool,
}

/// A unique index.
#[derive(Clone, Debug, PartialEq, Eq, QueryableByName)]
pub struct KeyShape {
    /// Whether it is the primary key.
    #[diesel(sql_type = Bool)]
    pub is_primary: bool,
    /// Its columns, in its order.
    #[diesel(sql_type = Array<Text>)]
    pub columns: Vec<String>,
}

#[derive(QueryableByName)]
struct Named {
    #[diesel(sql_type = Text)]
    schema: String,
    #[diesel(sql_type = Text)]
    name: String,
    #[diesel(sql_type = Nullable<Text>)]
    other_kind: Option<String>,
}

const NAMED: &str = "select n.nspname::text as schema, c.relname::text as name, \
     case c.relkind when 'r' then null when 'p' then null when 'v' then 'a view' \
     when 'm' then 'a materialized view' when 'f' then 'a foreign table' \
     else 'no table' end as other_kind \
     from pg_class c join pg_namespace n on n.oid = c.relnamespace \
     where c.oid = to_regclass($1)";

const COLUMNS: &str = "select a.attname::text as name, \
     format_type(a.atttypid, a.atttypmod) as type_name, \
     format_type(case t.typtype when 'd' then t.typbasetype else t.oid end, null) as base_type, \
     a.attgenerated <> '' as is_generated, \
     not a.attnotnull or a.atthasdef or a.attidentity <> '' as may_be_left_out \
     from pg_attribute a join pg_type t on t.oid = a.atttypid \
     where a.attrelid = to_regclass($1) and a.attnum > 0 and not a.attisdropped \
     order by a.attnum";

const KEYS: &str = "select i.indisprimary as is_primary, \
     array_agg(a.attname::text order by k.place) as columns \
     from pg_index i \
     join lateral unnest(i.indkey::int2[]) with ordinality as k (attnum, place) \
       on k.place <= i.indnkeyatts \
     join pg_attribute a on a.attrelid = i.indrelid and a.attnum = k.attnum \
     where i.indrelid = to_regclass($1) and i.indisunique and i.indimmediate and i.indisvalid \
       and i.indpred is null and i.indexprs is null \
     group by i.indexrelid, i.indisprimary \
     order by i.indisprimary desc, i.indexrelid";

/// What became of a look for a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// It is there.
    Table(TableShape),
    /// Something else has the name, such as `a view`.
    Other(String),
    /// There is none, or none that we may see.
    Nothing,
}

/// Looks a table up.
///
/// # Errors
/// The database is away, or refuses to tell.
pub async fn find(conn: &mut AsyncPgConnection, table: &TableName) -> Result<Found, StoreError> {
    let quoted = table.quoted();
    let named: Vec<Named> = load(conn, NAMED, &quoted).await?;
    let Some(Named { schema, name, other_kind }) = named.into_iter().next() else {
        return Ok(Found::Nothing);
    };
    if let Some(kind) = other_kind {
        return Ok(Found::Other(kind));
    }
    let columns = load(conn, COLUMNS, &quoted).await?;
    let keys = load(conn, KEYS, &quoted).await?;
    Ok(Found::Table(TableShape { schema, name, columns, keys }))
}

async fn load<R>(
    conn: &mut AsyncPgConnection,
    query: &str,
    table: &str,
) -> Result<Vec<R>, StoreError>
where
    R: QueryableByName<diesel::pg::Pg> + Send + 'static,
{
    let rows = sql_query(query).bind::<Text, _>(table).load(conn).await;
    rows.map_err(|error| errors::of_query(&error))
}
