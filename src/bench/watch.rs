//! What is committed: the stored offsets, as the database shows them to everybody.

use std::collections::BTreeMap;

use tokio_postgres::{Client, Statement};

use super::error::BenchError;

/// Looks at the stored offsets of one group.
pub(super) struct OffsetWatch<'a> {
    client: &'a Client,
    statement: Statement,
    group: String,
}

impl<'a> OffsetWatch<'a> {
    /// Looks over `client` at what `group` has stored.
    pub(super) async fn new(client: &'a Client, group: &str) -> Result<Self, BenchError> {
        let sql = "select partition, next_offset from longshore.offsets where \"group\" = $1";
        let statement = client.prepare(sql).await;
        let statement = statement.map_err(BenchError::database("preparing to watch offsets"))?;
        Ok(Self { client, statement, group: group.to_owned() })
    }

    /// The first offset of each partition that is not committed yet.
    pub(super) async fn look(&self) -> Result<BTreeMap<i32, i64>, BenchError> {
        let rows = self.client.query(&self.statement, &[&self.group]).await;
        let rows = rows.map_err(BenchError::database("watching offsets"))?;
        Ok(rows.iter().map(|row| (row.get(0), row.get(1))).collect())
    }
}
