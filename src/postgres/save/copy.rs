//! COPY in its binary form: rows go out as the workers encoded them, in large pieces.

use std::pin::Pin;

use bytes::{BufMut, Bytes, BytesMut};
use deadpool_postgres::ClientWrapper;
use futures_util::SinkExt;
use futures_util::future::{join, try_join};
use tokio_postgres::{CopyInSink, Error};

/// The signature, no flags, no extension.
const HEADER: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";

/// Large enough that the way to the socket costs nothing, small enough to be forgotten.
const PIECE: usize = 256 * 1024;

/// Statements that are sent together with a COPY: they cost no waiting of their own.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Around {
    /// Before it: it is not begun unless these go well.
    pub(super) before: Option<&'static str>,
    /// Behind it: after a failure they do nothing but fail.
    pub(super) after: Option<&'static str>,
}

/// Why a COPY, or what was sent with it, was not done.
pub(super) enum NotCopied {
    /// For what stood before or behind it, or for the sake of the connection.
    Around(Error),
    /// For its own sake.
    Rows(Error),
}

impl NotCopied {
    /// What the database says.
    pub(super) fn into_error(self) -> Error {
        match self {
            Self::Around(error) | Self::Rows(error) => error,
        }
    }
}

/// Sends `rows` through the COPY statement `sql`. With `numbered`, each row gets one more field in
/// front: its number from 0.
pub(super) async fn copy_in<'a>(
    client: &ClientWrapper,
    sql: &str,
    rows: impl Iterator<Item = &'a [u8]> + Send,
    numbered: bool,
    around: Around,
) -> Result<(), NotCopied> {
    let begun = try_join(run(client, around.before), begin(client, sql)).await;
    let ((), mut sink) = begun.map_err(NotCopied::Around)?;
    let sent = async {
        send(sink.as_mut(), rows, numbered).await?;
        sink.as_mut().finish().await
    };
    // In this order: what is polled first is sent first, and answered first.
    let (sent, after) = join(sent, run(client, around.after)).await;
    sent.map_err(NotCopied::Rows)?;
    after.map_err(NotCopied::Around)
}

async fn run(client: &ClientWrapper, sql: Option<&str>) -> Result<(), Error> {
    match sql {
        Some(sql) => client.batch_execute(sql).await,
        None => Ok(()),
    }
}

async fn begin(client: &ClientWrapper, sql: &str) -> Result<Pin<Box<CopyInSink<Bytes>>>, Error> {
    let statement = client.prepare_cached(sql).await?;
    Ok(Box::pin(client.copy_in(&statement).await?))
}

async fn send<'a>(
    mut sink: Pin<&mut CopyInSink<Bytes>>,
    rows: impl Iterator<Item = &'a [u8]> + Send,
    numbered: bool,
) -> Result<(), Error> {
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
    sink.send(piece.freeze()).await
}

fn put_numbered(piece: &mut BytesMut, number: i32, row: &[u8]) {
    let (fields, values) = row.split_first_chunk::<2>().expect("a row begins with its field count");
    piece.put_i16(i16::from_be_bytes(*fields) + 1);
    piece.put_i32(4);
    piece.put_i32(number);
    piece.put_slice(values);
}
