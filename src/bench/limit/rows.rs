//! The rows to write: those that the service has saved, read back byte for byte in binary COPY
//! form, in the order in which they lie in the table, which is that of saving.

use futures_util::TryStreamExt;
use tokio_postgres::Client;

use crate::bench::error::BenchError;

/// The head of a binary COPY: its signature, flags, and the length of an extension.
const HEAD: usize = 19;

/// A column of the table.
pub(super) struct Column {
    name: String,
    /// The type's name, quoted.
    type_name: String,
    /// The type's number.
    pub(super) type_oid: u32,
}

/// All rows of a run.
pub(in crate::bench) struct Rows {
    table: String,
    columns: Vec<Column>,
    /// The columns of the primary key, by their places.
    key: Vec<usize>,
    bytes: Vec<u8>,
    /// Where each row ends.
    ends: Vec<usize>,
}

impl Rows {
    /// Reads the rows of `table` for which `condition` holds.
    pub(in crate::bench) async fn read(
        client: &Client,
        table: &str,
        condition: &str,
    ) -> Result<Self, BenchError> {
        let read = async {
            let columns = columns(client, table).await?;
            let key = key(client, table, &columns).await?;
            // From its first page on, whoever else reads it.
            client.batch_execute("set synchronize_seqscans = off").await?;
            let names = names(&columns);
            let copy =
                format!("copy (select {names} from {table} where {condition}) to stdout binary");
            let mut pieces = std::pin::pin!(client.copy_out(&copy).await?);
            let mut bytes = Vec::new();
            while let Some(piece) = pieces.try_next().await? {
                bytes.extend_from_slice(&piece);
            }
            let ends = row_ends(&bytes);
            Ok(Self { table: table.to_owned(), columns, key, bytes, ends })
        };
        read.await.map_err(BenchError::database::<tokio_postgres::Error>("reading the rows back"))
    }

    /// How many there are.
    pub(in crate::bench) fn len(&self) -> usize {
        self.ends.len()
    }

    pub(super) fn table(&self) -> &str {
        &self.table
    }

    pub(super) fn columns(&self) -> &[Column] {
        &self.columns
    }

    pub(super) fn column_names(&self) -> String {
        names(&self.columns)
    }

    /// `$1::uuid[], $2::text[], ..`
    pub(super) fn array_parameters(&self) -> String {
        let parameters = (1..).zip(&self.columns);
        let parameters =
            parameters.map(|(number, column)| format!("${number}::{}[]", column.type_name));
        parameters.collect::<Vec<_>>().join(", ")
    }

    /// One row, its number of fields in front.
    pub(super) fn row(&self, index: usize) -> &[u8] {
        let start = index.checked_sub(1).map_or(HEAD, |before| self.ends[before]);
        &self.bytes[start..self.ends[index]]
    }

    /// The bytes of a row's primary key. Ordered as the key is, for the types that keys have here.
    pub(super) fn key_of(&self, index: usize) -> Vec<u8> {
        let fields = fields(self.row(index)).collect::<Vec<_>>();
        self.key.iter().flat_map(|place| fields[*place].iter().copied()).collect()
    }
}

/// The fields of a row, each with its length in front.
pub(super) fn fields(row: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = &row[2..];
    std::iter::from_fn(move || {
        let length = i32::from_be_bytes(*rest.first_chunk::<4>()?);
        let (field, after) = rest.split_at(4 + usize::try_from(length).unwrap_or(0));
        rest = after;
        Some(field)
    })
}

fn row_ends(bytes: &[u8]) -> Vec<usize> {
    let mut ends = Vec::new();
    let mut at = HEAD;
    while let Some(count) = bytes.get(at..at + 2) {
        let count = i16::from_be_bytes([count[0], count[1]]);
        // The trailer has -1 in its place.
        let Ok(count) = usize::try_from(count) else { break };
        at += 2 + fields(&bytes[at..]).take(count).map(<[u8]>::len).sum::<usize>();
        ends.push(at);
    }
    ends
}

fn names(columns: &[Column]) -> String {
    columns.iter().map(|column| column.name.as_str()).collect::<Vec<_>>().join(", ")
}

async fn columns(client: &Client, table: &str) -> Result<Vec<Column>, tokio_postgres::Error> {
    let sql = "select quote_ident(a.attname), \
               quote_ident(n.nspname) || '.' || quote_ident(t.typname), t.oid \
               from pg_attribute a join pg_type t on t.oid = a.atttypid \
               join pg_namespace n on n.oid = t.typnamespace \
               where a.attrelid = $1::text::regclass and a.attnum > 0 and not a.attisdropped \
               order by a.attnum";
    let rows = client.query(sql, &[&table]).await?;
    let column = |row: &tokio_postgres::Row| Column {
        name: row.get(0),
        type_name: row.get(1),
        type_oid: row.get(2),
    };
    Ok(rows.iter().map(column).collect())
}

async fn key(
    client: &Client,
    table: &str,
    columns: &[Column],
) -> Result<Vec<usize>, tokio_postgres::Error> {
    let sql = "select quote_ident(a.attname) from pg_index i join pg_attribute a \
               on a.attrelid = i.indrelid and a.attnum = any(i.indkey) \
               where i.indrelid = $1::text::regclass and i.indisprimary \
               order by array_position(i.indkey::int2[], a.attnum)";
    let rows = client.query(sql, &[&table]).await?;
    let place = |name: String| columns.iter().position(|column| column.name == name);
    Ok(rows.iter().filter_map(|row| place(row.get(0))).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_and_fields_are_found_in_what_copy_sends() {
        let mut bytes = vec![0; HEAD];
        bytes.extend(b"\0\x02\0\0\0\x01a\xff\xff\xff\xff");
        bytes.extend(b"\0\x02\0\0\0\0\0\0\0\x02bc");
        bytes.extend(b"\xff\xff");
        let ends = row_ends(&bytes);
        assert_eq!(ends.len(), 2);
        let rows = [&bytes[HEAD..ends[0]], &bytes[ends[0]..ends[1]]];
        let null: &[u8] = b"\xff\xff\xff\xff";
        assert_eq!(fields(rows[0]).collect::<Vec<_>>(), [&b"\0\0\0\x01a"[..], null]);
        assert_eq!(fields(rows[1]).nth(1), Some(&b"\0\0\0\x02bc"[..]));
    }
}
