//! The PostgreSQL edge: the store that rows and offsets are saved to in one transaction, the
//! lookups, the migrations, and what a pipeline declares its tables with.
//!
//! # Why two drivers
//! Transactions that move offsets ([`store`], [`acquire`]) speak tokio-postgres: diesel-async has
//! no COPY, and its errors keep the SQLSTATE to themselves, which decides what becomes of them.
//! Everything else (lookups, migrations, the commands' queries) is diesel on diesel-async.

pub mod acquire;
pub mod budget;
pub mod connect;
pub mod context;
mod due;
pub mod errors;
pub mod fates;
pub mod headers;
pub mod lookups;
mod marks;
pub mod migrate;
pub mod moves;
pub mod offsets;
pub mod outbox;
pub mod own_writes;
pub mod owner;
pub mod parked;
pub mod pipelines;
pub mod pool;
pub mod repeats;
pub mod row;
pub mod save;
mod saved_keys;
pub mod schema;
pub mod shape;
mod starts;
pub mod store;
pub mod table;
mod tls;
pub mod typed;
pub mod value;
mod watch;

#[doc(hidden)] // Named by the macros `row!`, `lookups!` and `own_writes!`.
pub mod reexport {
    pub use bytes;
    pub use deadpool_postgres;
    pub use diesel;
    pub use diesel_async;
    pub use futures_util;
    pub use longshore_actors as actors;
    pub use tokio_postgres;
}
