//! Overrides the values of the configuration file by those of the environment.

use super::environment::{self, Setting};
use crate::provider::Providers;
use crate::settings::tree::{self, Node, Table, Value};
use crate::settings::{ConfigFault, SettingPlace};

/// Overrides the values of the file by those of the environment. Returns the faults.
pub(super) fn apply(
    table: &mut Table,
    environment: impl Iterator<Item = (String, String)>,
    providers: &Providers,
) -> Vec<ConfigFault> {
    let (settings, mut faults) = environment::settings(environment, providers);
    for Setting { key, place, text } in settings {
        if let Err(fault) = set(table, &key, place, text) {
            faults.push(fault);
        }
    }
    faults
}

/// Sets the key `SERVER__LISTEN` to a variable's value.
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
        return Err(fault("a variable must be named like PUSHPOST__SECTION__KEY"));
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

/// Parses a list or an inline table that a variable has in TOML. None for JSON, such as a service account, which stays
/// a text.
fn structured(text: &str, place: &SettingPlace) -> Option<Value> {
    let mut value = tree::parse_value(text)?;
    set_places(&mut value, place);
    Some(value)
}

fn set_places(value: &mut Value, place: &SettingPlace) {
    let nodes: Vec<&mut Node> = match value {
        Value::List(list) => list.iter_mut().collect(),
        Value::Table(table) => table.values_mut().collect(),
        _ => return,
    };
    for node in nodes {
        node.place = Some(place.clone());
        set_places(&mut node.value, place);
    }
}

/// The key of the table that a variable means: `MY_SHOP` means the app `My-Shop` if the file has it, because variables
/// are in upper case without hyphens.
fn existing_name(table: &Table, segment: &str) -> String {
    let folded = segment.to_lowercase();
    table.keys().find(|key| key.to_lowercase().replace('-', "_") == folded).cloned().unwrap_or(folded)
}
