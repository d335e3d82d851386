//! The way of a command to the configured database: one connection, for short queries.

use diesel_async::AsyncPgConnection;
use diesel_async::pooled_connection::deadpool::Object;
use tokio::runtime::Handle;

use crate::commands::error::CommandError;
use crate::config::Config;
use crate::postgres::connect::SessionSettings;
use crate::postgres::pool::QueryPool;
use crate::service::connect_options;

/// A pool of one connection, opened when it is first needed. Must be called inside a runtime.
///
/// # Errors
/// The database's URL cannot be used.
pub(super) fn pool(config: &Config) -> Result<QueryPool, CommandError> {
    let options = connect_options(config).map_err(|error| CommandError::wrong_url(&error))?;
    let settings = SessionSettings::with_statement_timeout(config.database.statement_timeout);
    Ok(QueryPool::new(&options, settings, 1, &Handle::current()))
}

/// A connection.
///
/// # Errors
/// The database's URL cannot be used, or the database not be reached.
pub(super) async fn connect(config: &Config) -> Result<Object<AsyncPgConnection>, CommandError> {
    pool(config)?.get().await.map_err(CommandError::failed)
}
