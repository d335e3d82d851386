//! Where the real servers are. Without them a promise is left out, and says so.

use std::io::Write;

/// The addresses that the promises are tried against.
#[derive(Clone, Debug)]
pub(crate) struct Servers {
    /// Kafka's bootstrap servers.
    pub(crate) brokers: String,
    /// A database URL of a role that may create databases.
    pub(crate) database_url: String,
}

/// The servers of the environment; `None`, after saying what is missing, if one is not set.
pub(crate) fn servers() -> Option<Servers> {
    let brokers = variable("LONGSHORE_TEST_BROKERS")?;
    let database_url = variable("LONGSHORE_TEST_DATABASE_URL")?;
    Some(Servers { brokers, database_url })
}

#[expect(clippy::disallowed_methods, reason = "the tests are configured by the environment alone")]
fn variable(name: &str) -> Option<String> {
    let value = std::env::var(name).ok().filter(|value| !value.is_empty());
    if value.is_none() {
        let test = std::thread::current().name().unwrap_or("a test").to_owned();
        let line = format!("left out: {test}: {name} is not set\n");
        // Straight to the handle, because the harness swallows what a passing test prints by
        // macro; in one piece, because tests run side by side.
        let _ = std::io::stderr().write_all(line.as_bytes());
    }
    value
}
