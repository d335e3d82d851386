//! What every command is given: the program's pipelines, the environment, and the way to a
//! configuration.

use std::borrow::Cow;
use std::convert::Infallible;
use std::ffi::{OsStr, OsString};
use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;

use crate::commands::error::CommandError;
use crate::config::{Config, ConfigError, Kind, Layers, Secret};
use crate::service::AnyPipeline;

/// What every command is given. No `Debug`: the environment may hold secrets.
#[derive(Clone)]
pub(crate) struct Context {
    /// The pipelines that this program has.
    pub(crate) pipelines: Vec<Arc<dyn AnyPipeline>>,
    /// The configuration file that was named, if any.
    pub(crate) config_file: Option<PathBuf>,
    /// The process's environment.
    pub(crate) environment: Vec<(OsString, OsString)>,
}

/// Flags that stand for keys of the configuration.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(next_help_heading = "Over the configuration")]
pub(crate) struct Overrides {
    /// Kafka's brokers, host:port, several with commas between
    #[arg(long, value_name = "HOST:PORT,..")]
    pub(crate) brokers: Option<String>,

    /// The database; with a password in it, rather set DATABASE_URL: other users see command lines
    #[arg(long, value_name = "URL", value_parser = secret_url)]
    pub(crate) database_url: Option<Secret>,
}

fn secret_url(url: &str) -> Result<Secret, Infallible> {
    Ok(Secret::url(url))
}

impl Context {
    /// What the configuration calls the program's pipelines.
    pub(crate) fn kinds(&self) -> Vec<Kind> {
        self.pipelines.iter().map(|pipeline| pipeline.kind()).collect()
    }

    /// A variable of the environment; an empty one counts as not set.
    pub(crate) fn variable(&self, name: &str) -> Option<&OsStr> {
        let mut set = self.environment.iter().filter(|(_, value)| !value.is_empty());
        set.find(|(set, _)| set == name).map(|(_, value)| value.as_os_str())
    }

    /// The person, for the audit.
    pub(crate) fn who(&self) -> Cow<'_, str> {
        let who = ["USER", "LOGNAME"].into_iter().find_map(|name| self.variable(name));
        who.map_or("unknown".into(), OsStr::to_string_lossy)
    }

    /// Reads the configuration in all its layers: defaults, file, environment, flags.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub(crate) fn load(&self, overrides: &Overrides) -> Result<Config, ConfigError> {
        let layers = Layers::new()
            .file(self.config_file.as_deref())?
            .environment(self.environment.iter().cloned())?;
        overrides.lay_on(layers).build(&self.kinds())
    }
}

impl Overrides {
    /// Lays the flags over `layers`.
    pub(crate) fn lay_on(&self, layers: Layers) -> Layers {
        let url = self.database_url.as_ref().map(Secret::expose);
        let flags = [
            (["kafka", "brokers"], self.brokers.as_deref(), "flag --brokers"),
            (["database", "url"], url, "flag --database-url"),
        ];
        flags.into_iter().fold(layers, |layers, (key, value, flag)| match value {
            Some(value) => layers.set(&key, value, flag),
            None => layers,
        })
    }
}

/// Runs `work` on a runtime with threads of its own, for commands without actors.
///
/// # Errors
/// What `work` says, or that the runtime cannot be made.
pub(crate) fn block_on<F, T>(work: F) -> Result<T, CommandError>
where
    F: Future<Output = Result<T, CommandError>>,
{
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    runtime.map_err(CommandError::failed)?.block_on(work)
}
