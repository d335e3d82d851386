//! Rows in batches, each sorted by primary key, in the form in which they are sent.

use std::error::Error;

use bytes::{BufMut, Bytes, BytesMut};
use tokio_postgres::types::{IsNull, ToSql, Type, to_sql_checked};

use super::Way;
use super::rows::{Rows, fields};

/// The signature, no flags, no extension.
const HEADER: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";

/// Large enough that the way to the socket costs nothing.
const PIECE: usize = 256 * 1024;

/// One transaction's rows.
pub(super) struct Batch {
    /// The pieces of a COPY, or an array for each column.
    pub(super) pieces: Vec<Bytes>,
}

/// An array as the server reads it.
#[derive(Debug)]
pub(super) struct RawArray(pub(super) Bytes);

impl ToSql for RawArray {
    fn to_sql(&self, _: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
        out.put_slice(&self.0);
        Ok(IsNull::No)
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    to_sql_checked!();
}

/// Makes batches of `size` rows.
pub(super) fn make(rows: &Rows, way: Way, size: usize) -> Vec<Batch> {
    let all = (0..rows.len()).collect::<Vec<_>>();
    let batch = |places: &[usize]| {
        let mut places = places.to_vec();
        places.sort_by_cached_key(|place| rows.key_of(*place));
        let pieces = match way {
            Way::Copy => pieces(rows, &places),
            Way::Unnest => arrays(rows, &places),
        };
        Batch { pieces }
    };
    all.chunks(size.max(1)).map(batch).collect()
}

fn pieces(rows: &Rows, places: &[usize]) -> Vec<Bytes> {
    let mut pieces = Vec::new();
    let mut piece = BytesMut::with_capacity(PIECE);
    piece.put_slice(HEADER);
    for place in places {
        let row = rows.row(*place);
        if piece.len() + row.len() > PIECE {
            let full = std::mem::replace(&mut piece, BytesMut::with_capacity(PIECE));
            pieces.push(full.freeze());
        }
        piece.put_slice(row);
    }
    piece.put_i16(-1);
    pieces.push(piece.freeze());
    pieces
}

fn arrays(rows: &Rows, places: &[usize]) -> Vec<Bytes> {
    let array = |(index, column): (usize, &super::rows::Column)| {
        let elements = places.iter().filter_map(|place| fields(rows.row(*place)).nth(index));
        let has_null = elements.clone().any(|element| element == (-1_i32).to_be_bytes());
        let mut array = BytesMut::new();
        let dimensions = 1;
        array.put_i32(dimensions);
        array.put_i32(i32::from(has_null));
        array.put_u32(column.type_oid);
        array.put_i32(i32::try_from(places.len()).unwrap_or(i32::MAX));
        let first = 1;
        array.put_i32(first);
        elements.for_each(|element| array.put_slice(element));
        array.freeze()
    };
    rows.columns().iter().enumerate().map(array).collect()
}
