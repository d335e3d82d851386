//! The run's database, as an administrator sees it: past all links. Faults that SQL can make are
//! made here.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context as _, Result};
use postgres::config::Config;
use postgres::error::SqlState;
use postgres::{Client, NoTls};
use rand::Rng;
use rand::seq::index;

/// Whom the instances come as: nobody who may use the connections that are kept for administrators.
const ROLE: &str = "longshore_app";
/// The database's name.
const NAME: &str = "faults";
/// What the sessions that take all connections are called.
const HOG: &str = "longshore-faults-hog";
/// How long the server may take to accept a connection.
const CONNECT_WITHIN: Duration = Duration::from_secs(10);

/// The way to the database.
#[derive(Clone, Debug)]
pub struct Database {
    address: SocketAddr,
}

impl Database {
    /// Creates the database and the instances' role.
    ///
    /// # Errors
    /// Whatever the server says.
    pub fn create(address: SocketAddr) -> Result<Self> {
        let mut client = admin(address, "postgres").connect(NoTls)?;
        client.batch_execute(&format!("create role {ROLE} login"))?;
        client.batch_execute(&format!("create database {NAME} owner {ROLE}"))?;
        Ok(Self { address })
    }

    /// The URL by which an instance finds it at the end of a link.
    pub fn url_through(link: SocketAddr) -> String {
        format!("postgres://{ROLE}@{link}/{NAME}")
    }

    /// A connection of an administrator's.
    ///
    /// # Errors
    /// Whatever the server says.
    pub fn connect(&self) -> Result<Client> {
        admin(self.address, NAME).connect(NoTls).context("the run's database does not answer")
    }

    /// `pg_terminate_backend` on some of the instances' sessions, one in `one_in` and at least one.
    /// Gives their number.
    ///
    /// # Errors
    /// Whatever the server says.
    pub fn terminate_backends(&self, one_in: usize, rng: &mut impl Rng) -> Result<usize> {
        let mut client = self.connect()?;
        let pids = client.query(
            "select pid from pg_stat_activity
             where usename = $1 and application_name <> $2 order by backend_start",
            &[&ROLE, &HOG],
        )?;
        let count = pids.len().div_ceil(one_in.max(1));
        for at in index::sample(rng, pids.len(), count) {
            client.execute("select pg_terminate_backend($1)", &[&pids[at].get::<_, i32>(0)])?;
        }
        Ok(count)
    }

    /// Makes the server refuse writes, as a replica that clients were sent to does; or accept them
    /// again.
    ///
    /// # Errors
    /// Whatever the server says.
    pub fn set_read_only(&self, is_read_only: bool) -> Result<()> {
        let mut client = self.connect()?;
        let value = if is_read_only { "on" } else { "off" };
        client
            .execute(&format!("alter system set default_transaction_read_only = {value}"), &[])?;
        client.execute("select pg_reload_conf()", &[])?;
        Ok(())
    }

    /// Takes every connection that ordinary users may have, and throws the instances out, so that
    /// they must connect again. The connections are held until the answer is dropped.
    ///
    /// # Errors
    /// Whatever the server says.
    pub fn exhaust_connections(&self, rng: &mut impl Rng) -> Result<Vec<Client>> {
        let mut config = admin(self.address, NAME);
        config.user(ROLE).application_name(HOG);
        let mut held = fill(&config)?;
        self.terminate_backends(1, rng)?;
        held.extend(fill(&config)?);
        Ok(held)
    }
}

fn fill(config: &Config) -> Result<Vec<Client>> {
    let mut held = Vec::new();
    loop {
        match config.connect(NoTls) {
            Ok(client) => held.push(client),
            Err(error) if error.code() == Some(&SqlState::TOO_MANY_CONNECTIONS) => return Ok(held),
            Err(error) => return Err(error).context("taking all connections"),
        }
    }
}

fn admin(address: SocketAddr, database: &str) -> Config {
    let mut config = Config::new();
    config.host(&address.ip().to_string()).port(address.port()).dbname(database);
    // An administrator may write while everybody else may not.
    config.user("longshore").options("-c default_transaction_read_only=off");
    config.connect_timeout(CONNECT_WITHIN).application_name("longshore-faults");
    config
}
