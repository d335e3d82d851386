//! The measured service: this very program as a child process, started by `run` as its users start
//! it, with a configuration file of its own.

use std::ffi::OsString;
use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::Instant;

use super::error::BenchError;
use super::settings::Settings;
use crate::embedded::spawn::{self, Keeper, StopSignal};

/// How long a drain may take.
const DRAIN_LIMIT: Duration = Duration::from_secs(60);

/// How often a child that is to end is looked at.
const LOOK_INTERVAL: Duration = Duration::from_millis(10);

/// How long one answer of its metrics may take.
const SCRAPE_LIMIT: Duration = Duration::from_secs(5);

/// The lines of its log that an error shows.
const LOG_LINES: usize = 20;

/// What the service says in its log when it answers, and where the address stands in that line.
const SERVED: (&str, &str) = ("page, health and metrics are served", "address=");

/// How to start it.
pub(super) struct Launch<'a> {
    /// The pipeline that is run.
    pub(super) pipeline: &'a str,
    /// Its configuration.
    pub(super) settings: &'a Settings,
    /// Variables of the environment that would change the configuration.
    pub(super) without: &'a [OsString],
}

/// A running service. Dropped, it is killed.
pub(super) struct Child {
    process: std::process::Child,
    // Behind the process: should the bench be killed, the service drains and ends.
    _keeper: Keeper,
    log: PathBuf,
    // The configuration may hold a password: the directory is readable to nobody else.
    _directory: TempDir,
}

impl Child {
    /// Starts it.
    ///
    /// # Errors
    /// The operating system refuses a file or a process.
    pub(super) fn start(launch: &Launch<'_>) -> Result<Self, BenchError> {
        let directory = tempfile::Builder::new().prefix("longshore-bench-").tempdir()?;
        let (config, log) = (directory.path().join("config.toml"), directory.path().join("log"));
        fs::write(&config, launch.settings.to_toml())?;
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["run", launch.pipeline, "--bench-pipelines", "--config"]).arg(&config);
        for name in launch.without {
            command.env_remove(name);
        }
        command.env("NO_COLOR", "1");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(File::create(&log)?);
        // Ctrl-C is the bench's to hear: it ends the service in its own time.
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        let (process, keeper) = Keeper::spawn(command)?;
        Ok(Self { process, _keeper: keeper, log, _directory: directory })
    }

    /// Its process id.
    pub(super) fn id(&self) -> u32 {
        self.process.id()
    }

    /// Fails if it has ended.
    pub(super) fn check(&mut self) -> Result<(), BenchError> {
        match self.process.try_wait()? {
            Some(status) => Err(self.failed(format!("ended early, {status}"))),
            None => Ok(()),
        }
    }

    /// An error with the end of its log.
    pub(super) fn failed(&self, what: String) -> BenchError {
        let log = self.read_log();
        let lines = log.lines().collect::<Vec<_>>();
        let log = lines[lines.len().saturating_sub(LOG_LINES)..].join("\n");
        BenchError::Service { what, log }
    }

    /// Its metrics as Prometheus reads them; `None` if it does not serve any.
    pub(super) async fn metrics(&self) -> Option<String> {
        let address = address_of(&self.read_log())?;
        let ask = async {
            let mut socket = TcpStream::connect(address).await?;
            socket.write_all(b"GET /metrics HTTP/1.0\r\nhost: localhost\r\n\r\n").await?;
            let mut answer = String::new();
            socket.read_to_string(&mut answer).await?;
            Ok::<_, std::io::Error>(answer)
        };
        tokio::time::timeout(SCRAPE_LIMIT, ask).await.ok()?.ok()
    }

    /// Lets it drain, and waits for its end.
    ///
    /// # Errors
    /// It failed, or did not end in time.
    pub(super) async fn stop(mut self) -> Result<(), BenchError> {
        spawn::send(self.process.id(), StopSignal::Interrupt);
        let deadline = Instant::now() + DRAIN_LIMIT;
        loop {
            match self.process.try_wait()? {
                Some(status) if status.success() => return Ok(()),
                Some(status) => return Err(self.failed(format!("ended badly, {status}"))),
                None if Instant::now() > deadline => {
                    let seconds = DRAIN_LIMIT.as_secs();
                    return Err(self.failed(format!("did not drain within {seconds} s")));
                }
                None => tokio::time::sleep(LOOK_INTERVAL).await,
            }
        }
    }

    fn read_log(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.log).unwrap_or_default()).into_owned()
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        if matches!(self.process.try_wait(), Ok(None)) {
            // Nothing more can be done for it than this.
            let _ = self.process.kill().and_then(|()| self.process.wait());
        }
    }
}

fn address_of(log: &str) -> Option<SocketAddr> {
    let line = log.lines().find(|line| line.contains(SERVED.0))?;
    let (_, rest) = line.split_once(SERVED.1)?;
    rest.split_whitespace().next()?.parse().ok()
}

/// The sum of a histogram by the value of its label `stage`.
pub(super) fn stage_sums(metrics: &str) -> std::collections::BTreeMap<String, f64> {
    let lines = metrics.lines();
    let sums = lines.filter_map(|line| line.strip_prefix("longshore_stage_seconds_sum{stage=\""));
    let sum = |rest: &str| {
        let (stage, value) = rest.split_once("\"} ")?;
        Some((stage.to_owned(), value.trim().parse().ok()?))
    };
    sums.filter_map(sum).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_is_found_in_the_log() {
        let log = "INFO longshore::http: page, health and metrics are served \
                   address=127.0.0.1:4711\nINFO more";
        assert_eq!(address_of(log), Some(SocketAddr::from(([127, 0, 0, 1], 4711))));
        assert_eq!(address_of("nothing"), None);
    }

    #[test]
    fn stages_are_read_from_the_metrics() {
        let metrics = "HTTP/1.0 200 OK\n# TYPE longshore_stage_seconds histogram\n\
                       longshore_stage_seconds_bucket{stage=\"save\",le=\"1\"} 3\n\
                       longshore_stage_seconds_sum{stage=\"save\"} 1.25\n";
        assert_eq!(stage_sums(metrics), [("save".to_owned(), 1.25)].into());
    }
}
