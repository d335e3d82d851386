//! The private directory of one embedded server: its data, its socket, its log. Removed when
//! dropped; what a killed process left behind is removed at the next start.
//!
//! # Why
//! It lies in `/var/tmp`: on a disk (unlike `/tmp`, often), open for the account that runs the
//! server (unlike a home), and short, because a socket's path may have 103 bytes on macOS.

use std::fs::{self, File, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use super::error::EmbeddedError;
use super::spawn::{self, Account, StopSignal};

const PREFIX: &str = "longshore-postgres-";

/// Says that a directory is complete enough to be told apart from one just being made.
const MARKER: &str = "this-directory-is-temporary";

/// How long the server of a killed process gets to end before its directory is left for later.
const ORPHAN_TIMEOUT: Duration = Duration::from_secs(2);

/// The longest path that a socket may have on every system we support.
const SOCKET_PATH_BYTES_MAX: usize = 103;

/// A directory that lives as long as this value.
#[derive(Debug)]
pub(super) struct ClusterDirectory {
    path: PathBuf,
    // Held locked while we live: who can take the lock knows that we are gone.
    _lock: File,
}

impl ClusterDirectory {
    /// Makes one in `parent`, its data and socket directories owned by `account` if there is one.
    pub(super) fn create(parent: &Path, account: Option<&Account>) -> Result<Self, EmbeddedError> {
        let make = || {
            let made = tempfile::Builder::new().prefix(PREFIX).tempdir_in(parent)?;
            let lock = File::open(made.path())?;
            lock.try_lock()?;
            let directory = Self { path: made.keep(), _lock: lock };
            File::create(directory.path.join(MARKER))?;
            // Others may pass through to what is theirs, not look around.
            let mode = if account.is_some() { 0o711 } else { 0o700 };
            fs::set_permissions(&directory.path, Permissions::from_mode(mode))?;
            make_private(&directory.data(), account)?;
            make_private(&directory.socket(), account)?;
            Ok(directory)
        };
        let directory = make()
            .map_err(EmbeddedError::io(format!("make a directory in {}", parent.display())))?;
        directory.check_socket_path()?;
        Ok(directory)
    }

    /// Where PostgreSQL keeps the cluster.
    pub(super) fn data(&self) -> PathBuf {
        self.path.join("data")
    }

    /// Where its socket lies.
    pub(super) fn socket(&self) -> PathBuf {
        self.path.join("socket")
    }

    /// Where it writes its log.
    pub(super) fn log(&self) -> PathBuf {
        self.path.join("server.log")
    }

    fn check_socket_path(&self) -> Result<(), EmbeddedError> {
        let socket = socket_in(&self.socket());
        if socket.as_os_str().len() <= SOCKET_PATH_BYTES_MAX {
            return Ok(());
        }
        Err(EmbeddedError::Server {
            step: "making the socket directory",
            problem: format!("{socket:?} is longer than {SOCKET_PATH_BYTES_MAX} bytes"),
        })
    }
}

impl Drop for ClusterDirectory {
    fn drop(&mut self) {
        // A killed server's last processes may still be writing.
        for _ in 0..20 {
            match fs::remove_dir_all(&self.path) {
                Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => {
                    thread::park_timeout(Duration::from_millis(50));
                }
                _ => return,
            }
        }
    }
}

/// Removes what processes of ours left in `parent` that were killed before they could.
pub(super) fn sweep(parent: &Path) {
    let entries = parent.read_dir().into_iter().flatten().flatten();
    for entry in entries {
        let ours = entry.file_name().to_str().is_some_and(|name| name.starts_with(PREFIX))
            && entry
                .metadata()
                .is_ok_and(|meta| meta.is_dir() && meta.uid() == spawn::effective_uid());
        if ours {
            remove_if_abandoned(&entry.path());
        }
    }
}

fn remove_if_abandoned(path: &Path) {
    let complete = path.join(MARKER).exists();
    let Some(lock) = File::open(path).ok().filter(|lock| complete && lock.try_lock().is_ok())
    else {
        return;
    };
    let abandoned = ClusterDirectory { path: path.to_owned(), _lock: lock };
    if !stop_orphan(&abandoned) {
        // Better a directory too many than a server without one: keep it for the next start.
        std::mem::forget(abandoned);
    }
}

/// Stops the server of a killed process where the kernel did not (macOS); true if there is none.
fn stop_orphan(abandoned: &ClusterDirectory) -> bool {
    let socket = socket_in(&abandoned.socket());
    // An answering socket proves that the process in the file is the server and no other.
    let is_alive = || UnixStream::connect(&socket).is_ok();
    if !is_alive() {
        return true;
    }
    let pid_file = fs::read_to_string(abandoned.data().join("postmaster.pid")).unwrap_or_default();
    let Some(pid) = pid_file.lines().next().and_then(|line| line.trim().parse().ok()) else {
        return false;
    };
    spawn::send(pid, StopSignal::Interrupt);
    let deadline = Instant::now() + ORPHAN_TIMEOUT;
    while is_alive() && Instant::now() < deadline {
        thread::park_timeout(Duration::from_millis(20));
    }
    !is_alive()
}

fn make_private(path: &Path, account: Option<&Account>) -> io::Result<()> {
    fs::create_dir(path)?;
    fs::set_permissions(path, Permissions::from_mode(0o700))?;
    account.map_or(Ok(()), |account| chown(path, Some(account.uid), Some(account.gid)))
}

fn socket_in(directory: &Path) -> PathBuf {
    directory.join(".s.PGSQL.5432")
}

#[cfg(test)]
mod tests {
    use super::{ClusterDirectory, sweep};

    #[test]
    fn only_an_abandoned_directory_is_swept() {
        let parent = tempfile::tempdir().unwrap();
        let kept = ClusterDirectory::create(parent.path(), None).unwrap();
        let abandoned = ClusterDirectory::create(parent.path(), None).unwrap();
        let path = abandoned.path.clone();
        abandoned._lock.unlock().unwrap();
        sweep(parent.path());
        assert!(kept.path.exists());
        assert!(!path.exists());
    }

    #[test]
    fn a_dropped_directory_is_removed() {
        let parent = tempfile::tempdir().unwrap();
        let directory = ClusterDirectory::create(parent.path(), None).unwrap();
        let path = directory.path.clone();
        assert!(path.join("data").is_dir() && path.join("socket").is_dir());
        drop(directory);
        assert!(!path.exists());
    }
}
