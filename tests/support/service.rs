//! The service as its users have it: a program, a configuration file, signals, exit codes.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use super::wait;

/// How long a process may take to end.
const END_WITHIN: Duration = Duration::from_secs(180);
/// How many of the last lines of a log are shown with a failure.
const LINES_SHOWN: usize = 60;

/// Numbers the log files of all processes.
static STARTED: AtomicU32 = AtomicU32::new(0);

/// A configuration, and the program that is started with it.
#[derive(Clone, Debug)]
pub(crate) struct Service {
    directory: PathBuf,
    /// Section, key, value as TOML.
    settings: BTreeMap<String, BTreeMap<String, String>>,
    environment: Vec<(String, String)>,
}

impl Service {
    /// The program with an empty configuration, its files in `directory`.
    pub(crate) fn bare(directory: &Path) -> Self {
        let directory = directory.to_owned();
        Self { directory, settings: BTreeMap::new(), environment: Vec::new() }
    }

    /// Sets a key of a section; `value` is TOML.
    pub(crate) fn set(mut self, section: &str, key: &str, value: &str) -> Self {
        let section = self.settings.entry(section.to_owned()).or_default();
        section.insert(key.to_owned(), value.to_owned());
        self
    }

    /// Takes a key away.
    pub(crate) fn unset(mut self, section: &str, key: &str) -> Self {
        self.settings.entry(section.to_owned()).or_default().remove(key);
        self
    }

    /// Sets a variable of the program's environment.
    pub(crate) fn environment(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Starts `longshore ARGUMENTS` with this configuration.
    pub(crate) fn start(&self, arguments: &[&str]) -> Process {
        let number = STARTED.fetch_add(1, Ordering::Relaxed);
        let config = self.directory.join(format!("longshore-{number}.toml"));
        fs::write(&config, self.toml()).expect("the configuration is written");
        let mut command = self.command(arguments);
        command.arg("--config").arg(&config);
        self.spawn(command, number, arguments)
    }

    /// Starts `longshore ARGUMENTS` without naming a configuration.
    pub(crate) fn start_without_config(&self, arguments: &[&str]) -> Process {
        let number = STARTED.fetch_add(1, Ordering::Relaxed);
        self.spawn(self.command(arguments), number, arguments)
    }

    /// Runs `longshore ARGUMENTS` to its end.
    pub(crate) fn finish(&self, arguments: &[&str]) -> Finished {
        self.start(arguments).wait()
    }

    /// Runs `longshore migrate`, which must succeed.
    pub(crate) fn migrate(&self) {
        self.finish(&["migrate"]).expect_code(0);
    }

    /// Runs `longshore run --until-end`, which must succeed.
    pub(crate) fn run_until_end(&self) -> Finished {
        self.finish(&["run", "--until-end"]).expect_code(0)
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_longshore"));
        command.args(arguments).current_dir(&self.directory).stdin(Stdio::null());
        // The tests' own variables look like the product's and must not reach it.
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("LONGSHORE_") || name == "DATABASE_URL" {
                command.env_remove(name);
            }
        }
        // A panic's message must not drown in its backtrace.
        command
            .env_remove("RUST_BACKTRACE")
            .env_remove("RUST_LOG")
            .envs(self.environment.iter().cloned());
        command
    }

    fn spawn(&self, mut command: Command, number: u32, arguments: &[&str]) -> Process {
        let log = |kind: &str| self.directory.join(format!("{number}.{kind}"));
        let (stdout, stderr) = (log("stdout"), log("stderr"));
        command.stdout(File::create(&stdout).expect("a log"));
        command.stderr(File::create(&stderr).expect("a log"));
        let child = command.spawn().expect("the program starts");
        Process { what: arguments.join(" "), child, stdout, stderr }
    }

    fn toml(&self) -> String {
        let mut text = String::new();
        let (top, rest) = self.settings.iter().partition::<Vec<_>, _>(|(name, _)| name.is_empty());
        for (section, keys) in top.into_iter().chain(rest) {
            if !section.is_empty() {
                let _ = writeln!(text, "[{section}]");
            }
            for (key, value) in keys {
                let _ = writeln!(text, "{key} = {value}");
            }
        }
        text
    }
}

/// A started program. Dropped before its end it is killed; dropped by a failure it shows its logs.
#[derive(Debug)]
pub(crate) struct Process {
    what: String,
    child: Child,
    stdout: PathBuf,
    stderr: PathBuf,
}

