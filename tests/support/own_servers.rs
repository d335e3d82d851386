//! A Kafka and a PostgreSQL of a promise's own, which it may stop and start: the others' go on.

use std::path::Path;
use std::process::{Command, Output};

use tempfile::TempDir;

use super::servers::{Servers, servers};

/// The servers. Dropped, they end, and their data is gone.
pub(crate) struct OwnServers {
    directory: TempDir,
    pub(crate) servers: Servers,
}

impl OwnServers {
    /// Starts both; `None`, after saying so, where no servers are to be had at all.
    pub(crate) fn start() -> Option<Self> {
        servers()?;
        let directory = TempDir::new().expect("a directory");
        run(directory.path(), &["start"]);
        let settings = run(directory.path(), &["env"]);
        let settings = String::from_utf8_lossy(&settings.stdout).into_owned();
        let value = |name: &str| {
            let mut lines = settings.lines();
            let found = lines.find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
            found.unwrap_or_else(|| panic!("no {name} in {settings}")).trim_matches('\'').to_owned()
        };
        let servers = Servers {
            brokers: value("LONGSHORE_TEST_BROKERS"),
            database_url: value("LONGSHORE_TEST_DATABASE_URL"),
        };
        Some(Self { directory, servers })
    }

    /// Stops `kafka` or `postgres`.
    pub(crate) fn stop(&self, name: &str) {
        run(self.directory.path(), &["stop", name]);
    }

    /// Starts it again, at the same address.
    pub(crate) fn start_again(&self, name: &str) {
        run(self.directory.path(), &["start", name]);
    }
}

impl Drop for OwnServers {
    fn drop(&mut self) {
        // Best effort: what is left behind must not hide the test's own failure.
        let _ = services(self.directory.path()).arg("clean").output();
    }
}

fn run(directory: &Path, arguments: &[&str]) -> Output {
    let output = services(directory).args(arguments).output().expect("scripts/services runs");
    let story = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "scripts/services {}: {story}", arguments.join(" "));
    output
}

fn services(directory: &Path) -> Command {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/services");
    let mut command = Command::new(script);
    command.env("LONGSHORE_SERVICES_DIR", directory);
    command
}
