//! The bare limit: the same rows, made before the clock starts, into the same table, over as many
//! connections, without Kafka and without a pipeline. Each batch is one transaction with the
//! compare-and-set of an offset row.

mod batches;
mod rows;
mod sleep;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::SinkExt;
use serde::Serialize;
use tokio::runtime::Handle;
use tokio::sync::Barrier;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Statement};

use self::batches::{Batch, RawArray};
pub(super) use self::rows::Rows;
pub(super) use self::sleep::sleep_loop;
use super::error::BenchError;
use crate::postgres::connect::{ConnectOptions, SessionSettings};

/// How long one statement may take.
const STATEMENT_TIMEOUT: Duration = Duration::from_secs(600);

/// A way to write rows without a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Way {
    /// Sorted binary COPY: faster than any way that is safe from duplicates. This is the limit.
    Copy,
    /// `insert .. select .. unnest .. on conflict do nothing`: what is usual, for reference.
    Unnest,
}

/// What a bare way took.
pub(super) struct Written {
    /// From the first transaction's beginning to the last one's end.
    pub(super) elapsed: Duration,
    /// How long each transaction took.
    pub(super) transactions: Vec<Duration>,
    /// Still open: what they have cost the server is to be seen.
    _sessions: Vec<Session>,
}

/// Rows in batches, ready to be written one way over connections that are open already.
pub(super) struct Writing {
    way: Way,
    batches: Arc<Vec<Batch>>,
    sessions: Vec<Session>,
}

/// One connection with its statements.
struct Session {
    number: i32,
    client: Client,
    fence: Statement,
    write: Statement,
}

impl Writing {
    /// Makes batches of `size` rows, and opens the connections.
    pub(super) async fn prepare(
        options: &ConnectOptions,
        way: Way,
        connections: usize,
        rows: &Rows,
        size: usize,
    ) -> Result<Self, BenchError> {
        let batches = Arc::new(batches::make(rows, way, size));
        let mut sessions = Vec::with_capacity(connections);
        for number in (0..).take(connections) {
            sessions.push(Session::open(options, number, &way.statement(rows)).await?);
        }
        Ok(Self { way, batches, sessions })
    }

    /// The same with so many batches at most.
    pub(super) fn at_most(mut self, batches: usize) -> Self {
        if let Some(all) = Arc::get_mut(&mut self.batches) {
            all.truncate(batches);
        }
        self
    }

    /// Writes all batches; each connection takes the next one when it is done with its last.
    pub(super) async fn run(self) -> Result<Written, BenchError> {
        let (next, begin) =
            (Arc::new(AtomicUsize::new(0)), Arc::new(Barrier::new(self.sessions.len() + 1)));
        let tasks: Vec<_> = self
            .sessions
            .into_iter()
            .map(|session| {
                let (batches, next, begin) = (self.batches.clone(), next.clone(), begin.clone());
                tokio::spawn(async move {
                    begin.wait().await;
                    let took = session.write_all(self.way, &batches, &next).await;
                    took.map(|took| (took, session))
                })
            })
            .collect();
        begin.wait().await;
        let begun = Instant::now();
        let (mut transactions, mut sessions) = (Vec::new(), Vec::new());
        for task in tasks {
            let written = task.await?;
            let doing = "writing the bare rows";
            let (took, session) = written.map_err(BenchError::database(doing))?;
            transactions.extend(took);
            sessions.push(session);
        }
        Ok(Written { elapsed: begun.elapsed(), transactions, _sessions: sessions })
    }
}

impl Way {
    fn statement(self, rows: &Rows) -> String {
        let (table, columns) = (rows.table(), rows.column_names());
        match self {
            Self::Copy => format!("copy {table} ({columns}) from stdin binary"),
            Self::Unnest => format!(
                "insert into {table} ({columns}) select * from unnest({}) on conflict do nothing",
                rows.array_parameters()
            ),
        }
    }
}

impl Session {
    async fn open(options: &ConnectOptions, number: i32, write: &str) -> Result<Self, BenchError> {
        let open = async {
            let settings = SessionSettings::with_statement_timeout(STATEMENT_TIMEOUT);
            let (client, _) = options.connect(&settings, &Handle::current()).await?;
            let zero = "insert into bare_offset values ($1, 1, 0) \
                        on conflict (id) do update set next_offset = 0";
            client.execute(zero, &[&number]).await?;
            let fence = client
                .prepare(
                    "update bare_offset set next_offset = $3 \
                     where id = $1 and epoch = 1 and next_offset = $2",
                )
                .await?;
            let write = client.prepare(write).await?;
            Ok(Self { number, client, fence, write })
        };
        open.await.map_err(BenchError::database::<tokio_postgres::Error>("opening a session"))
    }

    async fn write_all(
        &self,
        way: Way,
        batches: &[Batch],
        next: &AtomicUsize,
    ) -> Result<Vec<Duration>, tokio_postgres::Error> {
        let mut took = Vec::new();
        while let Some(batch) = batches.get(next.fetch_add(1, Relaxed)) {
            let begun = Instant::now();
            self.write_one(way, batch, took.len() as i64).await?;
            took.push(begun.elapsed());
        }
        Ok(took)
    }

    /// One transaction. What does not depend on an answer goes out without waiting for one.
    async fn write_one(
        &self,
        way: Way,
        batch: &Batch,
        offset: i64,
    ) -> Result<(), tokio_postgres::Error> {
        let to = offset + 1;
        let parameters: [&(dyn ToSql + Sync); 3] = [&self.number, &offset, &to];
        let begin = self.client.batch_execute("begin");
        let fence = self.client.execute(&self.fence, &parameters);
        let moved = match way {
            Way::Copy => {
                let copy = self.client.copy_in::<_, Bytes>(&self.write);
                let ((), moved, sink) = tokio::try_join!(begin, fence, copy)?;
                let mut sink = std::pin::pin!(sink);
                for piece in &batch.pieces {
                    sink.feed(piece.clone()).await?;
                }
                sink.as_mut().finish().await?;
                moved
            }
            Way::Unnest => {
                let arrays = batch.pieces.iter().cloned().map(RawArray).collect::<Vec<_>>();
                let arrays = arrays.iter().map(|array| array as &(dyn ToSql + Sync));
                let arrays = arrays.collect::<Vec<_>>();
                let insert = self.client.execute(&self.write, &arrays);
                let ((), moved, _) = tokio::try_join!(begin, fence, insert)?;
                moved
            }
        };
        // Nobody else moves the bare offset; a row that is not moved is a mistake in here.
        assert_eq!(moved, 1, "the bare offset row stands where it was left");
        self.client.batch_execute("commit").await
    }
}
