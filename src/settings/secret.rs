//! Secrets and certificates of a configuration, with the contents of their files, so that comparing two configurations
//! compares the contents.

use std::fmt;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use crate::domain::pem;

/// Bytes at most of a file that a configuration names.
const FILE_MAX: u64 = 1 << 20;

/// A text that is not shown by `Debug`: given inline, or read from a file.
#[derive(Clone)]
pub struct Secret {
    text: String,
    file: Option<PathBuf>,
    /// The key and place, for messages.
    source: String,
}

/// The place is not compared, because a secret on another line is the same.
impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text && self.file == other.file
    }
}

impl Eq for Secret {}

impl Secret {
    /// A secret given in the configuration itself.
    pub fn inline(text: impl Into<String>) -> Self {
        Self { text: text.into(), file: None, source: String::new() }
    }

    /// Sets the place in the configuration.
    pub(super) fn given_at(self, source: String) -> Self {
        Self { source, ..self }
    }

    /// Converts a PEM text with line ends that are written as `\n`, as environment variables have them.
    pub fn into_pem(self) -> Self {
        Self { text: pem::with_line_ends(&self.text).into_owned(), ..self }
    }

    /// The key of the secret, with its file, variable or line: `apps.shop.apns.key_file (/etc/key.p8)`. Empty if the
    /// secret is not from a configuration.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// Reads a file, without the line ends at its end.
    pub(super) fn read(path: &Path) -> std::io::Result<Self> {
        let text = read(path)?;
        let text = text.trim_end_matches(['\r', '\n']).to_owned();
        Ok(Self { text, file: Some(path.to_owned()), source: String::new() })
    }

    /// The text of the secret. Not to be logged.
    pub fn expose(&self) -> &str {
        &self.text
    }

    /// The file that the secret was read from; none if it was given inline.
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

/// Certificates in PEM that are trusted besides the system's.
#[derive(Clone, PartialEq, Eq)]
pub struct CaFile {
    /// The file that the certificates were read from.
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
