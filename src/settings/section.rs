//! Reads one table of a configuration: typed look-ups that note a fault and continue, so that all faults are reported.

mod files;

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::fmt::Display;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::content_hash::ContentHasher;
use super::fault::{ConfigFault, SettingPlace};
use super::tree::{Node, Table, Value};
use crate::domain::{duration_text, most_alike, parse_duration};

/// What all sections share while a configuration is read.
pub struct ReadContext<'a> {
    hasher: &'a ContentHasher,
    faults: RefCell<Vec<ConfigFault>>,
    /// Every key that was looked up, with its tables.
    keys: RefCell<BTreeSet<String>>,
    /// Every file that a key names, and the file of the configuration where it holds a secret.
    files: RefCell<Vec<ConfigFile>>,
    /// The folder of the file, where relative paths start.
    folder: PathBuf,
}

impl<'a> ReadContext<'a> {
    /// `folder` is the folder of the file, where relative paths start; `faults` are those found before.
    pub fn new(folder: PathBuf, faults: Vec<ConfigFault>, hasher: &'a ContentHasher) -> Self {
        let (keys, files) = (RefCell::default(), RefCell::default());
        Self { hasher, faults: RefCell::new(faults), keys, files, folder }
    }

    /// The faults, in the order of their places.
    pub fn into_faults(self) -> Vec<ConfigFault> {
        self.into_faults_and_files().0
    }

    /// The faults, in the order of their places, and the files that were read, in the order of their keys in the program.
    pub fn into_faults_and_files(self) -> (Vec<ConfigFault>, Vec<ConfigFile>) {
        let mut faults = self.faults.into_inner();
        faults.sort_by(|a, b| a.place.cmp(&b.place));
        (faults, self.files.into_inner())
    }

    /// Every key that was looked up, with its tables: `server.listen`.
    pub fn into_keys(self) -> BTreeSet<String> {
        self.keys.into_inner()
    }
}

/// A file that a configuration names, or its own file where that holds a secret.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ConfigFile {
    /// The key that names the file, or that holds the secret itself: `apps.shop.apns.key_file`.
    pub key: String,
    /// The file's path.
    pub path: PathBuf,
    /// The file holds a secret. False: certificates or a public key.
    pub is_secret: bool,
}

/// A table, with the keys that were looked up in it.
pub struct Section<'a> {
    reading: &'a ReadContext<'a>,
    path: String,
    place: Option<SettingPlace>,
    entries: Option<&'a Table>,
    known: Vec<&'static str>,
}

impl<'a> Section<'a> {
    /// The whole configuration.
    pub fn root(reading: &'a ReadContext<'a>, table: &'a Table) -> Self {
        Self { reading, path: String::new(), place: None, entries: Some(table), known: Vec::new() }
    }

