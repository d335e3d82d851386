//! How to reach the database: the URL read once, TLS by its `sslmode`, and the settings that each
//! session gets.
//!
//! `sslmode` means what libpq means by it, over rustls: `disable`; `prefer` (the default: encrypted
//! if the server can, unverified); `require` (encrypted; unverified unless `sslrootcert` is given);
//! `verify-ca` (the certificate's chain is checked); `verify-full` (its host name too). The roots
//! are those of `sslrootcert`, or the system's. A unix socket is never encrypted. What cannot be
//! honoured (`sslmode=allow`, client certificates) is refused.
//!
//! Settings are made by SET after connecting, not as startup options, which poolers refuse.

use std::future::{Future, poll_fn};
use std::path::PathBuf;
use std::pin::pin;
use std::time::Duration;

use percent_encoding::percent_decode_str;
use thiserror::Error;
use tokio::runtime::Handle;
use tokio_postgres::config::{Host, SslMode};
use tokio_postgres::tls::MakeTlsConnect;
use tokio_postgres::{CancelToken, Client, Config, Connection, Socket};

use super::tls::{self, Tls, Verification};

/// What a URL that says nothing about it gets. A server that is gone is noticed within a minute.
const DEFAULTS: [(&str, &str); 6] = [
    ("application_name", "longshore"),
    ("connect_timeout", "10"),
    ("keepalives_idle", "30"),
    ("keepalives_interval", "10"),
    ("keepalives_retries", "3"),
    ("tcp_user_timeout", "30"),
];

/// How lookups are planned: each run for its own keys, as the right plan depends on their number,
/// and taking a page from the index's place for as cheap as it is on today's disks. The default
/// reads a table of a million rows as a whole, batch by batch, to find ten thousand keys.
const LOOKUP_PLANS: &str =
    "set plan_cache_mode = force_custom_plan; set random_page_cost = 1.1; set jit = off;";

/// Lets the server notice, while a statement runs, that its client is gone (killed, say), and end
/// what holds its locks. Not every server can: before 14 it is not there.
const NOTICE_LOST_CLIENTS: &str = "
    do $$ begin
        perform set_config('client_connection_check_interval', '5s', false);
    exception when others then null;
    end $$";

/// A connection to the server, to be driven by a task.
pub type Driver = Connection<Socket, <Tls as MakeTlsConnect<Socket>>::Stream>;

/// A database URL that cannot be honoured.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{0}")]
pub struct UrlError(String);

/// How to reach the database.
#[derive(Clone)]
pub struct ConnectOptions {
    config: Config,
    tls: Tls,
}

impl ConnectOptions {
    /// Reads `url`; `password` takes the place of one in the URL.
    ///
    /// # Errors
    /// A URL that cannot be read or honoured, with what would be right. The password is not in it.
    pub fn try_new(url: &str, password: Option<&str>) -> Result<Self, UrlError> {
        let (base, options) = split(url)?;
        let (ours, theirs): (Vec<_>, Vec<_>) = options
            .into_iter()
            .partition(|(name, _)| name.starts_with("ssl") && *name != "sslnegotiation");
        let mut config = read_config(base, &theirs)?;
        if let Some(password) = password {
            config.password(password);
        }
        if config.get_hosts().is_empty() && config.get_hostaddrs().is_empty() {
            return Err(UrlError(
                "the database URL names no host: postgres://HOST/DB, or for a unix socket \
                 postgres:///DB?host=/DIRECTORY"
                    .to_owned(),
            ));
        }
        let (mode, verification) = tls_options(&ours)?;
        config.ssl_mode(if is_local(&config) { SslMode::Disable } else { mode });
        let direct = theirs.contains(&("sslnegotiation", "direct"));
        let tls = tls::client_config(&verification, direct).map_err(UrlError)?;
        Ok(Self { config, tls: Tls::new(tls) })
    }

