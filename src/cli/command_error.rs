//! The error of a command: a message, perhaps a hint for the operator, and an exit code. Printed by `cli::main`.

use std::fmt;
use std::process::ExitCode;

use crate::{config, runtime};

/// Wrong usage: `EX_USAGE` of BSD's `sysexits.h`.
pub(super) const USAGE: u8 = 64;
/// The command was carried out, and its answer is bad news.
const BAD_NEWS: u8 = 2;
/// Database or service out of reach: `EX_UNAVAILABLE` of BSD's `sysexits.h`.
const UNAVAILABLE: u8 = 69;
/// The service refuses the key: `EX_NOPERM` of BSD's `sysexits.h`.
const KEY_REFUSED: u8 = 77;
/// Any other error.
const FAILED: u8 = 1;

/// Why a command failed.
#[derive(Debug)]
pub(super) struct CommandError {
    error: anyhow::Error,
    hint: Option<String>,
    code: u8,
}

impl CommandError {
    /// Wrong usage; ends with code 64.
    pub(super) fn usage(message: impl fmt::Display) -> Self {
        Self::with_code(USAGE, message)
    }

    /// Any other error; ends with code 1.
    pub(super) fn failed(message: impl fmt::Display) -> Self {
        Self::with_code(FAILED, message)
    }

    /// The database or the service is out of reach; ends with code 69.
    pub(super) fn unavailable(message: impl fmt::Display) -> Self {
        Self::with_code(UNAVAILABLE, message)
    }

    /// The service refuses the key; ends with code 77.
    pub(super) fn key_refused(message: impl fmt::Display) -> Self {
        Self::with_code(KEY_REFUSED, message)
    }

    /// Nothing failed, but scripts should notice what the command found; ends with code 2.
    pub(super) fn bad_news(message: impl fmt::Display) -> Self {
        Self::with_code(BAD_NEWS, message)
    }

    fn with_code(code: u8, message: impl fmt::Display) -> Self {
        Self { error: anyhow::anyhow!("{message}"), hint: None, code }
    }

    /// Replaces names of the API by those of the command line.
    #[must_use]
    pub(super) fn reworded(mut self, names: &[(&str, &str)]) -> Self {
        let message = format!("{:#}", self.error);
        let reworded = names.iter().fold(message, |message, (api, flag)| message.replace(api, flag));
        self.error = anyhow::anyhow!(reworded);
        self
    }

    /// Adds the operator's next step.
    #[must_use]
    pub(super) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Logs the error at level `error`, and bad news at level `warn`.
    pub(super) fn log(&self) {
        let error = format!("{:#}", self.error);
        if self.code == BAD_NEWS {
            tracing::warn!(detail = error, hint = self.hint.as_deref(), "the command found bad news");
            return;
        }
        tracing::error!(error, hint = self.hint.as_deref(), "pushpost ends with an error");
    }

    /// Is the database or the service out of reach? Then the same may succeed later.
    pub(super) fn is_unavailable(&self) -> bool {
        self.code == UNAVAILABLE
    }

    pub(super) fn code(&self) -> ExitCode {
        ExitCode::from(self.code)
    }
}

impl fmt::Display for CommandError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let prefix = if self.code == BAD_NEWS { "" } else { "error: " };
        write!(f, "{prefix}{:#}", self.error)?;
        match &self.hint {
            Some(hint) => write!(f, "\nhint: {hint}"),
            None => Ok(()),
        }
    }
}

impl From<anyhow::Error> for CommandError {
    fn from(error: anyhow::Error) -> Self {
        let code = if runtime::is_unavailable(&error) { UNAVAILABLE } else { FAILED };
        Self { error, hint: None, code }
    }
}

impl From<config::Error> for CommandError {
    fn from(error: config::Error) -> Self {
        let hint = match &error {
            config::Error::Unreadable { .. } => "name the file by --config FILE or PUSHPOST_CONFIG",
            config::Error::Faults(_) => "config.example.toml describes every key",
        };
        Self::from(anyhow::Error::from(error)).hint(hint)
    }
}
