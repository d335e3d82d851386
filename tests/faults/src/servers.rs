//! The run's own PostgreSQL and Kafka, started by `scripts/services` in a directory of the run's
//! own as plain processes, so that they can be killed without harm to anybody else.
//!
//! # They never outlive the harness
//! A guard, a shell that waits for the end of its input, stops the servers and removes their data
//! as soon as the harness has let go of the other end: when [`Servers`] is dropped, and when the
//! harness is killed.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::wait;

/// How long PostgreSQL may take to stop.
const STOP_WITHIN: Duration = Duration::from_secs(60);

/// Waits for the end of its input, then keeps the logs and removes the rest.
const GUARD: &str = r#"
    trap '' INT TERM HUP
    cat >/dev/null
    for server in kafka postgres; do
      LONGSHORE_SERVICES_DIR=$2/servers/$server "$1" stop "$server" >/dev/null 2>&1
    done
    for home in "$2/servers/kafka/kafka" "$2/servers/kafka/kafka/2" "$2/servers/kafka/kafka/3"; do
      [ ! -f "$home/server.log" ] || cp "$home/server.log" "$2/broker-${home##*/}.log"
    done
    home=$(cat "$2/servers/postgres/postgres/home" 2>/dev/null) &&
      cp "$home/server.log" "$2/postgres.log"
    for server in kafka postgres; do
      LONGSHORE_SERVICES_DIR=$2/servers/$server "$1" clean >/dev/null 2>&1
    done
    rm -rf "$2/servers"
"#;

/// How PostgreSQL is stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Stop {
    /// Sessions are ended, and it shuts down in order.
    Fast,
    /// Nothing is written any more: the next start recovers.
    Immediate,
    /// `kill -9` of the server and all its processes.
    Kill,
}

/// A listener of every broker that says of itself what a proxy's address is.
#[derive(Clone, Debug)]
pub struct Advertised {
    /// The listener's name, in capitals.
    pub name: String,
    /// The address to advertise, one a broker.
    pub addresses: Vec<SocketAddr>,
}

/// One PostgreSQL, and one or three Kafka brokers.
///
/// Each has a directory of its own, since `scripts/services` does one thing at a time in one, and a
/// broker takes its time to start.
pub struct Servers {
    directory: PathBuf,
    brokers: u32,
    links: String,
    /// The broker that is being started.
    starting: Option<Child>,
    guard: Child,
}

/// Which servers a command is about.
#[derive(Clone, Copy)]
enum Home {
    Kafka,
    Postgres,
}

impl Servers {
    /// Starts them with everything that they leave behind under `directory`; their logs are kept
    /// there in the end.
    ///
    /// # Errors
    /// What `scripts/services` says.
    pub fn start(directory: &Path, brokers: u32, links: &[Advertised]) -> Result<Self> {
        let link = |link: &Advertised| {
            let addresses = link.addresses.iter().map(ToString::to_string).collect::<Vec<_>>();
            format!("{}={}", link.name, addresses.join(","))
        };
        let links = links.iter().map(link).collect::<Vec<_>>().join(" ");
        let guard = guard(directory)?;
        let directory = directory.join("servers");
        fs::create_dir_all(&directory)?;
        let mut servers = Self { directory, brokers, links, starting: None, guard };
        // PostgreSQL comes up while Java does.
        servers.starting = Some(servers.services(Home::Kafka, &["start", "kafka"])?.spawn()?);
        servers.start_database()?;
        servers.settle()?;
        Ok(servers)
    }

    /// How many brokers there are.
    pub fn num_brokers(&self) -> u32 {
        self.brokers
    }

    /// The brokers' own addresses, no proxy between.
    ///
    /// # Errors
    /// They were never started.
    pub fn bootstrap(&self) -> Result<String> {
        let addresses = (1..=self.brokers).map(|broker| self.broker_address(broker, "port"));
        let addresses = addresses.map(|address| address.map(|address| address.to_string()));
        Ok(addresses.collect::<Result<Vec<_>>>()?.join(","))
    }

    /// Where a broker's further listener really is.
    ///
    /// # Errors
    /// There is none of this name.
    pub fn link_address(&self, broker: u32, name: &str) -> Result<SocketAddr> {
        self.broker_address(broker, &format!("{name}-port"))
    }

    /// Where PostgreSQL is.
    ///
    /// # Errors
    /// It was never started.
    pub fn database_address(&self) -> Result<SocketAddr> {
        port(&self.directory.join("postgres/postgres/port"))
    }

    /// Starts a broker that was stopped or killed, and does not wait until it answers.
    ///
    /// # Errors
    /// What `scripts/services` says.
    pub fn start_broker(&mut self, broker: u32) -> Result<()> {
        self.settle()?;
        let mut start = self.services(Home::Kafka, &["start", &format!("kafka.{broker}")])?;
        self.starting = Some(start.spawn()?);
        Ok(())
    }

