//! Promise: when other work slows the database down, transactions get smaller; when it ends, they
//! come back to what they were. Nothing is lost or doubled by it. On a real server, with `pgbench`
//! beside it.

mod support;

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use support::http::{Http, Metrics};
use support::producers::Sender;
use support::records::{Generator, Mix, Sent};
use support::stage::Stage;
use support::wait;

/// What the other work asks again and again: nothing but CPU.
const OTHER_WORK: &str = "select sum(i) from generate_series(1, 100000) i;\n";
/// How many ask it: with them, a session of ours has a small part of the server's CPU.
const CLIENTS: &str = "--client=24";
/// Offsets that wait to be saved, so that there is enough work and the end is not far.
const BACKLOG: f64 = 20_000.0;
/// What a scrape counts for in the smoothed pace: a single one may be chance.
const SCRAPE: f64 = 0.1;
/// Where installations of PostgreSQL keep `pgbench`, besides the path.
const INSTALLED: &str = "/usr/lib/postgresql";

#[test]
fn the_pace_slows_down_with_the_database_and_comes_back() {
    let Some(stage) = Stage::set(4) else { return };
    let Some(pgbench) = pgbench() else {
        println!("left out: there is no pgbench, which comes with PostgreSQL");
        return;
    };
    let mut process = stage
        .service()
        .set("pipelines.ads.pace", "transaction", "\"100 ms\"")
        .set("pipelines.ads.pace", "records_max", "5000")
        .set("pipelines.ads.pace", "records_min", "20")
        .set("pipelines.ads.batch", "records", "500")
        .start(&["run"]);
    let http = Http::of(&mut process);
    http.await_ready();
    let mut load = Load::of(&stage, http);
    assert_eq!(load.smoothed, 5000.0, "it begins at the ceiling");
    assert!(load.linger < 0.01, "without load it lingers {} s", load.linger);

    load.until("there was load for a while", |load| load.scrapes > 100);
    let fast = load.smoothed;
    let beside = Beside::start(&pgbench, &stage);
    load.until("transactions are much smaller", |load| load.smoothed < fast / 3.0);
    assert!(load.linger > 0.01, "under load it lingers {} s", load.linger);
    drop(beside);
    let Load { smoothed, linger, .. } = load;
    println!("{fast} records of a transaction, {smoothed} beside pgbench, lingers {linger} s");
    load.until("they are what they were", |load| load.smoothed > fast * 2.0 / 3.0);

    stage.await_end(&mut process);
    process.terminate().expect_code(0);
    stage.exact(&load.sent);
}

/// Records that are sent as fast as they are saved, and the pace as it is seen meanwhile.
struct Load {
    http: Http,
    records: Generator,
    sender: Sender,
    sent: Vec<Sent>,
    scrapes: usize,
    /// Records of a transaction, over the last scrapes.
    smoothed: f64,
    /// Seconds, over the last scrapes.
    linger: f64,
}

impl Load {
    fn of(stage: &Stage, http: Http) -> Self {
        let pace = Pace::of(&http.metrics());
        Self {
            http,
            records: stage.generator(91, Mix::USUAL),
            sender: Sender::idempotent(&stage.topic),
            sent: Vec::new(),
            scrapes: 0,
            smoothed: pace.records,
            linger: pace.linger,
        }
    }

    /// Goes on until `done`.
    fn until(&mut self, what: &str, done: impl Fn(&Self) -> bool) {
        wait::until(what, || {
            let metrics = self.http.metrics();
            let settled = ["saved", "skipped", "duplicate", "parked"]
                .map(|outcome| metrics.sum("longshore_records_total", "outcome", outcome));
            if self.sent.len() as f64 - settled.iter().sum::<f64>() < BACKLOG {
                self.sent.extend(self.sender.send(self.records.records(2000)));
            }
            let pace = Pace::of(&metrics);
            self.smoothed += (pace.records - self.smoothed) * SCRAPE;
            self.linger += (pace.linger - self.linger) * SCRAPE;
            self.scrapes += 1;
            assert!((1.0..=4.0).contains(&pace.sessions), "{pace:?}");
            done(self)
        });
    }
}

/// The pace of the one pipeline in a scrape.
#[derive(Clone, Copy, Debug)]
struct Pace {
    linger: f64,
    records: f64,
    sessions: f64,
}

impl Pace {
    fn of(metrics: &Metrics) -> Self {
        let of = |name: &str| metrics.sum(&format!("longshore_pace_{name}"), "pipeline", "ads");
        Self {
            linger: of("linger_seconds"),
            records: of("transaction_records"),
            sessions: of("sessions"),
        }
    }
}

/// Other work on the database; dropped, it ends.
struct Beside(Child);

impl Beside {
    fn start(pgbench: &PathBuf, stage: &Stage) -> Self {
        let mut command = Command::new(pgbench);
        let script = stage.file("other_work.sql", OTHER_WORK);
        command.args(["--no-vacuum", CLIENTS, "--time=600", "--file"]).arg(script);
        command.arg(&stage.database.url).stdin(Stdio::null());
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let mut beside = Self(command.spawn().expect("pgbench starts"));
        wait::until("the other work is under way", || {
            assert!(matches!(beside.0.try_wait(), Ok(None)), "pgbench ended");
            let working = "select count(*) from pg_stat_activity where state = 'active' and \
                           application_name = 'pgbench' and datname = current_database()";
            stage.database.number(working) > 0
        });
        beside
    }
}

impl Drop for Beside {
    fn drop(&mut self) {
        let _ = self.0.kill().and_then(|()| self.0.wait());
    }
}

/// The program, from the path or from where PostgreSQL is installed.
fn pgbench() -> Option<PathBuf> {
    let on_path = Command::new("pgbench").arg("--version").output().is_ok();
    let installed = || {
        let versions = std::fs::read_dir(INSTALLED).ok()?;
        let mut programs = versions.flatten().map(|entry| entry.path().join("bin/pgbench"));
        programs.find(|program| program.exists())
    };
    if on_path { Some("pgbench".into()) } else { installed() }
}
