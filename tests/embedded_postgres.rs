//! The embedded PostgreSQL: it starts, it is alone, it ends with its owner, it leaves nothing.
#![allow(clippy::unwrap_used)] // in helpers too, where the lint does not see a test

use std::env;
use std::fs::{self, Permissions};
use std::io::{BufRead, BufReader};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use longshore::embedded::{BinarySource, EmbeddedError, EmbeddedPostgres, PostgresOptions};
use tempfile::TempDir;
use tokio_postgres::NoTls;

/// Tells the helper test below, in a process of its own, where to make its cluster.
const PARENT: &str = "LONGSHORE_TEST_PARENT";

#[test]
fn it_starts_answers_and_leaves_nothing() {
    let parent = open_parent();
    let begun = Instant::now();
    let server = start_in(parent.path());
    let started = begun.elapsed();
    assert!(server.origin().starts_with("system "), "{}", server.origin());
    assert_eq!(answer(server.url(), "show fsync"), "on");
    assert_eq!(answer(server.url(), "show server_encoding"), "UTF8");
    let begun = Instant::now();
    server.stop().unwrap();
    println!("started in {started:?}, stopped in {:?}", begun.elapsed());
    assert_eq!(entries(parent.path()), Vec::<PathBuf>::new());
}

#[test]
fn two_live_side_by_side() {
    let parent = open_parent();
    let (first, second) = (start_in(parent.path()), start_in(parent.path()));
    assert_eq!(answer(first.url(), "create table t (n int); select 'made'"), "made");
    assert_eq!(answer(second.url(), "select to_regclass('t') is null"), "t");
    drop(first);
    assert_eq!(answer(second.url(), "select 1"), "1");
}

#[test]
fn a_connected_client_does_not_hold_it_up() {
    let parent = open_parent();
    let server = start_in(parent.path());
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let url = server.url().to_owned();
    let (client, connection) = runtime.block_on(tokio_postgres::connect(&url, NoTls)).unwrap();
    runtime.spawn(connection);
    runtime.block_on(client.batch_execute("begin; create table t (n int)")).unwrap();
    let begun = Instant::now();
    server.stop().unwrap();
    assert!(begun.elapsed() < Duration::from_secs(5), "took {:?}", begun.elapsed());
}

#[test]
fn root_hands_the_server_to_another_account() {
    let parent = open_parent();
    let server = start_in(parent.path());
    let status = fs::read_to_string(format!("/proc/{}/status", server.process_id())).unwrap();
    let owner = status.lines().find_map(|line| line.strip_prefix("Uid:")).unwrap();
    assert_ne!(owner.split_whitespace().next(), Some("0"));
}

#[test]
fn a_server_that_refuses_to_start_says_why_and_leaves_nothing() {
    let parent = open_parent();
    let mut options = options_in(parent.path());
    options.settings.push(("shared_buffers".to_owned(), "none".to_owned()));
    let error = EmbeddedPostgres::start(&options, &|_| ()).unwrap_err();
    assert!(error.to_string().contains("shared_buffers"), "{error}");
    assert_eq!(entries(parent.path()), Vec::<PathBuf>::new());
}

#[test]
fn a_directory_without_binaries_is_named() {
    let parent = open_parent();
    let mut options = options_in(parent.path());
    options.binaries = BinarySource::Directory(parent.path().to_owned());
    let error = EmbeddedPostgres::start(&options, &|_| ()).unwrap_err();
    assert!(matches!(&error, EmbeddedError::UnfitBinaries { .. }), "{error}");
    assert!(error.to_string().contains("it has no `postgres`"), "{error}");
}

#[test]
#[cfg(target_os = "linux")]
fn it_ends_with_a_killed_process_and_the_next_start_cleans_up() {
    let parent = open_parent();
    let (mut owner, socket) = start_owner(Command::new(env::current_exe().unwrap()), parent.path());
    UnixStream::connect(&socket).unwrap();
    // Child::kill is SIGKILL: nothing of the owner's own code runs any more.
    owner.kill().unwrap();
    owner.wait().unwrap();
    let killed = Instant::now();
    assert!(within(Duration::from_secs(10), || UnixStream::connect(&socket).is_err()));
    println!("the server was gone {:?} after its owner", killed.elapsed());
    assert_eq!(entries(parent.path()).len(), 1, "a killed process cannot clean up");
    start_in(parent.path()).stop().unwrap();
    assert_eq!(entries(parent.path()), Vec::<PathBuf>::new());
}

