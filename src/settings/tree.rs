//! The configuration as a tree of values, each with its place: the file's text is parsed, and the environment overrides
//! it. `section` reads the tree.

use std::collections::BTreeMap;
use std::path::Path;

use toml::de::{DeArray, DeTable, DeValue};

use super::fault::{ConfigFault, SettingPlace};

/// A value with its place.
#[derive(Clone, Debug)]
pub struct Node {
    /// The value, with the places of the values in it.
    pub value: Value,
    /// The line or the variable that sets the value. None: nothing does.
    pub place: Option<SettingPlace>,
}

/// A value of one of TOML's types.
#[derive(Clone, Debug)]
pub enum Value {
    /// A string. Every value of a variable is one, unless it is a list or a table.
    Text(String),
    /// A whole number of at most 64 bits.
    Integer(i64),
    /// A number with a fraction or an exponent.
    Float(f64),
    /// A Boolean value, which is `true` or `false`.
    Flag(bool),
    /// An array, which TOML also writes as `[[name]]`.
    List(Vec<Node>),
    /// A table, inline or with a header.
    Table(Table),
    /// A date, or a number beyond 64 bits, which no key accepts. Has the type's name.
    Other(&'static str),
}

/// Values by key.
pub type Table = BTreeMap<String, Node>;

/// Parses the file's text. `file` is for messages.
///
/// # Errors
/// Returns all faults of the syntax, each with its line. None quotes the line.
pub fn parse(text: &str, file: &Path) -> Result<Table, Vec<ConfigFault>> {
    let lines = Lines { text, file };
    let (table, errors) = DeTable::parse_recoverable(text);
    if errors.is_empty() {
        return Ok(lines.table(table.get_ref()));
    }
    // The message alone, because the error's full text quotes the line, which may contain a secret.
    let fault = |error: &toml::de::Error| ConfigFault {
        place: error.span().map(|span| lines.place(span.start)),
        key: String::new(),
        message: error.message().to_owned(),
        suggestion: None,
    };
    Err(errors.iter().map(fault).collect())
}

/// The place of a key with its tables, such as `apps.shop.apns.key_file`. None: nothing sets the key.
pub fn place_of<'a>(table: &'a Table, key: &str) -> Option<&'a SettingPlace> {
    let (first, rest) = key.split_once('.').unzip();
    let node = table.get(first.unwrap_or(key))?;
    match (rest, &node.value) {
        (None, _) => node.place.as_ref(),
        (Some(rest), Value::Table(inner)) => place_of(inner, rest),
        (Some(_), _) => None,
    }
}

/// Parses one value as TOML has it, such as a list or an inline table. None: the text is not TOML.
pub fn parse_value(text: &str) -> Option<Value> {
    let value = DeValue::parse(text).ok()?;
    Some(Lines { text, file: Path::new("") }.value(value.get_ref()))
}

/// Converts the parser's values, and finds the line of each by its offset.
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
            DeValue::Float(float) => {
                float.as_str().parse().map_or(Value::Other("a number beyond 64 bits"), Value::Float)
            }
            DeValue::Boolean(flag) => Value::Flag(*flag),
            DeValue::Datetime(_) => Value::Other("a date"),
            DeValue::Array(list) => Value::List(self.list(list)),
            DeValue::Table(table) => Value::Table(self.table(table)),
        }
    }
}
