//! The pools of connections: [`QueryPool`] for diesel-async, [`SessionPool`] for one saving
//! session.
//!
//! Connections live on the runtime that the pool was made with, not on the thread that first asked
//! for one: an actor's thread may end or hang, and its connection must still be closed at once.

use std::future::{self, Future};
use std::panic;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use deadpool::Runtime;
use deadpool::managed::{PoolError, Timeouts};
use deadpool_postgres::{Connect, Manager, ManagerConfig, RecyclingMethod};
use diesel::ConnectionError;
use diesel_async::pooled_connection::deadpool::{Object, Pool};
use diesel_async::pooled_connection::{
    AsyncDieselConnectionManager, ManagerConfig as DieselConfig,
};
use diesel_async::{AsyncPgConnection, SimpleAsyncConnection};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use longshore_actors::error::StoreError;
use tokio::runtime::Handle;
use tokio::task::{AbortHandle, JoinHandle, JoinSet};
use tokio::time::timeout;
use tokio_postgres::{CancelToken, Client, Config};

use super::connect::{ConnectOptions, SessionSettings, on};
use super::errors::{self, Failure};

/// How long to wait for a free connection, for a new one, and for one to say that it still lives.
const TIMEOUTS: Timeouts = Timeouts {
    wait: Some(Duration::from_secs(30)),
    create: Some(Duration::from_secs(15)),
    recycle: Some(Duration::from_secs(5)),
};

/// How long to try to tell a server that a session is over.
const CANCEL_TIMEOUT: Duration = Duration::from_secs(5);

/// Connections for queries by diesel-async.
#[derive(Clone)]
pub struct QueryPool {
    pool: Pool<AsyncPgConnection>,
    runtime: Handle,
}

impl QueryPool {
    /// At most `size` connections, opened when they are first needed.
    pub fn new(
        options: &ConnectOptions,
        settings: SessionSettings,
        size: usize,
        runtime: &Handle,
    ) -> Self {
        let (options, sockets) = (Arc::new(options.clone()), runtime.clone());
        let mut config = DieselConfig::default();
        config.custom_setup = Box::new(move |_| {
            let (options, runtime) = (options.clone(), sockets.clone());
            async move { open_query_connection(&options, settings, &runtime).await }.boxed()
        });
        let manager = AsyncDieselConnectionManager::new_with_config("", config);
        let pool = Pool::builder(manager)
            .max_size(size)
            .timeouts(TIMEOUTS)
            .runtime(Runtime::Tokio1)
            .build()
            .expect("a pool with a runtime can have timeouts");
        Self { pool, runtime: runtime.clone() }
    }

    /// A free connection.
    ///
    /// # Errors
    /// None became free in time, or none could be opened.
    pub async fn get(&self) -> Result<Object<AsyncPgConnection>, StoreError> {
        self.pool.get().await.map_err(|error| match error {
            PoolError::Backend(error) => errors::of_query_pool(&error),
            error => StoreError::Retry(format!("no database connection: {error}")),
        })
    }

    /// Runs `query` where the connections live, until it ends or nobody waits for it.
    pub async fn run<F>(&self, query: F) -> F::Output
    where
        F: Future<Output: Send + 'static> + Send + 'static,
    {
        let mut running = JoinSet::new();
        running.spawn_on(query, &self.runtime);
        match running.join_next().await.expect("one was spawned") {
            Ok(output) => output,
            Err(error) if error.is_panic() => panic::resume_unwind(error.into_panic()),
            // The runtime has ended, and the process with it.
            Err(_) => future::pending().await,
        }
    }
}

/// Opens one connection for diesel-async, its driver on `runtime`.
pub(super) async fn open_query_connection(
    options: &ConnectOptions,
    settings: SessionSettings,
    runtime: &Handle,
) -> Result<AsyncPgConnection, ConnectionError> {
    // Diesel's errors carry no SQLSTATE. What cannot be helped by trying again is said by the one
    // variant that means so; see `errors::of_query_pool`.
    let failed = |error: tokio_postgres::Error| match errors::classify(&error) {
        Failure::Stop(message) => ConnectionError::InvalidConnectionUrl(message),
        failure => ConnectionError::BadConnection(failure.into_message()),
    };
    let (client, driver) = options.open(runtime).await.map_err(failed)?;
    let connection = AsyncPgConnection::try_from_client_and_connection(client, driver);
    let mut connection = on(runtime, connection).await?;
    connection
        .batch_execute(&settings.to_sql())
        .await
        .map_err(ConnectionError::CouldntSetupConfiguration)?;
    Ok(connection)
}

/// The one connection of a saving session. It is opened when it is needed, and after an error it is
/// thrown away with whatever was under way on it.
pub struct SessionPool {
    pool: deadpool_postgres::Pool,
    line: Arc<Line>,
}

