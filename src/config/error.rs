//! Everything that is wrong with a configuration, said at once, each with its place.
//!
//! A message never repeats a value that could be a secret, and never the line of the file.

use std::fmt;
use std::path::PathBuf;

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file can't be read.
    #[error("cannot read the configuration file {path}")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The file, the environment or a file that they name says something that can't be.
    #[error("{}", Listed(.0))]
    Faults(Vec<ConfigFault>),
}

impl Error {
    /// What is wrong, one by one; empty where the file could not be read at all.
    pub fn faults(&self) -> &[ConfigFault] {
        match self {
            Self::Unreadable { .. } => &[],
            Self::Faults(faults) => faults,
        }
    }
}

/// One thing that is wrong.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ConfigFault {
    /// Where it was said; none where something is missing altogether.
    pub place: Option<SettingPlace>,
    /// The key, with its tables: `apps.shop.apns.key_id`. Empty for a file that isn't TOML.
    pub key: String,
    /// In words.
    pub message: String,
    /// For an unknown key, the nearest known one.
    pub suggestion: Option<String>,
}

/// Where a value comes from.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum SettingPlace {
    /// A line of the configuration file, from 1.
    Line {
        /// The file.
        file: PathBuf,
        /// The line.
        line: usize,
    },
    /// An environment variable.
    Variable(String),
}

impl fmt::Display for SettingPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Line { file, line } => write!(f, "{}:{line}", file.display()),
            Self::Variable(name) => write!(f, "${name}"),
        }
    }
}

impl fmt::Display for ConfigFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(place) = &self.place {
            write!(f, "{place}: ")?;
        }
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        f.write_str(&self.message)?;
        if let Some(suggestion) = &self.suggestion {
            write!(f, "; the nearest known key is {suggestion:?}")?;
        }
        Ok(())
    }
}

struct Listed<'a>(&'a [ConfigFault]);

impl fmt::Display for Listed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            [only] => write!(f, "the configuration is wrong: {only}"),
            several => {
                write!(f, "the configuration is wrong in {} places:", several.len())?;
                several.iter().try_for_each(|fault| write!(f, "\n  {fault}"))
            }
        }
    }
}
