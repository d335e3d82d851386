//! The bare limit: one connection, rows made before the clock starts, each batch one transaction
//! with the compare-and-set of an offset and one `insert .. select .. unnest .. on conflict do
//! nothing`, sorted by primary key.

use std::collections::HashSet;
use std::error::Error;

use bytes::{BufMut, BytesMut};
use postgres::types::{IsNull, ToSql, Type, to_sql_checked};
use postgres::{Client, Statement};
use uuid::Uuid;

use crate::support::model::{Enriched, enrich};
use crate::support::records::{Draft, Said};
use crate::support::reference::Reference;

const INSERT: &str = "insert into ads.enriched_events
  select * from unnest($1::uuid[], $2::text[], $3::timestamptz[], $4::bigint[], $5::text[],
    $6::bigint[], $7::text[], $8::text[], $9::text[], $10::bigint[], $11::text[], $12::bool[])
  on conflict do nothing";
const FENCE: &str = "update bare_offset set next_offset = $2 where epoch = 1 and next_offset = $1";

/// All rows that records come to, repeats too, in batches of columns.
#[derive(Debug)]
pub(crate) struct Rows {
    reference: Reference,
    size: usize,
    ids: HashSet<Uuid>,
    open: Vec<(Uuid, Enriched)>,
    batches: Vec<Columns>,
}

impl Rows {
    pub(crate) fn new(reference: &Reference, size: usize) -> Self {
        let reference = reference.clone();
        Self { reference, size, ids: HashSet::new(), open: Vec::new(), batches: Vec::new() }
    }

    /// Takes in the rows of some records; refused records have none.
    pub(crate) fn extend(&mut self, records: &[Draft]) {
        for record in records {
            let Said::Event(event) = &record.said else { continue };
            let Ok(row) = enrich(&self.reference, event) else { continue };
            if row.cost_micros >= 0 {
                self.ids.insert(event.event_id);
                self.open.push((event.event_id, row));
                if self.open.len() == self.size {
                    self.close();
                }
            }
        }
    }

    /// Closes the last batch.
    pub(crate) fn close(&mut self) {
        self.open.sort_by_key(|(id, _)| *id);
        let mut columns = Columns::default();
        self.open.drain(..).for_each(|(id, row)| columns.push(id, row));
        self.batches.push(columns);
    }

    /// How many different ids there are.
    pub(crate) fn distinct(&self) -> usize {
        self.ids.len()
    }

    /// Inserts all of them.
    pub(crate) fn insert(&self, client: &mut Client) {
        let fence = client.prepare(FENCE).expect("a statement");
        let insert = client.prepare(INSERT).expect("a statement");
        for (nth, batch) in (0_i64..).zip(&self.batches) {
            let mut transaction = client.transaction().expect("a transaction");
            let passed = transaction.execute(&fence, &[&nth, &(nth + 1)]).expect("the fence");
            assert_eq!(passed, 1, "fenced");
            batch.insert(&mut transaction, &insert);
            transaction.commit().expect("a commit");
        }
    }
}

/// Makes the offset row that each batch moves.
pub(crate) fn prepare(client: &mut Client) {
    client
        .batch_execute(
            "drop table if exists bare_offset;
             create table bare_offset (epoch bigint primary key, next_offset bigint not null);
             insert into bare_offset values (1, 0)",
        )
        .expect("an offset row");
}

#[derive(Debug, Default)]
struct Columns {
    event_id: Vec<Id>,
    kind: Vec<&'static str>,
    occurred_at: Vec<Time>,
    advertiser_id: Vec<i64>,
    advertiser_name: Vec<String>,
    campaign_id: Vec<i64>,
    campaign_name: Vec<String>,
    user_id: Vec<String>,
    placement: Vec<Option<String>>,
    cost_micros: Vec<i64>,
    currency: Vec<&'static str>,
    billable: Vec<bool>,
}

impl Columns {
    fn push(&mut self, id: Uuid, row: Enriched) {
        self.event_id.push(Id(id));
        self.kind.push(row.kind);
        self.occurred_at.push(Time(row.occurred_micros));
        self.advertiser_id.push(row.advertiser_id);
        self.advertiser_name.push(row.advertiser_name);
        self.campaign_id.push(row.campaign_id);
        self.campaign_name.push(row.campaign_name);
        self.user_id.push(row.user_id);
        self.placement.push(row.placement);
        self.cost_micros.push(row.cost_micros);
        self.currency.push(row.currency);
        self.billable.push(row.billable);
    }

    fn insert(&self, transaction: &mut postgres::Transaction<'_>, insert: &Statement) {
        let inserted = transaction.execute(
            insert,
            &[
                &self.event_id,
                &self.kind,
                &self.occurred_at,
                &self.advertiser_id,
                &self.advertiser_name,
                &self.campaign_id,
                &self.campaign_name,
                &self.user_id,
                &self.placement,
                &self.cost_micros,
                &self.currency,
                &self.billable,
            ],
        );
        inserted.expect("a batch of rows");
    }
}

/// A uuid in binary form.
#[derive(Debug)]
struct Id(Uuid);

impl ToSql for Id {
    fn to_sql(&self, _: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
        out.put_slice(self.0.as_bytes());
        Ok(IsNull::No)
    }

    fn accepts(ty: &Type) -> bool {
        *ty == Type::UUID
    }

    to_sql_checked!();
}

/// Microseconds since 1970, in binary form.
#[derive(Debug)]
struct Time(i64);

impl ToSql for Time {
    fn to_sql(&self, _: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
        // PostgreSQL counts from 2000.
        out.put_i64(self.0 - 946_684_800_000_000);
        Ok(IsNull::No)
    }

    fn accepts(ty: &Type) -> bool {
        *ty == Type::TIMESTAMPTZ
    }

    to_sql_checked!();
}
