//! The database: whether it answers, who stands between, what is migrated, what we may do there
//! and whether there are connections enough.

use std::sync::Arc;

use diesel::prelude::*;
use diesel::sql_query;
use diesel::sql_types::{Bool, Integer, Text};
use diesel_async::{AsyncPgConnection, RunQueryDsl, SimpleAsyncConnection};
use longshore_actors::context::LOOKUPS_AT_A_TIME;
use longshore_actors::error::StoreError;
use tokio::runtime::Handle;

use super::Finding;
use crate::config::Config;
use crate::postgres::connect::{ConnectOptions, SessionSettings};
use crate::postgres::errors;
use crate::postgres::migrate::{self, MigrationSet};
use crate::postgres::pool::QueryPool;
use crate::postgres::table::SqlTable;
use crate::service::{AnyPipeline, code_of, connect_options};

/// Connections of a pipeline besides the saving ones and those for lookups: one for acquire, one
/// for what is to be published.
const RESERVED_CONNECTIONS: usize = 2;

/// Connections of the whole service: one that `--until-end` looks at the offsets by.
const SERVICE_CONNECTIONS: usize = 1;

pub(super) async fn findings(
    config: &Config,
    migrations: &[MigrationSet],
    pipelines: &[Arc<dyn AnyPipeline>],
) -> Vec<Finding> {
    let options = match connect_options(config) {
        Ok(options) => options,
        Err(error) => return vec![Finding::new("database.url", false, error.to_string())],
    };
    let settings = SessionSettings::with_statement_timeout(config.database.statement_timeout);
    let pool = QueryPool::new(&options, settings, 2, &Handle::current());
    let mut findings = Vec::new();
    if let Err(error) = look(config, &options, &pool, (migrations, pipelines), &mut findings).await
    {
        let subject = if findings.is_empty() { "database" } else { "database, looked at further" };
        let text = format!("{error}; is database.url right and the server up?");
        findings.push(Finding::new(subject, false, text));
    }
    findings
}

async fn look(
    config: &Config,
    options: &ConnectOptions,
    pool: &QueryPool,
    (migrations, pipelines): (&[MigrationSet], &[Arc<dyn AnyPipeline>]),
    findings: &mut Vec<Finding>,
) -> Result<(), StoreError> {
    let mut conn = pool.get().await?;
    findings.push(server(&mut conn).await?);
    findings.push(pooler(&mut conn, pool).await?);
    findings.push(limits(config, &mut conn).await?);
    let pending = migrate::pending(options, migrations).await?;
    let text = match pending.is_empty() {
        true => "all applied".to_owned(),
        false => format!("missing: {}; run `longshore migrate`", pending.join(", ")),
    };
    let is_migrated = pending.is_empty();
    findings.push(Finding::new("migrations", is_migrated, text));
    if is_migrated {
        let tables = tables(config, pipelines, pool, findings).await;
        findings.push(grants(&mut conn, &tables).await?);
    }
    Ok(())
}

/// The tables that the configured pipelines save to, each once; says what does not fit, and what
/// was found out.
async fn tables(
    config: &Config,
    pipelines: &[Arc<dyn AnyPipeline>],
    pool: &QueryPool,
    findings: &mut Vec<Finding>,
) -> Vec<SqlTable> {
    let mut tables: Vec<SqlTable> = Vec::new();
    for pipeline in &config.pipelines {
        let subject = format!("pipeline {}", pipeline.name);
        match code_of(pipelines, pipeline).prepare(pipeline, pool).await {
            Ok(ready) => {
                findings.extend(ready.note().map(|note| Finding::new(subject, true, note)));
                let is_new = |table: &&SqlTable| tables.iter().all(|t| t.name() != table.name());
                let new: Vec<_> = ready.tables().iter().filter(is_new).cloned().collect();
                tables.extend(new);
            }
            Err(error) => findings.push(Finding::new(subject, false, error.to_string())),
        }
    }
    tables
}

#[derive(QueryableByName)]
struct Server {
    #[diesel(sql_type = Text)]
    version: String,
    #[diesel(sql_type = Text)]
    name: String,
    #[diesel(sql_type = Text)]
    role: String,
    #[diesel(sql_type = Bool)]
    is_standby: bool,
}

async fn server(conn: &mut AsyncPgConnection) -> Result<Finding, StoreError> {
    let query = "select current_setting('server_version') as version, \
         current_database()::text as name, current_user::text as role, \
         pg_is_in_recovery() as is_standby";
    let server: Server =
        sql_query(query).get_result(conn).await.map_err(|error| errors::of_query(&error))?;
    let Server { version, name, role, is_standby } = server;
    let text = format!("PostgreSQL {version}, database {name}, as {role}");
    Ok(match is_standby {
        true => Finding::new(
            "database",
            false,
            format!("{text}: read-only, a standby; name the primary in database.url"),
        ),
        false => Finding::new("database", true, text),
    })
}

#[derive(QueryableByName)]
struct Backend {
    #[diesel(sql_type = Integer)]
    pid: i32,
}

