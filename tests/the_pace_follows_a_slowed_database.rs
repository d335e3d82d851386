//! Promise: when other work slows the database down, transactions get smaller and fewer save at a
//! time; when it ends, they come back to what they were. Nothing is lost or doubled by it. On a real
//! server, with `pgbench` beside it.

mod support;

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use support::http::{Http, Metrics};
use support::producers::Sender;
use support::records::Mix;
use support::stage::Stage;
use support::wait;

/// A job that keeps writers off the table for a moment, again and again, as `create index` does.
const OTHER_WORK: &str = "begin; lock table ads.enriched_events in share mode; \
                          select pg_sleep(0.3); commit;\n";
/// Where installations of PostgreSQL keep `pgbench`, besides the path.
const INSTALLED: &str = "/usr/lib/postgresql";

#[test]
fn the_pace_slows_down_with_the_database_and_comes_back() {
    let Some(stage) = Stage::set(4) else { return };
    let Some(pgbench) = pgbench() else {
        println!("left out: there is no pgbench, which comes with PostgreSQL");
        return;
    };
    let (mut records, sender) = (stage.generator(91, Mix::USUAL), Sender::idempotent(&stage.topic));
    let mut process = stage
        .service()
        .set("pipelines.ads.pace", "transaction", "\"100 ms\"")
        .set("pipelines.ads.pace", "records_max", "1000")
        .set("pipelines.ads.pace", "records_min", "10")
        .set("pipelines.ads.batch", "records", "200")
        .start(&["run"]);
    let http = Http::of(&mut process);
    http.await_ready();
    let before = Pace::of(&http.metrics());
    assert_eq!((before.records, before.sessions), (1000.0, 4.0), "at the ceilings");

    let mut sent = Vec::new();
    let beside = Beside::start(&pgbench, &stage);
    let mut slowest = before;
    wait::until("smaller transactions of fewer connections, which wait for company", || {
        sent.extend(sender.send(records.records(200)));
        let pace = Pace::of(&http.metrics());
        slowest.records = slowest.records.min(pace.records);
        slowest.sessions = slowest.sessions.min(pace.sessions);
        slowest.linger = slowest.linger.max(pace.linger);
        slowest.records <= before.records / 4.0
            && slowest.sessions <= before.sessions / 2.0
            && slowest.linger >= before.linger * 4.0
    });
    drop(beside);
    wait::until("the pace is what it was", || {
        sent.extend(sender.send(records.records(2000)));
        let pace = Pace::of(&http.metrics());
        pace.records > slowest.records * 4.0 && pace.sessions > slowest.sessions
    });
    stage.await_end(&mut process);
    wait::until("an idle service waits for nothing", || {
        Pace::of(&http.metrics()).linger <= before.linger
    });
    process.terminate().expect_code(0);
    stage.exact(&sent);
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
        command.args(["--no-vacuum", "--client=1", "--time=600", "--file"]).arg(script);
        command.arg(&stage.database.url).stdin(Stdio::null());
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let mut beside = Self(command.spawn().expect("pgbench starts"));
        wait::until("the other work has its lock", || {
            assert!(matches!(beside.0.try_wait(), Ok(None)), "pgbench ended");
            let held = "select count(*) from pg_locks where mode = 'ShareLock' and granted and \
                        relation = 'ads.enriched_events'::regclass";
            stage.database.number(held) > 0
        });
        beside
    }
}

impl Drop for Beside {
    fn drop(&mut self) {
        // Its transaction ends with its connection.
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
