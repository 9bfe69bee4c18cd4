//! The error of a command: a message, perhaps a hint for the operator, and an exit code. Printed by `cli::main`.

use std::fmt;
use std::process::ExitCode;

use crate::{config, runtime};

/// Wrong usage: `EX_USAGE` of BSD's `sysexits.h`.
pub(super) const USAGE: u8 = 64;
/// The database did not become available in time: `EX_UNAVAILABLE` of BSD's `sysexits.h`.
const UNAVAILABLE: u8 = 69;
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
        Self { error: anyhow::anyhow!("{message}"), hint: None, code: USAGE }
    }

    /// Any other error; ends with code 1.
    pub(super) fn failed(message: impl fmt::Display) -> Self {
        Self { error: anyhow::anyhow!("{message}"), hint: None, code: FAILED }
    }

    /// Adds the operator's next step.
    #[must_use]
    pub(super) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Logs the error at level `error`.
    pub(super) fn log(&self) {
        let error = format!("{:#}", self.error);
        tracing::error!(error, hint = self.hint.as_deref(), "pushpost ends with an error");
    }

    pub(super) fn code(&self) -> ExitCode {
        ExitCode::from(self.code)
    }
}

impl fmt::Display for CommandError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "error: {:#}", self.error)?;
        match &self.hint {
            Some(hint) => write!(f, "\nhint: {hint}"),
            None => Ok(()),
        }
    }
}

impl From<anyhow::Error> for CommandError {
    fn from(error: anyhow::Error) -> Self {
        let code = if runtime::has_timed_out(&error) { UNAVAILABLE } else { FAILED };
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
