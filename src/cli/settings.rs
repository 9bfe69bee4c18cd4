//! `--config`, for every command that needs the configuration.

use std::path::{Path, PathBuf};

use clap::Args;

use super::command_error::CommandError;
use super::environment;
use crate::config::{Config, Sources};

/// Where the configuration is.
#[derive(Args, Debug)]
pub(super) struct ConfigArgs {
    /// The configuration file; without it there are the defaults and the environment
    #[arg(long, env = "PUSHPOST_CONFIG", hide_env_values = true, value_name = "FILE")]
    config: Option<PathBuf>,
}

impl ConfigArgs {
    /// Reads it.
    pub(super) fn load(&self) -> Result<Config, CommandError> {
        Self::read(&self.sources())
    }

    /// Reads it from these. To be called before anything else is begun: with an embedded Postgres the program may
    /// begin anew, with another environment.
    pub(super) fn read(sources: &Sources) -> Result<Config, CommandError> {
        let config = sources.load()?;
        if config.database.url.is_none() {
            environment::drop_libpq_options()?;
        }
        Ok(config)
    }

    /// Where it is read.
    pub(super) fn sources(&self) -> Sources {
        // An empty variable is how a container says that there is none.
        let file = self.config.as_deref().filter(|file| *file != Path::new(""));
        let variables = std::env::vars_os();
        // What isn't UTF-8 is none of ours.
        let readable =
            variables.filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
        Sources::new(file, readable)
    }
}
