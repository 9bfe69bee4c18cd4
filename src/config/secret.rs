//! What a configuration holds of other files: their contents, so that comparing two configurations compares those.

use std::fmt;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use crate::domain::pem;

/// Nothing that a configuration names is larger, in bytes.
const FILE_MAX: u64 = 1 << 20;

/// A text that is never shown: given inline, or read from a file.
#[derive(Clone)]
pub struct Secret {
    text: String,
    file: Option<PathBuf>,
    /// Where it was given, for messages.
    source: String,
}

/// Where it was given doesn't count: a line that has moved is no other secret.
impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text && self.file == other.file
    }
}

impl Eq for Secret {}

impl Secret {
    /// One that stands in the configuration itself.
    pub fn inline(text: impl Into<String>) -> Self {
        Self { text: text.into(), file: None, source: String::new() }
    }

    /// The same, given at this place of the configuration.
    pub(super) fn given_at(self, source: String) -> Self {
        Self { source, ..self }
    }

    /// The same in PEM: line ends that are written as `\n` are line ends.
    pub(super) fn into_pem(self) -> Self {
        Self { text: pem::with_line_ends(&self.text).into_owned(), ..self }
    }

    /// The key that gave the secret, and the file, variable or line: `apps.shop.apns.key_file (/etc/key.p8)`. Empty for
    /// one that no configuration gave.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// Reads a file; line ends at its end don't count.
    pub(super) fn read(path: &Path) -> std::io::Result<Self> {
        let text = read(path)?;
        let text = text.trim_end_matches(['\r', '\n']).to_owned();
        Ok(Self { text, file: Some(path.to_owned()), source: String::new() })
    }

    /// The secret itself.
    pub fn expose(&self) -> &str {
        &self.text
    }

    /// The file that it was read from.
    pub fn file(&self) -> Option<&Path> {
        self.file.as_deref()
    }
}

impl AsRef<str> for Secret {
    fn as_ref(&self) -> &str {
        &self.text
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.file {
            Some(file) => write!(f, "Secret(… from {})", file.display()),
            None => f.write_str("Secret(…)"),
        }
    }
}

/// Certificates to trust besides the system's, in PEM.
#[derive(Clone, PartialEq, Eq)]
pub struct CaFile {
    /// Where they were read from.
    pub path: PathBuf,
    /// The PEM text.
    pub pem: String,
}

impl CaFile {
    pub(super) fn read(path: &Path) -> std::io::Result<Self> {
        Ok(Self { path: path.to_owned(), pem: read(path)? })
    }
}

impl AsRef<str> for CaFile {
    fn as_ref(&self) -> &str {
        &self.pem
    }
}

impl fmt::Debug for CaFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CaFile({})", self.path.display())
    }
}

fn read(path: &Path) -> std::io::Result<String> {
    let mut text = String::new();
    std::fs::File::open(path)?.take(FILE_MAX + 1).read_to_string(&mut text)?;
    if text.len() as u64 > FILE_MAX {
        return Err(std::io::Error::new(std::io::ErrorKind::FileTooLarge, "more than 1 MiB"));
    }
    Ok(text)
}
