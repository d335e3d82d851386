//! Typed diesel queries on a saving connection: diesel-async keeps its client to itself, and a
//! context that is locked must be read in the transaction that saves. Diesel makes the SQL, the
//! binds and the values; tokio-postgres carries them.

use std::error::Error as StdError;
use std::marker::PhantomData;
use std::num::NonZeroU32;
use std::ops::Range;

use bytes::BytesMut;
use deadpool_postgres::ClientWrapper;
use diesel::deserialize::FromSqlRow;
use diesel::pg::{Pg, PgQueryBuilder, PgValue};
use diesel::query_builder::bind_collector::RawBytesBindCollector;
use diesel::query_builder::{AsQuery, QueryBuilder, QueryFragment};
use diesel::query_dsl::CompatibleType;
use diesel::row::{Field, PartialRow, Row as DieselRow, RowIndex, RowSealed};
use tokio_postgres::Row;
use tokio_postgres::types::{FromSql, IsNull, ToSql, Type, to_sql_checked};

use super::errors::{self, Failure};
use super::row::NoLookup;

/// A query whose SQL and binds are known; of diesel's types only the result's is left.
pub struct Select<ST> {
    query: diesel::QueryResult<(String, Vec<Bind>)>,
    sql_type: PhantomData<fn() -> ST>,
}

/// Takes the SQL and the binds of `query`.
pub fn select<Q>(query: Q) -> Select<Q::SqlType>
where
    Q: AsQuery,
    Q::Query: QueryFragment<Pg>,
{
    let query = query.as_query();
    let taken = || {
        let (mut sql, mut binds) = (PgQueryBuilder::default(), RawBytesBindCollector::<Pg>::new());
        query.to_sql(&mut sql, &Pg)?;
        query.collect_binds(&mut binds, &mut NoLookup, &Pg)?;
        Ok((sql.finish(), binds.binds.into_iter().map(Bind).collect()))
    };
    Select { query: taken(), sql_type: PhantomData }
}

impl<SelectType> Select<SelectType> {
    /// Has the server read its SQL, so that [`Select::load`] sends it at its first poll.
    ///
    /// # Errors
    /// Whatever the server says.
    pub async fn prepare(&self, client: &ClientWrapper) -> Result<(), Failure> {
        let (sql, _) = self.query.as_ref().map_err(|error| Failure::Stop(error.to_string()))?;
        client.prepare_cached(sql).await.map(drop).map_err(|error| errors::classify(&error))
    }

    /// Runs it over `client`, and reads what it gives.
    ///
    /// # Errors
    /// Whatever the server says; a row that does not fit the type.
    pub async fn load<U, ST>(self, client: &ClientWrapper) -> Result<Vec<U>, Failure>
    where
        SelectType: CompatibleType<U, Pg, SqlType = ST>,
        U: FromSqlRow<ST, Pg>,
    {
        let (sql, binds) = self.query.map_err(|error| Failure::Stop(error.to_string()))?;
        let classify = |error: tokio_postgres::Error| errors::classify(&error);
        let statement = client.prepare_cached(&sql).await.map_err(classify)?;
        let binds: Vec<_> = binds.iter().map(|bind| bind as &(dyn ToSql + Sync)).collect();
        let rows = client.query(&statement, &binds).await.map_err(classify)?;
        rows.iter()
            .map(|row| U::build_from_row(&PgRow(row)))
            .collect::<Result<_, _>>()
            .map_err(|error| Failure::Stop(format!("a row cannot be read: {error}")))
    }
}

/// A value as diesel wrote it.
#[derive(Debug)]
struct Bind(Option<Vec<u8>>);

impl ToSql for Bind {
    fn to_sql(
        &self,
        _: &Type,
        out: &mut BytesMut,
    ) -> Result<IsNull, Box<dyn StdError + Sync + Send>> {
        let Some(bytes) = &self.0 else { return Ok(IsNull::Yes) };
        out.extend_from_slice(bytes);
        Ok(IsNull::No)
    }

    // The server said which type it expects; diesel wrote the one of the column.
    fn accepts(_: &Type) -> bool {
        true
    }

    to_sql_checked!();
}

/// A row as diesel reads it.
struct PgRow<'r>(&'r Row);

impl RowSealed for PgRow<'_> {}

impl<'a> DieselRow<'a, Pg> for PgRow<'_> {
    type InnerPartialRow = Self;
    type Field<'b>
        = PgField<'b>
    where
        Self: 'b,
        'a: 'b;

    fn field_count(&self) -> usize {
        self.0.len()
    }

    fn get<'b, I>(&'b self, index: I) -> Option<PgField<'b>>
    where
        'a: 'b,
        Self: RowIndex<I>,
    {
        let index = self.idx(index)?;
        let oid = NonZeroU32::new(self.0.columns()[index].type_().oid())?;
        Some(PgField { row: self.0, index, oid })
    }

    fn partial_row(&self, range: Range<usize>) -> PartialRow<'_, Self> {
        PartialRow::new(self, range)
    }
}

impl RowIndex<usize> for PgRow<'_> {
    fn idx(&self, index: usize) -> Option<usize> {
        (index < self.0.len()).then_some(index)
    }
}

impl<'n> RowIndex<&'n str> for PgRow<'_> {
    fn idx(&self, name: &'n str) -> Option<usize> {
        self.0.columns().iter().position(|column| column.name() == name)
    }
}

/// One field of a row.
struct PgField<'b> {
    row: &'b Row,
    index: usize,
    oid: NonZeroU32,
}

impl<'b> Field<'b, Pg> for PgField<'b> {
    fn field_name(&self) -> Option<&str> {
        Some(self.row.columns()[self.index].name())
    }

    fn value(&self) -> Option<PgValue<'_>> {
        let Raw(bytes) = self.row.get(self.index);
        bytes.map(|bytes| PgValue::new(bytes, &self.oid))
    }
}

/// A value as the server sent it; `None` for null.
struct Raw<'r>(Option<&'r [u8]>);

impl<'r> FromSql<'r> for Raw<'r> {
    fn from_sql(_: &Type, raw: &'r [u8]) -> Result<Self, Box<dyn StdError + Sync + Send>> {
        Ok(Self(Some(raw)))
    }

    fn from_sql_null(_: &Type) -> Result<Self, Box<dyn StdError + Sync + Send>> {
        Ok(Self(None))
    }

    fn accepts(_: &Type) -> bool {
        true
    }
}