    /// A table; an empty one if it is absent.
    pub fn section(&mut self, key: &'static str) -> Section<'a> {
        match self.optional_section(key) {
            Some(section) => section,
            None => Section { path: self.path_of(key), ..self.empty() },
        }
    }

    /// A table; none if it is absent.
    pub fn optional_section(&mut self, key: &'static str) -> Option<Section<'a>> {
        let node = self.node(key)?;
        self.table(key, node)
    }

    /// All tables within this one, by their names, for tables with names of the operator's choice.
    pub fn named_sections(&self) -> Vec<(String, Section<'a>)> {
        let entries = self.entries.into_iter().flatten();
        entries.filter_map(|(name, node)| Some((name.clone(), self.table(name, node)?))).collect()
    }

    /// A list of tables; empty if it is absent.
    pub fn section_list(&mut self, key: &'static str) -> Vec<Section<'a>> {
        let Some(node) = self.node(key) else { return Vec::new() };
        let Value::List(items) = &node.value else {
            self.wrong_type(key, node, "a list of tables");
            return Vec::new();
        };
        let each = items.iter().enumerate();
        each.filter_map(|(index, item)| self.table(&format!("{key}[{index}]"), item)).collect()
    }

    /// A text; none if it is absent.
    pub fn text(&mut self, key: &'static str) -> Option<String> {
        let node = self.node(key)?;
        self.as_text(key, node).map(str::to_owned)
    }

    /// A text that `read` converts, or says what it expected.
    pub fn parsed<T, E: Display>(
        &mut self,
        key: &'static str,
        read: impl FnOnce(&str) -> Result<T, E>,
    ) -> Option<T> {
        let text = self.text(key)?;
        match read(&text) {
            Ok(value) => Some(value),
            Err(error) => {
                self.fault(key, error.to_string());
                None
            }
        }
    }

    /// A list of texts that `read` converts; in a variable, they may be separated by commas.
    pub fn parsed_list<T, E: Display>(
        &mut self,
        key: &'static str,
        read: impl Fn(&str) -> Result<T, E>,
    ) -> Option<Vec<T>> {
        let node = self.node(key)?;
        let texts: Vec<String> = match (&node.value, &node.place) {
            (Value::Text(text), Some(SettingPlace::Variable(_))) => {
                text.split(',').map(|t| t.trim().to_owned()).collect()
            }
            (Value::List(items), _) => {
                items.iter().filter_map(|item| self.as_text(key, item)).map(str::to_owned).collect()
            }
            _ => {
                self.wrong_type(key, node, "a list of texts");
                return None;
            }
        };
        let read = |text: &String| read(text).map_err(|error| self.fault(key, error.to_string())).ok();
        Some(texts.iter().filter_map(read).collect())
    }

    /// A whole number within a range; `default` if it is absent or wrong.
    pub fn integer(&mut self, key: &'static str, range: RangeInclusive<u64>, default: u64) -> u64 {
        let Some(node) = self.node(key) else { return default };
        let number = match (&node.value, &node.place) {
            (Value::Integer(number), _) => Some(*number),
            (Value::Text(text), Some(SettingPlace::Variable(_))) => text.parse().ok(),
            _ => None,
        };
        let Some(number) = number else {
            self.wrong_type(key, node, "a whole number");
            return default;
        };
        match u64::try_from(number).ok().filter(|number| range.contains(number)) {
            Some(number) => number,
            None => {
                self.fault(key, format!("must be from {} to {}", range.start(), range.end()));
                default
            }
        }
    }

    /// A number from 0 to 1; `default` if it is absent or wrong.
    pub fn fraction(&mut self, key: &'static str, default: f64) -> f64 {
        let Some(node) = self.node(key) else { return default };
        let number = match (&node.value, &node.place) {
            (Value::Float(number), _) => Some(*number),
            (Value::Integer(number), _) => Some(*number as f64),
            (Value::Text(text), Some(SettingPlace::Variable(_))) => text.parse().ok(),
            _ => None,
        };
        let Some(number) = number else {
            self.wrong_type(key, node, "a number from 0 to 1");
            return default;
        };
        if !(0.0..=1.0).contains(&number) {
            self.fault(key, "must be from 0 to 1");
            return default;
        }
        number
    }

    /// `true` or `false`; `default` if it is absent or wrong.
    pub fn flag(&mut self, key: &'static str, default: bool) -> bool {
        let Some(node) = self.node(key) else { return default };
        match (&node.value, &node.place) {
            (Value::Flag(flag), _) => *flag,
            (Value::Text(text), Some(SettingPlace::Variable(_))) if text == "true" => true,
            (Value::Text(text), Some(SettingPlace::Variable(_))) if text == "false" => false,
            _ => {
                self.wrong_type(key, node, "true or false");
                default
            }
        }
    }

    /// A duration within `range`; `default` if it is absent or wrong. Every duration has an upper bound, because a time far
    /// from now can't be computed with.
    pub fn duration(
        &mut self,
        key: &'static str,
        range: RangeInclusive<Duration>,
        default: Duration,
    ) -> Duration {
        let Some(node) = self.node(key) else { return default };
        let Value::Text(text) = &node.value else {
            self.wrong_type(key, node, "a string such as \"75s\"");
            return default;
        };
        duration_within(text, &range).unwrap_or_else(|error| {
            self.fault(key, error);
            default
        })
    }

    /// A list of durations within `range`; none if it is absent or one is wrong.
    pub fn durations(&mut self, key: &'static str, range: RangeInclusive<Duration>) -> Option<Vec<Duration>> {
        let listed = Cell::new(0);
        let read = self.parsed_list(key, |text| {
            listed.set(listed.get() + 1);
            duration_within(text, &range)
        });
        read.filter(|durations| durations.len() == listed.get())
    }

    /// Adds a fault if a key that must be there is absent.
    pub fn required<T>(&self, key: &'static str, value: Option<T>) -> Option<T> {
        // A value that is there but wrong has its fault already.
        if value.is_none() && !self.has(key) && !self.has(&format!("{key}_file")) {
            let message = match self.known.iter().any(|known| *known == format!("{key}_file")) {
                true => format!("is missing (or {key}_file)"),
                false => "is missing".to_owned(),
            };
            self.push(self.place.clone(), self.path_of(key), message, None);
        }
        value
    }

    /// Whether the key is there, valid or not.
    pub fn has(&self, key: &str) -> bool {
        self.entries.is_some_and(|entries| entries.contains_key(key))
    }

    /// Adds a fault at a key.
    pub fn fault(&self, key: &str, message: impl Into<String>) {
        let place = self.entries.and_then(|entries| entries.get(key)).and_then(|node| node.place.clone());
        self.push(place.or_else(|| self.place.clone()), self.path_of(key), message.into(), None);
    }

    /// Adds a fault of an environment variable that sets no key.
    pub fn fault_of_variable(&self, variable: &str, message: &str) {
        let place = Some(SettingPlace::Variable(variable.to_owned()));
        self.push(place, self.path.clone(), message.to_owned(), None);
    }

    /// Adds a fault of the table itself.
    pub fn fault_of_table(&self, message: &str) {
        self.push(self.place.clone(), self.path.clone(), message.to_owned(), None);
    }

    /// Adds a fault for each key that was not looked up, because a misspelt key must not silently be a default.
    pub fn finish(self) {
        for (key, node) in self.entries.into_iter().flatten() {
            if !self.known.iter().any(|known| known == key) {
                let suggestion = most_alike(key, self.known.iter().copied()).map(str::to_owned);
                self.push(node.place.clone(), self.path_of(key), "unknown key".to_owned(), suggestion);
            }
        }
    }

    fn empty(&self) -> Section<'a> {
        Section { reading: self.reading, path: String::new(), place: None, entries: None, known: Vec::new() }
    }

    fn node(&mut self, key: &'static str) -> Option<&'a Node> {
        self.known.push(key);
        self.reading.keys.borrow_mut().insert(self.path_of(key));
        self.entries?.get(key)
    }

    fn table(&self, key: &str, node: &'a Node) -> Option<Section<'a>> {
        let Value::Table(table) = &node.value else {
            self.wrong_type(key, node, "a table");
            return None;
        };
        Some(Section {
            path: self.path_of(key),
            place: node.place.clone(),
            entries: Some(table),
            ..self.empty()
        })
    }

    fn as_text<'n>(&self, key: &str, node: &'n Node) -> Option<&'n str> {
        match &node.value {
            Value::Text(text) => Some(text),
            _ => {
                self.wrong_type(key, node, "a text");
                None
            }
        }
    }

    /// A public key is read like a secret, and is none.
    fn note_file(&self, key: &str, path: &Path, is_secret: bool) {
        let is_secret = is_secret && !key.starts_with("public_key");
        let file = ConfigFile { key: self.path_of(key), path: path.to_owned(), is_secret };
        self.reading.files.borrow_mut().push(file);
    }

    fn readable<T: AsRef<str>>(&self, key: &str, path: &Path, result: std::io::Result<T>) -> Option<T> {
        self.reading.hasher.add(&result);
        result.map_err(|error| self.fault(key, format!("cannot read {}: {error}", path.display()))).ok()
    }

    fn wrong_type(&self, key: &str, node: &Node, expected: &str) {
        let found = match &node.value {
            Value::Text(_) => "a text",
            Value::Integer(_) => "a number",
            Value::Float(_) => "a float",
            Value::Flag(_) => "true or false",
            Value::List(_) => "a list",
            Value::Table(_) => "a table",
            Value::Other(what) => what,
        };
        let message = match &node.place {
            Some(SettingPlace::Variable(_)) => format!("must be {expected}"),
            _ => format!("must be {expected}, not {found}"),
        };
        self.push(node.place.clone(), self.path_of(key), message, None);
    }

    fn push(&self, place: Option<SettingPlace>, key: String, message: String, suggestion: Option<String>) {
        self.reading.faults.borrow_mut().push(ConfigFault { place, key, message, suggestion });
    }

    fn path_of(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }
}

/// Reads a duration. The error says what is wrong with it.
fn duration_within(text: &str, range: &RangeInclusive<Duration>) -> Result<Duration, String> {
    match parse_duration(text) {
        Ok(duration) if duration < *range.start() => {
            Err(format!("must be at least {}", duration_text(*range.start())))
        }
        Ok(duration) if duration > *range.end() => {
            Err(format!("must be at most {}", duration_text(*range.end())))
        }
        Ok(duration) => Ok(duration),
        Err(error) => Err(error.to_string()),
    }
}
