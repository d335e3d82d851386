//! A real PostgreSQL of our own: a temporary cluster behind a private unix socket.
//!
//! Takes binaries from the system, else fetches them once; gives a database URL. The cluster is
//! gone when the value is dropped; on Linux its server also ends with a process that was killed.
//!
//! # Why
//! It keeps its promises like one in production (`fsync` is on), so that what a demo shows and
//! measures is true. No port can clash, and only this user can connect.

use std::env;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

pub use super::binaries::BinarySource;
use super::binaries::{self, Binaries};
use super::directory::{self, ClusterDirectory};
use super::error::EmbeddedError;
use super::spawn::{self, Account, Keeper, StopSignal};

const USER: &str = "longshore";

/// How long a start may take before it counts as failed; it takes a tenth of a second.
const READY_TIMEOUT: Duration = Duration::from_secs(30);

/// How long an orderly stop may take: it writes out what is dirty, 128 MB at most.
const INTERRUPT_TIMEOUT: Duration = Duration::from_secs(10);

/// How long an immediate stop may take; PostgreSQL itself kills its processes after 5 s.
const QUIT_TIMEOUT: Duration = Duration::from_secs(7);

/// How often a child is looked at while it is waited for with a deadline.
const LOOK_INTERVAL: Duration = Duration::from_millis(5);

/// The lines of a log that an error shows.
const LOG_LINES: usize = 12;

/// The server's settings: no port, sizes for a machine that does other things too, and
/// checkpoints far enough apart that a demo measures batches. Durability stays as it ships.
const SETTINGS: [(&str, &str); 11] = [
    ("listen_addresses", ""),
    ("unix_socket_permissions", "0700"),
    ("cluster_name", "longshore"),
    ("fsync", "on"),
    ("synchronous_commit", "on"),
    ("full_page_writes", "on"),
    ("shared_buffers", "128MB"),
    ("max_wal_size", "2GB"),
    ("checkpoint_timeout", "15min"),
    ("log_checkpoints", "off"),
    ("timezone", "UTC"),
];

/// What an embedded PostgreSQL may be told; the default suits a demo.
#[derive(Clone, Debug, Default)]
pub struct PostgresOptions {
    /// Where the binaries come from.
    pub binaries: BinarySource,
    /// Where the cluster's directory is made; `/var/tmp` if not said.
    pub directory: Option<PathBuf>,
    /// Settings of the server beside its own, such as `max_connections`.
    pub settings: Vec<(String, String)>,
}

/// A PostgreSQL that lives as long as this value.
#[derive(Debug)]
pub struct EmbeddedPostgres {
    server: Child,
    url: String,
    origin: String,
    // Fields drop in this order: the directory goes last, when nobody writes to it any more.
    _keeper: Keeper,
    directory: ClusterDirectory,
}

impl EmbeddedPostgres {
    /// Makes a cluster and starts its server; ready for connections when this returns. Says
    /// beforehand what takes long. May be called from any thread, and blocks it.
    pub fn start(options: &PostgresOptions, say: &dyn Fn(&str)) -> Result<Self, EmbeddedError> {
        let binaries = binaries::find(&options.binaries, say)?;
        let account = match spawn::effective_uid() {
            0 => Some(Account::for_server().ok_or(EmbeddedError::NoAccount)?),
            _ => None,
        };
        let parent = options.directory.clone().unwrap_or_else(default_parent);
        directory::sweep(&parent);
        let directory = ClusterDirectory::create(&parent, account.as_ref())?;
        make_cluster(&binaries, &directory, account.as_ref())?;
        let command = server_command(&binaries, &directory, account.as_ref(), &options.settings)?;
        let (server, keeper) = Keeper::spawn(command).map_err(EmbeddedError::io(format!(
            "start {}{}",
            binaries.directory.join("postgres").display(),
            account_note(account.as_ref())
        )))?;
        let url = url_of(&directory.socket());
        let origin = binaries.to_string();
        let mut started = Self { server, url, origin, _keeper: keeper, directory };
        started.wait_until_ready()?;
        Ok(started)
    }

    /// The URL that clients connect with.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Where its binaries came from and their version, such as
    /// `system /usr/lib/postgresql/17/bin, PostgreSQL 17.4`.
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// The server's process id.
    pub fn process_id(&self) -> u32 {
        self.server.id()
    }

    /// Stops the server in good order and removes the cluster.
    pub fn stop(mut self) -> Result<(), EmbeddedError> {
        self.end()
    }

    /// Ready is what the server says itself: line 8 of its pid file, of which line 1 is our child.
    fn wait_until_ready(&mut self) -> Result<(), EmbeddedError> {
        let pid_file = self.directory.data().join("postmaster.pid");
        let pid = self.server.id().to_string();
        let deadline = Instant::now() + READY_TIMEOUT;
        loop {
            let said = fs::read_to_string(&pid_file).unwrap_or_default();
            let mut lines = said.lines().map(str::trim);
            if lines.next() == Some(&pid) && lines.nth(6) == Some("ready") {
                return Ok(());
            }
            if let Some(status) = self.exit_status()? {
                let problem = format!("{status}; it said last: {}", self.log_end());
                return Err(EmbeddedError::Server { step: "starting PostgreSQL", problem });
            }
            if Instant::now() > deadline {
                let (seconds, problem) = (READY_TIMEOUT.as_secs(), self.log_end());
                return Err(EmbeddedError::NotReady { seconds, problem });
            }
            thread::park_timeout(LOOK_INTERVAL);
        }
    }

