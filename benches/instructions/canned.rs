//! A database connection without a database: the far end has its answers ready and gives them at
//! once, in this thread. Giving them is counted, too: it is a copy of what is ready.

use std::collections::HashMap;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use bytes::{Buf, BufMut, BytesMut};
use diesel_async::AsyncPgConnection;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_postgres::{Config, NoTls};

/// The OIDs of the types that are sent.
pub(crate) const INT8: u32 = 20;
pub(crate) const TEXT: u32 = 25;
pub(crate) const BPCHAR: u32 = 1042;
pub(crate) const UUID: u32 = 2950;

/// A connection on the current runtime whose queries get `answers`.
pub(crate) async fn connect(answers: Vec<Answer>) -> AsyncPgConnection {
    let server = Server { answers, ..Server::default() };
    let mut config = Config::new();
    config.user("bench");
    let connected = config.connect_raw(server, NoTls).await;
    let (client, driver) = connected.expect("the canned server lets everybody in");
    tokio::spawn(driver);
    AsyncPgConnection::try_from(client).await.expect("the canned server agrees to all settings")
}

/// The answer to each query that names a table.
#[derive(Default)]
pub(crate) struct Answer {
    table: &'static str,
    /// What its rows look like, as a message.
    described: BytesMut,
    rows: BytesMut,
}

impl Answer {
    /// Rows of `types` without any row yet, to queries that name `table`.
    pub(crate) fn new(table: &'static str, types: &[u32]) -> Self {
        let mut described = BytesMut::new();
        message(&mut described, b'T', |body| {
            body.put_i16(types.len() as i16);
            for oid in types {
                // Name, table, column, type, its size and modifier, binary.
                body.put_slice(b"c\0");
                body.put_slice(&[0; 6]);
                body.put_u32(*oid);
                body.put_slice(&[0; 6]);
                body.put_i16(1);
            }
        });
        Self { table, described, rows: BytesMut::new() }
    }

    /// Adds a row of these values in binary form.
    pub(crate) fn row(&mut self, values: &[&[u8]]) {
        message(&mut self.rows, b'D', |body| {
            body.put_i16(values.len() as i16);
            for value in values {
                body.put_i32(value.len() as i32);
                body.put_slice(value);
            }
        });
    }
}

/// Appends a message of the protocol: its kind, its length and what `fill` puts into it.
fn message(to: &mut BytesMut, kind: u8, fill: impl FnOnce(&mut BytesMut)) {
    to.put_u8(kind);
    let start = to.len();
    to.put_i32(0);
    fill(to);
    let length = (to.len() - start) as i32;
    to[start..start + 4].copy_from_slice(&length.to_be_bytes());
}

/// What is known of a statement since it was prepared.
struct Statement {
    /// The types of its parameters, as the client has named them.
    parameters: Vec<u8>,
    /// None if it gives no rows.
    answer: Option<usize>,
}

/// The far end.
#[derive(Default)]
struct Server {
    answers: Vec<Answer>,
    statements: HashMap<Vec<u8>, Statement>,
    /// The answer to what was bound last.
    bound: Option<usize>,
    has_begun: bool,
    heard: BytesMut,
    said: BytesMut,
    reader: Option<Waker>,
}

impl Server {
    /// Answers all messages that are there as a whole.
    fn answer(&mut self) {
        while let Some((kind, body)) = self.next() {
            match kind {
                b'P' => self.prepare(&body),
                b'D' => self.describe(&body),
                b'B' => self.bind(&body),
                b'E' => self.execute(),
                b'C' => message(&mut self.said, b'3', |_| ()),
                // After a Sync; and after the startup message, which has no kind.
                b'S' => message(&mut self.said, b'Z', |body| body.put_u8(b'I')),
                0 => {
                    message(&mut self.said, b'R', |body| body.put_i32(0));
                    message(&mut self.said, b'Z', |body| body.put_u8(b'I'));
                }
                _ => {}
            }
        }
        if let Some(reader) = self.reader.take_if(|_| !self.said.is_empty()) {
            reader.wake();
        }
    }

    fn next(&mut self) -> Option<(u8, BytesMut)> {
        let head = usize::from(self.has_begun);
        let length = self.heard.get(head..head + 4)?;
        let length = u32::from_be_bytes(length.try_into().ok()?) as usize;
        if self.heard.len() < head + length {
            return None;
        }
        let kind = if self.has_begun { self.heard.get_u8() } else { 0 };
        self.has_begun = true;
        let mut body = self.heard.split_to(length);
        body.advance(4);
        Some((kind, body))
    }

    fn prepare(&mut self, body: &[u8]) {
        let (name, sql) = text(body);
        let (sql, parameters) = text(sql);
        let sql = String::from_utf8_lossy(sql);
        let answer = self.answers.iter().position(|answer| sql.contains(answer.table));
        let statement = Statement { parameters: parameters.to_vec(), answer };
        self.statements.insert(name.to_vec(), statement);
        message(&mut self.said, b'1', |_| ());
    }

    fn describe(&mut self, body: &[u8]) {
        let statement = self.statements.get(text(&body[1..]).0).expect("it is prepared");
        // Their number and their types, just as they came.
        message(&mut self.said, b't', |body| body.put_slice(&statement.parameters));
        match statement.answer {
            Some(answer) => self.said.extend_from_slice(&self.answers[answer].described),
            None => message(&mut self.said, b'n', |_| ()),
        }
    }

    fn bind(&mut self, body: &[u8]) {
        let (_portal, rest) = text(body);
        self.bound = self.statements.get(text(rest).0).and_then(|statement| statement.answer);
        message(&mut self.said, b'2', |_| ());
    }

    fn execute(&mut self) {
        if let Some(answer) = self.bound {
            self.said.extend_from_slice(&self.answers[answer].rows);
        }
        message(&mut self.said, b'C', |body| body.put_slice(b"SELECT 0\0"));
    }
}

/// A terminated text, and what lies behind it.
fn text(bytes: &[u8]) -> (&[u8], &[u8]) {
    let end = bytes.iter().position(|byte| *byte == 0).expect("a text is terminated");
    (&bytes[..end], &bytes[end + 1..])
}

impl AsyncRead for Server {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.said.is_empty() {
            self.reader = Some(context.waker().clone());
            return Poll::Pending;
        }
        let length = buffer.remaining().min(self.said.len());
        buffer.put_slice(&self.said.split_to(length));
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Server {
    fn poll_write(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.heard.extend_from_slice(bytes);
        self.answer();
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
