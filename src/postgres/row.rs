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
use longshore_actors::rows::{Row, RowSet};
use tokio_postgres::types::{FromSqlOwned, ToSql, Type};

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
            #[allow(unused_imports)] // One of the two.
            use $crate::postgres::value::{PutAny, PutPlain, Value};
            use $crate::postgres::{row, table::SqlTable};

            impl $(<$life>)? Row for $name $(<$life>)? {
                // Not the path of the table: in two modules, one path may be two tables.
                const TABLE: &'static str = concat!(module_path!(), "::", stringify!($name));

                #[allow(unused_variables)] // The places of fields that are not of the key.
                fn encode(&self, row: &mut BytesMut, key: &mut Vec<u8>) -> Result<(), EncodeError> {
                    row::begin(row, [$(stringify!($field)),+].len());
                    $(let $field = {
                        static WIRE: row::WireType = row::WireType::of_column::<columns::$field>();
                        row::fits::<columns::$field, _>(&self.$field);
                        (&Value(&self.$field)).put(row, &WIRE, columns::$field::NAME)?
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
pub struct WireType(std::sync::LazyLock<Type>);

impl WireType {
    /// The type of column `C`.
    pub const fn of_column<C: Column>() -> Self
    where
        Pg: HasSqlType<C::SqlType>,
    {
        Self(std::sync::LazyLock::new(|| {
            let metadata = <Pg as HasSqlType<C::SqlType>>::metadata(&mut NoLookup);
            // A type of the user's own has no constant OID. Its binary form does not depend on it:
            // an enum's is text.
            metadata.oid().ok().and_then(Type::from_oid).unwrap_or(Type::TEXT)
        }))
    }

    /// The type that `find` gives.
    #[cfg(test)]
    pub(super) fn found_by(find: fn() -> Type) -> Self {
        Self(std::sync::LazyLock::new(find))
    }

    /// The type.
    pub(super) fn of(&self) -> &Type {
        &self.0
    }

    /// Whether it is a text, which holds no NUL.
    pub(super) fn is_text(&self) -> bool {
        matches!(*self.0, Type::TEXT | Type::VARCHAR | Type::BPCHAR | Type::NAME)
    }

    /// Reads a value of the column back.
    pub(super) fn read<V: FromSqlOwned>(
        &self,
        bytes: &[u8],
    ) -> Result<V, Box<dyn std::error::Error + Sync + Send>> {
        V::from_sql(&self.0, bytes)
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

/// Does not compile unless a value of this type fits the column `C`.
#[doc(hidden)]
pub fn fits<C, V>(_: &V)
where
    C: Column,
    C::SqlType: SqlType + TypedExpressionType,
    V: ToSql + AsExpression<<C as Expression>::SqlType>,
{
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
