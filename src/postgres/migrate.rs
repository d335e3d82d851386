//! Migrations: Longshore's own and those of the pipelines, embedded in the program, applied in one
//! go under an advisory lock.
//!
//! Diesel notes what it has applied in `longshore.__diesel_schema_migrations`, so that it meets no
//! table of the same name that an application of yours has in `public`. Each set's name is part of
//! its versions: two sets cannot hide each other's migrations. A migration runs with the session's
//! own `search_path`.

use std::fmt;
use std::sync::Arc;

use diesel::connection::{BoxableConnection, SimpleConnection};
use diesel::migration::{
    Migration, MigrationMetadata, MigrationName, MigrationSource, MigrationVersion,
};
use diesel::pg::Pg;
use diesel::sql_types::{Nullable, Text};
use diesel::{QueryResult, sql_query};
use diesel_async::{AsyncMigrationHarness, AsyncPgConnection, RunQueryDsl, SimpleAsyncConnection};
use diesel_migrations::{EmbeddedMigrations, MigrationHarness, embed_migrations};
use longshore_actors::error::StoreError;
use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;

use super::connect::{ConnectOptions, SessionSettings};
use super::{errors, pool};

/// The key of the advisory lock under which migrations are applied: "longshor".
const LOCK: i64 = i64::from_be_bytes(*b"longshor");

/// Migrations that belong together.
pub struct MigrationSet {
    name: &'static str,
    migrations: EmbeddedMigrations,
}

impl MigrationSet {
    /// Longshore's own tables. They come first.
    pub const LONGSHORE: Self = Self::new("longshore", embed_migrations!("migrations/longshore"));

    /// The set `name`, a pipeline's name say, from `embed_migrations!`.
    pub const fn new(name: &'static str, migrations: EmbeddedMigrations) -> Self {
        Self { name, migrations }
    }

    fn homed(&self) -> Result<Vec<Homed>, StoreError> {
        let migrations: Vec<Box<dyn Migration<Pg>>> = self.migrations.migrations().map_err(stop)?;
        let mut homed: Vec<_> = migrations
            .into_iter()
            .map(|inner| Homed {
                name: HomedName {
                    full: format!("{}/{}", self.name, inner.name()),
                    version: format!("{}/{}", self.name, inner.name().version()),
                },
                inner,
            })
            .collect();
        homed.sort_by(|a, b| a.name.version.cmp(&b.name.version));
        Ok(homed)
    }
}

/// Applies what is pending, set by set. Gives the names of what was applied.
///
/// # Errors
/// The database is away, or a migration failed; those before it stay applied.
pub async fn apply(
    options: &ConnectOptions,
    sets: Arc<[MigrationSet]>,
) -> Result<Vec<String>, StoreError> {
    let options = options.clone();
    // Diesel's harness blocks its thread, which only a multi-thread runtime lets it do: it gets one
    // of its own, wherever this is called from.
    let (answer, answered) = oneshot::channel();
    std::thread::Builder::new()
        .name("migrations".to_owned())
        .spawn(move || {
            let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build();
            let applied = runtime
                .map_err(|error| StoreError::Stop(error.to_string()))
                .and_then(|runtime| runtime.block_on(apply_here(&options, &sets)));
            // Nobody waits any more: the caller was dropped.
            let _ = answer.send(applied);
        })
        .map_err(stop)?;
    answered.await.map_err(stop)?
}

/// The names of what [`apply`] would apply, in order. Changes nothing.
///
/// # Errors
/// The database is away.
pub async fn pending(
    options: &ConnectOptions,
    sets: &[MigrationSet],
) -> Result<Vec<String>, StoreError> {
    Ok(read_pending(options, sets).await?.into_iter().map(|m| m.name.full).collect())
}

/// The SQL that [`apply`] would run. Changes nothing.
///
/// # Errors
/// The database is away.
pub async fn dry_run(
    options: &ConnectOptions,
    sets: &[MigrationSet],
) -> Result<String, StoreError> {
    let mut sql = SqlText(String::new());
    for migration in read_pending(options, sets).await? {
        sql.0.push_str(&format!("-- {}\n", migration.name));
        migration.inner.run(&mut sql).map_err(stop)?;
        sql.0.push('\n');
    }
    Ok(sql.0)
}

