//! How a command ends when it does not end well, and what the shell sees of it.

use std::error::Error;
use std::process::ExitCode;

use thiserror::Error;

use crate::causes::with_causes;
use crate::config::ConfigError;
use crate::http::HttpError;
use crate::postgres::connect::UrlError;
use crate::service::ServiceError;
use crate::telemetry::TelemetryError;

/// Why a command did not do what was asked.
#[derive(Debug, Error)]
pub(crate) enum CommandError {
    /// The command line asks for something that cannot be: exit status 2.
    #[error("{0}")]
    Usage(String),
    /// The configuration is wrong: exit status 2.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// It failed while it ran: exit status 1.
    #[error("{0}")]
    Failed(#[source] Box<dyn Error + Send + Sync>),
}

impl CommandError {
    /// A failure while running.
    pub(crate) fn failed(error: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::Failed(error.into())
    }

    /// A database URL that cannot be used.
    pub(crate) fn wrong_url(error: &UrlError) -> Self {
        Self::Usage(format!("database.url: {error}"))
    }

    /// Tells the user on standard error, causes included, and gives the exit status.
    pub(super) fn report(&self) -> ExitCode {
        let text = self.text();
        // Several lines, such as a list of wrong keys, begin below the word.
        let separator = if text.contains('\n') { "\n" } else { " " };
        eprintln!("error:{separator}{text}");
        ExitCode::from(self.exit_status())
    }

    pub(super) fn exit_status(&self) -> u8 {
        match self {
            Self::Usage(_) | Self::Config(_) => 2,
            Self::Failed(_) => 1,
        }
    }

    pub(super) fn text(&self) -> String {
        // `Failed` shows its error itself, so the causes begin behind that one.
        let cause = match self {
            Self::Failed(error) => error.source(),
            Self::Usage(_) | Self::Config(_) => None,
        };
        with_causes(self.to_string(), cause)
    }
}

impl From<TelemetryError> for CommandError {
    fn from(error: TelemetryError) -> Self {
        Self::Usage(error.to_string())
    }
}

impl From<HttpError> for CommandError {
    fn from(error: HttpError) -> Self {
        match error.is_configuration() {
            true => Self::Usage(error.to_string()),
            false => Self::failed(error),
        }
    }
}

impl From<ServiceError> for CommandError {
    fn from(error: ServiceError) -> Self {
        match error.is_configuration() {
            true => Self::Usage(error.to_string()),
            false => Self::failed(error),
        }
    }
}
