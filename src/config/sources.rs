//! Where a configuration comes from, kept so that it can be read again and again.

use std::cell::RefCell;
use std::fmt;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::path::{Path, PathBuf};

use super::{Config, Error, environment};

/// A file, if there is one, and the environment as it was when the process began.
#[derive(Clone)]
pub struct Sources {
    file: Option<PathBuf>,
    environment: Vec<(String, String)>,
}

/// Stands for all that one reading found in the file and in those that it names, right or wrong.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ContentHash(u64);

/// Marks what is read.
#[derive(Default)]
pub(super) struct ContentHasher(RefCell<DefaultHasher>);

impl Sources {
    /// See [`Config::load`].
    pub fn new(file: Option<&Path>, environment: impl Iterator<Item = (String, String)>) -> Self {
        Self { file: file.map(Path::to_owned), environment: environment.collect() }
    }

    /// The file, if one is named.
    pub fn file(&self) -> Option<&Path> {
        self.file.as_deref()
    }

    /// The variables that look like settings and have no effect with this configuration, sorted, each with the variable that
    /// may be meant. Empty variables count as not set.
    pub fn variables_without_effect(&self, config: &Config) -> Vec<(&str, Option<String>)> {
        let set = self.environment.iter().filter(|(_, value)| !value.is_empty());
        let names = set.map(|(name, _)| name.as_str());
        let mut names: Vec<_> = environment::without_effect(names, config.database.url.is_some()).collect();
        names.sort_unstable();
        names
    }

    /// Reads all of it.
    ///
    /// # Errors
    /// As [`Config::load`].
    pub fn load(&self) -> Result<Config, Error> {
        self.read().1
    }

    /// Reads all of it, and says what it found: a fault that is found in the same content again is the same fault.
    pub fn read(&self) -> (ContentHash, Result<Config, Error>) {
        let hasher = ContentHasher::default();
        let config = Config::load_hashing(self.file.as_deref(), self.environment.iter().cloned(), &hasher);
        (ContentHash(hasher.0.into_inner().finish()), config)
    }
}

impl fmt::Debug for Sources {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sources({:?} and the environment)", self.file)
    }
}

impl ContentHasher {
    pub(super) fn mark<T: AsRef<str>>(&self, read: &std::io::Result<T>) {
        let mut hasher = self.0.borrow_mut();
        match read {
            Ok(text) => (true, text.as_ref()).hash(&mut *hasher),
            Err(error) => (false, error.to_string()).hash(&mut *hasher),
        }
    }
}
