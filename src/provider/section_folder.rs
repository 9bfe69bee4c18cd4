//! A folder with a section of a configuration and the files that the section names, for tests of settings.

use crate::settings::{ConfigFault, ContentHasher, ReadContext, Section, tree};

pub(super) struct SectionFolder {
    folder: tempfile::TempDir,
    section: String,
}

impl SectionFolder {
    /// `section` is the lines of the section, without its header.
    pub(super) fn new(section: &str) -> Self {
        Self { folder: tempfile::tempdir().expect("a folder"), section: section.to_owned() }
    }

    pub(super) fn write(&self, name: &str, text: &str) {
        std::fs::write(self.folder.path().join(name), text).expect("a file");
    }

    pub(super) fn path(&self, name: &str) -> String {
        self.folder.path().join(name).to_string_lossy().into_owned()
    }

    /// The settings, or the faults of the section.
    pub(super) fn read<S>(&self, read: impl FnOnce(Section<'_>) -> Option<S>) -> Result<S, Vec<ConfigFault>> {
        let table = tree::parse(&self.section, &self.folder.path().join("section.toml"))?;
        let hasher = ContentHasher::default();
        let reading = ReadContext::new(self.folder.path().to_owned(), Vec::new(), &hasher);
        let settings = read(Section::root(&reading, &table));
        let faults = reading.into_faults();
        settings.filter(|_| faults.is_empty()).ok_or(faults)
    }
}
