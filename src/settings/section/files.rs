//! Look-ups of paths, certificates and secrets: what a table names by a file, or has in its place.

use std::path::{Path, PathBuf};

use super::Section;
use crate::settings::fault::SettingPlace;
use crate::settings::secret::{CaFile, Secret};
use crate::settings::tree::Node;

impl Section<'_> {
    /// A path. A relative path starts from the folder of the file, or in a variable from the current directory.
    pub fn path(&mut self, key: &'static str) -> Option<PathBuf> {
        let node = self.node(key)?;
        let path = Path::new(self.as_text(key, node)?);
        match node.place {
            Some(SettingPlace::Variable(_)) => Some(path.to_owned()),
            _ => Some(self.reading.folder.join(path)),
        }
    }

    /// The certificates in a file that `key` names.
    pub fn ca_file(&mut self, key: &'static str) -> Option<CaFile> {
        let path = self.path(key)?;
        self.note_file(key, &path, false);
        let file = self.readable(key, &path, CaFile::read(&path))?;
        if !file.pem.contains("-----BEGIN CERTIFICATE-----") {
            self.fault(key, "contains no certificate in PEM");
        }
        Some(file)
    }

    /// The certificates in a file that an environment variable names which sets no key.
    ///
    /// # Errors
    /// The file can't be read.
    pub fn ca_file_at(&self, path: &Path) -> std::io::Result<CaFile> {
        let read = CaFile::read(path);
        self.reading.hasher.add(&read);
        read
    }

    /// A secret, inline under `key` or in the file that `file_key` names. One from the environment overrides one from
    /// the file.
    pub fn secret(&mut self, key: &'static str, file_key: &'static str) -> Option<Secret> {
        let (inline, file) = (self.node(key), self.node(file_key));
        let from_variable = |node: &Node| matches!(node.place, Some(SettingPlace::Variable(_)));
        match (inline, file) {
            (Some(inline), Some(file)) if from_variable(inline) == from_variable(file) => {
                self.fault(key, format!("give either this or {file_key}, not both"));
                None
            }
            (Some(inline), file) if file.is_none_or(|file| !from_variable(file)) => {
                let place = inline.place.as_ref().map(ToString::to_string).unwrap_or_default();
                let source = format!("{} ({place})", self.path_of(key));
                if let Some(SettingPlace::Line { file, .. }) = &inline.place {
                    self.note_file(key, file, true);
                }
                self.as_text(key, inline).map(|text| Secret::inline(text).given_at(source))
            }
            (_, Some(_)) => {
                let path = self.path(file_key)?;
                let source = format!("{} ({})", self.path_of(file_key), path.display());
                self.note_file(file_key, &path, true);
                self.readable(file_key, &path, Secret::read(&path)).map(|secret| secret.given_at(source))
            }
            (_, None) => None,
        }
    }

    /// Secrets, inline under `key` or in the files that `file_key` lists. None: neither is there, which is a fault, or one is
    /// faulty.
    pub fn secrets(&mut self, key: &'static str, file_key: &'static str) -> Option<Vec<Secret>> {
        let (inline, files) = (self.node(key), self.node(file_key));
        match (inline, files) {
            (Some(_), Some(_)) => {
                self.fault(key, format!("give either this or {file_key}, not both"));
                None
            }
            (Some(inline), None) => {
                if let Some(SettingPlace::Line { file, .. }) = &inline.place {
                    self.note_file(key, file, true);
                }
                let texts = self.parsed_list(key, |text| Ok::<_, &str>(Secret::inline(text)))?;
                Some(texts)
            }
            (None, Some(files)) => {
                let from_variable = matches!(files.place, Some(SettingPlace::Variable(_)));
                let paths = self.parsed_list(file_key, |text| Ok::<_, &str>(PathBuf::from(text)))?;
                let read = paths.iter().map(|path| {
                    let path = if from_variable { path.clone() } else { self.reading.folder.join(path) };
                    self.note_file(file_key, &path, true);
                    self.readable(file_key, &path, Secret::read(&path))
                });
                // Every file is read, so that each fault is told.
                read.collect::<Vec<_>>().into_iter().collect()
            }
            (None, None) => {
                let message = format!("is missing (or {file_key})");
                self.push(self.place.clone(), self.path_of(key), message, None);
                None
            }
        }
    }

    /// The text of a file that a credential reads again whenever it needs it. None: the file can't be read now, which is
    /// no fault of the configuration.
    pub fn file_read_later(&self, path: &Path) -> Option<Secret> {
        let read = Secret::read(path);
        self.reading.hasher.add(&read);
        read.ok()
    }
}
