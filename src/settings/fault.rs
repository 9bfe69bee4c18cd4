//! One fault of a configuration, with its key, its place and a message.
//!
//! A message does not repeat a value that may be a secret, nor the line of the file.

use std::fmt;
use std::path::PathBuf;

/// One fault of a configuration.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ConfigFault {
    /// The line or variable; none if a value is missing altogether.
    pub place: Option<SettingPlace>,
    /// The key, with its tables: `apps.shop.apns.key_id`. Empty if the file isn't TOML.
    pub key: String,
    /// What is wrong, as words that follow the key.
    pub message: String,
    /// The nearest known key, for an unknown one.
    pub suggestion: Option<String>,
}

/// The place that a value comes from.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum SettingPlace {
    /// A line of the configuration file.
    Line {
        /// The file's path.
        file: PathBuf,
        /// The line's number, from 1.
        line: usize,
    },
    /// An environment variable, by its name.
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

/// A text of the file as a terminal shows it: a key may be written with control characters, which a terminal would obey.
struct Printable<'a>(&'a str);

impl fmt::Display for Printable<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for letter in self.0.chars() {
            match letter.is_control() {
                true => write!(f, "{}", letter.escape_default())?,
                false => write!(f, "{letter}")?,
            }
        }
        Ok(())
    }
}

impl fmt::Display for ConfigFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(place) = &self.place {
            write!(f, "{place}: ")?;
        }
        if !self.key.is_empty() {
            write!(f, "{}: ", Printable(&self.key))?;
        }
        write!(f, "{}", Printable(&self.message))?;
        if let Some(suggestion) = &self.suggestion {
            write!(f, "; the nearest known key is {suggestion:?}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_with_control_characters_is_shown_escaped() {
        let key = "database.\u{1b}[31m\nx\u{9b}".to_owned();
        let fault = ConfigFault { place: None, key, message: "unknown key".to_owned(), suggestion: None };
        assert_eq!(fault.to_string(), r"database.\u{1b}[31m\nx\u{9b}: unknown key");
    }
}