/// A transaction pooler hands the server connection that we had to whoever begins next: then our
/// next transaction meets another one.
async fn pooler(conn: &mut AsyncPgConnection, pool: &QueryPool) -> Result<Finding, StoreError> {
    let before = backend(conn).await?;
    let mut other = pool.get().await?;
    other.batch_execute("begin").await.map_err(|error| errors::of_query(&error))?;
    // What a `begin` alone does not bind, a query does.
    backend(&mut other).await?;
    let after = backend(conn).await?;
    other.batch_execute("rollback").await.map_err(|error| errors::of_query(&error))?;
    Ok(match before == after {
        true => Finding::new("connection pooler", true, "no transaction pooler between"),
        false => Finding::new(
            "connection pooler",
            false,
            "a transaction pooler stands between us and the server: sessions lose their settings \
             and temporary tables; name the server itself in database.url, or a session pool",
        ),
    })
}

async fn backend(conn: &mut AsyncPgConnection) -> Result<i32, StoreError> {
    let backend: Backend = sql_query("select pg_backend_pid() as pid")
        .get_result(conn)
        .await
        .map_err(|error| errors::of_query(&error))?;
    Ok(backend.pid)
}

#[derive(QueryableByName)]
struct Connections {
    #[diesel(sql_type = Integer)]
    free: i32,
    #[diesel(sql_type = Integer)]
    most: i32,
}

async fn limits(config: &Config, conn: &mut AsyncPgConnection) -> Result<Finding, StoreError> {
    let each = config.database.connections + LOOKUPS_AT_A_TIME + RESERVED_CONNECTIONS;
    let wanted = config.pipelines.len() * each + SERVICE_CONNECTIONS;
    let query = "select current_setting('max_connections')::int as most, \
         current_setting('max_connections')::int \
         - current_setting('superuser_reserved_connections')::int \
         - (select count(*) from pg_stat_activity where backend_type = 'client backend')::int \
         as free";
    let server: Connections =
        sql_query(query).get_result(conn).await.map_err(|error| errors::of_query(&error))?;
    let text = format!(
        "{wanted} wanted ({} a pipeline: {} saving, {LOOKUPS_AT_A_TIME} lookups, \
         {RESERVED_CONNECTIONS} reserved), {} of {} free",
        each, config.database.connections, server.free, server.most
    );
    let holds = i32::try_from(wanted).is_ok_and(|wanted| wanted <= server.free);
    Ok(match holds {
        true => Finding::new("connections", true, text),
        false => {
            let advice = "lower database.connections or raise the server's max_connections";
            Finding::new("connections", false, format!("{text}; {advice}"))
        }
    })
}

/// What is asked of Longshore's own tables.
const OWN_TABLES: [(&str, &str); 6] = [
    ("longshore.offsets", "select, insert, update"),
    ("longshore.parked_records", "select, insert, update, delete"),
    ("longshore.pipelines", "select, insert, update"),
    ("longshore.budget_samples", "select, insert, update, delete"),
    ("longshore.outbox", "select, insert, update, delete"),
    ("longshore.audit", "insert"),
];

#[derive(QueryableByName)]
struct Rights {
    #[diesel(sql_type = Bool)]
    are_given: bool,
}

/// Reading and inserting everywhere, more in our own tables; and temporary tables, which a
/// transaction that met a saved key needs.
async fn grants(conn: &mut AsyncPgConnection, tables: &[SqlTable]) -> Result<Finding, StoreError> {
    let own = OWN_TABLES.iter().map(|(name, rights)| ((*name).to_owned(), *rights));
    let theirs = tables.iter().map(|table| (table.name().to_owned(), "select, insert"));
    let mut missing = Vec::new();
    for (table, rights) in own.chain(theirs) {
        if !has_rights(conn, &table, rights).await? {
            missing.push(format!("grant {rights} on {table}"));
        }
    }
    let temporary = "select has_database_privilege(current_database(), 'temp') as are_given";
    let temporary: Rights =
        sql_query(temporary).get_result(conn).await.map_err(|error| errors::of_query(&error))?;
    if !temporary.are_given {
        missing.push("grant temporary on the database".to_owned());
    }
    Ok(match missing.is_empty() {
        true => Finding::new("grants", true, "all tables can be read and written"),
        false => Finding::new("grants", false, format!("missing: {}", missing.join("; "))),
    })
}

/// Whether we have all of `rights` on `table`; no right on one that is not there.
async fn has_rights(
    conn: &mut AsyncPgConnection,
    table: &str,
    rights: &str,
) -> Result<bool, StoreError> {
    let query = "select coalesce(bool_and(has_schema_privilege(c.relnamespace, 'usage') \
         and has_table_privilege(c.oid, r.name)), false) as are_given \
         from pg_class c, regexp_split_to_table($2, ', ') as r (name) \
         where c.oid = to_regclass($1)";
    let rights: Rights = sql_query(query)
        .bind::<Text, _>(table)
        .bind::<Text, _>(rights)
        .get_result(conn)
        .await
        .map_err(|error| errors::of_query(&error))?;
    Ok(rights.are_given)
}
