//! The program under test: real processes with a configuration file each, started, asked to end,
//! killed, frozen and thawed. Only processes that were started here are ever signalled, by their
//! id.

use std::fmt::Write as _;
use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::threads::Threads;
use crate::wait;

/// How long an instance may take to end after SIGTERM: its drain limit, and time to close.
const END_WITHIN: Duration = Duration::from_secs(40);
/// How long after its start an instance may not listen to signals yet.
const LISTENS_AFTER: Duration = Duration::from_secs(3);
/// Orders its consumer threads to hang: see `longshore_actors::faults`.
const HANG_CONSUMERS: &str = "hang.ConsumerThread.Poll";
/// How the consumer threads' names begin: the kernel keeps 15 letters of `longshore-consumer-NAME`.
const CONSUMER_THREAD: &str = "longshore-consu";
/// How many of a log's last lines are shown.
const LINES_SHOWN: usize = 12;

/// What instances are started from.
#[derive(Clone, Debug)]
pub struct Program {
    /// The program under test: anything with Longshore's commands.
    pub binary: PathBuf,
    /// Variables of its environment.
    pub environment: Vec<(String, String)>,
}

impl Program {
    /// Whether its actors can be made to panic: only those of our own program can.
    pub fn can_panic(&self) -> bool {
        self.binary.file_name().is_some_and(|name| name == "longshore-faults-instance")
    }
}

/// An end that nobody asked for.
#[derive(Clone, Debug)]
pub struct Exit {
    /// Which instance.
    pub instance: u32,
    /// How it ended.
    pub status: ExitStatus,
    /// The last lines of its log.
    pub last_lines: String,
}

impl Exit {
    /// Whether a record may have done it: `abort` and a stack overflow end in SIGABRT.
    pub fn is_abort(&self) -> bool {
        self.status.signal() == Some(Signal::SIGABRT as i32)
    }
}

/// One of the processes; it may come and go.
pub struct Instance {
    number: u32,
    program: Program,
    directory: PathBuf,
    child: Option<Child>,
    hung: Threads,
    started_at: Instant,
    /// Whether its end was asked for.
    may_end: bool,
    /// Whether that was before it could listen.
    was_young: bool,
}

impl Instance {
    /// Instance `number` with its files in `directory`. It does not run yet.
    ///
    /// # Errors
    /// The directory cannot be written to.
    pub fn new(number: u32, program: &Program, directory: &Path, config: &str) -> Result<Self> {
        let directory = directory.join(format!("instance-{number}"));
        fs::create_dir_all(directory.join("faults"))?;
        fs::write(directory.join("longshore.toml"), config)?;
        let (program, started_at) = (program.clone(), Instant::now());
        Ok(Self {
            number,
            program,
            directory,
            child: None,
            hung: Threads::default(),
            started_at,
            may_end: false,
            was_young: false,
        })
    }

    /// Whether its actors can be made to panic.
    pub fn can_panic(&self) -> bool {
        self.program.can_panic()
    }

    /// Its number, from 1.
    pub fn number(&self) -> u32 {
        self.number
    }

    /// Its log.
    pub fn log(&self) -> PathBuf {
        self.directory.join("log")
    }

    /// Where files ask it for faults inside.
    pub fn faults(&self) -> PathBuf {
        self.directory.join("faults")
    }

    /// Starts it, unless it runs.
    ///
    /// # Errors
    /// The program cannot be started.
    pub fn start(&mut self) -> Result<()> {
        if self.child.is_none() {
            self.note("started")?;
            self.child = Some(self.command(&["run"])?.spawn().context("the program starts")?);
            (self.started_at, self.may_end) = (Instant::now(), false);
        }
        Ok(())
    }

    /// Runs one of its commands to the end.
    ///
    /// # Errors
    /// It fails.
    pub fn finish(&self, arguments: &[&str]) -> Result<()> {
        let status = self.command(arguments)?.status()?;
        let lines = self.last_lines();
        ensure!(status.success(), "`{}` ended with {status}:\n{lines}", arguments.join(" "));
        Ok(())
    }

    /// Asks it to drain and end.
    ///
    /// # Errors
    /// The signal cannot be sent.
    pub fn terminate(&mut self) -> Result<()> {
        self.may_end = true;
        self.was_young = self.started_at.elapsed() < LISTENS_AFTER;
        self.signal(Signal::SIGTERM)
    }

    /// Waits for the end that was asked for. Gives its story if it is not a clean one.
    ///
    /// # Errors
    /// The harness was interrupted.
    pub fn await_end(&mut self) -> Result<Option<String>> {
        let Some(child) = &mut self.child else { return Ok(None) };
        let what = format!("instance {} ends after SIGTERM", self.number);
        let ended = wait::until(&what, END_WITHIN, || Ok(child.try_wait()?));
        let story = match ended {
            Ok(status) if status.success() => None,
            // It was asked before it could listen, and had nothing in hand.
            Ok(status) if self.was_young && status.signal() == Some(Signal::SIGTERM as i32) => None,
            Ok(status) => Some(format!("{status} after SIGTERM")),
            Err(error) => {
                wait::go_on()?;
                Some(error.to_string())
            }
        };
        self.kill()?;
        Ok(story)
    }