    /// What the URL says, apart from TLS.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Opens a connection and makes `settings` in it. Its driver lives on `runtime`.
    ///
    /// # Errors
    /// Whatever the network or the server says.
    pub async fn connect(
        &self,
        settings: &SessionSettings,
        runtime: &Handle,
    ) -> Result<(Client, tokio::task::JoinHandle<()>), tokio_postgres::Error> {
        let (client, driver) = self.open(runtime).await?;
        let driver = runtime.spawn(async move {
            if let Err(error) = driver.await {
                tracing::debug!(%error, "a database connection ended");
            }
        });
        client.batch_execute(&settings.to_sql()).await?;
        Ok((client, driver))
    }

    /// Asks the server to end what another connection is doing.
    ///
    /// # Errors
    /// Whatever the network says. The server does not answer.
    pub(super) async fn cancel(&self, token: &CancelToken) -> Result<(), tokio_postgres::Error> {
        token.cancel_query(self.tls.clone()).await
    }

    /// Opens a connection that the caller drives; its socket belongs to `runtime`.
    pub(super) async fn open(
        &self,
        runtime: &Handle,
    ) -> Result<(Client, Driver), tokio_postgres::Error> {
        on(runtime, self.config.connect(self.tls.clone())).await
    }
}

impl std::fmt::Debug for ConnectOptions {
    /// Shows no password: tokio-postgres hides it.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ConnectOptions").field("config", &self.config).finish_non_exhaustive()
    }
}

/// The settings of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionSettings {
    /// How long a statement may take.
    pub statement_timeout: Duration,
    /// How long a statement may wait for a lock.
    pub lock_timeout: Duration,
    /// How long a transaction may stand still.
    pub idle_in_transaction_timeout: Duration,
    /// Whether it is for queries by thousands of keys, `= any(..)`.
    pub lookups: bool,
}

impl SessionSettings {
    /// Settings with which a statement may take `statement_timeout`.
    pub fn with_statement_timeout(statement_timeout: Duration) -> Self {
        Self {
            statement_timeout,
            lock_timeout: statement_timeout,
            idle_in_transaction_timeout: Duration::from_secs(60),
            lookups: false,
        }
    }

    /// The statements that make the settings.
    pub(super) fn to_sql(self) -> String {
        let plans = if self.lookups { LOOKUP_PLANS } else { "" };
        format!(
            "set statement_timeout = {}; set lock_timeout = {}; \
             set idle_in_transaction_session_timeout = {}; {plans} \
             set client_min_messages = warning; {NOTICE_LOST_CLIENTS}",
            self.statement_timeout.as_millis(),
            self.lock_timeout.as_millis(),
            self.idle_in_transaction_timeout.as_millis(),
        )
    }
}

/// Runs `future` with `runtime` around each of its steps: sockets and tasks that it makes belong to
/// `runtime`, whichever thread waits here. A connection must outlive the thread that asked for it.
pub(super) async fn on<F: Future>(runtime: &Handle, future: F) -> F::Output {
    let mut future = pin!(future);
    poll_fn(|cx| {
        let _entered = runtime.enter();
        future.as_mut().poll(cx)
    })
    .await
}

type Options<'a> = Vec<(&'a str, &'a str)>;

fn split(url: &str) -> Result<(&str, Options<'_>), UrlError> {
    let scheme = ["postgres://", "postgresql://"].iter().find(|scheme| url.starts_with(**scheme));
    let Some(scheme) = scheme else {
        return Err(UrlError("a database URL begins with postgres:// or postgresql://".to_owned()));
    };
    // A password may hold a question mark: the options begin behind it.
    let credentials = url.find('@').unwrap_or(scheme.len());
    let Some(mark) = url[credentials..].find('?').map(|at| credentials + at) else {
        return Ok((url, Vec::new()));
    };
    let options = url[mark + 1..].split('&').filter(|option| !option.is_empty());
    Ok((&url[..mark], options.map(|o| o.split_once('=').unwrap_or((o, ""))).collect()))
}

fn read_config(base: &str, options: &Options<'_>) -> Result<Config, UrlError> {
    let missing =
        DEFAULTS.iter().filter(|(name, _)| options.iter().all(|(given, _)| given != name));
    let options: Vec<String> =
        options.iter().chain(missing).map(|(name, value)| format!("{name}={value}")).collect();
    format!("{base}?{}", options.join("&")).parse().map_err(|error: tokio_postgres::Error| {
        let cause = std::error::Error::source(&error).map(|cause| format!(": {cause}"));
        UrlError(format!("the database URL: {error}{}", cause.unwrap_or_default()))
    })
}

