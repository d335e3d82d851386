//! A database of its own for each promise, dropped with it.

use std::cell::{RefCell, RefMut};

use postgres::types::ToSql;
use postgres::{Client, NoTls, Row};
use uuid::Uuid;

use super::servers::Servers;

/// A fresh database and one connection to it.
pub(crate) struct Database {
    /// The URL of the fresh database.
    pub(crate) url: String,
    name: String,
    maintenance_url: String,
    client: RefCell<Client>,
}

impl Database {
    /// Creates an empty database.
    pub(crate) fn fresh(servers: &Servers) -> Self {
        let name = format!("promise_{}", Uuid::new_v4().simple());
        connect(&servers.database_url)
            .batch_execute(&format!("create database {name}"))
            .expect("a fresh database");
        let url = with_database(&servers.database_url, &name);
        let client = RefCell::new(connect(&url));
        Self { url, name, maintenance_url: servers.database_url.clone(), client }
    }

    /// Runs statements that give no rows.
    pub(crate) fn run(&self, sql: &str) {
        if let Err(error) = self.client().batch_execute(sql) {
            panic!("{sql}: {error:?}");
        }
    }

    /// Runs a query.
    pub(crate) fn query(&self, sql: &str, parameters: &[&(dyn ToSql + Sync)]) -> Vec<Row> {
        match self.client().query(sql, parameters) {
            Ok(rows) => rows,
            Err(error) => panic!("{sql}: {error:?}"),
        }
    }

    /// The one number that a query gives; null counts as 0.
    pub(crate) fn number(&self, sql: &str) -> i64 {
        self.query(sql, &[])[0].get::<_, Option<i64>>(0).unwrap_or(0)
    }

    /// A second connection, for locks that must outlive a statement.
    pub(crate) fn another_connection(&self) -> Client {
        connect(&self.url)
    }

    /// How many sessions of others wait for a lock in this database.
    pub(crate) fn sessions_that_wait_for_a_lock(&self) -> i64 {
        self.number(
            "select count(*) from pg_stat_activity
             where datname = current_database() and wait_event_type = 'Lock'",
        )
    }

    /// Throws all others out of this database; gives their number.
    pub(crate) fn throw_others_out(&self) -> i64 {
        self.number(
            "select count(pg_terminate_backend(pid)) from pg_stat_activity
             where datname = current_database() and pid <> pg_backend_pid()
               and backend_type = 'client backend'",
        )
    }

    /// Whether a table exists, by its qualified name.
    pub(crate) fn has_table(&self, table: &str) -> bool {
        self.query("select to_regclass($1) is not null", &[&table])[0].get(0)
    }

    fn client(&self) -> RefMut<'_, Client> {
        self.client.borrow_mut()
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        let drop = format!("drop database if exists {} with (force)", self.name);
        if let Ok(mut client) = Client::connect(&self.maintenance_url, NoTls) {
            // Best effort: a failed drop must not hide the test's own failure.
            let _ = client.batch_execute(&drop);
        }
    }
}

fn connect(url: &str) -> Client {
    Client::connect(url, NoTls).expect("a connection to PostgreSQL")
}

/// The same URL with another database in its path.
pub(crate) fn with_database(url: &str, database: &str) -> String {
    let (base, parameters) = match url.split_once('?') {
        Some((base, parameters)) => (base, format!("?{parameters}")),
        None => (url, String::new()),
    };
    let authority = base.find("://").map_or(0, |at| at + 3);
    let end = base[authority..].find('/').map_or(base.len(), |at| authority + at);
    format!("{}/{database}{parameters}", &base[..end])
}