    /// `kill -9`, and waits for its end.
    ///
    /// # Errors
    /// It cannot be waited for.
    pub fn kill(&mut self) -> Result<()> {
        if let Some(mut child) = self.child.take() {
            // It may have ended by itself.
            let _ = child.kill();
            self.release_consumers();
            let status = child.wait()?;
            self.note(&format!("ended: {status}"))?;
        }
        Ok(())
    }

    /// SIGSTOP: it stands still, and its connections stay open.
    ///
    /// # Errors
    /// The signal cannot be sent.
    pub fn freeze(&self) -> Result<()> {
        self.signal(Signal::SIGSTOP)
    }

    /// SIGCONT.
    ///
    /// # Errors
    /// The signal cannot be sent.
    pub fn thaw(&self) -> Result<()> {
        self.signal(Signal::SIGCONT)
    }

    /// Stops its consumer threads alone, as if they hung: Kafka takes its partitions away, and
    /// nobody in the process is told. By order, where the program takes orders: one that is stopped
    /// from outside while it waits within librdkafka counts as polling for ever.
    ///
    /// # Errors
    /// It may not be traced.
    pub fn hang_consumers(&mut self) -> Result<()> {
        if self.can_panic() {
            fs::write(self.faults().join(HANG_CONSUMERS), "")?;
        } else if let Some(pid) = self.pid() {
            self.hung = Threads::hang(pid, CONSUMER_THREAD)?;
        }
        Ok(())
    }

    /// Lets them go on.
    pub fn release_consumers(&mut self) {
        // It is not there if they were stopped in the other way.
        let _ = fs::remove_file(self.faults().join(HANG_CONSUMERS));
        self.hung.release();
    }

    /// Whether it was started and has not ended, as far as is known.
    pub fn is_started(&self) -> bool {
        self.child.is_some()
    }

    /// Notices an end that nobody asked for.
    ///
    /// # Errors
    /// Its state cannot be had.
    pub fn notice(&mut self) -> Result<Option<Exit>> {
        let Some(child) = self.child.as_mut().filter(|_| !self.may_end) else { return Ok(None) };
        self.hung.bury();
        let Some(status) = child.try_wait()? else { return Ok(None) };
        self.child = None;
        self.note(&format!("ended by itself: {status}"))?;
        Ok(Some(Exit { instance: self.number, status, last_lines: self.last_lines() }))
    }

    fn pid(&self) -> Option<Pid> {
        self.child.as_ref().map(|child| Pid::from_raw(child.id().cast_signed()))
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        let Some(pid) = self.pid() else { return Ok(()) };
        if let Err(error) = kill(pid, signal) {
            bail!("instance {} cannot be sent signal {signal:?}: {error}", self.number);
        }
        Ok(())
    }

    /// The program, which dies with the thread that starts it.
    fn command(&self, arguments: &[&str]) -> Result<Command> {
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "--"]).arg(&self.program.binary).args(arguments);
        command.arg("--config").arg(self.directory.join("longshore.toml"));
        // The harness's own variables look like the product's and must not reach it.
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("LONGSHORE_") || name == "DATABASE_URL" {
                command.env_remove(name);
            }
        }
        command
            .env_remove("RUST_LOG")
            .env_remove("RUST_BACKTRACE")
            .envs(self.program.environment.iter().cloned());
        if self.program.can_panic() {
            command.env("LONGSHORE_FAULTS", self.faults());
        }
        let log = self.open_log()?;
        command.current_dir(&self.directory).stdin(Stdio::null());
        command.stdout(log.try_clone()?).stderr(log);
        Ok(command)
    }

    fn open_log(&self) -> Result<File> {
        Ok(OpenOptions::new().create(true).append(true).open(self.log())?)
    }

    fn note(&self, what: &str) -> Result<()> {
        Ok(writeln!(self.open_log()?, "--- instance {} {what}", self.number)?)
    }

    /// What its log says so far, of all its lives.
    pub fn whole_log(&self) -> String {
        let log = fs::read(self.log()).unwrap_or_default();
        String::from_utf8_lossy(&log).into_owned()
    }

    fn last_lines(&self) -> String {
        let log = self.whole_log();
        let lines = log.lines().rev().take(LINES_SHOWN).collect::<Vec<_>>();
        lines.into_iter().rev().fold(String::new(), |mut text, line| {
            let _ = writeln!(text, "    {line}");
            text
        })
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        // Nothing more can be done for it than this.
        let _ = self.kill();
    }
}
