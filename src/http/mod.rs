//! The HTTP side of a running service: the page, health, metrics and status, on a thread of their
//! own. It stands before the service does and as long as the process, so that somebody always
//! answers. `docs/http.md` tells the same to users.

mod answers;
mod health;
mod metrics;
mod status;
#[cfg(test)]
mod tests;

use std::io::{self, ErrorKind};
use std::net::{SocketAddr, TcpListener};
use std::sync::mpsc;
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use actix_web::dev::{Server, ServerHandle};
use actix_web::{App, HttpServer as ActixServer, web};
use thiserror::Error;

use self::metrics::Metrics;
use crate::service::ServiceView;

/// Connections at a time; probes, a scraper and some people need a few.
const CONNECTIONS_MAX: usize = 256;

/// How often what the histograms were given is added up, whether anybody scrapes or not.
const UPKEEP_INTERVAL: Duration = Duration::from_secs(5);

/// Why nothing is served.
#[derive(Debug, Error)]
pub enum HttpError {
    /// Another program listens there.
    #[error(
        "http.listen = \"{0}\": the address is in use by another program, maybe another instance; \
         stop that one, or set http.listen to a free port (port 0 takes any) or to \"off\""
    )]
    InUse(SocketAddr),
    /// The address is none of ours, or not allowed to us.
    #[error(
        "http.listen = \"{address}\": {error}; write an address of this machine, such as \
         \"127.0.0.1:8080\", with a port from 1024 on, or \"off\""
    )]
    Refused {
        /// The configured address.
        address: SocketAddr,
        /// What the operating system says.
        error: io::Error,
    },
    /// No thread, no socket: the operating system has none left.
    #[error("http.listen = \"{address}\": the operating system refuses: {error}")]
    System {
        /// The configured address.
        address: SocketAddr,
        /// What it says.
        error: io::Error,
    },
}

impl HttpError {
    /// Whether the configuration is wrong, so that nothing but a change of it helps.
    pub fn is_configuration(&self) -> bool {
        matches!(self, Self::Refused { .. })
    }

    fn of_bind(address: SocketAddr, error: io::Error) -> Self {
        match error.kind() {
            ErrorKind::AddrInUse => Self::InUse(address),
            ErrorKind::AddrNotAvailable | ErrorKind::PermissionDenied => {
                Self::Refused { address, error }
            }
            _ => Self::System { address, error },
        }
    }
}

/// A server that answers. Dropped, it ends at once.
pub struct HttpServer {
    address: SocketAddr,
    server: ServerHandle,
    thread: Option<JoinHandle<()>>,
}

impl HttpServer {
    /// Serves `view` at `listen`, and nothing if that is off.
    ///
    /// # Errors
    /// The address cannot be listened at.
    pub fn start(
        listen: Option<SocketAddr>,
        view: &ServiceView,
    ) -> Result<Option<Self>, HttpError> {
        listen.map(|listen| Self::serve(listen, view.clone())).transpose()
    }

    fn serve(listen: SocketAddr, view: ServiceView) -> Result<Self, HttpError> {
        let listener = TcpListener::bind(listen).map_err(|e| HttpError::of_bind(listen, e))?;
        let refused = |error| HttpError::System { address: listen, error };
        let address = listener.local_addr().map_err(refused)?;
        let metrics = Metrics::install();
        let (started, start) = mpsc::channel();
        let thread = Builder::new()
            .name("longshore-http".to_owned())
            .spawn(move || {
                actix_rt::System::new().block_on(async {
                    let upkeep = metrics.clone();
                    actix_rt::spawn(async move { keep_up(&upkeep).await });
                    let server = match server(listener, view, metrics) {
                        Ok(server) => server,
                        Err(error) => return drop(started.send(Err(error))),
                    };
                    let _ = started.send(Ok(server.handle()));
                    if let Err(error) = server.await {
                        tracing::error!(%error, "http is served no more");
                    }
                });
            })
            .map_err(refused)?;
        let ended = || Err(io::Error::other("its thread ended at once"));
        let server = start.recv().unwrap_or_else(|_| ended()).map_err(refused)?;
        tracing::info!(%address, "page, health and metrics are served");
        Ok(Self { address, server, thread: Some(thread) })
    }

    /// Where it really listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for HttpServer {
    fn drop(&mut self) {
        // The command is sent by the call itself; the future would only wait for the answer.
        drop(self.server.stop(false));
        if let Some(Err(_)) = self.thread.take().map(JoinHandle::join) {
            tracing::error!("the http thread panicked");
        }
    }
}

fn server(listener: TcpListener, view: ServiceView, metrics: Metrics) -> io::Result<Server> {
    let (view, metrics) = (web::Data::new(view), web::Data::new(metrics));
    let app = move || {
        App::new().app_data(view.clone()).app_data(metrics.clone()).configure(answers::routes)
    };
    let server = ActixServer::new(app)
        .workers(1)
        .max_connections(CONNECTIONS_MAX)
        .disable_signals()
        .shutdown_timeout(1)
        .listen(listener)?;
    Ok(server.run())
}

async fn keep_up(metrics: &Metrics) {
    let mut interval = tokio::time::interval(UPKEEP_INTERVAL);
    loop {
        interval.tick().await;
        metrics.keep_up();
    }
}
