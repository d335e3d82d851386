//! Stops single threads of an instance, as a call that never returns does, by ptrace: SIGSTOP stops
//! a whole process, whose clocks then tell all its threads at once how late it is.

use std::fs;
use std::time::Duration;

use anyhow::{Context as _, Result};
use nix::sys::ptrace::{self, Options};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use crate::wait;

/// How long a thread may take to stop.
const STOP_WITHIN: Duration = Duration::from_secs(5);

/// Stopped threads. They go on when this is released, and when the harness ends, however it ends.
#[derive(Debug, Default)]
pub struct Threads {
    stopped: Vec<Pid>,
}

impl Threads {
    /// Stops the threads of a process whose names begin with `name`.
    ///
    /// # Errors
    /// They may not be traced, or do not stop.
    pub fn hang(process: Pid, name: &str) -> Result<Self> {
        let mut threads = Self::default();
        for entry in fs::read_dir(format!("/proc/{process}/task"))? {
            let path = entry?.path();
            // It may have ended since.
            let comm = fs::read_to_string(path.join("comm")).unwrap_or_default();
            if comm.starts_with(name) {
                let id = path.file_name().and_then(|id| id.to_str()).unwrap_or_default();
                threads.stop(Pid::from_raw(id.parse()?))?;
            }
        }
        Ok(threads)
    }

    /// Lets them go on.
    pub fn release(&mut self) {
        for thread in std::mem::take(&mut self.stopped) {
            // It may have been killed: then it only waits to be buried.
            if ptrace::detach(thread, None).is_err() {
                let _ = waitpid(thread, Some(WaitPidFlag::__WALL | WaitPidFlag::WNOHANG));
            }
        }
    }

    /// Buries those that have ended: their process does not end before them.
    pub fn bury(&mut self) {
        self.stopped.retain(|thread| {
            let state = waitpid(*thread, Some(WaitPidFlag::__WALL | WaitPidFlag::WNOHANG));
            !matches!(state, Err(_) | Ok(WaitStatus::Exited(..) | WaitStatus::Signaled(..)))
        });
    }

    fn stop(&mut self, thread: Pid) -> Result<()> {
        ptrace::seize(thread, Options::empty()).context("a thread may not be traced")?;
        self.stopped.push(thread);
        ptrace::interrupt(thread)?;
        wait::until("a thread is stopped", STOP_WITHIN, || {
            let state = waitpid(thread, Some(WaitPidFlag::__WALL | WaitPidFlag::WNOHANG))?;
            Ok((state != WaitStatus::StillAlive).then_some(()))
        })
    }
}
