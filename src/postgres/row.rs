//! Rows, declared once: [`row!`](crate::row) makes a struct whose values are written in the form
//! that a binary COPY sends, each field checked against its column when the program is compiled.
//!
//! # Why values are not written by diesel's `ToSql`
//! Diesel checks the types here (`AsExpression`), but its `Output` can be built outside of diesel
//! only over a vector of its own for each value (`ByteWrapper` has a private constructor): one
//! allocation a field. [`tokio_postgres::types::ToSql`] writes into the chunk's buffer itself.

use std::ops::Range;

use bytes::{BufMut, BytesMut};
use diesel::expression::{AsExpression, Expression, TypedExpressionType};
use diesel::pg::{Pg, PgMetadataLookup, PgTypeMetadata};
use diesel::query_source::Column;
use diesel::sql_types::{HasSqlType, SqlType};
use longshore_actors::error::EncodeError;
use longshore_actors::rows::{Row, RowSet};
use tokio_postgres::types::{FromSqlOwned, IsNull, ToSql, Type};

use super::table::SqlTable;

/// A row that knows its table. Implemented by [`row!`](crate::row).
pub trait TableRow: Row {
    /// The table, as SQL says it.
    fn table() -> SqlTable;
}

/// The tables of a pipeline in declared order: a tuple of [`TableRow`] types.
pub trait Tables: RowSet {
    /// The tables, as SQL says them.
    fn tables() -> Vec<SqlTable>;
}

macro_rules! tables {
    ($(($($row:ident),*))*) => {$(
        impl<$($row: TableRow + Send + Sync + 'static),*> Tables for ($($row,)*) {
            fn tables() -> Vec<SqlTable> {
                vec![$($row::table()),*]
            }
        }
    )*};
}
tables! { () (A) (A, B) (A, B, C) (A, B, C, D) (A, B, C, D, E) (A, B, C, D, E, F) }

