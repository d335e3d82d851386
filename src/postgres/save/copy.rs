//! COPY in its binary form: rows go out as the workers encoded them, in large pieces.

use bytes::{BufMut, Bytes, BytesMut};
use deadpool_postgres::ClientWrapper;
use futures_util::SinkExt;
use tokio_postgres::Error;

/// The signature, no flags, no extension.
const HEADER: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";

/// Large enough that the way to the socket costs nothing, small enough to be forgotten.
const PIECE: usize = 256 * 1024;

/// Sends `rows` through the COPY statement `sql`. With `numbered`, each row gets one more field in
/// front: its number from 0.
pub(super) async fn copy_in<'a>(
    client: &ClientWrapper,
    sql: &str,
    rows: impl Iterator<Item = &'a [u8]> + Send,
    numbered: bool,
) -> Result<u64, Error> {
    let statement = client.prepare_cached(sql).await?;
    let mut sink = std::pin::pin!(client.copy_in::<_, Bytes>(&statement).await?);
    let mut piece = BytesMut::with_capacity(PIECE);
    piece.put_slice(HEADER);
    for (number, row) in (0_i32..).zip(rows) {
        if piece.len() + row.len() > PIECE {
            sink.send(piece.split().freeze()).await?;
            piece.reserve(PIECE.max(row.len() + 16));
        }
        if numbered {
            put_numbered(&mut piece, number, row);
        } else {
            piece.put_slice(row);
        }
    }
    piece.put_i16(-1);
    sink.send(piece.freeze()).await?;
    sink.as_mut().finish().await
}

fn put_numbered(piece: &mut BytesMut, number: i32, row: &[u8]) {
    let (fields, values) = row.split_first_chunk::<2>().expect("a row begins with its field count");
    piece.put_i16(i16::from_be_bytes(*fields) + 1);
    piece.put_i32(4);
    piece.put_i32(number);
    piece.put_slice(values);
}