/// The session's newest connection, for whoever has to cut it.
struct Line {
    options: ConnectOptions,
    runtime: Handle,
    live: Mutex<Option<(AbortHandle, CancelToken)>>,
}

impl Line {
    /// Closes the connection, and tells the server so: a statement that waits for a lock would go
    /// on, and keep its own locks, until it had it.
    fn cut(&self) {
        let live = self.live.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some((driver, token)) = live else { return };
        driver.abort();
        let options = self.options.clone();
        self.runtime.spawn(async move {
            // In vain if the server is away, or has noticed by itself.
            let _ = timeout(CANCEL_TIMEOUT, options.cancel(&token)).await;
        });
    }
}

impl SessionPool {
    /// A session on `runtime`.
    pub fn new(options: &ConnectOptions, settings: SessionSettings, runtime: &Handle) -> Self {
        let (options, runtime) = (options.clone(), runtime.clone());
        let config = options.config().clone();
        let line = Arc::new(Line { options, runtime, live: Mutex::default() });
        let connect = SessionConnect { settings, line: line.clone() };
        let recycling = ManagerConfig { recycling_method: RecyclingMethod::Fast };
        let manager = Manager::from_connect(config, connect, recycling);
        let pool = deadpool_postgres::Pool::builder(manager)
            .max_size(1)
            .timeouts(TIMEOUTS)
            .runtime(Runtime::Tokio1)
            .build()
            .expect("a pool with a runtime can have timeouts");
        Self { pool, line }
    }

    /// The session's connection, a new one if there is none.
    ///
    /// # Errors
    /// The session is at work elsewhere, or no connection could be opened.
    pub async fn lease(&self) -> Result<Lease, Failure> {
        match self.pool.get().await {
            Ok(client) => Ok(Lease { client: Some(client), line: self.line.clone() }),
            Err(PoolError::Backend(error)) => Err(errors::classify(&error)),
            Err(error) => Err(Failure::Retry(format!("no database connection: {error}"))),
        }
    }

    /// Closes the connection after `limit`, unless what this gives is dropped before.
    pub(super) fn limit(&self, limit: Duration) -> HoldLimit {
        let (line, is_over) = (self.line.clone(), Arc::new(AtomicBool::new(false)));
        let over = is_over.clone();
        let timer = self.line.runtime.spawn(async move {
            tokio::time::sleep(limit).await;
            over.store(true, SeqCst);
            line.cut();
        });
        HoldLimit { timer: timer.abort_handle(), is_over, limit }
    }

    /// Closes the connection, from any thread. The server rolls back what was not committed.
    pub fn abort(&self) {
        self.line.cut();
    }
}

/// The session's connection while it is in use. Dropped, it closes the connection, unless it was
/// handed back: a transaction that nobody ended must not meet the next user.
pub struct Lease {
    client: Option<deadpool_postgres::Client>,
    line: Arc<Line>,
}

impl Lease {
    /// The connection.
    pub fn client(&self) -> &deadpool_postgres::ClientWrapper {
        self.client.as_ref().expect("a lease has its client until it is handed back")
    }

    /// Whether the connection was opened for this lease.
    pub fn is_new(&self) -> bool {
        let metrics = self.client.as_ref().map(deadpool_postgres::Client::metrics);
        metrics.is_none_or(|metrics| metrics.recycle_count == 0)
    }

    /// Gives the connection back in order, with no transaction open.
    pub fn hand_back(mut self) {
        drop(self.client.take());
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if let Some(client) = self.client.take() {
            drop(deadpool_postgres::Client::take(client));
            self.line.cut();
        }
    }
}

/// How long a transaction may hold its locks. Dropped, it is over in time.
pub(super) struct HoldLimit {
    timer: AbortHandle,
    is_over: Arc<AtomicBool>,
    limit: Duration,
}

impl HoldLimit {
    /// What a failure of the transaction comes from: its connection, if it was closed for this.
    pub(super) fn explain(&self, failure: Failure) -> Failure {
        if !self.is_over.load(SeqCst) {
            return failure;
        }
        let seconds = self.limit.as_secs();
        Failure::TooSlow(format!("a group may hold what it has locked for {seconds} s"))
    }
}

impl Drop for HoldLimit {
    fn drop(&mut self) {
        self.timer.abort();
    }
}

/// Opens a session's connections.
struct SessionConnect {
    settings: SessionSettings,
    line: Arc<Line>,
}

impl Connect for SessionConnect {
    fn connect(
        &self,
        _: &Config,
    ) -> BoxFuture<'_, Result<(Client, JoinHandle<()>), tokio_postgres::Error>> {
        Box::pin(async move {
            let Line { options, runtime, live } = &*self.line;
            let (client, driver) = options.connect(&self.settings, runtime).await?;
            *live.lock().unwrap_or_else(PoisonError::into_inner) =
                Some((driver.abort_handle(), client.cancel_token()));
            Ok((client, driver))
        })
    }
}