#[test]
#[cfg(target_os = "linux")]
fn it_starts_for_an_unprivileged_user() {
    let is_root = fs::metadata("/proc/self").unwrap().uid() == 0;
    if !is_root || !Path::new("/usr/bin/setpriv").exists() {
        println!("skipped: takes root and setpriv; the tests beside it run as this user");
        return;
    }
    let parent = open_parent();
    fs::set_permissions(parent.path(), Permissions::from_mode(0o777)).unwrap();
    // The build directory may be closed to others.
    let program = parent.path().join("owner");
    fs::copy(env::current_exe().unwrap(), &program).unwrap();
    let mut command = Command::new("/usr/bin/setpriv");
    command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]).arg(&program);
    let (mut owner, socket) = start_owner(command, parent.path());
    UnixStream::connect(&socket).unwrap();
    drop(owner.stdin.take());
    assert!(owner.wait().unwrap().success());
    assert_eq!(entries(parent.path()), vec![program]);
}

#[test]
#[ignore = "downloads some 15 MB"]
fn it_starts_from_fetched_binaries() {
    let parent = open_parent();
    let mut options = options_in(parent.path());
    options.binaries = BinarySource::Fetched;
    for _ in 0..2 {
        let begun = Instant::now();
        let server = EmbeddedPostgres::start(&options, &|line| println!("{line}")).unwrap();
        println!("{} after {:?}", server.origin(), begun.elapsed());
        assert!(server.origin().starts_with("fetched "), "{}", server.origin());
        assert_eq!(answer(server.url(), "select 1"), "1");
    }
}

/// Not a test: a process of its own for the tests above, which ends when its input does.
#[test]
#[ignore = "started by other tests"]
fn owner_of_a_server() {
    let Some(parent) = env::var_os(PARENT) else { return };
    let server = start_in(Path::new(&parent));
    println!("\nurl {}", server.url());
    let _ = std::io::stdin().read_line(&mut String::new());
    server.stop().unwrap();
}

fn start_owner(mut command: Command, parent: &Path) -> (Child, PathBuf) {
    command.args(["--exact", "owner_of_a_server", "--ignored", "--nocapture"]).env(PARENT, parent);
    let mut owner = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(owner.stdout.take().unwrap()).lines().map(Result::unwrap);
    let url = lines.find_map(|line| line.strip_prefix("url ").map(str::to_owned)).unwrap();
    // Read on, so that the owner's last words find a reader.
    thread::spawn(move || lines.for_each(drop));
    let host = url.split_once("host=").unwrap().1.split('&').next().unwrap();
    (owner, Path::new(host).join(".s.PGSQL.5432"))
}

/// A directory for clusters that every account may pass through.
fn open_parent() -> TempDir {
    let parent = tempfile::Builder::new().prefix("ls-test-").tempdir_in("/var/tmp").unwrap();
    fs::set_permissions(parent.path(), Permissions::from_mode(0o755)).unwrap();
    parent
}

fn options_in(parent: &Path) -> PostgresOptions {
    PostgresOptions { directory: Some(parent.to_owned()), ..PostgresOptions::default() }
}

fn start_in(parent: &Path) -> EmbeddedPostgres {
    EmbeddedPostgres::start(&options_in(parent), &|line| println!("{line}")).unwrap()
}

fn entries(directory: &Path) -> Vec<PathBuf> {
    directory.read_dir().unwrap().map(|entry| entry.unwrap().path()).collect()
}

/// The first value of the last row that the server answers with.
fn answer(url: &str, sql: &str) -> String {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let (client, connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
        tokio::spawn(connection);
        let rows = client.simple_query(sql).await.unwrap();
        let row = rows.iter().rev().find_map(|message| match message {
            tokio_postgres::SimpleQueryMessage::Row(row) => row.get(0),
            _ => None,
        });
        row.unwrap().to_owned()
    })
}

fn within(timeout: Duration, mut holds: impl FnMut() -> bool) -> bool {
    let deadline = Instant::now() + timeout;
    while !holds() {
        if Instant::now() > deadline {
            return false;
        }
        thread::park_timeout(Duration::from_millis(2));
    }
    true
}