impl Process {
    /// Ends it at once, as `kill -9` does.
    pub(crate) fn kill(mut self) {
        assert!(self.is_running(), "`{}` had ended before it was killed", self.what);
        self.child.kill().expect("a killed process");
        self.child.wait().expect("the end of a killed process");
    }

    /// Sends a signal, by name.
    pub(crate) fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        let sent = Command::new("kill").args(["-s", name, &pid]).status();
        assert!(sent.expect("kill").success(), "SIG{name} could not be sent to `{}`", self.what);
    }

    /// Asks it to drain and stop, and waits until it did.
    pub(crate) fn terminate(mut self) -> Finished {
        assert!(self.is_running(), "`{}` had ended before SIGTERM", self.what);
        self.signal("TERM");
        self.wait()
    }

    /// Its process id.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Whether it has not ended yet.
    pub(crate) fn is_running(&mut self) -> bool {
        self.child.try_wait().expect("a state").is_none()
    }

    /// Waits until `condition` holds while it runs; panics if it ends before.
    pub(crate) fn runs_until(&mut self, what: &str, mut condition: impl FnMut() -> bool) {
        wait::until(what, || {
            let holds = condition();
            assert!(holds || self.is_running(), "`{}` ended before {what}", self.what);
            holds
        });
    }

    /// Waits until its log says `word`, in any case.
    pub(crate) fn writes(&mut self, word: &str) {
        let (log, word) = (self.stderr.clone(), word.to_lowercase());
        let what = format!("it says {word:?}");
        self.runs_until(&what, || read(&log).to_lowercase().contains(&word));
    }

    /// Waits until it says a line with `words`, and gives that.
    pub(crate) fn says_line(&mut self, words: &str) -> String {
        let (mut line, log) = (None, self.stderr.clone());
        self.runs_until(&format!("it says {words:?}"), || {
            let said = read(&log);
            line = said.lines().find(|line| line.contains(words)).map(str::to_owned);
            line.is_some()
        });
        line.expect("it was waited for")
    }

    /// Waits for its end.
    pub(crate) fn wait(mut self) -> Finished {
        let what = format!("`longshore {}` ends", self.what);
        let status = wait::until_some(&what, END_WITHIN, || {
            self.child.try_wait().expect("a state of the process")
        });
        Finished {
            what: self.what.clone(),
            code: status.code(),
            stdout: read(&self.stdout),
            stderr: read(&self.stderr),
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            // Nothing more can be done for it than this.
            let _ = self.child.kill().and_then(|()| self.child.wait());
        }
        if std::thread::panicking() {
            eprintln!("{}", logs(&self.what, &read(&self.stdout), &read(&self.stderr)));
        }
    }
}

/// What a program left behind.
#[derive(Clone, Debug)]
pub(crate) struct Finished {
    what: String,
    /// Its exit code; `None` if a signal ended it.
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Finished {
    /// Panics with the logs unless it exited with `code`.
    pub(crate) fn expect_code(self, code: i32) -> Self {
        let story = logs(&self.what, &self.stdout, &self.stderr);
        assert_eq!(self.code, Some(code), "the exit code of `longshore {}`\n{story}", self.what);
        self
    }

    /// Panics with the logs unless one of them contains `word`, in any case.
    pub(crate) fn expect_word(self, word: &str) -> Self {
        let story = logs(&self.what, &self.stdout, &self.stderr);
        assert!(self.says(word), "`longshore {}` should say {word:?}\n{story}", self.what);
        self
    }

    /// Whether one of its logs contains `word`, in any case.
    pub(crate) fn says(&self, word: &str) -> bool {
        let word = word.to_lowercase();
        [&self.stdout, &self.stderr].iter().any(|log| log.to_lowercase().contains(&word))
    }
}

fn read(log: &Path) -> String {
    String::from_utf8_lossy(&fs::read(log).unwrap_or_default()).into_owned()
}

fn logs(what: &str, stdout: &str, stderr: &str) -> String {
    let last = |text: &str| {
        let lines = text.lines().collect::<Vec<_>>();
        lines[lines.len().saturating_sub(LINES_SHOWN)..].join("\n")
    };
    format!("-- stdout of `{what}`:\n{}\n-- stderr of `{what}`:\n{}", last(stdout), last(stderr))
}