fn is_local(config: &Config) -> bool {
    let mut hosts = config.get_hosts().iter();
    config.get_hostaddrs().is_empty() && hosts.all(|host| !matches!(host, Host::Tcp(_)))
}

fn tls_options(options: &Options<'_>) -> Result<(SslMode, Verification), UrlError> {
    let (mut mode, mut roots) = ("prefer", None);
    for (name, value) in options {
        match *name {
            "sslmode" => mode = value,
            "sslrootcert" if *value == "system" => {}
            "sslrootcert" => {
                let path = percent_decode_str(value).decode_utf8_lossy().into_owned();
                roots = Some(PathBuf::from(path));
            }
            _ => return Err(UrlError(format!("the database URL: `{name}` is not supported"))),
        }
    }
    Ok(match (mode, roots) {
        ("disable", _) => (SslMode::Disable, Verification::None),
        ("prefer", _) => (SslMode::Prefer, Verification::None),
        ("require", None) => (SslMode::Require, Verification::None),
        // As libpq does it: whoever names a root wants it checked.
        ("require", Some(roots)) => (SslMode::Require, Verification::Chain(Some(roots))),
        ("verify-ca", roots) => (SslMode::Require, Verification::Chain(roots)),
        ("verify-full", roots) => (SslMode::Require, Verification::ChainAndName(roots)),
        _ => {
            return Err(UrlError(format!(
                "the database URL: sslmode `{mode}` is not supported: say disable, prefer, \
                 require, verify-ca or verify-full"
            )));
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(url: &str) -> String {
        ConnectOptions::try_new(url, None).expect_err("it is refused").to_string()
    }

    fn mode(url: &str) -> SslMode {
        ConnectOptions::try_new(url, None).expect("it is accepted").config.get_ssl_mode()
    }

    #[test]
    fn sslmode_is_honoured_or_refused() {
        assert_eq!(mode("postgres://h/db"), SslMode::Prefer);
        assert_eq!(mode("postgres://h/db?sslmode=disable"), SslMode::Disable);
        assert_eq!(mode("postgres://h/db?sslmode=require"), SslMode::Require);
        assert_eq!(mode("postgres://h/db?sslmode=verify-full"), SslMode::Require);
        assert_eq!(mode("postgres:///db?host=/run&sslmode=require"), SslMode::Disable);
        assert!(refused("postgres://h/db?sslmode=allow").contains("sslmode `allow`"));
        assert!(refused("postgres://h/db?sslcert=a").contains("`sslcert` is not supported"));
        let missing = refused("postgres://h/db?sslmode=verify-ca&sslrootcert=%2Fno%2Fsuch");
        assert!(missing.contains("/no/such"), "{missing}");
    }

    #[test]
    fn a_password_never_shows() {
        let options = ConnectOptions::try_new("postgres://u:a?s3cret@h/db?x=y", None);
        assert!(!options.expect_err("x is unknown").to_string().contains("s3cret"));
        let options = ConnectOptions::try_new("postgres://u@h/db", Some("s3cret")).unwrap();
        assert_eq!(options.config.get_password(), Some(&b"s3cret"[..]));
        assert!(!format!("{options:?}").contains("s3cret"));
    }

    #[test]
    fn what_the_url_does_not_say_has_a_limit() {
        let options = ConnectOptions::try_new("postgres://h/db?connect_timeout=3", None).unwrap();
        assert_eq!(options.config.get_connect_timeout(), Some(&Duration::from_secs(3)));
        assert_eq!(options.config.get_tcp_user_timeout(), Some(&Duration::from_secs(30)));
        assert_eq!(options.config.get_application_name(), Some("longshore"));
        assert!(refused("postgres:///db").contains("names no host"));
        assert!(refused("mysql://h/db").contains("postgres://"));
    }
}
