//! The sources of a configuration: the path of the file, and the environment. Kept so that they can be read again.

use std::fmt;
use std::path::{Path, PathBuf};

use super::{Config, Error, ReadSources, environment};
use crate::provider::Providers;
use crate::settings::{ContentHash, ContentHasher};

/// A file, if one is named, and the environment of the process's start.
#[derive(Clone)]
pub struct Sources {
    file: Option<PathBuf>,
    environment: Vec<(String, String)>,
    providers: Providers,
}

impl Sources {
    /// The arguments are those of [`Config::load`]. The providers are the built-in ones.
    pub fn new(file: Option<&Path>, environment: impl Iterator<Item = (String, String)>) -> Self {
        let (file, environment) = (file.map(Path::to_owned), environment.collect());
        Self { file, environment, providers: Providers::default() }
    }

    /// The same sources, read with these providers. A service has the providers of its configuration.
    pub fn with_providers(self, providers: Providers) -> Self {
        Self { providers, ..self }
    }

    /// The path of the file; none if no file is named.
    pub fn file(&self) -> Option<&Path> {
        self.file.as_deref()
    }

    /// The variables that look like settings but have no effect with this configuration, sorted, each with the variable
    /// that may be meant. Empty variables count as not set.
    pub fn variables_without_effect(&self, config: &Config) -> Vec<(&str, Option<String>)> {
        let set = self.environment.iter().filter(|(_, value)| !value.is_empty());
        let names = set.map(|(name, _)| name.as_str());
        let mut names: Vec<_> =
            environment::without_effect(names, config.database.url.is_some(), &self.providers).collect();
        names.sort_unstable();
        names
    }

    /// Reads the configuration.
    ///
    /// # Errors
    /// As [`Config::load`].
    pub fn load(&self) -> Result<Config, Error> {
        self.read().1
    }

    /// Reads the configuration, with its faults beside what could be read.
    ///
    /// # Errors
    /// The file can't be read, or it is not TOML.
    pub(super) fn read_with_faults(&self, hasher: &ContentHasher) -> Result<ReadSources, Error> {
        let environment = self.environment.iter().cloned();
        Config::read_sources(self.file.as_deref(), environment, self.providers.clone(), hasher)
    }

    /// Reads the configuration, with a hash of the content, by which a fault that was reported already is recognised.
    pub fn read(&self) -> (ContentHash, Result<Config, Error>) {
        let hasher = ContentHasher::default();
        let environment = self.environment.iter().cloned();
        let config = Config::load_with(self.file.as_deref(), environment, self.providers.clone(), &hasher);
        (hasher.finish(), config)
    }
}

impl fmt::Debug for Sources {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sources({:?} and the environment)", self.file)
    }
}
