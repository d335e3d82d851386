//! Finds the binaries of a PostgreSQL: a directory that was named, else the system's, else a
//! fetched one. A directory will do if it holds `postgres` *and* `initdb` (client packages have
//! neither) of a version that Longshore supports.

use std::env;
use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::error::EmbeddedError;
use super::fetch;

/// The oldest PostgreSQL that Longshore works with.
const MAJOR_MIN: u32 = 14;

/// Where the binaries of the embedded PostgreSQL come from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum BinarySource {
    /// The system's; if it has none, fetched once.
    #[default]
    SystemOrFetched,
    /// The system's or an error: nothing is fetched.
    System,
    /// Fetched ones, whatever the system has.
    Fetched,
    /// The ones in this directory.
    Directory(PathBuf),
}

/// A directory of binaries that will do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Binaries {
    pub(super) directory: PathBuf,
    pub(super) version: Version,
    /// `system`, `fetched` or `given`.
    pub(super) origin: &'static str,
}

/// A version as `postgres --version` says it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Version {
    pub(super) major: u32,
    pub(super) text: String,
}

impl fmt::Display for Binaries {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { directory, version, origin } = self;
        write!(f, "{origin} {}, PostgreSQL {}", directory.display(), version.text)
    }
}

/// Finds binaries at `source`.
pub(super) fn find(source: &BinarySource, say: &dyn Fn(&str)) -> Result<Binaries, EmbeddedError> {
    match source {
        BinarySource::Directory(directory) => inspect(directory, "given").map_err(|problem| {
            EmbeddedError::UnfitBinaries { directory: directory.clone(), problem }
        }),
        BinarySource::Fetched => fetch::cached_or_fetched(say).map_err(no_binaries),
        BinarySource::System => system().map_err(no_binaries),
        BinarySource::SystemOrFetched => system().or_else(|none| {
            say(&none);
            fetch::cached_or_fetched(say)
                .map_err(|problem| no_binaries(format!("{none}, and {problem}")))
        }),
    }
}

fn no_binaries(problem: String) -> EmbeddedError {
    EmbeddedError::NoBinaries { problem }
}

fn system() -> Result<Binaries, String> {
    let mut unfit = Vec::new();
    for directory in candidates() {
        match inspect(&directory, "system") {
            Ok(binaries) => return Ok(binaries),
            // Most candidates have no server at all: only one that nearly fits is worth a word.
            Err(problem) if directory.join("postgres").exists() => {
                unfit.push(format!("; {}: {problem}", directory.display()));
            }
            Err(_) => {}
        }
    }
    Err(format!("no PostgreSQL {MAJOR_MIN} or newer is installed here{}", unfit.concat()))
}

/// Where systems keep a PostgreSQL, best first. Lazy, because the first will usually do.
fn candidates() -> impl Iterator<Item = PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let on_path: Vec<_> = env::split_paths(&path).filter(|dir| dir.is_absolute()).collect();
    let places = [
        ("/usr/lib/postgresql", ""),
        ("/usr", "pgsql-"),
        ("/opt/homebrew/opt", "postgresql@"),
        ("/usr/local/opt", "postgresql@"),
        ("/home/linuxbrew/.linuxbrew/opt", "postgresql@"),
        ("/Applications/Postgres.app/Contents/Versions", ""),
    ];
    on_path
        .into_iter()
        .chain(std::iter::once_with(asked_of_pg_config).flatten())
        .chain(places.into_iter().flat_map(|(parent, prefix)| versioned(parent, prefix)))
}

fn asked_of_pg_config() -> Option<PathBuf> {
    let answer = Command::new("pg_config").arg("--bindir").output().ok()?;
    Some(PathBuf::from(String::from_utf8(answer.stdout).ok()?.trim()))
}

/// The directories `parent/<prefix><version>/bin`, newest version first.
fn versioned(parent: &str, prefix: &str) -> Vec<PathBuf> {
    let entries = Path::new(parent).read_dir().into_iter().flatten().flatten();
    let mut found: Vec<(u32, PathBuf)> = entries
        .filter_map(|entry| {
            let name = entry.file_name();
            let major = major_of(name.to_str()?.strip_prefix(prefix)?)?;
            Some((major, entry.path().join("bin")))
        })
        .collect();
    found.sort_by_key(|(major, _)| std::cmp::Reverse(*major));
    found.into_iter().map(|(_, path)| path).collect()
}

/// Says what a directory holds, or why it will not do.
pub(super) fn inspect(directory: &Path, origin: &'static str) -> Result<Binaries, String> {
    // A link in `PATH` leads to the directory that has all the programs.
    let resolved = directory.join("postgres").canonicalize().ok();
    let resolved = resolved.as_deref().and_then(Path::parent).filter(|d| d.join("initdb").exists());
    let directory = resolved.unwrap_or(directory).to_owned();
    for program in ["postgres", "initdb"] {
        if !directory.join(program).is_file() {
            return Err(format!("it has no `{program}`"));
        }
    }
    let version = version_of(&directory)?;
    if version.major < MAJOR_MIN {
        return Err(format!("PostgreSQL {} is older than {MAJOR_MIN}", version.text));
    }
    Ok(Binaries { directory, version, origin })
}

fn version_of(directory: &Path) -> Result<Version, String> {
    let answer = Command::new(directory.join("postgres")).arg("--version").env_clear().output();
    let answer = answer.map_err(|error| format!("`postgres` does not start: {error}"))?;
    if !answer.status.success() {
        let error = String::from_utf8_lossy(&answer.stderr);
        return Err(format!("`postgres` does not start: {}", error.trim()));
    }
    let said = String::from_utf8_lossy(&answer.stdout);
    parse_version(&said).ok_or_else(|| format!("`postgres --version` said {:?}", said.trim()))
}

/// Reads `postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)`.
fn parse_version(said: &str) -> Option<Version> {
    let text = said.split("(PostgreSQL)").nth(1)?.split_whitespace().next()?;
    Some(Version { major: major_of(text)?, text: text.to_owned() })
}

/// The number that a version begins with: 17 of `17.4`, 18 of `18beta1`.
fn major_of(text: &str) -> Option<u32> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    text[..end].parse().ok()
}

#[cfg(test)]
mod tests {
    use super::{inspect, parse_version};

    #[test]
    fn versions_are_read_as_the_distributions_write_them() {
        for (said, major, text) in [
            ("postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)\n", 15, "15.18"),
            ("postgres (PostgreSQL) 18beta1\n", 18, "18beta1"),
            ("postgres (PostgreSQL) 9.6.24\n", 9, "9.6.24"),
        ] {
            let version = parse_version(said).unwrap();
            assert_eq!((version.major, version.text.as_str()), (major, text));
        }
        assert_eq!(parse_version("psql 15"), None);
    }

    #[test]
    fn a_directory_without_a_server_will_not_do() {
        let empty = tempfile::tempdir().unwrap();
        assert_eq!(inspect(empty.path(), "given").unwrap_err(), "it has no `postgres`");
        std::fs::write(empty.path().join("postgres"), "").unwrap();
        assert_eq!(inspect(empty.path(), "given").unwrap_err(), "it has no `initdb`");
    }
}
