//! The configuration before it means anything: one tree from file and environment, each value with its place.

use std::collections::BTreeMap;
use std::path::Path;

use toml::de::{DeArray, DeTable, DeValue};

use super::environment::{self, Setting};
use super::error::{ConfigFault, SettingPlace};

/// A value and where it was said.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) value: Value,
    pub(super) place: Option<SettingPlace>,
}

/// A value of a type that TOML knows.
#[derive(Clone, Debug)]
pub(super) enum Value {
    Text(String),
    Integer(i64),
    Flag(bool),
    List(Vec<Node>),
    Table(Table),
    /// A float, a date, or an integer beyond 64 bits: nothing here takes one.
    Other(&'static str),
}

/// Keys and values.
pub(super) type Table = BTreeMap<String, Node>;

/// Reads the file's text. `file` is for messages.
pub(super) fn parse(text: &str, file: &Path) -> Result<Table, Vec<ConfigFault>> {
    let lines = Lines { text, file };
    let (table, errors) = DeTable::parse_recoverable(text);
    if errors.is_empty() {
        return Ok(lines.table(table.get_ref()));
    }
    // Only the parser's own words: its full text quotes the line, which may hold a secret.
    let fault = |error: &toml::de::Error| ConfigFault {
        place: error.span().map(|span| lines.place(span.start)),
        key: String::new(),
        message: error.message().to_owned(),
        suggestion: None,
    };
    Err(errors.iter().map(fault).collect())
}

/// Lays the environment over the file.
pub(super) fn overlay(
    table: &mut Table,
    environment: impl Iterator<Item = (String, String)>,
) -> Vec<ConfigFault> {
    let (settings, mut faults) = environment::settings(environment);
    for Setting { key, place, text } in settings {
        if let Err(fault) = set(table, &key, place, text) {
            faults.push(fault);
        }
    }
    faults
}

/// Numbers of lines, found by offset.
struct Lines<'a> {
    text: &'a str,
    file: &'a Path,
}

impl Lines<'_> {
    fn place(&self, offset: usize) -> SettingPlace {
        let before = self.text.get(..offset).unwrap_or(self.text);
        let line = 1 + before.bytes().filter(|byte| *byte == b'\n').count();
        SettingPlace::Line { file: self.file.to_owned(), line }
    }

    fn table(&self, table: &DeTable<'_>) -> Table {
        let entry = |(key, value): (&toml::Spanned<_>, &toml::Spanned<DeValue<'_>>)| {
            let name: &std::borrow::Cow<'_, str> = key.get_ref();
            let node = Node { value: self.value(value.get_ref()), place: Some(self.place(key.span().start)) };
            (name.clone().into_owned(), node)
        };
        table.iter().map(entry).collect()
    }

    fn list(&self, list: &DeArray<'_>) -> Vec<Node> {
        let node = |item: &toml::Spanned<DeValue<'_>>| Node {
            value: self.value(item.get_ref()),
            place: Some(self.place(item.span().start)),
        };
        list.iter().map(node).collect()
    }

    fn value(&self, value: &DeValue<'_>) -> Value {
        match value {
            DeValue::String(text) => Value::Text(text.clone().into_owned()),
            DeValue::Integer(integer) => i64::from_str_radix(integer.as_str(), integer.radix())
                .map_or(Value::Other("an integer beyond 64 bits"), Value::Integer),
            DeValue::Float(_) => Value::Other("a float"),
            DeValue::Boolean(flag) => Value::Flag(*flag),
            DeValue::Datetime(_) => Value::Other("a date"),
            DeValue::Array(list) => Value::List(self.list(list)),
            DeValue::Table(table) => Value::Table(self.table(table)),
        }
    }
}

/// Sets one key, `SERVER__LISTEN`, from a variable.
fn set(table: &mut Table, key: &str, place: SettingPlace, text: String) -> Result<(), ConfigFault> {
    let fault = |message: &str| ConfigFault {
        place: Some(place.clone()),
        key: key.replace("__", ".").to_lowercase(),
        message: message.to_owned(),
        suggestion: None,
    };
    let (parents, last) = match key.rsplit_once("__") {
        Some((parents, last)) => (parents.split("__").collect(), last),
        None => (Vec::new(), key),
    };
    if last.is_empty() || parents.iter().any(|parent| parent.is_empty()) {
        return Err(fault("a variable names a key as PUSHPOST__SECTION__KEY"));
    }
    let mut table = table;
    for parent in parents {
        let name = existing_name(table, parent);
        let empty = || Node { value: Value::Table(Table::new()), place: Some(place.clone()) };
        match &mut table.entry(name).or_insert_with(empty).value {
            Value::Table(inner) => table = inner,
            _ => return Err(fault("there is no such table")),
        }
    }
    let value = if text.starts_with(['[', '{']) { structured(&text, &place) } else { None };
    let name = existing_name(table, last);
    table.insert(name, Node { value: value.unwrap_or(Value::Text(text)), place: Some(place.clone()) });
    Ok(())
}

/// A list or an inline table, written in a variable as in the file. JSON such as a service account stays a text.
fn structured(text: &str, place: &SettingPlace) -> Option<Value> {
    let value = DeValue::parse(text).ok()?;
    let mut value = Lines { text, file: Path::new("") }.value(value.get_ref());
    relabel(&mut value, place);
    Some(value)
}

fn relabel(value: &mut Value, place: &SettingPlace) {
    let nodes: Vec<&mut Node> = match value {
        Value::List(list) => list.iter_mut().collect(),
        Value::Table(table) => table.values_mut().collect(),
        _ => return,
    };
    for node in nodes {
        node.place = Some(place.clone());
        relabel(&mut node.value, place);
    }
}

/// Variables are upper case and know no hyphen: `MY_SHOP` means an app called `My-Shop` if the file has one.
fn existing_name(table: &Table, segment: &str) -> String {
    let folded = segment.to_lowercase();
    table.keys().find(|key| key.to_lowercase().replace('-', "_") == folded).cloned().unwrap_or(folded)
}