    /// Stops a broker in order: it hands its leaderships on.
    ///
    /// # Errors
    /// What `scripts/services` says.
    pub fn stop_broker(&mut self, broker: u32) -> Result<()> {
        self.settle()?;
        finish(&mut self.services(Home::Kafka, &["stop", &format!("kafka.{broker}")])?)
    }

    /// `kill -9` of a broker.
    ///
    /// # Errors
    /// What `scripts/services` says.
    pub fn kill_broker(&mut self, broker: u32) -> Result<()> {
        self.settle()?;
        finish(&mut self.services(Home::Kafka, &["kill", &format!("kafka.{broker}")])?)
    }

    /// Waits until the broker that is being started answers.
    ///
    /// # Errors
    /// It does not.
    pub fn settle(&mut self) -> Result<()> {
        match self.starting.take() {
            Some(child) => succeeded(&child.wait_with_output()?),
            None => Ok(()),
        }
    }

    /// Starts PostgreSQL after it was stopped.
    ///
    /// # Errors
    /// What `scripts/services` says.
    pub fn start_database(&self) -> Result<()> {
        finish(&mut self.services(Home::Postgres, &["start", "postgres"])?)
    }

    /// Stops PostgreSQL, and waits until it is gone.
    ///
    /// # Errors
    /// It does not run, or does not end.
    pub fn stop_database(&self, how: Stop) -> Result<()> {
        let signal = match how {
            Stop::Fast => Signal::SIGINT,
            Stop::Immediate => Signal::SIGQUIT,
            Stop::Kill => {
                return finish(&mut self.services(Home::Postgres, &["kill", "postgres"])?);
            }
        };
        let pid = fs::read_to_string(self.directory.join("postgres/postgres/pid"))?;
        let pid = Pid::from_raw(pid.trim().parse()?);
        kill(pid, signal)?;
        wait::until("PostgreSQL has stopped", STOP_WITHIN, || {
            Ok((kill(pid, None).is_err() || is_zombie(pid)).then_some(()))
        })
    }

    fn broker_address(&self, broker: u32, file: &str) -> Result<SocketAddr> {
        let kafka = self.directory.join("kafka/kafka");
        let home = if broker == 1 { kafka } else { kafka.join(broker.to_string()) };
        port(&home.join(file))
    }

    fn services(&self, home: Home, arguments: &[&str]) -> Result<Command> {
        let mut command = Command::new(script()?);
        command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.env("LONGSHORE_SERVICES", "native");
        match home {
            Home::Postgres => {
                command.env("LONGSHORE_SERVICES_DIR", self.directory.join("postgres"))
            }
            Home::Kafka => command
                .env("LONGSHORE_SERVICES_DIR", self.directory.join("kafka"))
                .env("LONGSHORE_SERVICES_BROKERS", self.brokers.to_string())
                .env("LONGSHORE_SERVICES_LINKS", &self.links),
        };
        Ok(command)
    }
}

fn finish(command: &mut Command) -> Result<()> {
    succeeded(&command.output().context("scripts/services cannot be run")?)
}

fn succeeded(output: &Output) -> Result<()> {
    let story = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "scripts/services: {}", story.trim());
    Ok(())
}

impl Drop for Servers {
    fn drop(&mut self) {
        // It would start what the guard is to stop.
        let _ = self.settle();
        // The end of its input is the guard's cue.
        drop(self.guard.stdin.take());
        if let Err(error) = self.guard.wait() {
            eprintln!("the servers in {} may still run: {error}", self.directory.display());
        }
    }
}

fn guard(directory: &Path) -> Result<Child> {
    // A session of its own, so that Ctrl-C does not reach it.
    let mut command = Command::new("setsid");
    command.args(["bash", "-c", GUARD, "guard"]).arg(script()?).arg(directory);
    command.env("LONGSHORE_SERVICES", "native").stdin(Stdio::piped());
    command.spawn().context("the servers' guard cannot be started")
}

fn script() -> Result<PathBuf> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scripts/services");
    ensure!(script.is_file(), "{} is missing: run from a checkout", script.display());
    Ok(script.canonicalize()?)
}

fn port(file: &Path) -> Result<SocketAddr> {
    let port = fs::read_to_string(file).with_context(|| format!("{}", file.display()))?;
    Ok(SocketAddr::from(([127, 0, 0, 1], port.trim().parse()?)))
}

/// Whether it has ended, and nobody has waited for it: in a container without an init nobody will.
fn is_zombie(pid: Pid) -> bool {
    let path = format!("/proc/{}/stat", pid.as_raw());
    let stat = fs::read_to_string(path).unwrap_or_default();
    stat.rsplit(')').next().is_some_and(|rest| rest.trim_start().starts_with('Z'))
}