    /// Asks ever more firmly until the server is gone, and reaps it.
    fn end(&mut self) -> Result<(), EmbeddedError> {
        let ways = [(StopSignal::Interrupt, INTERRUPT_TIMEOUT), (StopSignal::Quit, QUIT_TIMEOUT)];
        for (signal, patience) in ways {
            if self.exit_status()?.is_some() {
                return Ok(());
            }
            spawn::send(self.server.id(), signal);
            let deadline = Instant::now() + patience;
            while self.exit_status()?.is_none() && Instant::now() < deadline {
                thread::park_timeout(LOOK_INTERVAL);
            }
        }
        if self.exit_status()?.is_none() {
            self.server.kill().map_err(EmbeddedError::io("kill PostgreSQL"))?;
            self.server.wait().map_err(EmbeddedError::io("wait for PostgreSQL"))?;
        }
        Ok(())
    }

    fn exit_status(&mut self) -> Result<Option<std::process::ExitStatus>, EmbeddedError> {
        self.server.try_wait().map_err(EmbeddedError::io("look after PostgreSQL"))
    }

    fn log_end(&self) -> String {
        let log = fs::read(self.directory.log()).unwrap_or_default();
        last_lines(&String::from_utf8_lossy(&log))
    }
}

impl Drop for EmbeddedPostgres {
    fn drop(&mut self) {
        if let Err(error) = self.end() {
            tracing::warn!(%error, "the embedded PostgreSQL did not stop in order");
        }
    }
}

fn default_parent() -> PathBuf {
    let var_tmp = Path::new("/var/tmp");
    if var_tmp.is_dir() { var_tmp.to_owned() } else { env::temp_dir() }
}

fn make_cluster(
    binaries: &Binaries,
    directory: &ClusterDirectory,
    account: Option<&Account>,
) -> Result<(), EmbeddedError> {
    let mut command = Command::new(binaries.directory.join("initdb"));
    // Trust is safe here: the socket's directory lets in nobody but its owner and root.
    command.args(["--auth=trust", "--encoding=UTF8", "--locale=C", "--no-instructions"]);
    // The cluster is temporary: that it exists need not survive a power cut. What it holds does.
    command.args(["--no-sync", "--username", USER, "--pgdata"]).arg(directory.data());
    spawn::set_apart(&mut command, account);
    let answer = command.stdin(Stdio::null()).output().map_err(EmbeddedError::io(format!(
        "run {}{}",
        binaries.directory.join("initdb").display(),
        account_note(account)
    )))?;
    if answer.status.success() {
        return Ok(());
    }
    let problem = last_lines(&String::from_utf8_lossy(&answer.stderr));
    Err(EmbeddedError::Server { step: "initdb", problem })
}

fn server_command(
    binaries: &Binaries,
    directory: &ClusterDirectory,
    account: Option<&Account>,
    settings: &[(String, String)],
) -> Result<Command, EmbeddedError> {
    let log = File::create(directory.log()).map_err(EmbeddedError::io("make the server's log"))?;
    let same_log = log.try_clone().map_err(EmbeddedError::io("share the server's log"))?;
    let mut command = Command::new(binaries.directory.join("postgres"));
    command.arg("-D").arg(directory.data());
    let mut set = |name: &str, value: &str| {
        command.arg("-c").arg(format!("{name}={value}"));
    };
    for (name, value) in SETTINGS {
        set(name, value);
    }
    for (name, value) in settings {
        set(name, value);
    }
    // Last, because our URL depends on it.
    set("unix_socket_directories", &directory.socket().to_string_lossy());
    spawn::set_apart(&mut command, account);
    command.stdin(Stdio::null()).stdout(log).stderr(same_log);
    Ok(command)
}

fn account_note(account: Option<&Account>) -> String {
    account.map_or_else(String::new, |account| {
        format!(
            " as `{}` (we are root, PostgreSQL must not be; every directory above it must be open)",
            account.name
        )
    })
}

fn url_of(socket: &Path) -> String {
    let mut url = "postgresql:///postgres?host=".to_owned();
    for byte in socket.as_os_str().as_encoded_bytes() {
        match byte {
            b'/' | b'.' | b'-' | b'_' => url.push(char::from(*byte)),
            byte if byte.is_ascii_alphanumeric() => url.push(char::from(*byte)),
            byte => write!(url, "%{byte:02X}").unwrap_or_default(),
        }
    }
    url + "&user=" + USER
}

fn last_lines(text: &str) -> String {
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    lines[lines.len().saturating_sub(LOG_LINES)..].join("\n")
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::url_of;

    #[test]
    fn a_url_survives_an_odd_directory() {
        assert_eq!(
            url_of(Path::new("/var/tmp/a b&c/socket")),
            "postgresql:///postgres?host=/var/tmp/a%20b%26c/socket&user=longshore"
        );
    }
}