/// Declares a row struct and ties it to a table that `diesel::table!` declares:
///
/// ```
/// diesel::table! {
///     shop.orders (id) {
///         id -> BigInt,
///         note -> Nullable<Text>,
///     }
/// }
///
/// longshore::row! {
///     /// An order, as it is saved.
///     pub struct Order<'a> in orders, key (id) {
///         /// Its number.
///         pub id: i64,
///         /// What the customer says.
///         pub note: Option<&'a str>,
///     }
/// }
/// ```
///
/// A field that does not fit its column's type does not compile. Columns that are not named keep
/// their default. `key ()` is for a table without a primary key.
#[macro_export]
macro_rules! row {
    (
        $(#[$attr:meta])*
        $vis:vis struct $name:ident $(<$life:lifetime>)?
            in $($table:ident)::+, key ($($key:ident),*)
        {
            $($(#[$field_attr:meta])* $field_vis:vis $field:ident : $type:ty),+ $(,)?
        }
    ) => {
        $(#[$attr])*
        $vis struct $name $(<$life>)? {
            $($(#[$field_attr])* $field_vis $field: $type),+
        }

        const _: () = {
            use $($table)::+ as columns;
            use $crate::postgres::reexport::actors::{error::EncodeError, rows::Row};
            use $crate::postgres::reexport::bytes::BytesMut;
            use $crate::postgres::reexport::diesel::query_source::Column;
            use $crate::postgres::{row, table::SqlTable};

            impl $(<$life>)? Row for $name $(<$life>)? {
                // Not the path of the table: in two modules, one path may be two tables.
                const TABLE: &'static str = concat!(module_path!(), "::", stringify!($name));

                #[allow(unused_variables)] // The places of fields that are not of the key.
                fn encode(&self, row: &mut BytesMut, key: &mut Vec<u8>) -> Result<(), EncodeError> {
                    row::begin(row, [$(stringify!($field)),+].len());
                    $(let $field = {
                        static WIRE: row::WireType = row::WireType::of::<columns::$field>();
                        row::put::<columns::$field, _>(row, &WIRE, &self.$field)?
                    };)+
                    row::put_key(key, row, &[$($key),*]);
                    Ok(())
                }
            }

            impl $(<$life>)? row::TableRow for $name $(<$life>)? {
                fn table() -> SqlTable {
                    SqlTable::of(
                        &columns::table,
                        &[$(<columns::$field as Column>::NAME),+],
                        &[$(<columns::$key as Column>::NAME),*],
                    )
                }
            }
        };
    };
}

/// The type that a column's values are sent as, found out at the first row.
#[doc(hidden)]
pub struct WireType(std::sync::LazyLock<Wire>);

/// A type on the wire.
#[derive(Clone, Debug)]
pub struct Wire {
    of: Type,
    is_text: bool,
}

impl Wire {
    /// Values of the type `of`.
    pub fn new(of: Type) -> Self {
        let is_text = matches!(of, Type::TEXT | Type::VARCHAR | Type::BPCHAR | Type::NAME);
        Self { of, is_text }
    }
}

impl WireType {
    /// The type of column `C`.
    pub const fn of<C: Column>() -> Self
    where
        Pg: HasSqlType<C::SqlType>,
    {
        Self(std::sync::LazyLock::new(|| {
            let metadata = <Pg as HasSqlType<C::SqlType>>::metadata(&mut NoLookup);
            // A type of the user's own has no constant OID. Its binary form does not depend on it:
            // an enum's is text.
            Wire::new(metadata.oid().ok().and_then(Type::from_oid).unwrap_or(Type::TEXT))
        }))
    }

    /// Reads a value of the column back.
    pub(super) fn read<V: FromSqlOwned>(
        &self,
        bytes: &[u8],
    ) -> Result<V, Box<dyn std::error::Error + Sync + Send>> {
        V::from_sql(&self.0.of, bytes)
    }
}

/// Knows only the types that need no look into the database.
pub(super) struct NoLookup;

impl PgMetadataLookup for NoLookup {
    fn lookup_type(&mut self, _name: &str, _schema: Option<&str>) -> PgTypeMetadata {
        PgTypeMetadata::new(0, 0)
    }
}

/// Begins a row of `columns` fields.
#[doc(hidden)]
pub fn begin(row: &mut BytesMut, columns: usize) {
    row.put_i16(i16::try_from(columns).expect("PostgreSQL has at most 1,600 columns"));
}

/// Appends the value of column `C`: its length, -1 for null, and its bytes. Gives their place.
#[doc(hidden)]
pub fn put<C, V>(
    row: &mut BytesMut,
    wire: &WireType,
    value: &V,
) -> Result<Range<usize>, EncodeError>
where
    C: Column,
    C::SqlType: SqlType + TypedExpressionType,
    V: ToSql + AsExpression<<C as Expression>::SqlType>,
{
    put_value(row, &wire.0, C::NAME, value)
}

/// Appends one value of a row, for rows that are not declared by [`row!`](crate::row).
///
/// # Errors
/// A value that the type cannot hold.
#[inline]
pub fn put_value<V: ToSql>(
    row: &mut BytesMut,
    wire: &Wire,
    column: &'static str,
    value: &V,
) -> Result<Range<usize>, EncodeError> {
    let start = row.len();
    row.put_i32(-1);
    match value.to_sql(&wire.of, row) {
        Ok(IsNull::No) => {}
        Ok(IsNull::Yes) => return Ok(start + 4..row.len()),
        Err(error) => return Err(refused(column, &*error)),
    }
    let place = start + 4..row.len();
    if wire.is_text && memchr::memchr(0, &row[place.clone()]).is_some() {
        return Err(refused(column, &"a NUL character, which PostgreSQL's text cannot hold"));
    }
    let length = i32::try_from(place.len()).map_err(|_| refused(column, &"larger than 2 GiB"))?;
    row[start..start + 4].copy_from_slice(&length.to_be_bytes());
    Ok(place)
}

#[cold]
fn refused(column: &'static str, problem: &dyn std::fmt::Display) -> EncodeError {
    EncodeError::Value { column, problem: problem.to_string() }
}

/// Appends the key that lies at `places` of `row`. All its parts but the last carry their length,
/// so that equal bytes mean equal parts.
#[doc(hidden)]
pub fn put_key(key: &mut Vec<u8>, row: &BytesMut, places: &[Range<usize>]) {
    let Some((last, parts)) = places.split_last() else { return };
    for part in parts {
        let length = u32::try_from(part.len()).expect("a field is under 2 GiB");
        key.extend_from_slice(&length.to_be_bytes());
        key.extend_from_slice(&row[part.clone()]);
    }
    key.extend_from_slice(&row[last.clone()]);
}
