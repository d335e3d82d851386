//! Starts a server's process so that it ends with ours, and under an account that may run it.
//! Takes a prepared command, gives the child; the only file of the launcher with unsafe code.
#![allow(unsafe_code)]

use std::fs;
use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command};
use std::sync::mpsc;
use std::thread::{self, JoinHandle};

/// An account of this machine, as `/etc/passwd` names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Account {
    pub(super) name: String,
    pub(super) uid: u32,
    pub(super) gid: u32,
}

impl Account {
    /// The account that runs the server when we are root: `postgres`, else `nobody`.
    /// It needs a line in `/etc/passwd`, because `initdb` asks for its own name.
    pub(super) fn for_server() -> Option<Self> {
        let passwd = fs::read_to_string("/etc/passwd").ok()?;
        ["postgres", "nobody"].iter().find_map(|name| Self::find(&passwd, name))
    }

    fn find(passwd: &str, name: &str) -> Option<Self> {
        passwd.lines().find_map(|line| {
            let mut fields = line.split(':');
            let found = fields.next()? == name;
            let (uid, gid) = (fields.nth(1)?.parse().ok()?, fields.next()?.parse().ok()?);
            found.then(|| Self { name: name.to_owned(), uid, gid })
        })
    }
}

/// The user id that the kernel judges us by; 0 is root.
pub(super) fn effective_uid() -> u32 {
    // SAFETY: geteuid takes nothing, touches no memory and cannot fail.
    unsafe { libc::geteuid() }
}

/// Makes `command` a child of its own kind: under `account`, with a bare environment, in a process
/// group of its own (else Ctrl-C in a terminal would stop the database before its batches are in).
pub(super) fn set_apart(command: &mut Command, account: Option<&Account>) {
    command.env_clear().env("PATH", "/usr/bin:/bin").env("LC_ALL", "C");
    command.current_dir("/").process_group(0);
    if let Some(account) = account {
        command.uid(account.uid).gid(account.gid);
    }
}

/// A signal that tells a child how to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StopSignal {
    /// PostgreSQL rolls back, writes everything out and ends, "fast"; our own service drains.
    Interrupt,
    /// PostgreSQL ends now and recovers at the next start, "immediate".
    Quit,
}

/// Sends `signal` to the process `pid`; one that is gone already is no error.
pub(crate) fn send(pid: u32, signal: StopSignal) {
    let (Ok(pid), number) = (
        libc::pid_t::try_from(pid),
        match signal {
            StopSignal::Interrupt => libc::SIGINT,
            StopSignal::Quit => libc::SIGQUIT,
        },
    ) else {
        return;
    };
    // SAFETY: kill takes two numbers and touches no memory of ours.
    unsafe { libc::kill(pid, number) };
}

/// The thread that a server was started from. Linux ties the death signal of a child to the
/// *thread* that made it, so that thread does nothing but live as long as the server should.
#[derive(Debug)]
pub(crate) struct Keeper {
    release: Option<mpsc::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Keeper {
    /// Starts `command` from a thread of its own. May be called from any thread, also from one
    /// that ends before the server does.
    pub(crate) fn spawn(command: Command) -> io::Result<(Child, Self)> {
        let (release, released) = mpsc::channel::<()>();
        let (answer, answered) = mpsc::channel();
        let thread = thread::Builder::new().name("child-keeper".to_owned()).spawn(move || {
            let started = spawn_bound_to_this_thread(command);
            if answer.send(started).is_ok() {
                // Ends with an error when the sender is dropped: then the server is stopped.
                let _ = released.recv();
            }
        })?;
        let child = answered.recv().map_err(io::Error::other)??;
        Ok((child, Self { release: Some(release), thread: Some(thread) }))
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        drop(self.release.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Asks the kernel to interrupt the child when this thread ends, however that comes about.
/// Elsewhere than on Linux a killed parent leaves its server running until the next start.
#[cfg(target_os = "linux")]
fn spawn_bound_to_this_thread(mut command: Command) -> io::Result<Child> {
    let parent = std::process::id();
    let bind = move || {
        // SAFETY: prctl with these numbers touches no memory; it is async-signal-safe.
        if unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGINT) } == -1 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: getppid touches no memory and is async-signal-safe. A parent that died before
        // the request was in place would send nothing.
        if unsafe { libc::getppid() }.cast_unsigned() != parent {
            return Err(io::Error::from_raw_os_error(libc::ESRCH));
        }
        Ok(())
    };
    // SAFETY: between fork and exec `bind` makes two system calls, and allocates nothing. It runs
    // after the change of account, which would take the request back.
    unsafe { command.pre_exec(bind) };
    command.spawn()
}

#[cfg(not(target_os = "linux"))]
fn spawn_bound_to_this_thread(mut command: Command) -> io::Result<Child> {
    command.spawn()
}

#[cfg(test)]
mod tests {
    use super::Account;

    #[test]
    fn an_account_is_found_by_its_whole_name() {
        let passwd = "root:x:0:0:root:/root:/bin/sh\npostgresql:x:7:8::/:/bin/sh\n\
                      postgres:x:101:104:PostgreSQL:/var/lib/postgresql:/bin/bash\n";
        let found = Account::find(passwd, "postgres");
        assert_eq!(found, Some(Account { name: "postgres".to_owned(), uid: 101, gid: 104 }));
        assert_eq!(Account::find(passwd, "nobody"), None);
    }
}