fn stop(error: impl fmt::Display) -> StoreError {
    StoreError::Stop(error.to_string())
}

/// A migration may take its time.
fn settings() -> SessionSettings {
    SessionSettings::with_statement_timeout(std::time::Duration::ZERO)
}

async fn open(options: &ConnectOptions) -> Result<AsyncPgConnection, StoreError> {
    pool::open_query_connection(options, settings(), &Handle::current())
        .await
        .map_err(|error| errors::of_connection(&error))
}

async fn apply_here(
    options: &ConnectOptions,
    sets: &[MigrationSet],
) -> Result<Vec<String>, StoreError> {
    let mut conn = open(options).await?;
    let prepare = format!(
        "select pg_advisory_lock({LOCK}); create schema if not exists longshore; \
         set search_path to longshore"
    );
    conn.batch_execute(&prepare).await.map_err(|error| errors::of_query(&error))?;
    let mut harness = AsyncMigrationHarness::new(conn);
    let mut applied = Vec::new();
    for set in sets {
        let versions = harness.run_pending_migrations(set).map_err(stop)?;
        let is_new = |m: &Homed| versions.iter().any(|version| *version == m.name.version());
        applied.extend(set.homed()?.into_iter().filter(is_new).map(|m| m.name.full));
    }
    Ok(applied)
}

async fn read_pending(
    options: &ConnectOptions,
    sets: &[MigrationSet],
) -> Result<Vec<Homed>, StoreError> {
    let mut conn = open(options).await?;
    let applied = read_applied(&mut conn).await.map_err(|error| errors::of_query(&error))?;
    let mut pending = Vec::new();
    for set in sets {
        pending.extend(set.homed()?.into_iter().filter(|m| !applied.contains(&m.name.version)));
    }
    Ok(pending)
}

#[derive(diesel::QueryableByName)]
struct Named {
    #[diesel(sql_type = Nullable<Text>)]
    name: Option<String>,
}

async fn read_applied(conn: &mut AsyncPgConnection) -> QueryResult<Vec<String>> {
    let table = "select to_regclass('longshore.__diesel_schema_migrations')::text as name";
    let table: Named = sql_query(table).get_result(conn).await?;
    if table.name.is_none() {
        return Ok(Vec::new());
    }
    let versions = "select version::text as name from longshore.__diesel_schema_migrations";
    let versions: Vec<Named> = sql_query(versions).load(conn).await?;
    Ok(versions.into_iter().filter_map(|version| version.name).collect())
}

impl MigrationSource<Pg> for &MigrationSet {
    fn migrations(&self) -> diesel::migration::Result<Vec<Box<dyn Migration<Pg>>>> {
        Ok(self.homed()?.into_iter().map(|migration| Box::new(migration) as _).collect())
    }
}

/// A migration that runs outside of our schema, and is noted inside of it.
struct Homed {
    name: HomedName,
    inner: Box<dyn Migration<Pg>>,
}

impl Migration<Pg> for Homed {
    fn run(&self, conn: &mut dyn BoxableConnection<Pg>) -> diesel::migration::Result<()> {
        conn.batch_execute("set search_path to default")?;
        self.inner.run(conn)?;
        Ok(conn.batch_execute("set search_path to longshore")?)
    }

    fn revert(&self, conn: &mut dyn BoxableConnection<Pg>) -> diesel::migration::Result<()> {
        self.inner.revert(conn)
    }

    fn metadata(&self) -> &dyn MigrationMetadata {
        self.inner.metadata()
    }

    fn name(&self) -> &dyn MigrationName {
        &self.name
    }
}

struct HomedName {
    full: String,
    version: String,
}

impl MigrationName for HomedName {
    fn version(&self) -> MigrationVersion<'_> {
        self.version.as_str().into()
    }
}

impl fmt::Display for HomedName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.full)
    }
}

/// Takes down the SQL that it is to execute.
struct SqlText(String);

impl SimpleConnection for SqlText {
    fn batch_execute(&mut self, query: &str) -> QueryResult<()> {
        self.0.push_str(query);
        Ok(())
    }
}

impl BoxableConnection<Pg> for SqlText {
    fn as_any(&self) -> &dyn std::any::Any {
        self
    }

    fn as_any_mut(&mut self) -> &mut dyn std::any::Any {
        self
    }
}
