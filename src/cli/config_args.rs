//! The argument `--config`, for every command that reads the configuration.

use std::path::{Path, PathBuf};

use clap::Args;

use super::command_error::CommandError;
use super::environment;
use crate::config::{Config, Sources};

/// The arguments that name the configuration.
#[derive(Args, Debug)]
pub(super) struct ConfigArgs {
    /// The configuration file; without one, defaults and environment variables apply
    #[arg(long, env = "PUSHPOST_CONFIG", hide_env_values = true, value_name = "FILE")]
    config: Option<PathBuf>,
}

impl ConfigArgs {
    /// Reads the configuration. See [`Self::read`].
    pub(super) fn load(&self) -> Result<Config, CommandError> {
        Self::read(&self.sources())
    }

    /// Reads the configuration from these sources. To be called before anything else is started: with an embedded
    /// Postgres the program may execute itself again, with another environment.
    ///
    /// # Errors
    /// The configuration can't be read or has faults.
    pub(super) fn read(sources: &Sources) -> Result<Config, CommandError> {
        let config = sources.load()?;
        if config.database.url.is_none() {
            environment::drop_libpq_options()?;
        }
        Ok(config)
    }

    /// The file and the environment that the configuration is read from.
    pub(super) fn sources(&self) -> Sources {
        Self::sources_of(self.config.as_deref())
    }

    /// As [`Self::sources`], with the file that a command names otherwise.
    pub(super) fn sources_of(file: Option<&Path>) -> Sources {
        // An empty PUSHPOST_CONFIG counts as not set, since containers can't leave a variable out.
        let file = file.filter(|file| *file != Path::new(""));
        let variables = std::env::vars_os();
        // No variable of ours is anything but UTF-8.
        let readable =
            variables.filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
        Sources::new(file, readable)
    }
}
