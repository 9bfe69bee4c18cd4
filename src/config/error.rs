//! The error of a configuration: the file can't be read, or all its faults.

use std::fmt;
use std::path::PathBuf;

use crate::settings::ConfigFault;

/// Why a configuration can't be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The configuration file can't be read.
    #[error("cannot read the configuration file {path}")]
    Unreadable {
        /// The file's path.
        path: PathBuf,
        /// The error of the system.
        source: std::io::Error,
    },
    /// The file, the environment or a file that they name has faults.
    #[error("{}", Listed(.0))]
    Faults(Vec<ConfigFault>),
}

impl Error {
    /// The faults; empty if the configuration file can't be read.
    pub fn faults(&self) -> &[ConfigFault] {
        match self {
            Self::Unreadable { .. } => &[],
            Self::Faults(faults) => faults,
        }
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
